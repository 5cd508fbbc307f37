// Measuring updates on probes before the filter decides, in as many runs as it takes looks.
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "services/attribution/round_steps.h"
#include "services/attribution/round_steps_read.h"
#include "services/attribution/round_store.h"

namespace rochdale::attribution {

absl::StatusOr<RunPart> RoundSteps::MeasurePart(const RoundRecord& round, const ModelRecord& model,
                                                const Measuring::Part& wanted) {
  ASSIGN_OR_RETURN(const learning::Dataset all, LoadRows(wanted.data, model.spec));
  RunPart part;
  part.data = wanted.data;
  part.rows = all.count();
  if (wanted.end == 0) return part;
  if (wanted.of_rows != all.count()) {
    return absl::InternalError("a probe with other rows than the filter says");
  }
  const std::vector<int64_t> order =
      EarlyOrder(parts_.secrets.RoundSeed(round.round), wanted.data, all.count());
  const std::vector<int64_t> looked_at(order.begin() + wanted.begin, order.begin() + wanted.end);
  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
  ASSIGN_OR_RETURN(part.data,
                   blobs->Put(learning::SerializeDataset(learning::TakeRows(all, looked_at))));
  part.rows = wanted.end - wanted.begin;
  return part;
}

absl::StatusOr<RunSpec> RoundSteps::MeasureSpec(const RoundRecord& round,
                                                const std::vector<RoundUpdate>& updates,
                                                const std::vector<NeededProbe>& needed,
                                                const std::vector<Measuring::Part>& parts) {
  ASSIGN_OR_RETURN(const ModelRecord model, ModelOf(round));
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  RunSpec spec;
  spec.model = model.spec;
  spec.base = round.base;
  spec.lineages = round.lineages.value();
  std::set<UpdateId> wanted;
  for (const Measuring::Part& part : parts) {
    for (const size_t pair : part.pairs) wanted.insert(needed.at(pair).update);
  }
  std::vector<RoundUpdate> measured;
  std::map<UpdateId, int> index;
  for (const RoundUpdate& update : updates) {
    if (!wanted.contains(update.update)) continue;
    index[update.update] = static_cast<int>(spec.updates.size());
    spec.updates.push_back({update.update, *update.effective});
    measured.push_back(update);
  }
  spec.aggregation = ProbeAggregationOf(parameters, measured);
  for (const Measuring::Part& one : parts) {
    ASSIGN_OR_RETURN(RunPart part, MeasurePart(round, model, one));
    part.masks = {0};
    for (const size_t pair : one.pairs) {
      part.masks.push_back(uint64_t{1} << part.updates.size());
      part.updates.push_back(index.at(needed.at(pair).update));
    }
    spec.parts.push_back(std::move(part));
  }
  return spec;
}

absl::StatusOr<std::optional<Progress>> RoundSteps::Measure(
    const RoundRecord& round, const std::vector<RoundUpdate>& updates,
    const std::vector<NeededProbe>& needed, Measuring& measuring) {
  const auto ensure = [&](int stage, const std::vector<Measuring::Part>& parts) {
    return EnsureRun(round, RunPurpose::kMeasure, stage,
                     [&] { return MeasureSpec(round, updates, needed, parts); });
  };
  // While the last run that was begun is under way, what the others found is not needed.
  ASSIGN_OR_RETURN(const int last, LastStage(round, RunPurpose::kMeasure));
  if (last > 0) {
    ASSIGN_OR_RETURN(const RunStep step, ensure(last, {}));
    if (!step.done) return step.progress;
  }
  for (int stage = 0; stage < StagesMax(RunPurpose::kMeasure); ++stage) {
    const std::vector<Measuring::Part> parts = measuring.NextParts();
    if (parts.empty()) return std::nullopt;
    ASSIGN_OR_RETURN(const RunStep step, ensure(stage, parts));
    if (!step.done) return step.progress;
    ASSIGN_OR_RETURN(const auto losses, LossesOf(*step.done));
    RETURN_IF_ERROR(measuring.Add(losses, step.done->spec));
  }
  if (!measuring.NextParts().empty()) {
    return absl::InternalError("measuring took more looks than there are");
  }
  return std::nullopt;
}

}  // namespace rochdale::attribution
