// Which operators a TorchScript module may use. Internal to rochdale_learning_torch.
#pragma once

#include <torch/script.h>

#include "absl/status/status.h"

namespace rochdale::learning {

// MODULE_INVALID naming the first operator of `method`, or of anything that it calls, that is not
// allowed. Allowed is what computes a value from values: nothing that reads or writes files, draws
// random numbers, asks for the time, prints, keeps state, changes a value in place, or whose result
// is memory that nobody has written.
absl::Status CheckOperators(const torch::jit::Method& method);

}  // namespace rochdale::learning
