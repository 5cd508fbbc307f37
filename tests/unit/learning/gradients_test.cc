#include "libs/learning/gradients.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "libs/base/errors.h"
#include "libs/learning/exact_evaluator.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

double MeanLoss(const RandomCase& game, const GridVector& parameters) {
  const LossMatrix matrix = EvaluateCheckpoints(game.spec, {parameters}, game.rows).value();
  return std::accumulate(matrix.losses.begin(), matrix.losses.end(), 0.0) * 1e-9 / matrix.rows;
}

// Softmax regression is smooth and its exact losses are not rounded on the way: slopes are sharp.
TEST_CASE("the gradient is the slope of the exact loss") {
  const RandomCase game = MakeCase({12, 5}, 0, 300, 1, 1 << 18);
  const std::vector<float> gradient = MeanLossGradient(game.spec, game.base, game.rows).value();
  REQUIRE(gradient.size() == game.base.size());
  const int32_t step = 1 << 10;
  for (size_t p = 0; p < gradient.size(); ++p) {
    GridVector up = game.base, down = game.base;
    up[p] += step;
    down[p] -= step;
    const double slope = (MeanLoss(game, up) - MeanLoss(game, down)) / (2 * std::ldexp(step, -20));
    CHECK(gradient[p] == Approx(slope).margin(2e-6));
  }
}

void CheckDescends(const RandomCase& game) {
  const std::vector<float> gradient = MeanLossGradient(game.spec, game.base, game.rows).value();
  double squared = 0;
  for (float g : gradient) squared += double{g} * g;
  const double length = std::sqrt(squared);
  GridVector along = game.base, back = game.base;
  const double step = 1e-2;
  for (size_t p = 0; p < along.size(); ++p) {
    const int32_t move =
        static_cast<int32_t>(std::lround(std::ldexp(step * gradient[p] / length, 20)));
    along[p] += move;
    back[p] -= move;
  }
  const double slope = (MeanLoss(game, along) - MeanLoss(game, back)) / (2 * step);
  CHECK(slope == Approx(length).epsilon(0.01));
}

TEST_CASE("the gradient of an MLP descends, in more rows than one block, too") {
  CheckDescends(MakeCase({12, 8, 6, 5}, 0, 5'000, 2));
}

TEST_CASE("the gradients of convnet and transformer are slopes of their exact losses") {
  CheckDescends(MakeCase(ConvnetOf({2, 9, 8}, {6, 5}, {7, 4}), 0, 600, 3));
  CheckDescends(MakeCase(TransformerOf({12, 10, 16, 4, 2, 20}), 0, 1'500, 4));
}

TEST_CASE("rows and parameters that do not fit are refused") {
  const RandomCase game = MakeCase({12, 5}, 0, 3, 1);
  CHECK(ReasonOf(MeanLossGradient(game.spec, GridSpan(), game.rows).status()) == "BAD_REQUEST");
  CHECK(ReasonOf(MeanLossGradient(game.spec, game.base, Rows{}).status()) == "PROBE_INVALID");
}

}  // namespace
}  // namespace rochdale::learning
