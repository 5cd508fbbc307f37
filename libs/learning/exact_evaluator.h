// The exact evaluator: per-row losses that are the same integers on every machine, for every BLAS,
// thread count and batch size. docs/evidence.md and exact_math.h say what is computed.
//
// For parameters on the grid (2^-20), inputs p / 256, and hidden activations rounded to 2^-16 (half
// to even, after ReLU) every product and partial sum of a dot product is exact in f64, in any
// order, as long as for every layer
//     max_j |W_j|_1 * max |h| + max_j |b_j| < 2^17                                      (range)
// where W_j is row j of the weight and max |h| is over the rows evaluated. A candidate that fails
// it is an EVALUATION_RANGE error, never a wrong number. Logits are not rounded. Convolutions are
// sums of products like any layer's; what a character transformer rounds and checks besides stands
// in docs/evidence.md, too.
//
// Thread-safe: no state. Uses one thread provided OPENBLAS_NUM_THREADS=1 or UseOneThread() was
// called; the result does not depend on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/learning/base_cache.h"
#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

inline constexpr int kUpdatesMax = 63;  // of one game: masks are 64 bits

// Losses in nano-nats, candidate-major: loss of candidate c on row r is losses[c * rows + r].
struct LossMatrix {
  int64_t candidates = 0;
  int64_t rows = 0;
  std::vector<int64_t> losses;

  static LossMatrix OfZeros(int64_t candidates, int64_t rows) {
    return {candidates, rows, std::vector<int64_t>(candidates * rows)};
  }
  absl::Span<const int64_t> candidate(int64_t c) const {
    return absl::MakeConstSpan(losses).subspan(c * rows, rows);
  }
  int64_t at(int64_t c, int64_t r) const { return losses[c * rows + r]; }
};

// Where the range check failed: the lowest such candidate, and the lowest layer at which it does on
// any of the rows. Does not depend on batching.
struct RangeViolation {
  int64_t candidate = 0;   // index in masks (or in the list of candidates)
  std::string layer;       // "2": the module of model.h; "blocks.0.attention" of a transformer
};

struct EvaluationOptions {
  // Rows at a time; 0: chosen for the model. No effect on results.
  int row_block = 0;
  std::optional<RangeViolation>* violation = nullptr;  // set where EVALUATION_RANGE is returned
  // What to take over from earlier evaluations and leave to later ones; null: nothing. Belongs to
  // one thread. No effect on results.
  BaseCache<double>* cache = nullptr;
};

// The game of a round: candidate c is base + the updates in masks[c], saturating (ApplyUpdates).
// What candidates have in common is computed once, exactly (shared_evaluation.h).
// Errors: BAD_REQUEST (lengths, masks with bits beyond the updates), PROBE_INVALID (rows),
// TENSOR_NOT_FINITE (parameters beyond the grid), EVALUATION_RANGE.
absl::StatusOr<LossMatrix> EvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                              absl::Span<const GridSpan> updates,
                                              absl::Span<const uint64_t> masks, Rows rows,
                                              const EvaluationOptions& options = {});

// Checkpoints: each candidate is a full parameter vector.
absl::StatusOr<LossMatrix> EvaluateCheckpoints(const ModelSpec& spec,
                                               absl::Span<const GridSpan> candidates, Rows rows,
                                               const EvaluationOptions& options = {});

// How many rows have their label as the class of the largest logit (the lowest class among equals).
absl::StatusOr<int64_t> CountCorrect(const ModelSpec& spec, GridSpan parameters, Rows rows,
                                     const EvaluationOptions& options = {});

// One thread for BLAS in this process.
void UseOneThread();

// The update of the largest norm among the bits of a mask that is not 0 (the lowest index among
// equals): what is rejected where a coalition fails the range check.
int LargestUpdate(absl::Span<const GridSpan> updates, uint64_t mask);

}  // namespace rochdale::learning
