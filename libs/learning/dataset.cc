#include "libs/learning/dataset.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/tensor/safetensors.h"

namespace rochdale::learning {
namespace {

using tensor::DType;
using tensor::SafetensorsView;

constexpr absl::string_view kInputs = "inputs";
constexpr absl::string_view kLabels = "labels";

absl::Status Invalid(absl::string_view message) { return Error("PROBE_INVALID", message); }

absl::StatusOr<std::vector<int32_t>> ReadLabels(const SafetensorsView::Tensor& tensor) {
  const uint64_t count = tensor.spec.Elements();
  std::vector<int32_t> labels(count);
  if (tensor.spec.dtype == DType::kU8) {
    std::copy(tensor.data.begin(), tensor.data.end(), labels.begin());
    return labels;
  }
  for (uint64_t i = 0; i < count; ++i) {
    int64_t label;
    std::memcpy(&label, tensor.data.data() + 8 * i, sizeof(label));
    if (label < 0 || label >= kClassesMax) {
      return Invalid(absl::StrCat("label ", i, " is no class"));
    }
    labels[i] = static_cast<int32_t>(label);
  }
  return labels;
}

}  // namespace

Rows Rows::Slice(int64_t first, int64_t n) const {
  return {inputs.subspan(first * dimension, n * dimension), labels.subspan(first, n), dimension};
}

absl::StatusOr<Dataset> ParseDataset(absl::string_view safetensors, const ModelSpec& spec) {
  // The parser wants its bytes aligned, which a string_view need not be.
  std::vector<uint64_t> aligned;
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(safetensors.data());
  if (reinterpret_cast<uintptr_t>(bytes) % alignof(uint64_t) != 0) {
    aligned.resize(safetensors.size() / 8 + 1);
    std::memcpy(aligned.data(), bytes, safetensors.size());
    bytes = reinterpret_cast<const uint8_t*>(aligned.data());
  }
  const auto file = SafetensorsView::Parse({bytes, safetensors.size()});
  if (!file.ok()) return Invalid(file.status().message());
  const SafetensorsView::Tensor* inputs = file->Find(kInputs);
  const SafetensorsView::Tensor* labels = file->Find(kLabels);
  if (inputs == nullptr || labels == nullptr || file->tensors().size() != 2) {
    return Invalid("must hold exactly the tensors inputs and labels");
  }
  if (inputs->spec.dtype != DType::kU8 || inputs->spec.shape.size() != 2) {
    return Invalid("inputs must be U8 [N, D]");
  }
  if ((labels->spec.dtype != DType::kU8 && labels->spec.dtype != DType::kI64) ||
      labels->spec.shape.size() != 1 || labels->spec.shape[0] != inputs->spec.shape[0]) {
    return Invalid("labels must be U8 or I64 [N], one per row of inputs");
  }
  if (inputs->spec.shape[0] > kDatasetRowsMax || inputs->spec.shape[1] != spec.inputs()) {
    return Invalid(absl::StrCat("inputs must have at most ", kDatasetRowsMax, " rows of ",
                                spec.inputs()));
  }
  Dataset dataset;
  dataset.dimension = spec.inputs();
  ASSIGN_OR_RETURN(dataset.labels, ReadLabels(*labels));
  dataset.inputs.assign(inputs->data.begin(), inputs->data.end());
  RETURN_IF_ERROR(CheckRows(dataset, spec));
  return dataset;
}

std::string SerializeDataset(Rows rows) {
  const bool small = std::all_of(rows.labels.begin(), rows.labels.end(),
                                 [](int32_t label) { return label < 256; });
  std::vector<uint8_t> bytes;
  for (int64_t label : rows.labels) {
    for (int byte = 0; byte < (small ? 1 : 8); ++byte) {
      bytes.push_back(static_cast<uint8_t>(label >> (8 * byte)));
    }
  }
  SafetensorsView::Tensor inputs{{std::string(kInputs), DType::kU8, {rows.count(), rows.dimension}},
                                 rows.inputs};
  SafetensorsView::Tensor labels{
      {std::string(kLabels), small ? DType::kU8 : DType::kI64, {rows.count()}}, bytes};
  // Names and shapes are valid wherever there is a row.
  return tensor::Serialize({inputs, labels}).value();
}

absl::Status CheckRows(Rows rows, const ModelSpec& spec) {
  if (rows.count() < 1 || rows.count() > kDatasetRowsMax) {
    return Invalid(absl::StrCat("must have 1 to ", kDatasetRowsMax, " rows"));
  }
  if (rows.dimension != spec.inputs() ||
      static_cast<int64_t>(rows.inputs.size()) != rows.count() * rows.dimension) {
    return Invalid(absl::StrCat("every row must have ", spec.inputs(), " inputs"));
  }
  if (static_cast<int64_t>(rows.inputs.size()) > kDatasetBytesMax) {
    return Invalid(absl::StrCat("inputs must have at most ", kDatasetBytesMax, " bytes"));
  }
  for (int64_t r = 0; r < rows.count(); ++r) {
    if (rows.labels[r] < 0 || rows.labels[r] >= spec.classes()) {
      return Invalid(absl::StrCat("label ", r, " is no class of the model"));
    }
  }
  if (spec.kind == ModelKind::kCharacterTransformer) {
    for (const uint8_t character : rows.inputs) {
      if (character >= spec.classes()) return Invalid("a character is not of the vocabulary");
    }
  }
  if (spec.kind == ModelKind::kTorchScript) {
    for (const uint8_t value : rows.inputs) {
      if (value >= spec.torchscript.input_values) return Invalid("a value is none of the model's");
    }
  }
  return absl::OkStatus();
}

Dataset TakeRows(Rows rows, absl::Span<const int64_t> indices) {
  Dataset taken;
  taken.dimension = rows.dimension;
  taken.inputs.reserve(indices.size() * rows.dimension);
  taken.labels.reserve(indices.size());
  for (int64_t index : indices) {
    const auto row = rows.inputs.subspan(index * rows.dimension, rows.dimension);
    taken.inputs.insert(taken.inputs.end(), row.begin(), row.end());
    taken.labels.push_back(rows.labels[index]);
  }
  return taken;
}

}  // namespace rochdale::learning
