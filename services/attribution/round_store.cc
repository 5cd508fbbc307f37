#include "services/attribution/round_store.h"

#include "libs/base/status_macros.h"

namespace rochdale::attribution {
namespace {

RoundRecord RoundOf(const pg::Row& row) {
  RoundRecord r;
  r.round = row.Get<RoundId>("round_id");
  r.cooperative = row.Get<CooperativeId>("cooperative_id");
  r.plan = row.Get<PlanId>("plan_id");
  r.number = row.Get<int64_t>("number");
  r.state = static_cast<RoundState>(row.Get<int32_t>("state"));
  r.announced = row.Get<bool>("announced");
  r.filter_told = row.Get<bool>("filter_told");
  r.deadline_us = row.Get<int64_t>("deadline_us");
  r.base_version = row.Get<int64_t>("base_version");
  r.base = row.Get<crypto::Digest>("base_sha256");
  r.best = row.Get<crypto::Digest>("best_sha256");
  r.seed_sha256 = row.Get<crypto::Digest>("seed_sha256");
  r.seed = row.Get<std::optional<crypto::Digest>>("seed");
  r.scenario = row.Get<std::string>("scenario");
  r.parameters = row.Get<std::string>("parameters");
  r.received = row.Get<std::optional<int64_t>>("received");
  r.lineages = row.Get<std::optional<int64_t>>("lineages");
  r.admitted = row.Get<std::optional<int64_t>>("admitted");
  r.generation = row.Get<int32_t>("generation");
  if (!row.IsNull("drawn_rows")) r.rows = row.Get<std::vector<int64_t>>("drawn_rows");
  r.rows_sha256 = row.Get<std::optional<crypto::Digest>>("rows_sha256");
  r.retired_us = row.Get<std::optional<int64_t>>("retired_us");
  r.applied_mask = row.Get<std::optional<int64_t>>("applied_mask");
  r.refused_mask = row.Get<std::optional<int64_t>>("refused_mask");
  r.applied = row.Get<std::optional<int64_t>>("applied");
  r.next = row.Get<std::optional<crypto::Digest>>("next_sha256");
  r.visible_base = row.Get<std::optional<int64_t>>("visible_base_nanonats");
  r.visible_loss = row.Get<std::optional<int64_t>>("visible_loss_nanonats");
  r.evidence_sha256 = row.Get<std::optional<crypto::Digest>>("evidence_sha256");
  r.reason = row.Get<std::string>("reason");
  r.opened_event = row.Get<EventId>("opened_event");
  r.closed_event = row.Get<std::optional<EventId>>("closed_event");
  r.created_us = row.Get<int64_t>("created_us");
  r.opened_us = row.Get<std::optional<int64_t>>("opened_us");
  r.closed_us = row.Get<std::optional<int64_t>>("closed_us");
  return r;
}

std::optional<RoundRecord> MaybeRound(const std::optional<pg::Row>& row) {
  if (!row) return std::nullopt;
  return RoundOf(*row);
}

int Number(RoundState state) { return static_cast<int>(state); }

// Without the evidence, which may be large.
#define ROUND_COLUMNS                                                                             \
  "round_id, cooperative_id, plan_id, number, state, announced, filter_told, deadline_us, "      \
  "base_version, base_sha256, best_sha256, seed_sha256, seed, scenario, parameters, received, "  \
  "lineages, admitted, generation, drawn_rows, rows_sha256, retired_us, applied_mask, applied, " \
  "next_sha256, visible_base_nanonats, visible_loss_nanonats, evidence_sha256, reason, "         \
  "opened_event, closed_event, created_us, opened_us, closed_us, refused_mask"

}  // namespace

constexpr char kInsertRound[] =
    "INSERT INTO rounds (round_id, cooperative_id, plan_id, number, state, announced, filter_told, "
    "deadline_us, base_version, base_sha256, best_sha256, seed_sha256, scenario, parameters, "
    "generation, reason, opened_event, created_us) "
    "VALUES ($1, $2, $3, $4, $5, false, true, $6, $7, $8, $9, $10, $11, $12, 0, '', $13, $14)";
absl::Status InsertRound(pg::Transaction& tx, const RoundRecord& r) {
  return tx
      .Exec(kInsertRound, r.round, r.cooperative, r.plan, r.number, Number(r.state), r.deadline_us,
            r.base_version, r.base, r.best, r.seed_sha256, r.scenario, r.parameters,
            r.opened_event, r.created_us)
      .status();
}

constexpr char kFindRound[] = "SELECT " ROUND_COLUMNS " FROM rounds WHERE round_id = $1";
absl::StatusOr<std::optional<RoundRecord>> FindRound(pg::Transaction& tx, const RoundId& round) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindRound, round));
  return MaybeRound(row);
}

constexpr char kNewestRound[] =
    "SELECT " ROUND_COLUMNS " FROM rounds WHERE cooperative_id = $1 AND (announced OR state >= 7) "
    "ORDER BY number DESC LIMIT 1";
absl::StatusOr<std::optional<RoundRecord>> FindNewestRound(pg::Transaction& tx,
                                                           const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kNewestRound, cooperative));
  return MaybeRound(row);
}

constexpr char kActiveRound[] =
    "SELECT " ROUND_COLUMNS " FROM rounds WHERE cooperative_id = $1 AND state < 7";
absl::StatusOr<std::optional<RoundRecord>> FindActiveRound(pg::Transaction& tx,
                                                           const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kActiveRound, cooperative));
  return MaybeRound(row);
}

constexpr char kListRounds[] =
    "SELECT " ROUND_COLUMNS " FROM rounds WHERE cooperative_id = $1 AND number > $2 "
    "AND (announced OR state >= 7) ORDER BY number LIMIT $3";
absl::StatusOr<std::vector<RoundRecord>> ListRounds(pg::Transaction& tx,
                                                    const CooperativeId& cooperative,
                                                    int64_t after_number, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListRounds, cooperative, after_number, limit));
  std::vector<RoundRecord> rounds;
  for (const pg::Row& row : rows) rounds.push_back(RoundOf(row));
  return rounds;
}

constexpr char kLastNumber[] =
    "SELECT coalesce(max(number), 0)::bigint AS last FROM rounds WHERE cooperative_id = $1";
absl::StatusOr<int64_t> LastRoundNumber(pg::Transaction& tx, const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kLastNumber, cooperative));
  return row.Get<int64_t>("last");
}

constexpr char kOpenWork[] =
    "SELECT round_id FROM rounds WHERE state < 7 OR NOT filter_told "
    "ORDER BY (state < 7), round_id LIMIT $1";
absl::StatusOr<std::vector<RoundId>> ListOpenWork(pg::Transaction& tx, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kOpenWork, limit));
  std::vector<RoundId> rounds;
  for (const pg::Row& row : rows) rounds.push_back(row.Get<RoundId>(0));
  return rounds;
}

constexpr char kUpdateRound[] =
    "UPDATE rounds SET state = $3, announced = $4, filter_told = $5, deadline_us = $6, seed = $7, "
    "parameters = $8, received = $9, lineages = $10, admitted = $11, generation = $12, "
    "drawn_rows = $13, rows_sha256 = $14, applied_mask = $15, applied = $16, next_sha256 = $17, "
    "visible_base_nanonats = $18, visible_loss_nanonats = $19, reason = $20, closed_event = $21, "
    "opened_us = $22, closed_us = $23, refused_mask = $24 WHERE round_id = $1 AND state = $2";
absl::StatusOr<bool> UpdateRound(pg::Transaction& tx, const RoundRecord& r, RoundState from) {
  std::optional<std::vector<int64_t>> rows;
  if (!r.rows.empty()) rows = r.rows;
  ASSIGN_OR_RETURN(
      const int64_t updated,
      tx.ExecAffected(kUpdateRound, r.round, Number(from), Number(r.state), r.announced,
                      r.filter_told, r.deadline_us, r.seed, r.parameters, r.received, r.lineages,
                      r.admitted, r.generation, rows, r.rows_sha256, r.applied_mask, r.applied,
                      r.next, r.visible_base, r.visible_loss, r.reason, r.closed_event,
                      r.opened_us, r.closed_us, r.refused_mask));
  return updated == 1;
}

constexpr char kSetFilterTold[] = "UPDATE rounds SET filter_told = true WHERE round_id = $1";
absl::Status SetFilterTold(pg::Transaction& tx, const RoundId& round) {
  return tx.Exec(kSetFilterTold, round).status();
}

constexpr char kSetEvidence[] =
    "UPDATE rounds SET evidence = $2, evidence_sha256 = $3 WHERE round_id = $1";
absl::Status SetEvidence(pg::Transaction& tx, const RoundId& round, absl::string_view body,
                         const crypto::Digest& sha256) {
  return tx.Exec(kSetEvidence, round, pg::Bytes{body}, sha256).status();
}

constexpr char kSetLosses[] = "UPDATE rounds SET losses_sha256 = $2 WHERE round_id = $1";
absl::Status SetLosses(pg::Transaction& tx, const RoundId& round, const crypto::Digest& sha256) {
  return tx.Exec(kSetLosses, round, sha256).status();
}

constexpr char kFindEvidence[] = "SELECT evidence FROM rounds WHERE round_id = $1";
absl::StatusOr<std::optional<std::string>> FindEvidence(pg::Transaction& tx,
                                                        const RoundId& round) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindEvidence, round));
  if (!row) return std::nullopt;
  return row->GetOptionalBytes("evidence");
}

constexpr char kInsertGradient[] =
    "INSERT INTO round_gradients (round_id, probe_id, sha256) VALUES ($1, $2, $3) "
    "ON CONFLICT (round_id, probe_id) DO NOTHING";
absl::Status InsertGradient(pg::Transaction& tx, const RoundId& round,
                            const ProbeGradientRecord& gradient) {
  return tx.Exec(kInsertGradient, round, gradient.probe, gradient.sha256).status();
}

constexpr char kListGradients[] =
    "SELECT probe_id, sha256 FROM round_gradients WHERE round_id = $1 ORDER BY probe_id";
absl::StatusOr<std::vector<ProbeGradientRecord>> ListGradients(pg::Transaction& tx,
                                                               const RoundId& round) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListGradients, round));
  std::vector<ProbeGradientRecord> gradients;
  for (const pg::Row& row : rows) {
    gradients.push_back({row.Get<ProbeId>(0), row.Get<crypto::Digest>(1)});
  }
  return gradients;
}

// ---- Updates ----

constexpr char kInsertUpdate[] =
    "INSERT INTO round_updates (update_id, round_id, position, principal_id, agent_id, "
    "effective_sha256, denied, share, admitted, publishable, removed_reason) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false, false, '')";
absl::Status InsertRoundUpdate(pg::Transaction& tx, const RoundId& round, const RoundUpdate& u) {
  return tx
      .Exec(kInsertUpdate, u.update, round, u.position, u.principal, u.agent, u.effective, u.denied,
            u.share)
      .status();
}

constexpr char kSetDecision[] =
    "UPDATE round_updates SET admitted = $2, decision_event = $3, publishable = $4 "
    "WHERE update_id = $1";
absl::Status SetDecision(pg::Transaction& tx, const UpdateId& update, bool admitted,
                         const std::optional<EventId>& event, bool publishable) {
  return tx.Exec(kSetDecision, update, admitted, event, publishable).status();
}

constexpr char kSetRemoved[] = "UPDATE round_updates SET removed_reason = $2 WHERE update_id = $1";
absl::Status SetRemoved(pg::Transaction& tx, const UpdateId& update, absl::string_view reason) {
  return tx.Exec(kSetRemoved, update, reason).status();
}

constexpr char kListUpdates[] =
    "SELECT update_id, position, principal_id, agent_id, effective_sha256, denied, admitted, "
    "decision_event, publishable, removed_reason, share FROM round_updates WHERE round_id = $1 "
    "ORDER BY position";
absl::StatusOr<std::vector<RoundUpdate>> ListRoundUpdates(pg::Transaction& tx,
                                                          const RoundId& round) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListUpdates, round));
  std::vector<RoundUpdate> updates;
  for (const pg::Row& row : rows) {
    RoundUpdate u;
    u.update = row.Get<UpdateId>("update_id");
    u.position = row.Get<int32_t>("position");
    u.principal = row.Get<PrincipalId>("principal_id");
    u.agent = row.Get<AgentId>("agent_id");
    u.effective = row.Get<std::optional<crypto::Digest>>("effective_sha256");
    u.denied = row.Get<bool>("denied");
    u.admitted = row.Get<bool>("admitted");
    u.decision_event = row.Get<std::optional<EventId>>("decision_event");
    u.publishable = row.Get<bool>("publishable");
    u.removed_reason = row.Get<std::string>("removed_reason");
    u.share = row.Get<int64_t>("share");
    updates.push_back(std::move(u));
  }
  return updates;
}

constexpr char kInsertProbe[] =
    "INSERT INTO round_probes (round_id, update_id, probe_id, data_sha256, row_count, early_bound) "
    "VALUES ($1, $2, $3, $4, $5, $6)";
absl::Status InsertNeededProbe(pg::Transaction& tx, const RoundId& round,
                               const NeededProbe& needed) {
  return tx
      .Exec(kInsertProbe, round, needed.update, needed.probe, needed.data, needed.rows,
            needed.bound)
      .status();
}

constexpr char kListProbes[] =
    "SELECT p.update_id, p.probe_id, p.data_sha256, p.row_count, p.early_bound "
    "FROM round_probes p JOIN round_updates u USING (update_id) "
    "WHERE p.round_id = $1 ORDER BY p.probe_id, u.position";
absl::StatusOr<std::vector<NeededProbe>> ListNeededProbes(pg::Transaction& tx,
                                                          const RoundId& round) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListProbes, round));
  std::vector<NeededProbe> probes;
  for (const pg::Row& row : rows) {
    probes.push_back({row.Get<UpdateId>(0), row.Get<ProbeId>(1), row.Get<crypto::Digest>(2),
                      row.Get<int64_t>(3), row.Get<std::optional<int64_t>>(4)});
  }
  return probes;
}

constexpr char kInsertBound[] =
    "INSERT INTO round_bounds (round_id, probe_id, data_sha256, eps_nanonats) "
    "VALUES ($1, $2, $3, $4)";
absl::Status InsertNeededBound(pg::Transaction& tx, const RoundId& round,
                               const NeededBound& bound) {
  return tx.Exec(kInsertBound, round, bound.probe, bound.data, bound.eps_nanonats).status();
}

constexpr char kListBounds[] =
    "SELECT probe_id, data_sha256, eps_nanonats FROM round_bounds WHERE round_id = $1 "
    "ORDER BY probe_id";
absl::StatusOr<std::vector<NeededBound>> ListNeededBounds(pg::Transaction& tx,
                                                          const RoundId& round) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListBounds, round));
  std::vector<NeededBound> bounds;
  for (const pg::Row& row : rows) {
    bounds.push_back({row.Get<ProbeId>(0), row.Get<crypto::Digest>(1), row.Get<int64_t>(2)});
  }
  return bounds;
}

// ---- Rows ----

constexpr char kRetiredRows[] =
    "SELECT round_id, drawn_rows FROM rounds WHERE cooperative_id = $1 AND retired_us IS NOT NULL "
    "AND drawn_rows IS NOT NULL ORDER BY round_id";
absl::StatusOr<RetiredRows> FindRetiredRows(pg::Transaction& tx,
                                            const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kRetiredRows, cooperative));
  RetiredRows retired;
  for (const pg::Row& row : rows) {
    retired.rounds.push_back(row.Get<RoundId>(0));
    const auto drawn = row.Get<std::vector<int64_t>>(1);
    retired.rows.insert(drawn.begin(), drawn.end());
  }
  return retired;
}

constexpr char kInsertRetired[] =
    "INSERT INTO round_retired (round_id, retired_round_id) VALUES ($1, $2)";
absl::Status InsertRetiredRound(pg::Transaction& tx, const RoundId& round, const RoundId& retired) {
  return tx.Exec(kInsertRetired, round, retired).status();
}

constexpr char kListRetired[] =
    "SELECT retired_round_id FROM round_retired WHERE round_id = $1 ORDER BY retired_round_id";
absl::StatusOr<std::vector<RoundId>> ListRetiredRounds(pg::Transaction& tx, const RoundId& round) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListRetired, round));
  std::vector<RoundId> rounds;
  for (const pg::Row& row : rows) rounds.push_back(row.Get<RoundId>(0));
  return rounds;
}

constexpr char kRetireRound[] =
    "UPDATE rounds SET retired_us = $2 WHERE round_id = $1 AND retired_us IS NULL AND state >= 7 "
    "RETURNING coalesce(cardinality(drawn_rows), 0)::bigint AS row_count";
absl::StatusOr<int64_t> RetireRound(pg::Transaction& tx, const RoundId& round, int64_t now_us) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kRetireRound, round, now_us));
  return row ? row->Get<int64_t>("row_count") : 0;
}

// ---- Credits ----

constexpr char kInsertCredit[] =
    "INSERT INTO credits (update_id, round_id, cooperative_id, round_number, principal_id, "
    "agent_id, credit, estimate, standard_error, solo, leave_one_out, applied, event_id) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
absl::Status InsertCredit(pg::Transaction& tx, const CreditRecord& c) {
  return tx
      .Exec(kInsertCredit, c.update, c.round, c.cooperative, c.round_number, c.principal, c.agent,
            c.credit, c.estimate, c.standard_error, c.solo, c.leave_one_out, c.applied, c.event)
      .status();
}

constexpr char kSumCredits[] =
    "SELECT principal_id, sum(credit)::bigint FROM credits "
    "WHERE cooperative_id = $1 AND round_number < $2 GROUP BY principal_id";
absl::StatusOr<std::map<PrincipalId, int64_t>> SumCredits(pg::Transaction& tx,
                                                          const CooperativeId& cooperative,
                                                          int64_t before) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kSumCredits, cooperative, before));
  std::map<PrincipalId, int64_t> sums;
  for (const pg::Row& row : rows) sums[row.Get<PrincipalId>(0)] = row.Get<int64_t>(1);
  return sums;
}

constexpr char kListCredits[] =
    "SELECT * FROM credits WHERE cooperative_id = $1 AND ($2::uuid IS NULL OR round_id = $2) "
    "AND ($3::uuid IS NULL OR principal_id = $3) AND ($4::uuid IS NULL OR update_id > $4) "
    "ORDER BY update_id LIMIT $5";
absl::StatusOr<std::vector<CreditRecord>> ListCredits(pg::Transaction& tx,
                                                      const CreditQuery& query) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListCredits, query.cooperative, query.round,
                                                query.principal, query.after, query.limit));
  std::vector<CreditRecord> credits;
  for (const pg::Row& row : rows) {
    CreditRecord c;
    c.update = row.Get<UpdateId>("update_id");
    c.round = row.Get<RoundId>("round_id");
    c.cooperative = row.Get<CooperativeId>("cooperative_id");
    c.round_number = row.Get<int64_t>("round_number");
    c.principal = row.Get<PrincipalId>("principal_id");
    c.agent = row.Get<AgentId>("agent_id");
    c.credit = row.Get<int64_t>("credit");
    c.estimate = row.Get<int64_t>("estimate");
    c.standard_error = row.Get<int64_t>("standard_error");
    c.solo = row.Get<int64_t>("solo");
    c.leave_one_out = row.Get<int64_t>("leave_one_out");
    c.applied = row.Get<bool>("applied");
    c.event = row.Get<EventId>("event_id");
    credits.push_back(c);
  }
  return credits;
}

constexpr char kPublishable[] =
    "SELECT cooperative_id FROM rounds WHERE rows_sha256 = $1 AND retired_us IS NOT NULL "
    "UNION ALL "
    "SELECT cooperative_id FROM rounds WHERE losses_sha256 = $1 AND retired_us IS NOT NULL "
    "UNION ALL "
    "SELECT r.cooperative_id FROM round_updates u JOIN rounds r USING (round_id) "
    "WHERE u.effective_sha256 = $1 AND r.state = 7 AND u.admitted AND NOT EXISTS "
    "(SELECT 1 FROM round_updates o WHERE o.round_id = r.round_id AND o.admitted "
    " AND NOT o.publishable) "
    "LIMIT 1";
absl::StatusOr<std::optional<CooperativeId>> FindPublishable(pg::Transaction& tx,
                                                             const crypto::Digest& sha256) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kPublishable, sha256));
  if (!row) return std::nullopt;
  return row->Get<CooperativeId>(0);
}

// ---- Exceptions ----

constexpr char kInsertException[] =
    "INSERT INTO exceptions (exception_id, cooperative_id, kind, subject_id, description, "
    "evidence_sha256, raised_us, sent) VALUES ($1, $2, $3, $4, $5, $6, $7, false) "
    "ON CONFLICT (exception_id) DO NOTHING";
absl::Status InsertException(pg::Transaction& tx, const ExceptionRecord& e) {
  return tx
      .Exec(kInsertException, e.exception, e.cooperative, e.kind, e.subject, e.description,
            e.evidence, e.raised_us)
      .status();
}

constexpr char kUnsentExceptions[] =
    "SELECT * FROM exceptions WHERE NOT sent ORDER BY exception_id LIMIT $1";
absl::StatusOr<std::vector<ExceptionRecord>> ListUnsentExceptions(pg::Transaction& tx, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kUnsentExceptions, limit));
  std::vector<ExceptionRecord> exceptions;
  for (const pg::Row& row : rows) {
    ExceptionRecord e;
    e.exception = row.Get<ExceptionId>("exception_id");
    e.cooperative = row.Get<CooperativeId>("cooperative_id");
    e.kind = row.Get<int32_t>("kind");
    e.subject = row.Get<Uuid>("subject_id");
    e.description = row.Get<std::string>("description");
    e.evidence = row.Get<std::optional<crypto::Digest>>("evidence_sha256");
    e.raised_us = row.Get<int64_t>("raised_us");
    exceptions.push_back(std::move(e));
  }
  return exceptions;
}

constexpr char kExceptionSent[] = "UPDATE exceptions SET sent = true WHERE exception_id = $1";
absl::Status SetExceptionSent(pg::Transaction& tx, const ExceptionId& exception) {
  return tx.Exec(kExceptionSent, exception).status();
}

}  // namespace rochdale::attribution
