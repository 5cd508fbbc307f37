#include "libs/learning/aggregation.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <set>

#include "libs/base/errors.h"

namespace rochdale::learning {
namespace {

using enum AggregationRule;

std::vector<GridVector> RandomUpdates(std::mt19937& random, int count, size_t size) {
  std::vector<GridVector> updates(count, GridVector(size));
  for (GridVector& update : updates) {
    for (int32_t& units : update) units = static_cast<int32_t>(random() % 2'000'001) - 1'000'000;
  }
  return updates;
}

// Which members are kept, from the text of aggregation.h alone, in floating point where that is
// exact: small numbers.
std::vector<GridVector> KeptByKrum(std::vector<GridVector> members, int64_t trim_bp) {
  const int s = static_cast<int>(members.size());
  const int f = static_cast<int>(std::floor(s * trim_bp / 10'000.0));
  if (f == 0 || s < 2 * f + 3) return members;
  std::vector<std::pair<double, int>> scores;
  for (int i = 0; i < s; ++i) {
    std::multiset<double> distances;
    for (int j = 0; j < s; ++j) {
      double sum = 0;
      for (size_t p = 0; p < members[i].size(); ++p) {
        sum += std::pow(static_cast<double>(members[i][p]) - members[j][p], 2);
      }
      if (j != i) distances.insert(sum);
    }
    double score = 0;
    auto at = distances.begin();
    for (int k = 0; k < s - f - 2; ++k) score += *at++;
    scores.emplace_back(score, i);
  }
  std::stable_sort(scores.begin(), scores.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<GridVector> kept;
  for (int i = 0; i < s - f; ++i) kept.push_back(members[scores[i].second]);
  return kept;
}

// Agg(S) of one parameter before rounding, times the divisor.
double NaiveStep(AggregationRule rule, std::vector<double> values, int s, int64_t n, int64_t bp) {
  std::sort(values.begin(), values.end());
  size_t drop = 0;
  if (rule == kTrimmedMean) drop = static_cast<size_t>(values.size() * bp / 10'000);
  if (rule == kMedian && values.size() >= 3) drop = (values.size() - 1) / 2;
  double sum = 0;
  for (size_t i = drop; i < values.size() - drop; ++i) sum += values[i];
  return sum / static_cast<double>(values.size() - 2 * drop) * s / static_cast<double>(n);
}

std::vector<GridSpan> SpansOf(const std::vector<GridVector>& vectors) {
  return {vectors.begin(), vectors.end()};
}

TEST_CASE("robust rules are what their definition says, for every coalition") {
  const uint32_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (const AggregationRule rule : {kTrimmedMean, kMedian, kMultiKrum}) {
    for (int game = 0; game < 6; ++game) {
      const int count = 1 + static_cast<int>(random() % 9);
      const int64_t n = count + static_cast<int64_t>(random() % 3);
      const int64_t bp = static_cast<int64_t>(random() % (kTrimBpMax + 1));
      const GridVector base(7, 0);
      const std::vector<GridVector> updates = RandomUpdates(random, count, base.size());
      Aggregator aggregator(rule, bp, n, base, SpansOf(updates));
      for (uint64_t mask = 0; mask < uint64_t{1} << count; ++mask) {
        std::vector<GridVector> members;
        for (int i = 0; i < count; ++i) {
          if (mask >> i & 1) members.push_back(updates[i]);
        }
        const GridVector found = aggregator.Parameters(mask);
        if (members.empty()) {
          CHECK(found == base);
          continue;
        }
        const int s = static_cast<int>(members.size());
        if (rule == kMultiKrum) members = KeptByKrum(members, bp);
        for (size_t p = 0; p < base.size(); ++p) {
          std::vector<double> values;
          for (const GridVector& member : members) values.push_back(member[p]);
          const double step = NaiveStep(rule, values, s, n, bp);
          INFO(AggregationRuleName(rule) << " " << count << " updates, mask " << mask);
          CHECK(std::abs(found[p] - step) <= 0.5 + 1e-6);
        }
      }
    }
  }
}

TEST_CASE("robust rules ignore one that is far away, the mean does not") {
  std::mt19937 random(3);
  std::vector<GridVector> updates(7, GridVector(4));
  for (GridVector& update : updates) {
    for (int32_t& units : update) units = 1'000 + static_cast<int32_t>(random() % 100);
  }
  updates[4].assign(4, -8'000'000);
  const GridVector base(4, 0);
  for (const AggregationRule rule : {kTrimmedMean, kMedian, kMultiKrum}) {
    INFO(AggregationRuleName(rule));
    const GridVector found = Aggregator(rule, 2'000, 7, base, SpansOf(updates)).Parameters(127);
    for (const int32_t units : found) CHECK((units >= 1'000 && units < 1'100));
  }
  CHECK(Aggregator(kMean, 0, 7, base, SpansOf(updates)).Parameters(127)[0] < 0);
}

TEST_CASE("a refusal does not change the weight of the others") {
  const std::vector<GridVector> updates(5, GridVector{700'000, -350'000});
  const GridVector base{10, 20};
  for (const AggregationRule rule : {kTrimmedMean, kMedian, kMultiKrum}) {
    Aggregator aggregator(rule, 2'000, 7, base, SpansOf(updates));
    CHECK(aggregator.Parameters(0b00001) == GridVector{100'010, -49'980});
    CHECK(aggregator.Parameters(0b10111) == GridVector{400'010, -199'980});
    CHECK(aggregator.Parameters(0b11111) == GridVector{500'010, -249'980});
  }
}

TEST_CASE("ties between scores go to the earlier update, and the result stays on the grid") {
  // All distances are equal: multi-Krum drops the last.
  std::vector<GridVector> updates(5, GridVector(5, 0));
  for (int i = 0; i < 5; ++i) updates[i][i] = 1'000;
  const GridVector base(5, 0);
  const GridVector found = Aggregator(kMultiKrum, 2'000, 5, base, SpansOf(updates)).Parameters(31);
  CHECK(found == GridVector{250, 250, 250, 250, 0});
  const GridVector high(5, kGridMax - 1);
  CHECK(Aggregator(kMedian, 0, 1, high, {high, high, high}).Parameters(7) ==
        GridVector(5, kGridMax));
}

TEST_CASE("linear rules are sums of weighted updates") {
  Aggregation aggregation;
  const GridVector update{8, 12, -5};
  CHECK(PrepareUpdate(aggregation, 8, 0, update) == WeightUpdate(update, 1, 8));
  aggregation.rule = kSampleWeighted;
  aggregation.shares = {kShareUnit / 4, kShareUnit};
  CHECK(PrepareUpdate(aggregation, 8, 0, update) == GridVector{2, 3, -1});
  CHECK(PrepareUpdate(aggregation, 8, 1, update) == update);
  aggregation.rule = kMedian;
  CHECK(PrepareUpdate(aggregation, 8, 0, update) == update);
  const std::vector<GridVector> two{{1, 2}, {10, 20}};
  const GridVector base{100, 100};
  Aggregator aggregator(kSampleWeighted, 0, 2, base, SpansOf(two));
  CHECK(aggregator.Parameters(3) == GridVector{111, 122});
}

TEST_CASE("shares are in proportion and at most one together") {
  CHECK(WeightShares(kSampleWeighted, {1, 3}) ==
        std::vector<int64_t>{kShareUnit / 4, kShareUnit / 4 * 3});
  // Half is everybody's.
  CHECK(WeightShares(kCreditWeighted, {0, 30}) ==
        std::vector<int64_t>{kShareUnit / 4, kShareUnit / 4 * 3});
  CHECK(WeightShares(kCreditWeighted, {0, 0, 0}) == std::vector<int64_t>(3, kShareUnit / 3));
  std::mt19937_64 random(5);
  for (const AggregationRule rule : {kSampleWeighted, kCreditWeighted}) {
    std::vector<int64_t> sizes(63);
    for (int64_t& size : sizes) size = static_cast<int64_t>(random() >> 2);  // up to 2^62
    int64_t sum = 0;
    for (const int64_t share : WeightShares(rule, sizes)) {
      CHECK(share >= 0);
      sum += share;
    }
    CHECK(sum <= kShareUnit);
    CHECK(sum > kShareUnit - 200);
  }
}

TEST_CASE("coalitions of robust rules are evaluated as the checkpoints they are") {
  std::mt19937 random(9);
  ModelSpec spec;
  spec.layer_sizes = {6, 5, 3};
  HostEvaluator evaluator;
  const GridVector base = InitialParameters(spec, "base");
  const std::vector<GridVector> updates = RandomUpdates(random, 5, base.size());
  Dataset data;
  data.dimension = 6;
  for (int r = 0; r < 20; ++r) {
    for (int k = 0; k < 6; ++k) data.inputs.push_back(static_cast<uint8_t>(random()));
    data.labels.push_back(static_cast<int32_t>(random() % 3));
  }
  for (const AggregationRule rule : {kMean, kTrimmedMean, kMedian, kMultiKrum}) {
    Aggregator aggregator(rule, 2'000, 5, base, SpansOf(updates));
    const std::vector<uint64_t> masks{0, 3, 7, 31};
    const auto matrix = aggregator.Evaluate(evaluator, spec, masks, data);
    REQUIRE(matrix.ok());
    for (size_t c = 0; c < masks.size(); ++c) {
      const GridVector theta = aggregator.Parameters(masks[c]);
      const auto alone = EvaluateCheckpoints(spec, {GridSpan(theta)}, data);
      REQUIRE(alone.ok());
      CHECK(matrix->candidate(c) == alone->candidate(0));
    }
    CHECK(ReasonOf(aggregator.Evaluate(evaluator, spec, {32}, data).status()) == "BAD_REQUEST");
  }
}

TEST_CASE("an aggregation comes back as it was written, and hostile ones are refused") {
  for (const Aggregation& aggregation :
       {Aggregation{}, Aggregation{kSampleWeighted, {1, 2, 3}, 0}, Aggregation{kMedian, {}, 0},
        Aggregation{kMultiKrum, {}, 2'000}, Aggregation{kTrimmedMean, {}, kTrimBpMax},
        Aggregation{kCreditWeighted, {kShareUnit, 0, 0}, 0}}) {
    const auto parsed = ParseAggregation(AggregationToJson(aggregation), 3);
    REQUIRE(parsed.ok());
    CHECK(*parsed == aggregation);
  }
  const auto refused = [](const char* json) {
    return ReasonOf(ParseAggregation(json, 2).status()) == "BAD_REQUEST";
  };
  CHECK(refused(""));
  CHECK(refused("[]"));
  CHECK(refused(R"({"rule":"average","shares":[],"trim_bp":0})"));
  CHECK(refused(R"({"rule":"mean","shares":[]})"));
  CHECK(refused(R"({"rule":"mean","shares":[1,2],"trim_bp":0})"));
  CHECK(refused(R"({"rule":"median","shares":[],"trim_bp":5})"));
  CHECK(refused(R"({"rule":"trimmed_mean","shares":[],"trim_bp":5000})"));
  CHECK(refused(R"({"rule":"sample_weighted","shares":[1],"trim_bp":0})"));
  CHECK(refused(R"({"rule":"sample_weighted","shares":[-1,1],"trim_bp":0})"));
  CHECK(refused(R"({"rule":"sample_weighted","shares":[1073741824,1],"trim_bp":0})"));
  CHECK(refused(R"({"rule":"sample_weighted","shares":[1.5,1],"trim_bp":0})"));
  CHECK(refused(R"({"rule":"mean","shares":[],"trim_bp":0,"more":1})"));
}

}  // namespace
}  // namespace rochdale::learning
