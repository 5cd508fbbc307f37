// Value direction: an update must not point where a probe's loss rises.
//
// For a probe with gradient g at the base checkpoint the constraint on update x is
//   <x, g> <= b,   b = eps * |d| * |g|,   d = the clipped update,
// with b fixed before anything is projected, so that it is linear. Project finds the closest x to d
// that satisfies all constraints together; it has the form x = d - sum_k lambda_k g_k with
// lambda_k >= 0, so only the probes' Gram matrix is needed. Pure; F64 in a fixed order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace rochdale::filter {

inline constexpr size_t kDirectionConstraintsMax = 64;
inline constexpr int kDirectionStepsMax = 50;

struct DirectionConstraint {
  int64_t eps_micro = 0;       // 0 to 1,000,000
  double dot = 0;              // <d, g>
};

struct Projection {
  std::vector<double> lambdas;   // one per constraint, all zero where nothing was violated
  bool changed = false;          // some lambda is positive
  double kept = 1;               // |x| / |d|; 1 where |d| = 0
  int64_t operations = 0;        // multiply-adds spent
};

// `norm` is |d|; `gram` the probes' gradients' dots, constraints x constraints, row-major. A probe
// with a zero gradient constrains nothing. For one violated constraint lambda = (<d,g> - b)/|g|^2.
// INVALID_ARGUMENT: sizes, more than kDirectionConstraintsMax, eps out of bounds.
// TENSOR_NOT_FINITE: a number that is not finite, a negative norm or square.
// RULE_ERROR: the constraints cannot be satisfied to 1e-9 |d||g| within the bounded steps.
absl::StatusOr<Projection> Project(double norm, absl::Span<const DirectionConstraint> constraints,
                                   absl::Span<const double> gram);

// The effective update in units of 2^-20, element by element in this order of operations:
// scale * delta, less lambda_k * g_k for k = 0, 1, ... (those above zero), rounded once half to
// even. `gradients` has one span per lambda. INVALID_ARGUMENT where lengths differ.
absl::Status ApplyProjection(absl::Span<const float> delta, double scale,
                             absl::Span<const double> lambdas,
                             absl::Span<const absl::Span<const float>> gradients,
                             absl::Span<int32_t> effective);

// <x, g> / (|d| |g|) in millionths, rounded up, within +-10^15: the constraint with eps holds
// exactly if this is at most eps. 0 where a length is zero.
int64_t DirectionMicro(double dot, double update_norm, double gradient_norm);

// By how much rounding `elements` values to the grid may move <x, g>: 2^-21 sqrt(elements) |g|,
// plus 1e-9 |d||g| for the projection itself.
double DirectionSlack(double update_norm, double gradient_norm, uint64_t elements);

}  // namespace rochdale::filter
