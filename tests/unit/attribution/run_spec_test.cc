#include "services/attribution/run_spec.h"

#include <catch2/catch.hpp>
#include <random>

#include "libs/base/errors.h"

namespace rochdale::attribution {
namespace {

RunSpec Sample() {
  RunSpec spec;
  spec.run.value.bytes.fill(7);
  spec.model.layer_sizes = {4, 3, 2};
  spec.base = crypto::Sha256("base");
  spec.lineages = 5;
  for (const char* name : {"a", "b", "c"}) {
    UpdateId id;
    id.value.bytes.fill(static_cast<uint8_t>(name[0]));
    spec.updates.push_back({id, crypto::Sha256(name)});
  }
  spec.parts.push_back({crypto::Sha256("rows"), 1'000, {0, 2}, {0, 1, 2, 3}, {}});
  spec.parts.push_back({crypto::Sha256("more"), 10, {1}, {1}, {crypto::Sha256("best")}});
  return spec;
}

TEST_CASE("a run spec comes back as it was written") {
  const RunSpec spec = Sample();
  const auto parsed = ParseRunSpec(RunSpecToJson(spec));
  REQUIRE(parsed.ok());
  CHECK(*parsed == spec);
  CHECK(RunBlobs(spec).size() == 7);
}

TEST_CASE("the run spec of a module names it, its evaluation and its tolerance") {
  RunSpec spec = Sample();
  spec.model.layer_sizes.clear();
  spec.model.kind = learning::ModelKind::kTorchScript;
  const crypto::Digest module = crypto::Sha256("module");
  spec.model.torchscript = {module, 4,     256,        3,          {{"net.weight", {3, 4}}},
                            "torch 1.13",  "f32",      "default",  "Haswell",
                            1'000,         2'000};
  const auto parsed = ParseRunSpec(RunSpecToJson(spec));
  REQUIRE(parsed.ok());
  CHECK(*parsed == spec);
  CHECK(RunBlobs(spec).size() == 8);
  CHECK(RunSpecToJson(spec).find("\"tolerance_nanonats\":1000") != std::string::npos);
}

TEST_CASE("a run spec names an aggregation other than the mean") {
  RunSpec spec = Sample();
  CHECK(RunSpecToJson(spec).find("aggregation") == std::string::npos);
  spec.aggregation = {learning::AggregationRule::kCreditWeighted, {5, 6, 7}, 0};
  auto parsed = ParseRunSpec(RunSpecToJson(spec));
  REQUIRE(parsed.ok());
  CHECK(*parsed == spec);
  spec.aggregation = {learning::AggregationRule::kMultiKrum, {}, 2'500};
  parsed = ParseRunSpec(RunSpecToJson(spec));
  REQUIRE(parsed.ok());
  CHECK(*parsed == spec);
  spec.aggregation.shares = {1};
  CHECK(ReasonOf(ParseRunSpec(RunSpecToJson(spec)).status()) == "BAD_REQUEST");
}

TEST_CASE("a malformed run spec is refused") {
  const std::string json = RunSpecToJson(Sample());
  const auto refused = [](const std::string& text) {
    return ReasonOf(ParseRunSpec(text).status()) == "BAD_REQUEST";
  };
  CHECK(refused(""));
  CHECK(refused("{}"));
  for (size_t size = 0; size < json.size(); size += 5) CHECK(refused(json.substr(0, size)));
  RunSpec spec = Sample();
  spec.parts[0].masks.push_back(4);  // a bit beyond its two updates
  CHECK(refused(RunSpecToJson(spec)));
  spec = Sample();
  spec.parts[0].updates[0] = 3;
  CHECK(refused(RunSpecToJson(spec)));
  spec = Sample();
  spec.parts.clear();
  CHECK(refused(RunSpecToJson(spec)));
  spec = Sample();
  spec.parts[1].masks.clear();
  spec.parts[1].checkpoints.clear();
  CHECK(refused(RunSpecToJson(spec)));
}

TEST_CASE("shards cover every loss once and fit a message") {
  const uint32_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937 random(seed);
  for (int trial = 0; trial < 50; ++trial) {
    RunSpec spec = Sample();
    spec.parts.resize(1);
    spec.parts[0].rows = 1 + random() % 5'000;
    spec.parts[0].masks.assign(1 + random() % 300, 0);
    const int64_t rows_max = 1 + random() % 2'000;
    const int64_t candidates_max = 1 + random() % 400;
    std::vector<int> covered(spec.parts[0].rows * spec.parts[0].masks.size(), 0);
    for (const ShardRange& shard : PlanShards(spec, rows_max, candidates_max)) {
      CHECK(shard.losses() > 0);
      CHECK(shard.losses() * 8 <= kShardResultBytesMax);
      CHECK(shard.row_end - shard.row_begin <= rows_max);
      CHECK(shard.candidate_end - shard.candidate_begin <= candidates_max);
      for (int64_t c = shard.candidate_begin; c < shard.candidate_end; ++c) {
        for (int64_t r = shard.row_begin; r < shard.row_end; ++r) {
          ++covered[c * spec.parts[0].rows + r];
        }
      }
    }
    CHECK(std::all_of(covered.begin(), covered.end(), [](int n) { return n == 1; }));
  }
}

TEST_CASE("a thousand candidates on many rows are cut below the message limit") {
  RunSpec spec = Sample();
  spec.parts.resize(1);
  spec.parts[0].rows = 100'000;
  spec.parts[0].masks.assign(1'024, 0);
  for (const ShardRange& shard : PlanShards(spec, 1'000'000, 65'536)) {
    CHECK(shard.losses() * 8 <= kShardResultBytesMax);
  }
}

TEST_CASE("losses travel as little-endian integers within their range") {
  const std::vector<int64_t> losses = {0, 1, 258, kLossMax};
  const std::string bytes = EncodeLosses(losses);
  CHECK(bytes.substr(16, 8) == std::string("\x02\x01\0\0\0\0\0\0", 8));
  CHECK(*DecodeLosses(bytes, 4) == losses);
  CHECK_FALSE(DecodeLosses(bytes, 3).ok());
  CHECK_FALSE(DecodeLosses(bytes.substr(1), 4).ok());
  CHECK_FALSE(DecodeLosses(EncodeLosses(std::vector<int64_t>{-1}), 1).ok());
  CHECK_FALSE(DecodeLosses(EncodeLosses(std::vector<int64_t>{kLossMax + 1}), 1).ok());
}

}  // namespace
}  // namespace rochdale::attribution
