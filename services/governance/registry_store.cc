#include "services/governance/registry_store.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/rows.h"
#include "libs/pg/transaction.h"

namespace rochdale::governance {
namespace {

constexpr char kClaimKey[] = R"sql(
  INSERT INTO keys (public_key, principal_id, agent_id) VALUES ($1, $2, $3)
  ON CONFLICT DO NOTHING)sql";
constexpr char kFindKey[] = "SELECT principal_id, agent_id FROM keys WHERE public_key = $1";
constexpr char kInsertPrincipal[] = R"sql(
  INSERT INTO principals (principal_id, kind, display_name, public_key, kyc_level, registered_us,
                          event_id)
  VALUES ($1, $2, $3, $4, 0, $5, $6) ON CONFLICT DO NOTHING)sql";
constexpr char kFindPrincipal[] = R"sql(
  SELECT principal_id, kind, display_name, public_key, registered_us, event_id, kyc_level,
         kyc_expires_us, kyc_signed_us, kyc_event_id, kyc_owners
  FROM principals WHERE principal_id = $1)sql";
constexpr char kSetKyc[] = R"sql(
  UPDATE principals SET kyc_level = $2, kyc_expires_us = $3, kyc_signed_us = $4,
                        kyc_event_id = $5, kyc_owners = $6
  WHERE principal_id = $1)sql";
constexpr char kInsertAgent[] = R"sql(
  INSERT INTO agents (agent_id, principal_id, public_key, display_name, paused, registered_us,
                      event_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING)sql";
constexpr char kFindAgent[] = R"sql(
  SELECT agent_id, principal_id, public_key, display_name, paused, registered_us, event_id
  FROM agents WHERE agent_id = $1)sql";
constexpr char kSetPaused[] = "UPDATE agents SET paused = $2 WHERE agent_id = $1";

absl::Status ClaimKey(pg::Transaction& tx, const crypto::PublicKey& key,
                      const PrincipalId& principal, const std::optional<AgentId>& agent) {
  ASSIGN_OR_RETURN(const int64_t claimed, tx.ExecAffected(kClaimKey, key, principal, agent));
  if (claimed == 0) return Error("KEY_IN_USE", "this public key is registered already");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Principal>> OptionalPrincipal(
    absl::StatusOr<std::optional<pg::Row>> found) {
  RETURN_IF_ERROR(found.status());
  if (!*found) return std::nullopt;
  const pg::Row& row = **found;
  std::vector<crypto::Digest> owners;
  for (const std::string& bytes : row.GetBytesArray("kyc_owners")) {
    ASSIGN_OR_RETURN(owners.emplace_back(), crypto::Digest::FromBytes(bytes));
  }
  return Principal{row.Get<PrincipalId>("principal_id"),
                   row.Get<int32_t>("kind"),
                   row.Get<std::string>("display_name"),
                   row.Get<crypto::PublicKey>("public_key"),
                   row.Get<absl::Time>("registered_us"),
                   row.Get<EventId>("event_id"),
                   {row.Get<int32_t>("kyc_level"), row.Get<absl::Time>("kyc_expires_us"),
                    row.Get<absl::Time>("kyc_signed_us"),
                    row.Get<std::optional<EventId>>("kyc_event_id").value_or(EventId{}),
                    std::move(owners)}};
}

}  // namespace

absl::Status InsertPrincipal(pg::Transaction& tx, const Principal& p) {
  RETURN_IF_ERROR(ClaimKey(tx, p.key, p.id, std::nullopt));
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertPrincipal, p.id, p.kind, p.display_name, p.key,
                                   p.registered, p.event));
  if (inserted == 0) return Error("ALREADY_EXISTS", "a principal with this id exists");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Principal>> FindPrincipal(pg::Transaction& tx,
                                                       const PrincipalId& id) {
  return OptionalPrincipal(tx.ExecOptional(kFindPrincipal, id));
}

absl::StatusOr<std::optional<Principal>> FindPrincipalForUpdate(pg::Transaction& tx,
                                                                const PrincipalId& id) {
  static const std::string sql = absl::StrCat(kFindPrincipal, " FOR UPDATE");
  return OptionalPrincipal(tx.ExecOptional(sql, id));
}

absl::Status SetKyc(pg::Transaction& tx, const PrincipalId& id, const Kyc& kyc) {
  return tx.Exec(kSetKyc, id, kyc.level, kyc.expires, kyc.signed_at, kyc.event, kyc.owners)
      .status();
}

absl::Status InsertAgent(pg::Transaction& tx, const Agent& a) {
  RETURN_IF_ERROR(ClaimKey(tx, a.key, a.principal, a.id));
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertAgent, a.id, a.principal, a.key, a.display_name,
                                   a.paused, a.registered, a.event));
  if (inserted == 0) return Error("ALREADY_EXISTS", "an agent with this id exists");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Agent>> FindAgent(pg::Transaction& tx, const AgentId& id) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindAgent, id));
  if (!row) return std::nullopt;
  return Agent{row->Get<AgentId>("agent_id"),         row->Get<PrincipalId>("principal_id"),
               row->Get<crypto::PublicKey>("public_key"), row->Get<std::string>("display_name"),
               row->Get<bool>("paused"),              row->Get<absl::Time>("registered_us"),
               row->Get<EventId>("event_id")};
}

absl::Status SetPaused(pg::Transaction& tx, const AgentId& id, bool paused) {
  return tx.Exec(kSetPaused, id, paused).status();
}

absl::StatusOr<std::optional<KeyOwner>> FindKey(pg::Transaction& tx,
                                                const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindKey, key));
  if (!row) return std::nullopt;
  return KeyOwner{row->Get<PrincipalId>("principal_id"),
                  row->Get<std::optional<AgentId>>("agent_id").value_or(AgentId{})};
}

}  // namespace rochdale::governance
