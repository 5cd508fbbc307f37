#include "libs/learning/sampled_shapley.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/counter_words.h"
#include "libs/learning/wide.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kPairUnits = 1'000;  // of a nano-nat, for the spread over pairs

int64_t FloorDivide(__int128 numerator, int64_t denominator) {
  __int128 quotient = numerator / denominator;
  if (numerator % denominator < 0) --quotient;
  return static_cast<int64_t>(quotient);
}

// ceil(sqrt(a^2 + b^2)).
int64_t Hypotenuse(int64_t a, int64_t b) {
  const unsigned __int128 square =
      static_cast<unsigned __int128>(a) * a + static_cast<unsigned __int128>(b) * b;
  return static_cast<int64_t>(SmallestWhere(uint64_t{1} << 63, [square](uint64_t s) {
    return static_cast<unsigned __int128>(s) * s >= square;
  }));
}

int64_t PlaceOf(absl::Span<const uint64_t> masks, uint64_t mask) {
  return std::lower_bound(masks.begin(), masks.end(), mask) - masks.begin();
}

// Sorted, without repetition, every coalition of the permutations among them.
bool Cover(absl::Span<const uint64_t> masks, absl::Span<const std::vector<int>> permutations) {
  if (std::adjacent_find(masks.begin(), masks.end(), std::greater_equal<>()) != masks.end()) {
    return false;
  }
  const std::vector<uint64_t> needed = CoalitionsOf(permutations);
  return std::includes(masks.begin(), masks.end(), needed.begin(), needed.end());
}

absl::Status CheckPermutations(absl::Span<const std::vector<int>> permutations,
                               absl::Span<const uint64_t> masks, int64_t rows) {
  if (permutations.size() >= 4 && permutations.size() % 2 == 0 &&
      permutations.size() <= 2 * kSampledPairsMax && rows >= 2 && Cover(masks, permutations)) {
    return absl::OkStatus();
  }
  return Error("BAD_REQUEST", "the losses are not those of the permutations' coalitions");
}

}  // namespace

std::vector<std::vector<int>> SamplePermutations(int n, int pairs, absl::string_view seed) {
  CounterWords words("ROCHDALE-PERMv1", seed);
  std::vector<std::vector<int>> permutations;
  for (int pair = 0; pair < pairs; ++pair) {
    std::vector<int> order(n);
    std::iota(order.begin(), order.end(), 0);
    for (int i = n - 1; i >= 1; --i) std::swap(order[i], order[words.Below(i + 1)]);
    permutations.push_back(order);
    std::reverse(order.begin(), order.end());
    permutations.push_back(std::move(order));
  }
  return permutations;
}

std::vector<uint64_t> CoalitionsOf(absl::Span<const std::vector<int>> permutations) {
  std::vector<uint64_t> masks{0};
  for (const std::vector<int>& order : permutations) {
    uint64_t mask = 0;
    for (int i : order) masks.push_back(mask |= uint64_t{1} << i);
  }
  std::sort(masks.begin(), masks.end());
  masks.erase(std::unique(masks.begin(), masks.end()), masks.end());
  return masks;
}

int PairsOfNextStage(const SamplingRule& rule, int pairs) {
  return std::min(pairs == 0 ? rule.pairs_min : 2 * pairs, rule.pairs_max);
}

absl::StatusOr<std::vector<int64_t>> PermutationErrors(
    absl::Span<const std::vector<int>> permutations, absl::Span<const uint64_t> masks, int64_t rows,
    absl::Span<const absl::int128> loss_sums) {
  RETURN_IF_ERROR(CheckPermutations(permutations, masks, rows));
  if (loss_sums.size() != masks.size()) {
    return Error("BAD_REQUEST", "there is not one sum of losses for each coalition");
  }
  const size_t n = permutations[0].size();
  const int64_t pairs = static_cast<int64_t>(permutations.size()) / 2;
  std::vector<std::vector<int64_t>> by_pair(n, std::vector<int64_t>(pairs));
  for (int64_t pair = 0; pair < pairs; ++pair) {
    std::vector<__int128> sums(n);
    for (int half = 0; half < 2; ++half) {
      uint64_t mask = 0;
      __int128 before = static_cast<__int128>(loss_sums[PlaceOf(masks, mask)]);
      for (int i : permutations[2 * pair + half]) {
        mask |= uint64_t{1} << i;
        const auto after = static_cast<__int128>(loss_sums[PlaceOf(masks, mask)]);
        sums[i] += before - after;
        before = after;
      }
    }
    for (size_t i = 0; i < n; ++i) by_pair[i][pair] = FloorDivide(sums[i] * kPairUnits, rows);
  }
  std::vector<int64_t> errors;
  for (const std::vector<int64_t>& pair_values : by_pair) {
    errors.push_back(EstimateMean(pair_values, 2 * kPairUnits).standard_error);
  }
  return errors;
}

absl::StatusOr<int> PairsThatSuffice(const SamplingRule& rule,
                                     absl::Span<const std::vector<int>> permutations,
                                     absl::Span<const uint64_t> masks, int64_t rows,
                                     absl::Span<const absl::int128> loss_sums) {
  const int covered = static_cast<int>(permutations.size() / 2);
  for (int pairs = PairsOfNextStage(rule, 0); pairs <= covered;
       pairs = PairsOfNextStage(rule, pairs)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> errors,
                     PermutationErrors(permutations.subspan(0, 2 * pairs), masks, rows, loss_sums));
    const bool precise = *std::max_element(errors.begin(), errors.end()) <= rule.error_max_nanonats;
    if (precise || pairs == rule.pairs_max) return pairs;
  }
  return 0;
}

absl::StatusOr<std::vector<Estimate>> EstimateSampledShapley(
    absl::Span<const std::vector<int>> permutations, absl::Span<const uint64_t> masks, int64_t rows,
    absl::Span<const int64_t> losses) {
  RETURN_IF_ERROR(CheckPermutations(permutations, masks, rows));
  if (losses.size() != masks.size() * rows) {
    return Error("BAD_REQUEST", "there is not one loss for each coalition and row");
  }
  std::vector<absl::int128> sums(masks.size());
  for (size_t at = 0; at < losses.size(); ++at) {
    if (losses[at] < 0 || losses[at] > kLossNanonatsMax) {
      return Error("BAD_REQUEST", "a loss is out of bounds");
    }
    sums[at / rows] += losses[at];
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> errors,
                   PermutationErrors(permutations, masks, rows, sums));
  const size_t n = permutations[0].size();
  std::vector<std::vector<int64_t>> by_row(n, std::vector<int64_t>(rows));
  for (const std::vector<int>& order : permutations) {
    uint64_t mask = 0;
    const int64_t* before = losses.data() + PlaceOf(masks, mask) * rows;
    for (int i : order) {
      mask |= uint64_t{1} << i;
      const int64_t* after = losses.data() + PlaceOf(masks, mask) * rows;
      int64_t* phi = by_row[i].data();
      for (int64_t r = 0; r < rows; ++r) phi[r] += before[r] - after[r];
      before = after;
    }
  }
  std::vector<Estimate> estimates;
  for (size_t i = 0; i < n; ++i) {
    Estimate estimate = EstimateMean(by_row[i], static_cast<int64_t>(permutations.size()));
    estimate.standard_error = Hypotenuse(estimate.standard_error, errors[i]);
    estimates.push_back(estimate);
  }
  return estimates;
}

}  // namespace rochdale::learning
