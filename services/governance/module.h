// Governance as a part of a process.
#pragma once

#include <memory>

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

class GovernanceModule final : public service::Module {
 public:
  static std::unique_ptr<GovernanceModule> Make(const service::Environment& env);
  ~GovernanceModule() override;

  std::vector<grpc::Service*> grpc_services() override;
  absl::Status Start() override;
  void Stop() override;
  absl::Status Ready() override;

 private:
  explicit GovernanceModule(const service::Environment& env);

  struct Parts;
  const service::Environment env_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace rochdale::governance
