// The new checkpoint, credits and evidence, and the close of a round.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/learning/aggregation.h"
#include "libs/obs/log.h"
#include "services/attribution/draw.h"
#include "services/attribution/entries.h"
#include "services/attribution/evidence.h"
#include "services/attribution/parameters_file.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/round_opening.h"
#include "services/attribution/round_steps.h"
#include "services/attribution/round_steps_read.h"
#include "services/attribution/round_store.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {
namespace {

constexpr int kEstimatorDisagreement = 1;  // governance.v1.ExceptionKind
constexpr int kOverfit = 3;

ExceptionRecord ExceptionOf(int kind, const RoundRecord& round, const Uuid& subject,
                            std::string description, absl::Time now) {
  ExceptionRecord exception;
  exception.exception = {crypto::DeterministicId("attribution/exception", kind, subject)};
  exception.cooperative = round.cooperative;
  exception.kind = kind;
  exception.subject = subject;
  exception.description = std::move(description);
  exception.raised_us = ToUnixMicros(now);
  return exception;
}

bool IsApplied(uint64_t mask, size_t bit) { return (mask >> bit & 1) != 0; }

// Of a contributor that is not applied: the gate's reason or that of the test of values.
const char* LeftOutReason(const RoundRecord& round, size_t bit) {
  const auto refused = static_cast<uint64_t>(round.refused_mask.value_or(0));
  return refused >> bit & 1 ? "NOT_APPLIED_VALUES" : "NOT_APPLIED_HARMFUL";
}

}  // namespace

// What was measured after the gate.
struct RoundSteps::Aggregate {
  std::optional<int64_t> visible_base;  // mean losses, nano-nats
  std::optional<int64_t> visible_loss;
  std::vector<int64_t> applied;         // settlement rows; empty where the game has them
};

struct RoundSteps::Settlement {
  Aggregate aggregate;
  Evidence evidence;
  std::string body;          // the evidence's JSON
  crypto::Digest sha256;
  std::vector<ContributorResult> results;
  crypto::Digest best;       // from now on
  int64_t settlement_gain = 0;  // base - applied, mean over the settlement rows
};

absl::StatusOr<RunSpec> RoundSteps::AggregateSpec(const RoundRecord& round,
                                                  const std::vector<RoundUpdate>& contributors) {
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  ASSIGN_OR_RETURN(const auto pool, Read<std::optional<PoolRecord>>([&](auto& tx) {
                     return FindPool(tx, round.cooperative);
                   }));
  if (!pool) return absl::InternalError("a round without a validation pool");
  const uint64_t applied = static_cast<uint64_t>(round.applied_mask.value());
  ASSIGN_OR_RETURN(RunSpec spec, CoalitionsSpec(round, contributors));
  std::vector<int64_t> visible = VisibleRows(pool->split_seed, pool->rows, pool->visible_rows);
  const int64_t rows_max = parameters.Int("validation.rows_per_round");
  if (static_cast<int64_t>(visible.size()) > rows_max) visible.resize(rows_max);
  if (!visible.empty()) {
    ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
    ASSIGN_OR_RETURN(const learning::Dataset rows, LoadRows(pool->sha256, spec.model));
    RunPart part = PartOfAll(spec);
    ASSIGN_OR_RETURN(part.data,
                     blobs->Put(learning::SerializeDataset(learning::TakeRows(rows, visible))));
    part.rows = static_cast<int64_t>(visible.size());
    part.masks = {0, applied};
    spec.parts.push_back(std::move(part));
  }
  RunPart settlement = PartOfAll(spec);
  settlement.data = round.rows_sha256.value();
  settlement.rows = static_cast<int64_t>(round.rows.size());
  settlement.masks = {applied};
  ASSIGN_OR_RETURN(const Game game, LoadGame(round, static_cast<int>(contributors.size())));
  // Also where there is nothing else to evaluate: a run has at least one part.
  if (spec.parts.empty() || game.Losses(applied).empty()) {
    spec.parts.push_back(std::move(settlement));
  }
  return spec;
}

absl::StatusOr<Progress> RoundSteps::Apply(const RoundRecord& round) {
  ASSIGN_OR_RETURN(const auto updates, Read<std::vector<RoundUpdate>>([&](auto& tx) {
                     return ListRoundUpdates(tx, round.round);
                   }));
  const std::vector<RoundUpdate> contributors = ContributorsOf(updates);
  if (!round.refused_mask) return TestValues(round, contributors);
  ASSIGN_OR_RETURN(const RunStep step, EnsureRun(round, RunPurpose::kAggregate, 0, [&] {
                     return AggregateSpec(round, contributors);
                   }));
  if (!step.done) return step.progress;
  ASSIGN_OR_RETURN(const RunSpec spec, ParseRunSpec(step.done->spec));
  ASSIGN_OR_RETURN(const auto losses, LossesOf(*step.done));
  Aggregate aggregate;
  for (size_t p = 0; p < spec.parts.size(); ++p) {
    const auto all = absl::MakeConstSpan(losses[p]);
    if (spec.parts[p].data == *round.rows_sha256) {
      aggregate.applied = losses[p];
    } else {
      aggregate.visible_base = MeanLoss(all.subspan(0, spec.parts[p].rows));
      aggregate.visible_loss = MeanLoss(all.subspan(spec.parts[p].rows));
    }
  }
  ASSIGN_OR_RETURN(Game game, LoadGame(round, static_cast<int>(contributors.size())));
  ASSIGN_OR_RETURN(const Settlement settlement,
                   SettleRound(round, contributors, std::move(game), aggregate));
  RETURN_IF_ERROR(Fault("settled"));
  RETURN_IF_ERROR(StoreSettlement(round, updates, settlement));
  RETURN_IF_ERROR(Fault("settlement stored"));
  return Progress::kMoved;
}

absl::StatusOr<RoundSteps::Settlement> RoundSteps::SettleRound(
    const RoundRecord& round, const std::vector<RoundUpdate>& contributors, Game game,
    const Aggregate& aggregate) {
  ASSIGN_OR_RETURN(const ModelRecord model, ModelOf(round));
  ASSIGN_OR_RETURN(const config::ParameterSet parameters, ParametersOf(round));
  ASSIGN_OR_RETURN(const auto pool, Read<std::optional<PoolRecord>>([&](auto& tx) {
                     return FindPool(tx, round.cooperative);
                   }));
  if (!pool) return absl::InternalError("a round without a validation pool");
  const uint64_t applied = static_cast<uint64_t>(round.applied_mask.value());
  if (game.Losses(applied).empty()) AddCoalitions(game, {applied}, aggregate.applied);
  const GameRule rule = GameRuleOf(parameters, game.contributors, model.spec);
  const uint64_t refused = static_cast<uint64_t>(round.refused_mask.value());
  ASSIGN_OR_RETURN(GameResult result, Settle(rule, game, refused));
  if (result.applied_mask != applied) return absl::InternalError("the gate changed its mind");

  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
  ASSIGN_OR_RETURN(const blob::MappedBlob base_file, blobs->Get(round.base));
  ASSIGN_OR_RETURN(const learning::GridVector base, ParseCheckpoint(base_file.text(), model.spec));
  const learning::Aggregation aggregation = AggregationOf(parameters, contributors);
  std::vector<learning::GridVector> prepared;
  for (const RoundUpdate& update : contributors) {
    ASSIGN_OR_RETURN(const blob::MappedBlob file, blobs->Get(*update.effective));
    ASSIGN_OR_RETURN(const learning::GridVector effective,
                     ParseEffectiveUpdate(file.text(), model.spec));
    prepared.push_back(learning::PrepareUpdate(aggregation, round.lineages.value(),
                                               prepared.size(), effective));
  }
  learning::Aggregator aggregator(aggregation.rule, aggregation.trim_bp, round.lineages.value(),
                                  base, {prepared.begin(), prepared.end()});
  Settlement settlement;
  settlement.aggregate = aggregate;
  Evidence& e = settlement.evidence;
  ASSIGN_OR_RETURN(e.next, blobs->Put(SerializeCheckpoint(
                               aggregator.Parameters(applied), model.spec)));
  e.aggregation = aggregation;
  e.round = round.round;
  e.cooperative = round.cooperative;
  e.number = round.number;
  e.model = model.spec;
  e.base = round.base;
  e.best = round.best;
  e.lineages = round.lineages.value();
  e.seed = parts_.secrets.RoundSeed(round.round);
  e.seed_sha256 = round.seed_sha256;
  e.pool = pool->sha256;
  e.split_seed = pool->split_seed;
  e.pool_rows = pool->rows;
  e.visible_rows = pool->visible_rows;
  ASSIGN_OR_RETURN(e.retired_rounds, Read<std::vector<RoundId>>([&](auto& tx) {
                     return ListRetiredRounds(tx, round.round);
                   }));
  e.rows = round.rows;
  e.rows_sha256 = round.rows_sha256.value();
  e.rule = rule;
  e.pairs = game.pairs;
  e.masks = game.masks;
  for (const uint64_t mask : game.masks) {
    e.coalition_loss_sums.push_back(LossSum(game.Losses(mask)));
  }
  e.best_loss_sum = LossSum(game.best);
  e.losses_root = LossesRoot(game);
  if (!model.spec.exact()) {
    ASSIGN_OR_RETURN(e.losses_sha256,
                     blobs->Put(absl::StrCat(EncodeLosses(game.losses), EncodeLosses(game.best))));
  }
  e.applied_mask = applied;
  if ((applied | refused) != 0) {
    ASSIGN_OR_RETURN(const auto bounds, Read<std::vector<NeededBound>>([&](auto& tx) {
                       return ListNeededBounds(tx, round.round);
                     }));
    ASSIGN_OR_RETURN(ValuesSoFar tested, LoadValues(round, bounds));
    e.values = std::move(tested.values);
  }
  for (size_t i = 0; i < contributors.size(); ++i) {
    const RoundUpdate& update = contributors[i];
    const ContributorResult& one = result.contributors[i];
    e.updates.push_back({update.update, update.principal, *update.effective});
    e.credits.push_back({.update = update.update,
                         .credit = one.credit,
                         .estimate = one.estimate,
                         .standard_error = one.standard_error,
                         .solo = one.solo,
                         .leave_one_out = one.leave_one_out,
                         .harmful = one.harmful});
  }
  settlement.body = EvidenceToJson(e);
  settlement.sha256 = crypto::Sha256(settlement.body);
  settlement.results = std::move(result.contributors);
  settlement.best = LossSum(game.Losses(applied)) < e.best_loss_sum ? e.next : round.best;
  settlement.settlement_gain = MeanLoss(game.Losses(0)) - MeanLoss(game.Losses(applied));
  return settlement;
}

absl::Status RoundSteps::StoreSettlement(const RoundRecord& round,
                                         const std::vector<RoundUpdate>& updates,
                                         const Settlement& settlement) {
  const absl::Time now = Now();
  ASSIGN_OR_RETURN(const ModelRecord model, ModelOf(round));
  const Evidence& evidence = settlement.evidence;
  RoundRecord next = round;
  next.next = evidence.next;
  next.applied = 0;
  next.visible_base = settlement.aggregate.visible_base;
  next.visible_loss = settlement.aggregate.visible_loss;
  for (size_t i = 0; i < evidence.updates.size(); ++i) {
    *next.applied += IsApplied(evidence.applied_mask, i);
  }
  CheckpointRecord checkpoint;
  checkpoint.cooperative = round.cooperative;
  checkpoint.version = round.base_version + 1;
  checkpoint.sha256 = evidence.next;
  checkpoint.parent = round.base;
  checkpoint.round = round.round;
  checkpoint.event = EventOf("CHECKPOINT", round.round.value);
  checkpoint.made_us = ToUnixMicros(now);
  return Write([&](pg::Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(Move(tx, next, round.state, now));
    RETURN_IF_ERROR(SetEvidence(tx, round.round, settlement.body, settlement.sha256));
    if (!evidence.model.exact()) {
      RETURN_IF_ERROR(SetLosses(tx, round.round, evidence.losses_sha256));
    }
    RETURN_IF_ERROR(InsertCheckpoint(tx, checkpoint));
    RETURN_IF_ERROR(SetBestCheckpoint(tx, round.cooperative, settlement.best));
    RETURN_IF_ERROR(
        LogEvidenceMade(tx, next, settlement.sha256, evidence.losses_root, now));
    RETURN_IF_ERROR(LogCheckpointMade(tx, checkpoint, model,
                                      EventOf("EVIDENCE", round.round.value), now));
    size_t bit = 0;
    for (const RoundUpdate& update : updates) {
      if (!update.admitted) continue;
      if (!update.TakesPart()) {
        RETURN_IF_ERROR(
            LogUpdateNotApplied(tx, next, update, update.removed_reason, nullptr, now));
        continue;
      }
      const ContributorResult& one = settlement.results[bit];
      CreditRecord credit;
      credit.update = update.update;
      credit.round = round.round;
      credit.cooperative = round.cooperative;
      credit.round_number = round.number;
      credit.principal = update.principal;
      credit.agent = update.agent;
      credit.credit = one.credit;
      credit.estimate = one.estimate;
      credit.standard_error = one.standard_error;
      credit.solo = one.solo;
      credit.leave_one_out = one.leave_one_out;
      credit.applied = IsApplied(evidence.applied_mask, bit);
      credit.event = EventOf("CREDIT", update.update.value);
      RETURN_IF_ERROR(InsertCredit(tx, credit));
      RETURN_IF_ERROR(
          LogCreditAssigned(tx, credit, update.decision_event, settlement.sha256, now));
      RETURN_IF_ERROR(credit.applied ? LogUpdateApplied(tx, next, update, now)
                                     : LogUpdateNotApplied(tx, next, update,
                                                           LeftOutReason(round, bit), &credit,
                                                           now));
      if (one.disagreement) {
        RETURN_IF_ERROR(InsertException(
            tx, ExceptionOf(kEstimatorDisagreement, round, update.update.value,
                            absl::StrCat("credit ", one.credit, " nano-nats, but leave-one-out ",
                                         one.leave_one_out, " is significantly negative"),
                            now)));
      }
      ++bit;
    }
    if (!next.visible_loss) return absl::OkStatus();
    const int64_t visible_gain = *next.visible_base - *next.visible_loss;
    if (!LooksOverfit(visible_gain, settlement.settlement_gain)) return absl::OkStatus();
    return InsertException(
        tx, ExceptionOf(kOverfit, round, round.round.value,
                        absl::StrCat("the visible rows improved by ", visible_gain,
                                     " nano-nats, the held-out rows by ",
                                     settlement.settlement_gain),
                        now));
  });
}

absl::StatusOr<std::vector<Outcome>> RoundSteps::FinalOutcomes(const RoundRecord& round) {
  ASSIGN_OR_RETURN(const auto updates, Read<std::vector<RoundUpdate>>([&](auto& tx) {
                     return ListRoundUpdates(tx, round.round);
                   }));
  const uint64_t applied = static_cast<uint64_t>(round.applied_mask.value_or(0));
  std::vector<Outcome> outcomes;
  size_t bit = 0;
  for (const RoundUpdate& update : updates) {
    if (!update.admitted) continue;
    if (!update.TakesPart()) {
      outcomes.push_back({update.update, OutcomeState::kNotApplied, update.removed_reason});
    } else if (IsApplied(applied, bit++)) {
      outcomes.push_back({update.update, OutcomeState::kApplied, ""});
    } else {
      outcomes.push_back({update.update, OutcomeState::kNotApplied, LeftOutReason(round, bit - 1)});
    }
  }
  return outcomes;
}

absl::StatusOr<Progress> RoundSteps::Close(const RoundRecord& round) {
  ASSIGN_OR_RETURN(FilterClient * filter, parts_.filter());
  ASSIGN_OR_RETURN(const std::vector<Outcome> outcomes, FinalOutcomes(round));
  const absl::Status told = filter->RecordOutcomes(round.round, "final", outcomes);
  RETURN_IF_ERROR(Fault("outcomes recorded"));
  const absl::Time now = Now();
  // The checkpoint is made and credits are in the log: the round closes, if need be before the
  // filter has heard of it.
  if (!told.ok() && ToUnixMicros(now) < round.deadline_us) return told;
  RoundRecord next = round;
  next.state = RoundState::kClosed;
  next.seed = parts_.secrets.RoundSeed(round.round);
  next.closed_event = EventOf("CLOSED", round.round.value);
  next.closed_us = ToUnixMicros(now);
  next.filter_told = told.ok();
  RETURN_IF_ERROR(Write([&](pg::Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(Move(tx, next, round.state, now));
    RETURN_IF_ERROR(DeleteResults(tx, round.round));
    RETURN_IF_ERROR(LogRoundClosed(tx, next, now));
    ASSIGN_OR_RETURN(const auto plan, FindPlan(tx, round.plan));
    if (!plan) return absl::InternalError("a round without its plan");
    if (round.number >= plan->last_number) return absl::OkStatus();
    return InsertNextRound(tx, parts_.secrets, *plan, round.number + 1, now).status();
  }));
  parts_.env.logger.Info("a round was closed", obs::Fields()
                                                   .Text("round", round.round.ToString())
                                                   .Int("number", round.number)
                                                   .Int("applied", *next.applied));
  RETURN_IF_ERROR(Fault("closed"));
  return Progress::kMoved;
}

}  // namespace rochdale::attribution
