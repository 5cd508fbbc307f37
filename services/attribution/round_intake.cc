// A round's opening, commitments and reveals.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/gradients.h"
#include "libs/obs/log.h"
#include "libs/pg/documents.h"
#include "rochdale/governance/v1/governance.pb.h"
#include "services/attribution/entries.h"
#include "services/attribution/parameters_file.h"
#include "services/attribution/registered_modules.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/round_steps.h"
#include "services/attribution/round_steps_read.h"
#include "services/attribution/round_store.h"

namespace rochdale::attribution {
namespace {

constexpr size_t kGradientsMax = 256;

// The probes of the floor's direction rules, and all of principals: which of these a profile uses
// is the profile's secret.
std::set<ProbeId> ProbesWithGradient(const governance::v1::Cooperative& cooperative,
                                     const std::vector<ProbeInfo>& probes) {
  std::set<ProbeId> wanted;
  for (const common::v1::Rule& rule : cooperative.floor()) {
    if (rule.kind() != common::v1::RULE_KIND_VALUE_DIRECTION) continue;
    for (const std::string& probe : rule.probe_ids()) {
      const auto id = ProbeId::Parse(probe);
      if (id.ok()) wanted.insert(*id);
    }
  }
  for (const ProbeInfo& probe : probes) {
    if (probe.principal && wanted.size() < kGradientsMax) wanted.insert(probe.probe);
  }
  return wanted;
}

}  // namespace

absl::StatusOr<Progress> RoundSteps::Prepare(const RoundRecord& round) {
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
  ASSIGN_OR_RETURN(const config::ParameterSet parameters,
                   governance->Parameters(round.cooperative));
  ASSIGN_OR_RETURN(const ModelRecord model, ModelOf(round));
  RETURN_IF_ERROR(parts_.env.db.Transact(kStepReadTimeout, [&](pg::Transaction& tx) {
    return RequireRegistered(tx, model.cooperative, model.spec);
  }));
  RETURN_IF_ERROR(EnsureGradients(round, model));
  RETURN_IF_ERROR(Fault("gradients"));
  const absl::Time now = Now();
  RoundRecord next = round;
  next.state = RoundState::kOpen;
  next.parameters = ParametersToText(parameters);
  next.opened_us = ToUnixMicros(now);
  next.deadline_us = ToUnixMicros(now + LengthOf(RoundState::kOpen, parameters));
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const auto plan, FindPlan(tx, round.plan));
    if (!plan) return absl::InternalError("a round without its plan");
    ASSIGN_OR_RETURN(const auto document, pg::FindDocument(tx, plan->document));
    if (!document) return absl::InternalError("a plan without its document");
    RETURN_IF_ERROR(Move(tx, next, round.state, now));
    return LogRoundOpened(tx, next, model, *document, now);
  }));
  RETURN_IF_ERROR(Fault("opened"));
  return Progress::kMoved;
}

absl::StatusOr<std::vector<float>> RoundSteps::GradientOf(const ModelRecord& model,
                                                          learning::GridSpan parameters,
                                                          learning::Rows rows) {
  if (model.spec.exact()) return learning::MeanLossGradient(model.spec, parameters, rows);
  ASSIGN_OR_RETURN(const auto process, StartModule(parts_, model.spec));
  RETURN_IF_ERROR(process->SetRows(rows));
  return process->Gradient(parameters);
}

absl::Status RoundSteps::EnsureGradients(const RoundRecord& round, const ModelRecord& model) {
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
  ASSIGN_OR_RETURN(const governance::v1::Cooperative cooperative,
                   governance->GetCooperative(round.cooperative));
  ASSIGN_OR_RETURN(const std::vector<ProbeInfo> probes, filter->ListProbes(round.cooperative));
  std::set<ProbeId> wanted = ProbesWithGradient(cooperative, probes);
  ASSIGN_OR_RETURN(const auto made, Read<std::vector<ProbeGradientRecord>>([&](auto& tx) {
                     return ListGradients(tx, round.round);
                   }));
  for (const ProbeGradientRecord& gradient : made) wanted.erase(gradient.probe);
  if (wanted.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const blob::MappedBlob base, blobs->Get(round.base));
  ASSIGN_OR_RETURN(const learning::GridVector parameters,
                   ParseCheckpoint(base.text(), model.spec));
  for (const ProbeInfo& probe : probes) {
    if (!wanted.contains(probe.probe)) continue;
    RETURN_IF_ERROR(EnsureBlob(probe.data));
    ASSIGN_OR_RETURN(const learning::Dataset rows, LoadRows(probe.data, model.spec));
    ASSIGN_OR_RETURN(const std::vector<float> gradient, GradientOf(model, parameters, rows));
    const std::string file = SerializeGradient(gradient, model.spec);
    const ProbeGradientRecord record{probe.probe, crypto::Sha256(file)};
    RETURN_IF_ERROR(filter->UploadGradient(record.sha256, file));
    RETURN_IF_ERROR(
        Write([&](pg::Transaction& tx) { return InsertGradient(tx, round.round, record); }));
  }
  return absl::OkStatus();
}

absl::StatusOr<Progress> RoundSteps::Announce(const RoundRecord& round) {
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  ASSIGN_OR_RETURN(const ModelRecord model, ModelOf(round));
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  ASSIGN_OR_RETURN(const auto gradients, Read<std::vector<ProbeGradientRecord>>([&](auto& tx) {
                     return ListGradients(tx, round.round);
                   }));
  const int64_t commit_us =
      absl::ToInt64Microseconds(LengthOf(RoundState::kCommit, parameters));
  RETURN_IF_ERROR(filter->OpenScreening(round,
                                        learning::ManifestOf(model.spec, tensor::DType::kF32),
                                        gradients, round.deadline_us + commit_us));
  RETURN_IF_ERROR(Fault("intake opened"));
  RoundRecord next = round;
  next.announced = true;
  RETURN_IF_ERROR(
      Write([&](pg::Transaction& tx) { return Move(tx, next, round.state, Now()); }));
  RETURN_IF_ERROR(Fault("announced"));
  return Progress::kMoved;
}

absl::StatusOr<IntakeProgress> RoundSteps::LookAtIntake(const RoundRecord& round) {
  IntakeProgress progress;
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  ASSIGN_OR_RETURN(const std::vector<IntakeUpdate> updates, filter->ListIntake(round.round));
  std::set<PrincipalId> committed;
  for (const IntakeUpdate& update : updates) {
    committed.insert(update.principal);
    ++progress.committed_all;
    progress.received += update.received;
  }
  if (round.state == RoundState::kReveal) return progress;
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
  ASSIGN_OR_RETURN(const auto mandates,
                   governance->ListMandatesInForce(
                       round.cooperative, governance::v1::MANDATE_ACTION_SUBMIT_UPDATE));
  std::set<PrincipalId> expected;
  for (const governance::v1::MandateRecord& record : mandates) {
    const auto principal = PrincipalId::Parse(record.mandate().principal_id());
    if (principal.ok()) expected.insert(*principal);
  }
  // Once the round is full nobody else can act.
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  progress.expected =
      std::min(static_cast<int64_t>(expected.size()), parameters.Int("round.max_updates"));
  for (const PrincipalId& principal : expected) progress.committed += committed.contains(principal);
  return progress;
}

absl::StatusOr<Progress> RoundSteps::TakeCommitments(const RoundRecord& round) {
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  const bool close_early = parameters.Bool("round.close_early");
  IntakeProgress intake;
  if (close_early && ToUnixMicros(Now()) < round.deadline_us) {
    ASSIGN_OR_RETURN(intake, LookAtIntake(round));
  }
  const absl::Time now = Now();
  if (NextIntakeStep(round.state, ToUnixMicros(now), round.deadline_us, close_early, intake) ==
      IntakeStep::kWait) {
    return Progress::kWaiting;
  }
  RoundRecord next = round;
  if (round.state == RoundState::kOpen) {
    next.state = RoundState::kCommit;
    next.deadline_us = ToUnixMicros(now + LengthOf(RoundState::kCommit, parameters));
  } else {
    next.state = RoundState::kReveal;
    next.deadline_us = ToUnixMicros(now + LengthOf(RoundState::kReveal, parameters));
    // First the filter, so that whoever sees REVEAL can reveal.
    ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
    RETURN_IF_ERROR(
        filter->SetIntake(round.round, Intake::kRevealing, next.deadline_us).status());
    RETURN_IF_ERROR(Fault("revealing"));
  }
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) { return Move(tx, next, round.state, now); }));
  RETURN_IF_ERROR(Fault("commitments taken"));
  return Progress::kMoved;
}

absl::StatusOr<Progress> RoundSteps::TakeReveals(const RoundRecord& round) {
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  const bool close_early = parameters.Bool("round.close_early");
  IntakeProgress intake;
  if (close_early && ToUnixMicros(Now()) < round.deadline_us) {
    ASSIGN_OR_RETURN(intake, LookAtIntake(round));
  }
  const absl::Time now = Now();
  if (NextIntakeStep(round.state, ToUnixMicros(now), round.deadline_us, close_early, intake) ==
      IntakeStep::kWait) {
    return Progress::kWaiting;
  }
  RoundRecord next = round;
  next.state = RoundState::kScreen;
  next.deadline_us = ToUnixMicros(now + LengthOf(RoundState::kScreen, parameters));
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  ASSIGN_OR_RETURN(const IntakeCounts counts,
                   filter->SetIntake(round.round, Intake::kClosed, next.deadline_us));
  RETURN_IF_ERROR(Fault("intake closed"));
  next.received = counts.received;
  if (counts.received < parameters.Int("round.min_updates")) {
    RoundRecord counted = round;
    counted.received = counts.received;
    RETURN_IF_ERROR(Abandon(counted, "MIN_UPDATES"));
    return Progress::kMoved;
  }
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) { return Move(tx, next, round.state, now); }));
  RETURN_IF_ERROR(Fault("reveals taken"));
  return Progress::kMoved;
}

}  // namespace rochdale::attribution
