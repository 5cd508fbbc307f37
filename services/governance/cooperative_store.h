// Cooperatives, their founders and pool accounts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/governance/domain.h"

namespace rochdale::pg {
class Transaction;
}

namespace rochdale::governance {

// COOPERATIVE_EXISTS where the id or the short name is taken.
absl::Status InsertCooperative(pg::Transaction& tx, const Cooperative& cooperative);
absl::StatusOr<std::optional<Cooperative>> FindCooperative(pg::Transaction& tx,
                                                           const CooperativeId& id);
absl::StatusOr<std::optional<Cooperative>> FindCooperativeBySlug(pg::Transaction& tx,
                                                                 const std::string& slug);
// By id, after `after` (empty: from the start); at most `limit`.
absl::StatusOr<std::vector<Cooperative>> ListCooperatives(pg::Transaction& tx,
                                                          const std::string& after, int limit);
// The cooperative that founded the network: the one whose founding entry the log has first.
absl::StatusOr<std::optional<Cooperative>> FindFirstCooperative(pg::Transaction& tx);
absl::StatusOr<bool> NetworkIsFounded(pg::Transaction& tx);
absl::StatusOr<std::vector<CooperativeId>> FoundedBy(pg::Transaction& tx,
                                                     const crypto::PublicKey& key);

// Cooperatives whose pool accounts are not yet funded in the ledger.
absl::StatusOr<std::vector<CooperativeId>> ListUnfunded(pg::Transaction& tx);
absl::Status MarkFunded(pg::Transaction& tx, const CooperativeId& id);

}  // namespace rochdale::governance
