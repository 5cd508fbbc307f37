// The parameter grid: int32 in units of 2^-20, |value| <= 8 - 2^-20, so that f32 and f64 hold every
// parameter exactly. Pure functions; no allocation but the returned vectors.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/tensor/grid.h"

namespace rochdale::learning {

inline constexpr int kParameterBits = 20;    // parameters and updates: 2^-20
inline constexpr int kInputBits = 8;         // inputs: p / 256
inline constexpr int kActivationBits = 16;   // hidden activations: 2^-16
inline constexpr int32_t kGridMax = tensor::kGridUnitsMax;  // 8 - 2^-20 = 8,388,607 units

// Parameters or updates in canonical order (model.h), in grid units.
using GridVector = std::vector<int32_t>;
using GridSpan = absl::Span<const int32_t>;

// Element by element to the nearest grid point, ties to even, saturating at +-kGridMax
// (tensor::RoundToGrid); TENSOR_NOT_FINITE naming the first NaN or infinity.
absl::StatusOr<GridVector> GridFromF32(absl::Span<const float> values);
absl::StatusOr<GridVector> GridFromF64(absl::Span<const double> values);
std::vector<float> F32FromGrid(GridSpan units);  // exact
// Whether f32 values lie on the grid exactly (what a checkpoint must).
bool OnGrid(absl::Span<const float> values);

// round_half_even(numerator / denominator); denominator > 0.
int64_t DivideHalfEven(int64_t numerator, int64_t denominator);

// e_i = round_half_even(u_i * numerator / denominator), in grid units, for a weight
// w = numerator / denominator in [0, 1] (1 / n for the mean). 0 <= numerator <= denominator,
// 0 < denominator <= 2^32.
GridVector WeightUpdate(GridSpan update, int64_t numerator, int64_t denominator);

// base + the sum of updates[i] over the bits i of mask, saturating once at +-kGridMax: the
// parameters that are evaluated and applied for that coalition. All of one length; at most 63
// updates.
GridVector ApplyUpdates(GridSpan base, absl::Span<const GridSpan> updates, uint64_t mask);

// TENSOR_NOT_FINITE naming the first value beyond +-kGridMax.
absl::Status CheckOnGridBounds(GridSpan units);

// The squared norm in units of 2^-40, exact: below 2^73 for a model within its limits. Values are
// within the grid.
unsigned __int128 SquaredNorm(GridSpan units);

}  // namespace rochdale::learning
