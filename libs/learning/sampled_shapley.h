// Shapley values of games with more than kExactShapleyMax contributors, from permutations that a
// committed seed determines. Pure; no torch.
//
// Permutations come in antithetic pairs: one drawn, and its reverse. Draws (any bytes as seed):
//   key   = SHA-256(seed)
//   block = SHA-256("ROCHDALE-PERMv1" || key || k as 8 bytes big-endian), k = 0, 1, ...: eight
//   32-bit big-endian words, taken in order across all permutations
//   uniform(m): words w until w < floor(2^32 / m) m; the value is w mod m
//   a permutation starts as 0 .. n-1; for i = n-1, ..., 1: swap places i and uniform(i + 1)
//
// How many pairs: stages of pairs_min, 2 pairs_min, 4 pairs_min, ..., pairs_max pairs, each with
// all permutations of the one before. Sampling ends with the first stage in which the standard
// error over permutations (s_pairs below) of everyone is at most error_max_nanonats, or with
// pairs_max. s_pairs follows from the coalitions' sums of losses, so who has these sums alone
// knows the stage.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/learning/shapley.h"

namespace rochdale::learning {

inline constexpr int kSampledPairsMax = 512;

struct SamplingRule {
  int pairs_min = 8;  // 2 .. pairs_max
  int pairs_max = 64;
  int64_t error_max_nanonats = 100'000;

  bool operator==(const SamplingRule&) const = default;
};

// Pairs of the stage after one with `pairs` pairs (0: of the first stage). pairs < pairs_max.
int PairsOfNextStage(const SamplingRule& rule, int pairs);

// 2 `pairs` permutations: drawn, reversed, drawn, reversed, ... 1 <= n <= 63,
// 1 <= pairs <= kSampledPairsMax.
std::vector<std::vector<int>> SamplePermutations(int n, int pairs, absl::string_view seed);

// Every coalition that the permutations pass through, the empty and the whole one included: sorted,
// without repetition. What must be evaluated.
std::vector<uint64_t> CoalitionsOf(absl::Span<const std::vector<int>> permutations);

// s_pairs of every contributor from the sums over `rows` rows of the losses of `masks`, which are
// sorted and hold every coalition of the permutations. BAD_REQUEST where one is missing, rows < 2,
// or there are fewer than 2 pairs.
absl::StatusOr<std::vector<int64_t>> PermutationErrors(
    absl::Span<const std::vector<int>> permutations, absl::Span<const uint64_t> masks, int64_t rows,
    absl::Span<const absl::int128> loss_sums);

// The pairs of the first stage with which sampling ends, among those that the permutations (a whole
// number of stages) cover; 0 where another stage is needed. Errors as PermutationErrors.
absl::StatusOr<int> PairsThatSuffice(const SamplingRule& rule,
                                     absl::Span<const std::vector<int>> permutations,
                                     absl::Span<const uint64_t> masks, int64_t rows,
                                     absl::Span<const absl::int128> loss_sums);

// Estimates per contributor with scale = the number of permutations P: on every row the sum over
// permutations of the marginals. losses are those of `masks`, which are sorted and hold at least
// CoalitionsOf(permutations), each over `rows` rows. The standard error covers both:
//   s = ceil(sqrt(s_rows^2 + s_pairs^2)),  s_rows as in shapley.h over rows, s_pairs the same over
//   pairs, of floor(1000 * (sum over rows of a pair's two marginals) / rows) with scale 2000.
// BAD_REQUEST unless rows >= 2, there are at least 2 pairs, the masks are such, and every loss is
// in 0 .. 2^49.
absl::StatusOr<std::vector<Estimate>> EstimateSampledShapley(
    absl::Span<const std::vector<int>> permutations, absl::Span<const uint64_t> masks, int64_t rows,
    absl::Span<const int64_t> losses);

}  // namespace rochdale::learning
