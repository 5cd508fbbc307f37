#include "libs/learning/credit_rule.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "libs/base/errors.h"

namespace rochdale::learning {
namespace {

// An additive game: contributor i takes gains[i] nano-nats from every row, with some noise of its
// own on each row.
std::vector<int64_t> AdditiveGame(const std::vector<int64_t>& gains, int64_t noise, int64_t rows,
                                  uint64_t seed = 1) {
  std::mt19937_64 engine(seed);
  const int n = static_cast<int>(gains.size());
  std::vector<int64_t> effect(n * rows);
  for (int i = 0; i < n; ++i) {
    for (int64_t r = 0; r < rows; ++r) {
      effect[i * rows + r] =
          gains[i] + (noise ? static_cast<int64_t>(engine() % (2 * noise + 1)) - noise : 0);
    }
  }
  std::vector<int64_t> losses((size_t{1} << n) * rows, 2'000'000'000);
  for (uint64_t mask = 0; mask < uint64_t{1} << n; ++mask) {
    for (int i = 0; i < n; ++i) {
      for (int64_t r = 0; mask >> i & 1 && r < rows; ++r) {
        losses[mask * rows + r] -= effect[i * rows + r];
      }
    }
  }
  return losses;
}

TEST_CASE("without noise everyone is credited what it took away") {
  const auto losses = AdditiveGame({1'000, 250, 0}, 0, 20);
  const RoundCredits round = CreditRound({}, 3, 20, losses, {}).value();
  CHECK(round.credits == std::vector<int64_t>{1'000, 250, 0});
  CHECK(round.applied_mask == 7);
  CHECK(round.lambda_ppb == 1'000'000'000);
  CHECK(round.improvement.Mean() == 1'250);
  CHECK(round.audit_exception == std::vector<bool>{false, false, false});
}

TEST_CASE("an update that harms is gated, and the rest is applied") {
  const auto losses = AdditiveGame({1'000'000, -400'000, 600'000}, 50'000, 400);
  GameEstimates estimates;
  const RoundCredits round = CreditRound({}, 3, 400, losses, {}, &estimates).value();
  CHECK(round.harmful == std::vector<bool>{false, true, false});
  CHECK(round.applied_mask == 5);
  CHECK(round.credits[1] == 0);
  CHECK(round.credits[0] > 900'000);
  CHECK(round.credits[0] < 1'000'000);  // the lower bound takes some off
  CHECK(estimates.shapley[1].Mean() < 0);
}

TEST_CASE("what is negative within noise is neither gated nor paid") {
  const auto losses = AdditiveGame({1'000'000, -500}, 400'000, 100);
  const RoundCredits round = CreditRound({}, 2, 100, losses, {}).value();
  CHECK(round.harmful == std::vector<bool>{false, false});
  CHECK(round.credits[1] == 0);
  CHECK(round.applied_mask == 3);
}

TEST_CASE("the gate and the bound lie exactly at z standard errors") {
  Estimate estimate;  // mean -196 per row, error 100: exactly 1.96 errors
  estimate.scale = 10;
  estimate.rows = 5;
  estimate.standard_error = 100;
  estimate.total = -196 * 50;
  CHECK_FALSE(SignificantlyNegative(estimate, 196));
  estimate.total = -196 * 50 - 1;
  CHECK(SignificantlyNegative(estimate, 196));
  CHECK_FALSE(SignificantlyNegative(estimate, 197));
  const std::vector<int64_t> best(5, 1'000'000), applied(5, 0);
  estimate.total = 197 * 50;
  CHECK(HardenedCredits({}, {estimate}, {false}, best, applied, nullptr) ==
        std::vector<int64_t>{1});
  estimate.total = 197 * 50 - 1;
  CHECK(HardenedCredits({}, {estimate}, {false}, best, applied, nullptr) ==
        std::vector<int64_t>{0});
}

TEST_CASE("gate and bound have their own z") {
  Estimate estimate;  // mean 50, error 100
  estimate.rows = 4;
  estimate.standard_error = 100;
  estimate.total = 50 * 4;
  const std::vector<int64_t> best(4, 1'000'000), applied(4, 0);
  CreditRule rule;
  rule.z_gate_hundredths = 300;
  rule.z_bound_hundredths = 20;
  CHECK(HardenedCredits(rule, {estimate}, {false}, best, applied, nullptr) ==
        std::vector<int64_t>{30});
  estimate.total = -250 * 4;
  CHECK(GateHarmful(rule, {estimate}) == std::vector<bool>{false});
  rule.z_gate_hundredths = 249;
  CHECK(GateHarmful(rule, {estimate}) == std::vector<bool>{true});
  rule.preset = CreditPreset::kLiteral;
  CHECK(GateHarmful(rule, {estimate}) == std::vector<bool>{false});
}

TEST_CASE("the high-water mark caps all credits together and never raises them") {
  const int64_t rows = 10;
  const auto losses = AdditiveGame({300, 100}, 0, rows);
  auto credits = [&](int64_t best_below_base) {
    const std::vector<int64_t> best(rows, 2'000'000'000 - best_below_base);
    return CreditRound({}, 2, rows, losses, best).value();
  };
  CHECK(credits(0).credits == std::vector<int64_t>{300, 100});
  CHECK(credits(-5'000).credits == std::vector<int64_t>{300, 100});
  CHECK(credits(200).credits == std::vector<int64_t>{150, 50});
  CHECK(credits(200).lambda_ppb == 500'000'000);
  CHECK(credits(399).credits == std::vector<int64_t>{0, 0});  // 3/4 and 1/4, floored
  CHECK(credits(400).credits == std::vector<int64_t>{0, 0});
  CHECK(credits(9'000).credits == std::vector<int64_t>{0, 0});
  CHECK(credits(9'000).lambda_ppb == 0);
}

TEST_CASE("total credit never exceeds the gain over the best") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 engine(seed);
    const int n = 1 + static_cast<int>(engine() % 5);
    const int64_t rows = 2 + static_cast<int64_t>(engine() % 40);
    std::vector<int64_t> losses((size_t{1} << n) * rows), best(rows);
    const uint64_t largest = seed % 3 ? 5'000'000'000 : uint64_t{1} << 49;
    for (int64_t& loss : losses) loss = static_cast<int64_t>(engine() % largest);
    for (int64_t& loss : best) loss = static_cast<int64_t>(engine() % largest);
    CreditRule rule;
    rule.z_bound_hundredths = seed % 2 ? 0 : 196;
    const RoundCredits round = CreditRound(rule, n, rows, losses, best).value();
    __int128 gain = 0, paid = 0;
    for (int64_t r = 0; r < rows; ++r) gain += best[r] - losses[round.applied_mask * rows + r];
    for (int i = 0; i < n; ++i) {
      CHECK(round.credits[i] >= 0);
      paid += static_cast<__int128>(round.credits[i]) * rows;
    }
    CHECK((paid <= std::max<__int128>(gain, 0)));
  }
}

TEST_CASE("literal pays solo improvements, gates nobody and scales nothing") {
  const auto losses = AdditiveGame({1'000, -400}, 0, 20);
  CreditRule rule;
  rule.preset = CreditPreset::kLiteral;
  const RoundCredits round = CreditRound(rule, 2, 20, losses, {}).value();
  CHECK(round.credits == std::vector<int64_t>{1'000, 0});
  CHECK(round.harmful == std::vector<bool>{false, false});
  CHECK(round.applied_mask == 3);
}

// Two updates that help alone and, together, cancel: the second's leave-one-out is negative.
TEST_CASE("a paid credit with a negative leave-one-out is an exception") {
  const int64_t rows = 4;
  std::vector<int64_t> losses;
  for (const int64_t loss : {1'000, 400, 300, 500}) losses.insert(losses.end(), rows, loss);
  const RoundCredits round = CreditRound({}, 2, rows, losses, {}).value();
  CHECK(round.credits == std::vector<int64_t>{200, 300});
  CHECK(round.audit_exception == std::vector<bool>{true, true});
}

TEST_CASE("the best checkpoint needs a loss on every row") {
  const auto losses = AdditiveGame({10}, 0, 4);
  const std::vector<int64_t> best(3, 1);
  CHECK(ReasonOf(CreditRound({}, 1, 4, losses, best).status()) == "BAD_REQUEST");
}

}  // namespace
}  // namespace rochdale::learning
