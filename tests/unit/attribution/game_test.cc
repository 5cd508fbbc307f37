#include "services/attribution/game.h"

#include <catch2/catch.hpp>
#include <random>

#include "libs/base/errors.h"

namespace rochdale::attribution {
namespace {

// Additive values with a little noise: contributor i takes `gains[i]` off every row's loss.
Game MakeGame(const std::vector<int64_t>& gains, int64_t rows, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int64_t> noise(0, 1'000'000);
  Game game;
  game.contributors = static_cast<int>(gains.size());
  game.rows = rows;
  game.masks = GameMasks(game.contributors);
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

TEST_CASE("above ten contributors solo is paid") {
  std::vector<int64_t> gains(12, 30'000'000);
  gains[5] = -80'000'000;
  Game game = MakeGame(gains, 50, 3);
  const uint64_t whole = (1 << 12) - 1;
  const auto applied = AppliedMask({}, game);
  REQUIRE(applied.ok());
  CHECK(*applied == (whole & ~uint64_t{1 << 5}));
  // Leave-one-out of the harmful one is just what is applied.
  const auto result = Settle({}, game);
  REQUIRE(result.ok());
  CHECK(result->contributors[0].estimate == result->contributors[0].solo);
  CHECK(result->contributors[5].harmful);

  // With two harmful ones the applied coalition has to be evaluated apart.
  gains[6] = -80'000'000;
  game = MakeGame(gains, 50, 3);
  CHECK(ReasonOf(Settle({}, game).status()) == "BAD_REQUEST");
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
