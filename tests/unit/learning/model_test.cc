#include "libs/learning/model.h"

#include <algorithm>
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
  for (const char* json :
       {R"({"kind":"SOFTMAX_REGRESSION","layer_sizes":[784,10]})",
        R"({"channels":[8,16],"image":[1,28,28],"kind":"CONVNET","layer_sizes":[64,10]})",
        R"({"blocks":2,"context":32,"heads":4,"kind":"CHARACTER_TRANSFORMER","mlp_width":256,)"
        R"("vocabulary":64,"width":64})"}) {
    CHECK(ModelSpecToJson(ParseModelSpec(json).value()) == json);
  }
  // Any order and spaces are read.
  const auto spec = ParseModelSpec(
      R"( {"layer_sizes": [10], "kind": "CONVNET", "image": [1, 4, 5], "channels": [3]})");
  CHECK(ModelSpecToJson(spec.value()) ==
        R"({"channels":[3],"image":[1,4,5],"kind":"CONVNET","layer_sizes":[10]})");
}

TEST_CASE("a convnet's parameters are named as in nn.Sequential") {
  const auto spec = ParseModelSpec(
      R"({"channels":[8,16],"image":[1,28,28],"kind":"CONVNET","layer_sizes":[64,10]})").value();
  CHECK(spec.inputs() == 784);
  CHECK(spec.classes() == 10);
  CHECK(ParameterCount(spec) == 8 * 9 + 8 + 16 * 72 + 16 + 784 * 64 + 64 + 640 + 10);
  std::vector<std::string> names;
  for (const ParameterTensor& tensor : ParameterTensors(spec)) names.push_back(tensor.name);
  CHECK(names == std::vector<std::string>{"0.bias", "0.weight", "3.bias", "3.weight", "7.bias",
                                          "7.weight", "9.bias", "9.weight"});
  CHECK(ParameterTensors(spec)[3].shape == std::vector<int64_t>{16, 8, 3, 3});
  CHECK(ParameterTensors(spec)[5].shape == std::vector<int64_t>{64, 16 * 49});
}

TEST_CASE("a transformer's normalisations begin as the identity") {
  const auto spec = ParseModelSpec(R"({"kind":"CHARACTER_TRANSFORMER","context":8,"vocabulary":50,)"
                                   R"("width":12,"heads":3,"blocks":2,"mlp_width":20})").value();
  CHECK(spec.inputs() == 8);
  CHECK(spec.classes() == 50);
  const auto parameters = InitialParameters(spec, "seed");
  for (const ParameterTensor& tensor : ParameterTensors(spec)) {
    const auto begin = parameters.begin() + tensor.offset;
    const auto [low, high] = std::minmax_element(begin, begin + tensor.size);
    INFO(tensor.name);
    if (tensor.name.find("norm") == std::string::npos) {
      CHECK(*low < 0);
      CHECK(*high > 0);
      CHECK(*high <= std::ldexp(1 / std::sqrt(tensor.fan_in), 20));
      continue;
    }
    const int32_t start = tensor.name.back() == 't' ? 1 << 20 : 0;  // weight or bias
    CHECK(*low == start);
    CHECK(*high == start);
  }
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
           R"({"channels":[8],"image":[1,28,28],"kind":"MLP","layer_sizes":[784,9,10]})",
           R"({"channels":[8],"image":[1,28,28],"kind":"CONVNET"})",
           R"({"channels":[8],"image":[1,28,28],"kind":"CONVNET","layer_sizes":[]})",
           R"({"channels":[],"image":[1,28,28],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[8],"image":[28,28],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[8],"image":[17,8,8],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[8],"image":[1,1,8],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[8],"image":[1,257,8],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[8],"image":[2,256,256],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[8,8,8],"image":[1,7,7],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[0],"image":[1,8,8],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[513],"image":[1,8,8],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[512],"image":[1,200,200],"kind":"CONVNET","layer_sizes":[10]})",
           R"({"channels":[8],"image":[1,8,8],"kind":"CONVNET","layer_sizes":[10],"width":3})",
           R"({"channels":[1,1,1,1,1,1,1],"image":[1,256,256],"kind":"CONVNET","layer_sizes":[9]})",
           R"({"blocks":1,"context":8,"heads":3,"kind":"CHARACTER_TRANSFORMER","mlp_width":20,)"
           R"("vocabulary":50})",
           R"({"blocks":1,"context":8,"heads":5,"kind":"CHARACTER_TRANSFORMER","mlp_width":20,)"
           R"("vocabulary":50,"width":12})",
           R"({"blocks":1,"context":8,"heads":0,"kind":"CHARACTER_TRANSFORMER","mlp_width":20,)"
           R"("vocabulary":50,"width":12})",
           R"({"blocks":17,"context":8,"heads":3,"kind":"CHARACTER_TRANSFORMER","mlp_width":20,)"
           R"("vocabulary":50,"width":12})",
           R"({"blocks":1,"context":513,"heads":3,"kind":"CHARACTER_TRANSFORMER","mlp_width":20,)"
           R"("vocabulary":50,"width":12})",
           R"({"blocks":1,"context":8,"heads":3,"kind":"CHARACTER_TRANSFORMER","mlp_width":20,)"
           R"("vocabulary":257,"width":12})",
           R"({"blocks":1,"context":8,"heads":1,"kind":"CHARACTER_TRANSFORMER","mlp_width":20,)"
           R"("vocabulary":50,"width":1025})",
           R"({"blocks":1,"context":8,"heads":3,"kind":"CHARACTER_TRANSFORMER","mlp_width":4097,)"
           R"("vocabulary":50,"width":12})",
       }) {
    INFO(json);
    CHECK(ReasonOf(ParseModelSpec(json).status()) == "BAD_REQUEST");
  }
  const std::string padded = ModelSpecToJson(kMnist) + std::string(5'000, ' ');
  CHECK(ReasonOf(ParseModelSpec(padded).status()) == "BAD_REQUEST");
  CHECK(ReasonOf(ParseModelSpec(std::string(4'000, '[')).status()) == "BAD_REQUEST");
  // What JSON cannot say.
  ModelSpec mixed = kMnist;
  mixed.channels = {3};
  CHECK(ReasonOf(ValidateModelSpec(mixed)) == "BAD_REQUEST");
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
