// Money: integer micro-tokens, 1 token = 1,000,000 micro-tokens. No floats, no silent overflow.
#pragma once

#include <cstdint>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"

namespace rochdale {

using MicroTokens = int64_t;
inline constexpr MicroTokens kMicroTokensPerToken = 1'000'000;

// OUT_OF_RANGE where the result does not fit.
absl::StatusOr<int64_t> CheckedAdd(int64_t a, int64_t b);
absl::StatusOr<int64_t> CheckedSub(int64_t a, int64_t b);

// floor(a * b / c) through 128 bits, for a, b >= 0 and c > 0. INVALID_ARGUMENT otherwise,
// OUT_OF_RANGE where the quotient does not fit.
absl::StatusOr<int64_t> MulDivFloor(int64_t a, int64_t b, int64_t c);

// The largest r with r * r <= n; n >= 0. And the smallest r with r * r >= n.
absl::uint128 IntegerSqrtFloor(absl::uint128 n);
absl::uint128 IntegerSqrtCeil(absl::uint128 n);

}  // namespace rochdale
