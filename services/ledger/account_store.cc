#include "services/ledger/account_store.h"

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

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
  account.balance = row.Get<int64_t>("balance");
  account.held = row.Get<int64_t>("held");
  account.opened_us = row.Get<int64_t>("opened_us");
  account.opened_index = row.Get<int64_t>("opened_index");
  return account;
}

PostedTransfer ToTransfer(const pg::Row& row) {
  PostedTransfer posted;
  posted.log_index = row.Get<int64_t>("log_index");
  posted.transfer.id = row.Get<TransferId>("id");
  posted.transfer.debit = row.Get<AccountId>("debit");
  posted.transfer.credit = row.Get<AccountId>("credit");
  posted.transfer.amount = row.Get<int64_t>("amount");
  posted.transfer.kind = static_cast<TransferKind>(row.Get<int32_t>("kind"));
  posted.transfer.code = row.Get<int32_t>("code");
  posted.transfer.reference = row.Get<std::string>("reference");
  posted.transfer.authorised_by = row.Get<EventId>("authorised_by");
  posted.debit_balance = row.Get<int64_t>("debit_balance");
  posted.credit_balance = row.Get<int64_t>("credit_balance");
  posted.posted_us = row.Get<int64_t>("posted_us");
  return posted;
}

std::vector<Account> ToAccounts(const pg::Rows& rows) {
  std::vector<Account> accounts;
  accounts.reserve(rows.size());
  for (const pg::Row& row : rows) accounts.push_back(ToAccount(row));
  return accounts;
}

}  // namespace

#define ACCOUNT_COLUMNS \
  "id, owner, type, asset, floor, label, status, balance, held, opened_us, opened_index"
#define TRANSFER_COLUMNS                                                              \
  "log_index, id, debit, credit, amount, kind, code, reference, authorised_by, "      \
  "debit_balance, credit_balance, posted_us"

constexpr char kFindAccount[] = "SELECT " ACCOUNT_COLUMNS " FROM accounts WHERE id = $1";

absl::StatusOr<std::optional<Account>> FindAccount(pg::Transaction& tx, const AccountId& id) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindAccount, id));
  return row.has_value() ? std::optional(ToAccount(*row)) : std::nullopt;
}

constexpr char kListAccounts[] =
    "SELECT " ACCOUNT_COLUMNS " FROM accounts WHERE owner = $1 AND id > $2 ORDER BY id LIMIT $3";

absl::StatusOr<std::vector<Account>> ListAccounts(pg::Transaction& tx, const Uuid& owner,
                                                  const AccountId& after, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListAccounts, owner, after, limit));
  return ToAccounts(rows);
}

constexpr char kLockAccounts[] =
    "SELECT " ACCOUNT_COLUMNS
    " FROM accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE";

absl::StatusOr<IdMap<AccountId, Account>> LockAccounts(pg::Transaction& tx,
                                                       const std::vector<AccountId>& ids) {
  IdMap<AccountId, Account> accounts;
  if (ids.empty()) return accounts;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kLockAccounts, ids));
  accounts.reserve(rows.size());
  for (Account& account : ToAccounts(rows)) accounts[account.id] = std::move(account);
  return accounts;
}

absl::Status InsertAccounts(pg::Transaction& tx, const std::vector<const Account*>& accounts) {
  if (accounts.empty()) return absl::OkStatus();
  return tx.CopyIn("accounts",
                   {"id", "owner", "type", "asset", "floor", "label", "status", "balance", "held",
                    "opened_us", "opened_index"},
                   [&accounts](pg::CopyWriter& out) -> absl::Status {
                     for (const Account* a : accounts) {
                       RETURN_IF_ERROR(out.Write(
                           {a->id, a->owner, static_cast<int>(a->type), a->asset, a->floor,
                            a->label, static_cast<int>(a->status), a->balance, a->held,
                            a->opened_us, a->opened_index}));
                     }
                     return absl::OkStatus();
                   });
}

constexpr char kUpdateBalances[] =
    "UPDATE accounts SET balance = n.balance "
    "FROM unnest($1::uuid[], $2::bigint[]) AS n (id, balance) WHERE accounts.id = n.id";

absl::Status UpdateBalances(pg::Transaction& tx, const std::vector<const Account*>& accounts) {
  if (accounts.empty()) return absl::OkStatus();
  std::vector<AccountId> ids;
  std::vector<int64_t> balances;
  for (const Account* account : accounts) {
    ids.push_back(account->id);
    balances.push_back(account->balance);
  }
  ASSIGN_OR_RETURN(const int64_t affected, tx.ExecAffected(kUpdateBalances, ids, balances));
  if (affected == static_cast<int64_t>(accounts.size())) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(affected, " of ", accounts.size(), " balances changed"));
}

constexpr char kFindTransfer[] = "SELECT " TRANSFER_COLUMNS " FROM transfers WHERE id = $1";

absl::StatusOr<std::optional<PostedTransfer>> FindTransfer(pg::Transaction& tx,
                                                           const TransferId& id) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindTransfer, id));
  return row.has_value() ? std::optional(ToTransfer(*row)) : std::nullopt;
}

constexpr char kFindTransfers[] =
    "SELECT " TRANSFER_COLUMNS " FROM transfers WHERE id = ANY($1::uuid[])";

absl::StatusOr<IdMap<TransferId, PostedTransfer>> FindTransfers(
    pg::Transaction& tx, const std::vector<TransferId>& ids) {
  IdMap<TransferId, PostedTransfer> found;
  if (ids.empty()) return found;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindTransfers, ids));
  for (const pg::Row& row : rows) {
    PostedTransfer posted = ToTransfer(row);
    found[posted.transfer.id] = std::move(posted);
  }
  return found;
}

absl::Status InsertTransfers(pg::Transaction& tx, const std::vector<PostedTransfer>& transfers) {
  if (transfers.empty()) return absl::OkStatus();
  return tx.CopyIn("transfers",
                   {"log_index", "id", "debit", "credit", "amount", "kind", "code", "reference",
                    "authorised_by", "debit_balance", "credit_balance", "posted_us"},
                   [&transfers](pg::CopyWriter& out) -> absl::Status {
                     for (const PostedTransfer& p : transfers) {
                       const Transfer& t = p.transfer;
                       RETURN_IF_ERROR(out.Write(
                           {p.log_index, t.id, t.debit, t.credit, t.amount,
                            static_cast<int>(t.kind), t.code, t.reference, t.authorised_by,
                            p.debit_balance, p.credit_balance, p.posted_us}));
                     }
                     return absl::OkStatus();
                   });
}

// Each half takes its own index and stops after $3 rows.
constexpr char kListTransfers[] =
    "SELECT * FROM ("
    "  (SELECT " TRANSFER_COLUMNS " FROM transfers WHERE debit = $1 AND log_index < $2"
    "   ORDER BY log_index DESC LIMIT $3)"
    "  UNION ALL"
    "  (SELECT " TRANSFER_COLUMNS " FROM transfers WHERE credit = $1 AND log_index < $2"
    "   ORDER BY log_index DESC LIMIT $3)"
    ") AS both_sides ORDER BY log_index DESC LIMIT $3";

absl::StatusOr<std::vector<PostedTransfer>> ListTransfers(pg::Transaction& tx,
                                                          const AccountId& account, int64_t before,
                                                          int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListTransfers, account, before, limit));
  std::vector<PostedTransfer> transfers;
  transfers.reserve(rows.size());
  for (const pg::Row& row : rows) transfers.push_back(ToTransfer(row));
  return transfers;
}

constexpr char kFindBurned[] =
    "SELECT id, result FROM burned_transfers WHERE id = ANY($1::uuid[])";

absl::StatusOr<IdMap<TransferId, TransferResult>> FindBurned(pg::Transaction& tx,
                                                             const std::vector<TransferId>& ids) {
  IdMap<TransferId, TransferResult> found;
  if (ids.empty()) return found;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindBurned, ids));
  for (const pg::Row& row : rows) {
    found[row.Get<TransferId>(0)] = static_cast<TransferResult>(row.Get<int32_t>(1));
  }
  return found;
}

absl::Status InsertBurned(pg::Transaction& tx, const std::vector<Burned>& burned) {
  if (burned.empty()) return absl::OkStatus();
  return tx.CopyIn("burned_transfers", {"id", "result", "burned_us"},
                   [&burned](pg::CopyWriter& out) -> absl::Status {
                     for (const Burned& b : burned) {
                       RETURN_IF_ERROR(
                           out.Write({b.id, static_cast<int>(b.result), b.burned_us}));
                     }
                     return absl::OkStatus();
                   });
}

constexpr char kFindImbalances[] =
    "SELECT asset, sum(balance)::text FROM accounts GROUP BY asset HAVING sum(balance) <> 0 "
    "ORDER BY asset";

absl::StatusOr<std::vector<std::string>> FindImbalances(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindImbalances));
  std::vector<std::string> imbalances;
  for (const pg::Row& row : rows) {
    imbalances.push_back(absl::StrCat(row.Get<std::string>(0), " ", row.Get<std::string>(1)));
  }
  return imbalances;
}

}  // namespace rochdale::ledger
