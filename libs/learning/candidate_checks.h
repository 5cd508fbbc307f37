// Whether candidates fit a model, before any evaluation. Internal to libs/learning.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

// What is evaluated exactly: a valid spec of an exact model (BAD_REQUEST), and rows of it
// (CheckRows).
absl::Status CheckExact(const ModelSpec& spec, Rows rows);

// BAD_REQUEST (lengths, more than kUpdatesMax updates, masks with bits beyond them),
// TENSOR_NOT_FINITE (parameters beyond the grid).
absl::Status CheckCoalitions(const ModelSpec& spec, GridSpan base,
                             absl::Span<const GridSpan> updates, absl::Span<const uint64_t> masks);
absl::Status CheckCheckpoints(const ModelSpec& spec, absl::Span<const GridSpan> candidates);

}  // namespace rochdale::learning
