#include "libs/learning/exact_math.h"

#include <bit>
#include <vector>

#include "libs/learning/exact_constants.h"
#include "libs/learning/vector_clones.h"

#ifdef __FAST_MATH__
#error "libs/learning must be compiled with IEEE arithmetic"
#endif

namespace rochdale::learning {
namespace {

// Branch-free, so that the loops below vectorise.
[[gnu::always_inline]] inline double Exp(double x) {
  const double clamped = x < exact::kExpUnderflow ? exact::kExpUnderflow : x;
  const double shifted = clamped * exact::kLog2E + exact::kMagic;  // its low bits hold k
  const double k = shifted - exact::kMagic;
  const double r = (clamped - k * exact::kLn2High) - k * exact::kLn2Low;
  double p = exact::kExpCoefficients[13];
#pragma GCC unroll 13
  for (int i = 12; i >= 0; --i) p = p * r + exact::kExpCoefficients[i];
  const uint64_t scale = (std::bit_cast<uint64_t>(shifted) << 52) + (uint64_t{1023} << 52);
  const double result = p * std::bit_cast<double>(scale);
  return x < exact::kExpUnderflow ? 0.0 : result;
}

[[gnu::always_inline]] inline double Log(double s) {
  const uint64_t bits = std::bit_cast<uint64_t>(s);
  constexpr uint64_t kMantissa = (uint64_t{1} << 52) - 1;
  double m = std::bit_cast<double>((bits & kMantissa) | (uint64_t{1023} << 52));
  int64_t exponent = static_cast<int64_t>(bits >> 52) - 1023;
  if (m >= exact::kSqrt2) {
    m = m * 0.5;
    ++exponent;
  }
  const double e = static_cast<double>(exponent);
  const double g = m - 1.0;
  const double f = g / (g + 2.0);
  const double w = f * f;
  double q = exact::kLogCoefficients[10];
#pragma GCC unroll 9
  for (int i = 9; i >= 1; --i) q = q * w + exact::kLogCoefficients[i];
  q = q * w;
  return e * exact::kLn2High + ((g - f * (g - q)) + e * exact::kLn2Low);
}

constexpr int kChunk = 64;  // rows at a time, so that top and sum stay in registers and L1

// top[r] = the largest logit of each of n rows.
ROCHDALE_VECTOR_CLONES
void FindTop(const double* logits, int64_t stride, int classes, int n, double* top) {
  for (int r = 0; r < n; ++r) top[r] = logits[r];
  for (int j = 1; j < classes; ++j) {
    const double* z = logits + j * stride;
    for (int r = 0; r < n; ++r) top[r] = z[r] > top[r] ? z[r] : top[r];
  }
}

// logits become z - top, and sum[r] the sum of their exponentials in the order of classes.
ROCHDALE_VECTOR_CLONES
void SumExponentials(double* logits, int64_t stride, int classes, int n, const double* top,
                     double* sum) {
  for (int r = 0; r < n; ++r) sum[r] = 0;
  for (int j = 0; j < classes; ++j) {
    double* z = logits + j * stride;
    for (int r = 0; r < n; ++r) {
      const double d = z[r] - top[r];
      z[r] = d;
      sum[r] = sum[r] + Exp(d);
    }
  }
}

// One key's line of scores from position `from` on; the largest score so far of every position.
ROCHDALE_VECTOR_CLONES
void ScaleScores(double* scores, int from, int n, double scale, double* top) {
  for (int t = from; t < n; ++t) {
    const double a = scores[t] * scale;
    scores[t] = a;
    top[t] = a > top[t] ? a : top[t];
  }
}

ROCHDALE_VECTOR_CLONES
void SumScores(double* scores, int from, int n, const double* top, double* sum) {
  for (int t = from; t < n; ++t) {
    const double e = Exp(scores[t] - top[t]);
    scores[t] = e;
    sum[t] = sum[t] + e;
  }
}

ROCHDALE_VECTOR_CLONES
void DivideScores(double* scores, int from, int n, const double* sum) {
  for (int t = 0; t < from; ++t) scores[t] = 0;
  for (int t = from; t < n; ++t) scores[t] = exact::RoundActivation(scores[t] / sum[t]);
}

}  // namespace

double ExactExp(double x) { return Exp(x); }
double ExactLog(double s) { return Log(s); }

void CrossEntropyNanonats(double* logits, int64_t stride, int classes, const int32_t* labels,
                          int64_t rows, int64_t* loss_nanonats) {
  double top[kChunk], sum[kChunk];
  for (int64_t first = 0; first < rows; first += kChunk) {
    const int n = static_cast<int>(rows - first < kChunk ? rows - first : kChunk);
    double* chunk = logits + first;
    FindTop(chunk, stride, classes, n, top);
    SumExponentials(chunk, stride, classes, n, top, sum);
    for (int r = 0; r < n; ++r) {
      const double loss = Log(sum[r]) - chunk[labels[first + r] * stride + r];
      loss_nanonats[first + r] = static_cast<int64_t>((loss * 1e9 + exact::kMagic) - exact::kMagic);
    }
  }
}

void CausalSoftmax(double* scores, int n, double scale) {
  // Key 0 is seen from every position, so every top is a score.
  std::vector<double> top(n, -0x1p+22), sum(n, 0.0);
  for (int u = 0; u < n; ++u) ScaleScores(scores + int64_t{u} * n, u, n, scale, top.data());
  for (int u = 0; u < n; ++u) SumScores(scores + int64_t{u} * n, u, n, top.data(), sum.data());
  for (int u = 0; u < n; ++u) DivideScores(scores + int64_t{u} * n, u, n, sum.data());
}

}  // namespace rochdale::learning
