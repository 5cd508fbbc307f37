// Measuring updates on probes before the filter decides, in as many runs as it takes looks.
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "services/attribution/round_steps.h"
#include "services/attribution/round_steps_read.h"
#include "services/attribution/round_store.h"

namespace rochdale::attribution {

absl::StatusOr<RunPart> RoundSteps::MeasurePart(const RoundRecord& round,
                                                const learning::ModelSpec& model,
                                                const Measuring::Part& wanted) {
  ASSIGN_OR_RETURN(const learning::Dataset all, LoadRows(wanted.data, model));
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
  std::set<UpdateId> wanted;
  for (const Measuring::Part& part : parts) {
    for (const size_t pair : part.pairs) wanted.insert(needed.at(pair).update);
  }
  std::vector<RoundUpdate> measured;
  std::map<UpdateId, int> index;
  for (const RoundUpdate& update : updates) {
    if (!wanted.contains(update.update)) continue;
    index[update.update] = static_cast<int>(measured.size());
    measured.push_back(update);
  }
  ASSIGN_OR_RETURN(RunSpec spec, CoalitionsSpec(round, measured));
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  spec.aggregation = ProbeAggregationOf(parameters, measured);
  for (const Measuring::Part& one : parts) {
    ASSIGN_OR_RETURN(RunPart part, MeasurePart(round, spec.model, one));
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
  ASSIGN_OR_RETURN(const auto unfinished, AwaitLastStage(round, RunPurpose::kMeasure));
  if (unfinished) return unfinished;
  for (int stage = 0;; ++stage) {  // below StagesMax: EnsureRun
    const std::vector<Measuring::Part> parts = measuring.NextParts();
    if (parts.empty()) return std::nullopt;
    ASSIGN_OR_RETURN(const RunStep step, EnsureRun(round, RunPurpose::kMeasure, stage, [&] {
                       return MeasureSpec(round, updates, needed, parts);
                     }));
    if (!step.done) return step.progress;
    ASSIGN_OR_RETURN(const auto losses, LossesOf(*step.done));
    RETURN_IF_ERROR(measuring.Add(losses, step.done->spec));
  }
}

}  // namespace rochdale::attribution
