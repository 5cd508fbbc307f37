// Gradients by torch's autograd. Link rochdale_learning_torch (CMake: DEPS learning_torch): the
// rest of libs/learning needs no torch, and programs that do not link it start faster.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

// The gradient of the mean loss over the rows (cross-entropy; of a character transformer its mean
// over the positions of a row) with respect to the parameters, at
// `parameters`: f32, flat, canonical order. Per nat and per unit of a parameter (not per grid
// unit). Errors: BAD_REQUEST, PROBE_INVALID, INTERNAL (a torch exception). Thread-safe.
absl::StatusOr<std::vector<float>> MeanLossGradient(const ModelSpec& spec, GridSpan parameters,
                                                    Rows rows);

// One thread for torch in this process; call before the first gradient.
void UseOneTorchThread();

}  // namespace rochdale::learning
