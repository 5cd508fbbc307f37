// Screening, measuring what the rules need, and the filter's decisions.
#include <map>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "services/attribution/round_steps.h"
#include "services/attribution/round_steps_read.h"
#include "services/attribution/round_store.h"

namespace rochdale::attribution {
namespace {

// What is measured: probes of updates that are still in play.
std::vector<NeededProbe> StillNeeded(const std::vector<RoundUpdate>& updates,
                                     const std::vector<NeededProbe>& needed) {
  std::map<UpdateId, bool> in_play;
  for (const RoundUpdate& update : updates) {
    in_play[update.update] = !update.denied && update.removed_reason.empty() && update.effective;
  }
  std::vector<NeededProbe> still;
  for (const NeededProbe& one : needed) {
    if (in_play[one.update]) still.push_back(one);
  }
  return still;
}

}  // namespace

absl::StatusOr<std::map<UpdateId, int64_t>> RoundSteps::LineageShares(
    const RoundRecord& round, const Screening& screening) {
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  const learning::AggregationRule rule = AggregationOf(parameters, {}).rule;
  std::map<UpdateId, int64_t> shares;
  if (!learning::IsWeighted(rule)) return shares;
  ASSIGN_OR_RETURN(const auto credits, Read<std::map<PrincipalId, int64_t>>([&](auto& tx) {
                     return SumCredits(tx, round.cooperative, round.number);
                   }));
  std::vector<UpdateId> lineages;
  std::vector<int64_t> sizes;
  for (const ScreenedUpdate& screened : screening.updates) {  // in order of commitment
    if (!screened.counts || screened.lineage != screened.update) continue;
    const auto earned = credits.find(screened.principal);
    const bool by_samples = rule == learning::AggregationRule::kSampleWeighted;
    lineages.push_back(screened.lineage);
    sizes.push_back(by_samples                 ? screened.sample_count
                    : earned == credits.end() ? 0
                                               : earned->second);
  }
  if (sizes.empty()) return shares;
  const std::vector<int64_t> of_each = learning::WeightShares(rule, sizes);
  for (size_t i = 0; i < lineages.size(); ++i) shares[lineages[i]] = of_each[i];
  return shares;
}

absl::StatusOr<Progress> RoundSteps::StoreScreening(const RoundRecord& round) {
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  ASSIGN_OR_RETURN(const Screening screening, filter->ScreenRound(round.round));
  RETURN_IF_ERROR(Fault("screened"));
  if (screening.updates.empty() || screening.lineages < 1) {
    RETURN_IF_ERROR(Abandon(round, "NO_UPDATES_ADMITTED"));
    return Progress::kMoved;
  }
  ASSIGN_OR_RETURN(const auto shares, LineageShares(round, screening));
  RoundRecord next = round;
  next.lineages = screening.lineages;
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(Move(tx, next, round.state, Now()));
    for (const NeededBound& bound : screening.bounds) {
      RETURN_IF_ERROR(InsertNeededBound(tx, round.round, bound));
    }
    int position = 0;
    for (const ScreenedUpdate& screened : screening.updates) {
      RoundUpdate update;
      update.update = screened.update;
      update.position = position++;
      update.principal = screened.principal;
      update.agent = screened.agent;
      update.effective = screened.effective;
      update.denied = screened.denied || !screened.effective;
      const auto share = shares.find(screened.lineage);
      if (share != shares.end()) update.share = share->second;
      RETURN_IF_ERROR(InsertRoundUpdate(tx, round.round, update));
      for (const ProbeId& probe : screened.probes) {
        const auto data = screening.probe_data.find(probe);
        if (update.denied || data == screening.probe_data.end()) continue;
        NeededProbe needed{update.update, probe, data->second.sha256, data->second.rows, {}};
        const auto bound = screened.early_bounds.find(probe);
        if (bound != screened.early_bounds.end()) needed.bound = bound->second;
        RETURN_IF_ERROR(InsertNeededProbe(tx, round.round, needed));
      }
    }
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(Fault("screening stored"));
  return Progress::kMoved;
}

absl::StatusOr<Progress> RoundSteps::Screen(const RoundRecord& round) {
  if (!round.lineages) return StoreScreening(round);
  ASSIGN_OR_RETURN(const auto updates, Read<std::vector<RoundUpdate>>([&](auto& tx) {
                     return ListRoundUpdates(tx, round.round);
                   }));
  ASSIGN_OR_RETURN(const auto all_needed, Read<std::vector<NeededProbe>>([&](auto& tx) {
                     return ListNeededProbes(tx, round.round);
                   }));
  for (const RoundUpdate& update : updates) {
    if (!update.denied) RETURN_IF_ERROR(EnsureBlob(*update.effective));
  }
  const std::vector<NeededProbe> needed = StillNeeded(updates, all_needed);
  for (const NeededProbe& one : needed) RETURN_IF_ERROR(EnsureBlob(one.data));
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  Measuring measuring(EarlyRuleOf(parameters), needed);
  ASSIGN_OR_RETURN(const auto unfinished, Measure(round, updates, needed, measuring));
  if (unfinished) return *unfinished;
  return Decide(round, measuring.measurements(), measuring.EvidenceDigest());
}

absl::StatusOr<Progress> RoundSteps::Decide(const RoundRecord& round,
                                            const std::vector<Measurement>& measurements,
                                            const crypto::Digest& evidence) {
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  ASSIGN_OR_RETURN(std::vector<Decided> decided,
                   filter->DecideRound(round.round, measurements, evidence));
  RETURN_IF_ERROR(Fault("decided"));
  const auto in_review = [&] {
    for (const Decided& one : decided) {
      if (one.in_review) return true;
    }
    return false;
  };
  const absl::Time now = Now();
  if (in_review()) {
    // A person decides until the deadline; what is in review then is not admitted.
    ASSIGN_OR_RETURN(decided, filter->ListDecided(round.round));
    if (in_review() && ToUnixMicros(now) < round.deadline_us) return Progress::kWaiting;
  }
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  RoundRecord next = round;
  next.state = RoundState::kEvaluate;
  next.deadline_us = ToUnixMicros(now + LengthOf(RoundState::kEvaluate, parameters));
  int64_t admitted = 0;
  for (const Decided& one : decided) admitted += one.admitted;
  next.admitted = admitted;
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) -> absl::Status {
    for (const Decided& one : decided) {
      RETURN_IF_ERROR(
          SetDecision(tx, one.update, one.admitted, one.decision_event, one.publishable));
    }
    return Move(tx, next, round.state, now);
  }));
  RETURN_IF_ERROR(Fault("decisions stored"));
  return Progress::kMoved;
}

}  // namespace rochdale::attribution
