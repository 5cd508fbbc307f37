#include "services/attribution/worker/evaluation.h"

#include <algorithm>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/exact_evaluator.h"
#include "services/attribution/parameters_file.h"

namespace rochdale::attribution {

absl::Status RunEvaluation::CheckShard(const ShardRange& shard) const {
  const bool known = shard.part >= 0 && shard.part < static_cast<int>(spec_.parts.size());
  const RunPart* part = known ? &spec_.parts[shard.part] : nullptr;
  const bool fits = known && 0 <= shard.row_begin && shard.row_begin < shard.row_end &&
                    shard.row_end <= part->rows && 0 <= shard.candidate_begin &&
                    shard.candidate_begin < shard.candidate_end &&
                    shard.candidate_end <= part->candidates();
  if (fits) return absl::OkStatus();
  return Error("BAD_REQUEST", "the shard is not one of the run's spec");
}

absl::Status RunEvaluation::LoadBase() {
  if (!spec_.model.exact()) {
    RETURN_IF_ERROR(evaluator_.UseModule(
        spec_.model, [&] { return blobs_(spec_.model.torchscript.module); }));
  }
  if (!base_.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string file, blobs_(spec_.base));
  ASSIGN_OR_RETURN(base_, ParseCheckpoint(file, spec_.model));
  return absl::OkStatus();
}

absl::StatusOr<learning::GridSpan> RunEvaluation::Update(int index) {
  const auto found = updates_.find(index);
  if (found != updates_.end()) return learning::GridSpan(found->second);
  ASSIGN_OR_RETURN(const std::string file, blobs_(spec_.updates[index].effective));
  ASSIGN_OR_RETURN(const learning::GridVector effective, ParseEffectiveUpdate(file, spec_.model));
  return learning::GridSpan(updates_[index] =
                                learning::PrepareUpdate(spec_.aggregation, spec_.lineages,
                                                        index, effective));
}

absl::StatusOr<learning::Aggregator*> RunEvaluation::AggregatorOf(const RunPart& part) {
  if (aggregator_of_ != &part) {
    aggregator_of_ = nullptr;
    std::vector<learning::GridSpan> updates;
    for (const int index : part.updates) {
      ASSIGN_OR_RETURN(const learning::GridSpan update, Update(index));
      updates.push_back(update);
    }
    aggregator_.emplace(spec_.aggregation.rule, spec_.aggregation.trim_bp, spec_.lineages, base_,
                        std::move(updates));
    aggregator_of_ = &part;
  }
  return &*aggregator_;
}

absl::StatusOr<learning::Rows> RunEvaluation::RowsOf(const RunPart& part) {
  if (rows_of_ != part.data) {
    ASSIGN_OR_RETURN(const std::string file, blobs_(part.data));
    ASSIGN_OR_RETURN(rows_, learning::ParseDataset(file, spec_.model));
    rows_of_ = part.data;
  }
  if (rows_.count() != part.rows) {
    return Error("BAD_REQUEST", "the data set has not as many rows as the spec says");
  }
  return learning::Rows(rows_);
}

absl::StatusOr<ShardLosses> RunEvaluation::Evaluate(const ShardRange& shard) {
  RETURN_IF_ERROR(CheckShard(shard));
  RETURN_IF_ERROR(LoadBase());
  const RunPart& part = spec_.parts[shard.part];
  ASSIGN_OR_RETURN(const learning::Rows all, RowsOf(part));
  const learning::Rows rows = all.Slice(shard.row_begin, shard.row_end - shard.row_begin);
  ShardLosses result;
  const int64_t masks = static_cast<int64_t>(part.masks.size());
  if (shard.candidate_begin < masks) {
    ASSIGN_OR_RETURN(result, EvaluateMasks(part, shard, rows));
    if (result.failure) return result;
  }
  if (shard.candidate_end > masks) {
    ASSIGN_OR_RETURN(ShardLosses more, EvaluateCheckpoints(part, shard, rows));
    if (more.failure) return more;
    result.losses.insert(result.losses.end(), more.losses.begin(), more.losses.end());
  }
  return result;
}

absl::StatusOr<ShardLosses> RunEvaluation::EvaluateMasks(const RunPart& part,
                                                         const ShardRange& shard,
                                                         learning::Rows rows) {
  ASSIGN_OR_RETURN(learning::Aggregator * aggregator, AggregatorOf(part));
  const int64_t end =
      std::min(shard.candidate_end, static_cast<int64_t>(part.masks.size()));
  const auto masks =
      absl::MakeConstSpan(part.masks).subspan(shard.candidate_begin, end - shard.candidate_begin);
  std::optional<learning::RangeViolation> violation;
  learning::EvaluationOptions options;
  options.violation = &violation;
  absl::StatusOr<learning::LossMatrix> matrix =
      aggregator->Evaluate(evaluator_, spec_.model, masks, rows, options);
  ShardLosses result;
  if (matrix.ok()) {
    result.losses = std::move(matrix->losses);
    return result;
  }
  if (!violation) return matrix.status();
  const uint64_t mask = masks[violation->candidate];
  result.failure = RangeFailure{shard.candidate_begin + violation->candidate, std::nullopt,
                                violation->layer};
  if (mask != 0) {
    std::vector<learning::GridSpan> updates;
    for (const int index : part.updates) updates.push_back(updates_.at(index));
    const int largest = learning::LargestUpdate(updates, mask);
    result.failure->update = spec_.updates[part.updates[largest]].update;
  }
  return result;
}

absl::StatusOr<ShardLosses> RunEvaluation::EvaluateCheckpoints(const RunPart& part,
                                                               const ShardRange& shard,
                                                               learning::Rows rows) {
  const int64_t masks = static_cast<int64_t>(part.masks.size());
  const int64_t begin = std::max(shard.candidate_begin, masks);
  std::vector<learning::GridVector> parameters;
  for (int64_t c = begin; c < shard.candidate_end; ++c) {
    ASSIGN_OR_RETURN(const std::string file, blobs_(part.checkpoints[c - masks]));
    ASSIGN_OR_RETURN(parameters.emplace_back(), ParseCheckpoint(file, spec_.model));
  }
  const std::vector<learning::GridSpan> candidates(parameters.begin(), parameters.end());
  std::optional<learning::RangeViolation> violation;
  learning::EvaluationOptions options;
  options.violation = &violation;
  absl::StatusOr<learning::LossMatrix> matrix =
      evaluator_.EvaluateCheckpoints(spec_.model, candidates, rows, options);
  ShardLosses result;
  if (matrix.ok()) {
    result.losses = std::move(matrix->losses);
    return result;
  }
  if (!violation) return matrix.status();
  result.failure = RangeFailure{begin + violation->candidate, std::nullopt, violation->layer};
  return result;
}

}  // namespace rochdale::attribution
