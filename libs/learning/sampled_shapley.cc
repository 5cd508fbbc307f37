#include "libs/learning/sampled_shapley.h"

#include <algorithm>
#include <numeric>

#include "libs/base/errors.h"
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

// The losses of each coalition, by its place among the sorted masks.
class LossTable {
 public:
  LossTable(absl::Span<const uint64_t> masks, int64_t rows, absl::Span<const int64_t> losses)
      : masks_(masks), rows_(rows), losses_(losses) {}

  const int64_t* Of(uint64_t mask) const {
    const auto at = std::lower_bound(masks_.begin(), masks_.end(), mask) - masks_.begin();
    return losses_.data() + at * rows_;
  }

 private:
  absl::Span<const uint64_t> masks_;
  int64_t rows_;
  absl::Span<const int64_t> losses_;
};

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

absl::StatusOr<std::vector<Estimate>> EstimateSampledShapley(
    absl::Span<const std::vector<int>> permutations, absl::Span<const uint64_t> masks, int64_t rows,
    absl::Span<const int64_t> losses) {
  const std::vector<uint64_t> expected = CoalitionsOf(permutations);
  if (permutations.size() < 4 || permutations.size() % 2 != 0 ||
      permutations.size() > 2 * kSampledPairsMax || rows < 2 ||
      masks != absl::MakeConstSpan(expected) || losses.size() != masks.size() * rows) {
    return Error("BAD_REQUEST", "the losses are not those of the permutations' coalitions");
  }
  for (int64_t loss : losses) {
    if (loss < 0 || loss > kLossNanonatsMax) {
      return Error("BAD_REQUEST", "a loss is out of bounds");
    }
  }
  const LossTable table(masks, rows, losses);
  const size_t n = permutations[0].size();
  const int64_t pairs = static_cast<int64_t>(permutations.size()) / 2;
  std::vector<std::vector<int64_t>> by_row(n, std::vector<int64_t>(rows));
  std::vector<std::vector<int64_t>> by_pair(n, std::vector<int64_t>(pairs));
  for (int64_t pair = 0; pair < pairs; ++pair) {
    std::vector<__int128> sums(n);
    for (int half = 0; half < 2; ++half) {
      uint64_t mask = 0;
      for (int i : permutations[2 * pair + half]) {
        const int64_t* before = table.Of(mask);
        const int64_t* after = table.Of(mask |= uint64_t{1} << i);
        int64_t* phi = by_row[i].data();
        for (int64_t r = 0; r < rows; ++r) {
          phi[r] += before[r] - after[r];
          sums[i] += before[r] - after[r];
        }
      }
    }
    for (size_t i = 0; i < n; ++i) by_pair[i][pair] = FloorDivide(sums[i] * kPairUnits, rows);
  }
  std::vector<Estimate> estimates;
  for (size_t i = 0; i < n; ++i) {
    Estimate estimate = EstimateMean(by_row[i], 2 * pairs);
    const Estimate spread = EstimateMean(by_pair[i], 2 * kPairUnits);
    estimate.standard_error = Hypotenuse(estimate.standard_error, spread.standard_error);
    estimates.push_back(estimate);
  }
  return estimates;
}

}  // namespace rochdale::learning
