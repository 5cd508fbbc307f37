// Evaluation runs, their shards under leases, and results, in the database. A run's row is locked
// before its shards.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/pg/transaction.h"
#include "services/attribution/records.h"
#include "services/attribution/run_spec.h"

namespace rochdale::attribution {

// With its shards and blobs. OK and unchanged where the run is there already.
absl::Status InsertRun(pg::Transaction& tx, const RunRecord& run, const RunSpec& spec,
                       const std::vector<ShardRange>& shards, int64_t now_us);
// Without its spec and counts.
absl::StatusOr<std::optional<RunState>> FindRunState(pg::Transaction& tx, const RunId& run);
absl::StatusOr<std::optional<RunRecord>> FindRun(pg::Transaction& tx, const RunId& run);
absl::StatusOr<std::vector<RunRecord>> ListRuns(pg::Transaction& tx, const RoundId& round,
                                                const RunId& after, int limit);
absl::StatusOr<std::vector<RunId>> ListRunningRuns(pg::Transaction& tx);
// Locks the run's row first. Where it runs: sets its end.
absl::Status EndRun(pg::Transaction& tx, const RunId& run, RunState state, absl::string_view reason,
                    const std::optional<UpdateId>& failed_update, int64_t now_us);
absl::Status CancelRuns(pg::Transaction& tx, const RoundId& round, absl::string_view reason,
                        int64_t now_us);
// True while the run is not ended and names the blob.
absl::StatusOr<bool> RunReadsBlob(pg::Transaction& tx, const RunId& run,
                                  const crypto::Digest& sha256);

// Who leases a shard that the service evaluates itself; no session has this name.
inline constexpr absl::string_view kCanonicalOwner = "canonical";

struct Shard {
  int64_t number = 0;
  ShardRange range;
  int state = 0;  // 0 open, 1 leased, 2 done, 3 out of range
  std::string lease_owner;
  int64_t lease_epoch = 0;
  int64_t lease_until_us = 0;
  int attempts = 0;
  bool canonical = false;  // the service's own result stands
};

struct RunLock {  // what locking a run's row tells
  RunState state = RunState::kRunning;
  int64_t lease_ms = 0;
  int attempts_max = 0;
};
// NOT_FOUND.
absl::StatusOr<RunLock> LockRun(pg::Transaction& tx, const RunId& run);

// Whose round or A/B test it belongs to. NOT_FOUND.
absl::StatusOr<CooperativeId> FindRunCooperative(pg::Transaction& tx, const RunId& run);

// The shard that this request claimed, while its lease lasts.
absl::StatusOr<std::optional<Shard>> FindClaim(pg::Transaction& tx, const RunId& run,
                                               const Uuid& request, absl::string_view owner,
                                               int64_t now_us);
// Leases the first shard that is open or whose lease ran out; nothing where there is none.
absl::StatusOr<std::optional<Shard>> ClaimNextShard(pg::Transaction& tx, const RunId& run,
                                                    const Uuid& request, absl::string_view owner,
                                                    int attempts_max, int64_t now_us,
                                                    int64_t lease_until_us);
absl::StatusOr<std::optional<Shard>> LockShard(pg::Transaction& tx, const RunId& run,
                                               int64_t number);
absl::Status ExtendLease(pg::Transaction& tx, const RunId& run, int64_t number,
                         int64_t lease_until_us);
absl::Status ReopenShard(pg::Transaction& tx, const RunId& run, int64_t number);
absl::Status SetShardOutOfRange(pg::Transaction& tx, const RunId& run, int64_t number,
                                int64_t candidate, const std::optional<UpdateId>& update);
absl::Status CompleteShard(pg::Transaction& tx, const RunId& run, int64_t number,
                           absl::string_view losses, const crypto::Digest& sha256,
                           absl::string_view worker, int64_t now_us);
absl::StatusOr<std::optional<crypto::Digest>> FindResultDigest(pg::Transaction& tx,
                                                               const RunId& run, int64_t number);
// The losses of the result, which is there.
absl::StatusOr<std::string> ReadResult(pg::Transaction& tx, const RunId& run, int64_t number);
// A shard with a result that somebody contradicts: leased to the service, so that the run does not
// end before it is decided.
absl::Status DisputeShard(pg::Transaction& tx, const RunId& run, int64_t number,
                          int64_t lease_until_us);
// Done with the result that it has.
absl::Status ConfirmShard(pg::Transaction& tx, const RunId& run, int64_t number);
// The service's own result takes the place of the one there is.
absl::Status DecideShard(pg::Transaction& tx, const RunId& run, int64_t number,
                         absl::string_view losses, const crypto::Digest& sha256, int64_t now_us);

struct RunProgress {
  bool unfinished = false;  // some are open or leased
  bool exhausted = false;  // one of these has used up its attempts
  bool out_of_range = false;  // only where nothing is unfinished
  std::optional<UpdateId> range_update;  // of the lowest failing (part, candidate)
};
absl::StatusOr<RunProgress> FindProgress(pg::Transaction& tx, const RunId& run, int attempts_max,
                                         int64_t now_us);

struct ShardResult {
  ShardRange range;
  std::string losses;
};
// All results, by number.
absl::StatusOr<std::vector<ShardResult>> ListResults(pg::Transaction& tx, const RunId& run);
// The results of a round's runs, once evidence holds their root.
absl::Status DeleteResults(pg::Transaction& tx, const RoundId& round);

}  // namespace rochdale::attribution
