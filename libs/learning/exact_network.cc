#include "libs/learning/exact_network.h"

#include <cblas.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/learning/exact_kernels.h"
#include "libs/learning/exact_range.h"

namespace rochdale::learning {

std::unique_ptr<ExactNetwork> MakeExactNetwork(const ModelSpec& spec) {
  return spec.kind == ModelKind::kConvnet ? MakeExactConvnet(spec) : MakeExactTransformer(spec);
}

bool ExactLinear::Fits(const LinearLayer& layer, GridSpan parameters, const Activations& input) {
  return InRange(NormsOf({layer}, parameters).front(), input.largest, input.bits);
}

const double* ExactLinear::Weights(const LinearLayer& layer, GridSpan parameters) {
  const int64_t size = int64_t{layer.inputs} * layer.outputs;
  if (static_cast<int64_t>(weight_.size()) < size) weight_.resize(size);
  kernels::GridToReal(parameters.data() + layer.weight_offset, size, weight_.data());
  return weight_.data();
}

bool ExactLinear::Run(const LinearLayer& layer, GridSpan parameters, const Activations& input,
                      int64_t columns, std::vector<double>& z) {
  if (!Fits(layer, parameters, input)) return false;
  z.resize(layer.outputs * columns);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, layer.outputs, columns, layer.inputs, 1.0,
              Weights(layer, parameters), layer.inputs, input.values, columns, 0.0, z.data(),
              columns);
  for (int64_t j = 0; j < layer.outputs; ++j) {
    kernels::AddBias(parameters[layer.bias_offset + j] * 0x1p-20, columns,
                     z.data() + j * columns);
  }
  return true;
}

void AppendTensorsOf(const std::vector<ParameterTensor>& tensors, const std::string& name,
                     std::vector<int>& indices) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name == absl::StrCat(name, ".weight") ||
        tensors[i].name == absl::StrCat(name, ".bias")) {
      indices.push_back(static_cast<int>(i));
    }
  }
}

}  // namespace rochdale::learning
