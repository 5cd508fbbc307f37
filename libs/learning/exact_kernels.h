// The elementwise passes of the exact evaluator, over contiguous f64. Every one is exact, or one
// IEEE rounding per element; none depends on the vector width.
#pragma once

#include <cstdint>

namespace rochdale::learning::kernels {

// out[feature * rows + row] = pixel / 256; returns the largest pixel. `pixels` is row-major.
int PixelsToFeatures(const uint8_t* pixels, int rows, int features, double* out);

// out = units * 2^-20.
void GridToReal(const int32_t* units, int64_t n, double* out);
// out = a + b.
void AddUnits(const int32_t* a, const int32_t* b, int64_t n, int32_t* out);
void AddReal(const double* a, const double* b, int64_t n, double* out);
// z = z + bias.
void AddBias(double bias, int64_t n, double* z);

// h = max(0, z) rounded to 2^-16, half to even; returns the largest h. |z| < 2^34.
// h may be z.
double Activate(const double* z, int64_t n, double* h);

// The sum of |units|, and the largest |units|.
int64_t AbsoluteSum(const int32_t* units, int64_t n);
int32_t AbsoluteMax(const int32_t* units, int64_t n);
// sum += |units|; the caller sees to it that no sum overflows.
void AccumulateAbsolute(const int32_t* units, int64_t n, int32_t* sum);

}  // namespace rochdale::learning::kernels
