// What candidates share changes no integer: random structures against every candidate alone.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "libs/base/errors.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/fast_evaluator.h"
#include "libs/learning/layer_delta.h"
#include "libs/learning/low_rank.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

enum class Change { kNone, kAll, kBias, kFewUnits, kFewWeights, kFewInputs, kLowRank };
constexpr int kChanges = 7;

// Leaves of a layer of the update only what the change is about.
void Shape(const LinearLayer& layer, Change change, std::mt19937_64& engine, GridVector& update) {
  int32_t* weight = update.data() + layer.weight_offset;
  int32_t* bias = update.data() + layer.bias_offset;
  const uint64_t chosen = engine();
  std::vector<int32_t> left(layer.outputs), right(layer.inputs);
  for (int32_t& value : left) value = static_cast<int32_t>(engine() % 129) - 64;
  for (int32_t& value : right) value = static_cast<int32_t>(engine() % 65) - 32;
  for (int64_t j = 0; j < layer.outputs; ++j) {
    const bool unit = (chosen + j) % 7 == 0;
    if (change == Change::kNone || (change == Change::kFewUnits && !unit) ||
        change == Change::kFewInputs || change == Change::kFewWeights) {
      bias[j] = 0;
    }
    for (int64_t i = 0; i < layer.inputs; ++i) {
      int32_t& value = weight[j * layer.inputs + i];
      const bool keeps = change == Change::kAll || (change == Change::kFewUnits && unit) ||
                         (change == Change::kFewWeights && engine() % 20 == 0) ||
                         (change == Change::kFewInputs && (chosen + i) % 11 == 0);
      if (change == Change::kLowRank) {
        value = left[j] * right[i];
      } else if (!keeps) {
        value = 0;
      }
    }
  }
}

RandomCase Structured(std::vector<int> sizes, int updates, uint64_t seed, int32_t spread = 1 << 14,
                      int32_t step = 1 << 12) {
  RandomCase game = MakeCase(std::move(sizes), updates, 45, seed, spread, step);
  std::mt19937_64 engine(seed);
  for (GridVector& update : game.updates) {
    for (const LinearLayer& layer : LinearLayers(game.spec)) {
      Shape(layer, static_cast<Change>(engine() % kChanges), engine, update);
    }
  }
  return game;
}

LossMatrix Alone(const RandomCase& game, absl::Span<const uint64_t> masks) {
  std::vector<GridVector> parameters;
  for (const uint64_t mask : masks) {
    parameters.push_back(ApplyUpdates(game.base, game.UpdateSpans(), mask));
  }
  const std::vector<GridSpan> candidates(parameters.begin(), parameters.end());
  return EvaluateCheckpoints(game.spec, candidates, game.rows).value();
}

std::vector<float> Fast(const RandomCase& game, absl::Span<const uint64_t> masks) {
  return FastEvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks, game.rows)
      .value();
}

double Worst(const std::vector<float>& fast, const LossMatrix& exact) {
  REQUIRE(fast.size() == exact.losses.size());
  double worst = 0;
  for (size_t i = 0; i < fast.size(); ++i) {
    worst = std::max(worst, std::abs(fast[i] - exact.losses[i] * 1e-9));
  }
  return worst;
}

TEST_CASE("whatever a candidate shares, its losses are those of its parameters") {
  const std::vector<std::vector<int>> shapes = {
      {40, 30, 10}, {40, 12}, {40, 30, 20, 8}, {25, 20, 18, 16, 14, 5}, {8, 90, 6}};
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const RandomCase game = Structured(shapes[seed % shapes.size()], 1 + seed % 5, seed);
    INFO("seed " << seed);
    const LossMatrix alone = Alone(game, game.AllMasks());
    for (const int block : {0, 13}) {
      EvaluationOptions options;
      options.row_block = block;
      const auto shared = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                             game.AllMasks(), game.rows, options);
      REQUIRE(shared.ok());
      CHECK(shared->losses == alone.losses);
    }
    CHECK(Worst(Fast(game, game.AllMasks()), alone) < 2e-4);
  }
}

TEST_CASE("what is known of a base and of rows changes no loss, in whatever order they come") {
  // Two bases of one model, and another model; the cache holds some of their row blocks.
  std::vector<RandomCase> games = {Structured({40, 30, 20, 8}, 4, 7),
                                   Structured({40, 30, 20, 8}, 4, 8), Structured({40, 8}, 3, 9)};
  std::mt19937_64 engine(11);
  for (const int64_t bytes : {int64_t{0}, int64_t{30'000}, int64_t{1} << 20}) {
    BaseCache<double> cache(bytes);
    BaseCache<float> fast_cache(bytes);
    for (int call = 0; call < 60; ++call) {
      const uint64_t dice = engine();
      RandomCase& game = games[dice % 10 == 0 ? 2 : dice / 16 % 8 == 0];
      if (dice / 128 % 16 == 0) {  // in place: what was known is of these bytes no more
        game.base[engine() % game.base.size()] += 1'000;
        game.rows.inputs[engine() % game.rows.inputs.size()] ^= 64;
      }
      std::vector<uint64_t> masks = game.AllMasks();
      std::shuffle(masks.begin(), masks.end(), engine);
      masks.resize(1 + engine() % 4);
      EvaluationOptions options;
      options.row_block = 16;
      options.cache = &cache;
      const LossMatrix alone = Alone(game, masks);
      const auto known = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks,
                                            game.rows, options);
      REQUIRE(known.ok());
      CHECK(known->losses == alone.losses);
      const auto fast = FastEvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks,
                                               game.rows, &fast_cache);
      CHECK(*fast == Fast(game, masks));
      CHECK(cache.bytes() <= bytes);
    }
    CHECK((cache.bytes() > 0) == (bytes > 0));
  }
}

TEST_CASE("a base that leaves the range does so again where its activations are known") {
  RandomCase game = MakeCase({60, 50, 30, 10}, 3, 40, 5);
  std::fill(game.base.begin(), game.base.end(), kGridMax);
  for (GridVector& update : game.updates) {  // the last layer only
    std::fill(update.begin(), update.begin() + LinearLayers(game.spec).back().bias_offset, 0);
  }
  BaseCache<double> cache;
  for (int call = 0; call < 2; ++call) {
    std::optional<RangeViolation> violation;
    EvaluationOptions options;
    options.violation = &violation;
    options.cache = &cache;
    const auto losses = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), {2, 1, 4},
                                           game.rows, options);
    CHECK(ReasonOf(losses.status()) == "EVALUATION_RANGE");
    REQUIRE(violation.has_value());
    CHECK(violation->candidate == 0);
    CHECK(violation->layer == LinearLayers(game.spec)[2].name);
  }
}

TEST_CASE("parameters near the end of the grid share nothing wrong") {
  for (uint64_t seed = 100; seed < 130; ++seed) {
    const RandomCase game = Structured({30, 20, 12, 5}, 4, seed, 1 << 22, 1 << 22);
    INFO("seed " << seed);
    const auto shared = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                           game.AllMasks(), game.rows);
    REQUIRE(shared.ok());
    CHECK(shared->losses == Alone(game, game.AllMasks()).losses);
  }
}

TEST_CASE("each update alone, some of one layer, one of all, one of none") {
  RandomCase game = MakeCase({60, 50, 30, 10}, 12, 300, 77);
  std::mt19937_64 engine(77);
  const auto layers = LinearLayers(game.spec);
  std::vector<uint64_t> masks;
  for (size_t i = 0; i < game.updates.size(); ++i) {
    for (size_t l = 0; l < layers.size(); ++l) {
      const bool keeps = i == 0 || (i > 1 && l == i % layers.size());
      if (!keeps) Shape(layers[l], Change::kNone, engine, game.updates[i]);
    }
    masks.push_back(uint64_t{1} << i);
  }
  masks.push_back(0);
  masks.push_back(masks[3] | masks[4]);
  masks.push_back(masks[2]);
  const auto shared =
      EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks, game.rows).value();
  CHECK(shared.losses == Alone(game, masks).losses);
  CHECK(shared.candidate(1) == shared.candidate(12));  // none: the base
  CHECK(Worst(Fast(game, masks), shared) < 2e-4);
}

// The sum of absolute values fails where the coalition itself is fine: a base that sums to 2^16.9
// behind activations of a sparse change.
TEST_CASE("a candidate in range is evaluated alone where the bound of sharing fails") {
  RandomCase game = MakeCase({64, 400, 50, 3}, 2, 30, 9);
  const auto layers = LinearLayers(game.spec);
  std::fill(game.base.begin(), game.base.end(), 0);
  for (GridVector& update : game.updates) std::fill(update.begin(), update.end(), 0);
  std::fill_n(game.base.begin() + layers[0].weight_offset, 64 * 400, kGridMax / 16);
  for (int64_t i = 0; i < 400 * 50; ++i) {  // rows of sum 0, and 400 * 8 * 16 large
    game.base[layers[1].weight_offset + i] = i % 2 ? kGridMax : -kGridMax;
  }
  game.updates[0][layers[0].weight_offset] = 1 << 14;
  game.updates[1][layers[0].bias_offset + 5] = 1 << 14;
  const std::vector<uint64_t> masks = game.AllMasks();
  for (int bright : {160, 255}) {
    std::fill(game.rows.inputs.begin(), game.rows.inputs.end(), bright);
    const auto shared =
        EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks, game.rows);
    std::vector<GridVector> parameters;
    for (const uint64_t mask : masks) {
      parameters.push_back(ApplyUpdates(game.base, game.UpdateSpans(), mask));
    }
    const std::vector<GridSpan> candidates(parameters.begin(), parameters.end());
    const auto alone = EvaluateCheckpoints(game.spec, candidates, game.rows);
    REQUIRE(shared.ok() == alone.ok());
    if (alone.ok()) CHECK(shared->losses == alone->losses);
  }
}

TEST_CASE("the form of a change is found") {
  const ModelSpec spec = SpecOf({200, 120, 10});
  const LinearLayer layer = LinearLayers(spec)[0];
  using Form = LayerDelta<float>::Form;
  struct {
    Change change;
    Form f32;
  } rows[] = {
      {Change::kNone, Form::kNone},           {Change::kAll, Form::kRows},
      {Change::kFewUnits, Form::kRows},       {Change::kFewWeights, Form::kSparse},
      {Change::kFewInputs, Form::kSparse},    {Change::kLowRank, Form::kLowRank},
      {Change::kBias, Form::kSparse},
  };
  for (const auto& row : rows) {
    std::mt19937_64 engine(3);
    GridVector update = MakeCase({200, 120, 10}, 1, 2, 3).updates[0];
    Shape(layer, row.change, engine, update);
    const auto fast = DeltaOf<float>(layer, update);
    const auto exact = DeltaOf<double>(layer, update);
    INFO("change " << static_cast<int>(row.change));
    CHECK(fast.form == row.f32);
    // No approximation in what is paid.
    CHECK(exact.form != LayerDelta<double>::Form::kLowRank);
    if (row.change == Change::kFewUnits) CHECK(exact.units.size() < 20);
    if (row.change == Change::kLowRank) CHECK(fast.rank == 1);
  }
}

TEST_CASE("a rank that was rounded to the grid is found, a full one refused") {
  std::mt19937_64 engine(11);
  auto normal = [&] { return static_cast<float>(engine() % 2001) / 1000 - 1; };
  for (const int rank : {1, 8, 20}) {
    const int rows = 150, columns = 300;
    std::vector<float> left(rows * rank), right(rank * columns), matrix(rows * columns);
    for (float& value : left) value = normal();
    for (float& value : right) value = normal() * 0.003f;
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < columns; ++j) {
        double sum = 0;
        for (int k = 0; k < rank; ++k) sum += left[i * rank + k] * right[k * columns + j];
        matrix[i * columns + j] = static_cast<float>(std::nearbyint(sum * 0x1p20) * 0x1p-20);
      }
    }
    const float tolerance = 4 * 0x1p-20f;
    const auto found = FindLowRank(matrix.data(), rows, columns, 30, tolerance);
    REQUIRE(found.has_value());
    // Rounding noise may cost a few ranks more.
    CHECK(found->rank >= rank);
    CHECK(found->rank <= rank + 5);
    double worst = 0;
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < columns; ++j) {
        double sum = 0;
        for (int k = 0; k < found->rank; ++k) {
          sum += double{found->left[i * found->rank + k]} * found->right[k * columns + j];
        }
        worst = std::max(worst, std::abs(sum - matrix[i * columns + j]));
      }
    }
    CHECK(worst < 1.01 * tolerance);
    CHECK(!FindLowRank(matrix.data(), rows, columns, rank - 1, tolerance).has_value());
    for (float& value : matrix) value = normal();
    CHECK(!FindLowRank(matrix.data(), rows, columns, 30, tolerance).has_value());
  }
}

// Rank 8 in the first layer, rounded: the product of factors is not the update, but near it.
TEST_CASE("low rank keeps f32's precision") {
  RandomCase game = MakeCase({300, 120, 40, 10}, 4, 200, 21);
  const LinearLayer layer = LinearLayers(game.spec)[0];
  std::mt19937_64 engine(21);
  for (GridVector& update : game.updates) {
    std::vector<double> sum(update.size());
    for (int k = 0; k < 8; ++k) {
      std::vector<double> right(layer.inputs);
      for (double& value : right) value = static_cast<double>(engine() % 2001) / 1000 - 1;
      for (int64_t j = 0; j < layer.outputs; ++j) {
        const double left = (static_cast<double>(engine() % 2001) / 1000 - 1) * 3000;
        for (int64_t i = 0; i < layer.inputs; ++i) {
          sum[layer.weight_offset + j * layer.inputs + i] += left * right[i];
        }
      }
    }
    for (size_t p = 0; p < sum.size(); ++p) {
      update[p] = static_cast<int32_t>(std::nearbyint(sum[p]));
    }
    REQUIRE(DeltaOf<float>(layer, update).form == LayerDelta<float>::Form::kLowRank);
    CHECK(DeltaOf<float>(layer, update).rank <= 12);
  }
  const LossMatrix exact = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                              game.AllMasks(), game.rows).value();
  CHECK(Worst(Fast(game, game.AllMasks()), exact) < 1e-4);
}

}  // namespace
}  // namespace rochdale::learning
