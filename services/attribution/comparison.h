// A/B tests of two checkpoints: which one has the lower loss on held-out rows, decided as early as
// the rows allow. Pure.
//
// The rows are the visible ones of the sealed pool (draw.h), which settle no round: what a test
// shows of them tells nothing about rows that pay. Their order follows from a seed that is
// committed to when the test starts and revealed when it ends:
//     key(r) = SHA-256("ROCHDALEab1" | seed | u32 r), increasing (key(r), r)
// Looks are taken at rows_min, 2 rows_min, 4 rows_min, ... rows, the last at rows_max or at all
// that there are: K looks, known before the first. At a look with R rows let D = sum of L_b - L_a,
// s the standard error of its mean (shapley.h), m the margin, and z, in hundredths, the smallest
// with 2 (1 - Phi(z / 100)) K <= error:
//     100 D - z s R > 0                 A is better
//     100 D + z s R < 0                 B is better
//     100 |D| + z s R <= 100 m R        they are equal, to within the margin
//     else, at the last look            undecided
// The first look that decides ends the test. Every look spends its part of the error probability
// (looks.h), so that over all of them together a winner among equals, or equals that differ by more
// than the margin, are found with a probability of at most `error`. What this rests on is the
// normal approximation of a mean of rows_min paired differences, which is why a first look takes
// no fewer than kLookRowsMin.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "libs/crypto/sha256.h"
#include "services/attribution/looks.h"

namespace rochdale::attribution {

inline constexpr int64_t kLookRowsMin = 30;

struct ComparisonRule {
  int64_t rows_min = 250;     // kLookRowsMin .. 50,000
  int64_t rows_max = 10'000;  // below rows_min: one look
  int64_t error_micro = 10'000;  // a probability in millionths, 1 .. 500,000
  int64_t margin_nanonats = 1'000'000;

  bool operator==(const ComparisonRule&) const = default;
};

// Numbers of the proto's ComparisonVerdict.
enum class Verdict : int16_t { kNone = 0, kABetter = 1, kBBetter = 2, kEqual = 3, kUndecided = 4 };

// Visible rows in the order in which they are looked at.
std::vector<int64_t> ComparisonOrder(const crypto::Digest& seed, std::vector<int64_t> visible);

// Rows of the look after one with `rows` (0: of the first), where there are `available`; `rows`
// itself after the last.
int64_t RowsOfNextLook(const ComparisonRule& rule, int64_t available, int64_t rows);

// K above: 1 .. kLooksMax.
int LooksOf(const ComparisonRule& rule, int64_t available);

struct Look {
  int64_t rows = 0;
  int64_t difference = 0;       // mean of L_b - L_a, floored, nano-nats: above 0 A is better
  int64_t standard_error = 0;
  Verdict verdict = Verdict::kNone;  // kNone: another look is to be taken

  bool operator==(const Look&) const = default;
};

// The look at the first so many rows (at least two) in the order of the test, where there are
// `available` to look at.
Look TakeLook(const ComparisonRule& rule, int64_t available, absl::Span<const int64_t> losses_a,
              absl::Span<const int64_t> losses_b);

}  // namespace rochdale::attribution
