#include "services/attribution/game.h"

#include <catch2/catch.hpp>
#include <random>

#include "libs/base/errors.h"

namespace rochdale::attribution {
namespace {

// Additive values with a little noise: contributor i takes `gains[i]` off every row's loss.
Game MakeGame(const std::vector<int64_t>& gains, int64_t rows, uint32_t seed,
              const crypto::Digest& round_seed = {}, int pairs = 0) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int64_t> noise(0, 1'000'000);
  Game game;
  game.contributors = static_cast<int>(gains.size());
  game.rows = rows;
  game.seed = round_seed;
  game.pairs = pairs;
  game.masks = GameMasks(game.contributors, round_seed, pairs);
  for (const uint64_t mask : game.masks) {
    for (int64_t row = 0; row < rows; ++row) {
      int64_t loss = 2'000'000'000 + noise(random);
      for (size_t i = 0; i < gains.size(); ++i) {
        if (mask >> i & 1) loss -= gains[i];
      }
      game.losses.push_back(loss);
    }
  }
  const auto base = game.Losses(0);
  game.best.assign(base.begin(), base.end());
  return game;
}

TEST_CASE("up to ten contributors every coalition is evaluated") {
  CHECK(GameMasks(1) == std::vector<uint64_t>{0, 1});
  CHECK(GameMasks(3).size() == 8);
  CHECK(GameMasks(10).size() == 1'024);
  const std::vector<uint64_t> eleven = GameMasks(11);
  CHECK(eleven.size() == 2 + 2 * 11);
  CHECK(std::is_sorted(eleven.begin(), eleven.end()));
  CHECK(GameMasks(63).back() == (uint64_t{1} << 63) - 1);
}

TEST_CASE("above ten the coalitions of the round's permutations are evaluated as well") {
  const crypto::Digest seed = crypto::Sha256("seed");
  const auto masks = GameMasks(12, seed, 3);
  CHECK(std::is_sorted(masks.begin(), masks.end()));
  CHECK(std::adjacent_find(masks.begin(), masks.end()) == masks.end());
  for (const auto& order : RoundPermutations(12, seed, 3)) {
    uint64_t mask = 0;
    for (const int i : order) {
      mask |= uint64_t{1} << i;
      CHECK(std::binary_search(masks.begin(), masks.end(), mask));
    }
  }
  // The key of the permutations is not what was published when the round opened.
  CHECK(RoundPermutations(12, seed, 3) !=
        learning::SamplePermutations(12, 3, std::string(seed.AsBytes())));
  CHECK(RoundPermutations(12, seed, 3) != RoundPermutations(12, crypto::Sha256("other"), 3));
  CHECK(GameMasks(10, seed, 3).size() == 1'024);
}

TEST_CASE("coalitions of a later stage are put among the others") {
  Game game;
  game.contributors = 2;
  game.rows = 2;
  AddCoalitions(game, {0, 3}, {1, 2, 7, 8});
  AddCoalitions(game, {1, 3, 2}, {3, 4, 99, 99, 5, 6});
  CHECK(game.masks == std::vector<uint64_t>{0, 1, 2, 3});
  CHECK(game.losses == std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8});
}

TEST_CASE("a full game settles as the credit rule of libs/learning does") {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    const Game game = MakeGame({90'000'000, 20'000'000, -70'000'000, 100'000}, 64, seed);
    const auto expected = learning::CreditRound({}, 4, 64, game.losses, game.best);
    REQUIRE(expected.ok());
    const auto result = Settle({}, game);
    REQUIRE(result.ok());
    CHECK(result->applied_mask == expected->applied_mask);
    for (int i = 0; i < 4; ++i) {
      CHECK(result->contributors[i].credit == expected->credits[i]);
      CHECK(result->contributors[i].harmful == expected->harmful[i]);
    }
    CHECK(*AppliedMask({}, game) == expected->applied_mask);
  }
}

TEST_CASE("a harmful contributor is left out and earns nothing") {
  const auto result = Settle({}, MakeGame({90'000'000, -50'000'000, 10'000'000}, 100, 7));
  REQUIRE(result.ok());
  CHECK(result->applied_mask == 0b101);
  CHECK(result->contributors[1].harmful);
  CHECK(result->contributors[1].credit == 0);
  CHECK(result->contributors[0].credit > result->contributors[2].credit);
  CHECK(result->contributors[2].credit > 0);
}

TEST_CASE("improvements within a deadband count as none") {
  Game game;
  game.contributors = 2;
  game.rows = 4;
  game.masks = GameMasks(2);
  for (const int64_t loss : {1'000, 950, 1'050, 1'000}) {
    game.losses.insert(game.losses.end(), 4, loss);
  }
  game.best.assign(4, 1'000);
  struct { int64_t deadband; uint64_t applied; int64_t credit; } rows[] = {
      {0, 1, 50}, {50, 1, 50}, {51, 3, 0}, {1'000'000, 3, 0}};
  for (const auto& row : rows) {
    INFO(row.deadband);
    GameRule rule;
    rule.deadband_nanonats = row.deadband;
    CHECK(AppliedMask(rule, game).value() == row.applied);
    const GameResult result = Settle(rule, game).value();
    CHECK(result.applied_mask == row.applied);
    CHECK(result.contributors[0].credit == row.credit);
    CHECK(result.contributors[0].estimate == 50);  // as measured
    CHECK(result.contributors[1].harmful == (row.applied == 1));
    CHECK(result.contributors[1].credit == 0);
    rule.preset = learning::CreditPreset::kLiteral;
    CHECK(Settle(rule, game)->contributors[0].credit == row.credit);
  }
  // Nor does a round that is less than the deadband better than the best pay.
  GameRule rule;
  rule.deadband_nanonats = 50;
  game.best.assign(4, 999);
  CHECK(Settle(rule, game)->contributors[0].credit == 0);
  rule.deadband_nanonats = 49;
  CHECK(Settle(rule, game)->contributors[0].credit == 49);
}

TEST_CASE("who is refused earns nothing of a round that only counts by a deadband") {
  Game game;
  game.contributors = 2;
  game.rows = 4;
  game.masks = GameMasks(2);
  for (const int64_t loss : {1'000, 900, 950, 850}) {  // 100 and 50, added
    game.losses.insert(game.losses.end(), 4, loss);
  }
  game.best.assign(4, 1'000);
  struct { int64_t deadband; uint64_t refused; int64_t first, second; } rows[] = {
      {0, 0, 100, 50},   {50, 0, 100, 50},  {51, 0, 100, 0},
      {50, 0b01, 0, 50}, {51, 0b01, 0, 0},  {51, 0b10, 100, 0}, {101, 0b10, 0, 0}};
  for (const auto& row : rows) {
    INFO(row.deadband << ", refused " << row.refused);
    GameRule rule;
    rule.deadband_nanonats = row.deadband;
    for (const auto preset :
         {learning::CreditPreset::kHardened, learning::CreditPreset::kLiteral}) {
      rule.preset = preset;
      const GameResult result = Settle(rule, game, row.refused).value();
      CHECK(result.applied_mask == (0b11 & ~row.refused));
      CHECK(result.contributors[0].credit == row.first);
      CHECK(result.contributors[1].credit == row.second);
      CHECK(result.contributors[0].estimate == 100);  // as measured
    }
  }
}

TEST_CASE("who is refused for the values of all is left out and earns nothing") {
  const Game game = MakeGame({90'000'000, 50'000'000, -50'000'000}, 100, 7);
  const auto whole = Settle({}, game), without = Settle({}, game, 0b001);
  REQUIRE((whole.ok() && without.ok()));
  CHECK(whole->applied_mask == 0b011);
  CHECK(without->applied_mask == 0b010);
  CHECK_FALSE(without->contributors[0].harmful);
  CHECK(without->contributors[2].harmful);
  CHECK(whole->contributors[0].credit > 0);
  CHECK(without->contributors[0].credit == 0);
  CHECK(without->contributors[1].credit > 0);
  CHECK(without->contributors[0].estimate == whole->contributors[0].estimate);
  GameRule literal;
  literal.preset = learning::CreditPreset::kLiteral;
  const auto seed = Settle(literal, game, 0b001);
  REQUIRE(seed.ok());
  CHECK(seed->applied_mask == 0b110);
  CHECK(seed->contributors[0].credit == 0);
  CHECK(seed->contributors[1].credit > 0);
}

TEST_CASE("the literal preset pays solo and gates nobody") {
  GameRule rule;
  rule.preset = learning::CreditPreset::kLiteral;
  const auto result = Settle(rule, MakeGame({90'000'000, -50'000'000}, 100, 7));
  REQUIRE(result.ok());
  CHECK(result->applied_mask == 0b11);
  CHECK(result->contributors[0].credit == result->contributors[0].solo);
  CHECK(result->contributors[1].credit == 0);
  CHECK(result->contributors[1].solo < 0);
}

TEST_CASE("above ten contributors solo is paid where it was asked for") {
  std::vector<int64_t> gains(12, 30'000'000);
  gains[5] = -80'000'000;
  Game game = MakeGame(gains, 50, 3);
  const uint64_t whole = (1 << 12) - 1;
  GameRule rule;
  rule.estimator = Estimator::kSolo;
  const auto applied = AppliedMask(rule, game);
  REQUIRE(applied.ok());
  CHECK(*applied == (whole & ~uint64_t{1 << 5}));
  // Leave-one-out of the harmful one is just what is applied.
  const auto result = Settle(rule, game);
  REQUIRE(result.ok());
  CHECK(result->contributors[0].estimate == result->contributors[0].solo);
  CHECK(result->contributors[5].harmful);

  // With two harmful ones the applied coalition has to be evaluated apart.
  gains[6] = -80'000'000;
  game = MakeGame(gains, 50, 3);
  CHECK(ReasonOf(Settle(rule, game).status()) == "BAD_REQUEST");
}

TEST_CASE("above ten contributors Shapley is sampled until it is precise enough") {
  std::vector<int64_t> gains;
  for (int i = 0; i < 12; ++i) gains.push_back(20'000'000 + 2'000'000 * i);
  gains[5] = -80'000'000;
  const crypto::Digest seed = crypto::Sha256("seed");
  const auto at = [&](int pairs) {
    Game game = MakeGame(gains, 50, 3, seed, pairs);
    if (game.Losses(0xfdf).empty()) {
      AddCoalitions(game, {0xfdf}, std::vector<int64_t>(50, 1'800'000'000));
    }
    return game;
  };
  GameRule rule;
  rule.sampling = {2, 16, 1'000'000'000};
  CHECK(*SamplingEnds(rule, at(2)));
  CHECK(ReasonOf(SamplingEnds(rule, at(4)).status()) == "BAD_REQUEST");  // went on for nothing
  CHECK(ReasonOf(SamplingEnds(rule, at(3)).status()) == "BAD_REQUEST");  // no stage
  CHECK(ReasonOf(SamplingEnds(rule, at(0)).status()) == "BAD_REQUEST");
  // Additive but for the noise of each coalition: no bound of 0 is ever met.
  rule.sampling.error_max_nanonats = 0;
  CHECK_FALSE(*SamplingEnds(rule, at(8)));
  CHECK(ReasonOf(Settle(rule, at(8)).status()) == "BAD_REQUEST");
  CHECK(*SamplingEnds(rule, at(16)));
  const Game game = at(16);
  const auto result = Settle(rule, game);
  REQUIRE(result.ok());
  CHECK(result->applied_mask == 0xfdf);
  CHECK(result->contributors[5].harmful);
  int64_t last = 0;
  for (int i = 0; i < 12; ++i) {
    if (i == 5) continue;
    const ContributorResult& one = result->contributors[i];
    CHECK(std::abs(one.estimate - gains[i]) < 5 * one.standard_error);
    CHECK(one.credit > last);  // as large as what it took away
    last = one.credit;
  }
  // The same integers from sums alone say where sampling ends.
  std::vector<absl::int128> sums;
  for (const uint64_t mask : game.masks) sums.push_back(LossSum(game.Losses(mask)));
  CHECK(*learning::PairsThatSuffice(rule.sampling, RoundPermutations(12, seed, 16), game.masks,
                                    game.rows, sums) == 16);
}

TEST_CASE("Banzhaf becomes sampled Shapley where not every coalition is evaluated") {
  using enum Estimator;
  const auto hardened = learning::CreditPreset::kHardened;
  CHECK(PaidEstimator(hardened, kBanzhaf, 10) == kBanzhaf);
  CHECK(PaidEstimator(hardened, kBanzhaf, 11) == kShapley);
  CHECK(PaidEstimator(hardened, kLeaveOneOut, 11) == kLeaveOneOut);
  CHECK(PaidEstimator(hardened, kSolo, 11) == kSolo);
  CHECK(PaidEstimator(learning::CreditPreset::kLiteral, kShapley, 11) == kSolo);
  CHECK_FALSE(IsSampled({}, 10));
  CHECK(IsSampled({}, 11));
}

TEST_CASE("the high-water mark pays nothing for what was reached before") {
  Game game = MakeGame({40'000'000, 40'000'000}, 80, 11);
  for (int64_t& loss : game.best) loss = 1'000'000;
  const auto result = Settle({}, game);
  REQUIRE(result.ok());
  CHECK(result->contributors[0].credit == 0);
  CHECK(result->contributors[0].estimate > 0);
}

TEST_CASE("a game whose sizes do not fit is refused") {
  Game game = MakeGame({1, 2}, 10, 1);
  game.best.pop_back();
  CHECK(ReasonOf(Settle({}, game).status()) == "BAD_REQUEST");
  game = MakeGame({1, 2}, 10, 1);
  game.losses.pop_back();
  CHECK(ReasonOf(Settle({}, game).status()) == "BAD_REQUEST");
  game = MakeGame({1, 2}, 10, 1);
  game.contributors = 0;
  CHECK(ReasonOf(AppliedMask({}, game).status()) == "BAD_REQUEST");
}

// Computed apart, from the text of game.h alone.
TEST_CASE("the root of losses is the documented tree") {
  Game game;
  game.contributors = 1;
  game.rows = 3;
  game.masks = {0, 1};
  game.losses = {10, 20, 30, 9, 21, 28};
  game.best = {8, 19, 27};
  CHECK(LossesRoot(game).ToString() ==
        "064634df6effbf67490765cd502240827920bb10cee98b3454a3acc012ded29c");
  game.losses[4] = 22;
  CHECK(LossesRoot(game).ToString() !=
        "064634df6effbf67490765cd502240827920bb10cee98b3454a3acc012ded29c");
}

}  // namespace
}  // namespace rochdale::attribution
