// Aggregation rules: what a coalition of updates adds to the base checkpoint. Integers only, so
// that what is evaluated is bit for bit what is applied, on any machine. Pure.
//
// n is the number of lineages of the round, u_i an effective update, in units of 2^-20.
//   linear rules      Agg(S) = sum over S of e_i, e_i = round_half_even(u_i w_i)
//     mean              w_i = 1 / n
//     sample_weighted   w_i = shares[i] / 2^30, by reported numbers of samples
//     credit_weighted   w_i = shares[i] / 2^30, half of all weight equal, half by earlier credits
//   robust rules      Agg(S) = round_half_even(|S| sum over K of u_i / (|K| n)), parameter by
//                     parameter: the average of those that are kept, K in S, in the weight that S
//                     has in the mean; a refusal does not change the weight of others
//     trimmed_mean      b = floor(|S| trim_bp / 10000); K: all but the b lowest and b highest
//     median            K: the middle one, or two
//     multi_krum        f = floor(|S| trim_bp / 10000); K: the |S| - f updates with the smallest
//                       (score, index), the score being the sum of the squared distances to the
//                       |S| - f - 2 nearest others of S (Blanchard et al., NeurIPS 2017)
//   where S is smaller than the rule needs (b = 0; |S| < 3; f = 0 or |S| < 2 f + 3): K = S
// theta(S) = clamp(base + Agg(S), -(2^23 - 1), 2^23 - 1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/learning/evaluator.h"
#include "libs/learning/grid.h"

namespace rochdale::learning {

enum class AggregationRule {
  kMean,
  kSampleWeighted,
  kCreditWeighted,
  kTrimmedMean,
  kMedian,
  kMultiKrum,
};

inline constexpr int64_t kShareUnit = int64_t{1} << 30;
inline constexpr int64_t kTrimBpMax = 4'900;  // something is always kept

absl::string_view AggregationRuleName(AggregationRule rule);  // "mean", "sample_weighted", ...
absl::StatusOr<AggregationRule> ParseAggregationRule(absl::string_view name);

// Whether a coalition is the sum of its members' weighted updates.
bool IsLinear(AggregationRule rule);
// Whether weights come from shares.
bool IsWeighted(AggregationRule rule);

struct Aggregation {
  AggregationRule rule = AggregationRule::kMean;
  std::vector<int64_t> shares;  // weighted rules: of each update, units of 2^-30; else empty
  int64_t trim_bp = 0;          // kTrimmedMean, kMultiKrum; else 0

  bool operator==(const Aggregation&) const = default;
};

// {"rule":word,"shares":[n,...],"trim_bp":n}: keys in this order, no spaces.
std::string AggregationToJson(const Aggregation& aggregation);
// BAD_REQUEST for anything else, for shares of other than `updates` updates, outside 0 .. 2^30 or
// above 2^30 together, and for a trim_bp outside 0 .. kTrimBpMax.
absl::StatusOr<Aggregation> ParseAggregation(absl::string_view json, int64_t updates);

// Shares of all lineages of a round from their numbers of samples, or from their credits in earlier
// rounds (each 0 .. 2^62, at least one). By samples floor(2^30 size / sum); by credits
// floor(2^29 / n) + floor(2^29 credit / sum), so that newcomers can earn. Where the sum is 0
// floor(2^30 / n). Together at most 2^30.
std::vector<int64_t> WeightShares(AggregationRule rule, absl::Span<const int64_t> sizes);

// What coalitions are made of: e_i of a linear rule, u_i of a robust one. `index` among
// aggregation.shares; lineages >= 1.
GridVector PrepareUpdate(const Aggregation& aggregation, int64_t lineages, size_t index,
                         GridSpan effective);

// The coalitions of prepared updates, which outlive it. Not thread-safe.
class Aggregator {
 public:
  // At most kUpdatesMax updates of base's length; lineages >= 1.
  Aggregator(AggregationRule rule, int64_t trim_bp, int64_t lineages, GridSpan base,
             std::vector<GridSpan> prepared);

  // theta(S).
  GridVector Parameters(uint64_t mask);

  // Losses of theta(S) for every mask, as EvaluateCoalitions gives them and with its errors; robust
  // rules as checkpoints of their own, a few at a time.
  absl::StatusOr<LossMatrix> Evaluate(Evaluator& evaluator, const ModelSpec& spec,
                                      absl::Span<const uint64_t> masks, Rows rows,
                                      const EvaluationOptions& options = {});

 private:
  std::vector<int> Krum(const std::vector<int>& members);
  void FindDistances();

  const AggregationRule rule_;
  const int64_t trim_bp_;
  const int64_t lineages_;
  const GridSpan base_;
  const std::vector<GridSpan> prepared_;
  std::vector<unsigned __int128> distances_;  // squared, i * updates + j; empty before needed
};

}  // namespace rochdale::learning
