// Rpcs about rounds, credits, evidence and runs, and the transfer of blobs.
#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/database.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/paging.h"
#include "libs/service/mutation.h"
#include "services/attribution/attribution_service.h"
#include "services/attribution/convert.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/round_store.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {
namespace {

constexpr int kRetiredRoundsMax = 1'000;
constexpr absl::Duration kWatchPause = absl::Milliseconds(500);
constexpr absl::Duration kWatchQuery = absl::Seconds(5);

}  // namespace

absl::Status AttributionService::RequireInsider(const rpc::Call& call,
                                                const CooperativeId& cooperative) {
  if (call.identity.kind == rpc::IdentityKind::kService) return absl::OkStatus();
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
  if (governance->RequireFounder(cooperative, call.identity.public_key).ok()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const bool member,
                   governance->IsMember(cooperative, call.identity.principal));
  if (member) return absl::OkStatus();
  return Error("NOT_A_MEMBER", "only members of the cooperative may see this");
}

grpc::Status AttributionService::GetRound(grpc::ServerContext* context,
                                          const v1::GetRoundRequest* request,
                                          v1::GetRoundResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const auto id, ParseOptional<RoundId>(request->round_id(), "round_id"));
    ASSIGN_OR_RETURN(const auto cooperative,
                     ParseOptional<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    if (!id && !cooperative) return Error("BAD_REQUEST", "name a round or a cooperative");
    ASSIGN_OR_RETURN(const auto round,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return id ? FindRound(tx, *id) : FindNewestRound(tx, *cooperative);
                     }));
    if (!round) return Error("NOT_FOUND", "no such round");
    ToProto(*round, ToUnixMicros(call.now), *response->mutable_round());
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::ListRounds(grpc::ServerContext* context,
                                            const v1::ListRoundsRequest* request,
                                            v1::ListRoundsResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId cooperative,
                     ParseField<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    const std::string binding = absl::StrCat("ListRounds/", cooperative.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    int64_t after = 0;
    if (!page.first() && !absl::SimpleAtoi(page.after[0], &after)) {
      return Error("PAGE_TOKEN_INVALID", "the page token is malformed");
    }
    ASSIGN_OR_RETURN(const auto found,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return attribution::ListRounds(tx, cooperative, after, page.size + 1);
                     }));
    for (const RoundRecord& round : found) {
      if (response->rounds_size() == page.size) {
        response->set_next_page_token(rpc::MakePageToken(
            binding, {absl::StrCat(response->rounds(page.size - 1).number())}));
        break;
      }
      ToProto(round, ToUnixMicros(call.now), *response->add_rounds());
    }
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::WatchRounds(grpc::ServerContext* context,
                                             const v1::WatchRoundsRequest* request,
                                             grpc::ServerWriter<v1::WatchRoundsResponse>* writer) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId cooperative,
                     ParseField<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    std::string sent;
    int64_t seen = parts_.changes.version();
    while (!call.Ended()) {
      ASSIGN_OR_RETURN(const auto round,
                       parts_.env.db.Transact(kWatchQuery, [&](pg::Transaction& tx) {
                         return FindNewestRound(tx, cooperative);
                       }));
      if (round) {
        v1::WatchRoundsResponse response;
        ToProto(*round, ToUnixMicros(parts_.env.clock.Now()), *response.mutable_round());
        std::string bytes = response.SerializeAsString();
        if (bytes != sent) {
          if (!writer->Write(response)) return absl::OkStatus();
          sent = std::move(bytes);
        }
      }
      seen = parts_.changes.WaitFor(seen, kWatchPause);
    }
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::ListCredits(grpc::ServerContext* context,
                                             const v1::ListCreditsRequest* request,
                                             v1::ListCreditsResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    CreditQuery query;
    ASSIGN_OR_RETURN(query.cooperative,
                     ParseField<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    ASSIGN_OR_RETURN(query.round, ParseOptional<RoundId>(request->round_id(), "round_id"));
    ASSIGN_OR_RETURN(query.principal,
                     ParseOptional<PrincipalId>(request->principal_id(), "principal_id"));
    const std::string binding =
        absl::StrCat("ListCredits/", request->cooperative_id(), "/", request->round_id(), "/",
                     request->principal_id());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    if (!page.first()) {
      ASSIGN_OR_RETURN(query.after, ParseField<UpdateId>(page.after[0], "page_token"));
    }
    // What somebody earned is seen by itself, by members and founders, and by services.
    const bool own = query.principal && call.identity.IsPerson() &&
                     *query.principal == call.identity.principal;
    if (!own) RETURN_IF_ERROR(RequireInsider(call, query.cooperative));
    query.limit = page.size + 1;
    std::optional<ModelRecord> model;
    std::vector<CreditRecord> found;
    RETURN_IF_ERROR(parts_.env.db.Transact(
        call.deadline, [&](pg::Transaction& tx) -> absl::Status {
          ASSIGN_OR_RETURN(model, FindModel(tx, query.cooperative));
          ASSIGN_OR_RETURN(found, attribution::ListCredits(tx, query));
          return absl::OkStatus();
        }));
    for (CreditRecord& credit : found) {
      if (model) {
        credit.tolerance = model->spec.torchscript.tolerance_nanonats;
        credit.deadband = model->spec.torchscript.deadband_nanonats;
      }
      if (response->credits_size() == page.size) {
        response->set_next_page_token(
            rpc::MakePageToken(binding, {response->credits(page.size - 1).update_id()}));
        break;
      }
      ToProto(credit, *response->add_credits());
    }
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::GetEvidence(grpc::ServerContext* context,
                                             const v1::GetEvidenceRequest* request,
                                             v1::GetEvidenceResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RoundId id, ParseField<RoundId>(request->round_id(), "round_id"));
    ASSIGN_OR_RETURN(const auto round,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return FindRound(tx, id);
                     }));
    if (!round) return Error("NOT_FOUND", "no such round");
    RETURN_IF_ERROR(RequireInsider(call, round->cooperative));
    if (round->state != RoundState::kClosed) {
      return Error("ROUND_STATE", "evidence is given once the round is CLOSED");
    }
    ASSIGN_OR_RETURN(const auto body,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return FindEvidence(tx, id);
                     }));
    if (!body || !round->evidence_sha256) {
      return absl::InternalError("a closed round lacks evidence");
    }
    response->set_body(*body);
    response->set_sha256(round->evidence_sha256->ToString());
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::RetireRounds(grpc::ServerContext* context,
                                              const v1::RetireRoundsRequest* request,
                                              v1::RetireRoundsResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    FieldErrors errors;
    if (request->round_ids_size() > kRetiredRoundsMax) errors.Add("round_ids", "at most 1,000");
    RETURN_IF_ERROR(errors.ToStatus());
    std::vector<RoundId> rounds;
    for (const std::string& text : request->round_ids()) {
      ASSIGN_OR_RETURN(const RoundId round, ParseField<RoundId>(text, "round_ids"));
      rounds.push_back(round);
    }
    std::sort(rounds.begin(), rounds.end());
    return service::Mutate(
        parts_.env.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          int64_t rows = 0;
          for (const RoundId& id : rounds) {
            ASSIGN_OR_RETURN(const auto round, FindRound(tx, id));
            if (!round) return Error("NOT_FOUND", absl::StrCat("no round ", id.ToString()));
            if (!round->ended()) return Error("ROUND_STATE", "a round that has not ended");
            ASSIGN_OR_RETURN(const int64_t retired, RetireRound(tx, id, ToUnixMicros(call.now)));
            rows += retired;
          }
          response->set_rows(rows);
          return absl::OkStatus();
        });
  });
}

grpc::Status AttributionService::ListRuns(grpc::ServerContext* context,
                                          const v1::ListRunsRequest* request,
                                          v1::ListRunsResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RoundId id, ParseField<RoundId>(request->round_id(), "round_id"));
    const std::string binding = absl::StrCat("ListRuns/", id.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    RunId after;
    if (!page.first()) {
      ASSIGN_OR_RETURN(after, ParseField<RunId>(page.after[0], "page_token"));
    }
    ASSIGN_OR_RETURN(const auto round,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return FindRound(tx, id);
                     }));
    if (!round) return Error("NOT_FOUND", "no such round");
    RETURN_IF_ERROR(RequireInsider(call, round->cooperative));
    ASSIGN_OR_RETURN(const auto found,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return attribution::ListRuns(tx, id, after, page.size + 1);
                     }));
    for (const RunRecord& run : found) {
      if (response->runs_size() == page.size) {
        response->set_next_page_token(
            rpc::MakePageToken(binding, {response->runs(page.size - 1).run_id()}));
        break;
      }
      ToProto(run, *response->add_runs());
    }
    return absl::OkStatus();
  });
}

// ---- Blobs ----

grpc::Status AttributionService::BeginUpload(grpc::ServerContext* context,
                                             const common_v1::BeginUploadRequest* request,
                                             common_v1::Upload* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(blob::UploadDesk * desk, parts_.desk());
    return desk->Begin(call, *request, response);
  });
}

grpc::Status AttributionService::UploadBlob(grpc::ServerContext* context,
                                            grpc::ServerReader<common_v1::UploadChunk>* reader,
                                            common_v1::Upload* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(blob::UploadDesk * desk, parts_.desk());
    return desk->Receive(call, *reader, response);
  });
}

grpc::Status AttributionService::GetUpload(grpc::ServerContext* context,
                                           const common_v1::GetUploadRequest* request,
                                           common_v1::Upload* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(blob::UploadDesk * desk, parts_.desk());
    return desk->Find(call, *request, response);
  });
}

grpc::Status AttributionService::DownloadBlob(grpc::ServerContext* context,
                                              const common_v1::DownloadBlobRequest* request,
                                              grpc::ServerWriter<common_v1::BlobChunk>* writer) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(blob::UploadDesk * desk, parts_.desk());
    ASSIGN_OR_RETURN(const crypto::Digest sha256,
                     ParseField<crypto::Digest>(request->sha256(), "sha256"));
    RETURN_IF_ERROR(MayDownload(call, sha256));
    return desk->Send(call, *request, *writer);
  });
}

absl::Status AttributionService::MayDownload(const rpc::Call& call, const crypto::Digest& sha256) {
  std::optional<CheckpointRecord> checkpoint;
  std::optional<CooperativeId> module_of;
  std::optional<CooperativeId> published_by;
  RETURN_IF_ERROR(parts_.env.db.Transact(
      call.deadline, [&](pg::Transaction& tx) -> absl::Status {
        ASSIGN_OR_RETURN(checkpoint, FindCheckpoint(tx, CooperativeId{}, sha256));
        ASSIGN_OR_RETURN(module_of, FindModuleOwner(tx, sha256));
        ASSIGN_OR_RETURN(published_by, FindPublishable(tx, sha256));
        return absl::OkStatus();
      }));
  const absl::Status hidden = Error("NOT_FOUND", "no such blob, or it is not yours to read");
  if (checkpoint || module_of) {
    const absl::Status insider =
        RequireInsider(call, checkpoint ? checkpoint->cooperative : *module_of);
    return absl::IsPermissionDenied(insider) ? hidden : insider;
  }
  if (!published_by) return hidden;
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
  const absl::Status founder =
      governance->RequireFounder(*published_by, call.identity.public_key);
  return absl::IsPermissionDenied(founder) ? hidden : founder;
}

}  // namespace rochdale::attribution
