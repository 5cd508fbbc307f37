#include "services/governance/module.h"

#include <utility>

#include "absl/strings/str_cat.h"
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

void GovernanceFlags::Add(config::Flags& flags) {
  flags.List("kyc-verifiers",
             "public keys (64 hex digits) whose KYC attestations count; none: the founders of the "
             "network's first cooperative",
             &kyc_verifiers_);
  flags.Duration("heartbeat-every", "how often the ledger is told that it knows everything",
                 absl::Milliseconds(100), absl::Seconds(10), &heartbeat_every_);
}

absl::StatusOr<GovernanceOptions> GovernanceFlags::Options() const {
  GovernanceOptions options;
  for (const std::string& text : kyc_verifiers_) {
    absl::StatusOr<crypto::PublicKey> key = crypto::PublicKey::Parse(text);
    if (!key.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--kyc-verifiers: not a key: ", text));
    }
    options.kyc_verifiers.push_back(*key);
  }
  options.heartbeat_every = heartbeat_every_;
  return options;
}

struct GovernanceModule::Parts {
  Parts(const service::Environment& env, const GovernanceOptions& options)
      : service(env, options.kyc_verifiers) {}
  GovernanceService service;
  std::unique_ptr<rpc::LedgerClient> ledger;
  std::unique_ptr<pg::OutboxRelay> relay;
  std::unique_ptr<GenesisFunding> funding;
};

std::unique_ptr<GovernanceModule> GovernanceModule::Make(const service::Environment& env,
                                                         GovernanceOptions options) {
  return std::unique_ptr<GovernanceModule>(new GovernanceModule(env, std::move(options)));
}

GovernanceModule::GovernanceModule(const service::Environment& env, GovernanceOptions options)
    : env_(env),
      options_(std::move(options)),
      parts_(std::make_unique<Parts>(env_, options_)) {}

GovernanceModule::~GovernanceModule() { Stop(); }

std::vector<grpc::Service*> GovernanceModule::grpc_services() { return {&parts_->service}; }

absl::Status GovernanceModule::Start() {
  parts_->ledger =
      std::make_unique<rpc::LedgerClient>(env_.channel, env_.outgoing, env_.ids, env_.clock);
  pg::OutboxRelayOptions relay;
  relay.heartbeat_every = options_.heartbeat_every;
  parts_->relay =
      std::make_unique<pg::OutboxRelay>(env_.db, env_.clock, parts_->ledger->OutboxSend(), relay);
  parts_->funding = std::make_unique<GenesisFunding>(env_, *parts_->ledger);
  return absl::OkStatus();
}

void GovernanceModule::Stop() {
  if (parts_->funding) parts_->funding->Stop();
  if (parts_->relay) parts_->relay->Stop();
}

absl::Status GovernanceModule::Ready() { return env_.db.Ping(absl::Seconds(1)); }

}  // namespace rochdale::governance
