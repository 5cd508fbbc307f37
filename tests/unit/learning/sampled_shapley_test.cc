#include "libs/learning/sampled_shapley.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <random>

#include "libs/base/errors.h"

namespace rochdale::learning {
namespace {

// v of a coalition on a row: contributions that overlap, so that order matters.
int64_t Loss(uint64_t mask, int64_t row) {
  const int64_t size = __builtin_popcountll(mask);
  int64_t gain = 0;
  for (int i = 0; i < 63; ++i) gain += (mask >> i & 1) * (100'000 + 7'000 * i + 1'000 * (row % 13));
  return 2'000'000'000 - gain + 3'000 * size * size;
}

std::vector<int64_t> Losses(absl::Span<const uint64_t> masks, int64_t rows) {
  std::vector<int64_t> losses;
  for (uint64_t mask : masks) {
    for (int64_t r = 0; r < rows; ++r) losses.push_back(Loss(mask, r));
  }
  return losses;
}

TEST_CASE("permutations come in antithetic pairs and depend on the seed alone") {
  const auto permutations = SamplePermutations(12, 5, "seed");
  REQUIRE(permutations.size() == 10);
  for (size_t p = 0; p < permutations.size(); p += 2) {
    std::vector<int> sorted = permutations[p], reversed = permutations[p];
    std::sort(sorted.begin(), sorted.end());
    for (int i = 0; i < 12; ++i) CHECK(sorted[i] == i);
    std::reverse(reversed.begin(), reversed.end());
    CHECK(permutations[p + 1] == reversed);
  }
  CHECK(permutations == SamplePermutations(12, 5, "seed"));
  CHECK(permutations != SamplePermutations(12, 5, "other"));
  // The first pairs of a longer sample are those of a shorter one.
  const auto longer = SamplePermutations(12, 9, "seed");
  CHECK(std::equal(permutations.begin(), permutations.end(), longer.begin()));
}

TEST_CASE("every place is as likely for everyone") {
  const int n = 5, pairs = 512;
  std::vector<int> counts(n * n);
  for (const auto& order : SamplePermutations(n, pairs, "uniform")) {
    for (int place = 0; place < n; ++place) ++counts[order[place] * n + place];
  }
  for (int count : counts) CHECK(std::abs(count - 2 * pairs / n) < 70);
}

TEST_CASE("the estimates sum to the whole improvement and cover the true values") {
  const int n = 12;
  const int64_t rows = 40;
  const auto permutations = SamplePermutations(n, 40, "game");
  const auto masks = CoalitionsOf(permutations);
  CHECK(masks.front() == 0);
  CHECK(masks.back() == (uint64_t{1} << n) - 1);
  const auto losses = Losses(masks, rows);
  const auto estimates = EstimateSampledShapley(permutations, masks, rows, losses).value();
  __int128 sum = 0;
  for (const Estimate& estimate : estimates) sum += static_cast<__int128>(estimate.total);
  __int128 whole = 0;
  for (int64_t r = 0; r < rows; ++r) whole += Loss(0, r) - Loss(masks.back(), r);
  CHECK((sum == whole * 80));
  for (int i = 0; i < n; ++i) {
    // The quadratic part is shared equally: 3,000 n each.
    double truth = 100'000 + 7'000 * i - 3'000 * n;
    for (int64_t r = 0; r < rows; ++r) truth += 1'000.0 * (r % 13) / rows;
    CHECK(std::abs(estimates[i].Mean() - truth) < 5 * estimates[i].standard_error + 1);
    CHECK(estimates[i].standard_error > 0);
  }
}

TEST_CASE("the spread over permutations is part of the error") {
  const int n = 3;
  const int64_t rows = 6;
  const auto permutations = SamplePermutations(n, 8, "spread");
  const auto masks = CoalitionsOf(permutations);
  std::vector<int64_t> losses;  // equal on all rows: only {0, 1} together gain
  for (uint64_t mask : masks) {
    losses.insert(losses.end(), rows, 1'000'000 - ((mask & 3) == 3 ? 600'000 : 0));
  }
  const auto estimates = EstimateSampledShapley(permutations, masks, rows, losses).value();
  // In a pair each of the two comes second once: no spread at all, thanks to the reverse.
  CHECK(estimates[0].Mean() == 300'000);
  CHECK(estimates[0].standard_error == 0);
  // Three needed together: the last to come takes all, and pairs differ.
  losses.clear();
  for (uint64_t mask : masks) losses.insert(losses.end(), rows, mask == 7 ? 100'000 : 1'000'000);
  const auto joint = EstimateSampledShapley(permutations, masks, rows, losses).value();
  CHECK(joint[0].standard_error + joint[1].standard_error + joint[2].standard_error > 0);
}

TEST_CASE("more coalitions than the permutations need change nothing") {
  const int n = 11;
  const auto permutations = SamplePermutations(n, 4, "more");
  const auto fewer = CoalitionsOf(permutations);
  const auto more = CoalitionsOf(SamplePermutations(n, 16, "more"));
  REQUIRE(more.size() > fewer.size());
  const auto a = EstimateSampledShapley(permutations, fewer, 5, Losses(fewer, 5)).value();
  const auto b = EstimateSampledShapley(permutations, more, 5, Losses(more, 5)).value();
  CHECK(a == b);
}

TEST_CASE("sampling ends with the first stage that is precise enough") {
  const int n = 12;
  const int64_t rows = 4;
  const SamplingRule rule{2, 40, 0};
  CHECK(PairsOfNextStage(rule, 0) == 2);
  CHECK(PairsOfNextStage(rule, 16) == 32);
  CHECK(PairsOfNextStage(rule, 32) == 40);
  const auto permutations = SamplePermutations(n, 40, "stages");
  const auto masks = CoalitionsOf(permutations);
  std::vector<absl::int128> sums;
  for (uint64_t mask : masks) {
    absl::int128 sum = 0;
    // A third power, which a reverse does not cancel.
    const int64_t size = __builtin_popcountll(mask & 0x3f);
    for (int64_t r = 0; r < rows; ++r) sum += Loss(mask, r) - 10'000 * size * size * size;
    sums.push_back(sum);
  }
  auto ends = [&](int64_t bound, int covered) {
    SamplingRule bounded = rule;
    bounded.error_max_nanonats = bound;
    return PairsThatSuffice(bounded, absl::MakeConstSpan(permutations).subspan(0, 2 * covered),
                            masks, rows, sums).value();
  };
  auto worst = [&](int pairs) {
    const auto errors =
        PermutationErrors(absl::MakeConstSpan(permutations).subspan(0, 2 * pairs), masks, rows,
                          sums).value();
    return *std::max_element(errors.begin(), errors.end());
  };
  REQUIRE(worst(40) > 0);
  CHECK(ends(0, 32) == 0);   // has to go on
  CHECK(ends(0, 40) == 40);  // as far as it may
  CHECK(ends(1'000'000'000, 40) == 2);
  for (const int stage : {2, 4, 8, 16, 32}) {
    // The first stage with an error as small as this one's.
    int expected = 2;
    while (expected < 40 && worst(expected) > worst(stage)) expected = std::min(2 * expected, 40);
    CHECK(ends(worst(stage), 40) == expected);
  }
  CHECK_FALSE(PermutationErrors(permutations, masks, 1, sums).ok());
  CHECK_FALSE(PermutationErrors(permutations, absl::MakeConstSpan(masks).subspan(1), rows,
                                absl::MakeConstSpan(sums).subspan(1)).ok());
}

TEST_CASE("tables that do not belong to the permutations are refused") {
  const auto permutations = SamplePermutations(11, 3, "x");
  auto masks = CoalitionsOf(permutations);
  const auto losses = Losses(masks, 2);
  auto reason = [&](absl::Span<const std::vector<int>> orders, int64_t rows,
                    absl::Span<const int64_t> table) {
    return ReasonOf(EstimateSampledShapley(orders, masks, rows, table).status());
  };
  CHECK(reason(permutations, 2, losses) == "");
  CHECK(reason(permutations, 1, losses) == "BAD_REQUEST");
  CHECK(reason(SamplePermutations(11, 3, "y"), 2, losses) == "BAD_REQUEST");
  CHECK(reason(absl::MakeConstSpan(permutations).subspan(3), 2, losses) == "BAD_REQUEST");
  CHECK(reason({}, 2, losses) == "BAD_REQUEST");
  std::vector<int64_t> bad = losses;
  bad[3] = -1;
  CHECK(reason(permutations, 2, bad) == "BAD_REQUEST");
  masks[1] ^= 1;
  CHECK(reason(permutations, 2, losses) == "BAD_REQUEST");
}

}  // namespace
}  // namespace rochdale::learning
