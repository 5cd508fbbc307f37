// The rpcs of governance; one short method each.
#pragma once

#include <utility>
#include <vector>

#include "rochdale/governance/v1/governance.grpc.pb.h"
#include "libs/crypto/entry_builder.h"
#include "libs/service/log_entry.h"
#include "libs/service/module.h"
#include "services/governance/domain.h"

namespace rochdale::pg {
class Transaction;
}
namespace rochdale::rpc {
struct Call;
}

namespace rochdale::governance {

namespace v1 = ::rochdale::governance::v1;

// Thread-safe: no state of its own.
class GovernanceService final : public v1::GovernanceService::Service {
 public:
  // `kyc_verifiers`: whose attestations count; empty: the founders of the first cooperative.
  GovernanceService(const service::Environment& env, std::vector<crypto::PublicKey> kyc_verifiers)
      : env_(env), kyc_verifiers_(std::move(kyc_verifiers)) {}

#define ROCHDALE_RPC(Name) \
  grpc::Status Name(grpc::ServerContext*, const v1::Name##Request*, v1::Name##Response*) override
  ROCHDALE_RPC(FoundCooperative);
  ROCHDALE_RPC(GetCooperative);
  ROCHDALE_RPC(ListCooperatives);
  ROCHDALE_RPC(RegisterPrincipal);
  ROCHDALE_RPC(GetPrincipal);
  ROCHDALE_RPC(AttestKyc);
  ROCHDALE_RPC(RegisterAgent);
  ROCHDALE_RPC(GetAgent);
  ROCHDALE_RPC(SetAgentPause);
  ROCHDALE_RPC(RequestMembership);
  ROCHDALE_RPC(ApproveMembership);
  ROCHDALE_RPC(ConsentToRules);
  ROCHDALE_RPC(LeaveCooperative);
  ROCHDALE_RPC(GetMember);
  ROCHDALE_RPC(ListMembers);
  ROCHDALE_RPC(GrantMandate);
  ROCHDALE_RPC(RevokeMandate);
  ROCHDALE_RPC(ListMandates);
  ROCHDALE_RPC(CheckAuthority);
  ROCHDALE_RPC(ResolveKey);
  ROCHDALE_RPC(GetDocument);
  ROCHDALE_RPC(GetParameters);
  ROCHDALE_RPC(ChangeParameter);
  ROCHDALE_RPC(ListParameterChanges);
  ROCHDALE_RPC(RaiseException);
  ROCHDALE_RPC(ListExceptions);
#undef ROCHDALE_RPC
  grpc::Status WatchParameters(grpc::ServerContext*, const v1::WatchParametersRequest*,
                               grpc::ServerWriter<v1::WatchParametersResponse>*) override;

 private:
  // A builder of an entry of this moment; its event id is returned in `event`.
  crypto::EntryBuilder NewEntry(uint16_t kind, const rpc::Call& call, EventId& event);

  const service::Environment env_;
  const std::vector<crypto::PublicKey> kyc_verifiers_;
};

using service::Log;

// NOT_FOUND where there is none.
absl::StatusOr<Cooperative> NeedCooperative(pg::Transaction& tx, const CooperativeId& id);

// PERMISSION_DENIED unless the caller is the principal whose key signed the document.
absl::Status RequireSigner(const rpc::Call& call, const crypto::SignedDocument& document,
                           const PrincipalId& stated);

}  // namespace rochdale::governance
