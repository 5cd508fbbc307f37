// Losses in f32: to screen, to order and to stop early. What is paid is exact (exact_evaluator.h).
#pragma once

#include <vector>

#include "libs/learning/exact_evaluator.h"

namespace rochdale::learning {

// The same candidates, layout and sharing as EvaluateCoalitions; losses in nats. Hidden activations
// are not rounded, and where an update of a layer is a matrix of low rank but for kLowRankUnitsMax
// of 2^-20 in every element (layer_delta.h), it is taken for that one: an agent that trains factors
// of low rank need not say so. A pre-activation is then off by at most that times the sum of the
// layer's inputs. Convnets and character transformers have no f32 pass of their own: they are
// evaluated exactly, with that one's errors, too. `cache` as in EvaluationOptions; null: none.
// Errors: BAD_REQUEST, TENSOR_NOT_FINITE, PROBE_INVALID.
absl::StatusOr<std::vector<float>> FastEvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                          absl::Span<const GridSpan> updates,
                                                          absl::Span<const uint64_t> masks,
                                                          Rows rows,
                                                          BaseCache<float>* cache = nullptr);

}  // namespace rochdale::learning
