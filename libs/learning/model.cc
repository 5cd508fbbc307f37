#include "libs/learning/model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/errors.h"
#include "libs/learning/counter_words.h"

namespace rochdale::learning {
namespace {

constexpr absl::string_view kInitialTag = "ROCHDALE-INITv1";

absl::string_view KindName(ModelKind kind) {
  return kind == ModelKind::kMlp ? "MLP" : "SOFTMAX_REGRESSION";
}

// floor(sqrt(value)).
int64_t IntegerRoot(int64_t value) {
  int64_t root = static_cast<int64_t>(std::sqrt(static_cast<double>(value)));
  while (root * root > value) --root;
  while ((root + 1) * (root + 1) <= value) ++root;
  return root;
}

}  // namespace

absl::Status ValidateModelSpec(const ModelSpec& spec) {
  FieldErrors errors;
  const auto& sizes = spec.layer_sizes;
  const size_t sizes_min = spec.kind == ModelKind::kMlp ? 3 : 2;
  const size_t sizes_max = spec.kind == ModelKind::kMlp ? kLayersMax + 1 : 2;
  if (sizes.size() < sizes_min || sizes.size() > sizes_max) {
    errors.Add("layer_sizes", absl::StrCat("must have ", sizes_min, " to ", sizes_max, " sizes"));
    return errors.ToStatus();
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    const bool last = i + 1 == sizes.size();
    const int low = last ? 2 : 1;
    const int high = last ? kClassesMax : i == 0 ? kInputsMax : kLayerWidthMax;
    if (sizes[i] < low || sizes[i] > high) {
      errors.Add(absl::StrCat("layer_sizes[", i, "]"),
                 absl::StrCat("must be ", low, " to ", high));
    }
  }
  if (errors.empty() && ParameterCount(spec) > kParametersMax) {
    errors.Add("layer_sizes", absl::StrCat("must have at most ", kParametersMax, " parameters"));
  }
  return errors.ToStatus();
}

std::string ModelSpecToJson(const ModelSpec& spec) {
  return absl::StrCat("{\"kind\":\"", KindName(spec.kind), "\",\"layer_sizes\":[",
                      absl::StrJoin(spec.layer_sizes, ","), "]}");
}

absl::StatusOr<ModelSpec> ParseModelSpec(absl::string_view json) {
  const auto parsed = nlohmann::json::parse(json.begin(), json.end(), nullptr, false);
  FieldErrors errors;
  if (!parsed.is_object() || parsed.size() != 2 || !parsed.contains("kind") ||
      !parsed.contains("layer_sizes")) {
    errors.Add("model", "must be a JSON object of kind and layer_sizes");
    return errors.ToStatus();
  }
  ModelSpec spec;
  const auto& kind = parsed["kind"];
  if (kind == "MLP") {
    spec.kind = ModelKind::kMlp;
  } else if (kind == "SOFTMAX_REGRESSION") {
    spec.kind = ModelKind::kSoftmaxRegression;
  } else {
    errors.Add("kind", "must be MLP or SOFTMAX_REGRESSION");
  }
  const auto& sizes = parsed["layer_sizes"];
  if (!sizes.is_array() || sizes.size() > kLayersMax + 1) {
    errors.Add("layer_sizes", absl::StrCat("must be a list of at most ", kLayersMax + 1));
    return errors.ToStatus();
  }
  for (const auto& size : sizes) {
    const bool fits = size.is_number_unsigned() && size.get<uint64_t>() <= kLayerWidthMax;
    if (!fits) errors.Add("layer_sizes", absl::StrCat("must be whole, 1 to ", kLayerWidthMax));
    spec.layer_sizes.push_back(fits ? size.get<int>() : 0);
  }
  if (!errors.empty()) return errors.ToStatus();
  if (absl::Status status = ValidateModelSpec(spec); !status.ok()) return status;
  return spec;
}

std::vector<ParameterTensor> ParameterTensors(const ModelSpec& spec) {
  std::vector<ParameterTensor> tensors;
  for (int l = 0; l < spec.layers(); ++l) {
    const int64_t inputs = spec.layer_sizes[l];
    const int64_t outputs = spec.layer_sizes[l + 1];
    tensors.push_back({absl::StrCat(2 * l, ".bias"), {outputs}, l, 0, outputs});
    tensors.push_back({absl::StrCat(2 * l, ".weight"), {outputs, inputs}, l, 0, outputs * inputs});
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const ParameterTensor& a, const ParameterTensor& b) { return a.name < b.name; });
  int64_t offset = 0;
  for (ParameterTensor& tensor : tensors) {
    tensor.offset = offset;
    offset += tensor.size;
  }
  return tensors;
}

std::vector<LinearLayer> LinearLayers(const ModelSpec& spec) {
  std::vector<LinearLayer> layers(spec.layers());
  for (const ParameterTensor& tensor : ParameterTensors(spec)) {
    LinearLayer& layer = layers[tensor.layer];
    if (tensor.shape.size() == 1) {
      layer.bias_offset = tensor.offset;
      continue;
    }
    layer.outputs = static_cast<int>(tensor.shape[0]);
    layer.inputs = static_cast<int>(tensor.shape[1]);
    layer.weight_offset = tensor.offset;
    layer.name = absl::StrCat(2 * tensor.layer);
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
  for (int l = 0; l < spec.layers(); ++l) {
    count += (int64_t{spec.layer_sizes[l]} + 1) * spec.layer_sizes[l + 1];
  }
  return count;
}

std::vector<int32_t> InitialParameters(const ModelSpec& spec, absl::string_view seed) {
  std::vector<int32_t> parameters;
  parameters.reserve(ParameterCount(spec));
  CounterWords words(kInitialTag, seed);
  for (const ParameterTensor& tensor : ParameterTensors(spec)) {
    const int64_t fan_in = spec.layer_sizes[tensor.layer];
    const int64_t bound = IntegerRoot((int64_t{1} << 40) / fan_in);
    for (int64_t i = 0; i < tensor.size; ++i) {
      const uint64_t scaled = words.Next() * static_cast<uint64_t>(2 * bound + 1);
      parameters.push_back(static_cast<int32_t>(static_cast<int64_t>(scaled >> 32) - bound));
    }
  }
  return parameters;
}

}  // namespace rochdale::learning
