// Safetensors files: a parser that trusts nothing and a writer with one output per content.
//
// Layout: u64 little-endian header length, JSON header, data. The parser accepts the canonical
// layout only: tensors lie one after the other without gap or overlap in the order (dtype I64, F64,
// F32, I32, U8; then name, bytewise), which is the order of the reference implementation, too.
// A file of one dtype therefore is one flat vector in the order of names (see flat.h).
// The data section begins at a multiple of 8, so every tensor is aligned for its dtype.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace rochdale::tensor {

enum class DType : uint8_t { kF32, kF64, kI32, kI64, kU8 };

uint64_t BytesPerElement(DType dtype);
absl::string_view DTypeName(DType dtype);                        // "F32", ...
std::optional<DType> ParseDType(absl::string_view name);

inline constexpr uint64_t kHeaderBytesMax = 1 << 20;
inline constexpr size_t kTensorsMax = 4096;
inline constexpr size_t kDimensionsMax = 8;
inline constexpr size_t kNameBytesMax = 256;                     // of [A-Za-z0-9._/-]
inline constexpr size_t kMetadataEntriesMax = 64;
inline constexpr size_t kMetadataBytesMax = 64 << 10;            // keys and values together
// Elements of one tensor; far below overflow, far above any model.
inline constexpr uint64_t kElementsMax = uint64_t{1} << 40;

struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // each at least 1; empty for a scalar

  // Product of the shape; exact for a valid spec (ValidateSpec), undefined otherwise.
  uint64_t Elements() const;
  uint64_t Bytes() const { return Elements() * BytesPerElement(dtype); }

  bool operator==(const TensorSpec&) const = default;
};

// TENSOR_MALFORMED unless name, dimensions and element count are within the limits above.
absl::Status ValidateSpec(const TensorSpec& spec);

using Metadata = std::map<std::string, std::string>;

// A parsed file: specs that are its own, data that lies in the caller's memory (typically a
// mapping), which must outlive the view. Nothing of the data is read by Parse.
class SafetensorsView {
 public:
  struct Tensor {
    TensorSpec spec;
    absl::Span<const uint8_t> data;  // little-endian elements, row-major
  };

  // TENSOR_MALFORMED with the defect, for any bytes that are not a canonical file within limits.
  // Memory used is bounded by the header limit whatever the input. `file` must begin at an
  // address that is a multiple of 8 (mappings and heap buffers do), else FAILED_PRECONDITION.
  static absl::StatusOr<SafetensorsView> Parse(absl::Span<const uint8_t> file);

  const std::vector<Tensor>& tensors() const { return tensors_; }      // sorted by name
  const Tensor* Find(absl::string_view name) const;                    // nullptr if absent
  const Metadata& metadata() const { return metadata_; }
  absl::Span<const uint8_t> data() const { return data_; }             // the whole data section

 private:
  std::vector<Tensor> tensors_;
  Metadata metadata_;
  absl::Span<const uint8_t> data_;
};

// The bytes of a file before its data: length, JSON, padding with spaces to a multiple of 8.
// `specs` may come in any order. TENSOR_MALFORMED for what Parse would refuse.
absl::StatusOr<std::string> SerializeHeader(absl::Span<const TensorSpec> specs,
                                            const Metadata& metadata = {});

// A whole file. Each tensor's data must have the size its spec says. Same content, same bytes.
absl::StatusOr<std::string> Serialize(absl::Span<const SafetensorsView::Tensor> tensors,
                                      const Metadata& metadata = {});

// Indices of `specs` in the order in which their data lie in a file.
std::vector<size_t> FileOrder(absl::Span<const TensorSpec> specs);

}  // namespace rochdale::tensor
