// Accounts, their history and their transfers in the database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/pg/transaction.h"
#include "services/ledger/log_store.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

absl::StatusOr<std::optional<Account>> FindAccount(pg::Transaction& tx, const AccountId& id);
// Those that exist.
absl::StatusOr<std::vector<Account>> FindAccounts(pg::Transaction& tx,
                                                  const std::vector<AccountId>& ids);
// Those of the owner with an id above `after`, by id.
absl::StatusOr<std::vector<Account>> ListAccounts(pg::Transaction& tx, const Uuid& owner,
                                                  const AccountId& after, int limit);
absl::Status InsertAccounts(pg::Transaction& tx, const std::vector<Account>& accounts);
// Status, floor and version.
absl::Status UpdateAccounts(pg::Transaction& tx, const std::vector<Account>& accounts);

// What an account held as a batch left it, and the entries of the batch that touched it, ascending.
struct Touched {
  AccountId account;
  BalanceAt after;
  absl::InlinedVector<int64_t, 2> indexes;
};
absl::Status InsertHistory(pg::Transaction& tx, const std::vector<Touched>& touched);

// What the account held when everything posted at or before `at_us` counts. The caller knows that
// the account exists.
absl::StatusOr<BalanceAt> BalanceAtInstant(pg::Transaction& tx, const AccountId& account,
                                           int64_t at_us);

absl::StatusOr<std::optional<PostedTransfer>> FindTransfer(pg::Transaction& tx,
                                                           const TransferId& id);
// To and from the account, those before log index `before`, newest first: moves, holds and what
// ended them.
absl::StatusOr<std::vector<PostedTransfer>> ListTransfers(pg::Transaction& tx,
                                                          const AccountId& account, int64_t before,
                                                          int limit);

// The assets whose balances do not sum up to 0, with the sum as a decimal number; empty always.
absl::StatusOr<std::vector<std::string>> FindImbalances(pg::Transaction& tx);

}  // namespace rochdale::ledger
