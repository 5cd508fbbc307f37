#include "services/attribution/round_engine.h"

#include <algorithm>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/obs/log.h"
#include "libs/pg/database.h"
#include "services/attribution/comparison_steps.h"
#include "services/attribution/engine_writes.h"
#include "services/attribution/round_opening.h"
#include "services/attribution/round_store.h"

namespace rochdale::attribution {
namespace {

constexpr absl::Duration kIdlePause = absl::Seconds(1);
constexpr absl::Duration kChoresEvery = absl::Milliseconds(500);
constexpr absl::Duration kReadTimeout = absl::Seconds(10);
constexpr absl::Duration kIntakeGrace = absl::Minutes(15);
constexpr int kStepsPerRound = 32;  // before another round has its turn

pg::LeadershipOptions LeaderOptions(Parts& parts) {
  pg::LeadershipOptions options;
  options.name = kEngineLease;
  options.address = parts.options.address;
  options.check_every = absl::Milliseconds(500);
  options.on_gained = [&parts](int64_t) { parts.changes.Notify(); };
  return options;
}

}  // namespace

std::optional<int64_t> GivesUpAt(const RoundRecord& round) {
  switch (round.state) {
    case RoundState::kOpen:
      if (!round.announced) return round.deadline_us;
      [[fallthrough]];
    case RoundState::kCommit:
    case RoundState::kReveal:
      // Their deadline is when they move on; moving on may fail for a while.
      return round.deadline_us + absl::ToInt64Microseconds(kIntakeGrace);
    case RoundState::kPreparing:
    case RoundState::kScreen:
    case RoundState::kEvaluate: return round.deadline_us;
    case RoundState::kApply:
      if (round.next) return std::nullopt;  // the checkpoint is made: it only has to be closed
      return round.deadline_us;
    case RoundState::kClosed:
    case RoundState::kAbandoned: return std::nullopt;
  }
  return std::nullopt;
}

RoundEngine::RoundEngine(Parts& parts, WorkerLauncher* launcher)
    : parts_(parts),
      launcher_(launcher),
      steps_done_(parts.env.metrics.AddCounter("rochdale_round_steps_total",
                                               "Steps of rounds that were taken.")),
      step_errors_(parts.env.metrics.AddCounter(
          "rochdale_round_step_errors_total", "Steps of rounds that failed and are tried again.")),
      rounds_ended_(parts.env.metrics.Counters("rochdale_rounds_ended_total",
                                               "Rounds that ended, by how.", {"state"})),
      leadership_(parts.env.db, parts.env.clock, LeaderOptions(parts)),
      thread_([this] { Loop(); }) {}

RoundEngine::~RoundEngine() { Stop(); }

void RoundEngine::Stop() {
  stopping_.store(true);
  parts_.changes.Notify();
  if (thread_.joinable()) thread_.join();
  leadership_.Stop();
}

void RoundEngine::Loop() {
  while (!stopping_.load()) {
    const int64_t seen = parts_.changes.version();
    const std::optional<int64_t> epoch = leadership_.epoch();
    bool more = false;
    if (epoch) {
      RoundSteps steps(parts_, launcher_, *epoch);
      const absl::StatusOr<bool> passed = Pass(steps);
      if (steps.crashed()) {
        crashed_.store(true);
        return;
      }
      if (!passed.ok()) {
        parts_.env.logger.Warning("the round engine cannot work",
                                  obs::Fields().Text("cause", passed.status().ToString()));
      }
      more = passed.ok() && *passed;
      const absl::StatusOr<int> running =
          ComparisonSteps(parts_, launcher_, *epoch).AdvanceAll();
      busy_ = busy_ || (running.ok() && *running > 0);
    }
    if (more) continue;
    const absl::Duration pause = busy_ || !epoch ? parts_.options.poll_every : kIdlePause;
    parts_.changes.WaitFor(seen, pause);
  }
}

absl::StatusOr<bool> RoundEngine::Pass(RoundSteps& steps) {
  RETURN_IF_ERROR(Chores(steps));
  ASSIGN_OR_RETURN(const std::vector<RoundId> rounds,
                   parts_.env.db.Transact(kReadTimeout, [&](pg::Transaction& tx) {
                     return ListOpenWork(tx, parts_.options.rounds_max);
                   }));
  busy_ = !rounds.empty();
  std::erase_if(backoffs_, [&](const auto& one) {
    return std::find(rounds.begin(), rounds.end(), one.first) == rounds.end();
  });
  bool more = false;
  for (const RoundId& id : rounds) {
    if (stopping_.load()) return false;
    const auto backoff = backoffs_.find(id);
    if (backoff != backoffs_.end() && parts_.env.clock.Now() < backoff->second.until) continue;
    ASSIGN_OR_RETURN(const bool one, Work(steps, id));
    if (steps.crashed()) return false;
    more = more || one;
  }
  return more;
}

absl::StatusOr<bool> RoundEngine::Work(RoundSteps& steps, const RoundId& id) {
  for (int step = 0; step < kStepsPerRound && !stopping_.load(); ++step) {
    ASSIGN_OR_RETURN(const auto round,
                     parts_.env.db.Transact(kReadTimeout, [&](pg::Transaction& tx) {
                       return FindRound(tx, id);
                     }));
    if (!round) return false;
    if (round->ended()) {
      if (step > 0) {
        rounds_ended_.With({round->state == RoundState::kClosed ? "closed" : "abandoned"}).Add();
      }
      if (!round->filter_told) {
        const absl::Status told = steps.TellFilter(*round);
        if (!told.ok()) RETURN_IF_ERROR(HandleError(steps, *round, told));
      }
      return true;  // the plan may have another round
    }
    // Taken first: a step that waits has then looked at the deadline itself, at this or later.
    const int64_t now_us = ToUnixMicros(parts_.env.clock.Now());
    const absl::StatusOr<Progress> progress = steps.Advance(*round);
    if (steps.crashed()) return false;
    if (!progress.ok()) {
      RETURN_IF_ERROR(HandleError(steps, *round, progress.status()));
      return false;
    }
    backoffs_.erase(id);
    if (*progress == Progress::kMoved) {
      steps_done_.Add();
      continue;
    }
    const std::optional<int64_t> limit = GivesUpAt(*round);
    if (!limit || now_us < *limit) return false;
    RETURN_IF_ERROR(steps.Abandon(*round, "DEADLINE"));
  }
  return true;
}

absl::Status RoundEngine::HandleError(RoundSteps& steps, const RoundRecord& round,
                                      const absl::Status& status) {
  step_errors_.Add();
  parts_.env.logger.Warning("a step of a round failed",
                            obs::Fields()
                                .Text("round", round.round.ToString())
                                .Int("state", static_cast<int>(round.state))
                                .Text("cause", status.ToString()));
  const absl::Time now = parts_.env.clock.Now();
  const std::optional<int64_t> limit = GivesUpAt(round);
  if (limit && ToUnixMicros(now) >= *limit) {
    const std::string reason = ReasonOf(status);
    return steps.Abandon(round, reason.empty() ? "DEADLINE" : reason);
  }
  Backoff& backoff = backoffs_[round.round];
  backoff.pause = backoff.pause == absl::ZeroDuration()
                      ? parts_.options.backoff_min
                      : std::min(backoff.pause * 2, parts_.options.backoff_max);
  backoff.until = now + backoff.pause;
  return absl::OkStatus();
}

absl::Status RoundEngine::Chores(RoundSteps& steps) {
  const absl::Time now = parts_.env.clock.Now();
  if (now < chores_at_) return absl::OkStatus();
  chores_at_ = now + kChoresEvery;
  RETURN_IF_ERROR(parts_.runs.Tend(now));
  const absl::Status sent = steps.SendExceptions();
  if (!sent.ok()) {
    parts_.env.logger.Warning("exceptions wait for governance",
                              obs::Fields().Text("cause", sent.ToString()));
  }
  return absl::OkStatus();
}

}  // namespace rochdale::attribution
