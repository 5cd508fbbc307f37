// What the steps of rounds and of A/B tests have in common: writes under the engine's lease, and
// runs of workers. Used by the engine's thread.
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "libs/config/parameters.h"
#include "libs/pg/transaction.h"
#include "services/attribution/launcher.h"
#include "services/attribution/parts.h"
#include "services/attribution/records.h"
#include "services/attribution/run_spec.h"

namespace rochdale::attribution {

inline constexpr char kEngineLease[] = "attribution.rounds";

// One transaction, made only while the lease is that of `epoch`; wakes who waits for changes.
absl::Status EngineWrite(Parts& parts, int64_t epoch,
                         absl::FunctionRef<absl::Status(pg::Transaction&)> change);

// The run `record.run` of `spec`, cut into shards and leased as `parameters` say. No effect where
// it is there.
absl::Status MakeRun(Parts& parts, int64_t epoch, RunRecord record, RunSpec spec,
                     const config::ParameterSet& parameters);

// Starts the workers of a run that goes on and stops those of another. `launcher` may be null.
void SeeToWorkers(const Parts& parts, WorkerLauncher* launcher, const RunRecord& run);

}  // namespace rochdale::attribution
