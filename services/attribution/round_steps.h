// The steps of a round: what attribution does in each state, one idempotent step at a time.
//
// A step reads what was persisted, asks other services (every request named by round and step),
// and ends in one transaction that moves the round on, fenced by the leader's epoch. So a process
// that dies at any instant leaves a round that the next one continues. Used by one thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/config/parameters.h"
#include "libs/learning/dataset.h"
#include "libs/pg/transaction.h"
#include "services/attribution/game.h"
#include "services/attribution/launcher.h"
#include "services/attribution/measuring.h"
#include "services/attribution/parts.h"
#include "services/attribution/records.h"
#include "services/attribution/rules.h"

namespace rochdale::attribution {

enum class Progress {
  kMoved,    // there may be more to do at once
  kWaiting,  // for agents, workers or the clock
};

class RoundSteps {
 public:
  // `launcher` may be null: workers are started by somebody else.
  RoundSteps(Parts& parts, WorkerLauncher* launcher, int64_t epoch)
      : parts_(parts), launcher_(launcher), epoch_(epoch) {}

  // One step. An error of a dependency leaves the round as it was: try again later.
  absl::StatusOr<Progress> Advance(const RoundRecord& round);
  // Ends a round without effect and prepares the next of its plan.
  absl::Status Abandon(const RoundRecord& round, absl::string_view reason);
  // Tells the filter how an ended round ended.
  absl::Status TellFilter(const RoundRecord& round);
  // Hands what services must look at to governance.
  absl::Status SendExceptions();
  // True where a test's fault stopped a step: the engine must end as if it had crashed.
  bool crashed() const { return crashed_; }

 private:
  // Whether founders have gone back to another checkpoint than the one this round starts from.
  absl::StatusOr<bool> IsRolledBack(const RoundRecord& round);

  // round_intake.cc
  absl::StatusOr<Progress> Prepare(const RoundRecord& round);
  absl::StatusOr<Progress> Announce(const RoundRecord& round);
  absl::StatusOr<Progress> TakeCommitments(const RoundRecord& round);
  absl::StatusOr<Progress> TakeReveals(const RoundRecord& round);
  absl::StatusOr<std::vector<float>> GradientOf(const ModelRecord& model,
                                                learning::GridSpan parameters,
                                                learning::Rows rows);
  absl::Status EnsureGradients(const RoundRecord& round, const ModelRecord& model);
  absl::StatusOr<IntakeProgress> LookAtIntake(const RoundRecord& round);

  // round_screening.cc
  absl::StatusOr<Progress> Screen(const RoundRecord& round);
  absl::StatusOr<Progress> StoreScreening(const RoundRecord& round);
  // Of each lineage, by its earliest update, where the aggregation rule has weights; else none.
  absl::StatusOr<std::map<UpdateId, int64_t>> LineageShares(const RoundRecord& round,
                                                            const Screening& screening);
  absl::StatusOr<Progress> Decide(const RoundRecord& round,
                                  const std::vector<Measurement>& measurements,
                                  const crypto::Digest& evidence);

  // round_measuring.cc
  // Goes on with the runs that measure `needed`: nothing once `measuring` has them all, else what
  // to tell the engine.
  absl::StatusOr<std::optional<Progress>> Measure(const RoundRecord& round,
                                                  const std::vector<RoundUpdate>& updates,
                                                  const std::vector<NeededProbe>& needed,
                                                  Measuring& measuring);
  absl::StatusOr<RunSpec> MeasureSpec(const RoundRecord& round,
                                      const std::vector<RoundUpdate>& updates,
                                      const std::vector<NeededProbe>& needed,
                                      const std::vector<Measuring::Part>& parts);
  // Without candidates.
  absl::StatusOr<RunPart> MeasurePart(const RoundRecord& round, const learning::ModelSpec& model,
                                      const Measuring::Part& wanted);

  // round_evaluation.cc
  absl::StatusOr<Progress> Evaluate(const RoundRecord& round);
  absl::StatusOr<Progress> DrawRows(const RoundRecord& round);
  // All but the parts: coalitions of these updates, as they would be applied.
  absl::StatusOr<RunSpec> CoalitionsSpec(const RoundRecord& round,
                                         const std::vector<RoundUpdate>& updates);
  absl::StatusOr<RunSpec> GameSpec(const RoundRecord& round,
                                   const std::vector<RoundUpdate>& contributors, int stage);
  // The game with the stages that were evaluated, all of them DONE.
  absl::StatusOr<Game> LoadGame(const RoundRecord& round, int contributors);
  // The last stage that was begun; 0 where none was.
  absl::StatusOr<int> LastStage(const RoundRecord& round, RunPurpose purpose);

  // round_values.cc: before anything is applied.
  absl::StatusOr<Progress> TestValues(const RoundRecord& round,
                                      const std::vector<RoundUpdate>& contributors);
  absl::StatusOr<RunSpec> ValuesSpec(const RoundRecord& round,
                                     const std::vector<RoundUpdate>& contributors,
                                     const std::vector<NeededBound>& bounds,
                                     const std::vector<uint64_t>& masks);
  struct ValuesSoFar {
    AggregateValues values;
    int stages = 0;  // that are DONE
  };
  absl::StatusOr<ValuesSoFar> LoadValues(const RoundRecord& round,
                                         const std::vector<NeededBound>& bounds);

  // round_settlement.cc
  struct Aggregate;
  struct Settlement;
  absl::StatusOr<Progress> Apply(const RoundRecord& round);
  absl::StatusOr<RunSpec> AggregateSpec(const RoundRecord& round,
                                        const std::vector<RoundUpdate>& contributors);
  absl::StatusOr<Settlement> SettleRound(const RoundRecord& round,
                                         const std::vector<RoundUpdate>& contributors, Game game,
                                         const Aggregate& aggregate);
  absl::Status StoreSettlement(const RoundRecord& round, const std::vector<RoundUpdate>& updates,
                               const Settlement& settlement);
  absl::StatusOr<Progress> Close(const RoundRecord& round);
  absl::StatusOr<std::vector<Outcome>> FinalOutcomes(const RoundRecord& round);

  // round_steps.cc: what the steps share.
  absl::Time Now() const { return parts_.env.clock.Now(); }
  // A transaction that only the leader of this epoch can commit.
  absl::Status Write(absl::FunctionRef<absl::Status(pg::Transaction&)> change);
  template <typename T>
  absl::StatusOr<T> Read(absl::FunctionRef<absl::StatusOr<T>(pg::Transaction&)> query);
  absl::StatusOr<ModelRecord> ModelOf(const RoundRecord& round);
  absl::StatusOr<config::ParameterSet> ParametersOf(const RoundRecord& round) const {
    return ParametersFromText(round.parameters);
  }
  // Persists `next` where the round is still in `from`, and logs the change of state, if any.
  absl::Status Move(pg::Transaction& tx, const RoundRecord& next, RoundState from, absl::Time now);
  // A blob of the filter, in our own store from now on.
  absl::Status EnsureBlob(const crypto::Digest& sha256);
  absl::StatusOr<learning::Dataset> LoadRows(const crypto::Digest& sha256,
                                             const learning::ModelSpec& spec);

  // What a step does about its run.
  struct RunStep {
    std::optional<RunRecord> done;      // the run, once it is DONE
    Progress progress = Progress::kWaiting;  // else what to tell the engine
  };
  // Makes the run where it is not there, sees to its workers, and deals with a failed one: an
  // update that leaves the evaluator's range is removed and the evaluation begins again; any other
  // failure abandons the round. INTERNAL from StagesMax(purpose) on.
  absl::StatusOr<RunStep> EnsureRun(const RoundRecord& round, RunPurpose purpose, int stage,
                                    absl::FunctionRef<absl::StatusOr<RunSpec>()> make);
  // Of an evaluation of several stages whose last one is under way: what to tell the engine, since
  // what the stages before found is not needed yet. Nothing where it is done, or is the first.
  absl::StatusOr<std::optional<Progress>> AwaitLastStage(const RoundRecord& round,
                                                         RunPurpose purpose);
  absl::StatusOr<Progress> HandleFailedRun(const RoundRecord& round, const RunRecord& run);
  absl::StatusOr<std::vector<std::vector<int64_t>>> LossesOf(const RunRecord& run);

  absl::Status Fault(absl::string_view step);

  Parts& parts_;
  WorkerLauncher* const launcher_;
  const int64_t epoch_;
  bool crashed_ = false;
};

// Of the test of values: one for what the gate leaves, one for each update that is refused.
inline constexpr int kValuesStagesMax = kContributorsMax + 1;

// How many runs an evaluation may take. Looks at a part of the rows are for measuring alone: the
// stages of a game have further coalitions on the same rows, all of them.
constexpr int StagesMax(RunPurpose purpose) {
  switch (purpose) {
    case RunPurpose::kMeasure: return kMeasureStagesMax;
    case RunPurpose::kGame: return 9;  // Shapley by at most 2, 4, ..., 512 sampled pairs
    case RunPurpose::kValues: return kValuesStagesMax;
    default: return 1;
  }
}

RunId RunIdOf(const RoundId& round, RunPurpose purpose, int generation, int stage = 0);

// Updates that take part in the game, in bit order.
std::vector<RoundUpdate> ContributorsOf(const std::vector<RoundUpdate>& updates);

// A part whose masks are over all updates of the spec, in their order.
RunPart PartOfAll(const RunSpec& spec);

}  // namespace rochdale::attribution
