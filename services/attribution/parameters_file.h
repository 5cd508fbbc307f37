// Checkpoints and effective updates as files, in both directions: safetensors in canonical order.
// Pure.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::attribution {

// A checkpoint: F32 on the grid. TENSOR_MALFORMED, TENSOR_MISMATCH, TENSOR_NOT_FINITE (off grid).
absl::StatusOr<learning::GridVector> ParseCheckpoint(absl::string_view file,
                                                     const learning::ModelSpec& spec);
// Its inverse: one content, one file.
std::string SerializeCheckpoint(learning::GridSpan parameters, const learning::ModelSpec& spec);

// An effective update: I32 in units of 2^-20. Errors as above.
absl::StatusOr<learning::GridVector> ParseEffectiveUpdate(absl::string_view file,
                                                          const learning::ModelSpec& spec);

// A gradient: F32, shaped like the model.
std::string SerializeGradient(absl::Span<const float> gradient, const learning::ModelSpec& spec);

}  // namespace rochdale::attribution
