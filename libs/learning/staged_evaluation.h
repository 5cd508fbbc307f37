// Exact evaluation of the models that are no chain of linear layers (convnet, character
// transformer), for exact_evaluator.h. Internal to libs/learning.
//
// A candidate takes over what the one before it computed in the stages below the first whose
// parameters differ, and coalitions are taken in the order in which that is most: whatever several
// of them have in common from the rows up is computed once.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/grid.h"

namespace rochdale::learning {

// Whether a model is evaluated here.
bool IsStaged(ModelKind kind);

// What the columns of these rows' logits predict: of a character transformer every position the
// next character, the last the row's label; of a convnet the label.
std::vector<int32_t> TargetsOf(const ModelSpec& spec, Rows rows);
// The losses of rows, to which `columns` belong one after the other: their means, half to even.
void MeansOfColumns(absl::Span<const int64_t> columns, absl::Span<int64_t> rows);

// The coalitions such that those whose members change the same stages from below follow each other.
std::vector<int64_t> StagedOrder(const ModelSpec& spec, absl::Span<const GridSpan> updates,
                                 absl::Span<const uint64_t> masks);

// Candidate c has the parameters parameters(c), which fit the model, and is taken at its place in
// `order`, which names each once; `rows` have been checked. Writes losses[c * rows + r];
// EVALUATION_RANGE as in exact_evaluator.h.
absl::Status StagedLosses(const ModelSpec& spec, Rows rows, const EvaluationOptions& options,
                          absl::Span<const int64_t> order,
                          absl::FunctionRef<GridVector(int64_t)> parameters, int64_t* losses);

// See CountCorrect. Of a character transformer the last position counts.
absl::Status StagedCorrect(const ModelSpec& spec, Rows rows, const EvaluationOptions& options,
                           GridSpan parameters, int64_t* correct);

}  // namespace rochdale::learning
