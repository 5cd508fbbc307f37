#include "services/filter/effect.h"

#include <catch2/catch.hpp>
#include <limits>
#include <random>
#include <vector>

namespace rochdale::filter {
namespace {

constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

TEST_CASE("A rise is per row and rounded up", "[filter][effect]") {
  CHECK(*LossRise({100, 100, 7}) == 0);
  CHECK(*LossRise({0, 70, 7}) == 10);
  CHECK(*LossRise({0, 71, 7}) == 11);
  CHECK(*LossRise({71, 0, 7}) == -10);  // -10.14
  CHECK(*LossRise({0, 1, 1'000'000}) == 1);
  CHECK(*LossRise({kLowest, kLargest, 1}) == kNanoNatsMax);
  CHECK(*LossRise({kLargest, kLowest, 1}) == -kNanoNatsMax);
  CHECK_FALSE(LossRise({0, 0, 0}).ok());
  CHECK_FALSE(LossRise({0, 0, -3}).ok());
}

TEST_CASE("A rise exceeds eps exactly if the sums do", "[filter][effect][property]") {
  const uint64_t seed = 911;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20'000; ++i) {
    const ProbeLoss loss{static_cast<int64_t>(random() % 5000),
                         static_cast<int64_t>(random() % 5000),
                         static_cast<int64_t>(random() % 300) + 1};
    const int64_t eps = static_cast<int64_t>(random() % 40) - 10;
    REQUIRE((*LossRise(loss) > eps) == (loss.with_sum - loss.base_sum > eps * loss.rows));
  }
}

TEST_CASE("Group harm is the widening of the gap", "[filter][effect]") {
  CHECK(*GapRise(std::vector<ProbeLoss>{{10, 10, 1}, {20, 20, 1}}) == 0);
  CHECK(*GapRise(std::vector<ProbeLoss>{{10, 10, 1}, {20, 25, 1}}) == 5);
  CHECK(*GapRise(std::vector<ProbeLoss>{{10, 30, 1}, {20, 25, 1}}) == -5);  // the order turns
  CHECK(*GapRise(std::vector<ProbeLoss>{{100, 90, 10}, {20, 20, 1}, {15, 15, 1}}) == 1);
  CHECK_FALSE(GapRise({}).ok());
  CHECK_FALSE(GapRise(std::vector<ProbeLoss>{{1, 1, 1}}).ok());
  CHECK_FALSE(GapRise(std::vector<ProbeLoss>{{1, 1, 1}, {1, 1, 0}}).ok());
}

TEST_CASE("A round's effect is its lower median and deviation", "[filter][effect]") {
  const RoundEffect round = EffectOfRound({1, 2, 3, 100});
  CHECK(round.median == 2);
  CHECK(round.deviation == 1);
  CHECK(ReviewThreshold(round, 0) == 6);
  CHECK(ReviewThreshold(round, 50) == 52);
  CHECK(EffectOfRound({}).median == 0);
  CHECK(ReviewThreshold({kNanoNatsMax, kNanoNatsMax}, 0) == kNanoNatsMax);
}

TEST_CASE("Fit weighs clipped improvements", "[filter][effect]") {
  const auto criteria = [](int64_t first, int64_t second) {
    return std::vector<Criterion>{{{}, first, 100}, {{}, second, 200}};
  };
  const auto fit = [&](std::vector<Criterion> wanted, std::vector<ProbeLoss> losses) {
    return FitMicro(wanted, losses);
  };
  CHECK(*fit(criteria(5000, 5000), {{1000, 1000, 10}, {1000, 1000, 10}}) == 0);
  CHECK(*fit(criteria(5000, 5000), {{1000, 500, 10}, {1000, 1000, 10}}) == 250'000);
  CHECK(*fit(criteria(2500, 7500), {{9000, 0, 10}, {0, 9000, 10}}) == -500'000);  // both clipped
  CHECK(*fit(criteria(1, 9999), {{1000, 1001, 10}, {1000, 1000, 10}}) == -1);  // never up to zero
  CHECK_FALSE(fit(criteria(5000, 4999), {{1, 1, 1}, {1, 1, 1}}).ok());
  CHECK_FALSE(fit(criteria(15'000, -5000), {{1, 1, 1}, {1, 1, 1}}).ok());
  CHECK_FALSE(fit(criteria(5000, 5000), {{1, 1, 1}}).ok());
  CHECK_FALSE(fit(criteria(5000, 5000), {{1, 1, 1}, {1, 1, 0}}).ok());
  CHECK_FALSE(fit({{{}, 10'000, 0}}, {{1, 1, 1}}).ok());
  CHECK_FALSE(fit({}, {}).ok());
  CHECK(*fit({{{}, 10'000, 1}}, {{kLargest, kLowest, 1}}) == 1'000'000);
  CHECK(*fit({{{}, 10'000, kLargest}}, {{kLowest, kLargest, kLargest}}) == -1);
}

}  // namespace
}  // namespace rochdale::filter
