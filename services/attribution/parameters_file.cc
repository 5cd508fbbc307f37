#include "services/attribution/parameters_file.h"

#include <cstdint>
#include <vector>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/tensor/flat.h"
#include "libs/tensor/manifest.h"
#include "libs/tensor/safetensors.h"

namespace rochdale::attribution {
namespace {

// The parser wants an aligned start, which a view into a string of another does not promise.
class AlignedFile {
 public:
  explicit AlignedFile(absl::string_view file) : bytes_(file) {
    if (reinterpret_cast<uintptr_t>(file.data()) % 8 != 0) {
      copy_.assign(file.begin(), file.end());
      bytes_ = absl::string_view(reinterpret_cast<const char*>(copy_.data()), copy_.size());
    }
  }
  absl::Span<const uint8_t> bytes() const {
    return {reinterpret_cast<const uint8_t*>(bytes_.data()), bytes_.size()};
  }

 private:
  absl::string_view bytes_;
  std::vector<uint8_t> copy_;
};

}  // namespace

absl::StatusOr<learning::GridVector> ParseCheckpoint(absl::string_view file,
                                                     const learning::ModelSpec& spec) {
  const AlignedFile aligned(file);
  ASSIGN_OR_RETURN(const tensor::SafetensorsView view,
                   tensor::SafetensorsView::Parse(aligned.bytes()));
  RETURN_IF_ERROR(tensor::CheckSame(learning::ManifestOf(spec, tensor::DType::kF32),
                                    tensor::TensorManifest::Of(view)));
  ASSIGN_OR_RETURN(const absl::Span<const float> values, tensor::FlatF32(view));
  ASSIGN_OR_RETURN(learning::GridVector units, learning::GridFromF32(values));
  if (!learning::OnGrid(values)) {
    return Error("TENSOR_NOT_FINITE", "a checkpoint has values that are not on the grid");
  }
  return units;
}

std::string SerializeCheckpoint(learning::GridSpan parameters, const learning::ModelSpec& spec) {
  return tensor::SerializeFlatF32(learning::ManifestOf(spec, tensor::DType::kF32),
                                  learning::F32FromGrid(parameters))
      .value();
}

absl::StatusOr<learning::GridVector> ParseEffectiveUpdate(absl::string_view file,
                                                          const learning::ModelSpec& spec) {
  const AlignedFile aligned(file);
  ASSIGN_OR_RETURN(const tensor::SafetensorsView view,
                   tensor::SafetensorsView::Parse(aligned.bytes()));
  RETURN_IF_ERROR(tensor::CheckSame(learning::ManifestOf(spec, tensor::DType::kI32),
                                    tensor::TensorManifest::Of(view)));
  ASSIGN_OR_RETURN(const absl::Span<const int32_t> units, tensor::FlatI32(view));
  RETURN_IF_ERROR(learning::CheckOnGridBounds(units));
  return learning::GridVector(units.begin(), units.end());
}

std::string SerializeGradient(absl::Span<const float> gradient, const learning::ModelSpec& spec) {
  return tensor::SerializeFlatF32(learning::ManifestOf(spec, tensor::DType::kF32), gradient)
      .value();
}

}  // namespace rochdale::attribution
