// Rpcs of workers.
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/obs/log.h"
#include "libs/pg/database.h"
#include "libs/rpc/handle.h"
#include "services/attribution/attribution_service.h"
#include "services/attribution/convert.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {
namespace {

constexpr size_t kMessageMax = 1'000;

// The call, where the caller has a session of the run that it names.
absl::StatusOr<WorkerCall> SessionOf(const rpc::Call& call, absl::string_view run_id) {
  ASSIGN_OR_RETURN(const RunId run, ParseField<RunId>(run_id, "run_id"));
  if (call.identity.kind != rpc::IdentityKind::kWorker || call.identity.worker.empty()) {
    return Error("UNAUTHENTICATED", "exchange the run token for a session first");
  }
  if (call.identity.run != run) {
    return Error("PERMISSION_DENIED", "the session is for another run");
  }
  return WorkerCall{run, call.identity.worker, call.now, call.deadline};
}

}  // namespace

grpc::Status WorkerService::StartSession(grpc::ServerContext* context,
                                         const v1::StartSessionRequest* request,
                                         v1::StartSessionResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const RunId run_id, ParseField<RunId>(request->run_id(), "run_id"));
    ASSIGN_OR_RETURN(const Uuid request_id, ParseField<Uuid>(request->request_id(), "request_id"));
    const auto token = parts_.secrets.Open(request->run_token());
    if (!token || token->run != run_id || !token->worker.empty()) {
      return Error("UNAUTHENTICATED", "this is not the run's token");
    }
    ASSIGN_OR_RETURN(const auto run,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return FindRun(tx, run_id);
                     }));
    if (!run || run->state != RunState::kRunning) {
      return Error("ROUND_STATE", "the run has ended");
    }
    // The same request gives the same session.
    const SessionId session{
        crypto::DeterministicId("attribution/session", run_id, request_id)};
    response->set_session_token(parts_.secrets.SessionToken(run_id, session));
    response->set_spec(run->spec);
    response->set_lease_ms(run->lease_ms);
    return absl::OkStatus();
  });
}

grpc::Status WorkerService::ClaimShard(grpc::ServerContext* context,
                                       const v1::ClaimShardRequest* request,
                                       v1::ClaimShardResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WorkerCall worker, SessionOf(call, request->run_id()));
    ASSIGN_OR_RETURN(const Uuid request_id, ParseField<Uuid>(request->request_id(), "request_id"));
    ASSIGN_OR_RETURN(const ClaimedShard claimed, parts_.runs.Claim(worker, request_id));
    response->set_run_ended(claimed.run_ended);
    response->set_none(!claimed.shard.has_value());
    if (claimed.shard) ToProto(*claimed.shard, *response->mutable_shard());
    return absl::OkStatus();
  });
}

grpc::Status WorkerService::HeartbeatShard(grpc::ServerContext* context,
                                           const v1::HeartbeatShardRequest* request,
                                           v1::HeartbeatShardResponse*) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WorkerCall worker, SessionOf(call, request->run_id()));
    return parts_.runs.Heartbeat(worker, request->number(), request->lease_epoch());
  });
}

grpc::Status WorkerService::CompleteShard(grpc::ServerContext* context,
                                          const v1::CompleteShardRequest* request,
                                          v1::CompleteShardResponse*) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WorkerCall worker, SessionOf(call, request->run_id()));
    if (static_cast<int64_t>(request->losses().size()) > kShardResultBytesMax) {
      return Error("UPLOAD_TOO_LARGE", "a shard's result has at most 3.5 MiB");
    }
    return parts_.runs.Complete(worker, request->number(), request->lease_epoch(),
                                request->losses());
  });
}

grpc::Status WorkerService::FailShard(grpc::ServerContext* context,
                                      const v1::FailShardRequest* request,
                                      v1::FailShardResponse*) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WorkerCall worker, SessionOf(call, request->run_id()));
    RunEngine::Failure failure;
    failure.reason = request->reason();
    failure.candidate = request->candidate();
    ASSIGN_OR_RETURN(failure.update, ParseOptional<UpdateId>(request->update_id(), "update_id"));
    parts_.env.logger.Warning(
        "a shard failed", obs::Fields()
                              .Text("run", worker.run.ToString())
                              .Int("shard", request->number())
                              .Text("reason", request->reason())
                              .Text("cause", request->message().substr(0, kMessageMax)));
    return parts_.runs.Fail(worker, request->number(), request->lease_epoch(), failure);
  });
}

grpc::Status WorkerService::DownloadRunBlob(grpc::ServerContext* context,
                                            const common_v1::DownloadBlobRequest* request,
                                            grpc::ServerWriter<common_v1::BlobChunk>* writer) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WorkerCall worker, SessionOf(call, call.identity.run.ToString()));
    ASSIGN_OR_RETURN(const crypto::Digest sha256,
                     ParseField<crypto::Digest>(request->sha256(), "sha256"));
    ASSIGN_OR_RETURN(const bool reads,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return RunReadsBlob(tx, worker.run, sha256);
                     }));
    if (!reads) return Error("NOT_FOUND", "the run names no such blob");
    ASSIGN_OR_RETURN(blob::UploadDesk * desk, parts_.desk());
    return desk->Send(call, *request, *writer);
  });
}

}  // namespace rochdale::attribution
