#include "services/governance/module.h"

#include "libs/base/status_macros.h"
#include "libs/pg/database.h"
#include "libs/pg/outbox.h"
#include "libs/rpc/ledger_client.h"
#include "services/governance/funding.h"
#include "services/governance/governance_service.h"
#include "services/governance/registry_store.h"

namespace rochdale::governance {

absl::StatusOr<std::optional<rpc::RegisteredKey>> RegisteredKeys::Lookup(
    const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(const std::optional<KeyOwner> owner,
                   db_.Transact(absl::Seconds(5),
                                [&](pg::Transaction& tx) { return FindKey(tx, key); }));
  if (!owner) return std::nullopt;
  rpc::RegisteredKey found;
  found.kind = owner->agent.IsZero() ? rpc::IdentityKind::kPrincipal : rpc::IdentityKind::kAgent;
  found.principal = owner->principal;
  found.agent = owner->agent;
  return found;
}

struct GovernanceModule::Parts {
  explicit Parts(const service::Environment& env) : service(env) {}
  GovernanceService service;
  std::unique_ptr<rpc::LedgerClient> ledger;
  std::unique_ptr<pg::OutboxRelay> relay;
  std::unique_ptr<GenesisFunding> funding;
};

std::unique_ptr<GovernanceModule> GovernanceModule::Make(const service::Environment& env) {
  return std::unique_ptr<GovernanceModule>(new GovernanceModule(env));
}

GovernanceModule::GovernanceModule(const service::Environment& env)
    : env_(env), parts_(std::make_unique<Parts>(env_)) {}

GovernanceModule::~GovernanceModule() { Stop(); }

std::vector<grpc::Service*> GovernanceModule::grpc_services() { return {&parts_->service}; }

absl::Status GovernanceModule::Start() {
  parts_->ledger =
      std::make_unique<rpc::LedgerClient>(env_.channel, env_.outgoing, env_.ids, env_.clock);
  parts_->relay =
      std::make_unique<pg::OutboxRelay>(env_.db, env_.clock, parts_->ledger->OutboxSend());
  parts_->funding = std::make_unique<GenesisFunding>(env_, *parts_->ledger);
  return absl::OkStatus();
}

void GovernanceModule::Stop() {
  if (parts_->funding) parts_->funding->Stop();
  if (parts_->relay) parts_->relay->Stop();
}

absl::Status GovernanceModule::Ready() { return env_.db.Ping(absl::Seconds(1)); }

}  // namespace rochdale::governance
