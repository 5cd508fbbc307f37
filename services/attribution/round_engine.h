// The round engine: one thread that drives every round, in the replica that leads.
//
// Each pass takes every round under way one or more steps further (round_steps.h), hands exceptions
// to governance and ends runs that are done. A failing dependency is tried again with a growing
// pause until the state's deadline; then the round is ABANDONED.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/obs/metrics.h"
#include "libs/pg/leader.h"
#include "services/attribution/launcher.h"
#include "services/attribution/parts.h"
#include "services/attribution/round_steps.h"

namespace rochdale::attribution {

class RoundEngine {
 public:
  // Starts at once. `launcher` may be null.
  RoundEngine(Parts& parts, WorkerLauncher* launcher);
  ~RoundEngine();

  void Stop();
  // True where a test's fault ended it.
  bool crashed() const { return crashed_.load(); }

 private:
  struct Backoff {
    absl::Duration pause;
    absl::Time until;
  };

  void Loop();
  // True where there may be more to do at once.
  absl::StatusOr<bool> Pass(RoundSteps& steps);
  absl::StatusOr<bool> Work(RoundSteps& steps, const RoundId& id);
  // After an error of a step: waits, or abandons where the state's time is up.
  absl::Status HandleError(RoundSteps& steps, const RoundRecord& round,
                           const absl::Status& status);
  absl::Status Chores(RoundSteps& steps);

  Parts& parts_;
  WorkerLauncher* const launcher_;
  const obs::Counter steps_done_;
  const obs::Counter step_errors_;
  const obs::CounterFamily rounds_ended_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> crashed_{false};
  std::map<RoundId, Backoff> backoffs_;  // engine thread only
  absl::Time chores_at_ = absl::InfinitePast();
  bool busy_ = false;
  pg::Leadership leadership_;
  std::thread thread_;
};

// Until when the state of a round may go on where its steps fail or wait; nothing: for ever.
std::optional<int64_t> GivesUpAt(const RoundRecord& round);

}  // namespace rochdale::attribution
