// Leases of shards, results accepted once, and when a run has ended: the database side of runs.
//
// Two workers with the same shard, a killed worker, an expired lease, a repeated result: all have
// the effect of one. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/pg/database.h"
#include "services/attribution/records.h"
#include "services/attribution/run_spec.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {

// Who asks, as the session token proved it.
struct WorkerCall {
  RunId run;
  std::string session;
  absl::Time now;
  absl::Time deadline;
};

struct ClaimedShard {
  bool run_ended = false;
  std::optional<Shard> shard;  // none: nothing to do now
};

// The encoded losses of a shard by the service's own evaluation, from any thread.
using CanonicalLosses =
    std::function<absl::StatusOr<std::string>(const RunId& run, const ShardRange& range)>;

class RunEngine {
 public:
  // `ended` is called after a run of this process's workers has ended, from any thread.
  RunEngine(pg::Database& db, std::function<void()> ended, CanonicalLosses canonical)
      : db_(db), ended_(std::move(ended)), canonical_(std::move(canonical)) {}

  absl::StatusOr<ClaimedShard> Claim(const WorkerCall& call, const Uuid& request);
  // LEASE_LOST.
  absl::Status Heartbeat(const WorkerCall& call, int64_t number, int64_t epoch);
  // LEASE_LOST, BAD_REQUEST. Where the model is a module, a result that is everywhere within its
  // tolerance of the first is a repetition of it: the first stands. Another result for a shard that
  // has one raises RESULT_MISMATCH and is LEASE_LOST. While the run is under way the service then
  // evaluates the shard itself, once, and what it finds stands; where it cannot, the shard goes to
  // one more worker, and what two agree on stands. Once the run has ended the first result stays,
  // for whoever recomputes the evidence.
  absl::Status Complete(const WorkerCall& call, int64_t number, int64_t epoch,
                        absl::string_view losses);
  struct Failure {
    std::string reason;
    int64_t candidate = 0;              // EVALUATION_RANGE: index in the part
    std::optional<UpdateId> update;     // EVALUATION_RANGE: what has to go
  };
  // LEASE_LOST. EVALUATION_RANGE is a finding: the shard is finished. Anything else reopens it.
  absl::Status Fail(const WorkerCall& call, int64_t number, int64_t epoch, const Failure& failure);

  // Ends runs whose shards are finished or exhausted; from the round engine, now and then.
  absl::Status Tend(absl::Time now);

 private:
  absl::Status Decide(const WorkerCall& call, int64_t number);
  // In the transaction, the run locked: ends it if nothing is left to do. True where it ended.
  absl::StatusOr<bool> EndIfFinished(pg::Transaction& tx, const RunId& run, int attempts_max,
                                     absl::Time now);

  pg::Database& db_;
  const std::function<void()> ended_;
  const CanonicalLosses canonical_;
};

// The losses of each part of a DONE run: loss of candidate c on row r of part p is
// result[p][c * rows + r]. INTERNAL where results are missing or malformed.
absl::StatusOr<std::vector<std::vector<int64_t>>> AssembleLosses(
    const RunSpec& spec, const std::vector<ShardResult>& results);

}  // namespace rochdale::attribution
