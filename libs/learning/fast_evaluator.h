// Losses in f32: to screen, to order and to stop early. What is paid is exact (exact_evaluator.h).
#pragma once

#include <vector>

#include "libs/learning/exact_evaluator.h"

namespace rochdale::learning {

// The same candidates and layout as EvaluateCoalitions; losses in nats. Each coalition is evaluated
// on its own, as a plain loop would. Errors: BAD_REQUEST, PROBE_INVALID.
absl::StatusOr<std::vector<float>> FastEvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                          absl::Span<const GridSpan> updates,
                                                          absl::Span<const uint64_t> masks,
                                                          Rows rows);

}  // namespace rochdale::learning
