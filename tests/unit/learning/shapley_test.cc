#include "libs/learning/shapley.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <random>

#include "libs/base/errors.h"
#include "libs/learning/wide.h"

namespace rochdale::learning {
namespace {

std::vector<int64_t> RandomLosses(int n, int64_t rows, uint64_t seed, int64_t largest) {
  std::mt19937_64 engine(seed);
  std::vector<int64_t> losses((size_t{1} << n) * rows);
  for (int64_t& loss : losses) loss = static_cast<int64_t>(engine() % (largest + 1));
  return losses;
}

TEST_CASE("the scales are those of the definition") {
  CHECK(ShapleyScale(1) == 1);
  CHECK(ShapleyScale(2) == 2);
  CHECK(ShapleyScale(3) == 6);
  CHECK(ShapleyScale(8) == 8 * 105);
  CHECK(ShapleyScale(10) == 2'520);
}

// Shapley's own definition: the mean marginal over all orders of arrival.
TEST_CASE("the values are the mean marginals over all permutations") {
  for (int n = 1; n <= 6; ++n) {
    const int64_t rows = 3;
    const auto losses = RandomLosses(n, rows, 100 + n, 5'000'000'000);
    const auto phi = ShapleyPerRow(n, rows, losses);
    std::vector<int> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::vector<int64_t> sums(n * rows);
    int64_t permutations = 0;
    do {
      uint64_t mask = 0;
      for (int i : order) {
        for (int64_t r = 0; r < rows; ++r) {
          sums[i * rows + r] +=
              losses[mask * rows + r] - losses[(mask | uint64_t{1} << i) * rows + r];
        }
        mask |= uint64_t{1} << i;
      }
      ++permutations;
    } while (std::next_permutation(order.begin(), order.end()));
    for (size_t at = 0; at < phi.size(); ++at) {
      CHECK(static_cast<__int128>(phi[at]) * permutations ==
            static_cast<__int128>(sums[at]) * ShapleyScale(n));
    }
  }
}

TEST_CASE("on every row they sum to the whole improvement, at the largest losses, too") {
  for (int n = 1; n <= 10; ++n) {
    const int64_t rows = 4;
    const auto losses = RandomLosses(n, rows, 200 + n, int64_t{1} << 49);
    const auto phi = ShapleyPerRow(n, rows, losses);
    for (int64_t r = 0; r < rows; ++r) {
      __int128 sum = 0;
      for (int i = 0; i < n; ++i) sum += phi[i * rows + r];
      const int64_t whole = losses[r] - losses[((size_t{1} << n) - 1) * rows + r];
      CHECK((sum == static_cast<__int128>(ShapleyScale(n)) * whole));
    }
  }
}

TEST_CASE("equal contributors are credited equally, and idle ones with nothing") {
  const int n = 4;
  const int64_t rows = 5;
  std::vector<int64_t> losses(16 * rows);
  for (uint64_t mask = 0; mask < 16; ++mask) {
    const int twins = (mask & 1) + (mask >> 1 & 1);  // contributors 0 and 1; 2 idle; 3 adds 70
    for (int64_t r = 0; r < rows; ++r) {
      losses[mask * rows + r] = 1'000'000 - (twins == 2 ? 500 : twins * 300) - (mask >> 3) * 70 + r;
    }
  }
  const GameEstimates game = EstimateGame(n, rows, losses).value();
  CHECK(game.shapley[0] == game.shapley[1]);
  CHECK(game.shapley[0].Mean() == 250);
  CHECK(game.solo[0].Mean() == 300);
  CHECK(game.leave_one_out[0].Mean() == 200);
  CHECK(game.banzhaf[0].Mean() == 250);
  CHECK(game.shapley[2].total == 0);
  CHECK(game.shapley[3].Mean() == 70);
  CHECK(game.shapley[3].standard_error == 0);
}

TEST_CASE("standard errors are those of the sample, rounded up") {
  std::mt19937_64 engine(5);
  for (const int64_t scale : {1, 6, 2'520}) {
    for (int64_t rows : {2, 3, 50, 1'000}) {
      std::vector<int64_t> x(rows);
      for (int64_t& value : x) value = static_cast<int64_t>(engine() % 20'000'001) - 9'000'000;
      const Estimate estimate = EstimateMean(x, scale);
      long double mean = 0, squares = 0;
      for (int64_t value : x) mean += value;
      mean /= rows;
      for (int64_t value : x) squares += (value - mean) * (value - mean);
      const long double expected = std::sqrt(squares / (rows - 1) / rows) / scale;
      CHECK(estimate.standard_error >= expected * (1 - 1e-12L));
      CHECK(estimate.standard_error < expected + 1 + 1e-9L);
      CHECK(estimate.Mean() == std::floor(mean / scale));
    }
  }
}

TEST_CASE("a standard error that is whole is not rounded") {
  CHECK(EstimateMean({0, 20}, 1).standard_error == 10);  // variance 200, over 2 rows
  CHECK(EstimateMean({0, 21}, 1).standard_error == 11);
  CHECK(EstimateMean({0, 20}, 10).standard_error == 1);
  CHECK(EstimateMean({-7, -7, -7}, 2).standard_error == 0);
  CHECK(EstimateMean({-7, -7, -7}, 2).Mean() == -4);  // floor of -3.5
}

TEST_CASE("the largest values do not overflow") {
  const int64_t large = (int64_t{1} << 62) - 1;
  std::vector<int64_t> x(100'000);
  for (size_t r = 0; r < x.size(); ++r) x[r] = r % 2 ? large : -large;
  const Estimate estimate = EstimateMean(x, 2'520);
  CHECK(estimate.total == 0);
  const double expected = std::ldexp(1.0, 62) / std::sqrt(99'999.0) / 2'520;
  CHECK(estimate.standard_error == Approx(expected).epsilon(1e-9));
}

TEST_CASE("malformed tables of losses are refused") {
  const std::vector<int64_t> four(4 * 2, 1);
  CHECK(EstimateGame(2, 2, four).ok());
  CHECK(ReasonOf(EstimateGame(0, 2, four).status()) == "BAD_REQUEST");
  CHECK(ReasonOf(EstimateGame(11, 2, four).status()) == "BAD_REQUEST");
  CHECK(ReasonOf(EstimateGame(2, 1, absl::MakeConstSpan(four).subspan(4)).status()) ==
        "BAD_REQUEST");
  CHECK(ReasonOf(EstimateGame(2, 3, four).status()) == "BAD_REQUEST");
  for (const int64_t bad : {int64_t{-1}, (int64_t{1} << 49) + 1}) {
    std::vector<int64_t> losses = four;
    losses[5] = bad;
    CHECK(ReasonOf(EstimateGame(2, 2, losses).status()) == "BAD_REQUEST");
  }
}

TEST_CASE("wide integers add, subtract, multiply and compare") {
  const unsigned __int128 top = ~static_cast<unsigned __int128>(0);
  const Wide a(top);
  // (2^128 - 1)^2 = 2^256 - 2^129 + 1, so that adding 2^129 - 2 gives 2^256 - 1.
  Wide square = a * a;
  square += a;
  square += a;
  Wide all_ones = a * (uint64_t{1} << 63) * 2;
  all_ones *= uint64_t{1} << 63;
  all_ones *= 2;      // (2^128 - 1) 2^128
  all_ones += a;      // 2^256 - 1
  CHECK(square == all_ones);
  CHECK(a - a == Wide());
  CHECK(a * 2 > a);
  CHECK((a * 2) - a == a);
  Wide carried = a;
  carried += Wide(1);  // 2^128
  CHECK(carried > a);
  CHECK(carried - Wide(1) == a);
  CHECK(SmallestWhere(100, [](uint64_t x) { return x * x >= 50; }) == 8);
  CHECK(SmallestWhere(0, [](uint64_t) { return true; }) == 0);
}

}  // namespace
}  // namespace rochdale::learning
