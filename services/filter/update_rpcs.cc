// Rpcs of agents about their updates, and what others may see of them.
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/database.h"
#include "libs/pg/documents.h"
#include "libs/rpc/document.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/paging.h"
#include "libs/service/mutation.h"
#include "services/filter/convert.h"
#include "services/filter/filter_service.h"
#include "services/filter/intake_store.h"
#include "services/filter/screening.h"

namespace rochdale::filter {
namespace {

namespace tag = crypto::tag;
namespace kind = crypto::kind;

constexpr absl::Duration kWatchPause = absl::Milliseconds(200);

absl::Status RequireIntake(const Round& round, IntakeState state, absl::Time now) {
  if (round.intake != state) {
    return Error("ROUND_NOT_ACCEPTING", "the round does not accept this step now");
  }
  if (now > round.deadline) return Error("ROUND_NOT_ACCEPTING", "the deadline has passed");
  return absl::OkStatus();
}

bool IsFinal(UpdateState state) {
  return state == UpdateState::kRejected || state == UpdateState::kSettled ||
         state == UpdateState::kExpired || state == UpdateState::kNotTaken ||
         state == UpdateState::kApplied || state == UpdateState::kNotApplied;
}

}  // namespace

absl::StatusOr<Round> NeedRound(pg::Transaction& tx, const RoundId& id) {
  ASSIGN_OR_RETURN(const std::optional<Round> found, FindRound(tx, id));
  if (!found) return Error("NOT_FOUND", "no such round");
  return *found;
}

absl::StatusOr<Update> NeedUpdate(pg::Transaction& tx, const UpdateId& id) {
  ASSIGN_OR_RETURN(const std::optional<Update> found, FindUpdate(tx, id));
  if (!found) return Error("NOT_FOUND", "no such update");
  return *found;
}

bool FilterService::MaySeeReasons(const rpc::Call& call, const Update& update) const {
  rpc::GovernanceClient* const governance = governance_.load();
  return call.identity.kind == rpc::IdentityKind::kService ||
         call.identity.principal == update.principal ||
         (governance != nullptr &&
          governance->RequireFounder(update.cooperative, call.identity.public_key).ok());
}

grpc::Status FilterService::CommitUpdate(grpc::ServerContext* context,
                                         const v1::CommitUpdateRequest* request,
                                         v1::CommitUpdateResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const SignedCommitment wanted, ParseCommitment(request->commitment()));
    if (call.identity.public_key != wanted.document.public_key ||
        call.identity.agent != wanted.agent) {
      return Error("PERMISSION_DENIED", "an update is committed to by the agent that signed it");
    }
    ASSIGN_OR_RETURN(const Round seen, env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return NeedRound(tx, wanted.round);
    }));
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, Governance());
    ASSIGN_OR_RETURN(const auto authority,
                     governance->CheckAuthority(seen.cooperative, wanted.agent,
                                                governance::v1::MANDATE_ACTION_SUBMIT_UPDATE));
    if (!authority.allowed()) return Error(authority.reason(), "the agent may not submit updates");
    ASSIGN_OR_RETURN(const config::ParameterSet parameters,
                     governance->Parameters(seen.cooperative));
    if (wanted.size_bytes > parameters.Int("update.max_bytes")) {
      return Error("UPLOAD_TOO_LARGE", absl::StrCat("an update has at most ",
                                                    parameters.Int("update.max_bytes"), " bytes"));
    }
    Update update;
    update.id = wanted.update;
    update.round = wanted.round;
    update.cooperative = seen.cooperative;
    update.agent = wanted.agent;
    ASSIGN_OR_RETURN(update.principal, PrincipalId::Parse(authority.principal_id()));
    update.digest = wanted.digest;
    update.size_bytes = wanted.size_bytes;
    update.sample_count = wanted.sample_count;
    update.committed = call.now;
    update.commitment_event = EventId{env_.ids.New(call.now)};
    ASSIGN_OR_RETURN(update.mandate, MandateId::Parse(authority.mandate_id()));
    update.consents_to_publication = authority.consents_to_publication();
    ASSIGN_OR_RETURN(const EventId mandate_event,
                     EventId::Parse(authority.mandate_entry().event_id()));
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const std::optional<Round> round, FindRoundForUpdate(tx, wanted.round));
      RETURN_IF_ERROR(RequireIntake(*round, IntakeState::kCommitting, call.now));
      if (round->commitments >= parameters.Int("round.max_updates")) {
        return Error("ROUND_FULL", absl::StrCat("the round has its ", round->commitments,
                                                " commitments; commit early in the next one"));
      }
      if (wanted.base != round->base) {
        return Error("STALE_CHECKPOINT", "the update was made against another base checkpoint");
      }
      ASSIGN_OR_RETURN(const auto profile,
                       FindProfile(tx, update.cooperative, update.principal));
      if (!profile) return Error("PROFILE_MISSING", "the principal has set no value profile");
      Update committed = update;
      committed.profile_version = profile->version;
      committed.commitment_number = round->commitments + 1;
      RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
      RETURN_IF_ERROR(InsertUpdate(tx, committed));
      RETURN_IF_ERROR(SetCommitments(tx, round->id, committed.commitment_number));
      crypto::EntryBuilder entry(kind::kUpdateCommitted, committed.commitment_event, call.now);
      RETURN_IF_ERROR(Log(tx, entry.Cooperative(committed.cooperative)
                                  .Subject(committed.id)
                                  .AuthorisedBy(mandate_event)
                                  .Id(tag::kPrincipal, committed.principal)
                                  .Id(tag::kAgent, committed.agent)
                                  .Id(tag::kRound, committed.round)
                                  .Digest(tag::kUpdateCommitment, committed.digest)
                                  .Id(tag::kMandate, committed.mandate)
                                  .U64(tag::kSizeBytes, static_cast<uint64_t>(committed.size_bytes))
                                  .Document(wanted.document)));
      ToProto(committed, true, *response->mutable_update());
      return absl::OkStatus();
    });
  });
}

grpc::Status FilterService::RevealUpdate(grpc::ServerContext* context,
                                         const v1::RevealUpdateRequest* request,
                                         v1::RevealUpdateResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const UpdateId id, ParseId<UpdateId>(request->update_id(), "update_id"));
    Update update;
    Round round;
    RETURN_IF_ERROR(env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(update, NeedUpdate(tx, id));
      if (call.identity.agent != update.agent) return Error("NOT_FOUND", "no such update");
      ASSIGN_OR_RETURN(round, NeedRound(tx, update.round));
      ASSIGN_OR_RETURN(const bool uploaded,
                       HasUpload(tx, call.identity.ToString(), common_v1::BLOB_PURPOSE_UPDATE,
                                 update.digest));
      if (!uploaded) return Error("UPLOAD_INCOMPLETE", "upload the committed bytes first");
      return absl::OkStatus();
    }));
    if (update.state == UpdateState::kCommitted) {
      RETURN_IF_ERROR(RequireIntake(round, IntakeState::kRevealing, call.now));
      // The bytes are looked at outside of any transaction: this may read gigabytes.
      ASSIGN_OR_RETURN(const blob::MappedBlob blob, store_.Get(update.digest));
      if (static_cast<int64_t>(blob.size()) != update.size_bytes) {
        return Error("COMMITMENT_MISMATCH", "the bytes have another size than was committed to");
      }
      RETURN_IF_ERROR(CheckDelta(blob.bytes(), round.manifest));
    }
    const EventId event{env_.ids.New(call.now)};
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const std::optional<Round> now, FindRoundForUpdate(tx, round.id));
      ASSIGN_OR_RETURN(std::optional<Update> current, FindUpdateForUpdate(tx, id));
      if (current->state == UpdateState::kCommitted) {
        RETURN_IF_ERROR(RequireIntake(*now, IntakeState::kRevealing, call.now));
        current->state = UpdateState::kReceived;
        RETURN_IF_ERROR(SetUpdateState(tx, id, current->state, ""));
        crypto::EntryBuilder entry(kind::kUpdateReceived, event, call.now);
        RETURN_IF_ERROR(Log(tx, entry.Cooperative(current->cooperative)
                                    .Subject(current->id)
                                    .AuthorisedBy(current->commitment_event)
                                    .Id(tag::kRound, current->round)
                                    .Digest(tag::kUpdateDigest, current->digest)
                                    .U64(tag::kSizeBytes,
                                         static_cast<uint64_t>(current->size_bytes))
                                    .Id(tag::kMandate, current->mandate)));
      } else if (current->state == UpdateState::kExpired) {
        return Error("ROUND_NOT_ACCEPTING", "the update was not revealed in time");
      }
      ToProto(*current, true, *response->mutable_update());
      return absl::OkStatus();
    });
  });
}

grpc::Status FilterService::GetUpdate(grpc::ServerContext* context,
                                      const v1::GetUpdateRequest* request,
                                      v1::GetUpdateResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const UpdateId id, ParseId<UpdateId>(request->update_id(), "update_id"));
    ASSIGN_OR_RETURN(const Update found,
                     env_.db.Transact(call.deadline,
                                      [&](pg::Transaction& tx) { return NeedUpdate(tx, id); }));
    ToProto(found, MaySeeReasons(call, found), *response->mutable_update());
    return absl::OkStatus();
  });
}

grpc::Status FilterService::ListUpdates(grpc::ServerContext* context,
                                        const v1::ListUpdatesRequest* request,
                                        v1::ListUpdatesResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RoundId id, ParseId<RoundId>(request->round_id(), "round_id"));
    const std::string binding = absl::StrCat("ListUpdates/", id.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    int64_t after = 0;
    if (!page.first() && !absl::SimpleAtoi(page.after[0], &after)) {
      return Error("PAGE_TOKEN_INVALID", "the page token is malformed");
    }
    ASSIGN_OR_RETURN(const std::vector<Update> updates,
                     env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return filter::ListUpdates(tx, id, after, page.size + 1);
                     }));
    for (const Update& update : updates) {
      if (response->updates_size() == page.size) {
        response->set_next_page_token(rpc::MakePageToken(
            binding, {absl::StrCat(response->updates(page.size - 1).commitment_number())}));
        break;
      }
      ToProto(update, MaySeeReasons(call, update), *response->add_updates());
    }
    return absl::OkStatus();
  });
}

grpc::Status FilterService::WatchUpdate(grpc::ServerContext* context,
                                        const v1::WatchUpdateRequest* request,
                                        grpc::ServerWriter<v1::WatchUpdateResponse>* writer) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const UpdateId id, ParseId<UpdateId>(request->update_id(), "update_id"));
    std::optional<UpdateState> sent;
    while (!call.Ended()) {
      ASSIGN_OR_RETURN(const Update update,
                       env_.db.Transact(absl::Seconds(5), [&](pg::Transaction& tx) {
                         return NeedUpdate(tx, id);
                       }));
      if (call.identity.principal != update.principal) return Error("NOT_FOUND", "no such update");
      if (sent != update.state) {
        v1::WatchUpdateResponse response;
        ToProto(update, true, *response.mutable_update());
        if (!writer->Write(response)) break;
        sent = update.state;
      }
      if (IsFinal(update.state)) break;
      std::this_thread::sleep_for(absl::ToChronoMilliseconds(kWatchPause));
    }
    return absl::OkStatus();
  });
}

grpc::Status FilterService::GetDecision(grpc::ServerContext* context,
                                        const v1::GetDecisionRequest* request,
                                        v1::GetDecisionResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const UpdateId id, ParseId<UpdateId>(request->update_id(), "update_id"));
    Update update;
    std::optional<StoredDecision> decision;
    RETURN_IF_ERROR(env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(update, NeedUpdate(tx, id));
      ASSIGN_OR_RETURN(decision, FindDecision(tx, id));
      return absl::OkStatus();
    }));
    if (!decision || !MaySeeReasons(call, update)) {
      return Error("NOT_FOUND", "no decision yet, or it is not yours to see");
    }
    const bool own = call.identity.principal == update.principal;
    return ToProto(*decision, update, own, *response->mutable_decision());
  });
}

grpc::Status FilterService::GetDocument(grpc::ServerContext* context,
                                        const v1::GetDocumentRequest* request,
                                        v1::GetDocumentResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    FieldErrors errors;
    const crypto::Digest digest =
        rpc::TakeDigest(request->document_sha256(), "document_sha256", errors);
    RETURN_IF_ERROR(errors.ToStatus());
    ASSIGN_OR_RETURN(const std::optional<crypto::SignedDocument> found,
                     env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return pg::FindDocument(tx, digest);
                     }));
    // What a principal values is nobody else's to read.
    const bool shown = found && (found->type == v1::UpdateCommitment::descriptor()->full_name() ||
                                 found->public_key == call.identity.public_key);
    if (!shown) return Error("NOT_FOUND", "no such document, or it is not yours to see");
    rpc::ToProto(*found, *response->mutable_document());
    return absl::OkStatus();
  });
}

}  // namespace rochdale::filter
