#include "libs/base/amount.h"

#include <limits>

#include "absl/status/status.h"

namespace rochdale {

absl::StatusOr<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return absl::OutOfRangeError("sum exceeds 64 bits");
  return sum;
}

absl::StatusOr<int64_t> CheckedSub(int64_t a, int64_t b) {
  int64_t difference;
  if (__builtin_sub_overflow(a, b, &difference)) {
    return absl::OutOfRangeError("difference exceeds 64 bits");
  }
  return difference;
}

absl::StatusOr<int64_t> MulDivFloor(int64_t a, int64_t b, int64_t c) {
  if (a < 0 || b < 0 || c <= 0) return absl::InvalidArgumentError("needs a, b >= 0 and c > 0");
  const absl::uint128 quotient = absl::uint128(static_cast<uint64_t>(a)) *
                                 static_cast<uint64_t>(b) / static_cast<uint64_t>(c);
  if (quotient > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return absl::OutOfRangeError("quotient exceeds 64 bits");
  }
  return static_cast<int64_t>(quotient);
}

absl::uint128 IntegerSqrtFloor(absl::uint128 n) {
  // Bit by bit: at most 64 steps, exact, no floating point.
  absl::uint128 root = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const absl::uint128 candidate = root | (absl::uint128(1) << bit);
    if (candidate <= n / candidate) root = candidate;
  }
  return root;
}

absl::uint128 IntegerSqrtCeil(absl::uint128 n) {
  const absl::uint128 root = IntegerSqrtFloor(n);
  return root * root == n ? root : root + 1;
}

}  // namespace rochdale
