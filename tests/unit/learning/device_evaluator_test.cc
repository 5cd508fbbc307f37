#include "libs/learning/device_evaluator.h"

#include <catch2/catch.hpp>
#include <random>

#include "libs/base/errors.h"
#include "libs/learning/exact_math.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kMemory = int64_t{256} << 20;

DeviceEvaluator Opened(const std::string& device, int64_t memory = kMemory) {
  absl::StatusOr<DeviceEvaluator> evaluator = DeviceEvaluator::Open(device, memory);
  INFO(evaluator.status().ToString());
  REQUIRE(evaluator.ok());
  return *std::move(evaluator);
}

// Whether some coalition leaves the range; then the device names the one that the processor does.
bool LeavesAsOnHost(DeviceEvaluator& evaluator, const RandomCase& game) {
  std::optional<RangeViolation> wanted, found;
  EvaluationOptions options;
  options.violation = &wanted;
  const auto expected = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                           game.AllMasks(), game.rows, options);
  options.violation = &found;
  const auto got = evaluator.EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                                game.AllMasks(), game.rows, options);
  CHECK(ReasonOf(got.status()) == ReasonOf(expected.status()));
  REQUIRE(wanted.has_value() == found.has_value());
  if (!wanted.has_value()) return false;
  CHECK(found->candidate == wanted->candidate);
  CHECK(found->layer == wanted->layer);
  return true;
}

TEST_CASE("exp and log on a device have the bits of the exact ones") {
  std::mt19937_64 random(5);
  std::vector<double> xs = {0, -1e-300, -699.999, -700, -700.001, -262'143};
  std::vector<double> ss = {1, 2, 0x1.6a09e667f3bcdp+0, 0x1.6a09e667f3bccp+0,
                            0x1.fffffffffffffp+31};
  for (int i = 0; i < 20'000; ++i) {
    const double fraction = static_cast<double>(random() >> 11) * 0x1p-53;
    xs.push_back(-fraction * (i % 2 ? 50 : 720));
    ss.push_back(1 + fraction * (i % 2 ? 20 : 4e9));
  }
  for (const std::string& name : DeviceEvaluator::Devices()) {
    const DeviceEvaluator evaluator = Opened(name);
    const std::vector<double> exps = evaluator.Exp(xs), logs = evaluator.Log(ss);
    int different = 0;
    for (size_t i = 0; i < xs.size(); ++i) different += exps[i] != ExactExp(xs[i]);
    for (size_t i = 0; i < ss.size(); ++i) different += logs[i] != ExactLog(ss[i]);
    CHECK(different == 0);
  }
}

TEST_CASE("a device gives the integers of the exact evaluator") {
  for (const std::string& name : DeviceEvaluator::Devices()) {
    DeviceEvaluator evaluator = Opened(name);
    for (const auto& sizes : std::vector<std::vector<int>>{
             {12, 5}, {12, 8, 6, 5}, {33, 40, 2}, {7, 300, 3}, {300, 20, 1'000}}) {
      const RandomCase game = MakeCase(sizes, 4, 257, sizes.size() + sizes[0], 1 << 19, 1 << 17);
      const LossMatrix expected = EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                                     game.AllMasks(), game.rows)
                                      .value();
      const LossMatrix found = evaluator
                                   .EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                                       game.AllMasks(), game.rows)
                                   .value();
      CHECK(found.losses == expected.losses);
      const std::vector<GridSpan> checkpoints = {game.base, game.updates[1]};
      CHECK(evaluator.EvaluateCheckpoints(game.spec, checkpoints, game.rows).value().losses ==
            EvaluateCheckpoints(game.spec, checkpoints, game.rows).value().losses);
    }
  }
}

TEST_CASE("a device gives the integers of convnets and transformers") {
  const std::vector<ModelSpec> specs = {
      ConvnetOf({1, 8, 8}, {3}, {5}),           ConvnetOf({2, 11, 9}, {4, 6}, {8, 5}),
      ConvnetOf({3, 5, 12}, {2}, {7, 6, 3}),    TransformerOf({10, 20, 16, 4, 2, 24}),
      TransformerOf({3, 11, 6, 1, 1, 5}),       TransformerOf({17, 40, 12, 3, 3, 30}),
  };
  for (const std::string& name : DeviceEvaluator::Devices()) {
    DeviceEvaluator evaluator = Opened(name);
    for (size_t s = 0; s < specs.size(); ++s) {
      const RandomCase game = MakeCase(specs[s], 3, 41, s, 1 << 18, 1 << 16);
      CAPTURE(name, s);
      CHECK(evaluator
                .EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), game.AllMasks(),
                                    game.rows)
                .value()
                .losses == EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                              game.AllMasks(), game.rows)
                               .value()
                               .losses);
      const std::vector<GridSpan> checkpoints = {game.base, game.updates[1]};
      CHECK(evaluator.EvaluateCheckpoints(game.spec, checkpoints, game.rows).value().losses ==
            EvaluateCheckpoints(game.spec, checkpoints, game.rows).value().losses);
    }
  }
}

TEST_CASE("a device cuts the rows of convnets and transformers, and finds where they leave it") {
  // So many rows that 64 MiB hold only some of them.
  for (const RandomCase& game :
       {MakeCase(ConvnetOf({1, 16, 16}, {8, 8}, {10}), 1, 1'000, 3),
        MakeCase(TransformerOf({16, 30, 16, 4, 2, 32}), 1, 1'500, 4)}) {
    DeviceEvaluator evaluator = Opened("cpu", kDeviceMemoryMin);
    CHECK(evaluator
              .EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), {0, 1}, game.rows)
              .value()
              .losses ==
          EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), {0, 1}, game.rows)
              .value()
              .losses);
  }
  const ModelSpec specs[] = {ConvnetOf({2, 10, 10}, {9, 8}, {12, 4}),
                             TransformerOf({10, 20, 16, 4, 2, 24})};
  DeviceEvaluator evaluator = Opened("cpu");
  int left = 0;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    RandomCase game = MakeCase(specs[seed % 2], 3, 35, seed, kGridMax, kGridMax);
    for (int32_t& units : game.base) units /= static_cast<int32_t>(1 + seed % 5);
    CAPTURE(seed);
    left += LeavesAsOnHost(evaluator, game);
  }
  CHECK(left > 0);
}

TEST_CASE("blocks that a small memory forces change nothing") {
  // 12,000 rows of 900 inputs and 16 coalitions of a wide model: many blocks of both.
  const RandomCase game = MakeCase({900, 600, 40, 10}, 4, 12'000, 9);
  const std::vector<uint64_t> masks = {0, 3, 15};
  const LossMatrix expected =
      EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks, game.rows).value();
  DeviceEvaluator evaluator = Opened("cpu", kDeviceMemoryMin);
  CHECK(evaluator.EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), masks, game.rows)
            .value()
            .losses == expected.losses);
  const RandomCase large = MakeCase({3'000, 1'200, 10}, 2, 4, 9);
  CHECK(ReasonOf(evaluator
                     .EvaluateCoalitions(large.spec, large.base, large.UpdateSpans(), masks,
                                         large.rows)
                     .status()) == "BAD_REQUEST");  // mask 15 of two updates
  const std::vector<uint64_t> two = {0, 3};
  CHECK(ReasonOf(evaluator
                     .EvaluateCoalitions(large.spec, large.base, large.UpdateSpans(), two,
                                         large.rows)
                     .status()) == "DEVICE_UNFIT");
}

TEST_CASE("a device finds the candidate and layer that leave the range") {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    RandomCase game = MakeCase({40, 30, 20, 4}, 3, 65, seed, kGridMax, kGridMax);
    for (int32_t& units : game.base) units /= static_cast<int32_t>(1 + seed % 3);
    DeviceEvaluator evaluator = Opened("cpu");
    CAPTURE(seed);
    LeavesAsOnHost(evaluator, game);
  }
}

TEST_CASE("devices that are not there are refused") {
  for (const char* name : {"", "tpu", "cuda:999", "cpu:x", "xla"}) {
    INFO(name);
    CHECK(ReasonOf(DeviceEvaluator::Open(name, kMemory).status()) == "DEVICE_UNFIT");
  }
  if (DeviceEvaluator::Devices().size() == 1) {
    CHECK(ReasonOf(DeviceEvaluator::Open("cuda", kMemory).status()) == "DEVICE_UNFIT");
  }
  CHECK(ReasonOf(DeviceEvaluator::Open("cpu", 1).status()) == "BAD_REQUEST");
}

}  // namespace
}  // namespace rochdale::learning
