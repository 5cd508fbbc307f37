// What tensors a model has: names, dtypes and shapes, in one canonical order, with a digest.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/crypto/sha256.h"
#include "libs/tensor/safetensors.h"

namespace rochdale::tensor {

// Immutable; specs are sorted by name (bytewise), which is the order of flat vectors, too.
class TensorManifest {
 public:
  // TENSOR_MALFORMED for a bad spec, a name twice, none at all, or more than kTensorsMax.
  static absl::StatusOr<TensorManifest> Create(std::vector<TensorSpec> specs);
  static TensorManifest Of(const SafetensorsView& view);
  // The inverse of CanonicalText. TENSOR_MALFORMED for anything else.
  static absl::StatusOr<TensorManifest> Parse(absl::string_view text);

  const std::vector<TensorSpec>& specs() const { return specs_; }
  uint64_t Elements() const;  // of all tensors together

  // One line per tensor: name, space, dtype, space, extents joined by "x" ("-" for a scalar),
  // newline. Two manifests are equal exactly if their texts are.
  std::string CanonicalText() const;
  // SHA-256 of CanonicalText.
  crypto::Digest Digest() const;

  // The same names and shapes with every dtype replaced: what an effective update of a model has.
  TensorManifest WithDType(DType dtype) const;

  bool operator==(const TensorManifest&) const = default;

 private:
  explicit TensorManifest(std::vector<TensorSpec> specs) : specs_(std::move(specs)) {}
  std::vector<TensorSpec> specs_;
};

// Every difference, one sentence each, in the order of names; empty if there is none.
std::vector<std::string> Differences(const TensorManifest& expected, const TensorManifest& actual);

// OK, or TENSOR_MISMATCH that names every difference (the first 40; then how many more, so that
// the message fits a gRPC trailer).
absl::Status CheckSame(const TensorManifest& expected, const TensorManifest& actual);

}  // namespace rochdale::tensor
