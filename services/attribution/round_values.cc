// The test of the cooperative's values on what the gate left, before it is applied.
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "services/attribution/aggregate_values.h"
#include "services/attribution/round_steps.h"
#include "services/attribution/round_steps_read.h"
#include "services/attribution/round_store.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {

absl::StatusOr<RunSpec> RoundSteps::ValuesSpec(const RoundRecord& round,
                                               const std::vector<RoundUpdate>& contributors,
                                               const std::vector<NeededBound>& bounds,
                                               const std::vector<uint64_t>& masks) {
  ASSIGN_OR_RETURN(RunSpec spec, CoalitionsSpec(round, contributors));
  for (const NeededBound& bound : bounds) {
    RETURN_IF_ERROR(EnsureBlob(bound.data));
    ASSIGN_OR_RETURN(const learning::Dataset rows, LoadRows(bound.data, spec.model));
    RunPart part = PartOfAll(spec);
    part.masks = masks;
    part.data = bound.data;
    part.rows = rows.count();
    spec.parts.push_back(std::move(part));
  }
  return spec;
}

absl::StatusOr<RoundSteps::ValuesSoFar> RoundSteps::LoadValues(
    const RoundRecord& round, const std::vector<NeededBound>& bounds) {
  ValuesSoFar so_far;
  AggregateValues& values = so_far.values;
  for (const NeededBound& bound : bounds) {
    values.bounds.push_back({bound.probe, 0, bound.eps_nanonats});
  }
  values.loss_sums.resize(bounds.size());
  while (so_far.stages < kValuesStagesMax && !bounds.empty()) {
    const RunId id = RunIdOf(round.round, RunPurpose::kValues, round.generation, so_far.stages);
    ASSIGN_OR_RETURN(const auto run, Read<std::optional<RunRecord>>([&](auto& tx) {
                       return FindRun(tx, id);
                     }));
    if (!run || run->state != RunState::kDone) break;
    ASSIGN_OR_RETURN(const RunSpec spec, ParseRunSpec(run->spec));
    ASSIGN_OR_RETURN(const auto losses, LossesOf(*run));
    if (spec.parts.size() != bounds.size()) return absl::InternalError("a part for every bound");
    for (size_t b = 0; b < bounds.size(); ++b) {
      const RunPart& part = spec.parts[b];
      values.bounds[b].rows = part.rows;
      for (size_t m = 0; m < part.masks.size(); ++m) {
        values.loss_sums[b].push_back(
            LossSum(absl::MakeConstSpan(losses[b]).subspan(m * part.rows, part.rows)));
      }
    }
    const std::vector<uint64_t>& masks = spec.parts[0].masks;
    values.masks.insert(values.masks.end(), masks.begin(), masks.end());
    ++so_far.stages;
  }
  return so_far;
}

absl::StatusOr<Progress> RoundSteps::TestValues(const RoundRecord& round,
                                                const std::vector<RoundUpdate>& contributors) {
  const uint64_t gate = static_cast<uint64_t>(round.applied_mask.value());
  ASSIGN_OR_RETURN(const auto bounds, Read<std::vector<NeededBound>>([&](auto& tx) {
                     return ListNeededBounds(tx, round.round);
                   }));
  uint64_t kept = gate;
  if (!bounds.empty() && gate != 0) {
    ASSIGN_OR_RETURN(const auto unfinished, AwaitLastStage(round, RunPurpose::kValues));
    if (unfinished) return *unfinished;
    ASSIGN_OR_RETURN(const ValuesSoFar so_far, LoadValues(round, bounds));
    ASSIGN_OR_RETURN(const ValuesStep next, NextValuesStep(gate, so_far.values));
    if (!next.ended) {
      ASSIGN_OR_RETURN(const RunStep step,
                       EnsureRun(round, RunPurpose::kValues, so_far.stages, [&] {
                         return ValuesSpec(round, contributors, bounds, next.wanted);
                       }));
      return step.done ? Progress::kMoved : step.progress;
    }
    kept = next.kept;
  }
  RoundRecord tested = round;
  tested.applied_mask = static_cast<int64_t>(kept);
  tested.refused_mask = static_cast<int64_t>(gate & ~kept);
  RETURN_IF_ERROR(
      Write([&](pg::Transaction& tx) { return Move(tx, tested, round.state, Now()); }));
  RETURN_IF_ERROR(Fault("values tested"));
  return Progress::kMoved;
}

}  // namespace rochdale::attribution
