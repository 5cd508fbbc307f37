// Looks at a growing number of rows: what A/B tests (comparison.h) and measuring for admission
// (early.h) share. Pure.
//
// Rows come in an order that a seed determines, and looks take its first rows: each look's rows
// hold those of the looks before. How many looks there can be, K, is known before the first, and
// every look spends the same part of an error probability (Bonferroni): over all of them together
// the error is at most that probability, however the looks depend on one another.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace rochdale::attribution {

inline constexpr int kLooksMax = 20;

// `rows` (indices below 2^32) by increasing (SHA-256(domain | seed | u32 row), row).
std::vector<int64_t> OrderedRows(absl::string_view domain, absl::string_view seed,
                                 std::vector<int64_t> rows);

// The smallest z, in hundredths, with 2 (1 - Phi(z / 100)) looks <= error: 0 .. 1,000.
int64_t StoppingZ(int64_t error_micro, int looks);

}  // namespace rochdale::attribution
