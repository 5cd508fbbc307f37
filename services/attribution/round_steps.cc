#include "services/attribution/round_steps.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/obs/log.h"
#include "rochdale/governance/v1/governance.pb.h"
#include "services/attribution/engine_writes.h"
#include "services/attribution/entries.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/round_opening.h"
#include "services/attribution/round_steps_read.h"
#include "services/attribution/round_store.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {
namespace {

constexpr uint64_t kFilterBlobBytesMax = uint64_t{2} << 30;
constexpr int kExceptionsPerPass = 100;
constexpr absl::Duration kTellingMax = absl::Hours(1);

}  // namespace

RunId RunIdOf(const RoundId& round, RunPurpose purpose, int generation, int stage) {
  const int kind = static_cast<int>(purpose);
  if (stage == 0) return RunId{crypto::DeterministicId("attribution/run", round, kind, generation)};
  return RunId{crypto::DeterministicId("attribution/run", round, kind, generation, stage)};
}

std::vector<RoundUpdate> ContributorsOf(const std::vector<RoundUpdate>& updates) {
  std::vector<RoundUpdate> contributors;
  for (const RoundUpdate& update : updates) {
    if (update.TakesPart()) contributors.push_back(update);
  }
  return contributors;
}

absl::StatusOr<bool> RoundSteps::IsRolledBack(const RoundRecord& round) {
  if (round.ended() || round.next) return false;
  ASSIGN_OR_RETURN(const auto newest, Read<std::optional<CheckpointRecord>>([&](auto& tx) {
                     return FindNewestCheckpoint(tx, round.cooperative);
                   }));
  return newest && newest->version != round.base_version;
}

absl::StatusOr<Progress> RoundSteps::Advance(const RoundRecord& round) {
  ASSIGN_OR_RETURN(const bool rolled_back, IsRolledBack(round));
  if (rolled_back) {
    RETURN_IF_ERROR(Abandon(round, "ROLLED_BACK"));
    return Progress::kMoved;
  }
  switch (round.state) {
    case RoundState::kPreparing: return Prepare(round);
    case RoundState::kOpen:
      if (!round.announced) return Announce(round);
      return TakeCommitments(round);
    case RoundState::kCommit: return TakeCommitments(round);
    case RoundState::kReveal: return TakeReveals(round);
    case RoundState::kScreen: return Screen(round);
    case RoundState::kEvaluate: return Evaluate(round);
    case RoundState::kApply: return round.next ? Close(round) : Apply(round);
    case RoundState::kClosed:
    case RoundState::kAbandoned: return Progress::kWaiting;
  }
  return Progress::kWaiting;
}

absl::Status RoundSteps::Write(absl::FunctionRef<absl::Status(pg::Transaction&)> change) {
  return EngineWrite(parts_, epoch_, change);
}

absl::StatusOr<ModelRecord> RoundSteps::ModelOf(const RoundRecord& round) {
  ASSIGN_OR_RETURN(auto model, Read<std::optional<ModelRecord>>([&](pg::Transaction& tx) {
                     return FindModel(tx, round.cooperative);
                   }));
  if (!model) return absl::InternalError("a round without its model");
  return *std::move(model);
}

absl::Status RoundSteps::Move(pg::Transaction& tx, const RoundRecord& next, RoundState from,
                              absl::Time now) {
  ASSIGN_OR_RETURN(const bool moved, UpdateRound(tx, next, from));
  if (!moved) return absl::AbortedError("the round is in another state already");
  if (next.state == from) return absl::OkStatus();
  if (!MayFollow(from, next.state)) return absl::InternalError("a round moves on by one state");
  const bool has_own_entry = next.state == RoundState::kOpen ||
                             next.state == RoundState::kClosed ||
                             next.state == RoundState::kAbandoned;
  return has_own_entry ? absl::OkStatus() : LogStateChanged(tx, next, from, now);
}

absl::Status RoundSteps::EnsureBlob(const crypto::Digest& sha256) {
  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
  if (blobs->Exists(sha256)) return absl::OkStatus();
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  ASSIGN_OR_RETURN(const std::string bytes, filter->Download(sha256, kFilterBlobBytesMax));
  return blobs->Put(bytes).status();
}

absl::StatusOr<learning::Dataset> RoundSteps::LoadRows(const crypto::Digest& sha256,
                                                       const learning::ModelSpec& spec) {
  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
  ASSIGN_OR_RETURN(const blob::MappedBlob blob, blobs->Get(sha256));
  return learning::ParseDataset(blob.text(), spec);
}

absl::Status RoundSteps::Fault(absl::string_view step) {
  if (!parts_.options.fault) return absl::OkStatus();
  const absl::Status status = parts_.options.fault(step);
  crashed_ = crashed_ || !status.ok();
  return status;
}

// ---- Runs ----

absl::StatusOr<RoundSteps::RunStep> RoundSteps::EnsureRun(
    const RoundRecord& round, RunPurpose purpose, int stage,
    absl::FunctionRef<absl::StatusOr<RunSpec>()> make) {
  if (stage >= StagesMax(purpose)) return absl::InternalError("an evaluation of too many runs");
  const RunId id = RunIdOf(round.round, purpose, round.generation, stage);
  const auto find = [&](pg::Transaction& tx) { return FindRun(tx, id); };
  ASSIGN_OR_RETURN(auto run, Read<std::optional<RunRecord>>(find));
  if (!run) {
    ASSIGN_OR_RETURN(RunSpec spec, make());
    ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
    RunRecord record;
    record.run = id;
    record.round = round.round;
    record.purpose = purpose;
    RETURN_IF_ERROR(MakeRun(parts_, epoch_, std::move(record), std::move(spec), parameters));
    const std::string name = absl::StrCat("run/", static_cast<int>(purpose));
    RETURN_IF_ERROR(Fault(name));
    if (stage > 0) RETURN_IF_ERROR(Fault(absl::StrCat(name, "/", stage)));
    ASSIGN_OR_RETURN(run, Read<std::optional<RunRecord>>(find));
    if (!run) return absl::InternalError("a run vanished");
  }
  SeeToWorkers(parts_, launcher_, *run);
  RunStep step;
  if (run->state == RunState::kRunning) return step;
  if (run->state == RunState::kDone) {
    step.done = std::move(run);
    return step;
  }
  ASSIGN_OR_RETURN(step.progress, HandleFailedRun(round, *run));
  return step;
}

absl::StatusOr<std::optional<Progress>> RoundSteps::AwaitLastStage(const RoundRecord& round,
                                                                   RunPurpose purpose) {
  ASSIGN_OR_RETURN(const int last, LastStage(round, purpose));
  if (last == 0) return std::nullopt;
  ASSIGN_OR_RETURN(const RunStep step,
                   EnsureRun(round, purpose, last, []() -> absl::StatusOr<RunSpec> {
                     return absl::InternalError("a run vanished");
                   }));
  if (step.done) return std::nullopt;
  return step.progress;
}

absl::StatusOr<Progress> RoundSteps::HandleFailedRun(const RoundRecord& round,
                                                     const RunRecord& run) {
  // After the gate nothing can be taken out any more: what is applied is what was evaluated.
  if (run.reason != "EVALUATION_RANGE" || !run.failed_update ||
      run.purpose == RunPurpose::kAggregate || run.purpose == RunPurpose::kValues) {
    RETURN_IF_ERROR(Abandon(round, run.reason.empty() ? "RUN_FAILED" : run.reason));
    return Progress::kMoved;
  }
  ASSIGN_OR_RETURN(const auto updates, Read<std::vector<RoundUpdate>>([&](pg::Transaction& tx) {
                     return ListRoundUpdates(tx, round.round);
                   }));
  for (const RoundUpdate& update : updates) {
    if (update.update != *run.failed_update || !update.removed_reason.empty()) continue;
    RoundRecord next = round;
    ++next.generation;
    RETURN_IF_ERROR(Write([&](pg::Transaction& tx) -> absl::Status {
      RETURN_IF_ERROR(SetRemoved(tx, update.update, "EVALUATION_RANGE"));
      return Move(tx, next, round.state, Now());
    }));
    return Progress::kMoved;
  }
  RETURN_IF_ERROR(Abandon(round, "EVALUATION_RANGE"));
  return Progress::kMoved;
}

absl::StatusOr<std::vector<std::vector<int64_t>>> RoundSteps::LossesOf(const RunRecord& run) {
  ASSIGN_OR_RETURN(const RunSpec spec, ParseRunSpec(run.spec));
  ASSIGN_OR_RETURN(const auto results, Read<std::vector<ShardResult>>([&](pg::Transaction& tx) {
                     return ListResults(tx, run.run);
                   }));
  return AssembleLosses(spec, results);
}

// ---- Ends ----

absl::Status RoundSteps::Abandon(const RoundRecord& round, absl::string_view reason) {
  const absl::Time now = Now();
  RoundRecord next = round;
  next.state = RoundState::kAbandoned;
  next.reason = std::string(reason);
  next.seed = parts_.secrets.RoundSeed(round.round);
  next.closed_event = EventOf("ABANDONED", round.round.value);
  next.closed_us = ToUnixMicros(now);
  next.filter_told = round.state == RoundState::kPreparing;  // it never heard of the round
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(Move(tx, next, round.state, now));
    RETURN_IF_ERROR(CancelRuns(tx, round.round, "ROUND_ABANDONED", ToUnixMicros(now)));
    RETURN_IF_ERROR(DeleteResults(tx, round.round));
    RETURN_IF_ERROR(LogRoundAbandoned(tx, next, now));
    ASSIGN_OR_RETURN(const std::vector<RoundUpdate> updates, ListRoundUpdates(tx, round.round));
    for (const RoundUpdate& update : updates) {
      if (!update.admitted) continue;
      RETURN_IF_ERROR(
          LogUpdateNotApplied(tx, next, update, "NOT_APPLIED_ABANDONED", nullptr, now));
    }
    ASSIGN_OR_RETURN(const auto plan, FindPlan(tx, round.plan));
    if (!plan) return absl::InternalError("a round without its plan");
    if (round.number >= plan->last_number) return absl::OkStatus();
    return InsertNextRound(tx, parts_.secrets, *plan, round.number + 1, now).status();
  }));
  parts_.env.logger.Warning("a round was abandoned", obs::Fields()
                                                         .Text("round", round.round.ToString())
                                                         .Int("number", round.number)
                                                         .Text("reason", reason));
  if (launcher_ == nullptr) return absl::OkStatus();
  for (const RunPurpose purpose :
       {RunPurpose::kMeasure, RunPurpose::kGame, RunPurpose::kValues, RunPurpose::kAggregate}) {
    for (int stage = 0; stage < StagesMax(purpose); ++stage) {
      launcher_->Stop(RunIdOf(round.round, purpose, round.generation, stage));
    }
  }
  return absl::OkStatus();
}

absl::Status RoundSteps::TellFilter(const RoundRecord& round) {
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  absl::Status told;
  if (round.state == RoundState::kAbandoned) {
    told = filter->SetIntake(round.round, Intake::kAbandoned, round.closed_us.value()).status();
    if (absl::IsNotFound(told)) told = absl::OkStatus();  // it was never opened there
  } else {
    ASSIGN_OR_RETURN(const std::vector<Outcome> outcomes, FinalOutcomes(round));
    told = filter->RecordOutcomes(round.round, "final", outcomes);
  }
  if (!told.ok() && Now() < absl::FromUnixMicros(*round.closed_us) + kTellingMax) return told;
  if (!told.ok()) {
    parts_.env.logger.Error("the filter was never told how a round ended",
                            obs::Fields()
                                .Text("round", round.round.ToString())
                                .Text("cause", told.ToString()));
  }
  return Write([&](pg::Transaction& tx) { return SetFilterTold(tx, round.round); });
}

absl::Status RoundSteps::SendExceptions() {
  ASSIGN_OR_RETURN(const auto unsent, Read<std::vector<ExceptionRecord>>([&](pg::Transaction& tx) {
                     return ListUnsentExceptions(tx, kExceptionsPerPass);
                   }));
  if (unsent.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
  for (const ExceptionRecord& exception : unsent) {
    governance::v1::GovernanceException out;
    out.set_exception_id(exception.exception.ToString());
    out.set_cooperative_id(exception.cooperative.ToString());
    out.set_kind(static_cast<governance::v1::ExceptionKind>(exception.kind));
    out.set_subject_id(exception.subject.ToString());
    out.set_description(exception.description);
    if (exception.evidence) out.set_evidence_sha256(exception.evidence->ToString());
    RETURN_IF_ERROR(governance->RaiseException(out));
    RETURN_IF_ERROR(
        Write([&](pg::Transaction& tx) { return SetExceptionSent(tx, exception.exception); }));
  }
  return absl::OkStatus();
}

}  // namespace rochdale::attribution
