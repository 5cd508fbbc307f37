#include "libs/tensor/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/tensor/safetensors_header.h"

namespace rochdale::tensor {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor data is read in place");

constexpr uint64_t kLengthBytes = 8;

absl::Status Malformed(absl::string_view defect) { return Error("TENSOR_MALFORMED", defect); }

// The reference implementation lays tensors out by descending rank of dtype.
int LayoutRank(DType dtype) {
  switch (dtype) {
    case DType::kI64: return 0;
    case DType::kF64: return 1;
    case DType::kF32: return 2;
    case DType::kI32: return 3;
    case DType::kU8: return 4;
  }
  return 5;
}

bool LiesBefore(const TensorSpec& a, const TensorSpec& b) {
  const int rank_a = LayoutRank(a.dtype), rank_b = LayoutRank(b.dtype);
  return rank_a != rank_b ? rank_a < rank_b : a.name < b.name;
}

absl::Status ValidateSpecs(absl::Span<const TensorSpec> specs) {
  if (specs.empty()) return Malformed("no tensors");
  if (specs.size() > kTensorsMax) return Malformed("more tensors than the limit");
  std::vector<absl::string_view> names;
  for (const TensorSpec& spec : specs) {
    RETURN_IF_ERROR(ValidateSpec(spec));
    names.push_back(spec.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) return Malformed(absl::StrCat("tensor ", *twice, " appears twice"));
  return absl::OkStatus();
}

}  // namespace

uint64_t BytesPerElement(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kF64:
    case DType::kI64: return 8;
    case DType::kU8: return 1;
  }
  return 1;
}

absl::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "F32";
    case DType::kF64: return "F64";
    case DType::kI32: return "I32";
    case DType::kI64: return "I64";
    case DType::kU8: return "U8";
  }
  return "?";
}

std::optional<DType> ParseDType(absl::string_view name) {
  for (DType dtype : {DType::kF32, DType::kF64, DType::kI32, DType::kI64, DType::kU8}) {
    if (DTypeName(dtype) == name) return dtype;
  }
  return std::nullopt;
}

uint64_t TensorSpec::Elements() const {
  uint64_t product = 1;
  for (int64_t extent : shape) product *= static_cast<uint64_t>(extent);
  return product;
}

absl::Status ValidateSpec(const TensorSpec& spec) {
  if (spec.name.empty()) return Malformed("a tensor has an empty name");
  if (spec.name.size() > kNameBytesMax) return Malformed("a tensor's name is too long");
  for (char c : spec.name) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '_' && c != '/' && c != '-') {
      return Malformed("a tensor's name has a character outside [A-Za-z0-9._/-]");
    }
  }
  if (spec.shape.size() > kDimensionsMax) {
    return Malformed(absl::StrCat("tensor ", spec.name, " has too many dimensions"));
  }
  uint64_t elements = 1;
  for (int64_t extent : spec.shape) {
    if (extent < 1 || static_cast<uint64_t>(extent) > kElementsMax ||
        elements > kElementsMax / static_cast<uint64_t>(extent)) {
      return Malformed(absl::StrCat("tensor ", spec.name, " has a shape out of bounds"));
    }
    elements *= static_cast<uint64_t>(extent);
  }
  return absl::OkStatus();
}

std::vector<size_t> FileOrder(absl::Span<const TensorSpec> specs) {
  std::vector<size_t> order(specs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return LiesBefore(specs[a], specs[b]); });
  return order;
}

absl::StatusOr<SafetensorsView> SafetensorsView::Parse(absl::Span<const uint8_t> file) {
  if (reinterpret_cast<uintptr_t>(file.data()) % 8 != 0) {
    return absl::FailedPreconditionError("the buffer does not begin at a multiple of 8");
  }
  if (file.size() < kLengthBytes) return Malformed("shorter than its header length");
  uint64_t header_bytes;
  std::memcpy(&header_bytes, file.data(), kLengthBytes);
  if (header_bytes > kHeaderBytesMax) return Malformed("the header is longer than the limit");
  if (header_bytes > file.size() - kLengthBytes) return Malformed("the header is truncated");
  if (header_bytes % 8 != 0) return Malformed("the data do not begin at a multiple of 8");

  ASSIGN_OR_RETURN(ParsedHeader header,
                   ParseHeader(absl::string_view(
                       reinterpret_cast<const char*>(file.data()) + kLengthBytes, header_bytes)));
  SafetensorsView view;
  view.data_ = file.subspan(kLengthBytes + header_bytes);
  view.metadata_ = std::move(header.metadata);

  std::vector<TensorSpec> specs;
  specs.reserve(header.tensors.size());
  for (HeaderTensor& tensor : header.tensors) specs.push_back(std::move(tensor.spec));
  RETURN_IF_ERROR(ValidateSpecs(specs));
  uint64_t expected_begin = 0;
  for (size_t i : FileOrder(specs)) {
    const HeaderTensor& tensor = header.tensors[i];
    // No overflow: both terms stay below 2^44, and the sum is held to the size of the file.
    if (tensor.begin != expected_begin) {
      return Malformed(absl::StrCat("tensor ", specs[i].name, " does not begin at ",
                                    expected_begin, ", where canonical layout puts it"));
    }
    if (tensor.end != expected_begin + specs[i].Bytes()) {
      return Malformed(
          absl::StrCat("tensor ", specs[i].name, " has offsets that do not match its shape"));
    }
    if (tensor.end > view.data_.size()) return Malformed("the data are truncated");
    expected_begin = tensor.end;
    view.tensors_.push_back(
        {std::move(specs[i]), view.data_.subspan(tensor.begin, tensor.end - tensor.begin)});
  }
  if (expected_begin != view.data_.size()) return Malformed("bytes follow the last tensor");
  std::sort(view.tensors_.begin(), view.tensors_.end(),
            [](const Tensor& a, const Tensor& b) { return a.spec.name < b.spec.name; });
  return view;
}

const SafetensorsView::Tensor* SafetensorsView::Find(absl::string_view name) const {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const Tensor& tensor, absl::string_view wanted) { return tensor.spec.name < wanted; });
  return at != tensors_.end() && at->spec.name == name ? &*at : nullptr;
}

absl::StatusOr<std::string> SerializeHeader(absl::Span<const TensorSpec> specs,
                                            const Metadata& metadata) {
  RETURN_IF_ERROR(ValidateSpecs(specs));
  RETURN_IF_ERROR(ValidateMetadata(metadata));
  std::string json = "{";
  if (!metadata.empty()) absl::StrAppend(&json, "\"__metadata__\":", MetadataJson(metadata), ",");
  uint64_t begin = 0;
  const char* separator = "";
  for (size_t i : FileOrder(specs)) {
    const TensorSpec& spec = specs[i];
    const uint64_t end = begin + spec.Bytes();
    // Names are plain by ValidateSpec: nothing in them needs an escape.
    absl::StrAppend(&json, separator, "\"", spec.name, "\":{\"dtype\":\"", DTypeName(spec.dtype),
                    "\",\"shape\":[", absl::StrJoin(spec.shape, ","), "],\"data_offsets\":[",
                    begin, ",", end, "]}");
    separator = ",";
    begin = end;
  }
  json.push_back('}');
  json.append((8 - json.size() % 8) % 8, ' ');
  if (json.size() > kHeaderBytesMax) return Malformed("the header would exceed the limit");
  const uint64_t length = json.size();
  std::string bytes(reinterpret_cast<const char*>(&length), kLengthBytes);
  return bytes + json;
}

absl::StatusOr<std::string> Serialize(absl::Span<const SafetensorsView::Tensor> tensors,
                                      const Metadata& metadata) {
  std::vector<TensorSpec> specs;
  uint64_t data_bytes = 0;
  for (const SafetensorsView::Tensor& tensor : tensors) {
    RETURN_IF_ERROR(ValidateSpec(tensor.spec));
    if (tensor.data.size() != tensor.spec.Bytes()) {
      return Malformed(absl::StrCat("tensor ", tensor.spec.name, " has data of the wrong size"));
    }
    data_bytes += tensor.data.size();
    specs.push_back(tensor.spec);
  }
  ASSIGN_OR_RETURN(std::string file, SerializeHeader(specs, metadata));
  file.reserve(file.size() + data_bytes);
  for (size_t i : FileOrder(specs)) {
    file.append(reinterpret_cast<const char*>(tensors[i].data.data()), tensors[i].data.size());
  }
  return file;
}

}  // namespace rochdale::tensor
