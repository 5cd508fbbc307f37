// The rpcs of attribution and of its workers; one short method each.
#pragma once

#include "rochdale/attribution/v1/attribution.grpc.pb.h"
#include "services/attribution/parts.h"
#include "services/attribution/records.h"

namespace rochdale::rpc {
struct Call;
}

namespace rochdale::attribution {

namespace v1 = ::rochdale::attribution::v1;
namespace common_v1 = ::rochdale::common::v1;

// Thread-safe: no state of its own.
class AttributionService final : public v1::AttributionService::Service {
 public:
  explicit AttributionService(Parts& parts) : parts_(parts) {}

#define ROCHDALE_RPC(Name) \
  grpc::Status Name(grpc::ServerContext*, const v1::Name##Request*, v1::Name##Response*) override
  ROCHDALE_RPC(RegisterModule);
  ROCHDALE_RPC(CreateModel);
  ROCHDALE_RPC(GetModel);
  ROCHDALE_RPC(SealValidationPool);
  ROCHDALE_RPC(StartTraining);
  ROCHDALE_RPC(RollBackCheckpoint);
  ROCHDALE_RPC(CompareCheckpoints);
  ROCHDALE_RPC(GetComparison);
  ROCHDALE_RPC(ListComparisons);
  ROCHDALE_RPC(GetRound);
  ROCHDALE_RPC(ListRounds);
  ROCHDALE_RPC(GetCheckpoint);
  ROCHDALE_RPC(ListCheckpoints);
  ROCHDALE_RPC(ListCredits);
  ROCHDALE_RPC(GetEvidence);
  ROCHDALE_RPC(GetDocument);
  ROCHDALE_RPC(RetireRounds);
  ROCHDALE_RPC(ListRuns);
#undef ROCHDALE_RPC
  grpc::Status WatchRounds(grpc::ServerContext*, const v1::WatchRoundsRequest*,
                           grpc::ServerWriter<v1::WatchRoundsResponse>*) override;
  grpc::Status WatchRuns(grpc::ServerContext*, const v1::WatchRunsRequest*,
                         grpc::ServerWriter<v1::WatchRunsResponse>*) override;
  grpc::Status BeginUpload(grpc::ServerContext*, const common_v1::BeginUploadRequest*,
                           common_v1::Upload*) override;
  grpc::Status UploadBlob(grpc::ServerContext*, grpc::ServerReader<common_v1::UploadChunk>*,
                          common_v1::Upload*) override;
  grpc::Status GetUpload(grpc::ServerContext*, const common_v1::GetUploadRequest*,
                         common_v1::Upload*) override;
  grpc::Status DownloadBlob(grpc::ServerContext*, const common_v1::DownloadBlobRequest*,
                            grpc::ServerWriter<common_v1::BlobChunk>*) override;

 private:
  absl::Status MayDownload(const rpc::Call& call, const crypto::Digest& sha256);
  // PERMISSION_DENIED unless the caller is a service, a founder or a member of the cooperative.
  absl::Status RequireInsider(const rpc::Call& call, const CooperativeId& cooperative);

  Parts& parts_;
};

// Thread-safe: no state of its own.
class WorkerService final : public v1::WorkerService::Service {
 public:
  explicit WorkerService(Parts& parts) : parts_(parts) {}

#define ROCHDALE_RPC(Name) \
  grpc::Status Name(grpc::ServerContext*, const v1::Name##Request*, v1::Name##Response*) override
  ROCHDALE_RPC(StartSession);
  ROCHDALE_RPC(ClaimShard);
  ROCHDALE_RPC(HeartbeatShard);
  ROCHDALE_RPC(CompleteShard);
  ROCHDALE_RPC(FailShard);
#undef ROCHDALE_RPC
  grpc::Status DownloadRunBlob(grpc::ServerContext*, const common_v1::DownloadBlobRequest*,
                               grpc::ServerWriter<common_v1::BlobChunk>*) override;

 private:
  Parts& parts_;
};

}  // namespace rochdale::attribution
