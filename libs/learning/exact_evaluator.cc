#include "libs/learning/exact_evaluator.h"

#include <cblas.h>

#include <numeric>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/candidate_checks.h"
#include "libs/learning/exact_math.h"
#include "libs/learning/shared_evaluation.h"
#include "libs/learning/staged_evaluation.h"

namespace rochdale::learning {
namespace {

// A sink that fills a loss matrix.
auto LossSink(const ModelSpec& spec, Rows rows, LossMatrix& matrix) {
  return [&spec, rows, &matrix](int64_t candidate, int64_t first, int n, double* logits) {
    CrossEntropyNanonats(logits, n, spec.classes(), rows.labels.data() + first, n,
                         matrix.losses.data() + candidate * matrix.rows + first);
  };
}

}  // namespace

absl::StatusOr<LossMatrix> EvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                              absl::Span<const GridSpan> updates,
                                              absl::Span<const uint64_t> masks, Rows rows,
                                              const EvaluationOptions& options) {
  RETURN_IF_ERROR(CheckExact(spec, rows));
  LossMatrix matrix = LossMatrix::OfZeros(masks.size(), rows.count());
  if (IsStaged(spec.kind)) {
    RETURN_IF_ERROR(CheckCoalitions(spec, base, updates, masks));
    auto coalition = [&](int64_t c) { return ApplyUpdates(base, updates, masks[c]); };
    RETURN_IF_ERROR(StagedLosses(spec, rows, options, StagedOrder(spec, updates, masks), coalition,
                                 matrix.losses.data()));
    return matrix;
  }
  SharedEvaluation<double> evaluation(spec, rows, options, options.cache);
  RETURN_IF_ERROR(
      evaluation.RunCoalitions(base, updates, masks, LossSink(spec, rows, matrix)));
  return matrix;
}

absl::StatusOr<LossMatrix> EvaluateCheckpoints(const ModelSpec& spec,
                                               absl::Span<const GridSpan> candidates, Rows rows,
                                               const EvaluationOptions& options) {
  RETURN_IF_ERROR(CheckExact(spec, rows));
  LossMatrix matrix = LossMatrix::OfZeros(candidates.size(), rows.count());
  if (IsStaged(spec.kind)) {
    RETURN_IF_ERROR(CheckCheckpoints(spec, candidates));
    auto checkpoint = [&](int64_t c) {
      return GridVector(candidates[c].begin(), candidates[c].end());
    };
    std::vector<int64_t> order(candidates.size());
    std::iota(order.begin(), order.end(), 0);
    RETURN_IF_ERROR(StagedLosses(spec, rows, options, order, checkpoint, matrix.losses.data()));
    return matrix;
  }
  SharedEvaluation<double> evaluation(spec, rows, options, options.cache);
  RETURN_IF_ERROR(evaluation.RunCheckpoints(candidates, LossSink(spec, rows, matrix)));
  return matrix;
}

absl::StatusOr<int64_t> CountCorrect(const ModelSpec& spec, GridSpan parameters, Rows rows,
                                     const EvaluationOptions& options) {
  RETURN_IF_ERROR(CheckExact(spec, rows));
  int64_t correct = 0;
  if (IsStaged(spec.kind)) {
    RETURN_IF_ERROR(CheckCheckpoints(spec, {parameters}));
    RETURN_IF_ERROR(StagedCorrect(spec, rows, options, parameters, &correct));
    return correct;
  }
  auto sink = [&](int64_t, int64_t first, int n, const double* logits) {
    for (int r = 0; r < n; ++r) {
      int best = 0;
      for (int j = 1; j < spec.classes(); ++j) {
        if (logits[j * n + r] > logits[best * n + r]) best = j;
      }
      correct += best == rows.labels[first + r];
    }
  };
  SharedEvaluation<double> evaluation(spec, rows, options, options.cache);
  RETURN_IF_ERROR(evaluation.RunCheckpoints({parameters}, sink));
  return correct;
}

void UseOneThread() { openblas_set_num_threads(1); }

int LargestUpdate(absl::Span<const GridSpan> updates, uint64_t mask) {
  int largest = -1;
  unsigned __int128 norm = 0;
  for (size_t i = 0; i < updates.size(); ++i) {
    if (!(mask >> i & 1)) continue;
    const unsigned __int128 candidate = SquaredNorm(updates[i]);
    if (largest >= 0 && candidate <= norm) continue;
    largest = static_cast<int>(i);
    norm = candidate;
  }
  return largest;
}

}  // namespace rochdale::learning
