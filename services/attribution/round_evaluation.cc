// The counterfactual game: drawing the rows, evaluating the coalitions.
#include <algorithm>
#include <iterator>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "services/attribution/draw.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/round_steps.h"
#include "services/attribution/round_steps_read.h"
#include "services/attribution/round_store.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {
namespace {

constexpr size_t kSettlementRowsMin = 2;  // a standard error needs two

// What a stage of the game evaluates: everything that the stages before it did not.
std::vector<uint64_t> StageMasks(const GameRule& rule, int contributors,
                                 const crypto::Digest& seed, int stage) {
  if (!IsSampled(rule, contributors)) return GameMasks(contributors);
  int before = 0, pairs = learning::PairsOfNextStage(rule.sampling, 0);
  for (int i = 0; i < stage; ++i) {
    before = pairs;
    pairs = learning::PairsOfNextStage(rule.sampling, pairs);
  }
  const std::vector<uint64_t> all = GameMasks(contributors, seed, pairs);
  if (before == 0) return all;
  const std::vector<uint64_t> known = GameMasks(contributors, seed, before);
  std::vector<uint64_t> fresh;
  std::set_difference(all.begin(), all.end(), known.begin(), known.end(),
                      std::back_inserter(fresh));
  return fresh.empty() ? std::vector<uint64_t>{0} : fresh;  // a run has at least one candidate
}

}  // namespace

RunPart PartOfAll(const RunSpec& spec) {
  RunPart part;
  part.updates.resize(spec.updates.size());
  std::iota(part.updates.begin(), part.updates.end(), 0);
  return part;
}

absl::StatusOr<RunSpec> RoundSteps::CoalitionsSpec(
    const RoundRecord& round, const std::vector<RoundUpdate>& updates) {
  ASSIGN_OR_RETURN(const ModelRecord model, ModelOf(round));
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  RunSpec spec;
  spec.model = model.spec;
  spec.base = round.base;
  spec.lineages = round.lineages.value();
  for (const RoundUpdate& update : updates) {
    spec.updates.push_back({update.update, *update.effective});
  }
  spec.aggregation = AggregationOf(parameters, updates);
  return spec;
}

absl::StatusOr<Progress> RoundSteps::DrawRows(const RoundRecord& round) {
  ASSIGN_OR_RETURN(const ModelRecord model, ModelOf(round));
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  ASSIGN_OR_RETURN(const auto pool, Read<std::optional<PoolRecord>>([&](auto& tx) {
                     return FindPool(tx, round.cooperative);
                   }));
  if (!pool) return absl::InternalError("a round without a validation pool");
  ASSIGN_OR_RETURN(const RetiredRows retired, Read<RetiredRows>([&](auto& tx) {
                     return FindRetiredRows(tx, round.cooperative);
                   }));
  RoundRecord next = round;
  next.rows = DrawSettlementRows(
      parts_.secrets.RoundSeed(round.round), pool->rows,
      VisibleRows(pool->split_seed, pool->rows, pool->visible_rows), retired.rows,
      parameters.Int("validation.rows_per_round"));
  if (next.rows.size() < kSettlementRowsMin) {
    RETURN_IF_ERROR(Abandon(round, "VALIDATION_POOL_EMPTY"));
    return Progress::kMoved;
  }
  ASSIGN_OR_RETURN(const learning::Dataset all, LoadRows(pool->sha256, model.spec));
  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
  ASSIGN_OR_RETURN(next.rows_sha256,
                   blobs->Put(learning::SerializeDataset(learning::TakeRows(all, next.rows))));
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) -> absl::Status {
    for (const RoundId& id : retired.rounds) {
      RETURN_IF_ERROR(InsertRetiredRound(tx, round.round, id));
    }
    return Move(tx, next, round.state, Now());
  }));
  RETURN_IF_ERROR(Fault("rows drawn"));
  return Progress::kMoved;
}

absl::StatusOr<RunSpec> RoundSteps::GameSpec(const RoundRecord& round,
                                             const std::vector<RoundUpdate>& contributors,
                                             int stage) {
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  const int count = static_cast<int>(contributors.size());
  ASSIGN_OR_RETURN(RunSpec spec, CoalitionsSpec(round, contributors));
  RunPart part = PartOfAll(spec);
  part.data = round.rows_sha256.value();
  part.rows = static_cast<int64_t>(round.rows.size());
  part.masks = StageMasks(GameRuleOf(parameters, count, spec.model), count,
                          parts_.secrets.RoundSeed(round.round), stage);
  // Where the base is the best so far, its losses are those of the empty coalition.
  if (stage == 0 && round.best != round.base) part.checkpoints.push_back(round.best);
  spec.parts.push_back(std::move(part));
  return spec;
}

absl::StatusOr<int> RoundSteps::LastStage(const RoundRecord& round, RunPurpose purpose) {
  return Read<int>([&](pg::Transaction& tx) -> absl::StatusOr<int> {
    int stage = 0;
    while (stage + 1 < StagesMax(purpose)) {
      ASSIGN_OR_RETURN(const auto run,
                       FindRun(tx, RunIdOf(round.round, purpose, round.generation, stage + 1)));
      if (!run) break;
      ++stage;
    }
    return stage;
  });
}

absl::StatusOr<Game> RoundSteps::LoadGame(const RoundRecord& round, int contributors) {
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  const GameRule rule = GameRuleOf(parameters, contributors);
  ASSIGN_OR_RETURN(const int last, LastStage(round, RunPurpose::kGame));
  Game game;
  game.contributors = contributors;
  game.rows = static_cast<int64_t>(round.rows.size());
  game.seed = parts_.secrets.RoundSeed(round.round);
  for (int stage = 0; stage <= last; ++stage) {
    const RunId id = RunIdOf(round.round, RunPurpose::kGame, round.generation, stage);
    ASSIGN_OR_RETURN(const auto run, Read<std::optional<RunRecord>>([&](auto& tx) {
                       return FindRun(tx, id);
                     }));
    if (!run || run->state != RunState::kDone) return absl::InternalError("the game is not done");
    ASSIGN_OR_RETURN(const RunSpec spec, ParseRunSpec(run->spec));
    if (spec.parts.size() != 1 || spec.parts[0].data != round.rows_sha256 ||
        spec.parts[0].rows != game.rows) {
      return absl::InternalError("what is paid is evaluated on all settlement rows");
    }
    ASSIGN_OR_RETURN(auto losses, LossesOf(*run));
    std::vector<int64_t>& all = losses.at(0);
    const std::vector<uint64_t>& masks = spec.parts.at(0).masks;
    if (all.size() > masks.size() * game.rows) {
      game.best.assign(all.end() - game.rows, all.end());
    } else if (stage == 0) {
      game.best.assign(all.begin(), all.begin() + game.rows);
    }
    AddCoalitions(game, masks, all);
    if (IsSampled(rule, contributors)) {
      game.pairs = learning::PairsOfNextStage(rule.sampling, game.pairs);
    }
  }
  return game;
}

absl::StatusOr<Progress> RoundSteps::Evaluate(const RoundRecord& round) {
  ASSIGN_OR_RETURN(const auto updates, Read<std::vector<RoundUpdate>>([&](auto& tx) {
                     return ListRoundUpdates(tx, round.round);
                   }));
  const std::vector<RoundUpdate> contributors = ContributorsOf(updates);
  if (contributors.empty()) {
    RETURN_IF_ERROR(Abandon(round, "NO_UPDATES_ADMITTED"));
    return Progress::kMoved;
  }
  if (contributors.size() > static_cast<size_t>(kContributorsMax)) {
    RETURN_IF_ERROR(Abandon(round, "TOO_MANY_UPDATES"));
    return Progress::kMoved;
  }
  if (round.rows.empty()) return DrawRows(round);
  const int count = static_cast<int>(contributors.size());
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  ASSIGN_OR_RETURN(const ModelRecord model, ModelOf(round));
  const GameRule rule = GameRuleOf(parameters, count, model.spec);
  ASSIGN_OR_RETURN(const int stage, LastStage(round, RunPurpose::kGame));
  const auto ensure = [&](int wanted) {
    return EnsureRun(round, RunPurpose::kGame, wanted,
                     [&] { return GameSpec(round, contributors, wanted); });
  };
  ASSIGN_OR_RETURN(const RunStep step, ensure(stage));
  if (!step.done) return step.progress;
  ASSIGN_OR_RETURN(const Game game, LoadGame(round, count));
  if (IsSampled(rule, count)) {
    ASSIGN_OR_RETURN(const bool ends, SamplingEnds(rule, game));
    if (!ends) {
      ASSIGN_OR_RETURN(const RunStep next_stage, ensure(stage + 1));
      return next_stage.done ? Progress::kMoved : next_stage.progress;
    }
  }
  ASSIGN_OR_RETURN(const uint64_t applied, AppliedMask(rule, game));

  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  std::vector<Outcome> outcomes;
  for (const RoundUpdate& update : contributors) {
    outcomes.push_back({update.update, OutcomeState::kEvaluated, ""});
  }
  RETURN_IF_ERROR(filter->RecordOutcomes(round.round, "evaluated", outcomes));
  RETURN_IF_ERROR(Fault("evaluated"));
  const absl::Time now = Now();
  RoundRecord next = round;
  next.state = RoundState::kApply;
  next.applied_mask = static_cast<int64_t>(applied);
  next.deadline_us = ToUnixMicros(now + LengthOf(RoundState::kApply, parameters));
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) { return Move(tx, next, round.state, now); }));
  RETURN_IF_ERROR(Fault("gate stored"));
  return Progress::kMoved;
}

}  // namespace rochdale::attribution
