// All tensors of a model as one flat vector, in the canonical order (by name).
//
// A canonical safetensors file of one dtype holds exactly this vector as its data section, so the
// views below copy nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/tensor/manifest.h"
#include "libs/tensor/safetensors.h"

namespace rochdale::tensor {

struct FlatSlice {
  std::string name;
  uint64_t offset = 0;  // elements from the start of the flat vector
  uint64_t count = 0;   // elements

  bool operator==(const FlatSlice&) const = default;
};

// Where each tensor lies in the flat vector; slices are contiguous, in order, without gaps.
class FlatParameters {
 public:
  explicit FlatParameters(const TensorManifest& manifest);

  uint64_t size() const { return size_; }  // elements
  const std::vector<FlatSlice>& slices() const { return slices_; }
  const FlatSlice* Find(absl::string_view name) const;  // nullptr if absent

 private:
  std::vector<FlatSlice> slices_;
  uint64_t size_ = 0;
};

// The flat vector of a file whose tensors are all F32 (all I32). TENSOR_MISMATCH otherwise.
// Lives as long as the bytes that were parsed.
absl::StatusOr<absl::Span<const float>> FlatF32(const SafetensorsView& view);
absl::StatusOr<absl::Span<const int32_t>> FlatI32(const SafetensorsView& view);

// The file with these values: names and shapes of `manifest`, dtype F32 (I32) whatever its dtypes
// are. INVALID_ARGUMENT unless `values` has manifest.Elements() elements.
absl::StatusOr<std::string> SerializeFlatF32(const TensorManifest& manifest,
                                             absl::Span<const float> values,
                                             const Metadata& metadata = {});
absl::StatusOr<std::string> SerializeFlatI32(const TensorManifest& manifest,
                                             absl::Span<const int32_t> values,
                                             const Metadata& metadata = {});

}  // namespace rochdale::tensor
