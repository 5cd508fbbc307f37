// Every attack of scripts/bench attribution-attacks, small: what pays under the seed's formulas
// must not pay under the hardened rules. A smaller model and fewer rows than the benchmark's, so
// the figures are rougher; the bounds leave room for BLAS kernels that round differently.
#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/learning/exact_evaluator.h"
#include "tests/support/cooperative/play.h"

namespace rochdale::simulated {
namespace {

constexpr int64_t kRowsPerRound = 500;
constexpr double kAnything = 0;   // of literal: no claim

const World& SmallWorld() {
  static const World world = [] {
    learning::UseOneThread();
    World made;
    made.spec = {learning::ModelKind::kMlp, {kPixels, 32, kClasses}};
    made.rounds = 4;
    made.seed = 2;
    Dealing dealing;
    dealing.pool_rows = 2'000;
    dealing.spare_rows = 400;
    dealing.shard_rows = 4'800;
    made.dealt = Deal(LoadFashion("t10k").value(), dealing, made.seed);
    return made;
  }();
  return world;
}

History Played(bool hardened, const Attacker& attacker, bool together = false) {
  Rules rules = hardened ? HardenedRules(kRowsPerRound) : LiteralRules(kRowsPerRound);
  if (together) rules = WithUnattestedTogether(std::move(rules));
  auto history = PlayHistory(SmallWorld(), rules, HonestShards(SmallWorld()), attacker);
  REQUIRE(history.ok());
  return *std::move(history);
}

const History& Fair(bool hardened, bool with_spare) {
  static std::map<std::pair<bool, bool>, History> known;
  const auto [at, added] = known.try_emplace({hardened, with_spare});
  if (added) at->second = Played(hardened, HonestUse(with_spare));
  return at->second;
}

double AdvantageOf(const std::string& name, bool hardened) {
  const Attack attack = FindAttack(name);
  return Advantage(attack, Played(hardened, attack.attacker(), attack.unattested_together),
                   Fair(hardened, attack.against_more_rows));
}

// That the attack pays at least `literal_min` under the seed's formulas, and at most
// `hardened_max` under the hardened rules.
void Check(const std::string& name, double literal_min, double hardened_max) {
  CAPTURE(name);
  if (literal_min > 0) CHECK(AdvantageOf(name, false) >= literal_min);
  CHECK(AdvantageOf(name, true) <= hardened_max);
}

}  // namespace

TEST_CASE("Literal pay from solo coalitions is what a settled game gives", "[attacks]") {
  attribution::Game game;
  game.contributors = 3;
  game.rows = 4;
  game.masks = attribution::GameMasks(3);
  for (const uint64_t mask : game.masks) {
    for (int64_t row = 0; row < game.rows; ++row) {
      int64_t loss = 2'000'000'000 + 13 * row * static_cast<int64_t>(mask);
      for (int i = 0; i < 3; ++i) loss -= (mask >> i & 1) * (400'000'001 - i * 300'000'000);
      game.losses.push_back(loss);
    }
  }
  game.best.assign(game.losses.begin(), game.losses.begin() + game.rows);
  attribution::GameRule rule;
  rule.preset = learning::CreditPreset::kLiteral;
  const auto settled = attribution::Settle(rule, game);
  REQUIRE(settled.ok());
  const attribution::GameResult literal = LiteralResult(game);
  CHECK(literal.applied_mask == settled->applied_mask);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(literal.contributors[i].credit == settled->contributors[i].credit);
    CHECK(literal.contributors[i].solo == settled->contributors[i].solo);
    CHECK(literal.contributors[i].standard_error == settled->contributors[i].standard_error);
  }
  CHECK(literal.contributors[0].credit > 0);
  CHECK(literal.contributors[2].credit == 0);
}

TEST_CASE("Every honest agent is paid, and nobody is refused as a copy", "[attacks]") {
  for (const bool with_spare : {false, true}) {
    const History& fair = Fair(true, with_spare);
    CHECK(fair.credits.size() == 6);
    for (const auto& [principal, credit] : fair.credits) {
      CAPTURE(principal);
      CHECK(credit > 0);
    }
    for (const PlayedRound& round : fair.rounds) {
      CHECK(round.lineages == 6);
      CHECK_FALSE(round.overfit_alarm);
    }
  }
}

TEST_CASE("Breaking and then mending earns less than half", "[attacks]") {
  Check("churn x10", 1.5, 0.5);
  Check("churn x1", 1.05, 0.5);
  Check("churn x1 with a confederate", 1.05, 0.5);
}

TEST_CASE("Copies of one's own update earn nothing more", "[attacks]") {
  Check("1 copies", 1.2, 1.1);
  Check("3 copies", 1.5, 1.1);
  Check("10 copies", 2.0, 1.1);
  Check("3 near-copies, noise 0.2", 1.5, 1.1);
}

TEST_CASE("Mixtures and copies of others' updates earn next to nothing", "[attacks]") {
  Check("mixture of others", 1.05, 0);
  Check("3 mixtures of others, noise 0.2", 2.0, 0);
  Check("late copy of the best, noise 0.1", 1.05, 0);
}

TEST_CASE("A longer update earns no more", "[attacks]") {
  Check("norm x3", 1.4, 1.1);
  Check("norm x10", 1.6, 0);  // refused by its magnitude
}

TEST_CASE("Noise earns next to nothing", "[attacks]") {
  Check("noise farming by 1", kAnything, 0.02);
  Check("noise farming by 3", kAnything, 0.02);
}

TEST_CASE("Leaked visible rows and released scores are worth no more than honest rows",
          "[attacks]") {
  Check("leaked visible rows", kAnything, 1.1);
  Check("hill-climbing on released scores", kAnything, 1.1);
}

TEST_CASE("Principals of one attested owner have one weight, and hidden ones do not", "[attacks]") {
  for (const char* name : {"3 near-copies, noise 0.5", "3 near-copies, noise 1", "split into 3",
                           "split into 10", "3 principals, parts of the rows",
                           "3 principals, orders of the rows"}) {
    Check(absl::StrCat(name, ", owners attested"), kAnything, 1.05);
  }
  Check("split into 10, the unattested together", kAnything, 1.05);
  // What the rule is good for: nothing in the updates themselves gives these away.
  CHECK(AdvantageOf("split into 10, owners hidden", true) > 1.5);
}

TEST_CASE("Of one owner's updates the earliest counts, the others are refused", "[attacks]") {
  Cooperative cooperative(SmallWorld().spec, HardenedRules(kRowsPerRound),
                          SmallWorld().dealt.pool, SmallWorld().seed);
  std::vector<Submission> submissions;
  for (int i = 0; i < 5; ++i) {
    const Delta delta = Train(SmallWorld().spec, cooperative.base(), SmallWorld().dealt.shards[i],
                              SmallWorld().training, 0, i);
    submissions.push_back({i, delta, i < 2 ? 7 : i});
  }
  const auto played = cooperative.Play(submissions);
  REQUIRE(played.ok());
  CHECK(played->lineages == 4);
  for (int i = 0; i < 5; ++i) {
    CAPTURE(i);
    CHECK(played->fates[i].applied == (i != 1));
    CHECK(played->fates[i].reason == (i == 1 ? "OWNER_HAS_UPDATE" : ""));
    CHECK((played->fates[i].credit > 0) == (i != 1));
  }
}

TEST_CASE("Several agents of one principal have one weight", "[attacks]") {
  Check("split into 3 of one principal", 1.15, 1.05);
  Check("3 agents of one principal, parts", 1.0, 1.05);
  Check("3 agents of one principal, orders", 1.4, 1.05);
}

}  // namespace rochdale::simulated
