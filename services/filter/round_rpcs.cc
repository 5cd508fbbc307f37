// Rpcs of attribution: a round's intake, screening, decisions and outcomes.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/database.h"
#include "libs/rpc/document.h"
#include "libs/rpc/handle.h"
#include "libs/service/mutation.h"
#include "services/filter/convert.h"
#include "services/filter/deciding.h"
#include "services/filter/filter_service.h"
#include "services/filter/intake_store.h"
#include "services/filter/screening.h"

namespace rochdale::filter {
namespace {

namespace tag = crypto::tag;
namespace kind = crypto::kind;

constexpr int kUpdatesMax = 100'000;
constexpr int kProbesMax = 10'000;
constexpr int kBoundsMax = 256;

std::vector<Update> WithState(const std::vector<Update>& updates,
                              std::initializer_list<UpdateState> states) {
  std::vector<Update> found;
  for (const Update& update : updates) {
    if (std::find(states.begin(), states.end(), update.state) != states.end()) {
      found.push_back(update);
    }
  }
  return found;
}

// A floor rule is measured on the cooperative's own probes, a profile's on these and on those of
// the update's principal: nobody's rules reach into another's probes.
bool MayMeasure(const std::optional<Probe>& probe, const Update& update, bool for_floor) {
  if (!probe || probe->cooperative != update.cooperative) return false;
  return !probe->principal || (!for_floor && *probe->principal == update.principal);
}

// Where an outcome may follow: forward only, and never from REJECTED or EXPIRED.
bool MayBecome(UpdateState from, UpdateState to) {
  const bool in_play = from == UpdateState::kAdmitted || from == UpdateState::kProjected ||
                       from == UpdateState::kEvaluated;
  switch (to) {
    case UpdateState::kEvaluated:
      return from == UpdateState::kAdmitted || from == UpdateState::kProjected;
    case UpdateState::kApplied:
    case UpdateState::kNotApplied:
      return in_play;
    case UpdateState::kSettled:
      return from == UpdateState::kApplied || from == UpdateState::kNotApplied;
    default:
      return false;
  }
}

}  // namespace

absl::StatusOr<std::vector<Update>> AllUpdates(pg::Transaction& tx, const RoundId& round) {
  return ListUpdates(tx, round, 0, kUpdatesMax);
}

absl::StatusOr<RuleSet> FilterService::FloorOf(const rpc::Call& call,
                                               const CooperativeId& cooperative,
                                               int64_t* rules_version) {
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, Governance());
  ASSIGN_OR_RETURN(const governance::v1::Cooperative found,
                   governance->GetCooperative(cooperative));
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, governance->Parameters(cooperative));
  *rules_version = found.rules_version();
  ASSIGN_OR_RETURN(const std::vector<Probe> probes,
                   env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                     return filter::ListProbes(tx, cooperative, {}, false, "", kProbesMax);
                   }));
  std::map<ProbeId, bool> is_protected;
  for (const Probe& probe : probes) is_protected[probe.id] = probe.is_protected;
  return FloorRules(found, parameters, is_protected);
}

absl::StatusOr<std::vector<RuleSet>> FilterService::ProfilesOf(const rpc::Call& call,
                                                               const Round& round,
                                                               const std::vector<Update>& updates) {
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, Governance());
  ASSIGN_OR_RETURN(const config::ParameterSet parameters,
                   governance->Parameters(round.cooperative));
  return env_.db.Transact(
      call.deadline, [&](pg::Transaction& tx) -> absl::StatusOr<std::vector<RuleSet>> {
        std::vector<RuleSet> sets;
        for (const Update& update : updates) {
          ASSIGN_OR_RETURN(const auto stored, FindProfile(tx, update.cooperative, update.principal,
                                                          update.profile_version));
          if (!stored) return absl::InternalError("an update without its profile");
          ASSIGN_OR_RETURN(const auto profile,
                           rpc::ParseDocument<v1::ValueProfile>(stored->document));
          sets.push_back(ProfileRules(profile, round.scenario, parameters));
        }
        return sets;
      });
}

grpc::Status FilterService::OpenScreening(grpc::ServerContext* context,
                                          const v1::OpenScreeningRequest* request,
                                          v1::OpenScreeningResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const OpeningRound opening, ParseOpening(*request));
    for (const ProbeGradient& gradient : opening.gradients) {
      if (!store_.Exists(gradient.gradient)) {
        return Error("UPLOAD_INCOMPLETE", "upload the gradients first");
      }
    }
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const bool inserted, InsertRound(tx, opening.round, opening.gradients));
      if (!inserted) return Error("ALREADY_EXISTS", "the round is open already");
      return absl::OkStatus();
    });
  });
}

grpc::Status FilterService::SetIntakeState(grpc::ServerContext* context,
                                           const v1::SetIntakeStateRequest* request,
                                           v1::SetIntakeStateResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RoundId id, ParseId<RoundId>(request->round_id(), "round_id"));
    FieldErrors errors;
    if (request->state() == v1::INTAKE_STATE_UNSPECIFIED ||
        !v1::IntakeState_IsValid(request->state())) {
      errors.Add("state", "must be a state");
    }
    RETURN_IF_ERROR(errors.ToStatus());
    const IntakeState wanted = static_cast<IntakeState>(request->state());
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const std::optional<Round> round, FindRoundForUpdate(tx, id));
      if (!round) return Error("NOT_FOUND", "no such round");
      if (wanted < round->intake) return Error("ROUND_STATE", "intake never goes back");
      RETURN_IF_ERROR(SetIntake(tx, id, wanted, absl::FromUnixMicros(request->deadline_us())));
      ASSIGN_OR_RETURN(const std::vector<Update> updates, AllUpdates(tx, id));
      response->set_committed(static_cast<int64_t>(updates.size()));
      response->set_received(
          static_cast<int64_t>(WithState(updates, {UpdateState::kReceived}).size()));
      if (wanted != IntakeState::kClosed && wanted != IntakeState::kAbandoned) {
        return absl::OkStatus();
      }
      for (const Update& late : WithState(updates, {UpdateState::kCommitted})) {
        RETURN_IF_ERROR(SetUpdateState(tx, late.id, UpdateState::kExpired, ""));
        crypto::EntryBuilder entry(kind::kUpdateExpired, EventId{env_.ids.New(call.now)}, call.now);
        RETURN_IF_ERROR(Log(tx, entry.Cooperative(late.cooperative)
                                    .Subject(late.id)
                                    .AuthorisedBy(late.commitment_event)
                                    .Id(tag::kRound, late.round)));
      }
      if (wanted != IntakeState::kAbandoned) return absl::OkStatus();
      for (const Update& update :
           WithState(updates, {UpdateState::kReceived, UpdateState::kScreening,
                               UpdateState::kAdmitted, UpdateState::kProjected,
                               UpdateState::kInReview, UpdateState::kEvaluated})) {
        RETURN_IF_ERROR(SetUpdateState(tx, update.id, UpdateState::kNotApplied,
                                       "NOT_APPLIED_ABANDONED"));
      }
      return absl::OkStatus();
    });
  });
}

grpc::Status FilterService::ScreenRound(grpc::ServerContext* context,
                                        const v1::ScreenRoundRequest* request,
                                        v1::ScreenRoundResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RoundId id, ParseId<RoundId>(request->round_id(), "round_id"));
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, Governance());
    ASSIGN_OR_RETURN(const Round round, env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return NeedRound(tx, id);
    }));
    if (round.intake != IntakeState::kClosed) {
      return Error("ROUND_STATE", "intake must be closed before screening");
    }
    if (round.decided) {
      // A repetition gets its answer; what has been decided is never screened again.
      return service::Mutate(env_.db, call, *request, response, [](pg::Transaction&) {
        return Error("ROUND_STATE", "the round has been decided");
      });
    }
    ASSIGN_OR_RETURN(const config::ParameterSet parameters,
                     governance->Parameters(round.cooperative));
    ScreeningInput input;
    input.manifest = round.manifest;
    input.clip_micro = parameters.Micro("clip.norm_factor_micro");
    input.unattested_together = parameters.Text("lineage.unattested") == "together";
    input.originality = {parameters.Micro("originality.r1_max_micro"),
                         parameters.Micro("originality.ev_max_micro")};
    RETURN_IF_ERROR(env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const std::vector<Update> updates, AllUpdates(tx, id));
      input.received = WithState(updates, {UpdateState::kReceived, UpdateState::kScreening});
      input.recent.clear();
      ASSIGN_OR_RETURN(const std::vector<Round> recent,
                       FindRecentRounds(tx, round, parameters.Int("originality.rounds_back")));
      for (const Round& earlier : recent) {
        ASSIGN_OR_RETURN(const std::vector<Update> theirs, AllUpdates(tx, earlier.id));
        for (const Update& update : theirs) {
          if (update.lineage_principal) input.recent.push_back(update);
        }
      }
      ASSIGN_OR_RETURN(input.gradients, ListGradients(tx, id));
      return absl::OkStatus();
    }));
    for (const Update& update : input.received) {
      ASSIGN_OR_RETURN(const auto authority,
                       governance->CheckAuthority(update.cooperative, update.agent,
                                                  governance::v1::MANDATE_ACTION_SUBMIT_UPDATE));
      input.authority.push_back(authority.allowed()
                                    ? absl::OkStatus()
                                    : Error(authority.reason(), "the agent may not submit"));
      ASSIGN_OR_RETURN(input.ownership.emplace_back(), OwnershipOf(authority));
    }
    int64_t rules_version = 0;
    ASSIGN_OR_RETURN(input.floor, FloorOf(call, round.cooperative, &rules_version));
    ASSIGN_OR_RETURN(input.profiles, ProfilesOf(call, round, input.received));
    ASSIGN_OR_RETURN(const ScreeningOutput output, Screen(input, store_));
    const std::vector<Uuid> of_floor = ProbesToMeasure(absl::MakeConstSpan(&input.floor, 1));

    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const std::optional<Round> now, FindRoundForUpdate(tx, id));
      if (now->decided) return Error("ROUND_STATE", "the round has been decided");
      RETURN_IF_ERROR(SetScreened(tx, id, output.lineages));
      response->set_lineages(output.lineages);
      std::map<Uuid, std::optional<Probe>> probes;
      std::set<Uuid> needed;
      for (const Screened& screened : output.updates) {
        const Update& update = screened.update;
        RETURN_IF_ERROR(SetScreening(tx, update));
        v1::ScreenedUpdate& out = *response->add_updates();
        out.set_update_id(update.id.ToString());
        out.set_principal_id(update.principal.ToString());
        out.set_agent_id(update.agent.ToString());
        if (update.effective && !screened.denied) {
          out.set_effective_sha256(update.effective->ToString());
        }
        out.set_lineage_id(update.lineage->ToString());
        out.set_denied(screened.denied);
        out.set_sample_count(update.sample_count);
        out.set_outside(!update.lineage_principal);
        for (const Uuid& probe : screened.probes) {
          if (!probes.count(probe)) {
            ASSIGN_OR_RETURN(probes[probe], FindProbe(tx, ProbeId{probe}));
          }
          const bool for_floor = std::binary_search(of_floor.begin(), of_floor.end(), probe);
          // What may not be measured is left out: its rules err, and deny or ask for review.
          if (!MayMeasure(probes[probe], update, for_floor)) continue;
          out.add_probe_ids(probe.ToString());
          needed.insert(probe);
          const auto early = screened.early_bounds.find(probe);
          if (early == screened.early_bounds.end() || probes[probe]->is_protected) continue;
          v1::EarlyBound& bound = *out.add_early_bounds();
          bound.set_probe_id(probe.ToString());
          bound.set_bound_nanonats(early->second);
        }
      }
      for (const Uuid& probe_id : needed) {
        v1::ProbeData& data = *response->add_probes();
        data.set_probe_id(probe_id.ToString());
        data.set_data_sha256(probes[probe_id]->data.ToString());
        data.set_rows(probes[probe_id]->rows);
      }
      for (const auto& [probe_id, eps] : AggregateBounds(input.floor)) {
        if (!probes.count(probe_id)) {
          ASSIGN_OR_RETURN(probes[probe_id], FindProbe(tx, ProbeId{probe_id}));
        }
        const std::optional<Probe>& probe = probes[probe_id];
        // A rule about any other probe errs, and has denied every update.
        if (!probe || probe->cooperative != round.cooperative || probe->principal) continue;
        if (response->aggregate_bounds_size() == kBoundsMax) {
          return Error("RULE_ERROR", "the floor bounds more than 256 probes");
        }
        v1::AggregateBound& bound = *response->add_aggregate_bounds();
        bound.set_probe_id(probe_id.ToString());
        bound.set_data_sha256(probe->data.ToString());
        bound.set_eps_nanonats(eps);
      }
      return absl::OkStatus();
    });
  });
}

grpc::Status FilterService::DecideRound(grpc::ServerContext* context,
                                        const v1::DecideRoundRequest* request,
                                        v1::DecideRoundResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RoundId id, ParseId<RoundId>(request->round_id(), "round_id"));
    DecidingInput input;
    ASSIGN_OR_RETURN(input.measurements, ParseMeasurements(*request));
    input.evidence_sha256 = request->evidence_sha256();
    Round round;
    RETURN_IF_ERROR(env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(round, NeedRound(tx, id));
      ASSIGN_OR_RETURN(const std::vector<Update> updates, AllUpdates(tx, id));
      input.updates = WithState(updates, {UpdateState::kScreening});
      return absl::OkStatus();
    }));
    if (!round.lineages) return Error("ROUND_STATE", "the round has not been screened");
    ASSIGN_OR_RETURN(input.floor, FloorOf(call, round.cooperative, &input.rules_version));
    ASSIGN_OR_RETURN(input.profiles, ProfilesOf(call, round, input.updates));
    ASSIGN_OR_RETURN(const std::vector<Decided> decided, DecideAll(input));
    std::vector<StoredDecision> records;
    for (size_t i = 0; i < decided.size(); ++i) {
      const crypto::Salt salt = crypto::Salt::Generate(random_);
      records.push_back({input.updates[i].id, static_cast<int>(decided[i].decision.verdict),
                         decided[i].fit_micro, FindingsToJson(decided[i].decision.findings),
                         DecisionBody(input.updates[i], decided[i], input, salt), salt, call.now,
                         EventId{env_.ids.New(call.now)}});
    }
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const std::optional<Round> now, FindRoundForUpdate(tx, id));
      for (size_t i = 0; i < records.size() && !now->decided; ++i) {
        const Update& update = input.updates[i];
        const StoredDecision& record = records[i];
        RETURN_IF_ERROR(InsertDecision(tx, record));
        RETURN_IF_ERROR(SetUpdateState(tx, update.id, decided[i].state, decided[i].reason));
        RETURN_IF_ERROR(SetDecisionEvent(tx, update.id, record.event));
        crypto::EntryBuilder entry(kind::kDecisionMade, record.event, call.now);
        entry.Cooperative(update.cooperative)
            .Subject(update.id)
            .AuthorisedBy(update.commitment_event)
            .Id(tag::kRound, update.round)
            .Digest(tag::kDecisionDigest, crypto::Sha256(record.body))
            .U64(tag::kVerdict, static_cast<uint64_t>(record.verdict))
            .U64(tag::kRulesVersion, static_cast<uint64_t>(input.rules_version));
        if (update.effective) entry.Digest(tag::kEffectiveDigest, *update.effective);
        if (update.lineage_principal) entry.Id(tag::kLineage, *update.lineage);
        ASSIGN_OR_RETURN(const Ownership ownership, OwnershipFromJson(update.facts));
        if (ownership.attestation) entry.Id(tag::kAttestation, *ownership.attestation);
        if (!decided[i].reason.empty()) entry.Text(tag::kReason, decided[i].reason);
        RETURN_IF_ERROR(Log(tx, entry));
      }
      RETURN_IF_ERROR(SetDecided(tx, id));
      ASSIGN_OR_RETURN(const std::vector<Update> updates, AllUpdates(tx, id));
      for (const Update& update : updates) ToProto(update, true, *response->add_updates());
      return absl::OkStatus();
    });
  });
}

grpc::Status FilterService::RecordOutcomes(grpc::ServerContext* context,
                                           const v1::RecordOutcomesRequest* request,
                                           v1::RecordOutcomesResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RoundId id, ParseId<RoundId>(request->round_id(), "round_id"));
    FieldErrors errors;
    if (request->outcomes_size() > 8'190) errors.Add("outcomes", "at most 8,190");
    RETURN_IF_ERROR(errors.ToStatus());
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      RETURN_IF_ERROR(FindRoundForUpdate(tx, id).status());
      for (const v1::UpdateOutcome& outcome : request->outcomes()) {
        ASSIGN_OR_RETURN(const UpdateId update_id,
                         ParseId<UpdateId>(outcome.update_id(), "outcomes.update_id"));
        ASSIGN_OR_RETURN(const Update update, NeedUpdate(tx, update_id));
        const UpdateState wanted = static_cast<UpdateState>(outcome.state());
        if (update.round != id) return Error("NOT_FOUND", "the update is not of this round");
        if (call.identity.IsService("payout") && wanted != UpdateState::kSettled) {
          return Error("PERMISSION_DENIED", "payout settles; attribution says what was applied");
        }
        if (update.state == wanted) continue;
        if (!MayBecome(update.state, wanted)) {
          return Error("ROUND_STATE", absl::StrCat("update ", update_id.ToString(),
                                                   " cannot take this outcome"));
        }
        RETURN_IF_ERROR(SetUpdateState(tx, update_id, wanted, outcome.reason()));
      }
      return absl::OkStatus();
    });
  });
}

}  // namespace rochdale::filter
