// Finite-step rules: what the probes' losses do when the update is applied at its weight.
//
// Losses are sums over rows of int64 nano-nats, as the exact evaluator gives them; results are
// nano-nats per row, rounded up, so that a bound holds exactly if the result is at most the bound.
// Integers only; pure. Results are held within +-kNanoNatsMax.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/base/ids.h"

namespace rochdale::filter {

inline constexpr int64_t kNanoNatsMax = int64_t{1} << 60;

// A probe's loss without and with one update.
struct ProbeLoss {
  int64_t base_sum = 0;     // nano-nats over these rows, at the base checkpoint
  int64_t with_sum = 0;     // with the update applied
  int64_t rows = 0;         // at least 1
  // Where measuring stopped early: how many rows the probe has, above `rows`, which are then the
  // first in an order that nobody could know. 0: all of them.
  int64_t of_rows = 0;

  bool IsEarly() const { return of_rows > rows; }
};

// By how much the mean loss rises; negative where it falls. INVALID_ARGUMENT where rows < 1.
absl::StatusOr<int64_t> LossRise(const ProbeLoss& loss);

// By how much the gap between the worst and the best group's mean loss widens. Means are floored
// to the nano-nat first. INVALID_ARGUMENT for fewer than two groups, or rows < 1.
absl::StatusOr<int64_t> GapRise(absl::Span<const ProbeLoss> groups);

// What a round's updates did to one probe: for probes of the whole cooperative.
struct RoundEffect {
  int64_t median = 0;       // lower median of the rises
  int64_t deviation = 0;    // lower median of the distances from it (MAD)
};
RoundEffect EffectOfRound(absl::Span<const int64_t> rises);

// median + max(4 MAD, eps): above it an effect is unlike the round's.
int64_t ReviewThreshold(const RoundEffect& round, int64_t eps_nanonats);

// One criterion of a scenario.
struct Criterion {
  Uuid probe;
  int64_t weight_bp = 0;        // those of a scenario sum to 10,000
  int64_t scale_nanonats = 1;   // at least 1
};

// sum_k w_k clip((m_k(base) - m_k(with)) / scale_k, -1, 1) in millionths, each term and the sum
// rounded down: at least the threshold only if the exact fit is. `losses` in the order of the
// criteria. INVALID_ARGUMENT: sizes differ, no criteria, weights that are not positive or do not
// sum to 10,000, scale or rows < 1.
absl::StatusOr<int64_t> FitMicro(absl::Span<const Criterion> criteria,
                                 absl::Span<const ProbeLoss> losses);

}  // namespace rochdale::filter
