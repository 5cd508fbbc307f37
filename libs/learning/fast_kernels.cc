// The passes of the fast evaluator (exact_kernels.h), in f32.
#include <algorithm>
#include <bit>
#include <cmath>

#include "libs/learning/exact_kernels.h"
#include "libs/learning/fast_math.h"
#include "libs/learning/vector_clones.h"

namespace rochdale::learning {
namespace kernels {

ROCHDALE_VECTOR_CLONES
int PixelsToReal(const uint8_t* pixels, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(pixels[i]) * 0x1p-8f;
  return 255;
}

void Transpose(const float* in, int rows, int columns, float* out) {
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

ROCHDALE_VECTOR_CLONES
void GridToReal(const int32_t* units, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(units[i]) * 0x1p-20f;
}

ROCHDALE_VECTOR_CLONES
void AddUnitsToReal(const float* a, const int32_t* units, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + static_cast<float>(units[i]) * 0x1p-20f;
}

ROCHDALE_VECTOR_CLONES
void AddReal(const float* a, const float* b, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

ROCHDALE_VECTOR_CLONES
void SubtractReal(const float* a, const float* b, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] - b[i];
}

ROCHDALE_VECTOR_CLONES
void AddScaled(float factor, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

ROCHDALE_VECTOR_CLONES
void AddBias(float bias, int64_t n, float* z) {
  for (int64_t i = 0; i < n; ++i) z[i] += bias;
}

ROCHDALE_VECTOR_CLONES
double Activate(const float* z, const float* bias, int units, int64_t rows, float* h) {
  for (int64_t unit = 0; unit < units; ++unit) {
    const float add = bias == nullptr ? 0.0f : bias[unit];
    const float* from = z + unit * rows;
    float* to = h + unit * rows;
    for (int64_t i = 0; i < rows; ++i) {
      const float value = from[i] + add;
      to[i] = value > 0.0f ? value : 0.0f;
    }
  }
  return 0;
}

ROCHDALE_VECTOR_CLONES
int64_t LargestAt(const float* values, int64_t n) {
  constexpr int kLanes = 16;
  float largest[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane] < 0 ? -values[i + lane] : values[i + lane];
      largest[lane] = value > largest[lane] ? value : largest[lane];
    }
  }
  float top = *std::max_element(largest, largest + kLanes);
  for (; i < n; ++i) top = std::max(top, std::abs(values[i]));
  for (i = 0; i + 1 < n && std::abs(values[i]) != top; ++i) {
  }
  return i;
}

}  // namespace kernels

namespace {

constexpr int kChunk = 64;
constexpr float kMagic = 0x1.8p+23f;  // rounds to whole numbers

// exp(x), x <= 0, to 2e-7 relative: 2^k times a Taylor series on |r| <= ln 2 / 2.
[[gnu::always_inline]] inline float Exp(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * 1.44269504f + kMagic;
  const float k = shifted - kMagic;
  const float r = (clamped - k * 0.693359375f) + k * 2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + (127u << 23));
}

// log(s), s >= 1, to 2e-7: exponent and 2 atanh of the mantissa's (m - 1) / (m + 1).
[[gnu::always_inline]] inline float Log(float s) {
  // Subtracting the bits of sqrt(1/2) leaves an exponent e with m = s / 2^e in [0.707, 1.414).
  const uint32_t bits = std::bit_cast<uint32_t>(s);
  const int32_t e = static_cast<int32_t>(bits - 0x3f3504f3u) >> 23;
  const float m = std::bit_cast<float>(bits - (static_cast<uint32_t>(e) << 23));
  const float f = (m - 1.0f) / (m + 1.0f);
  const float w = f * f;
  float q = 2.0f / 9;
  q = q * w + 2.0f / 7;
  q = q * w + 2.0f / 5;
  q = q * w + 2.0f / 3;
  q = q * w + 2.0f;
  return static_cast<float>(e) * 0.693147181f + f * q;
}

ROCHDALE_VECTOR_CLONES
void LogSumExp(const float* logits, int64_t stride, int classes, int n, float* out) {
  float top[kChunk], sum[kChunk];
  for (int r = 0; r < n; ++r) top[r] = logits[r];
  for (int j = 1; j < classes; ++j) {
    const float* z = logits + j * stride;
    for (int r = 0; r < n; ++r) top[r] = z[r] > top[r] ? z[r] : top[r];
  }
  for (int r = 0; r < n; ++r) sum[r] = 0;
  for (int j = 0; j < classes; ++j) {
    const float* z = logits + j * stride;
    for (int r = 0; r < n; ++r) sum[r] += Exp(z[r] - top[r]);
  }
  for (int r = 0; r < n; ++r) out[r] = Log(sum[r]) + top[r];
}

}  // namespace

void CrossEntropyNats(const float* logits, int64_t stride, int classes, const int32_t* labels,
                      int64_t rows, float* losses) {
  for (int64_t first = 0; first < rows; first += kChunk) {
    const int n = static_cast<int>(std::min<int64_t>(kChunk, rows - first));
    LogSumExp(logits + first, stride, classes, n, losses + first);
    for (int r = 0; r < n; ++r) {
      losses[first + r] -= logits[labels[first + r] * stride + first + r];
    }
  }
}

}  // namespace rochdale::learning
