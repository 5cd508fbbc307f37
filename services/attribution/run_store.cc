#include "services/attribution/run_store.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::attribution {
namespace {

RunRecord RunOf(const pg::Row& row) {
  RunRecord run;
  run.run = row.Get<RunId>("run_id");
  run.round = row.Get<std::optional<RoundId>>("round_id").value_or(RoundId{});
  run.comparison = row.Get<std::optional<ComparisonId>>("comparison_id");
  run.purpose = static_cast<RunPurpose>(row.Get<int32_t>("purpose"));
  run.state = static_cast<RunState>(row.Get<int32_t>("state"));
  run.spec = row.GetBytes("spec");
  run.lease_ms = row.Get<int64_t>("lease_ms");
  run.attempts_max = row.Get<int32_t>("attempts_max");
  run.reason = row.Get<std::string>("reason");
  run.failed_update = row.Get<std::optional<UpdateId>>("failed_update");
  run.shards = row.Get<int64_t>("shards");
  run.shards_done = row.Get<int64_t>("shards_done");
  return run;
}

Shard ShardOf(const pg::Row& row) {
  Shard shard;
  shard.number = row.Get<int64_t>("number");
  shard.range.part = row.Get<int32_t>("part");
  shard.range.row_begin = row.Get<int64_t>("row_begin");
  shard.range.row_end = row.Get<int64_t>("row_end");
  shard.range.candidate_begin = row.Get<int64_t>("candidate_begin");
  shard.range.candidate_end = row.Get<int64_t>("candidate_end");
  shard.state = row.Get<int32_t>("state");
  shard.lease_owner = row.Get<std::string>("lease_owner");
  shard.lease_epoch = row.Get<int64_t>("lease_epoch");
  shard.lease_until_us = row.Get<int64_t>("lease_until_us");
  shard.attempts = row.Get<int32_t>("attempts");
  shard.canonical = shard.state == 2 && shard.lease_owner == kCanonicalOwner;
  return shard;
}

std::optional<Shard> MaybeShard(const std::optional<pg::Row>& row) {
  if (!row) return std::nullopt;
  return ShardOf(*row);
}

#define SHARD_COLUMNS                                                             \
  "number, part, row_begin, row_end, candidate_begin, candidate_end, state, "    \
  "lease_owner, lease_epoch, lease_until_us, attempts"

#define SELECT_RUN                                                                             \
  "SELECT r.*, (SELECT count(*) FROM shards s WHERE s.run_id = r.run_id) AS shards, "         \
  "(SELECT count(*) FROM shards s WHERE s.run_id = r.run_id AND s.state = 2) AS shards_done " \
  "FROM runs r "

}  // namespace

constexpr char kInsertRun[] =
    "INSERT INTO runs (run_id, round_id, purpose, state, spec, spec_sha256, lease_ms, "
    "attempts_max, reason, created_us, comparison_id) "
    "VALUES ($1, $2, $3, 1, $4, $5, $6, $7, '', $8, $9) "
    "ON CONFLICT (run_id) DO NOTHING";
constexpr char kInsertRunBlob[] = "INSERT INTO run_blobs (run_id, sha256) VALUES ($1, $2)";
absl::Status InsertRun(pg::Transaction& tx, const RunRecord& run, const RunSpec& spec,
                       const std::vector<ShardRange>& shards, int64_t now_us) {
  const std::string json = RunSpecToJson(spec);
  std::optional<RoundId> round;
  if (!run.comparison) round = run.round;
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertRun, run.run, round, static_cast<int>(run.purpose),
                                   pg::Bytes{json}, crypto::Sha256(json), run.lease_ms,
                                   run.attempts_max, now_us, run.comparison));
  if (inserted == 0) return absl::OkStatus();
  for (const crypto::Digest& blob : RunBlobs(spec)) {
    RETURN_IF_ERROR(tx.Exec(kInsertRunBlob, run.run, blob).status());
  }
  return tx.CopyIn(
      "shards",
      {"run_id", "number", "part", "row_begin", "row_end", "candidate_begin", "candidate_end",
       "state", "lease_owner", "lease_epoch", "lease_until_us", "attempts"},
      [&](pg::CopyWriter& writer) -> absl::Status {
        for (size_t i = 0; i < shards.size(); ++i) {
          const ShardRange& range = shards[i];
          RETURN_IF_ERROR(writer.Write({pg::Value(run.run), pg::Value(i), pg::Value(range.part),
                                        pg::Value(range.row_begin), pg::Value(range.row_end),
                                        pg::Value(range.candidate_begin),
                                        pg::Value(range.candidate_end), pg::Value(0), pg::Value(""),
                                        pg::Value(0), pg::Value(0), pg::Value(0)}));
        }
        return absl::OkStatus();
      });
}

constexpr char kRunState[] = "SELECT state FROM runs WHERE run_id = $1";
absl::StatusOr<std::optional<RunState>> FindRunState(pg::Transaction& tx, const RunId& run) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kRunState, run));
  if (!row) return std::nullopt;
  return static_cast<RunState>(row->Get<int32_t>(0));
}

constexpr char kFindRun[] = SELECT_RUN "WHERE r.run_id = $1";
absl::StatusOr<std::optional<RunRecord>> FindRun(pg::Transaction& tx, const RunId& run) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindRun, run));
  if (!row) return std::nullopt;
  return RunOf(*row);
}

constexpr char kListRuns[] =
    SELECT_RUN "WHERE r.round_id = $1 AND r.run_id > $2 ORDER BY r.run_id LIMIT $3";
absl::StatusOr<std::vector<RunRecord>> ListRuns(pg::Transaction& tx, const RoundId& round,
                                                const RunId& after, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListRuns, round, after, limit));
  std::vector<RunRecord> runs;
  for (const pg::Row& row : rows) runs.push_back(RunOf(row));
  return runs;
}

constexpr char kRunning[] = "SELECT run_id FROM runs WHERE state = 1 ORDER BY run_id";
absl::StatusOr<std::vector<RunId>> ListRunningRuns(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kRunning));
  std::vector<RunId> runs;
  for (const pg::Row& row : rows) runs.push_back(row.Get<RunId>(0));
  return runs;
}

constexpr char kEndRun[] =
    "UPDATE runs SET state = $2, reason = $3, failed_update = $4, ended_us = $5 "
    "WHERE run_id = $1 AND state = 1";
absl::Status EndRun(pg::Transaction& tx, const RunId& run, RunState state, absl::string_view reason,
                    const std::optional<UpdateId>& failed_update, int64_t now_us) {
  return tx.Exec(kEndRun, run, static_cast<int>(state), reason, failed_update, now_us).status();
}

constexpr char kCancelRuns[] =
    "UPDATE runs SET state = 4, reason = $2, ended_us = $3 WHERE round_id = $1 AND state = 1";
absl::Status CancelRuns(pg::Transaction& tx, const RoundId& round, absl::string_view reason,
                        int64_t now_us) {
  return tx.Exec(kCancelRuns, round, reason, now_us).status();
}

constexpr char kRunReads[] =
    "SELECT 1 FROM run_blobs JOIN runs USING (run_id) WHERE run_id = $1 AND sha256 = $2 "
    "AND state = 1";
absl::StatusOr<bool> RunReadsBlob(pg::Transaction& tx, const RunId& run,
                                  const crypto::Digest& sha256) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kRunReads, run, sha256));
  return row.has_value();
}

constexpr char kLockRun[] =
    "SELECT state, lease_ms, attempts_max FROM runs WHERE run_id = $1 FOR UPDATE";
absl::StatusOr<RunLock> LockRun(pg::Transaction& tx, const RunId& run) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kLockRun, run));
  if (!row) return Error("NOT_FOUND", "no such run");
  return RunLock{static_cast<RunState>(row->Get<int32_t>(0)), row->Get<int64_t>(1),
                 row->Get<int32_t>(2)};
}

constexpr char kRunCooperative[] =
    "SELECT coalesce(r.cooperative_id, c.cooperative_id) FROM runs "
    "LEFT JOIN rounds r USING (round_id) LEFT JOIN comparisons c USING (comparison_id) "
    "WHERE run_id = $1";
absl::StatusOr<CooperativeId> FindRunCooperative(pg::Transaction& tx, const RunId& run) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kRunCooperative, run));
  if (!row) return Error("NOT_FOUND", "no such run");
  return row->Get<CooperativeId>(0);
}

constexpr char kFindClaim[] =
    "SELECT " SHARD_COLUMNS " FROM shards WHERE run_id = $1 AND claim_request = $2 "
    "AND lease_owner = $3 AND state = 1 AND lease_until_us > $4";
absl::StatusOr<std::optional<Shard>> FindClaim(pg::Transaction& tx, const RunId& run,
                                               const Uuid& request, absl::string_view owner,
                                               int64_t now_us) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindClaim, run, request, owner, now_us));
  return MaybeShard(row);
}

constexpr char kClaim[] =
    "UPDATE shards SET state = 1, lease_owner = $3, lease_epoch = lease_epoch + 1, "
    "lease_until_us = $6, claim_request = $2, attempts = attempts + 1 "
    "WHERE run_id = $1 AND number = (SELECT number FROM shards WHERE run_id = $1 "
    "AND state IN (0, 1) AND (state = 0 OR lease_until_us <= $5) AND attempts < $4 "
    "ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING " SHARD_COLUMNS;
absl::StatusOr<std::optional<Shard>> ClaimNextShard(pg::Transaction& tx, const RunId& run,
                                                    const Uuid& request, absl::string_view owner,
                                                    int attempts_max, int64_t now_us,
                                                    int64_t lease_until_us) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kClaim, run, request, owner, attempts_max,
                                                   now_us, lease_until_us));
  return MaybeShard(row);
}

constexpr char kLockShard[] =
    "SELECT " SHARD_COLUMNS " FROM shards WHERE run_id = $1 AND number = $2 FOR UPDATE";
absl::StatusOr<std::optional<Shard>> LockShard(pg::Transaction& tx, const RunId& run,
                                               int64_t number) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kLockShard, run, number));
  return MaybeShard(row);
}

constexpr char kExtend[] =
    "UPDATE shards SET lease_until_us = $3 WHERE run_id = $1 AND number = $2";
absl::Status ExtendLease(pg::Transaction& tx, const RunId& run, int64_t number,
                         int64_t lease_until_us) {
  return tx.Exec(kExtend, run, number, lease_until_us).status();
}

constexpr char kReopen[] =
    "UPDATE shards SET state = 0, lease_owner = '', lease_until_us = 0, claim_request = NULL "
    "WHERE run_id = $1 AND number = $2";
absl::Status ReopenShard(pg::Transaction& tx, const RunId& run, int64_t number) {
  return tx.Exec(kReopen, run, number).status();
}

constexpr char kOutOfRange[] =
    "UPDATE shards SET state = 3, range_candidate = $3, range_update = $4 "
    "WHERE run_id = $1 AND number = $2";
absl::Status SetShardOutOfRange(pg::Transaction& tx, const RunId& run, int64_t number,
                                int64_t candidate, const std::optional<UpdateId>& update) {
  return tx.Exec(kOutOfRange, run, number, candidate, update).status();
}

constexpr char kComplete[] = "UPDATE shards SET state = 2 WHERE run_id = $1 AND number = $2";
constexpr char kInsertResult[] =
    "INSERT INTO shard_results (run_id, number, losses, sha256, worker, completed_us) "
    "VALUES ($1, $2, $3, $4, $5, $6)";
absl::Status CompleteShard(pg::Transaction& tx, const RunId& run, int64_t number,
                           absl::string_view losses, const crypto::Digest& sha256,
                           absl::string_view worker, int64_t now_us) {
  RETURN_IF_ERROR(tx.Exec(kComplete, run, number).status());
  return tx.Exec(kInsertResult, run, number, pg::Bytes{losses}, sha256, worker, now_us).status();
}

constexpr char kResultDigest[] =
    "SELECT sha256 FROM shard_results WHERE run_id = $1 AND number = $2";
absl::StatusOr<std::optional<crypto::Digest>> FindResultDigest(pg::Transaction& tx,
                                                               const RunId& run, int64_t number) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kResultDigest, run, number));
  if (!row) return std::nullopt;
  return row->Get<crypto::Digest>(0);
}

constexpr char kReadResult[] =
    "SELECT losses FROM shard_results WHERE run_id = $1 AND number = $2";
absl::StatusOr<std::string> ReadResult(pg::Transaction& tx, const RunId& run, int64_t number) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kReadResult, run, number));
  if (!row) return absl::InternalError("a shard without its result");
  return row->GetBytes("losses");
}

constexpr char kDispute[] =
    "UPDATE shards SET state = 1, lease_owner = $4, lease_epoch = lease_epoch + 1, "
    "lease_until_us = $3, claim_request = NULL WHERE run_id = $1 AND number = $2";
absl::Status DisputeShard(pg::Transaction& tx, const RunId& run, int64_t number,
                          int64_t lease_until_us) {
  return tx.Exec(kDispute, run, number, lease_until_us, kCanonicalOwner).status();
}

absl::Status ConfirmShard(pg::Transaction& tx, const RunId& run, int64_t number) {
  return tx.Exec(kComplete, run, number).status();
}

constexpr char kDecide[] =
    "UPDATE shards SET state = 2, lease_owner = $3 WHERE run_id = $1 AND number = $2";
constexpr char kReplaceResult[] =
    "UPDATE shard_results SET losses = $3, sha256 = $4, worker = $6, completed_us = $5 "
    "WHERE run_id = $1 AND number = $2";
absl::Status DecideShard(pg::Transaction& tx, const RunId& run, int64_t number,
                         absl::string_view losses, const crypto::Digest& sha256, int64_t now_us) {
  RETURN_IF_ERROR(tx.Exec(kDecide, run, number, kCanonicalOwner).status());
  return tx.Exec(kReplaceResult, run, number, pg::Bytes{losses}, sha256, now_us, kCanonicalOwner)
      .status();
}

constexpr char kProgress[] =
    "SELECT EXISTS (SELECT 1 FROM shards WHERE run_id = $1 AND state IN (0, 1)) AS unfinished, "
    "EXISTS (SELECT 1 FROM shards WHERE run_id = $1 AND state IN (0, 1) AND attempts >= $2 "
    "AND (state = 0 OR lease_until_us <= $3)) AS exhausted";
constexpr char kLowestFailure[] =
    "SELECT range_update FROM shards WHERE run_id = $1 AND state = 3 "
    "ORDER BY part, range_candidate, number LIMIT 1";
absl::StatusOr<RunProgress> FindProgress(pg::Transaction& tx, const RunId& run, int attempts_max,
                                         int64_t now_us) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kProgress, run, attempts_max, now_us));
  RunProgress progress;
  progress.unfinished = row.Get<bool>("unfinished");
  progress.exhausted = row.Get<bool>("exhausted");
  if (progress.unfinished) return progress;  // the question below reads every shard of the run
  ASSIGN_OR_RETURN(const auto failure, tx.ExecOptional(kLowestFailure, run));
  progress.out_of_range = failure.has_value();
  if (failure) progress.range_update = failure->Get<std::optional<UpdateId>>(0);
  return progress;
}

constexpr char kListResults[] =
    "SELECT s.part, s.row_begin, s.row_end, s.candidate_begin, s.candidate_end, r.losses "
    "FROM shard_results r JOIN shards s USING (run_id, number) WHERE r.run_id = $1 "
    "ORDER BY s.number";
absl::StatusOr<std::vector<ShardResult>> ListResults(pg::Transaction& tx, const RunId& run) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListResults, run));
  std::vector<ShardResult> results;
  for (const pg::Row& row : rows) {
    results.push_back({{row.Get<int32_t>(0), row.Get<int64_t>(1), row.Get<int64_t>(2),
                        row.Get<int64_t>(3), row.Get<int64_t>(4)},
                       row.GetBytes(5)});
  }
  return results;
}

constexpr char kDeleteResults[] =
    "DELETE FROM shard_results WHERE run_id IN (SELECT run_id FROM runs WHERE round_id = $1)";
absl::Status DeleteResults(pg::Transaction& tx, const RoundId& round) {
  return tx.Exec(kDeleteResults, round).status();
}

}  // namespace rochdale::attribution
