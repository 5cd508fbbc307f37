#include "libs/learning/fast_evaluator.h"

#include "libs/base/status_macros.h"
#include "libs/learning/fast_math.h"
#include "libs/learning/shared_evaluation.h"
#include "libs/learning/staged_evaluation.h"

namespace rochdale::learning {

absl::StatusOr<std::vector<float>> FastEvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                          absl::Span<const GridSpan> updates,
                                                          absl::Span<const uint64_t> masks,
                                                          Rows rows,
                                                          BaseCache<float>* cache) {
  RETURN_IF_ERROR(ValidateModelSpec(spec));
  RETURN_IF_ERROR(CheckRows(rows, spec));
  if (IsStaged(spec.kind) || !spec.exact()) {
    ASSIGN_OR_RETURN(const LossMatrix exact, EvaluateCoalitions(spec, base, updates, masks, rows));
    std::vector<float> losses;
    losses.reserve(exact.losses.size());
    for (const int64_t loss : exact.losses) losses.push_back(static_cast<float>(loss * 1e-9));
    return losses;
  }
  std::vector<float> losses(masks.size() * rows.count());
  auto sink = [&](int64_t candidate, int64_t first, int n, float* logits) {
    CrossEntropyNats(logits, n, spec.classes(), rows.labels.data() + first, n,
                     losses.data() + candidate * rows.count() + first);
  };
  const EvaluationOptions options;
  SharedEvaluation<float> evaluation(spec, rows, options, cache);
  RETURN_IF_ERROR(evaluation.RunCoalitions(base, updates, masks, sink));
  return losses;
}

}  // namespace rochdale::learning
