#include "tests/support/fake_governance.h"

#include "libs/config/parameters.h"

namespace rochdale::testing {

namespace v1 = governance::v1;

grpc::Status FakeGovernance::GetCooperative(grpc::ServerContext*,
                                            const v1::GetCooperativeRequest* request,
                                            v1::GetCooperativeResponse* response) {
  std::lock_guard lock(mutex_);
  const auto found = cooperatives_.find(request->cooperative_id());
  if (found == cooperatives_.end()) return {grpc::StatusCode::NOT_FOUND, "no such cooperative"};
  *response->mutable_cooperative() = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeGovernance::GetParameters(grpc::ServerContext*, const v1::GetParametersRequest*,
                                           v1::GetParametersResponse* response) {
  std::lock_guard lock(mutex_);
  for (const config::ParameterInfo& info : config::Parameters()) {
    v1::Parameter& parameter = *response->add_parameters();
    parameter.set_name(info.name);
    const auto found = parameters_.find(info.name);
    parameter.set_value(found == parameters_.end() ? config::DefaultText(info) : found->second);
  }
  response->set_version(1);
  return grpc::Status::OK;
}

grpc::Status FakeGovernance::CheckAuthority(grpc::ServerContext*,
                                            const v1::CheckAuthorityRequest* request,
                                            v1::CheckAuthorityResponse* response) {
  std::lock_guard lock(mutex_);
  const auto found = authority_.find(request->agent_id());
  if (found == authority_.end()) {
    response->set_reason("MANDATE_MISSING");
  } else {
    *response = found->second;
  }
  return grpc::Status::OK;
}

grpc::Status FakeGovernance::GetMember(grpc::ServerContext*, const v1::GetMemberRequest* request,
                                       v1::GetMemberResponse* response) {
  std::lock_guard lock(mutex_);
  if (!members_.count({request->cooperative_id(), request->principal_id()})) {
    return {grpc::StatusCode::NOT_FOUND, "no such membership"};
  }
  response->mutable_member()->set_state(v1::MEMBERSHIP_STATE_MEMBER);
  return grpc::Status::OK;
}

grpc::Status FakeGovernance::RaiseException(grpc::ServerContext*,
                                            const v1::RaiseExceptionRequest* request,
                                            v1::RaiseExceptionResponse* response) {
  std::lock_guard lock(mutex_);
  *response->mutable_exception() =
      exceptions_.emplace(request->exception().exception_id(), request->exception())
          .first->second;
  return grpc::Status::OK;
}

void FakeGovernance::SetCooperative(const v1::Cooperative& cooperative) {
  std::lock_guard lock(mutex_);
  cooperatives_[cooperative.cooperative_id()] = cooperative;
}

void FakeGovernance::SetParameter(const std::string& name, const std::string& value) {
  std::lock_guard lock(mutex_);
  parameters_[name] = value;
}

void FakeGovernance::SetMember(const std::string& cooperative, const std::string& principal,
                               bool member) {
  std::lock_guard lock(mutex_);
  if (member) {
    members_.insert({cooperative, principal});
  } else {
    members_.erase({cooperative, principal});
  }
}

void FakeGovernance::SetAuthority(const std::string& agent,
                                  const v1::CheckAuthorityResponse& answer) {
  std::lock_guard lock(mutex_);
  authority_[agent] = answer;
}

std::vector<v1::GovernanceException> FakeGovernance::exceptions() {
  std::lock_guard lock(mutex_);
  std::vector<v1::GovernanceException> all;
  for (const auto& [id, exception] : exceptions_) all.push_back(exception);
  return all;
}

}  // namespace rochdale::testing
