// The exact grid of parameters and updates: integers in units of 2^-20, between -(8 - 2^-20) and
// 8 - 2^-20. Every grid value is exact in F32.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/types/span.h"

namespace rochdale::tensor {

inline constexpr int32_t kGridUnitsPerOne = 1 << 20;
inline constexpr int32_t kGridUnitsMax = (1 << 23) - 1;  // 8 - 2^-20

// Nearest grid point, ties to even, saturated at +-kGridUnitsMax. NaN gives 0: screen first.
inline int32_t RoundToGrid(double value) {
  constexpr double kMax = kGridUnitsMax;
  const double scaled = value * kGridUnitsPerOne;  // exact: a power of two
  if (!(scaled == scaled)) return 0;
  const double clamped = std::clamp(scaled, -kMax, kMax);
  // Adding 1.5 * 2^52 leaves no fraction bits, so the addition itself rounds half to even.
  constexpr double kShift = 6755399441055744.0;
  return static_cast<int32_t>((clamped + kShift) - kShift);
}

inline double FromGrid(int32_t units) { return static_cast<double>(units) / kGridUnitsPerOne; }

// Element by element; sizes must be equal (checked; a difference is a broken invariant).
void RoundToGrid(absl::Span<const double> values, absl::Span<int32_t> units);
void RoundToGrid(absl::Span<const float> values, absl::Span<int32_t> units);
void FromGrid(absl::Span<const int32_t> units, absl::Span<float> values);

}  // namespace rochdale::tensor
