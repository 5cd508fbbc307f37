#include "libs/learning/gradients.h"

#include <torch/torch.h>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kRowBlock = 4096;

// The sum over the rows of a block of the cross-entropy, as a graph from the parameters.
torch::Tensor SumOfLosses(const std::vector<LinearLayer>& layers, const torch::Tensor& parameters,
                          Rows rows) {
  const auto bytes = torch::TensorOptions().dtype(torch::kUInt8);
  const auto ints = torch::TensorOptions().dtype(torch::kInt32);
  torch::Tensor x = torch::from_blob(const_cast<uint8_t*>(rows.inputs.data()),
                                     {rows.count(), rows.dimension}, bytes)
                        .to(torch::kFloat32)
                        .div(256);
  const torch::Tensor labels =
      torch::from_blob(const_cast<int32_t*>(rows.labels.data()), {rows.count()}, ints)
          .to(torch::kInt64);
  for (size_t l = 0; l < layers.size(); ++l) {
    const LinearLayer& layer = layers[l];
    const torch::Tensor weight =
        parameters.narrow(0, layer.weight_offset, int64_t{layer.inputs} * layer.outputs)
            .view({layer.outputs, layer.inputs});
    x = torch::linear(x, weight, parameters.narrow(0, layer.bias_offset, layer.outputs));
    if (l + 1 < layers.size()) x = torch::relu(x);
  }
  return torch::nn::functional::cross_entropy(
      x, labels, torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
}

}  // namespace

absl::StatusOr<std::vector<float>> MeanLossGradient(const ModelSpec& spec, GridSpan parameters,
                                                    Rows rows) {
  RETURN_IF_ERROR(ValidateModelSpec(spec));
  RETURN_IF_ERROR(CheckRows(rows, spec));
  if (static_cast<int64_t>(parameters.size()) != ParameterCount(spec)) {
    return Error("BAD_REQUEST", "the parameters are not those of the model");
  }
  try {
    std::vector<float> values = F32FromGrid(parameters);
    const int64_t size = static_cast<int64_t>(values.size());
    torch::Tensor leaf = torch::from_blob(values.data(), {size}).clone().requires_grad_(true);
    const std::vector<LinearLayer> layers = LinearLayers(spec);
    for (int64_t first = 0; first < rows.count(); first += kRowBlock) {
      const Rows block = rows.Slice(first, std::min(kRowBlock, rows.count() - first));
      (SumOfLosses(layers, leaf, block) / static_cast<double>(rows.count())).backward();
    }
    const torch::Tensor gradient = leaf.grad().contiguous();
    const float* data = gradient.data_ptr<float>();
    return std::vector<float>(data, data + size);
  } catch (const std::exception& e) {
    return Error("INTERNAL", "the gradient could not be computed");
  }
}

void UseOneTorchThread() { torch::set_num_threads(1); }

}  // namespace rochdale::learning
