#include "services/payout/epoch_store.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/rows.h"
#include "libs/pg/transaction.h"

namespace rochdale::payout {
namespace {

constexpr char kInsertPool[] = R"sql(
  INSERT INTO pools (pool_id, cooperative_id, account_id, created_us, event_id)
  VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING)sql";
constexpr char kPoolColumns[] =
    "SELECT p.pool_id, p.cooperative_id, p.account_id, p.created_us, p.event_id,"
    " (SELECT count(*) FROM epochs e WHERE e.pool_id = p.pool_id) AS epochs FROM pools p ";
constexpr char kLockPool[] = "SELECT 1 FROM pools WHERE pool_id = $1 FOR UPDATE";
constexpr char kInsertEpoch[] = R"sql(
  INSERT INTO epochs (epoch_id, pool_id, number, state, first_round, last_round, revenue,
                      credit_sum, recipients, closed_us, settled_us, closed_event,
                      distribution_root, round_ids)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14))sql";
constexpr char kEpochColumns[] =
    "SELECT e.epoch_id, e.pool_id, e.number, e.state, e.first_round, e.last_round, e.revenue,"
    " e.credit_sum, e.recipients, e.closed_us, e.settled_us, e.closed_event, e.settled_event,"
    " e.distribution_root, e.round_ids,"
    " (SELECT coalesce(sum(payment), 0)::bigint FROM statements s"
    "  WHERE s.epoch_id = e.epoch_id AND s.paid) AS paid FROM epochs e ";
constexpr char kMarkSettled[] = R"sql(
  UPDATE epochs SET state = 2, settled_us = $2, settled_event = $3
  WHERE epoch_id = $1 AND state = 1)sql";
constexpr char kMarkAnnounced[] = "UPDATE epochs SET announced = true WHERE epoch_id = $1";
constexpr char kStatementColumns[] =
    "SELECT s.epoch_id, s.principal_id, s.position, s.credit, s.payment, s.cumulative,"
    " s.account_id, s.attempt, s.paid, s.event_id FROM statements s ";
constexpr char kLines[] = R"sql(
  SELECT round_number, update_id, outcome, reason, credit, estimate, standard_error,
         credit_event, decision_event, tolerance, deadband
  FROM statement_lines WHERE epoch_id = $1 AND principal_id = $2
  ORDER BY round_number, update_id)sql";
constexpr char kMarkPaid[] =
    "UPDATE statements SET paid = true WHERE epoch_id = $1 AND principal_id = ANY($2::uuid[])";
constexpr char kNextAttempt[] = R"sql(
  UPDATE statements SET attempt = attempt + 1
  WHERE epoch_id = $1 AND principal_id = $2 AND NOT paid)sql";
constexpr char kCumulative[] = R"sql(
  SELECT principal_id, sum(payment)::bigint AS total
  FROM statements JOIN epochs USING (epoch_id) WHERE pool_id = $1 GROUP BY principal_id)sql";

Pool ToPool(const pg::Row& row) {
  return {row.Get<PoolId>("pool_id"),       row.Get<CooperativeId>("cooperative_id"),
          row.Get<AccountId>("account_id"), row.Get<absl::Time>("created_us"),
          row.Get<EventId>("event_id"),     row.Get<int64_t>("epochs")};
}

Epoch ToEpoch(const pg::Row& row) {
  Epoch e;
  e.id = row.Get<EpochId>("epoch_id");
  e.pool = row.Get<PoolId>("pool_id");
  e.number = row.Get<int64_t>("number");
  e.state = static_cast<EpochState>(row.Get<int32_t>("state"));
  e.first_round = row.Get<int64_t>("first_round");
  e.last_round = row.Get<int64_t>("last_round");
  e.revenue = row.Get<int64_t>("revenue");
  e.credit_sum = row.Get<int64_t>("credit_sum");
  e.recipients = row.Get<int64_t>("recipients");
  e.closed = row.Get<absl::Time>("closed_us");
  e.settled = row.Get<absl::Time>("settled_us");
  e.closed_event = row.Get<EventId>("closed_event");
  e.settled_event = row.Get<std::optional<EventId>>("settled_event");
  e.distribution_root = row.Get<crypto::Digest>("distribution_root");
  e.rounds = row.Get<std::vector<Uuid>>("round_ids");
  e.paid = row.Get<int64_t>("paid");
  return e;
}

Statement ToStatement(const pg::Row& row) {
  Statement s;
  s.epoch = row.Get<EpochId>("epoch_id");
  s.principal = row.Get<PrincipalId>("principal_id");
  s.position = row.Get<int64_t>("position");
  s.credit = row.Get<int64_t>("credit");
  s.payment = row.Get<int64_t>("payment");
  s.cumulative = row.Get<int64_t>("cumulative");
  s.account = row.Get<AccountId>("account_id");
  s.attempt = row.Get<int32_t>("attempt");
  s.paid = row.Get<bool>("paid");
  s.event = row.Get<EventId>("event_id");
  return s;
}

absl::Status LoadLines(pg::Transaction& tx, Statement& statement) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kLines, statement.epoch, statement.principal));
  for (const pg::Row& row : rows) {
    statement.lines.push_back({row.Get<int64_t>("round_number"), row.Get<UpdateId>("update_id"),
                               row.Get<std::string>("outcome"), row.Get<std::string>("reason"),
                               row.Get<int64_t>("credit"), row.Get<int64_t>("estimate"),
                               row.Get<int64_t>("standard_error"),
                               row.Get<std::optional<EventId>>("credit_event"),
                               row.Get<std::optional<EventId>>("decision_event"),
                               row.Get<int64_t>("tolerance"), row.Get<int64_t>("deadband")});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Statement>> Statements(pg::Transaction& tx,
                                                  absl::StatusOr<pg::Rows> rows, bool with_lines) {
  RETURN_IF_ERROR(rows.status());
  std::vector<Statement> statements;
  for (const pg::Row& row : *rows) {
    statements.push_back(ToStatement(row));
    if (with_lines) RETURN_IF_ERROR(LoadLines(tx, statements.back()));
  }
  return statements;
}

absl::StatusOr<std::optional<Epoch>> OptionalEpoch(absl::StatusOr<std::optional<pg::Row>> row) {
  RETURN_IF_ERROR(row.status());
  if (!*row) return std::nullopt;
  return ToEpoch(**row);
}

absl::StatusOr<std::vector<Epoch>> Epochs(absl::StatusOr<pg::Rows> rows) {
  RETURN_IF_ERROR(rows.status());
  std::vector<Epoch> epochs;
  for (const pg::Row& row : *rows) epochs.push_back(ToEpoch(row));
  return epochs;
}

absl::StatusOr<std::optional<Pool>> OptionalPool(absl::StatusOr<std::optional<pg::Row>> row) {
  RETURN_IF_ERROR(row.status());
  if (!*row) return std::nullopt;
  return ToPool(**row);
}

}  // namespace

absl::Status InsertPool(pg::Transaction& tx, const Pool& pool) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertPool, pool.id, pool.cooperative, pool.account,
                                   pool.created, pool.event));
  if (inserted == 0) return Error("ALREADY_EXISTS", "the cooperative has a pool already");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Pool>> FindPool(pg::Transaction& tx, const PoolId& id) {
  static const std::string sql = absl::StrCat(kPoolColumns, "WHERE p.pool_id = $1");
  return OptionalPool(tx.ExecOptional(sql, id));
}

absl::StatusOr<std::optional<Pool>> FindPoolOf(pg::Transaction& tx,
                                               const CooperativeId& cooperative) {
  static const std::string sql = absl::StrCat(kPoolColumns, "WHERE p.cooperative_id = $1");
  return OptionalPool(tx.ExecOptional(sql, cooperative));
}

absl::Status LockPool(pg::Transaction& tx, const PoolId& id) {
  return tx.ExecOne(kLockPool, id).status();
}

absl::Status InsertEpoch(pg::Transaction& tx, const Epoch& e) {
  return tx
      .Exec(kInsertEpoch, e.id, e.pool, e.number, static_cast<int32_t>(e.state), e.first_round,
            e.last_round, e.revenue, e.credit_sum, e.recipients, e.closed, e.settled,
            e.closed_event, e.distribution_root, e.rounds)
      .status();
}

absl::StatusOr<std::optional<Epoch>> FindEpoch(pg::Transaction& tx, const EpochId& id) {
  static const std::string sql = absl::StrCat(kEpochColumns, "WHERE e.epoch_id = $1");
  return OptionalEpoch(tx.ExecOptional(sql, id));
}

absl::StatusOr<std::optional<Epoch>> FindLastEpoch(pg::Transaction& tx, const PoolId& pool) {
  static const std::string sql =
      absl::StrCat(kEpochColumns, "WHERE e.pool_id = $1 ORDER BY e.number DESC LIMIT 1");
  return OptionalEpoch(tx.ExecOptional(sql, pool));
}

absl::StatusOr<std::vector<Epoch>> ListEpochs(pg::Transaction& tx, const PoolId& pool,
                                              int64_t after_number, int limit) {
  static const std::string sql = absl::StrCat(
      kEpochColumns, "WHERE e.pool_id = $1 AND e.number > $2 ORDER BY e.number LIMIT $3");
  return Epochs(tx.Exec(sql, pool, after_number, limit));
}

absl::StatusOr<std::vector<Epoch>> ListSettling(pg::Transaction& tx) {
  static const std::string sql =
      absl::StrCat(kEpochColumns, "WHERE e.state = 1 ORDER BY e.epoch_id LIMIT 100");
  return Epochs(tx.Exec(sql));
}

absl::StatusOr<std::vector<Epoch>> ListToAnnounce(pg::Transaction& tx) {
  static const std::string sql = absl::StrCat(
      kEpochColumns, "WHERE e.state = 3 AND NOT e.announced ORDER BY e.epoch_id LIMIT 100");
  return Epochs(tx.Exec(sql));
}

absl::Status MarkAnnounced(pg::Transaction& tx, const EpochId& id) {
  return tx.Exec(kMarkAnnounced, id).status();
}

absl::StatusOr<bool> MarkSettled(pg::Transaction& tx, const EpochId& id, absl::Time now,
                                 const EventId& event) {
  ASSIGN_OR_RETURN(const int64_t moved, tx.ExecAffected(kMarkSettled, id, now, event));
  return moved == 1;
}

absl::Status InsertStatements(pg::Transaction& tx, const std::vector<Statement>& statements) {
  RETURN_IF_ERROR(tx.CopyIn(
      "statements",
      {"epoch_id", "principal_id", "position", "credit", "payment", "cumulative", "account_id",
       "attempt", "paid", "event_id"},
      [&](pg::CopyWriter& writer) -> absl::Status {
        for (const Statement& s : statements) {
          RETURN_IF_ERROR(writer.Write({s.epoch, s.principal, s.position, s.credit, s.payment,
                                        s.cumulative, s.account, s.attempt, s.paid, s.event}));
        }
        return absl::OkStatus();
      }));
  return tx.CopyIn(
      "statement_lines",
      {"epoch_id", "principal_id", "round_number", "update_id", "outcome", "reason", "credit",
       "estimate", "standard_error", "credit_event", "decision_event", "tolerance", "deadband"},
      [&](pg::CopyWriter& writer) -> absl::Status {
        for (const Statement& s : statements) {
          for (const StatementLine& line : s.lines) {
            RETURN_IF_ERROR(writer.Write({s.epoch, s.principal, line.round_number, line.update,
                                          line.outcome, line.reason, line.credit, line.estimate,
                                          line.standard_error, line.credit_event,
                                          line.decision_event, line.tolerance, line.deadband}));
          }
        }
        return absl::OkStatus();
      });
}

absl::StatusOr<std::optional<Statement>> FindStatement(pg::Transaction& tx, const EpochId& epoch,
                                                       const PrincipalId& principal) {
  static const std::string sql =
      absl::StrCat(kStatementColumns, "WHERE s.epoch_id = $1 AND s.principal_id = $2");
  ASSIGN_OR_RETURN(const std::vector<Statement> found,
                   Statements(tx, tx.Exec(sql, epoch, principal), true));
  if (found.empty()) return std::nullopt;
  return found.front();
}

absl::StatusOr<std::vector<Statement>> ListStatements(pg::Transaction& tx, const EpochId& epoch,
                                                      int64_t after, int limit, bool with_lines) {
  static const std::string sql = absl::StrCat(
      kStatementColumns,
      "WHERE s.epoch_id = $1 AND s.position > $2 ORDER BY s.position LIMIT $3");
  return Statements(tx, tx.Exec(sql, epoch, after, limit), with_lines);
}

absl::StatusOr<std::vector<Statement>> ListStatementsOf(pg::Transaction& tx,
                                                        const PrincipalId& principal,
                                                        const std::string& after, int limit) {
  static const std::string sql = absl::StrCat(
      kStatementColumns,
      "WHERE s.principal_id = $1"
      " AND ($2::text = '' OR s.epoch_id > nullif($2::text, '')::uuid)"
      " ORDER BY s.epoch_id LIMIT $3");
  return Statements(tx, tx.Exec(sql, principal, after, limit), true);
}

absl::StatusOr<std::vector<Statement>> ListUnpaid(pg::Transaction& tx, const EpochId& epoch,
                                                  int limit) {
  static const std::string sql = absl::StrCat(
      kStatementColumns,
      "WHERE s.epoch_id = $1 AND NOT s.paid AND s.payment > 0 ORDER BY s.position LIMIT $2");
  return Statements(tx, tx.Exec(sql, epoch, limit), false);
}

absl::Status MarkPaid(pg::Transaction& tx, const EpochId& epoch,
                      const std::vector<PrincipalId>& principals) {
  return tx.Exec(kMarkPaid, epoch, principals).status();
}

absl::Status NextAttempt(pg::Transaction& tx, const EpochId& epoch, const PrincipalId& principal) {
  return tx.Exec(kNextAttempt, epoch, principal).status();
}

absl::StatusOr<std::map<PrincipalId, MicroTokens>> CumulativePayments(pg::Transaction& tx,
                                                                      const PoolId& pool) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kCumulative, pool));
  std::map<PrincipalId, MicroTokens> totals;
  for (const pg::Row& row : rows) {
    totals[row.Get<PrincipalId>("principal_id")] = row.Get<int64_t>("total");
  }
  return totals;
}

}  // namespace rochdale::payout
