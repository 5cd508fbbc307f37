#include "services/filter/intake_store.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/rows.h"
#include "libs/pg/transaction.h"

namespace rochdale::filter {
namespace {

constexpr char kInsertProfile[] = R"sql(
  INSERT INTO profiles (cooperative_id, principal_id, version, document_sha256, salt, set_us,
                        event_id)
  SELECT $1, $2, $3, $4, $5, $6, $7
  WHERE $3 = 1 + coalesce((SELECT max(version) FROM profiles
                           WHERE cooperative_id = $1 AND principal_id = $2), 0)
  ON CONFLICT DO NOTHING)sql";
constexpr char kFindProfile[] = R"sql(
  SELECT p.version, p.event_id, d.type, d.body, d.public_key, d.signature
  FROM profiles p JOIN documents d USING (document_sha256)
  WHERE p.cooperative_id = $1 AND p.principal_id = $2 AND ($3::bigint = 0 OR p.version = $3)
  ORDER BY p.version DESC LIMIT 1)sql";
constexpr char kInsertProbe[] = R"sql(
  INSERT INTO probes (probe_id, cooperative_id, principal_id, name, data_sha256, row_count,
                      protected, salt, event_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING)sql";
constexpr char kProbeColumns[] =
    "SELECT probe_id, cooperative_id, principal_id, name, data_sha256, row_count, protected, salt,"
    " event_id FROM probes ";
constexpr char kListProbes[] = R"sql(
  WHERE cooperative_id = $1 AND ($3 OR principal_id IS NULL OR principal_id = $2)
    AND ($4::text = '' OR probe_id > nullif($4::text, '')::uuid)
  ORDER BY probe_id LIMIT $5)sql";
constexpr char kHasUpload[] =
    "SELECT 1 FROM uploads WHERE owner = $1 AND purpose = $2 AND sha256 = $3";
constexpr char kOwnsBlob[] = "SELECT 1 FROM uploads WHERE owner = $1 AND sha256 = $2 LIMIT 1";
constexpr char kRecordUpload[] = R"sql(
  INSERT INTO uploads (owner, purpose, sha256, size_bytes, done_us)
  VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING)sql";
constexpr char kInsertRound[] = R"sql(
  INSERT INTO rounds (round_id, cooperative_id, number, scenario, base_sha256, manifest, intake,
                      deadline_us, opened_event, commitments, decided)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, false) ON CONFLICT DO NOTHING)sql";
constexpr char kInsertGradient[] =
    "INSERT INTO gradients (round_id, probe_id, sha256) VALUES ($1, $2, $3)";
constexpr char kRoundColumns[] =
    "SELECT round_id, cooperative_id, number, scenario, base_sha256, manifest, intake,"
    " deadline_us, opened_event, commitments, lineages, decided FROM rounds ";
constexpr char kListGradients[] =
    "SELECT probe_id, sha256 FROM gradients WHERE round_id = $1 ORDER BY probe_id";
constexpr char kSetIntake[] =
    "UPDATE rounds SET intake = $2, deadline_us = $3 WHERE round_id = $1";
constexpr char kSetCommitments[] = "UPDATE rounds SET commitments = $2 WHERE round_id = $1";
constexpr char kSetScreened[] = "UPDATE rounds SET lineages = $2 WHERE round_id = $1";
constexpr char kSetDecided[] = "UPDATE rounds SET decided = true WHERE round_id = $1";
constexpr char kInsertUpdate[] = R"sql(
  INSERT INTO updates (update_id, round_id, cooperative_id, agent_id, principal_id, state,
                       update_sha256, size_bytes, sample_count, reason, committed_us,
                       commitment_number, commitment_event, mandate_id, consents, profile_version)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', $10, $11, $12, $13, $14, $15)
  ON CONFLICT DO NOTHING)sql";
constexpr char kHasUpdate[] =
    "SELECT 1 FROM updates WHERE round_id = $1 AND principal_id = $2";
constexpr char kUpdateColumns[] =
    "SELECT update_id, round_id, cooperative_id, agent_id, principal_id, state, update_sha256,"
    " size_bytes, sample_count, effective_sha256, reason, committed_us, commitment_number,"
    " commitment_event, decision_event, mandate_id, consents, profile_version, lineage_id,"
    " lineage_principal, coalesce(facts, '') AS facts FROM updates ";
constexpr char kSetState[] = "UPDATE updates SET state = $2, reason = $3 WHERE update_id = $1";
constexpr char kSetScreening[] = R"sql(
  UPDATE updates SET state = $2, effective_sha256 = $3, lineage_id = $4, lineage_principal = $5,
                     facts = $6
  WHERE update_id = $1)sql";
constexpr char kSetDecisionEvent[] =
    "UPDATE updates SET decision_event = $2 WHERE update_id = $1";
constexpr char kInsertDecision[] = R"sql(
  INSERT INTO decisions (update_id, verdict, fit_micro, findings, body, salt, decided_us, event_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8))sql";
constexpr char kFindDecision[] = R"sql(
  SELECT update_id, verdict, fit_micro, findings, body, salt, decided_us, event_id
  FROM decisions WHERE update_id = $1)sql";

Probe ToProbe(const pg::Row& row) {
  return {row.Get<ProbeId>("probe_id"),
          row.Get<CooperativeId>("cooperative_id"),
          row.Get<std::optional<PrincipalId>>("principal_id"),
          row.Get<std::string>("name"),
          row.Get<crypto::Digest>("data_sha256"),
          row.Get<int64_t>("row_count"),
          row.Get<bool>("protected"),
          row.Get<crypto::Salt>("salt"),
          row.Get<EventId>("event_id")};
}

Round ToRound(const pg::Row& row) {
  Round r;
  r.id = row.Get<RoundId>("round_id");
  r.cooperative = row.Get<CooperativeId>("cooperative_id");
  r.number = row.Get<int64_t>("number");
  r.scenario = row.Get<std::string>("scenario");
  r.base = row.Get<crypto::Digest>("base_sha256");
  r.manifest = row.Get<std::string>("manifest");
  r.intake = static_cast<IntakeState>(row.Get<int32_t>("intake"));
  r.deadline = row.Get<absl::Time>("deadline_us");
  r.opened = row.Get<EventId>("opened_event");
  r.commitments = row.Get<int64_t>("commitments");
  r.lineages = row.Get<std::optional<int64_t>>("lineages");
  r.decided = row.Get<bool>("decided");
  return r;
}

Update ToUpdate(const pg::Row& row) {
  Update u;
  u.id = row.Get<UpdateId>("update_id");
  u.round = row.Get<RoundId>("round_id");
  u.cooperative = row.Get<CooperativeId>("cooperative_id");
  u.agent = row.Get<AgentId>("agent_id");
  u.principal = row.Get<PrincipalId>("principal_id");
  u.state = static_cast<UpdateState>(row.Get<int32_t>("state"));
  u.digest = row.Get<crypto::Digest>("update_sha256");
  u.size_bytes = row.Get<int64_t>("size_bytes");
  u.sample_count = row.Get<int64_t>("sample_count");
  u.effective = row.Get<std::optional<crypto::Digest>>("effective_sha256");
  u.reason = row.Get<std::string>("reason");
  u.committed = row.Get<absl::Time>("committed_us");
  u.commitment_number = row.Get<int64_t>("commitment_number");
  u.commitment_event = row.Get<EventId>("commitment_event");
  u.decision_event = row.Get<std::optional<EventId>>("decision_event");
  u.mandate = row.Get<MandateId>("mandate_id");
  u.consents_to_publication = row.Get<bool>("consents");
  u.profile_version = row.Get<int64_t>("profile_version");
  u.lineage = row.Get<std::optional<UpdateId>>("lineage_id");
  u.lineage_principal = row.Get<std::optional<PrincipalId>>("lineage_principal");
  u.facts = row.Get<std::string>("facts");
  return u;
}

template <typename T>
absl::StatusOr<std::vector<T>> All(absl::StatusOr<pg::Rows> rows, T (*convert)(const pg::Row&)) {
  RETURN_IF_ERROR(rows.status());
  std::vector<T> found;
  for (const pg::Row& row : *rows) found.push_back(convert(row));
  return found;
}

template <typename T>
absl::StatusOr<std::optional<T>> Maybe(absl::StatusOr<std::optional<pg::Row>> row,
                                       T (*convert)(const pg::Row&)) {
  RETURN_IF_ERROR(row.status());
  if (!*row) return std::nullopt;
  return convert(**row);
}

}  // namespace

absl::Status InsertProfile(pg::Transaction& tx, const CooperativeId& cooperative,
                           const PrincipalId& principal, int64_t version,
                           const crypto::Digest& document, const crypto::Salt& salt,
                           absl::Time now, const EventId& event) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertProfile, cooperative, principal, version, document, salt,
                                   now, event));
  if (inserted == 0) {
    return Error("STALE_VERSION", "a profile's version is one more than the last one's");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<StoredProfile>> FindProfile(pg::Transaction& tx,
                                                         const CooperativeId& cooperative,
                                                         const PrincipalId& principal,
                                                         int64_t version) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row,
                   tx.ExecOptional(kFindProfile, cooperative, principal, version));
  if (!row) return std::nullopt;
  return StoredProfile{
      row->Get<int64_t>("version"),
      crypto::SignedDocument{row->Get<std::string>("type"), row->GetBytes("body"),
                             row->Get<crypto::PublicKey>("public_key"),
                             row->Get<crypto::Signature>("signature")},
      row->Get<EventId>("event_id")};
}

absl::Status InsertProbe(pg::Transaction& tx, const Probe& p) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertProbe, p.id, p.cooperative, p.principal, p.name, p.data,
                                   p.rows, p.is_protected, p.salt, p.event));
  if (inserted == 0) return Error("ALREADY_EXISTS", "a probe with this id exists");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Probe>> FindProbe(pg::Transaction& tx, const ProbeId& id) {
  static const std::string sql = absl::StrCat(kProbeColumns, "WHERE probe_id = $1");
  return Maybe(tx.ExecOptional(sql, id), ToProbe);
}

absl::StatusOr<std::vector<Probe>> FindProbesByData(pg::Transaction& tx,
                                                    const crypto::Digest& data) {
  static const std::string sql =
      absl::StrCat(kProbeColumns, "WHERE data_sha256 = $1 ORDER BY probe_id LIMIT 100");
  return All(tx.Exec(sql, data), ToProbe);
}

absl::StatusOr<std::vector<Probe>> ListProbes(pg::Transaction& tx,
                                              const CooperativeId& cooperative,
                                              const PrincipalId& viewer, bool all,
                                              const std::string& after, int limit) {
  static const std::string sql = absl::StrCat(kProbeColumns, kListProbes);
  return All(tx.Exec(sql, cooperative, viewer, all, after, limit), ToProbe);
}

absl::StatusOr<bool> HasUpload(pg::Transaction& tx, const std::string& owner, int purpose,
                               const crypto::Digest& digest) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kHasUpload, owner, purpose, digest));
  return row.has_value();
}

absl::StatusOr<bool> OwnsBlob(pg::Transaction& tx, const std::string& owner,
                              const crypto::Digest& digest) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kOwnsBlob, owner, digest));
  return row.has_value();
}

absl::Status RecordUpload(pg::Transaction& tx, const std::string& owner, int purpose,
                          const crypto::Digest& digest, int64_t size_bytes, absl::Time now) {
  return tx.Exec(kRecordUpload, owner, purpose, digest, size_bytes, now).status();
}

absl::StatusOr<bool> InsertRound(pg::Transaction& tx, const Round& r,
                                 const std::vector<ProbeGradient>& gradients) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertRound, r.id, r.cooperative, r.number, r.scenario, r.base,
                                   r.manifest, static_cast<int32_t>(r.intake), r.deadline,
                                   r.opened));
  if (inserted == 0) return false;
  for (const ProbeGradient& gradient : gradients) {
    RETURN_IF_ERROR(tx.Exec(kInsertGradient, r.id, gradient.probe, gradient.gradient).status());
  }
  return true;
}

absl::StatusOr<std::optional<Round>> FindRound(pg::Transaction& tx, const RoundId& id) {
  static const std::string sql = absl::StrCat(kRoundColumns, "WHERE round_id = $1");
  return Maybe(tx.ExecOptional(sql, id), ToRound);
}

absl::StatusOr<std::optional<Round>> FindRoundForUpdate(pg::Transaction& tx, const RoundId& id) {
  static const std::string sql = absl::StrCat(kRoundColumns, "WHERE round_id = $1 FOR UPDATE");
  return Maybe(tx.ExecOptional(sql, id), ToRound);
}

absl::StatusOr<std::vector<Round>> FindRecentRounds(pg::Transaction& tx, const Round& round,
                                                    int64_t rounds_back) {
  static const std::string sql = absl::StrCat(
      kRoundColumns,
      "WHERE cooperative_id = $1 AND number < $2 AND number >= $2 - $3 ORDER BY number");
  return All(tx.Exec(sql, round.cooperative, round.number, rounds_back), ToRound);
}

absl::StatusOr<std::vector<ProbeGradient>> ListGradients(pg::Transaction& tx,
                                                         const RoundId& round) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListGradients, round));
  std::vector<ProbeGradient> gradients;
  for (const pg::Row& row : rows) {
    gradients.push_back({row.Get<ProbeId>("probe_id"), row.Get<crypto::Digest>("sha256")});
  }
  return gradients;
}

absl::Status SetIntake(pg::Transaction& tx, const RoundId& id, IntakeState state,
                       absl::Time deadline) {
  return tx.Exec(kSetIntake, id, static_cast<int32_t>(state), deadline).status();
}

absl::Status SetCommitments(pg::Transaction& tx, const RoundId& id, int64_t commitments) {
  return tx.Exec(kSetCommitments, id, commitments).status();
}

absl::Status SetScreened(pg::Transaction& tx, const RoundId& id, int64_t lineages) {
  return tx.Exec(kSetScreened, id, lineages).status();
}

absl::Status SetDecided(pg::Transaction& tx, const RoundId& id) {
  return tx.Exec(kSetDecided, id).status();
}

absl::Status InsertUpdate(pg::Transaction& tx, const Update& u) {
  ASSIGN_OR_RETURN(const auto existing, tx.ExecOptional(kHasUpdate, u.round, u.principal));
  if (existing) return Error("UPDATE_EXISTS", "the principal has an update in this round already");
  ASSIGN_OR_RETURN(
      const int64_t inserted,
      tx.ExecAffected(kInsertUpdate, u.id, u.round, u.cooperative, u.agent, u.principal,
                      static_cast<int32_t>(u.state), u.digest, u.size_bytes, u.sample_count,
                      u.committed, u.commitment_number, u.commitment_event, u.mandate,
                      u.consents_to_publication, u.profile_version));
  if (inserted == 0) return Error("ALREADY_EXISTS", "an update with this id exists");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Update>> FindUpdate(pg::Transaction& tx, const UpdateId& id) {
  static const std::string sql = absl::StrCat(kUpdateColumns, "WHERE update_id = $1");
  return Maybe(tx.ExecOptional(sql, id), ToUpdate);
}

absl::StatusOr<std::optional<Update>> FindUpdateForUpdate(pg::Transaction& tx,
                                                          const UpdateId& id) {
  static const std::string sql = absl::StrCat(kUpdateColumns, "WHERE update_id = $1 FOR UPDATE");
  return Maybe(tx.ExecOptional(sql, id), ToUpdate);
}

absl::StatusOr<std::vector<Update>> FindByEffective(pg::Transaction& tx,
                                                    const crypto::Digest& effective) {
  static const std::string sql =
      absl::StrCat(kUpdateColumns, "WHERE effective_sha256 = $1 ORDER BY update_id LIMIT 100");
  return All(tx.Exec(sql, effective), ToUpdate);
}

absl::StatusOr<std::vector<Update>> ListUpdates(pg::Transaction& tx, const RoundId& round,
                                                int64_t after, int limit) {
  static const std::string sql = absl::StrCat(
      kUpdateColumns,
      "WHERE round_id = $1 AND commitment_number > $2 ORDER BY commitment_number LIMIT $3");
  return All(tx.Exec(sql, round, after, limit), ToUpdate);
}

absl::Status SetUpdateState(pg::Transaction& tx, const UpdateId& id, UpdateState state,
                            const std::string& reason) {
  return tx.Exec(kSetState, id, static_cast<int32_t>(state), reason).status();
}

absl::Status SetScreening(pg::Transaction& tx, const Update& u) {
  return tx.Exec(kSetScreening, u.id, static_cast<int32_t>(u.state), u.effective, u.lineage,
                 u.lineage_principal, u.facts)
      .status();
}

absl::Status SetDecisionEvent(pg::Transaction& tx, const UpdateId& id, const EventId& event) {
  return tx.Exec(kSetDecisionEvent, id, event).status();
}

absl::Status InsertDecision(pg::Transaction& tx, const StoredDecision& d) {
  return tx.Exec(kInsertDecision, d.update, d.verdict, d.fit_micro, d.findings,
                 pg::Bytes{d.body}, d.salt, d.decided, d.event)
      .status();
}

absl::StatusOr<std::optional<StoredDecision>> FindDecision(pg::Transaction& tx,
                                                           const UpdateId& id) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindDecision, id));
  if (!row) return std::nullopt;
  return StoredDecision{row->Get<UpdateId>("update_id"), row->Get<int32_t>("verdict"),
                        row->Get<int64_t>("fit_micro"),  row->Get<std::string>("findings"),
                        row->GetBytes("body"),           row->Get<crypto::Salt>("salt"),
                        row->Get<absl::Time>("decided_us"), row->Get<EventId>("event_id")};
}

}  // namespace rochdale::filter
