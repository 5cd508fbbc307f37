#include "libs/learning/model.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "libs/learning/convnet.h"
#include "libs/learning/counter_words.h"
#include "libs/learning/transformer.h"

namespace rochdale::learning {
namespace {

constexpr absl::string_view kInitialTag = "ROCHDALE-INITv1";

// floor(sqrt(value)).
int64_t IntegerRoot(int64_t value) {
  int64_t root = static_cast<int64_t>(std::sqrt(static_cast<double>(value)));
  while (root * root > value) --root;
  while ((root + 1) * (root + 1) <= value) ++root;
  return root;
}

std::vector<ParameterTensor> LinearTensors(const ModelSpec& spec) {
  std::vector<ParameterTensor> tensors;
  for (size_t l = 0; l + 1 < spec.layer_sizes.size(); ++l) {
    const int64_t inputs = spec.layer_sizes[l];
    const int64_t outputs = spec.layer_sizes[l + 1];
    tensors.push_back({absl::StrCat(2 * l, ".bias"), {outputs}, inputs});
    tensors.push_back({absl::StrCat(2 * l, ".weight"), {outputs, inputs}, inputs});
  }
  SortTensors(tensors);
  return tensors;
}

std::vector<ParameterTensor> ModuleTensors(const TorchScriptSpec& spec) {
  std::vector<ParameterTensor> tensors;
  for (const ModuleTensor& tensor : spec.parameters) {
    tensors.push_back({tensor.name, tensor.shape, 1, Start::kZero});
  }
  SortTensors(tensors);
  return tensors;
}

}  // namespace

int ModelSpec::inputs() const {
  switch (kind) {
    case ModelKind::kTorchScript: return torchscript.inputs;
    case ModelKind::kConvnet: return image[0] * image[1] * image[2];
    case ModelKind::kCharacterTransformer: return transformer.context;
    default: return layer_sizes.front();
  }
}

int ModelSpec::classes() const {
  switch (kind) {
    case ModelKind::kTorchScript: return torchscript.classes;
    case ModelKind::kCharacterTransformer: return transformer.vocabulary;
    default: return layer_sizes.back();
  }
}

void SortTensors(std::vector<ParameterTensor>& tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const ParameterTensor& a, const ParameterTensor& b) { return a.name < b.name; });
  int64_t offset = 0;
  for (ParameterTensor& tensor : tensors) {
    tensor.size = 1;
    for (const int64_t extent : tensor.shape) tensor.size *= extent;
    tensor.offset = offset;
    offset += tensor.size;
  }
}

LinearLayer FindLayer(const std::vector<ParameterTensor>& tensors, absl::string_view name) {
  LinearLayer layer;
  layer.name = std::string(name);
  for (const ParameterTensor& tensor : tensors) {
    if (tensor.name == absl::StrCat(name, ".bias")) layer.bias_offset = tensor.offset;
    if (tensor.name != absl::StrCat(name, ".weight")) continue;
    layer.outputs = static_cast<int>(tensor.shape[0]);
    layer.inputs = static_cast<int>(tensor.size / tensor.shape[0]);
    layer.weight_offset = tensor.offset;
  }
  return layer;
}

std::vector<ParameterTensor> ParameterTensors(const ModelSpec& spec) {
  switch (spec.kind) {
    case ModelKind::kConvnet: return ConvnetTensors(spec);
    case ModelKind::kCharacterTransformer: return TransformerTensors(spec.transformer);
    case ModelKind::kTorchScript: return ModuleTensors(spec.torchscript);
    default: return LinearTensors(spec);
  }
}

std::vector<LinearLayer> LinearLayers(const ModelSpec& spec) {
  const std::vector<ParameterTensor> tensors = LinearTensors(spec);
  std::vector<LinearLayer> layers;
  for (size_t l = 0; l + 1 < spec.layer_sizes.size(); ++l) {
    layers.push_back(FindLayer(tensors, absl::StrCat(2 * l)));
  }
  return layers;
}

tensor::TensorManifest ManifestOf(const ModelSpec& spec, tensor::DType dtype) {
  std::vector<tensor::TensorSpec> specs;
  for (const ParameterTensor& tensor : ParameterTensors(spec)) {
    specs.push_back({tensor.name, dtype, tensor.shape});
  }
  // A valid spec has valid names and extents, so this cannot fail.
  return tensor::TensorManifest::Create(std::move(specs)).value();
}

int64_t ParameterCount(const ModelSpec& spec) {
  int64_t count = 0;
  for (const ParameterTensor& tensor : ParameterTensors(spec)) count += tensor.size;
  return count;
}

std::vector<int32_t> InitialParameters(const ModelSpec& spec, absl::string_view seed) {
  std::vector<int32_t> parameters;
  parameters.reserve(ParameterCount(spec));
  CounterWords words(kInitialTag, seed);
  for (const ParameterTensor& tensor : ParameterTensors(spec)) {
    const int64_t bound = IntegerRoot((int64_t{1} << 40) / tensor.fan_in);
    for (int64_t i = 0; i < tensor.size; ++i) {
      const uint64_t scaled = words.Next() * static_cast<uint64_t>(2 * bound + 1);
      const int64_t uniform = static_cast<int64_t>(scaled >> 32) - bound;
      switch (tensor.start) {
        case Start::kUniform: parameters.push_back(static_cast<int32_t>(uniform)); break;
        case Start::kOne: parameters.push_back(1 << 20); break;
        case Start::kZero: parameters.push_back(0); break;
      }
    }
  }
  return parameters;
}

}  // namespace rochdale::learning
