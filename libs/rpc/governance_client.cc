#include "libs/rpc/governance_client.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "grpcpp/channel.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "rochdale/governance/v1/governance.grpc.pb.h"

namespace rochdale::rpc {
namespace {

namespace v1 = ::rochdale::governance::v1;
using Stub = v1::GovernanceService::Stub;

constexpr int kPageSize = 1'000;
constexpr int kPagesMax = 100;

// The last answer for a key and until when it may be given again.
template <typename Value>
struct Remembered {
  Value value;
  absl::Time until;
};

}  // namespace

struct GovernanceClient::State {
  State(std::shared_ptr<grpc::Channel> channel, const Outgoing& outgoing, const Clock& clock,
        GovernanceCache cache)
      : stub(std::move(channel)), outgoing(outgoing), clock(clock), cache(cache) {}

  // What is remembered under `id`, or what `fetch` answers now.
  template <typename Value, typename Fetch>
  absl::StatusOr<Value> Recall(std::unordered_map<std::string, Remembered<Value>>& memory,
                               const CooperativeId& id, absl::Duration ttl, Fetch fetch) {
    const std::string key(id.value.AsBytes());
    const absl::Time now = clock.Now();
    {
      std::lock_guard lock(mutex);
      const auto found = memory.find(key);
      if (found != memory.end() && now < found->second.until) return found->second.value;
    }
    ASSIGN_OR_RETURN(Value fresh, fetch());
    std::lock_guard lock(mutex);
    if (memory.size() >= cache.cooperatives_max) memory.clear();
    memory.insert_or_assign(key, Remembered<Value>{fresh, now + ttl});
    return fresh;
  }

  Stub stub;
  const Outgoing& outgoing;
  const Clock& clock;
  const GovernanceCache cache;
  std::mutex mutex;
  std::unordered_map<std::string, Remembered<config::ParameterSet>> parameters;
  std::unordered_map<std::string, Remembered<v1::Cooperative>> cooperatives;
};

GovernanceClient::GovernanceClient(std::shared_ptr<grpc::Channel> channel,
                                   const Outgoing& outgoing, const Clock& clock,
                                   GovernanceCache cache)
    : state_(std::make_unique<State>(std::move(channel), outgoing, clock, cache)) {}

GovernanceClient::~GovernanceClient() = default;

absl::StatusOr<config::ParameterSet> GovernanceClient::Parameters(
    const CooperativeId& cooperative) {
  return state_->Recall(
      state_->parameters, cooperative, state_->cache.parameters_ttl,
      [&]() -> absl::StatusOr<config::ParameterSet> {
        v1::GetParametersRequest request;
        request.set_cooperative_id(cooperative.ToString());
        v1::GetParametersResponse response;
        RETURN_IF_ERROR(
            state_->outgoing.Invoke(state_->stub, &Stub::GetParameters, request, &response));
        config::ParameterSet set;
        for (const v1::Parameter& parameter : response.parameters()) {
          // A parameter that this version does not know is a newer governance's.
          if (config::FindParameter(parameter.name()) == nullptr) continue;
          RETURN_IF_ERROR(set.Set(parameter.name(), parameter.value()));
        }
        return set;
      });
}

absl::StatusOr<v1::Cooperative> GovernanceClient::GetCooperative(const CooperativeId& cooperative) {
  return state_->Recall(
      state_->cooperatives, cooperative, state_->cache.cooperative_ttl,
      [&]() -> absl::StatusOr<v1::Cooperative> {
        v1::GetCooperativeRequest request;
        request.set_cooperative_id(cooperative.ToString());
        v1::GetCooperativeResponse response;
        RETURN_IF_ERROR(
            state_->outgoing.Invoke(state_->stub, &Stub::GetCooperative, request, &response));
        return response.cooperative();
      });
}

absl::Status GovernanceClient::RequireFounder(const CooperativeId& cooperative,
                                              const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(const v1::Cooperative found, GetCooperative(cooperative));
  const auto& founders = found.founder_public_keys();
  if (std::find(founders.begin(), founders.end(), key.ToString()) == founders.end()) {
    return Error("PERMISSION_DENIED", "only a founder of the cooperative may do this");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::CheckAuthorityResponse> GovernanceClient::CheckAuthority(
    const CooperativeId& cooperative, const AgentId& agent, int action) {
  v1::CheckAuthorityRequest request;
  request.set_cooperative_id(cooperative.ToString());
  request.set_agent_id(agent.ToString());
  request.set_action(static_cast<v1::MandateAction>(action));
  v1::CheckAuthorityResponse response;
  RETURN_IF_ERROR(
      state_->outgoing.Invoke(state_->stub, &Stub::CheckAuthority, request, &response));
  return response;
}

absl::StatusOr<std::vector<v1::MandateRecord>> GovernanceClient::ListMandatesInForce(
    const CooperativeId& cooperative, int action) {
  std::vector<v1::MandateRecord> mandates;
  v1::ListMandatesRequest request;
  request.set_cooperative_id(cooperative.ToString());
  request.set_in_force(true);
  request.set_page_size(kPageSize);
  for (int page = 0; page < kPagesMax; ++page) {
    v1::ListMandatesResponse response;
    RETURN_IF_ERROR(
        state_->outgoing.Invoke(state_->stub, &Stub::ListMandates, request, &response));
    for (v1::MandateRecord& record : *response.mutable_mandates()) {
      const auto& actions = record.mandate().actions();
      if (std::find(actions.begin(), actions.end(), action) != actions.end()) {
        mandates.push_back(std::move(record));
      }
    }
    if (response.next_page_token().empty()) return mandates;
    request.set_page_token(response.next_page_token());
  }
  return Error("OVERLOADED", "the cooperative has more mandates in force than can be listed");
}

absl::StatusOr<v1::Principal> GovernanceClient::GetPrincipal(const PrincipalId& principal) {
  v1::GetPrincipalRequest request;
  request.set_principal_id(principal.ToString());
  v1::GetPrincipalResponse response;
  RETURN_IF_ERROR(state_->outgoing.Invoke(state_->stub, &Stub::GetPrincipal, request, &response));
  return response.principal();
}

absl::StatusOr<bool> GovernanceClient::IsMember(const CooperativeId& cooperative,
                                                const PrincipalId& principal) {
  v1::GetMemberRequest request;
  request.set_cooperative_id(cooperative.ToString());
  request.set_principal_id(principal.ToString());
  v1::GetMemberResponse response;
  const absl::Status status =
      state_->outgoing.Invoke(state_->stub, &Stub::GetMember, request, &response);
  if (absl::IsNotFound(status)) return false;
  RETURN_IF_ERROR(status);
  return response.member().state() == v1::MEMBERSHIP_STATE_MEMBER;
}

absl::Status GovernanceClient::RaiseException(const v1::GovernanceException& exception) {
  v1::RaiseExceptionRequest request;
  request.set_request_id(
      crypto::DeterministicId("rpc/raise-exception", exception.exception_id()).ToString());
  *request.mutable_exception() = exception;
  v1::RaiseExceptionResponse response;
  return state_->outgoing.Invoke(state_->stub, &Stub::RaiseException, request, &response);
}

struct RemoteKeyDirectory::State {
  State(std::shared_ptr<grpc::Channel> channel, const Outgoing& outgoing)
      : stub(std::move(channel)), outgoing(outgoing) {}
  Stub stub;
  const Outgoing& outgoing;
};

RemoteKeyDirectory::RemoteKeyDirectory(std::shared_ptr<grpc::Channel> channel,
                                       const Outgoing& outgoing)
    : state_(std::make_unique<State>(std::move(channel), outgoing)) {}

RemoteKeyDirectory::~RemoteKeyDirectory() = default;

absl::StatusOr<std::optional<RegisteredKey>> RemoteKeyDirectory::Lookup(
    const crypto::PublicKey& key) {
  v1::ResolveKeyRequest request;
  request.set_public_key(std::string(key.AsBytes()));
  v1::ResolveKeyResponse response;
  RETURN_IF_ERROR(state_->outgoing.Invoke(state_->stub, &Stub::ResolveKey, request, &response));
  if (!response.found()) return std::nullopt;
  RegisteredKey found;
  ASSIGN_OR_RETURN(found.principal, PrincipalId::Parse(response.principal_id()));
  found.kind = IdentityKind::kPrincipal;
  if (!response.agent_id().empty()) {
    ASSIGN_OR_RETURN(found.agent, AgentId::Parse(response.agent_id()));
    found.kind = IdentityKind::kAgent;
  }
  return found;
}

}  // namespace rochdale::rpc
