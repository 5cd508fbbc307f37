// The JSON header of a safetensors file, token by token: for safetensors.cc only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/tensor/safetensors.h"

namespace rochdale::tensor {

struct HeaderTensor {
  TensorSpec spec;
  uint64_t begin = 0;  // bytes from the start of the data section
  uint64_t end = 0;
};

struct ParsedHeader {
  std::vector<HeaderTensor> tensors;  // as they stand in the header
  Metadata metadata;
};

// TENSOR_MALFORMED unless `json` is one object of the format's shape: known keys, each once, whole
// non-negative numbers, nothing nested deeper than the format needs, tensor and dimension counts
// and metadata within the limits. Names' characters, shapes' products and offsets are not judged
// here. Stops at the first defect; memory is bounded by the length of `json`.
absl::StatusOr<ParsedHeader> ParseHeader(absl::string_view json);

// TENSOR_MALFORMED unless entries and bytes are within the limits and all text is UTF-8.
absl::Status ValidateMetadata(const Metadata& metadata);

// One JSON object, keys in bytewise order. `metadata` must be valid.
std::string MetadataJson(const Metadata& metadata);

}  // namespace rochdale::tensor
