// Clipping: no update weighs more than `clip` times the lower median length of its round.
//
// Squared norms are exact integers in units of 2^-40 (tensor::ExactNorm::sum_squares): at most
// 2^86 for the largest tensor. Ratios are millionths. Pure; every result is the same on every
// machine.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"

namespace rochdale::filter {

inline constexpr int64_t kMicro = 1'000'000;

// The element at (count - 1) / 2 of the sorted values; 0 for none. Of the squared norms of a round
// it is the square of the lower median norm.
absl::uint128 LowerMedian(std::vector<absl::uint128> values);

// The factor for an update of this squared norm: min(1, clip * |median| / |update|), in F64 (one
// division, one square root, one product). Exactly 1 where nothing is cut. A zero update gives 1;
// a zero median gives 0 for any other update. `clip_micro` from 0.
double ClipScale(absl::uint128 norm_squared, absl::uint128 median_squared, int64_t clip_micro);

// |update| / |median| in millionths, rounded up: the ratio exceeds k exactly if this exceeds k.
// 0 for a zero update; the largest int64 where the quotient is larger or the median is zero.
int64_t NormRatioMicro(absl::uint128 norm_squared, absl::uint128 median_squared);

// sqrt(norm_squared) * 2^-20.
double NormOf(absl::uint128 norm_squared);

}  // namespace rochdale::filter
