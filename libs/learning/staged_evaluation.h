// Exact evaluation of the models that are no chain of linear layers (convnet, character
// transformer), for exact_evaluator.h. Internal to libs/learning.
//
// A candidate takes over what the one before it computed in the stages below the first whose
// parameters differ: updates of upper layers only pay for those.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/grid.h"

namespace rochdale::learning {

// Whether a model is evaluated here.
bool IsStaged(ModelKind kind);

// Candidate c of `candidates` has the parameters parameters(c), which fit the model; `rows` have
// been checked. Writes losses[c * rows + r]; EVALUATION_RANGE as in exact_evaluator.h.
absl::Status StagedLosses(const ModelSpec& spec, Rows rows, const EvaluationOptions& options,
                          int64_t candidates, absl::FunctionRef<GridVector(int64_t)> parameters,
                          int64_t* losses);

// See CountCorrect. Of a character transformer the last position counts.
absl::Status StagedCorrect(const ModelSpec& spec, Rows rows, const EvaluationOptions& options,
                           GridSpan parameters, int64_t* correct);

}  // namespace rochdale::learning
