// Governance as the services that ask it see it: what a test set is what it answers.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "rochdale/governance/v1/governance.grpc.pb.h"

namespace rochdale::testing {

class FakeGovernance final : public governance::v1::GovernanceService::Service {
 public:
  grpc::Status GetCooperative(grpc::ServerContext*, const governance::v1::GetCooperativeRequest*,
                              governance::v1::GetCooperativeResponse*) override;
  grpc::Status GetParameters(grpc::ServerContext*, const governance::v1::GetParametersRequest*,
                             governance::v1::GetParametersResponse*) override;
  // An agent that was not set: MANDATE_MISSING.
  grpc::Status CheckAuthority(grpc::ServerContext*, const governance::v1::CheckAuthorityRequest*,
                              governance::v1::CheckAuthorityResponse*) override;
  grpc::Status GetMember(grpc::ServerContext*, const governance::v1::GetMemberRequest*,
                         governance::v1::GetMemberResponse*) override;
  grpc::Status RaiseException(grpc::ServerContext*, const governance::v1::RaiseExceptionRequest*,
                              governance::v1::RaiseExceptionResponse*) override;

  void SetCooperative(const governance::v1::Cooperative& cooperative);
  void SetParameter(const std::string& name, const std::string& value);
  void SetMember(const std::string& cooperative, const std::string& principal, bool member);
  void SetAuthority(const std::string& agent, const governance::v1::CheckAuthorityResponse& answer);
  std::vector<governance::v1::GovernanceException> exceptions();

 private:
  std::mutex mutex_;
  std::map<std::string, governance::v1::Cooperative> cooperatives_;
  std::map<std::string, std::string> parameters_;
  std::set<std::pair<std::string, std::string>> members_;
  std::map<std::string, governance::v1::CheckAuthorityResponse> authority_;
  std::map<std::string, governance::v1::GovernanceException> exceptions_;
};

}  // namespace rochdale::testing
