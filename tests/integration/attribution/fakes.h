// Filter and governance in memory, by the rules that attribution relies on: a request id has one
// effect, intake never goes back, outcomes follow states.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "rochdale/filter/v1/filter.grpc.pb.h"
#include "rochdale/governance/v1/governance.grpc.pb.h"

namespace rochdale::attribution::testing {

namespace filter_v1 = ::rochdale::filter::v1;
namespace governance_v1 = ::rochdale::governance::v1;
namespace common_v1 = ::rochdale::common::v1;

class FakeGovernance final : public governance_v1::GovernanceService::Service {
 public:
  // Set before the service runs.
  std::string cooperative_id;
  std::vector<std::string> founders;             // public keys
  std::map<std::string, std::string> parameters;
  std::vector<std::string> principals;           // with a mandate to submit
  std::set<std::string> members;
  std::vector<common_v1::Rule> floor;

  std::vector<governance_v1::GovernanceException> exceptions();

  grpc::Status GetCooperative(grpc::ServerContext*, const governance_v1::GetCooperativeRequest*,
                              governance_v1::GetCooperativeResponse*) override;
  grpc::Status GetParameters(grpc::ServerContext*, const governance_v1::GetParametersRequest*,
                             governance_v1::GetParametersResponse*) override;
  grpc::Status GetMember(grpc::ServerContext*, const governance_v1::GetMemberRequest*,
                         governance_v1::GetMemberResponse*) override;
  grpc::Status ListMandates(grpc::ServerContext*, const governance_v1::ListMandatesRequest*,
                            governance_v1::ListMandatesResponse*) override;
  grpc::Status RaiseException(grpc::ServerContext*, const governance_v1::RaiseExceptionRequest*,
                              governance_v1::RaiseExceptionResponse*) override;

 private:
  std::mutex mutex_;
  std::map<std::string, governance_v1::GovernanceException> exceptions_;
};

// What agents would submit to every round; the fake commits and reveals it at once.
struct FakeUpdate {
  std::string principal_id;
  std::string agent_id;
  std::string effective;            // the file
  std::vector<std::string> probes;  // that have to be measured
  std::map<std::string, int64_t> early_bounds;  // of these, where measuring may stop early
  bool denied = false;
  int64_t samples = 1;
  bool rejected_at_decision = false;
};

struct FakeProbe {
  std::string probe_id;
  std::string principal_id;
  std::string data;  // the file
  std::optional<int64_t> aggregate_eps;  // that the floor bounds it by
  int64_t rows = 0;
};

class FakeFilter final : public filter_v1::FilterService::Service {
 public:
  std::vector<FakeUpdate> updates;  // set before a round opens
  std::vector<FakeProbe> probes;

  // What a round came to.
  struct Round {
    filter_v1::OpenScreeningRequest opening;
    filter_v1::IntakeState intake = filter_v1::INTAKE_STATE_COMMITTING;
    std::vector<filter_v1::Update> updates;
    std::vector<filter_v1::ProbeMeasurement> measurements;
  };
  Round round(const std::string& id);
  size_t rounds();
  // A blob by digest.
  std::string blob(const std::string& sha256);
  // Broken rules: what a real filter would have refused.
  std::vector<std::string> complaints();
  // While true, everything is UNAVAILABLE.
  std::atomic<bool> down{false};

#define ROCHDALE_RPC(Name)                                              \
  grpc::Status Name(grpc::ServerContext*, const filter_v1::Name##Request*, \
                    filter_v1::Name##Response*) override
  ROCHDALE_RPC(ListProbes);
  ROCHDALE_RPC(OpenScreening);
  ROCHDALE_RPC(SetIntakeState);
  ROCHDALE_RPC(ListUpdates);
  ROCHDALE_RPC(ScreenRound);
  ROCHDALE_RPC(DecideRound);
  ROCHDALE_RPC(RecordOutcomes);
#undef ROCHDALE_RPC
  grpc::Status BeginUpload(grpc::ServerContext*, const common_v1::BeginUploadRequest*,
                           common_v1::Upload*) override;
  grpc::Status UploadBlob(grpc::ServerContext*, grpc::ServerReader<common_v1::UploadChunk>*,
                          common_v1::Upload*) override;
  grpc::Status DownloadBlob(grpc::ServerContext*, const common_v1::DownloadBlobRequest*,
                            grpc::ServerWriter<common_v1::BlobChunk>*) override;

 private:
  // The stored answer of a repeated request; complains where its content differs.
  template <typename Request, typename Response>
  grpc::Status Once(const Request& request, Response* response,
                    const std::function<grpc::Status()>& effect);
  std::string Put(const std::string& bytes);

  std::mutex mutex_;
  std::map<std::string, std::pair<std::string, std::string>> requests_;  // id -> body, response
  std::map<std::string, Round> rounds_;
  std::map<std::string, std::string> blobs_;
  std::map<std::string, common_v1::Upload> uploads_;
  std::vector<std::string> complaints_;
};

}  // namespace rochdale::attribution::testing
