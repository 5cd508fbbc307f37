#include "services/ledger/hold_store.h"

#include <utility>

#include "libs/base/status_macros.h"

namespace rochdale::ledger {
namespace {

Hold ToHold(const pg::Row& row) {
  Hold hold;
  hold.id = row.Get<TransferId>("id");
  hold.debit = row.Get<AccountId>("debit");
  hold.credit = row.Get<AccountId>("credit");
  hold.amount = row.Get<int64_t>("amount");
  hold.kind = static_cast<TransferKind>(row.Get<int32_t>("kind"));
  hold.opened_us = row.Get<int64_t>("opened_us");
  hold.expires_us = row.Get<int64_t>("expires_us");
  hold.state = static_cast<HoldState>(row.Get<int32_t>("state"));
  hold.posted = row.Get<int64_t>("posted");
  hold.owner = row.Get<PrincipalId>("owner");
  hold.mandate = row.Get<MandateId>("mandate");
  return hold;
}

std::vector<Hold> ToHolds(const pg::Rows& rows) {
  std::vector<Hold> holds;
  holds.reserve(rows.size());
  for (const pg::Row& row : rows) holds.push_back(ToHold(row));
  return holds;
}

}  // namespace

#define HOLD_COLUMNS \
  "id, debit, credit, amount, kind, opened_us, expires_us, state, posted, owner, mandate"

constexpr char kFindHolds[] = "SELECT " HOLD_COLUMNS " FROM holds WHERE id = ANY($1::uuid[])";

absl::StatusOr<std::vector<Hold>> FindHolds(pg::Transaction& tx,
                                            const std::vector<TransferId>& ids) {
  if (ids.empty()) return std::vector<Hold>();
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindHolds, ids));
  return ToHolds(rows);
}

absl::StatusOr<std::optional<Hold>> FindHold(pg::Transaction& tx, const TransferId& id) {
  ASSIGN_OR_RETURN(std::vector<Hold> found, FindHolds(tx, {id}));
  return found.empty() ? std::nullopt : std::optional(found[0]);
}

constexpr char kListOpenHolds[] =
    "SELECT " HOLD_COLUMNS
    " FROM holds WHERE debit = $1 AND state = 1 AND id > $2 ORDER BY id LIMIT $3";

absl::StatusOr<std::vector<Hold>> ListOpenHolds(pg::Transaction& tx, const AccountId& account,
                                                const TransferId& after, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListOpenHolds, account, after, limit));
  return ToHolds(rows);
}

constexpr char kFindDueHolds[] =
    "SELECT " HOLD_COLUMNS
    " FROM holds WHERE state = 1 AND expires_us <= $1 ORDER BY expires_us, id LIMIT $2";

absl::StatusOr<std::vector<Hold>> FindDueHolds(pg::Transaction& tx, int64_t now_us, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindDueHolds, now_us, limit));
  return ToHolds(rows);
}

constexpr char kFindNextExpiry[] =
    "SELECT min(expires_us) FROM holds WHERE state = 1 AND expires_us > $1";

absl::StatusOr<std::optional<int64_t>> FindNextExpiryAfter(pg::Transaction& tx, int64_t now_us) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kFindNextExpiry, now_us));
  return row.Get<std::optional<int64_t>>(0);
}

constexpr char kCountOpenHolds[] = "SELECT count(*) FROM holds WHERE state = 1";

absl::StatusOr<int64_t> CountOpenHolds(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kCountOpenHolds));
  return row.Get<int64_t>(0);
}

constexpr char kSaveHolds[] =
    "INSERT INTO holds (" HOLD_COLUMNS ") "
    "SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::smallint[], "
    "$6::bigint[], $7::bigint[], $8::smallint[], $9::bigint[], $10::uuid[], $11::uuid[]) "
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state, posted = excluded.posted";

absl::Status SaveHolds(pg::Transaction& tx, const std::vector<Hold>& holds) {
  if (holds.empty()) return absl::OkStatus();
  std::vector<TransferId> ids;
  std::vector<AccountId> debits, credits;
  std::vector<int64_t> amounts, opened, expires, posted;
  std::vector<int32_t> kinds, states;
  std::vector<PrincipalId> owners;
  std::vector<MandateId> mandates;
  for (const Hold& hold : holds) {
    ids.push_back(hold.id);
    debits.push_back(hold.debit);
    credits.push_back(hold.credit);
    amounts.push_back(hold.amount);
    kinds.push_back(static_cast<int32_t>(hold.kind));
    opened.push_back(hold.opened_us);
    expires.push_back(hold.expires_us);
    states.push_back(static_cast<int32_t>(hold.state));
    posted.push_back(hold.posted);
    owners.push_back(hold.owner);
    mandates.push_back(hold.mandate);
  }
  return tx.Exec(kSaveHolds, ids, debits, credits, amounts, kinds, opened, expires, states, posted,
                 owners, mandates)
      .status();
}

constexpr char kFindCorrections[] =
    "SELECT transfer, corrected FROM corrections WHERE transfer = ANY($1::uuid[])";

absl::StatusOr<IdMap<TransferId, int64_t>> FindCorrections(pg::Transaction& tx,
                                                           const std::vector<TransferId>& ids) {
  IdMap<TransferId, int64_t> found;
  if (ids.empty()) return found;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindCorrections, ids));
  for (const pg::Row& row : rows) found[row.Get<TransferId>(0)] = row.Get<int64_t>(1);
  return found;
}

constexpr char kAddCorrections[] =
    "INSERT INTO corrections AS c (transfer, corrected) "
    "SELECT * FROM unnest($1::uuid[], $2::bigint[]) "
    "ON CONFLICT (transfer) DO UPDATE SET corrected = c.corrected + excluded.corrected";

absl::Status AddCorrections(pg::Transaction& tx, const IdMap<TransferId, int64_t>& added) {
  if (added.empty()) return absl::OkStatus();
  std::vector<TransferId> ids;
  std::vector<int64_t> amounts;
  for (const auto& [id, amount] : added) {
    ids.push_back(id);
    amounts.push_back(amount);
  }
  return tx.Exec(kAddCorrections, ids, amounts).status();
}

int32_t DayOf(int64_t time_us) { return static_cast<int32_t>(time_us / 86'400'000'000); }

constexpr char kFindSpent[] =
    "SELECT key, asset, day, amount FROM spent WHERE key = ANY($1::uuid[]) AND day IN ($2, -1)";

absl::StatusOr<std::map<SpentKey, int64_t>> FindSpent(pg::Transaction& tx,
                                                      const std::vector<Uuid>& keys, int32_t day) {
  std::map<SpentKey, int64_t> found;
  if (keys.empty()) return found;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindSpent, keys, day));
  for (const pg::Row& row : rows) {
    found[{row.Get<Uuid>(0), row.Get<std::string>(1), row.Get<int32_t>(2)}] = row.Get<int64_t>(3);
  }
  return found;
}

// What is taken back was added before, so the sum cannot fall below 0; an INSERT of a negative
// amount is refused by the table.
constexpr char kAddSpent[] =
    "UPDATE spent SET amount = spent.amount + n.amount "
    "FROM unnest($1::uuid[], $2::text[], $3::int[], $4::bigint[]) AS n (key, asset, day, amount) "
    "WHERE spent.key = n.key AND spent.asset = n.asset AND spent.day = n.day";
constexpr char kMakeSpent[] =
    "INSERT INTO spent (key, asset, day, amount) "
    "SELECT key, asset, day, 0 FROM unnest($1::uuid[], $2::text[], $3::int[]) "
    "AS n (key, asset, day) ON CONFLICT DO NOTHING";

absl::Status AddSpent(pg::Transaction& tx, const std::map<SpentKey, int64_t>& added) {
  std::vector<Uuid> keys;
  std::vector<std::string> assets;
  std::vector<int32_t> days;
  std::vector<int64_t> amounts;
  for (const auto& [key, amount] : added) {
    if (amount == 0) continue;
    keys.push_back(key.key);
    assets.push_back(key.asset);
    days.push_back(key.day);
    amounts.push_back(amount);
  }
  if (keys.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(tx.ExecArrays(kMakeSpent, keys, assets, days).status());
  return tx.ExecArrays(kAddSpent, keys, assets, days, amounts).status();
}

}  // namespace rochdale::ledger
