#include "libs/learning/module_evaluator.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "libs/base/errors.h"
#include "libs/crypto/sha256.h"
#include "tests/support/torchscript/modules.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

using test::MadeModule;
using test::ReadModule;

ModuleProcessOptions Options() {
  ModuleProcessOptions options;
  options.program = ROCHDALE_MODULE_PROGRAM;
  return options;
}

std::unique_ptr<ModuleProcess> Started(const MadeModule& module) {
  auto process = ModuleProcess::Start(module.spec, module.bytes, Options());
  INFO(process.status().ToString());
  REQUIRE(process.ok());
  return *std::move(process);
}

// The same parameters in the module's order and in the MLP's of the same sizes.
ModelSpec MlpOf(const MadeModule& module) {
  ModelSpec mlp = SpecOf({12, 8, 5});
  CHECK(ParameterCount(mlp) == ParameterCount(module.spec));
  return mlp;
}

RandomCase CaseOf(const ModelSpec& spec, int updates, int64_t rows) {
  RandomCase game = MakeCase(spec, updates, rows, 11, 1 << 17, 1 << 14);
  for (uint8_t& value : game.rows.inputs) value %= spec.torchscript.input_values;
  return game;
}

absl::StatusOr<std::string> Given(const MadeModule& module) { return module.bytes; }

TEST_CASE("a module's losses are those of the same MLP, within its tolerance") {
  for (const char* name : {"right", "right_f32"}) {
    const MadeModule module = ReadModule(name);
    HostEvaluator host;
    ModuleEvaluator evaluator(host, Options());
    RandomCase game = CaseOf(module.spec, 3, 700);
    REQUIRE(evaluator.UseModule(module.spec, [&] { return Given(module); }).ok());
    const LossMatrix found = evaluator.EvaluateCoalitions(module.spec, game.base,
                                                          game.UpdateSpans(), game.AllMasks(),
                                                          game.rows).value();
    // "net.0.bias", "net.0.weight", ... lie as "0.bias", "0.weight", ... do.
    const LossMatrix exact = EvaluateCoalitions(MlpOf(module), game.base, game.UpdateSpans(),
                                                game.AllMasks(), game.rows).value();
    REQUIRE(found.losses.size() == exact.losses.size());
    int64_t furthest = 0;
    for (size_t i = 0; i < found.losses.size(); ++i) {
      furthest = std::max(furthest, std::abs(found.losses[i] - exact.losses[i]));
    }
    // The exact evaluator rounds activations to 2^-16; that is all that differs.
    CHECK(furthest < 200'000);
    CHECK(std::accumulate(found.losses.begin(), found.losses.end(), int64_t{0}) >
          static_cast<int64_t>(found.losses.size()) * 1'000'000'000);
    const LossMatrix again =
        evaluator.EvaluateCheckpoints(module.spec, {game.base}, game.rows).value();
    CHECK(std::equal(again.losses.begin(), again.losses.end(), found.losses.begin()));
  }
}

TEST_CASE("where rows are cut does not move a loss by more than the tolerance") {
  for (const char* name : {"right_f32", "attention"}) {
    const MadeModule module = ReadModule(name);
    const RandomCase game = CaseOf(module.spec, 0, 300);
    const auto process = Started(module);
    REQUIRE(process->SetRows(game.rows).ok());
    const std::vector<int64_t> all = process->Losses(game.base).value();
    for (const int64_t size : {1, 7, 100}) {
      for (int64_t first = 0; first + size <= 300; first += 60) {
        REQUIRE(process->SetRows(Rows(game.rows).Slice(first, size)).ok());
        const std::vector<int64_t> some = process->Losses(game.base).value();
        for (int64_t r = 0; r < size; ++r) {
          REQUIRE(std::abs(some[r] - all[first + r]) <=
                  module.spec.torchscript.tolerance_nanonats);
        }
      }
    }
  }
}

TEST_CASE("right modules are per-sample, and bring what training starts from") {
  for (const char* name : {"right", "right_f32", "small", "attention", "overflows"}) {
    INFO(name);
    const MadeModule module = ReadModule(name);
    const auto process = Started(module);
    CHECK(process->CheckPerSample().ToString() == "OK");
    CHECK(static_cast<int64_t>(process->initial().size()) == ParameterCount(module.spec));
    CHECK(std::count(process->initial().begin(), process->initial().end(), 0) <
          static_cast<int64_t>(process->initial().size()) / 2);
  }
}

TEST_CASE("the gradient of a module is the slope of its losses") {
  const MadeModule module = ReadModule("right");
  const RandomCase game = CaseOf(module.spec, 0, 600);
  const auto process = Started(module);
  REQUIRE(process->SetRows(game.rows).ok());
  const std::vector<float> gradient = process->Gradient(game.base).value();
  double squared = 0;
  for (const float g : gradient) squared += double{g} * g;
  const double length = std::sqrt(squared), step = 1e-2;
  GridVector along = game.base, back = game.base;
  for (size_t p = 0; p < along.size(); ++p) {
    const auto move =
        static_cast<int32_t>(std::lround(std::ldexp(step * gradient[p] / length, 20)));
    along[p] += move;
    back[p] -= move;
  }
  const auto mean = [&](const GridVector& parameters) {
    const auto losses = process->Losses(parameters).value();
    return std::accumulate(losses.begin(), losses.end(), 0.0) * 1e-9 / 600;
  };
  CHECK((mean(along) - mean(back)) / (2 * step) == Approx(length).epsilon(0.01));
}

TEST_CASE("modules that are none of the spec's, or do more than compute, are not loaded") {
  struct { const char *name, *reason, *says; } rows[] = {
      {"random", "MODULE_INVALID", "aten::dropout"},
      {"reads", "MODULE_INVALID", "aten::from_file"},
      {"writes", "MODULE_INVALID", "aten::save"},
      {"remembers", "MODULE_INVALID", "aten::add_"},
      {"setsstate", "MODULE_INVALID", "__setstate__"},
      {"tied", "MODULE_INVALID", "another one, too"},
      {"noloss", "MODULE_INVALID", "no method loss"},
  };
  for (const auto& row : rows) {
    INFO(row.name);
    const MadeModule module = ReadModule(row.name);
    const absl::Status refused =
        ModuleProcess::Start(module.spec, module.bytes, Options()).status();
    INFO(refused.ToString());
    CHECK(ReasonOf(refused) == row.reason);
    CHECK(refused.message().find(row.says) != absl::string_view::npos);
  }
  CHECK(access("/tmp/rochdale-module-was-here", F_OK) != 0);
}

TEST_CASE("modules whose losses are not per-sample are refused") {
  for (const char* name : {"mean", "spreadmean", "centred", "negative", "single"}) {
    INFO(name);
    const auto process = Started(ReadModule(name));
    const absl::Status refused = process->CheckPerSample();
    INFO(refused.ToString());
    CHECK((ReasonOf(refused) == "MODULE_INVALID" || ReasonOf(refused) == "EVALUATION_RANGE"));
  }
  // One that hides it from the trial is caught in the act.
  const MadeModule hiding = ReadModule("neighbour");
  const auto process = Started(hiding);
  CHECK(process->CheckPerSample().ok());
  const RandomCase game = CaseOf(hiding.spec, 0, 100);
  REQUIRE(process->SetRows(game.rows).ok());
  const absl::Status caught = process->Losses(game.base).status();
  CHECK(ReasonOf(caught) == "MODULE_INVALID");
  CHECK(caught.message().find("per-sample") != absl::string_view::npos);
}

TEST_CASE("a digest, bytes and parameters that are not the spec's are refused") {
  const MadeModule right = ReadModule("right");
  const auto reason = [](const ModelSpec& spec, absl::string_view bytes) {
    return std::string(ReasonOf(ModuleProcess::Start(spec, bytes, Options()).status()));
  };
  CHECK(reason(right.spec, ReadModule("small").bytes) == "MODULE_UNREGISTERED");
  // Bytes that are no module, under their own digest: whatever the parser makes of them.
  for (std::string bytes : {std::string(), std::string("PK\3\4"), std::string(5'000, 'x'),
                            right.bytes.substr(0, right.bytes.size() / 2),
                            right.bytes.substr(100)}) {
    ModelSpec spec = right.spec;
    spec.torchscript.module = crypto::Sha256(bytes);
    CHECK(reason(spec, bytes) == "MODULE_INVALID");
  }
  for (size_t at = 30; at < right.bytes.size(); at += right.bytes.size() / 7) {
    MadeModule changed = right;
    for (size_t i = at; i < at + 7 && i < changed.bytes.size(); ++i) changed.bytes[i] ^= 0x55;
    changed.spec.torchscript.module = crypto::Sha256(changed.bytes);
    const auto process = ModuleProcess::Start(changed.spec, changed.bytes, Options());
    if (!process.ok()) {
      CHECK((ReasonOf(process.status()) == "MODULE_INVALID" ||
             ReasonOf(process.status()) == "DEVICE_UNFIT"));
    }
  }
  ModelSpec missing = right.spec, more = right.spec, other = right.spec, renamed = right.spec;
  missing.torchscript.parameters.pop_back();
  more.torchscript.parameters.push_back({"net.9.bias", {3}});
  other.torchscript.parameters[1].shape = {12, 8};
  renamed.torchscript.parameters[0].name = "net.0.a";
  for (const ModelSpec& spec : {missing, more, other, renamed}) {
    CHECK(reason(spec, right.bytes) == "MODULE_INVALID");
  }
  ModelSpec later = right.spec;
  later.torchscript.library = "torch 2.999";
  const absl::Status unfit = ModuleProcess::Start(later, right.bytes, Options()).status();
  CHECK(ReasonOf(unfit) == "DEVICE_UNFIT");
  CHECK(unfit.message().find("the spec says torch 2.999") != absl::string_view::npos);
  ModelSpec elsewhere = right.spec;
  elsewhere.torchscript.aten_capability = "avx512";
  elsewhere.torchscript.blas_kernel = "SkylakeX";
  const std::string here = reason(elsewhere, right.bytes);
  INFO(here);
  CHECK((here == "" || here == "DEVICE_UNFIT"));
}

TEST_CASE("a loss that is not finite names its candidate") {
  const MadeModule module = ReadModule("overflows");
  HostEvaluator host;
  ModuleEvaluator evaluator(host, Options());
  REQUIRE(evaluator.UseModule(module.spec, [&] { return Given(module); }).ok());
  RandomCase game = CaseOf(module.spec, 2, 50);
  game.updates[1][0] = 6 << 20;
  std::optional<RangeViolation> violation;
  EvaluationOptions options;
  options.violation = &violation;
  const absl::Status status = evaluator.EvaluateCoalitions(module.spec, game.base,
                                                           game.UpdateSpans(), game.AllMasks(),
                                                           game.rows, options).status();
  CHECK(ReasonOf(status) == "EVALUATION_RANGE");
  REQUIRE(violation.has_value());
  CHECK(violation->candidate == 2);
  CHECK(violation->layer == "loss");
  // The process lives on.
  CHECK(evaluator.EvaluateCheckpoints(module.spec, {game.base}, game.rows).ok());
}

TEST_CASE("memory and time of a module are bounded") {
  const MadeModule huge = ReadModule("huge");
  const RandomCase game = CaseOf(huge.spec, 0, 3);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  WARN("a sanitizer's own memory counts: a module's is not bounded in this build");
#else
  {
    const auto process = Started(huge);
    REQUIRE(process->SetRows(game.rows).ok());
    const std::string reason(ReasonOf(process->Losses(game.base).status()));
    CHECK((reason == "MODULE_INVALID" || reason == "DEVICE_UNFIT"));
  }
#endif
  const MadeModule forever = ReadModule("forever");
  ModuleProcessOptions options = Options();
  options.answer_max = absl::Seconds(2);
  auto process = ModuleProcess::Start(forever.spec, forever.bytes, options);
  // To start may take longer than that on a busy machine.
  while (absl::IsDeadlineExceeded(process.status()) && options.answer_max < absl::Minutes(1)) {
    options.answer_max *= 3;
    process = ModuleProcess::Start(forever.spec, forever.bytes, options);
  }
  REQUIRE(process.ok());
  REQUIRE((*process)->SetRows(game.rows).ok());
  CHECK(absl::IsDeadlineExceeded((*process)->Losses(game.base).status()));
}

TEST_CASE("a module is nothing for the exact evaluator, and no exact model one for a process") {
  const MadeModule module = ReadModule("right");
  const RandomCase game = CaseOf(module.spec, 1, 3);
  CHECK(ReasonOf(EvaluateCheckpoints(module.spec, {game.base}, game.rows).status()) ==
        "BAD_REQUEST");
  HostEvaluator host;
  CHECK(ReasonOf(host.UseModule(module.spec, [&] { return Given(module); })) == "DEVICE_UNFIT");
  ModuleEvaluator evaluator(host, Options());
  CHECK(ReasonOf(evaluator.EvaluateCheckpoints(module.spec, {game.base}, game.rows).status()) ==
        "BAD_REQUEST");
  const RandomCase exact = MakeCase({12, 8, 5}, 0, 9, 1);
  CHECK(ReasonOf(evaluator.UseModule(exact.spec, [&] { return Given(module); })) == "BAD_REQUEST");
  CHECK(evaluator.EvaluateCheckpoints(exact.spec, {exact.base}, exact.rows).value().losses ==
        EvaluateCheckpoints(exact.spec, {exact.base}, exact.rows).value().losses);
  ModuleProcessOptions nowhere;
  nowhere.program = "/nonexistent";
  CHECK(ReasonOf(ModuleProcess::Start(module.spec, module.bytes, nowhere).status()) ==
        "DEVICE_UNFIT");
}

TEST_CASE("specs of modules have one JSON, and bounds") {
  const ModelSpec right = ReadModule("right").spec;
  CHECK(ParseModelSpec(ModelSpecToJson(right)).value() == right);
  CHECK(!right.exact());
  CHECK(right.inputs() == 12);
  CHECK(right.classes() == 5);
  const auto refused = [&](auto change) {
    ModelSpec spec = right;
    change(spec.torchscript);
    return !ValidateModelSpec(spec).ok() && !ParseModelSpec(ModelSpecToJson(spec)).ok();
  };
  CHECK(refused([](auto& s) { s.module = {}; }));
  CHECK(refused([](auto& s) { s.inputs = 0; }));
  CHECK(refused([](auto& s) { s.input_values = 257; }));
  CHECK(refused([](auto& s) { s.classes = 1; }));
  CHECK(refused([](auto& s) { s.parameters.clear(); }));
  CHECK(refused([](auto& s) { std::swap(s.parameters[0], s.parameters[1]); }));
  CHECK(refused([](auto& s) { s.parameters[0].name = "a b"; }));
  CHECK(refused([](auto& s) { s.parameters[0].shape = {1 << 20, 1 << 20, 1 << 20, 1 << 20}; }));
  CHECK(refused([](auto& s) { s.parameters[0].shape = {0}; }));
  CHECK(refused([](auto& s) { s.tolerance_nanonats = 0; }));
  CHECK(refused([](auto& s) { s.deadband_nanonats = 2 * s.tolerance_nanonats - 1; }));
  for (const char* library : {"", "torch", "torch 1.12", "torch 2.", "torch 2.03", "torch 2.-1",
                              "torch 2.+1", "torch 2. 1", "torch 2.1000", "torch 2.1.1"}) {
    CHECK(refused([&](auto& s) { s.library = library; }));
  }
  CHECK(refused([](auto& s) { s.precision = "f16"; }));
  CHECK(refused([](auto& s) { s.aten_capability = ""; }));
  CHECK(refused([](auto& s) { s.blas_kernel = "Katmai"; }));
  const std::string digest = right.torchscript.module.ToString();
  const std::string upper = absl::AsciiStrToUpper(digest);
  const std::string json = ModelSpecToJson(right);
  CHECK(ParseModelSpec(json).ok());
  REQUIRE(upper != digest);
  CHECK(!ParseModelSpec(absl::StrReplaceAll(json, {{digest, upper}})).ok());
  ModelSpec mixed = right;
  mixed.layer_sizes = {3, 2};
  CHECK(!ValidateModelSpec(mixed).ok());
}

}  // namespace
}  // namespace rochdale::learning
