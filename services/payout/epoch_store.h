// Pools, epochs and statements in the database.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/crypto/signed_document.h"
#include "services/payout/domain.h"

namespace rochdale::pg {
class Transaction;
}

namespace rochdale::payout {

// ALREADY_EXISTS where the pool or a pool of the cooperative exists.
absl::Status InsertPool(pg::Transaction& tx, const Pool& pool);
absl::StatusOr<std::optional<Pool>> FindPool(pg::Transaction& tx, const PoolId& id);
absl::StatusOr<std::optional<Pool>> FindPoolOf(pg::Transaction& tx,
                                               const CooperativeId& cooperative);
// Locks the pool: epochs of one pool are closed one after the other.
absl::Status LockPool(pg::Transaction& tx, const PoolId& id);

absl::Status InsertEpoch(pg::Transaction& tx, const Epoch& epoch);
absl::StatusOr<std::optional<Epoch>> FindEpoch(pg::Transaction& tx, const EpochId& id);
absl::StatusOr<std::optional<Epoch>> FindLastEpoch(pg::Transaction& tx, const PoolId& pool);
absl::StatusOr<std::vector<Epoch>> ListEpochs(pg::Transaction& tx, const PoolId& pool,
                                              int64_t after_number, int limit);
absl::StatusOr<std::vector<Epoch>> ListSettling(pg::Transaction& tx);
// Carried over and not announced yet.
absl::StatusOr<std::vector<Epoch>> ListToAnnounce(pg::Transaction& tx);
absl::Status MarkAnnounced(pg::Transaction& tx, const EpochId& id);
// SETTLING -> SETTLED; false where it was settled before.
absl::StatusOr<bool> MarkSettled(pg::Transaction& tx, const EpochId& id, absl::Time now,
                                 const EventId& event);

// With their lines.
absl::Status InsertStatements(pg::Transaction& tx, const std::vector<Statement>& statements);
absl::StatusOr<std::optional<Statement>> FindStatement(pg::Transaction& tx, const EpochId& epoch,
                                                       const PrincipalId& principal);
// Of an epoch by position after `after` (-1: from the start), with lines where asked.
absl::StatusOr<std::vector<Statement>> ListStatements(pg::Transaction& tx, const EpochId& epoch,
                                                      int64_t after, int limit, bool with_lines);
// Of a principal over all epochs, by epoch id after `after` (empty: from the start).
absl::StatusOr<std::vector<Statement>> ListStatementsOf(pg::Transaction& tx,
                                                        const PrincipalId& principal,
                                                        const std::string& after, int limit);
// Due and not yet paid, by position.
absl::StatusOr<std::vector<Statement>> ListUnpaid(pg::Transaction& tx, const EpochId& epoch,
                                                  int limit);
absl::Status MarkPaid(pg::Transaction& tx, const EpochId& epoch,
                      const std::vector<PrincipalId>& principals);
// A transfer id that failed can never succeed: the next attempt gets another.
absl::Status NextAttempt(pg::Transaction& tx, const EpochId& epoch, const PrincipalId& principal);
// What every principal has received from the pool so far.
absl::StatusOr<std::map<PrincipalId, MicroTokens>> CumulativePayments(pg::Transaction& tx,
                                                                      const PoolId& pool);

}  // namespace rochdale::payout
