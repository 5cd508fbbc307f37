#include "services/ledger/account_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/entry_kinds.h"
#include "services/ledger/transfer_entry.h"

namespace rochdale::ledger {
namespace {

Account ToAccount(const pg::Row& row) {
  Account account;
  account.id = row.Get<AccountId>("id");
  account.owner = row.Get<Uuid>("owner");
  account.type = static_cast<AccountType>(row.Get<int32_t>("type"));
  account.asset = row.Get<std::string>("asset");
  account.floor = row.Get<std::optional<int64_t>>("floor");
  account.label = row.Get<std::string>("label");
  account.status = static_cast<AccountStatus>(row.Get<int32_t>("status"));
  account.version = row.Get<int64_t>("version");
  account.opened_us = row.Get<int64_t>("opened_us");
  account.opened_index = row.Get<int64_t>("opened_index");
  account.debits = row.Get<int64_t>("debits");
  account.credits = row.Get<int64_t>("credits");
  account.held = row.Get<int64_t>("held");
  account.transfers = row.Get<int64_t>("transfers");
  account.last_index = row.Get<int64_t>("log_index");
  return account;
}

std::vector<Account> ToAccounts(const pg::Rows& rows) {
  std::vector<Account> accounts;
  accounts.reserve(rows.size());
  for (const pg::Row& row : rows) accounts.push_back(ToAccount(row));
  return accounts;
}

}  // namespace

#define ACCOUNT_COLUMNS                                                                     \
  "a.id, a.owner, a.type, a.asset, a.floor, a.label, a.status, a.version, a.opened_us, "    \
  "a.opened_index, coalesce(h.debits, 0) AS debits, coalesce(h.credits, 0) AS credits, "    \
  "coalesce(h.held, 0) AS held, coalesce(h.transfers, 0) AS transfers, "                    \
  "coalesce(h.log_index, -1) AS log_index"
// The newest row of the history of account `a`.
#define NEWEST_HISTORY                                                                      \
  " LEFT JOIN LATERAL (SELECT log_index, debits, credits, held, transfers "                 \
  "FROM account_history WHERE account = a.id ORDER BY log_index DESC LIMIT 1) AS h ON true "

constexpr char kFindAccounts[] =
    "SELECT " ACCOUNT_COLUMNS " FROM accounts AS a" NEWEST_HISTORY "WHERE a.id = ANY($1::uuid[])";

absl::StatusOr<std::vector<Account>> FindAccounts(pg::Transaction& tx,
                                                  const std::vector<AccountId>& ids) {
  if (ids.empty()) return std::vector<Account>();
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.ExecArrays(kFindAccounts, ids));
  return ToAccounts(rows);
}

absl::StatusOr<std::optional<Account>> FindAccount(pg::Transaction& tx, const AccountId& id) {
  ASSIGN_OR_RETURN(std::vector<Account> found, FindAccounts(tx, {id}));
  return found.empty() ? std::nullopt : std::optional(std::move(found[0]));
}

constexpr char kListAccounts[] =
    "SELECT " ACCOUNT_COLUMNS " FROM (SELECT * FROM accounts WHERE owner = $1 AND id > $2 "
    "ORDER BY id LIMIT $3) AS a" NEWEST_HISTORY "ORDER BY a.id";

absl::StatusOr<std::vector<Account>> ListAccounts(pg::Transaction& tx, const Uuid& owner,
                                                  const AccountId& after, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListAccounts, owner, after, limit));
  return ToAccounts(rows);
}

absl::Status InsertAccounts(pg::Transaction& tx, const std::vector<Account>& accounts) {
  if (accounts.empty()) return absl::OkStatus();
  return tx.CopyIn("accounts",
                   {"id", "owner", "type", "asset", "floor", "label", "status", "version",
                    "opened_us", "opened_index"},
                   [&accounts](pg::CopyWriter& out) -> absl::Status {
                     for (const Account& a : accounts) {
                       RETURN_IF_ERROR(out.Write(
                           {a.id, a.owner, static_cast<int>(a.type), a.asset, a.floor, a.label,
                            static_cast<int>(a.status), a.version, a.opened_us,
                            a.opened_index}));
                     }
                     return absl::OkStatus();
                   });
}

constexpr char kUpdateAccount[] =
    "UPDATE accounts SET status = $2, floor = $3, version = $4 WHERE id = $1 AND version < $4";

absl::Status UpdateAccounts(pg::Transaction& tx, const std::vector<Account>& accounts) {
  for (const Account& a : accounts) {
    ASSIGN_OR_RETURN(const int64_t affected,
                     tx.ExecAffected(kUpdateAccount, a.id, static_cast<int>(a.status), a.floor,
                                     a.version));
    if (affected != 1) return absl::InternalError("an account that changes is not there");
  }
  return absl::OkStatus();
}

absl::Status InsertHistory(pg::Transaction& tx, const std::vector<Touched>& touched) {
  pg::BinaryRows rows;
  for (const Touched& t : touched) {
    crypto::CanonicalWriter indexes(t.indexes.size() * 8);
    for (const int64_t index : t.indexes) indexes.I64(index);
    rows.Begin(7)
        .Id(t.account.value)
        .Int8(t.after.log_index)
        .Int8(t.after.debits)
        .Int8(t.after.credits)
        .Int8(t.after.held)
        .Int8(t.after.transfers)
        .Bytes(indexes.bytes());
  }
  return tx.CopyBinary(
      "account_history",
      {"account", "log_index", "debits", "credits", "held", "transfers", "indexes"},
      std::move(rows));
}

constexpr char kBalanceAt[] =
    "SELECT log_index, debits, credits, held, transfers FROM account_history "
    "WHERE account = $1 AND log_index <= $2 ORDER BY log_index DESC LIMIT 1";

absl::StatusOr<BalanceAt> BalanceAtInstant(pg::Transaction& tx, const AccountId& account,
                                           int64_t at_us) {
  ASSIGN_OR_RETURN(const int64_t last, FindLastIndexAt(tx, at_us));
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kBalanceAt, account, last));
  BalanceAt at;
  if (!row.has_value()) return at;
  at.log_index = row->Get<int64_t>("log_index");
  at.debits = row->Get<int64_t>("debits");
  at.credits = row->Get<int64_t>("credits");
  at.held = row->Get<int64_t>("held");
  at.transfers = row->Get<int64_t>("transfers");
  return at;
}

absl::StatusOr<std::optional<PostedTransfer>> FindTransfer(pg::Transaction& tx,
                                                           const TransferId& id) {
  ASSIGN_OR_RETURN(const auto ids, FindIds(tx, {PostedEvent(id).value}));
  if (ids.empty() || ids.begin()->second.log_index < 0) return std::nullopt;
  ASSIGN_OR_RETURN(const std::optional<LogEntry> entry,
                   FindEntry(tx, ids.begin()->second.log_index));
  if (!entry.has_value() || entry->kind != crypto::kind::kTransferPosted) return std::nullopt;
  ASSIGN_OR_RETURN(PostedTransfer posted, ParseTransferEntry(*entry));
  return posted;
}

// A row may hold indexes on both sides of $2.
constexpr char kListHistory[] =
    "SELECT indexes FROM account_history WHERE account = $1 AND log_index >= $2 "
    "ORDER BY log_index LIMIT 1";
constexpr char kListHistoryBefore[] =
    "SELECT indexes FROM account_history WHERE account = $1 AND log_index < $2 "
    "ORDER BY log_index DESC LIMIT $3";

// The newest `limit` entries before `before` that touched the account, newest first.
static absl::StatusOr<std::vector<int64_t>> IndexesBefore(pg::Transaction& tx,
                                                          const AccountId& account,
                                                          int64_t before, int limit) {
  std::vector<int64_t> indexes;
  const auto take = [&](const pg::Row& row) {
    const std::string bytes = row.GetBytes(0);
    crypto::CanonicalReader reader(bytes);
    while (reader.remaining() > 0 && reader.ok()) {
      const int64_t index = reader.I64();
      if (index < before) indexes.push_back(index);
    }
  };
  ASSIGN_OR_RETURN(const std::optional<pg::Row> across,
                   tx.ExecOptional(kListHistory, account, before));
  if (across.has_value()) take(*across);
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListHistoryBefore, account, before, limit));
  for (const pg::Row& row : rows) take(row);
  std::sort(indexes.begin(), indexes.end(), std::greater<>());
  if (static_cast<int>(indexes.size()) > limit) indexes.resize(limit);
  return indexes;
}

absl::StatusOr<std::vector<PostedTransfer>> ListTransfers(pg::Transaction& tx,
                                                          const AccountId& account, int64_t before,
                                                          int limit) {
  std::vector<PostedTransfer> transfers;
  // Entries that are no transfers (holds that expired) are passed over.
  while (static_cast<int>(transfers.size()) < limit) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> indexes,
                     IndexesBefore(tx, account, before, limit));
    if (indexes.empty()) break;
    ASSIGN_OR_RETURN(std::vector<LogEntry> entries, FindEntries(tx, indexes));
    std::reverse(entries.begin(), entries.end());
    for (const LogEntry& entry : entries) {
      if (entry.kind != crypto::kind::kTransferPosted) continue;
      if (static_cast<int>(transfers.size()) == limit) break;
      ASSIGN_OR_RETURN(PostedTransfer posted, ParseTransferEntry(entry));
      transfers.push_back(std::move(posted));
    }
    before = indexes.back();
  }
  return transfers;
}

constexpr char kFindImbalances[] =
    "SELECT a.asset, sum(h.credits - h.debits)::text FROM accounts AS a" NEWEST_HISTORY
    "GROUP BY a.asset HAVING sum(h.credits - h.debits) <> 0 ORDER BY a.asset";

absl::StatusOr<std::vector<std::string>> FindImbalances(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindImbalances));
  std::vector<std::string> imbalances;
  for (const pg::Row& row : rows) {
    imbalances.push_back(absl::StrCat(row.Get<std::string>(0), " ", row.Get<std::string>(1)));
  }
  return imbalances;
}

}  // namespace rochdale::ledger
