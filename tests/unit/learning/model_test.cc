#include "libs/learning/model.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "libs/base/errors.h"

namespace rochdale::learning {
namespace {

const ModelSpec kMnist{ModelKind::kMlp, {784, 256, 128, 10}};

TEST_CASE("parameters are named as in nn.Sequential and lie in the order of their names") {
  const auto tensors = ParameterTensors(kMnist);
  REQUIRE(tensors.size() == 6);
  CHECK(tensors[0].name == "0.bias");
  CHECK(tensors[1].name == "0.weight");
  CHECK(tensors[1].shape == std::vector<int64_t>{256, 784});
  CHECK(tensors[5].name == "4.weight");
  int64_t offset = 0;
  for (const ParameterTensor& tensor : tensors) {
    CHECK(tensor.offset == offset);
    offset += tensor.size;
  }
  CHECK(offset == 235'146);
  CHECK(ParameterCount(kMnist) == offset);
  const auto layers = LinearLayers(kMnist);
  REQUIRE(layers.size() == 3);
  CHECK(layers[1].name == "2");
  CHECK(layers[1].inputs == 256);
  CHECK(layers[1].bias_offset == 256 + 256 * 784);
  CHECK(layers[1].weight_offset == layers[1].bias_offset + 128);
}

TEST_CASE("the sixth layer stands before the second in canonical order") {
  const ModelSpec deep{ModelKind::kMlp, {9, 6, 5, 4, 3, 7, 2}};
  CHECK(ParameterTensors(deep)[2].name == "10.bias");
  const auto layers = LinearLayers(deep);
  CHECK(layers[5].name == "10");
  CHECK(layers[5].bias_offset == 6 + 54);
  CHECK(layers[1].bias_offset > layers[5].weight_offset);
}

TEST_CASE("the manifest has the tensors of the flat vector") {
  const tensor::TensorManifest manifest = ManifestOf(kMnist, tensor::DType::kI32);
  CHECK(manifest.Elements() == static_cast<uint64_t>(ParameterCount(kMnist)));
  const auto tensors = ParameterTensors(kMnist);
  REQUIRE(manifest.specs().size() == tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) CHECK(manifest.specs()[i].name == tensors[i].name);
}

TEST_CASE("a spec survives JSON, and its bytes are fixed") {
  CHECK(ModelSpecToJson(kMnist) == R"({"kind":"MLP","layer_sizes":[784,256,128,10]})");
  CHECK(ParseModelSpec(ModelSpecToJson(kMnist)).value() == kMnist);
  const ModelSpec softmax{ModelKind::kSoftmaxRegression, {784, 10}};
  CHECK(ParseModelSpec(ModelSpecToJson(softmax)).value() == softmax);
}

TEST_CASE("specs out of bounds are refused") {
  for (const char* json : {
           "", "null", "[]", "{", "\"MLP\"", R"({"kind":"MLP"})",
           R"({"kind":"MLP","layer_sizes":[784,10]})",
           R"({"kind":"MLP","layer_sizes":[784,5,10],"extra":1})",
           R"({"kind":"SOFTMAX_REGRESSION","layer_sizes":[784,5,10]})",
           R"({"kind":"CNN","layer_sizes":[784,5,10]})", R"({"kind":7,"layer_sizes":[784,5,10]})",
           R"({"kind":"MLP","layer_sizes":[784,0,10]})",
           R"({"kind":"MLP","layer_sizes":[784,-5,10]})",
           R"({"kind":"MLP","layer_sizes":[784,5.0,10]})",
           R"({"kind":"MLP","layer_sizes":[784,"5",10]})",
           R"({"kind":"MLP","layer_sizes":[784,5,1]})",
           R"({"kind":"MLP","layer_sizes":[784,5,1025]})",
           R"({"kind":"MLP","layer_sizes":[784,4294967301,10]})",
           R"({"kind":"MLP","layer_sizes":[65536,65536,10]})",
           R"({"kind":"MLP","layer_sizes":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]})",
       }) {
    INFO(json);
    CHECK(ReasonOf(ParseModelSpec(json).status()) == "BAD_REQUEST");
  }
}

TEST_CASE("initial parameters are uniform in +-1/sqrt(fan_in) and depend on the seed") {
  const auto parameters = InitialParameters(kMnist, "a seed");
  REQUIRE(parameters.size() == 235'146);
  CHECK(parameters == InitialParameters(kMnist, "a seed"));
  CHECK(parameters != InitialParameters(kMnist, "another"));
  for (const LinearLayer& layer : LinearLayers(kMnist)) {
    const double bound = std::ldexp(1 / std::sqrt(layer.inputs), 20);
    double sum = 0, squares = 0, largest = 0;
    const int64_t count = int64_t{layer.inputs} * layer.outputs;
    for (int64_t i = 0; i < count; ++i) {
      const double value = parameters[layer.weight_offset + i] / bound;
      sum += value;
      squares += value * value;
      largest = std::max(largest, std::abs(value));
    }
    CHECK(largest <= 1);
    CHECK(largest > 0.99);
    CHECK(std::abs(sum / count) < 4 / std::sqrt(3.0 * count));
    CHECK(std::abs(squares / count - 1.0 / 3) < 0.03);
  }
}

}  // namespace
}  // namespace rochdale::learning
