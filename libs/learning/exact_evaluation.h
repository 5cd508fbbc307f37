// One exact evaluation: the plan (what candidates share, bounds, order) and its run over row
// blocks. Internal to libs/learning; callers use exact_evaluator.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/exact_forward.h"
#include "libs/learning/exact_range.h"

namespace rochdale::learning {

// The logits of a candidate on rows first .. first + rows - 1, class-major; may be overwritten.
using Sink = absl::FunctionRef<void(int64_t candidate, int64_t first, int rows, double* logits)>;

// Candidates that are full parameter vectors, or coalitions of updates over a base.
class ExactEvaluation {
 public:
  // The spec and the rows have been checked, and outlive this.
  ExactEvaluation(const ModelSpec& spec, Rows rows, const EvaluationOptions& options)
      : spec_(spec), layers_(LinearLayers(spec)), rows_(rows), options_(options) {}

  // Calls the sink for every candidate and row block; see exact_evaluator.h for the errors.
  absl::Status RunCoalitions(GridSpan base, absl::Span<const GridSpan> updates,
                             absl::Span<const uint64_t> masks, Sink sink);
  absl::Status RunCheckpoints(absl::Span<const GridSpan> candidates, Sink sink);

 private:
  // The pre-activations of the shared layer and the parameters behind it, summed over the first
  // `depth` members of the coalition at hand.
  struct Prefix {
    std::vector<double> pre_activation;
    GridVector tail;
  };

  absl::Status CheckVector(absl::string_view what, GridSpan vector) const;
  absl::Status CheckCoalitions() const;
  void FindSharedLayer();
  void FindBounds();
  void FindSaturating();
  void OrderCoalitions();
  int RowBlock(int64_t activations_per_row) const;
  const std::vector<LayerNorms>& CandidateNorms(int64_t candidate);
  bool CandidateInRange(int64_t candidate, size_t layer, const Activations& input);
  bool Skips(int64_t candidate) const { return violation_ && candidate > violation_->candidate; }
  void Violates(int64_t candidate, size_t layer);
  GridVector CandidateParameters(int64_t candidate) const;
  // The input of layer `last`, from the pixels of a block and the base; none out of range.
  std::optional<Activations> BaseForward(ExactForward& forward, Activations input, int rows,
                                         size_t last);
  void RunBlock(ExactForward& forward, int64_t first, int rows, Sink sink);
  void RunShared(ExactForward& forward, const Activations& input, int64_t first, int rows,
                 Sink sink);
  void PushMember(size_t depth, int member, int rows);
  // One candidate from its parameters, from layer `from` on.
  void RunAlone(ExactForward& forward, int64_t candidate, const Activations& input, int64_t first,
                int rows, Sink sink);
  // From the pre-activations of layer `from`; the parameters of the layers behind it are at
  // parameters[offset - shift].
  void RunTail(ExactForward& forward, int64_t candidate, size_t from, double* pre_activation,
               const int32_t* parameters, int64_t first, int rows, Sink sink);
  absl::Status Result() const;

  const ModelSpec& spec_;
  const std::vector<LinearLayer> layers_;
  const Rows rows_;
  const EvaluationOptions& options_;

  GridSpan base_;                        // empty for checkpoints
  absl::Span<const GridSpan> updates_;
  absl::Span<const uint64_t> masks_;
  absl::Span<const GridSpan> checkpoints_;
  int64_t candidates_ = 0;

  size_t shared_layer_ = 0;              // all candidates equal the base below it
  std::vector<LayerNorms> bounds_;       // at least those of every candidate
  std::vector<bool> saturating_;         // per mask
  std::vector<int64_t> order_;           // masks so that neighbours share members
  std::map<int64_t, std::vector<LayerNorms>> norms_;  // per candidate, where a bound failed
  std::optional<RangeViolation> violation_;
  size_t violation_layer_ = 0;

  std::vector<double> pixels_, features_;
  std::vector<std::vector<double>> update_pre_activations_;
  std::vector<Prefix> prefixes_;
};

}  // namespace rochdale::learning
