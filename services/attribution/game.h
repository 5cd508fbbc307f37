// The game of a round as integers: which coalitions are evaluated, what follows from their losses
// (credits, gate, applied coalition), and the Merkle root that commits to every loss. Pure.
//
// Contributors are bits 0 .. k-1. Up to 10 contributors every coalition is evaluated; above, only
// the empty one, the whole, every single one and every one left out, those that sampled
// permutations pass through where Shapley is paid, and (after the gate) what is applied.
//
// Permutations: SamplePermutations(k, pairs, "ROCHDALEperm1" | seed) with the round's seed, in the
// stages of libs/learning/sampled_shapley.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/credit_rule.h"
#include "libs/learning/sampled_shapley.h"
#include "libs/learning/shapley.h"

namespace rochdale::attribution {

inline constexpr int kContributorsMax = 63;

enum class Estimator { kSolo, kShapley, kLeaveOneOut, kBanzhaf };

absl::string_view EstimatorName(Estimator estimator);  // "solo", "shapley", ...
absl::StatusOr<Estimator> ParseEstimator(absl::string_view name);

// The rule of one round: every number comes from governed parameters.
struct GameRule {
  learning::CreditPreset preset = learning::CreditPreset::kHardened;
  Estimator estimator = Estimator::kShapley;
  int64_t z_gate_micro = 1'960'000;   // used in hundredths: floored to multiples of 10,000
  int64_t z_bound_micro = 1'960'000;
  learning::SamplingRule sampling;    // of sampled games only
  // A measured improvement of less than this, up or down, counts as none: for gate, pay and alarm,
  // and for the improvement over the best. 0 but for models that are not exact (TorchScriptSpec).
  int64_t deadband_nanonats = 0;
};

// What is paid in a game of k contributors where `wanted` was asked for: the literal preset pays
// solo; above 10 contributors Banzhaf becomes Shapley.
Estimator PaidEstimator(learning::CreditPreset preset, Estimator wanted, int contributors);

// Whether Shapley is paid from sampled permutations.
bool IsSampled(const GameRule& rule, int contributors);

// The permutations of a round, from its seed (32 bytes). That seed's SHA-256 is public from the
// round's opening on, which is why the permutations depend on another digest of it.
std::vector<std::vector<int>> RoundPermutations(int contributors, const crypto::Digest& seed,
                                                int pairs);

// The coalitions to evaluate, increasing: all 2^k up to 10 contributors, else those described
// above for so many pairs (0: not sampled), without what is applied.
// 1 <= contributors <= kContributorsMax.
std::vector<uint64_t> GameMasks(int contributors, const crypto::Digest& seed = {}, int pairs = 0);

// Losses of coalitions on the same rows: row r of masks[i] is losses[i * rows + r].
struct Game {
  int contributors = 0;
  int64_t rows = 0;
  std::vector<uint64_t> masks;   // increasing
  std::vector<int64_t> losses;
  std::vector<int64_t> best;     // of the best checkpoint so far; `rows` of them
  crypto::Digest seed;           // of the round; of sampled games
  int pairs = 0;                 // of permutations whose coalitions are there; 0: not sampled

  // Empty where the mask was not evaluated.
  absl::Span<const int64_t> Losses(uint64_t mask) const;
};

struct ContributorResult {
  bool harmful = false;
  int64_t credit = 0;            // nano-nats per row, at least 0
  int64_t estimate = 0;          // the paid estimator's mean, floored
  int64_t standard_error = 0;
  int64_t solo = 0;              // means, floored
  int64_t leave_one_out = 0;
  bool disagreement = false;     // a paid credit whose leave-one-out is significantly negative
};

struct GameResult {
  uint64_t applied_mask = 0;
  std::vector<ContributorResult> contributors;
};

// Adds coalitions, each once, in the order of `masks`; those that are there stay as they are.
void AddCoalitions(Game& game, const std::vector<uint64_t>& masks,
                   const std::vector<int64_t>& losses);

// Whether a sampled game has the pairs with which sampling ends; false where another stage has to
// be evaluated. BAD_REQUEST where its pairs are no stage or go on beyond the one where it ends.
absl::StatusOr<bool> SamplingEnds(const GameRule& rule, const Game& game);

// The coalition that the gate leaves: needed before Settle where not all were evaluated.
absl::StatusOr<uint64_t> AppliedMask(const GameRule& rule, const Game& game);

// The whole rule. `refused`: what the test of values took from what the gate left
// (aggregate_values.h); it is not applied and earns nothing. BAD_REQUEST where sizes do not fit, a
// coalition that is needed is missing, or sampling does not end here.
absl::StatusOr<GameResult> Settle(const GameRule& rule, const Game& game, uint64_t refused = 0);

// Sum over the rows.
absl::int128 LossSum(absl::Span<const int64_t> losses);

// RFC 6962 root over the leaves (u64 mask | u32 row position | i64 nano-nats), big-endian,
// mask-major, then those of the best checkpoint under the mask 2^64 - 1.
crypto::Digest LossesRoot(const Game& game);

}  // namespace rochdale::attribution
