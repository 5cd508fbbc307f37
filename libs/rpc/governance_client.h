// What the other services ask of governance, with the caches that make asking cheap.
//
// Errors of every call: those of governance, or UNAVAILABLE when it cannot be reached; nothing is
// ever answered from a guess.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/config/parameters.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/channel.h"

namespace grpc {
class Channel;
}
namespace rochdale::governance::v1 {
class CheckAuthorityResponse;
class Cooperative;
class GovernanceException;
class MandateRecord;
class Principal;
}  // namespace rochdale::governance::v1

namespace rochdale::rpc {

struct GovernanceCache {
  absl::Duration parameters_ttl = absl::Seconds(2);   // so old a value may be
  absl::Duration cooperative_ttl = absl::Seconds(2);
  size_t cooperatives_max = 1'000;
};

// Thread-safe. `channel`, `outgoing` and `clock` outlive it.
class GovernanceClient {
 public:
  GovernanceClient(std::shared_ptr<grpc::Channel> channel, const Outgoing& outgoing,
                   const Clock& clock, GovernanceCache cache = {});
  ~GovernanceClient();

  // The cooperative's parameters, at most parameters_ttl old.
  absl::StatusOr<config::ParameterSet> Parameters(const CooperativeId& cooperative);
  // The cooperative with its floor, founders and entry, at most cooperative_ttl old. NOT_FOUND.
  absl::StatusOr<governance::v1::Cooperative> GetCooperative(const CooperativeId& cooperative);
  // Whether the key is one of the cooperative's founders; PERMISSION_DENIED where it is not.
  absl::Status RequireFounder(const CooperativeId& cooperative, const crypto::PublicKey& key);

  // Not cached. `action` is a value of governance.v1.MandateAction.
  absl::StatusOr<governance::v1::CheckAuthorityResponse> CheckAuthority(
      const CooperativeId& cooperative, const AgentId& agent, int action);
  // All mandates in force whose actions hold `action`, by id, at most 100,000.
  absl::StatusOr<std::vector<governance::v1::MandateRecord>> ListMandatesInForce(
      const CooperativeId& cooperative, int action);
  absl::StatusOr<governance::v1::Principal> GetPrincipal(const PrincipalId& principal);
  // Whether the principal is a member of the cooperative whose consent is current.
  absl::StatusOr<bool> IsMember(const CooperativeId& cooperative, const PrincipalId& principal);

  // Idempotent by the exception's id, from which the request id is derived.
  absl::Status RaiseException(const governance::v1::GovernanceException& exception);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Governance's registry of keys, asked over ResolveKey. Wrap it in a CachedKeyDirectory.
class RemoteKeyDirectory final : public KeyDirectory {
 public:
  RemoteKeyDirectory(std::shared_ptr<grpc::Channel> channel, const Outgoing& outgoing);
  ~RemoteKeyDirectory() override;
  absl::StatusOr<std::optional<RegisteredKey>> Lookup(const crypto::PublicKey& key) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rochdale::rpc
