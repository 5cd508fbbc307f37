#include "services/attribution/rules.h"

#include <catch2/catch.hpp>

#include "services/attribution/round_engine.h"

namespace rochdale::attribution {
namespace {

using enum RoundState;

TEST_CASE("intake moves on at its deadline, or when everybody has acted") {
  struct Row {
    const char* name;
    RoundState state;
    int64_t now, deadline;
    bool early;
    IntakeProgress progress;
    IntakeStep step;
  };
  const Row rows[] = {
      {"before", kOpen, 9, 10, false, {3, 3, 3, 3}, IntakeStep::kWait},
      {"at the deadline", kOpen, 10, 10, false, {}, IntakeStep::kMoveOn},
      {"early: some are missing", kOpen, 1, 10, true, {3, 2, 2, 0}, IntakeStep::kWait},
      {"early: all are there", kOpen, 1, 10, true, {3, 3, 3, 0}, IntakeStep::kMoveOn},
      {"early: nobody is expected", kOpen, 1, 10, true, {0, 0, 0, 0}, IntakeStep::kWait},
      {"early: strangers do not count", kCommit, 1, 10, true, {3, 2, 9, 0}, IntakeStep::kWait},
      {"reveal: some are missing", kReveal, 1, 10, true, {0, 0, 3, 2}, IntakeStep::kWait},
      {"reveal: all are there", kReveal, 1, 10, true, {0, 0, 3, 3}, IntakeStep::kMoveOn},
      {"reveal: nothing was committed", kReveal, 1, 10, true, {0, 0, 0, 0}, IntakeStep::kWait},
      {"reveal: nothing, at the deadline", kReveal, 10, 10, true, {}, IntakeStep::kMoveOn},
  };
  for (const Row& row : rows) {
    INFO(row.name);
    CHECK(NextIntakeStep(row.state, row.now, row.deadline, row.early, row.progress) == row.step);
  }
}

TEST_CASE("a round moves one state at a time, and may be abandoned until it has ended") {
  for (int from = 0; from <= 8; ++from) {
    for (int to = 0; to <= 8; ++to) {
      const bool expected = from < 7 && (to == 8 || to == from + 1);
      INFO(from << " -> " << to);
      CHECK(MayFollow(static_cast<RoundState>(from), static_cast<RoundState>(to)) == expected);
    }
  }
}

TEST_CASE("what fails for too long is given up, but never once the checkpoint is made") {
  RoundRecord round;
  round.deadline_us = 1'000;
  for (const RoundState state : {kPreparing, kScreen, kEvaluate, kApply}) {
    round.state = state;
    CHECK(GivesUpAt(round) == 1'000);
  }
  round.state = kOpen;
  CHECK(GivesUpAt(round) == 1'000);
  round.announced = true;
  CHECK(*GivesUpAt(round) > 1'000);
  round.state = kApply;
  round.next = crypto::Sha256("next");
  CHECK_FALSE(GivesUpAt(round).has_value());
  round.state = kClosed;
  CHECK_FALSE(GivesUpAt(round).has_value());
}

TEST_CASE("parameters of a round come back from their text") {
  config::ParameterSet set;
  REQUIRE(set.Set("round.min_updates", "2").ok());
  REQUIRE(set.Set("round.close_early", "true").ok());
  REQUIRE(set.Set("credit.preset", "literal").ok());
  const std::string text = ParametersToText(set);
  const auto parsed = ParametersFromText(text);
  REQUIRE(parsed.ok());
  CHECK(ParametersToText(*parsed) == text);
  CHECK(parsed->Int("round.min_updates") == 2);
  CHECK(parsed->Bool("round.close_early"));
  CHECK(GameRuleOf(*parsed, 3).estimator == Estimator::kSolo);
  CHECK(ParametersFromText("").ok());
  CHECK_FALSE(ParametersFromText("no.such=1\n").ok());
}

TEST_CASE("the estimator is what can be afforded") {
  config::ParameterSet set;
  CHECK(GameRuleOf(set, 10).estimator == Estimator::kShapley);
  CHECK(GameRuleOf(set, 11).estimator == Estimator::kShapley);
  CHECK(IsSampled(GameRuleOf(set, 11), 11));
  CHECK(GameRuleOf(set, 11).sampling == learning::SamplingRule());  // the table's defaults
  REQUIRE(set.Set("credit.estimator", "shapley_or_solo").ok());
  CHECK(GameRuleOf(set, 10).estimator == Estimator::kShapley);
  CHECK(GameRuleOf(set, 11).estimator == Estimator::kSolo);
  REQUIRE(set.Set("credit.estimator", "shapley_sampled").ok());
  CHECK(GameRuleOf(set, 10).estimator == Estimator::kShapley);
  CHECK(IsSampled(GameRuleOf(set, 11), 11));
}

TEST_CASE("weights are taken from shares, and robust rules measure probes as the mean") {
  using enum learning::AggregationRule;
  std::vector<RoundUpdate> updates(2);
  updates[0].share = 5;
  updates[1].share = 6;
  config::ParameterSet set;
  CHECK(AggregationOf(set, updates) == learning::Aggregation{});
  REQUIRE(set.Set("aggregation.rule", "sample_weighted").ok());
  CHECK(AggregationOf(set, updates) == learning::Aggregation{kSampleWeighted, {5, 6}, 0});
  CHECK(ProbeAggregationOf(set, updates) == AggregationOf(set, updates));
  REQUIRE(set.Set("aggregation.rule", "multi_krum").ok());
  CHECK(AggregationOf(set, updates) == learning::Aggregation{kMultiKrum, {}, 2'000});
  CHECK(ProbeAggregationOf(set, updates) == learning::Aggregation{});
  REQUIRE(set.Set("aggregation.rule", "median").ok());
  CHECK(AggregationOf(set, updates) == learning::Aggregation{kMedian, {}, 0});
}

TEST_CASE("scores are released late and rounded") {
  RoundRecord round;
  round.visible_loss = 1'234'567'890;
  round.closed_us = 1'000'000;
  CHECK(ReleasedLoss(round, 1'000'000) == 1'235'000'000);
  CHECK(ReleasedLoss(round, 999'999) == 1'235'000'000);  // asked for just before it closed
  round.parameters = "score.quantum_nanonats=10\nvalidation.score_delay_ms=1000\n";
  CHECK(ReleasedLoss(round, 1'999'999) == 0);
  CHECK(ReleasedLoss(round, 2'000'000) == 1'234'567'890);
  round.visible_loss.reset();
  CHECK(ReleasedLoss(round, 2'000'000) == 0);
}

TEST_CASE("overfit is a gain on visible rows that held-out rows do not show") {
  CHECK(LooksOverfit(100'000'000, 10'000'000));
  CHECK(LooksOverfit(100'000'000, -5));
  CHECK_FALSE(LooksOverfit(100'000'000, 90'000'000));
  CHECK_FALSE(LooksOverfit(9'000'000, -50'000'000));
  CHECK_FALSE(LooksOverfit(-100'000'000, -100'000'000));
}

}  // namespace
}  // namespace rochdale::attribution
