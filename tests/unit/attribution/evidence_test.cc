#include "services/attribution/evidence.h"

#include <catch2/catch.hpp>
#include <map>
#include <random>

#include "libs/base/errors.h"
#include "libs/learning/dataset.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/grid.h"
#include "libs/tensor/flat.h"
#include "services/attribution/draw.h"
#include "services/attribution/parameters_file.h"

namespace rochdale::attribution {
namespace {

Uuid IdOf(uint8_t n) {
  Uuid id;
  id.bytes.fill(n);
  return id;
}

// A small round, evaluated here, with its blobs.
struct Sample {
  Evidence evidence;
  std::map<crypto::Digest, std::string> blobs;

  crypto::Digest Put(std::string bytes) {
    const crypto::Digest digest = crypto::Sha256(bytes);
    blobs[digest] = std::move(bytes);
    return digest;
  }
  absl::Status Check() const {
    return CheckRecomputation(evidence,
                              [&](const crypto::Digest& digest) -> absl::StatusOr<std::string> {
                                const auto found = blobs.find(digest);
                                if (found == blobs.end()) return Error("NOT_FOUND", "no blob");
                                return found->second;
                              });
  }
};

Sample MakeSample(int contributors, const learning::Aggregation& aggregation = {}) {
  Sample sample;
  Evidence& e = sample.evidence;
  std::mt19937 random(5);
  e.model.layer_sizes = {4, 3, 2};
  const learning::GridVector base = learning::InitialParameters(e.model, "1");
  e.base = sample.Put(SerializeCheckpoint(base, e.model));
  e.best = e.base;
  e.lineages = contributors;
  e.aggregation = aggregation;
  std::vector<learning::GridVector> prepared;
  for (int i = 0; i < contributors; ++i) {
    learning::GridVector update(base.size());
    for (int32_t& unit : update) unit = static_cast<int32_t>(random() % 200'001) - 100'000;
    const auto file = tensor::SerializeFlatI32(
        learning::ManifestOf(e.model, tensor::DType::kI32), update);
    e.updates.push_back({UpdateId{IdOf(10 + i)}, PrincipalId{IdOf(40 + i)}, sample.Put(*file)});
    prepared.push_back(learning::PrepareUpdate(aggregation, contributors, i, update));
  }
  e.round = RoundId{IdOf(1)};
  e.cooperative = CooperativeId{IdOf(2)};
  e.number = 3;
  e.seed = crypto::Sha256("seed");
  e.seed_sha256 = crypto::Sha256(e.seed.AsBytes());
  e.split_seed = crypto::Sha256("split");
  e.pool = crypto::Sha256("pool");
  e.pool_rows = 60;
  e.visible_rows = 12;
  e.rows = DrawSettlementRows(e.seed, 60, VisibleRows(e.split_seed, 60, 12), {}, 40);
  learning::Dataset rows;
  rows.dimension = 4;
  for (size_t r = 0; r < e.rows.size(); ++r) {
    for (int k = 0; k < 4; ++k) rows.inputs.push_back(static_cast<uint8_t>(random()));
    rows.labels.push_back(static_cast<int32_t>(random() % 2));
  }
  e.rows_sha256 = sample.Put(learning::SerializeDataset(rows));
  e.rule.estimator = PaidEstimator(e.rule.preset, e.rule.estimator, contributors);

  Game game;
  game.contributors = contributors;
  game.rows = rows.count();
  if (IsSampled(e.rule, contributors)) e.pairs = e.rule.sampling.pairs_min;
  game.seed = e.seed;
  game.pairs = e.pairs;
  game.masks = GameMasks(contributors, e.seed, e.pairs);
  learning::Aggregator aggregator(aggregation.rule, aggregation.trim_bp, contributors, base,
                                  {prepared.begin(), prepared.end()});
  learning::HostEvaluator evaluator;
  const auto evaluate = [&](const std::vector<uint64_t>& masks) {
    return aggregator.Evaluate(evaluator, e.model, masks, rows)->losses;
  };
  game.losses = evaluate(game.masks);
  game.best = evaluate({0});
  if (e.pairs > 0) REQUIRE(*SamplingEnds(e.rule, game));
  e.applied_mask = *AppliedMask(e.rule, game);
  if (game.Losses(e.applied_mask).empty()) {
    game.masks.push_back(e.applied_mask);
    std::sort(game.masks.begin(), game.masks.end());
    game.losses = evaluate(game.masks);
  }
  e.masks = game.masks;
  for (const uint64_t mask : e.masks) e.coalition_loss_sums.push_back(LossSum(game.Losses(mask)));
  e.best_loss_sum = LossSum(game.best);
  e.losses_root = LossesRoot(game);
  const GameResult result = *Settle(e.rule, game);
  for (int i = 0; i < contributors; ++i) {
    const ContributorResult& one = result.contributors[i];
    e.credits.push_back({e.updates[i].update, one.credit, one.estimate, one.standard_error,
                         one.solo, one.leave_one_out, one.harmful});
  }
  e.next = crypto::Sha256(
      SerializeCheckpoint(aggregator.Parameters(e.applied_mask), e.model));
  return sample;
}

TEST_CASE("evidence has one spelling and comes back as it was written") {
  for (const int contributors : {1, 3, 12}) {
    const Sample sample = MakeSample(contributors);
    const std::string json = EvidenceToJson(sample.evidence);
    const auto parsed = ParseEvidence(json);
    REQUIRE(parsed.ok());
    CHECK(EvidenceToJson(*parsed) == json);
    CHECK(parsed->masks == sample.evidence.masks);
    CHECK((json.find("\"masks\"") != json.npos) == (contributors > 10));
    CHECK(json.find(' ') == json.npos);
  }
}

TEST_CASE("evidence names its aggregation, and follows from it alone") {
  using enum learning::AggregationRule;
  const int64_t third = learning::kShareUnit / 3;
  for (const learning::Aggregation& aggregation :
       {learning::Aggregation{kSampleWeighted, {third / 2, third, third}, 0},
        learning::Aggregation{kTrimmedMean, {}, 4'000}, learning::Aggregation{kMedian, {}, 0}}) {
    INFO(learning::AggregationRuleName(aggregation.rule));
    Sample sample = MakeSample(3, aggregation);
    CHECK(sample.Check().ToString() == "OK");
    const std::string json = EvidenceToJson(sample.evidence);
    const auto parsed = ParseEvidence(json);
    REQUIRE(parsed.ok());
    CHECK(parsed->aggregation == aggregation);
    sample.evidence.aggregation = {};
    CHECK(ReasonOf(sample.Check()) == "DIGEST_MISMATCH");
    CHECK(EvidenceToJson(sample.evidence).find("aggregation") == json.npos);
  }
  // The mean has one spelling.
  std::string json = EvidenceToJson(MakeSample(3).evidence);
  json.insert(1, "\"aggregation\":{\"rule\":\"mean\",\"shares\":[],\"trim_bp\":0},");
  CHECK(ReasonOf(ParseEvidence(json).status()) == "BAD_REQUEST");
}

TEST_CASE("evidence that is not canonical is refused") {
  const std::string json = EvidenceToJson(MakeSample(3).evidence);
  const auto refused = [](std::string text) {
    return ReasonOf(ParseEvidence(text).status()) == "BAD_REQUEST";
  };
  CHECK(refused(""));
  CHECK(refused("[]"));
  CHECK(refused("{}"));
  CHECK(refused(json + " "));
  CHECK(refused("{\"extra\":1," + json.substr(1)));
  CHECK(refused(std::string(100'000, '[')));
  std::string other = json;
  other.replace(other.find("\"format\":1"), 10, "\"format\":2");
  CHECK(refused(other));
  // Every cut is refused, and none crashes.
  for (size_t size = 0; size < json.size(); size += 13) CHECK(refused(json.substr(0, size)));
  // So is every changed character, or it is another evidence, but never a crash.
  for (size_t i = 0; i < json.size(); i += 7) {
    std::string changed = json;
    changed[i] = changed[i] == '9' ? 'x' : '9';
    const auto parsed = ParseEvidence(changed);
    if (parsed.ok()) CHECK(EvidenceToJson(*parsed) == changed);
  }
}

TEST_CASE("a round recomputed from its evidence gives the same integers") {
  for (const int contributors : {1, 3, 12}) {
    INFO(contributors << " contributors");
    const Sample sample = MakeSample(contributors);
    CHECK(sample.Check().ToString() == "OK");
    CHECK(CheckDraw(sample.evidence, {}, 40).ok());
    CHECK_FALSE(CheckDraw(sample.evidence, {sample.evidence.rows[0]}, 40).ok());
  }
}

TEST_CASE("evidence says what the test of values looked at") {
  Sample sample = MakeSample(3);
  Evidence& e = sample.evidence;
  const uint64_t gate = e.applied_mask;
  REQUIRE(gate != 0);
  const ProbeId probe = ProbeId::Parse("00000000-0000-4000-8000-000000000009").value();
  e.values = {{{probe, 4, 100}}, {0, gate}, {{1'000, 1'400}}};
  const std::string json = EvidenceToJson(e);
  CHECK(json.find(R"("values":{"bounds":[{"eps_nanonats":100)") != json.npos);
  const auto parsed = ParseEvidence(json);
  REQUIRE(parsed.ok());
  CHECK(parsed->values == e.values);
  CHECK(EvidenceToJson(*parsed) == json);
  CHECK(RefusedMask(e) == 0);
  CHECK(sample.Check().ok());
  e.values.loss_sums[0][1] += 1;  // then somebody had to be refused
  CHECK_FALSE(sample.Check().ok());
  for (const char* bad : {R"("rows":0)", R"("rows":-4)", R"("rows":"4")"}) {
    std::string other = json;
    other.replace(other.find(R"("rows":4)"), 8, bad);
    CHECK_FALSE(ParseEvidence(other).ok());
  }
}

TEST_CASE("any false number is found") {
  using Change = void (*)(Evidence&);
  const std::map<std::string, Change> changes = {
      {"seed", [](Evidence& e) { e.seed = crypto::Sha256("another"); }},
      {"sum", [](Evidence& e) { e.coalition_loss_sums[3] += 1; }},
      {"best sum", [](Evidence& e) { e.best_loss_sum -= 1; }},
      {"root", [](Evidence& e) { e.losses_root.bytes[0] ^= 1; }},
      {"applied", [](Evidence& e) { e.applied_mask ^= 1; }},
      {"credit", [](Evidence& e) { e.credits[1].credit += 1; }},
      {"estimate", [](Evidence& e) { e.credits[0].estimate -= 1; }},
      {"error", [](Evidence& e) { e.credits[0].standard_error += 1; }},
      {"owner", [](Evidence& e) { std::swap(e.credits[0], e.credits[1]); }},
      {"next", [](Evidence& e) { e.next.bytes[5] ^= 1; }},
      {"weight", [](Evidence& e) { e.lineages = 4; }},
      {"order", [](Evidence& e) { std::swap(e.updates[0], e.updates[2]); }},
      {"rows", [](Evidence& e) { e.rows.pop_back(); }},
  };
  for (const auto& [name, change] : changes) {
    INFO(name);
    Sample sample = MakeSample(3);
    change(sample.evidence);
    CHECK(ReasonOf(sample.Check()) == "DIGEST_MISMATCH");
  }
}

TEST_CASE("false numbers of sampled games are found") {
  using Change = void (*)(Evidence&);
  const std::map<std::string, Change> changes = {
      {"error", [](Evidence& e) { e.credits[0].standard_error += 1; }},
      {"bound", [](Evidence& e) { e.rule.sampling.error_max_nanonats = 0; }},
      {"first stage", [](Evidence& e) { e.rule.sampling.pairs_min = 4; }},
      {"last sum", [](Evidence& e) { e.coalition_loss_sums.back() += 1; }},
  };
  for (const auto& [name, change] : changes) {
    INFO(name);
    Sample sample = MakeSample(12);
    REQUIRE(sample.evidence.pairs == 8);
    change(sample.evidence);
    CHECK_FALSE(sample.Check().ok());
  }
  // Pairs that no stage has, and none at all.
  const std::string json = EvidenceToJson(MakeSample(12).evidence);
  for (const char* pairs : {"\"pairs\":0", "\"pairs\":513", "\"pairs\":-8", "\"pairs\":x"}) {
    std::string other = json;
    other.replace(other.find("\"pairs\":8"), 9, pairs);
    CHECK(ReasonOf(ParseEvidence(other).status()) == "BAD_REQUEST");
  }
}

TEST_CASE("a blob that is gone is not a false credit") {
  Sample sample = MakeSample(3);
  sample.blobs.erase(sample.evidence.rows_sha256);
  CHECK(ReasonOf(sample.Check()) == "NOT_FOUND");
}

TEST_CASE("a checkpoint off the grid or of another shape is refused") {
  const learning::ModelSpec spec = MakeSample(1).evidence.model;
  const auto manifest = learning::ManifestOf(spec, tensor::DType::kF32);
  std::vector<float> values(learning::ParameterCount(spec), 0.0f);
  CHECK(ParseCheckpoint(*tensor::SerializeFlatF32(manifest, values), spec).ok());
  values[0] = 1e-7f;
  CHECK(ReasonOf(ParseCheckpoint(*tensor::SerializeFlatF32(manifest, values), spec).status()) ==
        "TENSOR_NOT_FINITE");
  learning::ModelSpec other = spec;
  other.layer_sizes = {4, 4, 2};
  values[0] = 0;
  CHECK(ReasonOf(ParseCheckpoint(*tensor::SerializeFlatF32(manifest, values), other).status()) ==
        "TENSOR_MISMATCH");
  const std::string floats = *tensor::SerializeFlatF32(manifest, values);
  CHECK(ReasonOf(ParseEffectiveUpdate(floats, spec).status()) == "TENSOR_MISMATCH");
}

}  // namespace
}  // namespace rochdale::attribution
