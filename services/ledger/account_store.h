// Accounts and transfers in the database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/pg/transaction.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

template <typename Key, typename Value>
using IdMap = std::unordered_map<Key, Value, absl::Hash<Key>>;

absl::StatusOr<std::optional<Account>> FindAccount(pg::Transaction& tx, const AccountId& id);
// Those of the owner with an id above `after`, by id.
absl::StatusOr<std::vector<Account>> ListAccounts(pg::Transaction& tx, const Uuid& owner,
                                                  const AccountId& after, int limit);
// Those that exist, locked for this transaction in order of their ids.
absl::StatusOr<IdMap<AccountId, Account>> LockAccounts(pg::Transaction& tx,
                                                       const std::vector<AccountId>& ids);
absl::Status InsertAccounts(pg::Transaction& tx, const std::vector<const Account*>& accounts);
absl::Status UpdateBalances(pg::Transaction& tx, const std::vector<const Account*>& accounts);

absl::StatusOr<std::optional<PostedTransfer>> FindTransfer(pg::Transaction& tx,
                                                           const TransferId& id);
absl::StatusOr<IdMap<TransferId, PostedTransfer>> FindTransfers(
    pg::Transaction& tx, const std::vector<TransferId>& ids);
absl::Status InsertTransfers(pg::Transaction& tx, const std::vector<PostedTransfer>& transfers);
// To and from the account, those before log index `before`, newest first.
absl::StatusOr<std::vector<PostedTransfer>> ListTransfers(pg::Transaction& tx,
                                                          const AccountId& account, int64_t before,
                                                          int limit);

struct Burned {
  TransferId id;
  TransferResult result = TransferResult::kInsufficientFunds;
  int64_t burned_us = 0;
};
absl::StatusOr<IdMap<TransferId, TransferResult>> FindBurned(pg::Transaction& tx,
                                                             const std::vector<TransferId>& ids);
absl::Status InsertBurned(pg::Transaction& tx, const std::vector<Burned>& burned);

// The assets whose balances do not sum up to 0, with the sum as a decimal number; empty always.
absl::StatusOr<std::vector<std::string>> FindImbalances(pg::Transaction& tx);

}  // namespace rochdale::ledger
