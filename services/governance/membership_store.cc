#include "services/governance/membership_store.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/rows.h"
#include "libs/pg/transaction.h"

namespace rochdale::governance {
namespace {

constexpr char kFindMember[] = R"sql(
  SELECT cooperative_id, principal_id, state, rules_version, changed_us, event_id
  FROM members WHERE cooperative_id = $1 AND principal_id = $2)sql";
constexpr char kPutMember[] = R"sql(
  INSERT INTO members (cooperative_id, principal_id, state, rules_version, changed_us, event_id)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (cooperative_id, principal_id) DO UPDATE
  SET state = $3, rules_version = $4, changed_us = $5, event_id = $6)sql";
constexpr char kListMembers[] = R"sql(
  SELECT cooperative_id, principal_id, state, rules_version, changed_us, event_id
  FROM members
  WHERE cooperative_id = $1
    AND ($4::text = '' OR principal_id > nullif($4::text, '')::uuid)
    AND CASE $2::int WHEN 0 THEN true
                     WHEN 3 THEN state = 3 AND rules_version >= $3
                     WHEN 5 THEN state = 3 AND rules_version < $3
                     ELSE state = $2 END
  ORDER BY principal_id LIMIT $5)sql";
constexpr char kMandateColumns[] =
    "SELECT m.mandate_id, m.cooperative_id, m.principal_id, m.agent_id, m.document_sha256,"
    " m.actions, m.not_before_us, m.expires_us, m.revoked_us, m.event_id FROM mandates m ";
constexpr char kReplaceStanding[] = R"sql(
  UPDATE mandates SET revoked_us = $3
  WHERE cooperative_id = $1 AND agent_id = $2 AND revoked_us = 0)sql";
constexpr char kInsertMandate[] = R"sql(
  INSERT INTO mandates (mandate_id, cooperative_id, principal_id, agent_id, document_sha256,
                        actions, not_before_us, expires_us, revoked_us, event_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9) ON CONFLICT (mandate_id) DO NOTHING)sql";
constexpr char kRevoke[] =
    "UPDATE mandates SET revoked_us = $2 WHERE mandate_id = $1 AND revoked_us = 0";
constexpr char kListMandates[] = R"sql(
  WHERE m.cooperative_id = $1
    AND ($2::uuid IS NULL OR m.agent_id = $2)
    AND ($5::text = '' OR m.mandate_id > nullif($5::text, '')::uuid)
    AND (NOT $3 OR (m.revoked_us = 0 AND m.not_before_us <= $4 AND m.expires_us > $4
      AND EXISTS (SELECT 1 FROM agents a WHERE a.agent_id = m.agent_id AND NOT a.paused)
      AND EXISTS (SELECT 1 FROM members x JOIN cooperatives c USING (cooperative_id)
                  WHERE x.cooperative_id = m.cooperative_id AND x.principal_id = m.principal_id
                    AND x.state = 3 AND x.rules_version >= c.rules_version)))
  ORDER BY m.mandate_id LIMIT $6)sql";

Member ToMember(const pg::Row& row) {
  return {row.Get<CooperativeId>("cooperative_id"), row.Get<PrincipalId>("principal_id"),
          static_cast<MembershipState>(row.Get<int32_t>("state")),
          row.Get<int64_t>("rules_version"), row.Get<absl::Time>("changed_us"),
          row.Get<EventId>("event_id")};
}

Mandate ToMandate(const pg::Row& row) {
  return {row.Get<MandateId>("mandate_id"),        row.Get<CooperativeId>("cooperative_id"),
          row.Get<PrincipalId>("principal_id"),    row.Get<AgentId>("agent_id"),
          row.Get<crypto::Digest>("document_sha256"), row.Get<std::vector<int32_t>>("actions"),
          row.Get<absl::Time>("not_before_us"),    row.Get<absl::Time>("expires_us"),
          row.Get<absl::Time>("revoked_us"),       row.Get<EventId>("event_id")};
}

absl::StatusOr<std::optional<Mandate>> OptionalMandate(
    absl::StatusOr<std::optional<pg::Row>> row) {
  RETURN_IF_ERROR(row.status());
  if (!*row) return std::nullopt;
  return ToMandate(**row);
}

}  // namespace

absl::StatusOr<std::optional<Member>> FindMemberForUpdate(pg::Transaction& tx,
                                                          const CooperativeId& cooperative,
                                                          const PrincipalId& principal) {
  // An advisory lock, since a row that does not exist cannot be locked.
  RETURN_IF_ERROR(tx.AdvisoryLock(pg::AdvisoryKey(absl::StrCat(
      "governance.member/", cooperative.ToString(), "/", principal.ToString()))));
  return FindMember(tx, cooperative, principal);
}

absl::StatusOr<std::optional<Member>> FindMember(pg::Transaction& tx,
                                                 const CooperativeId& cooperative,
                                                 const PrincipalId& principal) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row,
                   tx.ExecOptional(kFindMember, cooperative, principal));
  if (!row) return std::nullopt;
  return ToMember(*row);
}

absl::Status PutMember(pg::Transaction& tx, const Member& m) {
  return tx.Exec(kPutMember, m.cooperative, m.principal, static_cast<int32_t>(m.state),
                 m.rules_version, m.changed, m.event)
      .status();
}

absl::StatusOr<std::vector<Member>> ListMembers(pg::Transaction& tx,
                                                const CooperativeId& cooperative,
                                                MembershipState state, int64_t rules_version,
                                                const std::string& after, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows,
                   tx.Exec(kListMembers, cooperative, static_cast<int32_t>(state), rules_version,
                           after, limit));
  std::vector<Member> members;
  for (const pg::Row& row : rows) members.push_back(ToMember(row));
  return members;
}

absl::Status PutMandate(pg::Transaction& tx, const Mandate& m, absl::Time now) {
  // Of two grants at once the second replaces the first.
  RETURN_IF_ERROR(tx.AdvisoryLock(pg::AdvisoryKey(
      absl::StrCat("governance.mandate/", m.cooperative.ToString(), "/", m.agent.ToString()))));
  RETURN_IF_ERROR(tx.Exec(kReplaceStanding, m.cooperative, m.agent, now).status());
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertMandate, m.id, m.cooperative, m.principal, m.agent,
                                   m.document, m.actions, m.not_before, m.expires, m.event));
  if (inserted == 0) return Error("ALREADY_EXISTS", "a mandate with this id exists");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Mandate>> FindMandate(pg::Transaction& tx, const MandateId& id) {
  static const std::string sql = absl::StrCat(kMandateColumns, "WHERE m.mandate_id = $1");
  return OptionalMandate(tx.ExecOptional(sql, id));
}

absl::StatusOr<std::optional<Mandate>> FindStandingMandate(pg::Transaction& tx,
                                                           const CooperativeId& cooperative,
                                                           const AgentId& agent) {
  static const std::string sql = absl::StrCat(
      kMandateColumns, "WHERE m.cooperative_id = $1 AND m.agent_id = $2 AND m.revoked_us = 0");
  return OptionalMandate(tx.ExecOptional(sql, cooperative, agent));
}

absl::StatusOr<bool> RevokeMandate(pg::Transaction& tx, const MandateId& id, absl::Time now) {
  ASSIGN_OR_RETURN(const int64_t revoked, tx.ExecAffected(kRevoke, id, now));
  return revoked == 1;
}

absl::StatusOr<std::vector<Mandate>> ListMandates(pg::Transaction& tx,
                                                  const CooperativeId& cooperative,
                                                  const AgentId& agent, bool in_force,
                                                  absl::Time now, const std::string& after,
                                                  int limit) {
  static const std::string sql = absl::StrCat(kMandateColumns, kListMandates);
  const std::optional<AgentId> only =
      agent.IsZero() ? std::nullopt : std::optional<AgentId>(agent);
  ASSIGN_OR_RETURN(const pg::Rows rows,
                   tx.Exec(sql, cooperative, only, in_force, now, after, limit));
  std::vector<Mandate> mandates;
  for (const pg::Row& row : rows) mandates.push_back(ToMandate(row));
  return mandates;
}

}  // namespace rochdale::governance
