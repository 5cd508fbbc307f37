// Model specs as JSON, and shards' run specs, which hold one: what is taken is within its bounds,
// has one canonical text, and parameters that are laid out without gaps.
#include "libs/learning/model.h"
#include "services/attribution/run_spec.h"
#include "tests/fuzz/target.h"

using namespace rochdale;  // NOLINT: a program of its own

namespace {

void CheckModel(absl::string_view text) {
  const auto spec = learning::ParseModelSpec(text);
  if (!spec.ok()) return;
  FUZZ_CHECK(learning::ValidateModelSpec(*spec).ok());
  const std::string json = learning::ModelSpecToJson(*spec);
  FUZZ_CHECK(learning::ParseModelSpec(json).value() == *spec);
  FUZZ_CHECK(spec->inputs() >= 1 && spec->inputs() <= learning::kInputsMax);
  FUZZ_CHECK(spec->classes() >= 2 && spec->classes() <= learning::kClassesMax);
  int64_t offset = 0;
  for (const learning::ParameterTensor& tensor : learning::ParameterTensors(*spec)) {
    FUZZ_CHECK(tensor.offset == offset && tensor.size > 0 && tensor.fan_in > 0);
    offset += tensor.size;
  }
  FUZZ_CHECK(offset == learning::ParameterCount(*spec) && offset <= learning::kParametersMax);
  // A manifest refuses names twice.
  const auto manifest = learning::ManifestOf(*spec, tensor::DType::kI32);
  FUZZ_CHECK(manifest.Elements() == static_cast<uint64_t>(offset));
}

void CheckRun(absl::string_view text) {
  const auto spec = attribution::ParseRunSpec(text);
  if (!spec.ok()) return;
  const std::string json = attribution::RunSpecToJson(*spec);
  const auto again = attribution::ParseRunSpec(json);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(attribution::RunSpecToJson(*again) == json);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  CheckModel(text);
  CheckRun(text);
  return 0;
}

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds = {
      R"({"kind":"SOFTMAX_REGRESSION","layer_sizes":[784,10]})",
      R"({"kind":"MLP","layer_sizes":[784,256,128,10]})",
      R"({"channels":[8,16],"image":[1,28,28],"kind":"CONVNET","layer_sizes":[64,10]})",
      R"({"blocks":2,"context":32,"heads":4,"kind":"CHARACTER_TRANSFORMER","mlp_width":256,)"
      R"("vocabulary":64,"width":64})",
  };
  const std::string digest(64, 'a'), id = "00000000-0000-8000-8000-000000000001";
  attribution::RunSpec run;
  for (size_t i = 0; i < 4; ++i) {
    run.model = learning::ParseModelSpec(seeds[i]).value();
    run.run = RunId::Parse(id).value();
    run.base = crypto::Digest::Parse(digest).value();
    run.lineages = 3;
    run.updates = {{UpdateId::Parse(id).value(), run.base}};
    attribution::RunPart part;
    part.data = run.base;
    part.rows = 100;
    part.updates = {0};
    part.masks = {0, 1};
    part.checkpoints = {run.base};
    run.parts = {part};
    seeds.push_back(attribution::RunSpecToJson(run));
  }
  return seeds;
}
