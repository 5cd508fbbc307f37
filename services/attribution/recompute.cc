// Evaluating a round again from its evidence (evidence.h).
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/dataset.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/grid.h"
#include "services/attribution/draw.h"
#include "services/attribution/evidence.h"
#include "services/attribution/parameters_file.h"
#include "services/attribution/run_spec.h"

namespace rochdale::attribution {
namespace {

absl::Status Differs(absl::string_view field) {
  return Error("DIGEST_MISMATCH", absl::StrCat("recomputed ", field, " is another one"));
}

struct Inputs {
  learning::GridVector base;
  learning::GridVector best;
  std::vector<learning::GridVector> prepared;
  learning::Dataset rows;
};

absl::StatusOr<Inputs> LoadInputs(const Evidence& evidence, BlobSource blobs) {
  Inputs inputs;
  ASSIGN_OR_RETURN(const std::string base, blobs(evidence.base));
  ASSIGN_OR_RETURN(inputs.base, ParseCheckpoint(base, evidence.model));
  ASSIGN_OR_RETURN(const std::string best, blobs(evidence.best));
  ASSIGN_OR_RETURN(inputs.best, ParseCheckpoint(best, evidence.model));
  for (const EvidenceUpdate& update : evidence.updates) {
    ASSIGN_OR_RETURN(const std::string bytes, blobs(update.effective));
    ASSIGN_OR_RETURN(const learning::GridVector effective,
                     ParseEffectiveUpdate(bytes, evidence.model));
    inputs.prepared.push_back(learning::PrepareUpdate(evidence.aggregation, evidence.lineages,
                                                      inputs.prepared.size(), effective));
  }
  ASSIGN_OR_RETURN(const std::string rows, blobs(evidence.rows_sha256));
  ASSIGN_OR_RETURN(inputs.rows, learning::ParseDataset(rows, evidence.model));
  if (inputs.rows.count() != static_cast<int64_t>(evidence.rows.size())) return Differs("rows");
  return inputs;
}

learning::Aggregator AggregatorOf(const Evidence& evidence, const Inputs& inputs) {
  return learning::Aggregator(evidence.aggregation.rule, evidence.aggregation.trim_bp,
                              evidence.lineages, inputs.base,
                              {inputs.prepared.begin(), inputs.prepared.end()});
}

absl::StatusOr<Game> EvaluateGame(const Evidence& evidence, const Inputs& inputs,
                                  learning::Evaluator& evaluator) {
  learning::Aggregator aggregator = AggregatorOf(evidence, inputs);
  ASSIGN_OR_RETURN(learning::LossMatrix matrix,
                   aggregator.Evaluate(evaluator, evidence.model, evidence.masks, inputs.rows));
  Game game;
  game.contributors = static_cast<int>(evidence.updates.size());
  game.rows = matrix.rows;
  game.seed = evidence.seed;
  game.pairs = evidence.pairs;
  game.masks = evidence.masks;
  game.losses = std::move(matrix.losses);
  const learning::GridSpan best = inputs.best;
  ASSIGN_OR_RETURN(learning::LossMatrix best_losses,
                   evaluator.EvaluateCheckpoints(evidence.model, {best}, inputs.rows));
  game.best = std::move(best_losses.losses);
  return game;
}

// The losses that a round of a module was settled by.
absl::StatusOr<Game> RecordedGame(const Evidence& evidence, BlobSource blobs) {
  ASSIGN_OR_RETURN(const std::string file, blobs(evidence.losses_sha256));
  Game game;
  game.contributors = static_cast<int>(evidence.updates.size());
  game.rows = static_cast<int64_t>(evidence.rows.size());
  game.seed = evidence.seed;
  game.pairs = evidence.pairs;
  game.masks = evidence.masks;
  const int64_t of_masks = static_cast<int64_t>(game.masks.size()) * game.rows;
  ASSIGN_OR_RETURN(game.losses, DecodeLosses(file, of_masks + game.rows));
  game.best.assign(game.losses.begin() + of_masks, game.losses.end());
  game.losses.resize(of_masks);
  return game;
}

absl::Status CheckNear(const Evidence& evidence, const Game& recorded, const Game& found) {
  const auto near = [&](int64_t a, int64_t b) { return evidence.model.Agree(a, b); };
  for (size_t i = 0; i < recorded.losses.size(); ++i) {
    if (near(recorded.losses[i], found.losses[i])) continue;
    return Differs(absl::StrCat("loss of coalition ", evidence.masks[i / recorded.rows],
                                " on row ", i % recorded.rows));
  }
  for (int64_t r = 0; r < recorded.rows; ++r) {
    if (!near(recorded.best[r], found.best[r])) return Differs("loss of the best checkpoint");
  }
  return absl::OkStatus();
}

// The losses that everything follows from: evaluated again, or as they were recorded.
absl::StatusOr<Game> GameOf(const Evidence& evidence, const Inputs& inputs, BlobSource blobs,
                            learning::Evaluator* modules) {
  learning::HostEvaluator host;
  if (evidence.model.exact()) return EvaluateGame(evidence, inputs, host);
  ASSIGN_OR_RETURN(const Game recorded, RecordedGame(evidence, blobs));
  if (modules == nullptr) return recorded;
  RETURN_IF_ERROR(modules->UseModule(
      evidence.model, [&] { return blobs(evidence.model.torchscript.module); }));
  ASSIGN_OR_RETURN(const Game found, EvaluateGame(evidence, inputs, *modules));
  RETURN_IF_ERROR(CheckNear(evidence, recorded, found));
  return recorded;
}

absl::Status CompareSums(const Evidence& evidence, const Game& game) {
  for (size_t i = 0; i < evidence.masks.size(); ++i) {
    if (LossSum(game.Losses(evidence.masks[i])) != evidence.coalition_loss_sums[i]) {
      return Differs(absl::StrCat("coalition_loss_sums of ", evidence.masks[i]));
    }
  }
  if (LossSum(game.best) != evidence.best_loss_sum) return Differs("best_loss_sum");
  if (LossesRoot(game) != evidence.losses_root) return Differs("losses_root");
  return absl::OkStatus();
}

// What was refused is what the test of values refuses of what the gate leaves.
absl::Status CheckRefusals(const Evidence& evidence) {
  const uint64_t gate = evidence.applied_mask | RefusedMask(evidence);
  ASSIGN_OR_RETURN(const uint64_t kept, KeptByValues(gate, evidence.values));
  return kept == evidence.applied_mask ? absl::OkStatus() : Differs("applied_mask");
}

absl::Status CompareCredits(const Evidence& evidence, const GameResult& result) {
  if (result.applied_mask != evidence.applied_mask) return Differs("applied_mask");
  for (size_t i = 0; i < evidence.credits.size(); ++i) {
    const ContributorResult& one = result.contributors[i];
    const EvidenceCredit expected{.update = evidence.updates[i].update,
                                  .credit = one.credit,
                                  .estimate = one.estimate,
                                  .standard_error = one.standard_error,
                                  .solo = one.solo,
                                  .leave_one_out = one.leave_one_out,
                                  .harmful = one.harmful};
    if (expected != evidence.credits[i]) {
      return Differs(absl::StrCat("credit of ", evidence.updates[i].update.ToString()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRecomputation(const Evidence& evidence, BlobSource blobs,
                                learning::Evaluator* modules) {
  if (crypto::Sha256(evidence.seed.AsBytes()) != evidence.seed_sha256) {
    return Differs("seed_sha256");
  }
  ASSIGN_OR_RETURN(const Inputs inputs, LoadInputs(evidence, blobs));
  ASSIGN_OR_RETURN(const Game game, GameOf(evidence, inputs, blobs, modules));
  RETURN_IF_ERROR(CompareSums(evidence, game));
  ASSIGN_OR_RETURN(const GameResult result, Settle(evidence.rule, game, RefusedMask(evidence)));
  RETURN_IF_ERROR(CompareCredits(evidence, result));
  RETURN_IF_ERROR(CheckRefusals(evidence));
  const std::string next = SerializeCheckpoint(
      AggregatorOf(evidence, inputs).Parameters(evidence.applied_mask), evidence.model);
  if (crypto::Sha256(next) != evidence.next) return Differs("next_sha256");
  return absl::OkStatus();
}

absl::Status CheckDraw(const Evidence& evidence, const std::set<int64_t>& retired_rows,
                       int64_t count_max) {
  const std::vector<int64_t> visible =
      VisibleRows(evidence.split_seed, evidence.pool_rows, evidence.visible_rows);
  const std::vector<int64_t> rows = DrawSettlementRows(evidence.seed, evidence.pool_rows, visible,
                                                       retired_rows, count_max);
  return rows == evidence.rows ? absl::OkStatus() : Differs("rows");
}

}  // namespace rochdale::attribution
