// Governance as a part of a process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/config/flags.h"
#include "libs/crypto/ed25519.h"
#include "libs/rpc/auth.h"
#include "libs/service/module.h"

namespace rochdale::governance {

// The registry of keys, read from governance's own tables: for the process that holds them. Other
// processes ask over rpc (libs/rpc/governance_client.h).
class RegisteredKeys final : public rpc::KeyDirectory {
 public:
  explicit RegisteredKeys(pg::Database& db) : db_(db) {}
  absl::StatusOr<std::optional<rpc::RegisteredKey>> Lookup(const crypto::PublicKey& key) override;

 private:
  pg::Database& db_;
};

struct GovernanceOptions {
  // Whose KYC attestations count; empty: those of the founders of the network's first cooperative.
  std::vector<crypto::PublicKey> kyc_verifiers;
  // The ledger is told at least so often until when it knows everything; debits stop once that is
  // older than ledger.authority_age_max_ms. At most 10 s.
  absl::Duration heartbeat_every = absl::Seconds(5);
};

// Fills the options from flags: --kyc-verifiers, --heartbeat-every.
class GovernanceFlags {
 public:
  void Add(config::Flags& flags);
  // INVALID_ARGUMENT where a key is not one.
  absl::StatusOr<GovernanceOptions> Options() const;

 private:
  std::vector<std::string> kyc_verifiers_;
  absl::Duration heartbeat_every_ = GovernanceOptions().heartbeat_every;
};

class GovernanceModule final : public service::Module {
 public:
  static std::unique_ptr<GovernanceModule> Make(const service::Environment& env,
                                                GovernanceOptions options = {});
  ~GovernanceModule() override;

  std::vector<grpc::Service*> grpc_services() override;
  absl::Status Start() override;
  void Stop() override;
  absl::Status Ready() override;

 private:
  GovernanceModule(const service::Environment& env, GovernanceOptions options);

  struct Parts;
  const service::Environment env_;
  const GovernanceOptions options_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace rochdale::governance
