#include "services/attribution/comparison_store.h"

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::attribution {
namespace {

ComparisonRecord ComparisonOf(const pg::Row& row) {
  ComparisonRecord c;
  c.comparison = row.Get<ComparisonId>("comparison_id");
  c.cooperative = row.Get<CooperativeId>("cooperative_id");
  c.state = static_cast<ComparisonState>(row.Get<int32_t>("state"));
  c.a = row.Get<crypto::Digest>("a_sha256");
  c.b = row.Get<crypto::Digest>("b_sha256");
  c.seed_sha256 = row.Get<crypto::Digest>("seed_sha256");
  c.document = row.Get<crypto::Digest>("document_sha256");
  c.parameters = row.Get<std::string>("parameters");
  c.look.verdict = static_cast<Verdict>(row.Get<int32_t>("verdict"));
  c.look.rows = row.Get<int64_t>("rows");
  c.look.difference = row.Get<int64_t>("difference");
  c.look.standard_error = row.Get<int64_t>("standard_error");
  c.evidence_sha256 = row.Get<std::optional<crypto::Digest>>("evidence_sha256");
  c.reason = row.Get<std::string>("reason");
  c.created_us = row.Get<int64_t>("created_us");
  c.ended_us = row.Get<std::optional<int64_t>>("ended_us");
  return c;
}

std::vector<ComparisonRecord> ComparisonsOf(const pg::Rows& rows) {
  std::vector<ComparisonRecord> found;
  for (const pg::Row& row : rows) found.push_back(ComparisonOf(row));
  return found;
}

}  // namespace

constexpr char kInsertComparison[] =
    "INSERT INTO comparisons (comparison_id, cooperative_id, state, a_sha256, b_sha256, "
    "seed_sha256, document_sha256, parameters, verdict, rows, difference, standard_error, reason, "
    "created_us) VALUES ($1, $2, 1, $3, $4, $5, $6, $7, 0, 0, 0, 0, '', $8) "
    "ON CONFLICT DO NOTHING";
absl::Status InsertComparison(pg::Transaction& tx, const ComparisonRecord& c) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertComparison, c.comparison, c.cooperative, c.a, c.b,
                                   c.seed_sha256, c.document, c.parameters, c.created_us));
  if (inserted == 1) return absl::OkStatus();
  return Error("ALREADY_EXISTS",
               "a test of the cooperative is running, or this document started one before");
}

constexpr char kFindComparison[] = "SELECT * FROM comparisons WHERE comparison_id = $1";
absl::StatusOr<std::optional<ComparisonRecord>> FindComparison(pg::Transaction& tx,
                                                               const ComparisonId& id) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindComparison, id));
  if (!row) return std::nullopt;
  return ComparisonOf(*row);
}

constexpr char kListComparisons[] =
    "SELECT * FROM comparisons WHERE cooperative_id = $1 AND comparison_id > $2 "
    "ORDER BY comparison_id LIMIT $3";
absl::StatusOr<std::vector<ComparisonRecord>> ListComparisons(pg::Transaction& tx,
                                                              const CooperativeId& cooperative,
                                                              const ComparisonId& after,
                                                              int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListComparisons, cooperative, after, limit));
  return ComparisonsOf(rows);
}

constexpr char kListRunning[] =
    "SELECT * FROM comparisons WHERE state = 1 ORDER BY comparison_id LIMIT $1";
absl::StatusOr<std::vector<ComparisonRecord>> ListRunningComparisons(pg::Transaction& tx,
                                                                     int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListRunning, limit));
  return ComparisonsOf(rows);
}

constexpr char kEndComparison[] =
    "UPDATE comparisons SET state = $2, verdict = $3, rows = $4, difference = $5, "
    "standard_error = $6, evidence_sha256 = $7, reason = $8, ended_us = $9 "
    "WHERE comparison_id = $1 AND state = 1";
constexpr char kCancelRuns[] =
    "UPDATE runs SET state = 4, reason = 'COMPARISON_ENDED', ended_us = $2 "
    "WHERE comparison_id = $1 AND state = 1";
constexpr char kDeleteResults[] =
    "DELETE FROM shard_results WHERE run_id IN (SELECT run_id FROM runs WHERE comparison_id = $1)";
constexpr char kInsertEvidence[] =
    "INSERT INTO comparison_evidence (comparison_id, body) VALUES ($1, $2)";
absl::StatusOr<bool> EndComparison(pg::Transaction& tx, const ComparisonRecord& c,
                                   const std::optional<std::string>& evidence) {
  ASSIGN_OR_RETURN(
      const int64_t ended,
      tx.ExecAffected(kEndComparison, c.comparison, static_cast<int>(c.state),
                      static_cast<int>(c.look.verdict), c.look.rows, c.look.difference,
                      c.look.standard_error, c.evidence_sha256, c.reason, c.ended_us.value_or(0)));
  if (ended == 0) return false;
  if (evidence) {
    RETURN_IF_ERROR(tx.Exec(kInsertEvidence, c.comparison, pg::Bytes{*evidence}).status());
  }
  RETURN_IF_ERROR(tx.Exec(kCancelRuns, c.comparison, c.ended_us.value_or(0)).status());
  RETURN_IF_ERROR(tx.Exec(kDeleteResults, c.comparison).status());
  return true;
}

constexpr char kFindEvidence[] = "SELECT body FROM comparison_evidence WHERE comparison_id = $1";
absl::StatusOr<std::optional<std::string>> FindComparisonEvidence(pg::Transaction& tx,
                                                                  const ComparisonId& id) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindEvidence, id));
  if (!row) return std::nullopt;
  return row->GetBytes("body");
}

}  // namespace rochdale::attribution
