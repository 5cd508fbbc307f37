// Estimates of what every contributor improved, from a table of losses, in integers only.
//
// Contributors are bits 0 .. n-1. losses[mask * rows + r] is the loss in nano-nats on row r of the
// coalition `mask`, for all 2^n masks: the LossMatrix of EvaluateCoalitions with masks 0 .. 2^n-1.
// v(S) = L(none) - L(S) per row. An estimate of a contributor is a mean over rows of integers in
// units of 1 / scale nano-nats:
//   solo           v({i})                                                  scale 1
//   leave-one-out  v(N) - v(N \ i)                                         scale 1
//   Shapley        sum over S without i of |S|! (n-1-|S|)! / n! (v(S+i) - v(S))
//                                                scale D = n * lcm_k C(n-1, k)  (2,520 at n = 10)
//   Banzhaf        mean over S without i of v(S+i) - v(S)                  scale 2^(n-1)
// The standard error is that of the mean over rows (sample variance with rows - 1), in nano-nats,
// rounded up: the smallest integer s with s^2 scale^2 rows^2 (rows-1) >= rows sum x^2 - (sum x)^2,
// where x is in units of 1 / scale.
// Pure; no torch; used by attribution's rules and by the offline verifier.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace rochdale::learning {

inline constexpr int kExactShapleyMax = 10;
// No loss of the exact evaluator is above 2^18 nats.
inline constexpr int64_t kLossNanonatsMax = int64_t{1} << 49;

struct Estimate {
  absl::int128 total = 0;       // sum over rows, in units of 1 / scale nano-nats
  int64_t scale = 1;
  int64_t rows = 0;
  int64_t standard_error = 0;   // of the mean, nano-nats, rounded up

  // floor(total / (scale * rows)), nano-nats.
  int64_t Mean() const;
  friend bool operator==(const Estimate&, const Estimate&) = default;
};

struct GameEstimates {  // one of each per contributor
  std::vector<Estimate> shapley;
  std::vector<Estimate> solo;
  std::vector<Estimate> leave_one_out;
  std::vector<Estimate> banzhaf;
};

// D = n * lcm_k C(n-1, k), for 1 <= n <= kExactShapleyMax.
int64_t ShapleyScale(int n);

// Per-row Shapley values in units of 1 / ShapleyScale(n): [contributor][row], n x rows. On every
// row they sum to ShapleyScale(n) * v(N).
std::vector<int64_t> ShapleyPerRow(int n, int64_t rows, absl::Span<const int64_t> losses);

// BAD_REQUEST unless 1 <= n <= kExactShapleyMax, rows >= 2, losses.size() == 2^n rows and every
// loss is in 0 .. 2^49.
absl::StatusOr<GameEstimates> EstimateGame(int n, int64_t rows, absl::Span<const int64_t> losses);

// The estimate of x (units of 1 / scale nano-nats; |x| < 2^62), rows >= 2.
Estimate EstimateMean(absl::Span<const int64_t> x, int64_t scale);

// Solo and leave-one-out alone, for games whose coalitions are not all evaluated: losses of the
// base, of the whole, of {i} and of N \ i, each over the same rows.
Estimate EstimateDifference(absl::Span<const int64_t> before, absl::Span<const int64_t> after);

}  // namespace rochdale::learning
