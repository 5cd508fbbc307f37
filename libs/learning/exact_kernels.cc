#include "libs/learning/exact_kernels.h"

#include <algorithm>
#include <cstdlib>

#include "libs/learning/exact_constants.h"
#include "libs/learning/vector_clones.h"

namespace rochdale::learning::kernels {
namespace {

constexpr int kLanes = 16;

// Tiles, so that the lines of both sides stay in the first cache.
template <typename Real>
void TransposeTiles(const Real* in, int rows, int columns, Real* out) {
  constexpr int kTile = 16;
  for (int row = 0; row < rows; row += kTile) {
    const int row_end = std::min(rows, row + kTile);
    for (int column = 0; column < columns; ++column) {
      for (int r = row; r < row_end; ++r) {
        out[int64_t{column} * rows + r] = in[int64_t{r} * columns + column];
      }
    }
  }
}

}  // namespace

int PixelsToFeatures(const uint8_t* pixels, int rows, int features, double* out) {
  int largest = 0;
  for (int feature = 0; feature < features; ++feature) {
    double* column = out + int64_t{feature} * rows;
    for (int row = 0; row < rows; ++row) {
      const int pixel = pixels[int64_t{row} * features + feature];
      largest = std::max(largest, pixel);
      column[row] = pixel * 0x1p-8;
    }
  }
  return largest;
}

ROCHDALE_VECTOR_CLONES
void GridToReal(const int32_t* units, int64_t n, double* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = units[i] * 0x1p-20;
}

ROCHDALE_VECTOR_CLONES
int PixelsToReal(const uint8_t* pixels, int64_t n, double* out) {
  int largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int pixel = pixels[i];
    largest = pixel > largest ? pixel : largest;
    out[i] = pixel * 0x1p-8;
  }
  return largest;
}

void Transpose(const double* in, int rows, int columns, double* out) {
  TransposeTiles(in, rows, columns, out);
}

ROCHDALE_VECTOR_CLONES
void AddUnitsToReal(const double* a, const int32_t* units, int64_t n, double* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + units[i] * 0x1p-20;
}

ROCHDALE_VECTOR_CLONES
void SubtractReal(const double* a, const double* b, int64_t n, double* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] - b[i];
}

ROCHDALE_VECTOR_CLONES
void AddScaled(double factor, const double* x, int64_t n, double* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

ROCHDALE_VECTOR_CLONES
void AddUnits(const int32_t* a, const int32_t* b, int64_t n, int32_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

ROCHDALE_VECTOR_CLONES
void AddReal(const double* a, const double* b, int64_t n, double* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

ROCHDALE_VECTOR_CLONES
void AddBias(double bias, int64_t n, double* z) {
  for (int64_t i = 0; i < n; ++i) z[i] += bias;
}

ROCHDALE_VECTOR_CLONES
double Activate(const double* z, const double* bias, int units, int64_t rows, double* h) {
  double largest[kLanes] = {};
  for (int64_t unit = 0; unit < units; ++unit) {
    const double add = bias == nullptr ? 0.0 : bias[unit];
    const double* from = z + unit * rows;
    double* to = h + unit * rows;
    int64_t i = 0;
    for (; i + kLanes <= rows; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const double value = from[i + lane] + add;
        const double positive = value > 0.0 ? value : 0.0;
        const double rounded = exact::RoundActivation(positive);
        to[i + lane] = rounded;
        largest[lane] = rounded > largest[lane] ? rounded : largest[lane];
      }
    }
    for (; i < rows; ++i) {
      const double value = from[i] + add;
      const double positive = value > 0.0 ? value : 0.0;
      to[i] = exact::RoundActivation(positive);
      largest[0] = to[i] > largest[0] ? to[i] : largest[0];
    }
  }
  return *std::max_element(largest, largest + kLanes);
}

ROCHDALE_VECTOR_CLONES
int64_t CountBeyond(const int32_t* units, int64_t n, int32_t bound) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += (units[i] > bound) | (units[i] < -bound);
  return count;
}

ROCHDALE_VECTOR_CLONES
int64_t CountNonZero(const int32_t* units, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += units[i] != 0;
  return count;
}

ROCHDALE_VECTOR_CLONES
int64_t AbsoluteSum(const int32_t* units, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::abs(units[i]);
  return sum;
}

ROCHDALE_VECTOR_CLONES
int32_t AbsoluteMax(const int32_t* units, int64_t n) {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t value = units[i] < 0 ? -units[i] : units[i];
    largest = value > largest ? value : largest;
  }
  return largest;
}

ROCHDALE_VECTOR_CLONES
void AccumulateAbsolute(const int32_t* units, int64_t n, int32_t* sum) {
  for (int64_t i = 0; i < n; ++i) sum[i] += units[i] < 0 ? -units[i] : units[i];
}

}  // namespace rochdale::learning::kernels
