// The elementwise passes of the evaluators, over contiguous f64 (f32 for the fast one). In f64
// every one is exact, or one IEEE rounding per element; none depends on the vector width.
#pragma once

#include <cstdint>

namespace rochdale::learning::kernels {

// out[feature * rows + row] = pixel / 256; returns the largest pixel. `pixels` is row-major.
int PixelsToFeatures(const uint8_t* pixels, int rows, int features, double* out);

// out = pixel / 256, in place; returns the largest pixel.
int PixelsToReal(const uint8_t* pixels, int64_t n, double* out);
int PixelsToReal(const uint8_t* pixels, int64_t n, float* out);
// out[column * rows + row] = in[row * columns + column].
void Transpose(const double* in, int rows, int columns, double* out);
void Transpose(const float* in, int rows, int columns, float* out);

// out = units * 2^-20.
void GridToReal(const int32_t* units, int64_t n, double* out);
void GridToReal(const int32_t* units, int64_t n, float* out);
// out = a + units * 2^-20.
void AddUnitsToReal(const double* a, const int32_t* units, int64_t n, double* out);
void AddUnitsToReal(const float* a, const int32_t* units, int64_t n, float* out);
// out = a + b.
void AddUnits(const int32_t* a, const int32_t* b, int64_t n, int32_t* out);
void AddReal(const double* a, const double* b, int64_t n, double* out);
void AddReal(const float* a, const float* b, int64_t n, float* out);
// out = a - b.
void SubtractReal(const double* a, const double* b, int64_t n, double* out);
void SubtractReal(const float* a, const float* b, int64_t n, float* out);
// y = y + factor * x.
void AddScaled(double factor, const double* x, int64_t n, double* y);
void AddScaled(float factor, const float* x, int64_t n, float* y);
// z = z + bias.
void AddBias(double bias, int64_t n, double* z);
void AddBias(float bias, int64_t n, float* z);

// h[unit * rows + row] = max(0, z + bias[unit]), in f64 rounded to 2^-16, half to even; bias may be
// null. Returns the largest h (f32: 0). |z + bias| < 2^34; h may be z.
double Activate(const double* z, const double* bias, int units, int64_t rows, double* h);
double Activate(const float* z, const float* bias, int units, int64_t rows, float* h);

// How many are above `bound` or below -bound.
int64_t CountBeyond(const int32_t* units, int64_t n, int32_t bound);
// How many are not 0.
int64_t CountNonZero(const int32_t* units, int64_t n);
// Where the value of the largest magnitude is (the first of these); n > 0.
int64_t LargestAt(const float* values, int64_t n);
// The sum of |units|, and the largest |units|.
int64_t AbsoluteSum(const int32_t* units, int64_t n);
int32_t AbsoluteMax(const int32_t* units, int64_t n);
// sum += |units|; the caller sees to it that no sum overflows.
void AccumulateAbsolute(const int32_t* units, int64_t n, int32_t* sum);

}  // namespace rochdale::learning::kernels
