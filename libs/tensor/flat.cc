#include "libs/tensor/flat.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::tensor {
namespace {

template <typename T>
absl::StatusOr<absl::Span<const T>> Flat(const SafetensorsView& view, DType dtype) {
  for (const SafetensorsView::Tensor& tensor : view.tensors()) {
    if (tensor.spec.dtype != dtype) {
      return Error("TENSOR_MISMATCH", absl::StrCat(tensor.spec.name, " is not ", DTypeName(dtype)));
    }
  }
  // Parse has seen to alignment and to the layout.
  return absl::Span<const T>(reinterpret_cast<const T*>(view.data().data()),
                             view.data().size() / sizeof(T));
}

template <typename T>
absl::StatusOr<std::string> SerializeFlat(const TensorManifest& manifest, DType dtype,
                                          absl::Span<const T> values, const Metadata& metadata) {
  if (values.size() != manifest.Elements()) {
    return absl::InvalidArgumentError("the flat vector does not have the manifest's size");
  }
  ASSIGN_OR_RETURN(std::string file, SerializeHeader(manifest.WithDType(dtype).specs(), metadata));
  file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return file;
}

}  // namespace

FlatParameters::FlatParameters(const TensorManifest& manifest) {
  for (const TensorSpec& spec : manifest.specs()) {
    slices_.push_back({spec.name, size_, spec.Elements()});
    size_ += spec.Elements();
  }
}

const FlatSlice* FlatParameters::Find(absl::string_view name) const {
  const auto at = std::lower_bound(
      slices_.begin(), slices_.end(), name,
      [](const FlatSlice& slice, absl::string_view wanted) { return slice.name < wanted; });
  return at != slices_.end() && at->name == name ? &*at : nullptr;
}

absl::StatusOr<absl::Span<const float>> FlatF32(const SafetensorsView& view) {
  return Flat<float>(view, DType::kF32);
}

absl::StatusOr<absl::Span<const int32_t>> FlatI32(const SafetensorsView& view) {
  return Flat<int32_t>(view, DType::kI32);
}

absl::StatusOr<std::string> SerializeFlatF32(const TensorManifest& manifest,
                                             absl::Span<const float> values,
                                             const Metadata& metadata) {
  return SerializeFlat(manifest, DType::kF32, values, metadata);
}

absl::StatusOr<std::string> SerializeFlatI32(const TensorManifest& manifest,
                                             absl::Span<const int32_t> values,
                                             const Metadata& metadata) {
  return SerializeFlat(manifest, DType::kI32, values, metadata);
}

}  // namespace rochdale::tensor
