#include "libs/learning/exact_evaluator.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "libs/base/errors.h"
#include "libs/learning/fast_evaluator.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

LossMatrix Coalitions(const RandomCase& game, int row_block = 0) {
  EvaluationOptions options;
  options.row_block = row_block;
  return EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), game.AllMasks(), game.rows,
                            options)
      .value();
}

// Every coalition as a checkpoint of its own, which shares nothing.
LossMatrix OneByOne(const RandomCase& game) {
  std::vector<GridVector> parameters;
  for (uint64_t mask : game.AllMasks()) {
    parameters.push_back(ApplyUpdates(game.base, game.UpdateSpans(), mask));
  }
  const std::vector<GridSpan> candidates(parameters.begin(), parameters.end());
  return EvaluateCheckpoints(game.spec, candidates, game.rows).value();
}

void ZeroLayer(RandomCase& game, int layer_index) {
  const LinearLayer layer = LinearLayers(game.spec)[layer_index];
  for (GridVector& update : game.updates) {
    std::fill_n(update.begin() + layer.weight_offset, layer.inputs * layer.outputs, 0);
    std::fill_n(update.begin() + layer.bias_offset, layer.outputs, 0);
  }
}

TEST_CASE("coalitions equal their parameters evaluated alone") {
  struct { std::vector<int> sizes; int updates; int32_t spread, step; } rows[] = {
      {{30, 20, 10}, 4, 1 << 14, 1 << 12},
      {{30, 10}, 4, 1 << 18, 1 << 16},
      {{30, 20, 15, 4}, 3, 1 << 20, 1 << 18},
      {{12, 9, 8, 7, 6, 5, 3}, 3, 1 << 19, 1 << 17},
      {{20, 10, 5}, 3, 1 << 23, 1 << 21},  // most coalitions saturate somewhere
      {{20, 10, 5}, 0, 1 << 14, 1 << 12},  // no updates at all
      {{1, 1, 2}, 2, 1 << 14, 1 << 12},
  };
  uint64_t seed = 10;
  for (const auto& row : rows) {
    const RandomCase game = MakeCase(row.sizes, row.updates, 70, ++seed, row.spread, row.step);
    INFO("seed " << seed);
    CHECK(Coalitions(game).losses == OneByOne(game).losses);
  }
}

TEST_CASE("updates of upper layers only share everything below") {
  for (const int changed : {1, 2}) {
    RandomCase game = MakeCase({20, 15, 12, 6}, 4, 50, 31);
    for (int layer = 0; layer < changed; ++layer) ZeroLayer(game, layer);
    CHECK(Coalitions(game).losses == OneByOne(game).losses);
    CHECK(Coalitions(game, 7).losses == OneByOne(game).losses);
  }
  RandomCase nothing = MakeCase({20, 15, 12, 6}, 2, 50, 32);
  for (int layer = 0; layer < 3; ++layer) ZeroLayer(nothing, layer);
  const LossMatrix matrix = Coalitions(nothing);
  CHECK(matrix.candidate(0) == matrix.candidate(3));
}

TEST_CASE("the batch changes nothing") {
  const RandomCase game = MakeCase({64, 32, 10}, 3, 601, 5);
  const LossMatrix expected = Coalitions(game);
  for (const int block : {1, 7, 64, 256, 600, 601, 10'000}) {
    CHECK(Coalitions(game, block).losses == expected.losses);
  }
}

TEST_CASE("masks may come in any order, repeat, and be few") {
  const RandomCase game = MakeCase({20, 10, 5}, 5, 40, 6);
  const LossMatrix all = Coalitions(game);
  const std::vector<uint64_t> masks{31, 0, 5, 5, 16, 1, 30, 0};
  const auto some =
      EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks, game.rows).value();
  for (size_t c = 0; c < masks.size(); ++c) {
    CHECK(some.candidate(c) == all.candidate(masks[c]));
  }
  const auto none =
      EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), {}, game.rows).value();
  CHECK(none.losses.empty());
}

TEST_CASE("the f32 evaluator agrees to its precision") {
  const RandomCase game = MakeCase({100, 40, 10}, 3, 600, 7);
  const LossMatrix exact = Coalitions(game);
  const auto fast = FastEvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                           game.AllMasks(), game.rows)
                        .value();
  double worst = 0;
  for (size_t i = 0; i < fast.size(); ++i) {
    worst = std::max(worst, std::abs(fast[i] - exact.losses[i] * 1e-9));
  }
  CHECK(worst < 1e-4);  // activations on 2^-16
}

TEST_CASE("63 updates are evaluated, 64 refused") {
  RandomCase game = MakeCase({6, 5, 3}, 63, 20, 8);
  const std::vector<uint64_t> masks{~uint64_t{0} >> 1, uint64_t{1} << 62, 0};
  const auto losses =
      EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks, game.rows).value();
  const GridVector whole = ApplyUpdates(game.base, game.UpdateSpans(), masks[0]);
  const auto alone = EvaluateCheckpoints(game.spec, {whole}, game.rows).value();
  CHECK(losses.candidate(0) == alone.candidate(0));
  game.updates.push_back(game.updates[0]);
  CHECK(ReasonOf(EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), {0}, game.rows)
                     .status()) == "BAD_REQUEST");
}

// A second layer whose weights are all at the bound behind large activations.
RandomCase Overflowing() {
  RandomCase game = MakeCase({64, 400, 50, 3}, 2, 30, 9);
  const auto layers = LinearLayers(game.spec);
  std::fill(game.base.begin(), game.base.end(), 0);
  for (GridVector& update : game.updates) std::fill(update.begin(), update.end(), 0);
  // Update 1 makes the first layer's activations up to 512; the base's second layer sums them.
  std::fill_n(game.updates[1].begin() + layers[0].weight_offset, 64 * 400, kGridMax);
  std::fill_n(game.base.begin() + layers[1].weight_offset, 400 * 50, kGridMax);
  return game;
}

TEST_CASE("a coalition that leaves the range is named with its layer, whatever the batch") {
  const RandomCase game = Overflowing();
  for (const int block : {0, 1, 7, 30}) {
    for (const auto& [masks, candidate] :
         std::vector<std::pair<std::vector<uint64_t>, int64_t>>{{{0, 1, 2, 3}, 2},
                                                                {{3, 2, 1, 0}, 0},
                                                                {{1, 3, 0}, 1}}) {
      std::optional<RangeViolation> violation;
      EvaluationOptions options{block, &violation};
      const auto result = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks,
                                             game.rows, options);
      REQUIRE(ReasonOf(result.status()) == "EVALUATION_RANGE");
      REQUIRE(violation.has_value());
      CHECK(violation->candidate == candidate);
      CHECK(violation->layer == "2");
    }
  }
  // The others are evaluated where the offender is left out, and LargestUpdate says which.
  CHECK(LargestUpdate(game.UpdateSpans(), 3) == 1);
  CHECK(LargestUpdate(game.UpdateSpans(), 1) == 0);
  CHECK(EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), {0, 1}, game.rows).ok());
  const GridVector whole = ApplyUpdates(game.base, game.UpdateSpans(), 2);
  CHECK(ReasonOf(EvaluateCheckpoints(game.spec, {whole}, game.rows).status()) ==
        "EVALUATION_RANGE");
  CHECK(ReasonOf(CountCorrect(game.spec, whole, game.rows).status()) == "EVALUATION_RANGE");
}

// Bright rows leave the range in layer 2 already, dim ones only in layer 4.
TEST_CASE("the lowest layer is named, whichever row comes first") {
  RandomCase game = MakeCase({64, 400, 50, 3}, 0, 2, 12);
  std::fill(game.base.begin(), game.base.end(), 0);
  const auto layers = LinearLayers(game.spec);
  const double weights[] = {7.99, 0.75, 0.04};
  for (int l = 0; l < 3; ++l) {
    std::fill_n(game.base.begin() + layers[l].weight_offset,
                int64_t{layers[l].inputs} * layers[l].outputs,
                tensor::RoundToGrid(weights[l]));
  }
  for (const bool bright_first : {true, false}) {
    std::fill_n(game.rows.inputs.begin(), 64, bright_first ? 255 : 127);
    std::fill_n(game.rows.inputs.begin() + 64, 64, bright_first ? 127 : 255);
    for (const int block : {1, 2}) {
      std::optional<RangeViolation> violation;
      CHECK(!EvaluateCheckpoints(game.spec, {game.base}, game.rows, {block, &violation}).ok());
      REQUIRE(violation.has_value());
      CHECK(violation->layer == "2");
    }
  }
  std::fill(game.rows.inputs.begin(), game.rows.inputs.end(), 127);
  std::optional<RangeViolation> violation;
  CHECK(!EvaluateCheckpoints(game.spec, {game.base}, game.rows, {0, &violation}).ok());
  REQUIRE(violation.has_value());
  CHECK(violation->layer == "4");
}

// Opposite updates whose sum is small: the bound over parts fails, the check of the sum passes.
TEST_CASE("the range is checked on the coalition, not on its parts") {
  RandomCase game = Overflowing();
  const auto first = LinearLayers(game.spec)[0];
  game.updates[0] = game.updates[1];
  for (int64_t i = 0; i < 64 * 400; ++i) game.updates[0][first.weight_offset + i] = -kGridMax + 1;
  const auto both = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), {0, 1, 3},
                                       game.rows);
  REQUIRE(both.ok());
  const GridVector whole = ApplyUpdates(game.base, game.UpdateSpans(), 3);
  CHECK(both->candidate(2) ==
        EvaluateCheckpoints(game.spec, {whole}, game.rows).value().candidate(0));
}

TEST_CASE("the base below the shared layer is checked, too") {
  RandomCase game = Overflowing();
  game.base = ApplyUpdates(game.base, game.UpdateSpans(), 2);
  game.updates[1].assign(game.base.size(), 0);
  game.updates[0][LinearLayers(game.spec)[2].bias_offset] = 1;  // only the last layer changes
  std::optional<RangeViolation> violation;
  const auto result = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), {1, 0},
                                         game.rows, {0, &violation});
  CHECK(ReasonOf(result.status()) == "EVALUATION_RANGE");
  REQUIRE(violation.has_value());
  CHECK(violation->candidate == 0);
  CHECK(violation->layer == "2");
}

TEST_CASE("malformed games are refused") {
  const RandomCase game = MakeCase({20, 10, 5}, 2, 10, 11);
  const auto updates = game.UpdateSpans();
  auto reason = [&](const ModelSpec& spec, GridSpan base, absl::Span<const GridSpan> parts,
                    uint64_t mask, Rows rows) {
    return ReasonOf(EvaluateCoalitions(spec, base, parts, {mask}, rows).status());
  };
  CHECK(reason(game.spec, game.base, updates, 3, game.rows) == "");
  CHECK(reason(ModelSpec{ModelKind::kMlp, {}}, game.base, updates, 3, game.rows) == "BAD_REQUEST");
  CHECK(reason(game.spec, GridSpan(game.base).subspan(1), updates, 3, game.rows) == "BAD_REQUEST");
  CHECK(reason(game.spec, game.base, {GridSpan()}, 1, game.rows) == "BAD_REQUEST");
  CHECK(reason(game.spec, game.base, updates, 4, game.rows) == "BAD_REQUEST");
  GridVector beyond = game.base;
  beyond[3] = kGridMax + 1;
  CHECK(reason(game.spec, beyond, updates, 3, game.rows) == "TENSOR_NOT_FINITE");
  CHECK(reason(game.spec, game.base, {beyond}, 1, game.rows) == "TENSOR_NOT_FINITE");
  Dataset rows = game.rows;
  CHECK(reason(game.spec, game.base, updates, 3, Rows{}) == "PROBE_INVALID");
  rows.labels[2] = 5;
  CHECK(reason(game.spec, game.base, updates, 3, rows) == "PROBE_INVALID");
  rows.labels[2] = -1;
  CHECK(reason(game.spec, game.base, updates, 3, rows) == "PROBE_INVALID");
  rows = game.rows;
  rows.inputs.pop_back();
  CHECK(reason(game.spec, game.base, updates, 3, rows) == "PROBE_INVALID");
}

TEST_CASE("correct answers are counted, the lowest class among equals") {
  const ModelSpec spec{ModelKind::kSoftmaxRegression, {2, 3}};
  GridVector parameters(9, 0);
  const LinearLayer layer = LinearLayers(spec)[0];
  Dataset rows;
  rows.dimension = 2;
  rows.inputs = {0, 0, 255, 0, 0, 255, 1, 0};
  rows.labels = {0, 1, 2, 1};
  CHECK(CountCorrect(spec, parameters, rows).value() == 1);  // all logits equal: class 0
  parameters[layer.weight_offset + 2] = 1;                   // class 1 by input 0
  parameters[layer.weight_offset + 5] = 1;                   // class 2 by input 1
  CHECK(CountCorrect(spec, parameters, rows).value() == 4);
}

}  // namespace
}  // namespace rochdale::learning
