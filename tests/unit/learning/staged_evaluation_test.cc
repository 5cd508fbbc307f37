// Convnets and character transformers through the exact evaluator.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "libs/base/errors.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/fast_evaluator.h"
#include "libs/learning/staged_evaluation.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

const ModelSpec kConvnet = ConvnetOf({1, 12, 12}, {4, 6}, {8, 5});
const ModelSpec kTransformer = TransformerOf({10, 20, 16, 4, 2, 24});

absl::StatusOr<LossMatrix> Evaluate(const RandomCase& game, int row_block = 0,
                                    std::optional<RangeViolation>* violation = nullptr) {
  return EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), game.AllMasks(), game.rows,
                            {row_block, violation});
}

LossMatrix OneByOne(const RandomCase& game) {
  LossMatrix all;
  for (uint64_t mask : game.AllMasks()) {
    const GridVector parameters = ApplyUpdates(game.base, game.UpdateSpans(), mask);
    const LossMatrix one = EvaluateCheckpoints(game.spec, {parameters}, game.rows).value();
    all.losses.insert(all.losses.end(), one.losses.begin(), one.losses.end());
  }
  return all;
}

// The tensor of this name of a parameter vector.
absl::Span<int32_t> TensorOf(const ModelSpec& spec, GridVector& parameters,
                             absl::string_view name) {
  for (const ParameterTensor& tensor : ParameterTensors(spec)) {
    if (tensor.name == name) {
      return absl::MakeSpan(parameters).subspan(tensor.offset, tensor.size);
    }
  }
  FAIL("no tensor " << name);
  return {};
}

TEST_CASE("staged models: coalitions equal their parameters alone, whatever the batch") {
  for (const ModelSpec& spec : {kConvnet, kTransformer}) {
    INFO(ModelSpecToJson(spec));
    const RandomCase game = MakeCase(spec, 3, 23, 41, 1 << 16, 1 << 15);
    const LossMatrix expected = OneByOne(game);
    for (const int block : {0, 1, 7, 22, 23, 10'000}) {
      CHECK(Evaluate(game, block)->losses == expected.losses);
    }
  }
}

TEST_CASE("staged models: updates of one tensor give what the whole vector gives") {
  for (const ModelSpec& spec : {kConvnet, kTransformer}) {
    for (const ParameterTensor& tensor : ParameterTensors(spec)) {
      INFO(tensor.name);
      RandomCase game = MakeCase(spec, 2, 9, 42, 1 << 16, 1 << 18);
      for (GridVector& update : game.updates) {
        std::fill(update.begin(), update.begin() + tensor.offset, 0);
        std::fill(update.begin() + tensor.offset + tensor.size, update.end(), 0);
      }
      const LossMatrix shared = Evaluate(game, 4).value();
      CHECK(shared.losses == OneByOne(game).losses);
      CHECK(shared.candidate(0) != shared.candidate(1));  // every tensor counts
    }
  }
}

TEST_CASE("staged models: what coalitions have in common from below is taken in one piece") {
  // Two updates of everything, three of the head alone, one of nothing.
  RandomCase game = MakeCase(ConvnetOf({1, 8, 8}, {2, 3}, {6, 4}), 6, 9, 21);
  for (size_t i = 2; i < game.updates.size(); ++i) {
    for (const ParameterTensor& tensor : ParameterTensors(game.spec)) {
      const bool head = i < 5 && tensor.offset + tensor.size == ParameterCount(game.spec);
      if (!head) std::fill_n(game.updates[i].begin() + tensor.offset, tensor.size, 0);
    }
  }
  std::vector<uint64_t> masks = game.AllMasks();
  std::mt19937_64 engine(3);
  std::shuffle(masks.begin(), masks.end(), engine);
  const std::vector<int64_t> order = StagedOrder(game.spec, game.UpdateSpans(), masks);
  std::set<int64_t> taken(order.begin(), order.end());
  CHECK(taken.size() == masks.size());
  int lower = 1, all = 1;
  for (size_t k = 1; k < order.size(); ++k) {
    const uint64_t change = masks[order[k]] ^ masks[order[k - 1]];
    lower += (change & 0b000011) != 0;
    all += (change & 0b011111) != 0;
  }
  CHECK(lower == 4);
  CHECK(all == 32);
  const auto losses =
      EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks, game.rows).value();
  std::vector<GridVector> parameters;
  for (const uint64_t mask : masks) {
    parameters.push_back(ApplyUpdates(game.base, game.UpdateSpans(), mask));
  }
  const std::vector<GridSpan> candidates(parameters.begin(), parameters.end());
  CHECK(losses.losses == EvaluateCheckpoints(game.spec, candidates, game.rows)->losses);
}

TEST_CASE("staged models: updates beyond the grid's end saturate, unfit vectors are refused") {
  for (const ModelSpec& spec : {kConvnet, kTransformer}) {
    RandomCase game = MakeCase(spec, 2, 5, 43);
    TensorOf(spec, game.base, ParameterTensors(spec).front().name)[0] = kGridMax;
    TensorOf(spec, game.updates[0], ParameterTensors(spec).front().name)[0] = kGridMax;
    CHECK(Evaluate(game)->losses == OneByOne(game).losses);
    game.updates[1].pop_back();
    CHECK(ReasonOf(Evaluate(game).status()) == "BAD_REQUEST");
    game.updates[1].push_back(kGridMax + 1);
    CHECK(ReasonOf(Evaluate(game).status()) == "TENSOR_NOT_FINITE");
    CHECK(ReasonOf(EvaluateCheckpoints(spec, {game.updates[1]}, game.rows).status()) ==
          "TENSOR_NOT_FINITE");
    CHECK(ReasonOf(EvaluateCoalitions(spec, game.base, {}, {1}, game.rows).status()) ==
          "BAD_REQUEST");
    Rows none = game.rows;
    none.labels = {};
    none.inputs = {};
    CHECK(ReasonOf(EvaluateCheckpoints(spec, {game.base}, none).status()) == "PROBE_INVALID");
  }
}

TEST_CASE("characters beyond the vocabulary are refused") {
  RandomCase game = MakeCase(kTransformer, 0, 3, 44);
  game.rows.inputs[17] = 20;
  CHECK(ReasonOf(EvaluateCheckpoints(game.spec, {game.base}, game.rows).status()) ==
        "PROBE_INVALID");
}

TEST_CASE("a staged model that leaves the range names candidate and layer, whatever the batch") {
  // Tensors of the base that are set to one value, the one that update 1 sets to the bound, and the
  // layer whose check then fails.
  struct Filled { const char* name; int32_t value; };
  struct { ModelSpec spec; std::vector<Filled> base; const char *changed, *layer; } rows[] = {
      {ConvnetOf({1, 8, 8}, {60}, {3}), {{"0.weight", kGridMax}, {"0.bias", kGridMax}},
       "4.weight", "4"},
      {ConvnetOf({1, 8, 8}, {8, 30}, {3}),
       {{"0.weight", kGridMax}, {"0.bias", kGridMax}, {"7.weight", kGridMax}, {"3.weight", 0}},
       "3.weight", "7"},
      {ConvnetOf({1, 8, 8}, {60, 30}, {3}),
       {{"0.bias", kGridMax}, {"3.weight", kGridMax}, {"7.weight", 0}}, "0.weight", "3"},
      {TransformerOf({6, 9, 32, 2, 2, 90}),
       {{"blocks.1.norm2.bias", kGridMax}, {"blocks.1.mlp_in.weight", kGridMax},
        {"blocks.1.mlp_out.weight", 0}},
       "blocks.1.mlp_out.weight", "blocks.1.mlp_out"},
      {TransformerOf({6, 9, 256, 1, 2, 20}), {{"blocks.1.norm1.bias", kGridMax}},
       "blocks.1.attention_in.weight", "blocks.1.attention"},
      {TransformerOf({6, 9, 32, 2, 2, 500}), {}, "blocks.0.mlp_in.bias", "blocks.1.norm1"},
  };
  for (const auto& row : rows) {
    INFO(ModelSpecToJson(row.spec) << " " << row.changed);
    RandomCase game = MakeCase(row.spec, 2, 9, 45);
    for (const auto& [name, value] : row.base) {
      for (int32_t& units : TensorOf(row.spec, game.base, name)) units = value;
    }
    std::fill(game.updates[1].begin(), game.updates[1].end(), 0);
    for (int32_t& units : TensorOf(row.spec, game.updates[1], row.changed)) units = kGridMax;
    if (absl::string_view(row.layer) == "blocks.1.norm1") {
      // Rows of opposite signs make features that differ.
      const auto out = TensorOf(row.spec, game.base, "blocks.0.mlp_out.weight");
      for (size_t i = 0; i < out.size(); ++i) out[i] = i < out.size() / 2 ? 1 << 18 : -(1 << 18);
    }
    CHECK(EvaluateCoalitions(row.spec, game.base, game.UpdateSpans(), {0, 1}, game.rows).ok());
    for (const int block : {0, 1, 4, 9}) {
      std::optional<RangeViolation> violation;
      const auto result = Evaluate(game, block, &violation);
      CHECK(ReasonOf(result.status()) == "EVALUATION_RANGE");
      REQUIRE(violation.has_value());
      CHECK(violation->candidate == 2);
      CHECK(violation->layer == row.layer);
    }
    const GridVector whole = ApplyUpdates(game.base, game.UpdateSpans(), 2);
    CHECK(ReasonOf(CountCorrect(row.spec, whole, game.rows).status()) == "EVALUATION_RANGE");
  }
}

// Bright rows leave the range in layer 3 already, dim ones only in layer 7.
TEST_CASE("the lowest layer of a staged model is named, whichever row comes first") {
  const ModelSpec spec = ConvnetOf({1, 8, 8}, {40, 30}, {3});
  RandomCase game = MakeCase(spec, 0, 2, 49);
  for (const char* bias : {"0.bias", "3.bias"}) {
    for (int32_t& units : TensorOf(spec, game.base, bias)) units = 0;
  }
  for (int32_t& units : TensorOf(spec, game.base, "0.weight")) units = kGridMax;
  for (int32_t& units : TensorOf(spec, game.base, "3.weight")) units = kGridMax;
  for (int32_t& units : TensorOf(spec, game.base, "7.weight")) units = kGridMax;
  for (const int bright : {0, 1}) {
    std::fill_n(game.rows.inputs.begin() + bright * 64, 64, 255);
    std::fill_n(game.rows.inputs.begin() + (1 - bright) * 64, 64, 50);
    for (const int block : {1, 2}) {
      std::optional<RangeViolation> violation;
      CHECK(!EvaluateCheckpoints(spec, {game.base}, game.rows, {block, &violation}).ok());
      REQUIRE(violation.has_value());
      CHECK(violation->layer == "3");
    }
  }
  std::fill(game.rows.inputs.begin(), game.rows.inputs.end(), 50);
  std::optional<RangeViolation> violation;
  CHECK(!EvaluateCheckpoints(spec, {game.base}, game.rows, {0, &violation}).ok());
  REQUIRE(violation.has_value());
  CHECK(violation->layer == "7");
}

TEST_CASE("a transformer counts the rows whose label its last position predicts") {
  const ModelSpec spec = TransformerOf({3, 4, 4, 1, 1, 4});
  RandomCase game = MakeCase(spec, 0, 40, 46);
  // With head.weight 0 and a bias for character 2 it predicts 2 everywhere.
  for (int32_t& units : TensorOf(spec, game.base, "head.weight")) units = 0;
  for (int32_t& units : TensorOf(spec, game.base, "head.bias")) units = 0;
  TensorOf(spec, game.base, "head.bias")[2] = 1 << 20;
  const auto twos = std::count(game.rows.labels.begin(), game.rows.labels.end(), 2);
  CHECK(CountCorrect(spec, game.base, game.rows).value() == twos);
  // And its loss is that of the bias, for the right characters and the others.
  const double all = std::log(std::exp(1.0) + 3);
  const LossMatrix losses = EvaluateCheckpoints(spec, {game.base}, game.rows).value();
  for (int64_t r = 0; r < losses.rows; ++r) {
    const uint8_t* row = &game.rows.inputs[3 * r];
    const int hits = (row[1] == 2) + (row[2] == 2) + (game.rows.labels[r] == 2);
    CHECK(losses.at(0, r) * 1e-9 == Approx(all - hits / 3.0).margin(1e-8));
  }
}

TEST_CASE("no position of a transformer sees what comes after it") {
  // A row's probability is the product of those of its characters, each given the ones before it.
  // So summed over the last two characters and the label it is the probability of the window
  // without them: what the same model with two positions less says. It would not be if a position
  // knew its target.
  const ModelSpec spec = TransformerOf({6, 5, 8, 2, 2, 12});
  RandomCase game = MakeCase(spec, 0, 1, 47, 1 << 18);
  const int context = spec.inputs(), classes = spec.classes();
  auto probability = [&](const Dataset& rows) {
    const auto losses = EvaluateCheckpoints(game.spec, {game.base}, rows).value();
    return std::exp(-losses.losses[0] * 1e-9 * context);
  };
  auto sum_over_ends = [&](int last_but_one) {
    double sum = 0;
    Dataset rows = game.rows;
    rows.inputs[context - 2] = last_but_one;
    for (int character = 0; character < classes; ++character) {
      for (int label = 0; label < classes; ++label) {
        rows.inputs[context - 1] = character;
        rows.labels[0] = label;
        sum += probability(rows);
      }
    }
    return sum;
  };
  double before = 0;
  for (int character = 0; character < classes; ++character) before += sum_over_ends(character);
  TransformerSpec shorter = spec.transformer;
  shorter.context -= 2;
  const ModelSpec short_spec = TransformerOf(shorter);
  GridVector parameters(ParameterCount(short_spec));
  for (const ParameterTensor& tensor : ParameterTensors(short_spec)) {
    const auto from = TensorOf(spec, game.base, tensor.name);
    std::copy_n(from.begin(), tensor.size, parameters.begin() + tensor.offset);
  }
  Dataset window;
  window.dimension = context - 2;
  window.inputs.assign(game.rows.inputs.begin(), game.rows.inputs.end() - 2);
  double shorter_sum = 0;
  for (int label = 0; label < classes; ++label) {
    window.labels = {label};
    const auto losses = EvaluateCheckpoints(short_spec, {parameters}, window).value();
    shorter_sum += std::exp(-losses.losses[0] * 1e-9 * (context - 2));
  }
  CHECK(before == Approx(shorter_sum).epsilon(1e-6));
}

TEST_CASE("staged models are screened with their exact losses") {
  const RandomCase game = MakeCase(kConvnet, 1, 6, 48);
  const LossMatrix exact = Evaluate(game).value();
  const auto fast = FastEvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                           game.AllMasks(), game.rows)
                        .value();
  REQUIRE(fast.size() == exact.losses.size());
  CHECK(fast[3] == Approx(exact.losses[3] * 1e-9));
}

}  // namespace
}  // namespace rochdale::learning
