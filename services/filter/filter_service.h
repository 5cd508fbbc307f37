// The rpcs of the filter; one short method each.
#pragma once

#include <atomic>
#include <memory>

#include "libs/blob/blob_store.h"
#include "libs/blob/transfer.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/entry_builder.h"
#include "libs/rpc/governance_client.h"
#include "libs/service/log_entry.h"
#include "libs/service/module.h"
#include "rochdale/filter/v1/filter.grpc.pb.h"
#include "services/filter/composition.h"
#include "services/filter/domain.h"

namespace rochdale::pg {
class Transaction;
}
namespace rochdale::rpc {
struct Call;
}

namespace rochdale::filter {

namespace v1 = ::rochdale::filter::v1;
namespace common_v1 = ::rochdale::common::v1;

// Thread-safe.
class FilterService final : public v1::FilterService::Service {
 public:
  FilterService(const service::Environment& env, blob::BlobStore& store);

  // Called once the channel to governance is there.
  void Connect();

#define ROCHDALE_RPC(Name) \
  grpc::Status Name(grpc::ServerContext*, const v1::Name##Request*, v1::Name##Response*) override
  ROCHDALE_RPC(SetProfile);
  ROCHDALE_RPC(GetProfile);
  ROCHDALE_RPC(RegisterProbe);
  ROCHDALE_RPC(ListProbes);
  ROCHDALE_RPC(CommitUpdate);
  ROCHDALE_RPC(RevealUpdate);
  ROCHDALE_RPC(GetUpdate);
  ROCHDALE_RPC(ListUpdates);
  ROCHDALE_RPC(GetDecision);
  ROCHDALE_RPC(GetDocument);
  ROCHDALE_RPC(OpenScreening);
  ROCHDALE_RPC(SetIntakeState);
  ROCHDALE_RPC(ScreenRound);
  ROCHDALE_RPC(DecideRound);
  ROCHDALE_RPC(RecordOutcomes);
#undef ROCHDALE_RPC
  grpc::Status BeginUpload(grpc::ServerContext*, const common_v1::BeginUploadRequest*,
                           common_v1::Upload*) override;
  grpc::Status UploadBlob(grpc::ServerContext*, grpc::ServerReader<common_v1::UploadChunk>*,
                          common_v1::Upload*) override;
  grpc::Status GetUpload(grpc::ServerContext*, const common_v1::GetUploadRequest*,
                         common_v1::Upload*) override;
  grpc::Status DownloadBlob(grpc::ServerContext*, const common_v1::DownloadBlobRequest*,
                            grpc::ServerWriter<common_v1::BlobChunk>*) override;
  grpc::Status WatchUpdate(grpc::ServerContext*, const v1::WatchUpdateRequest*,
                           grpc::ServerWriter<v1::WatchUpdateResponse>*) override;

 private:
  blob::UploadPolicy MakeUploadPolicy();
  // UNAVAILABLE while the process starts.
  absl::StatusOr<rpc::GovernanceClient*> Governance();
  absl::Status MayDownload(const rpc::Call& call, const crypto::Digest& digest);
  // What a caller may see of an update: reasons are its principal's and the services'.
  bool MaySeeReasons(const rpc::Call& call, const Update& update) const;
  // The rules of a cooperative and of each update's principal, as they stood at commitment.
  absl::StatusOr<RuleSet> FloorOf(const rpc::Call& call, const CooperativeId& cooperative,
                                  int64_t* rules_version);
  absl::StatusOr<std::vector<RuleSet>> ProfilesOf(const rpc::Call& call, const Round& round,
                                                  const std::vector<Update>& updates);

  const service::Environment& env_;
  blob::BlobStore& store_;
  blob::UploadDesk desk_;
  const crypto::RandomBytes random_;
  std::unique_ptr<rpc::GovernanceClient> client_;
  std::atomic<rpc::GovernanceClient*> governance_{nullptr};  // calls may come before Connect
};

using service::Log;

// NOT_FOUND where there is none.
absl::StatusOr<Round> NeedRound(pg::Transaction& tx, const RoundId& id);
absl::StatusOr<Update> NeedUpdate(pg::Transaction& tx, const UpdateId& id);

// All updates of a round, at most 100,000.
absl::StatusOr<std::vector<Update>> AllUpdates(pg::Transaction& tx, const RoundId& round);

}  // namespace rochdale::filter
