#include "services/governance/cooperative_store.h"

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/rows.h"
#include "libs/pg/transaction.h"

namespace rochdale::governance {
namespace {

constexpr char kInsertCooperative[] = R"sql(
  INSERT INTO cooperatives (cooperative_id, slug, name, genesis_sha256, founder_threshold,
                            rules_version, parameters_version, founded_us, event_id,
                            is_network_founder, funded)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
  ON CONFLICT DO NOTHING)sql";
constexpr char kInsertFounder[] =
    "INSERT INTO founders (cooperative_id, public_key, position) VALUES ($1, $2, $3)";
constexpr char kInsertPool[] = R"sql(
  INSERT INTO pool_accounts (cooperative_id, name, account_id, owner_id, owned_by_principal, amount)
  VALUES ($1, $2, $3, $4, $5, $6))sql";
constexpr char kSelectColumns[] =
    "SELECT cooperative_id, slug, name, genesis_sha256, founder_threshold, rules_version,"
    " parameters_version, founded_us, event_id, is_network_founder FROM cooperatives ";
constexpr char kFounders[] =
    "SELECT public_key FROM founders WHERE cooperative_id = $1 ORDER BY position";
constexpr char kPools[] = R"sql(
  SELECT name, account_id, owner_id, owned_by_principal, amount
  FROM pool_accounts WHERE cooperative_id = $1 ORDER BY name)sql";
constexpr char kNetwork[] =
    "SELECT count(*) AS founders FROM cooperatives WHERE is_network_founder";
constexpr char kFoundedBy[] =
    "SELECT cooperative_id FROM founders WHERE public_key = $1 ORDER BY cooperative_id LIMIT 1000";
constexpr char kUnfunded[] =
    "SELECT cooperative_id FROM cooperatives WHERE NOT funded ORDER BY cooperative_id LIMIT 100";
constexpr char kMarkFunded[] = "UPDATE cooperatives SET funded = true WHERE cooperative_id = $1";

absl::StatusOr<Cooperative> Load(pg::Transaction& tx, const pg::Row& row) {
  Cooperative c;
  c.id = row.Get<CooperativeId>("cooperative_id");
  c.slug = row.Get<std::string>("slug");
  c.name = row.Get<std::string>("name");
  c.genesis = row.Get<crypto::Digest>("genesis_sha256");
  c.founder_threshold = row.Get<int32_t>("founder_threshold");
  c.rules_version = row.Get<int64_t>("rules_version");
  c.parameters_version = row.Get<int64_t>("parameters_version");
  c.founded = row.Get<absl::Time>("founded_us");
  c.event = row.Get<EventId>("event_id");
  c.is_network_founder = row.Get<bool>("is_network_founder");
  ASSIGN_OR_RETURN(const pg::Rows founders, tx.Exec(kFounders, c.id));
  for (const pg::Row& founder : founders) {
    c.founders.push_back(founder.Get<crypto::PublicKey>("public_key"));
  }
  ASSIGN_OR_RETURN(const pg::Rows pools, tx.Exec(kPools, c.id));
  for (const pg::Row& pool : pools) {
    c.pools.push_back({pool.Get<std::string>("name"), pool.Get<AccountId>("account_id"),
                       pool.Get<Uuid>("owner_id"), pool.Get<bool>("owned_by_principal"),
                       pool.Get<int64_t>("amount")});
  }
  return c;
}

template <typename Key>
absl::StatusOr<std::optional<Cooperative>> FindBy(pg::Transaction& tx, const char* where,
                                                  const Key& key) {
  const std::string sql = std::string(kSelectColumns) + where;
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(sql, key));
  if (!row) return std::nullopt;
  ASSIGN_OR_RETURN(Cooperative found, Load(tx, *row));
  return found;
}

}  // namespace

absl::Status InsertCooperative(pg::Transaction& tx, const Cooperative& c) {
  ASSIGN_OR_RETURN(
      const int64_t inserted,
      tx.ExecAffected(kInsertCooperative, c.id, c.slug, c.name, c.genesis, c.founder_threshold,
                      c.rules_version, c.parameters_version, c.founded, c.event,
                      c.is_network_founder, c.pools.empty()));
  if (inserted == 0) {
    return Error("COOPERATIVE_EXISTS", "a cooperative with this id or short name exists, or "
                                       "another genesis has just created the supply");
  }
  for (size_t i = 0; i < c.founders.size(); ++i) {
    RETURN_IF_ERROR(
        tx.Exec(kInsertFounder, c.id, c.founders[i], static_cast<int32_t>(i)).status());
  }
  for (const PoolAccount& pool : c.pools) {
    RETURN_IF_ERROR(tx.Exec(kInsertPool, c.id, pool.name, pool.account, pool.owner,
                            pool.owned_by_principal, pool.amount)
                        .status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Cooperative>> FindCooperative(pg::Transaction& tx,
                                                           const CooperativeId& id) {
  return FindBy(tx, "WHERE cooperative_id = $1", id);
}

absl::StatusOr<std::optional<Cooperative>> FindCooperativeBySlug(pg::Transaction& tx,
                                                                 const std::string& slug) {
  return FindBy(tx, "WHERE slug = $1", slug);
}

absl::StatusOr<std::vector<Cooperative>> ListCooperatives(pg::Transaction& tx,
                                                          const std::string& after, int limit) {
  static const std::string sql =
      std::string(kSelectColumns) +
      "WHERE $1::text = '' OR cooperative_id > nullif($1::text, '')::uuid"
      " ORDER BY cooperative_id LIMIT $2";
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(sql, after, limit));
  std::vector<Cooperative> found;
  for (const pg::Row& row : rows) {
    ASSIGN_OR_RETURN(Cooperative one, Load(tx, row));
    found.push_back(std::move(one));
  }
  return found;
}

absl::StatusOr<std::optional<Cooperative>> FindFirstCooperative(pg::Transaction& tx) {
  // By the order of the log, which is that of the outbox: what the ledger takes for the first.
  static const std::string sql =
      std::string(kSelectColumns) + "JOIN outbox USING (event_id) ORDER BY sequence LIMIT 1";
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(sql));
  if (!row) return std::nullopt;
  ASSIGN_OR_RETURN(Cooperative first, Load(tx, *row));
  return first;
}

absl::StatusOr<bool> NetworkIsFounded(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kNetwork));
  return row.Get<int64_t>("founders") > 0;
}

absl::StatusOr<std::vector<CooperativeId>> FoundedBy(pg::Transaction& tx,
                                                     const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFoundedBy, key));
  std::vector<CooperativeId> ids;
  for (const pg::Row& row : rows) ids.push_back(row.Get<CooperativeId>("cooperative_id"));
  return ids;
}

absl::StatusOr<std::vector<CooperativeId>> ListUnfunded(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kUnfunded));
  std::vector<CooperativeId> ids;
  for (const pg::Row& row : rows) ids.push_back(row.Get<CooperativeId>("cooperative_id"));
  return ids;
}

absl::Status MarkFunded(pg::Transaction& tx, const CooperativeId& id) {
  return tx.Exec(kMarkFunded, id).status();
}

}  // namespace rochdale::governance
