#include "services/attribution/convert.h"

#include <catch2/catch.hpp>

#include "libs/base/errors.h"
#include "rochdale/attribution/v1/attribution.pb.h"
#include "tests/support/documents.h"

namespace rochdale::attribution {
namespace {

common::v1::SignedDocument Registration(const v1::ModelSpec& spec) {
  v1::ModelRegistration body;
  body.set_cooperative_id("00000000-0000-8000-8000-000000000001");
  *body.mutable_spec() = spec;
  return testing::Sign(crypto::KeyPair::FromSeed({1}), body);
}

v1::ModelSpec Linear(v1::ModelKind kind, std::vector<int> sizes) {
  v1::ModelSpec spec;
  spec.set_kind(kind);
  for (const int size : sizes) spec.add_layer_sizes(size);
  return spec;
}

v1::ModelSpec Convnet() {
  v1::ModelSpec spec = Linear(v1::MODEL_KIND_CONVNET, {64, 10});
  spec.mutable_convnet()->set_image_channels(1);
  spec.mutable_convnet()->set_image_height(28);
  spec.mutable_convnet()->set_image_width(20);
  spec.mutable_convnet()->add_channels(8);
  spec.mutable_convnet()->add_channels(16);
  return spec;
}

v1::ModelSpec Transformer() {
  v1::ModelSpec spec = Linear(v1::MODEL_KIND_CHARACTER_TRANSFORMER, {});
  spec.mutable_transformer()->set_context(32);
  spec.mutable_transformer()->set_vocabulary(64);
  spec.mutable_transformer()->set_width(48);
  spec.mutable_transformer()->set_heads(4);
  spec.mutable_transformer()->set_blocks(2);
  spec.mutable_transformer()->set_mlp_width(128);
  return spec;
}

v1::ModelSpec Module() {
  v1::ModelSpec spec = Linear(v1::MODEL_KIND_TORCHSCRIPT, {});
  v1::TorchScript& module = *spec.mutable_torchscript();
  module.set_module_sha256(std::string(64, 'a'));
  module.set_inputs(16);
  module.set_input_values(256);
  module.set_classes(4);
  v1::ModuleParameter& parameter = *module.add_parameters();
  parameter.set_name("net.weight");
  parameter.add_shape(4);
  parameter.add_shape(16);
  module.set_library("torch 1.13");
  module.set_precision("f64");
  module.set_aten_capability("default");
  module.set_blas_kernel("Nehalem");
  module.set_tolerance_nanonats(1'000);
  module.set_deadband_nanonats(2'000);
  return spec;
}

TEST_CASE("every kind of model is read from its registration and shown as it was") {
  struct { v1::ModelSpec wire; const char* json; } rows[] = {
      {Linear(v1::MODEL_KIND_SOFTMAX_REGRESSION, {784, 10}),
       R"({"kind":"SOFTMAX_REGRESSION","layer_sizes":[784,10]})"},
      {Linear(v1::MODEL_KIND_MLP, {784, 32, 10}), R"({"kind":"MLP","layer_sizes":[784,32,10]})"},
      {Convnet(),
       R"({"channels":[8,16],"image":[1,28,20],"kind":"CONVNET","layer_sizes":[64,10]})"},
      {Transformer(), R"({"blocks":2,"context":32,"heads":4,"kind":"CHARACTER_TRANSFORMER",)"
                      R"("mlp_width":128,"vocabulary":64,"width":48})"},
      {Module(), R"({"aten_capability":"default","blas_kernel":"Nehalem","classes":4,)"
                 R"("deadband_nanonats":2000,"input_values":256,"inputs":16,)"
                 R"("kind":"TORCHSCRIPT","library":"torch 1.13","module_sha256":")"
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                 R"(","parameters":[{"name":"net.weight","shape":[4,16]}],"precision":"f64",)"
                 R"("tolerance_nanonats":1000})"},
  };
  for (const auto& row : rows) {
    INFO(row.json);
    const auto wanted = ParseModelRegistration(Registration(row.wire));
    REQUIRE(wanted.ok());
    CHECK(learning::ModelSpecToJson(wanted->spec) == row.json);
    ModelRecord record;
    record.spec = wanted->spec;
    v1::Model shown;
    ToProto(record, shown);
    CHECK(shown.spec().SerializeAsString() == row.wire.SerializeAsString());
    CHECK(shown.parameters() == learning::ParameterCount(wanted->spec));
  }
}

TEST_CASE("a model of no kind, of two kinds or out of bounds is refused") {
  std::vector<v1::ModelSpec> bad = {
      v1::ModelSpec(),
      Linear(v1::MODEL_KIND_MLP, {}),
      Linear(v1::MODEL_KIND_MLP, {784, 10}),
      Linear(v1::MODEL_KIND_MLP, {784, 16'385, 10}),
      Linear(v1::MODEL_KIND_SOFTMAX_REGRESSION, {784, -1}),
      Linear(v1::MODEL_KIND_CONVNET, {64, 10}),
      Linear(v1::MODEL_KIND_CHARACTER_TRANSFORMER, {}),
  };
  auto with = [&bad](v1::ModelSpec spec, auto change) {
    change(spec);
    bad.push_back(spec);
  };
  with(Convnet(), [](auto& spec) { *spec.mutable_transformer() = Transformer().transformer(); });
  with(Convnet(), [](auto& spec) { spec.clear_layer_sizes(); });
  with(Convnet(), [](auto& spec) { spec.mutable_convnet()->clear_channels(); });
  with(Convnet(), [](auto& spec) { spec.mutable_convnet()->set_image_width(-2); });
  with(Convnet(), [](auto& spec) { spec.mutable_convnet()->set_channels(0, 1 << 30); });
  with(Convnet(), [](auto& spec) {
    for (int i = 0; i < 1'000; ++i) spec.mutable_convnet()->add_channels(1);
  });
  with(Convnet(), [](auto& spec) { spec.set_kind(v1::MODEL_KIND_MLP); });
  with(Transformer(), [](auto& spec) { spec.add_layer_sizes(4); });
  with(Transformer(), [](auto& spec) { spec.mutable_transformer()->set_heads(5); });
  with(Transformer(), [](auto& spec) { spec.mutable_transformer()->set_heads(0); });
  with(Transformer(), [](auto& spec) { spec.mutable_transformer()->set_context(-1); });
  with(Transformer(), [](auto& spec) { spec.mutable_transformer()->set_vocabulary(257); });
  with(Module(), [](auto& spec) { spec.clear_torchscript(); });
  with(Module(), [](auto& spec) { spec.add_layer_sizes(4); });
  with(Module(), [](auto& spec) { spec.mutable_torchscript()->set_deadband_nanonats(1'999); });
  with(Module(), [](auto& spec) { spec.mutable_torchscript()->clear_module_sha256(); });
  with(Linear(v1::MODEL_KIND_MLP, {4, 3, 2}),
       [](auto& spec) { *spec.mutable_torchscript() = Module().torchscript(); });
  for (const v1::ModelSpec& spec : bad) {
    INFO(spec.ShortDebugString());
    CHECK(ReasonOf(ParseModelRegistration(Registration(spec)).status()) == "BAD_REQUEST");
  }
}

}  // namespace
}  // namespace rochdale::attribution
