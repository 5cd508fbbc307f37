// Principals, agents, their keys, and the documents that people signed.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "services/governance/domain.h"

namespace rochdale::pg {
class Transaction;
}

namespace rochdale::governance {

// KEY_IN_USE, or ALREADY_EXISTS where the id is taken.
absl::Status InsertPrincipal(pg::Transaction& tx, const Principal& principal);
absl::StatusOr<std::optional<Principal>> FindPrincipal(pg::Transaction& tx, const PrincipalId& id);
// The same, locked until the transaction ends.
absl::StatusOr<std::optional<Principal>> FindPrincipalForUpdate(pg::Transaction& tx,
                                                                const PrincipalId& id);
absl::Status SetKyc(pg::Transaction& tx, const PrincipalId& id, const Kyc& kyc);
absl::Status InsertAgent(pg::Transaction& tx, const Agent& agent);
absl::StatusOr<std::optional<Agent>> FindAgent(pg::Transaction& tx, const AgentId& id);
absl::Status SetPaused(pg::Transaction& tx, const AgentId& id, bool paused);

absl::StatusOr<std::optional<KeyOwner>> FindKey(pg::Transaction& tx, const crypto::PublicKey& key);

}  // namespace rochdale::governance
