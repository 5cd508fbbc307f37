#include "services/attribution/engine_writes.h"

#include <utility>

#include "libs/base/status_macros.h"
#include "libs/pg/database.h"
#include "libs/pg/leader.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {
namespace {

constexpr absl::Duration kWriteTimeout = absl::Seconds(60);  // a checkpoint's evidence and credits

}  // namespace

absl::Status EngineWrite(Parts& parts, int64_t epoch,
                         absl::FunctionRef<absl::Status(pg::Transaction&)> change) {
  RETURN_IF_ERROR(parts.env.db.Transact(kWriteTimeout, [&](pg::Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(pg::CheckEpoch(tx, kEngineLease, epoch));
    return change(tx);
  }));
  parts.changes.Notify();
  return absl::OkStatus();
}

absl::Status MakeRun(Parts& parts, int64_t epoch, RunRecord record, RunSpec spec,
                     const config::ParameterSet& parameters) {
  spec.run = record.run;
  record.lease_ms = absl::ToInt64Milliseconds(parameters.Duration("worker.lease_ms"));
  record.attempts_max = static_cast<int>(parameters.Int("worker.max_attempts"));
  const std::vector<ShardRange> shards =
      PlanShards(spec, parameters.Int("worker.rows_per_shard"),
                 parameters.Int("worker.candidates_per_shard"));
  return EngineWrite(parts, epoch, [&](pg::Transaction& tx) {
    return InsertRun(tx, record, spec, shards, ToUnixMicros(parts.env.clock.Now()));
  });
}

void SeeToWorkers(const Parts& parts, WorkerLauncher* launcher, const RunRecord& run) {
  if (launcher == nullptr) return;
  if (run.state == RunState::kRunning) {
    launcher->Start(run.run, parts.secrets.RunToken(run.run));
  } else {
    launcher->Stop(run.run);
  }
}

}  // namespace rochdale::attribution
