#include "libs/learning/gradients.h"

#include <torch/torch.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/torch_models.h"

namespace rochdale::learning {
namespace {

// Bounds the memory of a step.
int64_t RowBlock(const ModelSpec& spec) {
  switch (spec.kind) {
    case ModelKind::kConvnet: return 256;
    case ModelKind::kCharacterTransformer: return std::max(1, 8192 / spec.transformer.context);
    default: return 4096;
  }
}

// A copy of the rows' inputs as torch numbers of a type, [rows x dimension].
torch::Tensor InputsOf(Rows rows, torch::ScalarType type) {
  const auto bytes = torch::TensorOptions().dtype(torch::kUInt8);
  return torch::from_blob(const_cast<uint8_t*>(rows.inputs.data()), {rows.count(), rows.dimension},
                          bytes)
      .to(type);
}

torch::Tensor LabelsOf(Rows rows) {
  const auto ints = torch::TensorOptions().dtype(torch::kInt32);
  return torch::from_blob(const_cast<int32_t*>(rows.labels.data()), {rows.count()}, ints)
      .to(torch::kInt64);
}

// The sum over the rows of a block of their losses, as a graph from the parameters.
torch::Tensor SumOfLosses(const ModelSpec& spec, const torch::Tensor& parameters, Rows rows) {
  const torch::Tensor labels = LabelsOf(rows);
  if (spec.kind == ModelKind::kCharacterTransformer) {
    const torch::Tensor characters = InputsOf(rows, torch::kInt64);
    const torch::Tensor logits = TransformerLogits(spec.transformer, parameters, characters);
    const torch::Tensor targets =
        torch::cat({characters.slice(1, 1), labels.unsqueeze(1)}, 1).reshape({-1});
    return torch::nn::functional::cross_entropy(
               logits, targets,
               torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum)) /
           spec.transformer.context;
  }
  const torch::Tensor pixels = InputsOf(rows, torch::kFloat32).div(256);
  const torch::Tensor logits = spec.kind == ModelKind::kConvnet
                                   ? ConvnetLogits(spec, parameters, pixels)
                                   : LinearLogits(LinearLayers(spec), parameters, pixels);
  return torch::nn::functional::cross_entropy(
      logits, labels, torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
}

}  // namespace

absl::StatusOr<std::vector<float>> MeanLossGradient(const ModelSpec& spec, GridSpan parameters,
                                                    Rows rows) {
  RETURN_IF_ERROR(ValidateModelSpec(spec));
  if (!spec.exact()) return Error("BAD_REQUEST", "a module's gradient is its evaluator's");
  RETURN_IF_ERROR(CheckRows(rows, spec));
  if (static_cast<int64_t>(parameters.size()) != ParameterCount(spec)) {
    return Error("BAD_REQUEST", "the parameters are not those of the model");
  }
  try {
    std::vector<float> values = F32FromGrid(parameters);
    const int64_t size = static_cast<int64_t>(values.size());
    torch::Tensor leaf = torch::from_blob(values.data(), {size}).clone().requires_grad_(true);
    const int64_t rows_max = RowBlock(spec);
    for (int64_t first = 0; first < rows.count(); first += rows_max) {
      const Rows block = rows.Slice(first, std::min(rows_max, rows.count() - first));
      (SumOfLosses(spec, leaf, block) / static_cast<double>(rows.count())).backward();
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
