#include "libs/learning/exact_kernels.h"

#include <algorithm>
#include <cstdlib>

#include "libs/learning/vector_clones.h"

namespace rochdale::learning::kernels {
namespace {

constexpr int kLanes = 16;

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
double Activate(const double* z, int64_t n, double* h) {
  constexpr double kMagic = 0x1.8p+36;  // its last bit is 2^-16
  double largest[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = z[i + lane];
      const double positive = value > 0.0 ? value : 0.0;
      const double rounded = (positive + kMagic) - kMagic;
      h[i + lane] = rounded;
      largest[lane] = rounded > largest[lane] ? rounded : largest[lane];
    }
  }
  for (; i < n; ++i) {
    const double value = z[i];
    const double positive = value > 0.0 ? value : 0.0;
    h[i] = (positive + kMagic) - kMagic;
    largest[0] = h[i] > largest[0] ? h[i] : largest[0];
  }
  return *std::max_element(largest, largest + kLanes);
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
