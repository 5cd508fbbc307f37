#include "tests/support/cooperative/cooperative.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/shapley.h"
#include "libs/tensor/flat.h"
#include "libs/tensor/safetensors.h"
#include "services/attribution/draw.h"
#include "services/attribution/rules.h"
#include "services/filter/convert.h"
#include "services/filter/deciding.h"
#include "services/filter/screening.h"

namespace rochdale::simulated {
namespace {

constexpr int kPrincipalKind = 1, kUpdateKind = 2, kRoundKind = 3;

Uuid IdOf(int kind, int round, int number) {
  Uuid id;
  const crypto::Digest digest = crypto::Sha256(absl::StrCat(kind, "/", round, "/", number));
  std::copy_n(digest.AsBytes().begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

// In memory where there is such a folder: the store makes every blob durable, for nothing here.
std::filesystem::path TemporaryFolder() {
  const std::filesystem::path memory = "/dev/shm";
  std::error_code error;
  const auto space = std::filesystem::space(memory, error);
  constexpr uint64_t kEnough = uint64_t{2} << 30;
  return !error && space.available > kEnough ? memory : std::filesystem::temp_directory_path();
}

void Set(config::ParameterSet& parameters, absl::string_view name, absl::string_view text) {
  const absl::Status set = parameters.Set(name, text);
  if (!set.ok()) throw std::invalid_argument(set.ToString());
}

absl::StatusOr<learning::GridVector> ReadEffective(const blob::BlobStore& store,
                                                   const crypto::Digest& digest) {
  ASSIGN_OR_RETURN(const blob::MappedBlob file, store.Get(digest));
  ASSIGN_OR_RETURN(const auto view, tensor::SafetensorsView::Parse(file.bytes()));
  ASSIGN_OR_RETURN(const auto units, tensor::FlatI32(view));
  return learning::GridVector(units.begin(), units.end());
}

}  // namespace

attribution::GameResult LiteralResult(const attribution::Game& game) {
  attribution::GameResult result;
  for (int i = 0; i < game.contributors; ++i) {
    const uint64_t bit = uint64_t{1} << i;
    const learning::Estimate solo =
        learning::EstimateDifference(game.Losses(0), game.Losses(bit));
    attribution::ContributorResult one;
    one.solo = one.estimate = solo.Mean();
    one.standard_error = solo.standard_error;
    one.credit = std::max<int64_t>(one.solo, 0);
    result.applied_mask |= bit;
    result.contributors.push_back(one);
  }
  return result;
}

Rules HardenedRules(int64_t rows_per_round) {
  Rules rules;
  Set(rules.parameters, "validation.rows_per_round", absl::StrCat(rows_per_round));
  return rules;
}

Rules LiteralRules(int64_t rows_per_round) {
  Rules rules = HardenedRules(rows_per_round);
  rules.literal = true;
  Set(rules.parameters, "credit.preset", "literal");
  Set(rules.parameters, "clip.norm_factor_micro", "1000000000");
  Set(rules.parameters, "magnitude.k_micro", "1000000000");
  Set(rules.parameters, "originality.r1_max_micro", "1000000");
  Set(rules.parameters, "originality.ev_max_micro", "1000000");
  return rules;
}

Rules WithUnattestedTogether(Rules rules) {
  Set(rules.parameters, "lineage.unattested", "together");
  return rules;
}

struct Cooperative::Screening {
  PlayedRound played;
  std::vector<size_t> contributors;  // positions in played.fates
  std::vector<learning::GridVector> weighted;
};

Cooperative::Cooperative(const learning::ModelSpec& spec, Rules rules,
                         const learning::Dataset& pool, uint64_t seed)
    : spec_(spec), rules_(std::move(rules)), pool_(pool), seed_(seed) {
  std::string pattern = (TemporaryFolder() / "cooperative-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  dir_ = pattern;
  auto store = blob::BlobStore::Open(dir_, {});
  if (!store.ok()) throw std::runtime_error(store.status().ToString());
  store_ = *std::move(store);
  floor_ = filter::FloorRules({}, rules_.parameters, {});
  visible_ = attribution::VisibleRows(
      crypto::Sha256(absl::StrCat("split ", seed)), pool.count(),
      attribution::VisibleRowCount(
          pool.count(), rules_.parameters.BasisPoints("validation.visible_fraction_bp")));
  base_ = best_ = learning::InitialParameters(spec, absl::StrCat("initial ", seed));
}

Cooperative::~Cooperative() {
  store_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

absl::StatusOr<Cooperative::Screening> Cooperative::Screen(
    const std::vector<Submission>& submissions) {
  const tensor::TensorManifest manifest = learning::ManifestOf(spec_, tensor::DType::kF32);
  filter::ScreeningInput input;
  input.manifest = manifest.CanonicalText();
  input.floor = floor_;
  input.clip_micro = rules_.parameters.Micro("clip.norm_factor_micro");
  input.unattested_together = rules_.parameters.Text("lineage.unattested") == "together";
  input.originality = {rules_.parameters.Micro("originality.r1_max_micro"),
                       rules_.parameters.Micro("originality.ev_max_micro")};
  const size_t back = rules_.parameters.Int("originality.rounds_back");
  for (size_t r = recent_.size() - std::min(back, recent_.size()); r < recent_.size(); ++r) {
    input.recent.insert(input.recent.end(), recent_[r].begin(), recent_[r].end());
  }
  Screening screening;
  std::vector<size_t> positions;  // of input.received among the fates
  std::set<int> principals;
  for (size_t i = 0; i < submissions.size(); ++i) {
    const Submission& submission = submissions[i];
    screening.played.fates.push_back({.principal = submission.principal});
    if (!rules_.literal && !principals.insert(submission.principal).second) {
      screening.played.fates.back().reason = "ONE_UPDATE_PER_ROUND";
      continue;
    }
    ASSIGN_OR_RETURN(const std::string file, tensor::SerializeFlatF32(manifest, submission.delta));
    const absl::Status whole = filter::CheckDelta(
        {reinterpret_cast<const uint8_t*>(file.data()), file.size()}, input.manifest);
    if (!whole.ok()) {
      screening.played.fates.back().reason = ReasonOf(whole);
      continue;
    }
    filter::Update update;
    update.id = UpdateId{IdOf(kUpdateKind, round_, static_cast<int>(i))};
    update.round = RoundId{IdOf(kRoundKind, round_, 0)};
    const int contributor = rules_.literal ? static_cast<int>(i) : submission.principal;
    update.principal = PrincipalId{IdOf(kPrincipalKind, 0, contributor)};
    ASSIGN_OR_RETURN(update.digest, store_->Put(file));
    update.commitment_number = static_cast<int64_t>(i) + 1;
    update.state = filter::UpdateState::kReceived;
    update.profile_version = 1;
    input.received.push_back(update);
    input.authority.push_back(absl::OkStatus());
    input.ownership.emplace_back();
    if (submission.owner && !rules_.literal) {
      input.ownership.back().owners = {crypto::Sha256(absl::StrCat("owner ", *submission.owner))};
    }
    filter::RuleSet profile;
    profile.scope = filter::Scope::kPrincipal;
    input.profiles.push_back(profile);
    positions.push_back(i);
  }
  ASSIGN_OR_RETURN(const filter::ScreeningOutput output, filter::Screen(input, *store_));
  screening.played.lineages = output.lineages;
  filter::DecidingInput deciding;
  deciding.floor = floor_;
  deciding.profiles = input.profiles;
  deciding.rules_version = 1;
  recent_.emplace_back();
  for (const filter::Screened& screened : output.updates) {
    deciding.updates.push_back(screened.update);
    if (screened.update.lineage_principal) recent_.back().push_back(screened.update);
  }
  ASSIGN_OR_RETURN(const std::vector<filter::Decided> decided, filter::DecideAll(deciding));
  for (size_t k = 0; k < decided.size(); ++k) {
    Fate& fate = screening.played.fates[positions[k]];
    ASSIGN_OR_RETURN(const filter::Facts facts,
                     filter::FactsFromJson(deciding.updates[k].facts));
    if (facts.originality) fate.r1_micro = facts.originality->r1_micro;
    fate.reason = decided[k].reason;
    if (!decided[k].decision.IsAdmitted()) continue;
    ASSIGN_OR_RETURN(const learning::GridVector effective,
                     ReadEffective(*store_, *deciding.updates[k].effective));
    screening.contributors.push_back(positions[k]);
    screening.weighted.push_back(
        learning::WeightUpdate(effective, 1, output.lineages + rules_.absent_lineages));
  }
  return screening;
}

crypto::Digest Cooperative::RoundSeed() const {
  return crypto::Sha256(absl::StrCat("round ", seed_, " ", round_));
}

learning::Dataset Cooperative::DrawnRows() const {
  const std::vector<int64_t> rows =
      attribution::DrawSettlementRows(RoundSeed(), pool_.count(), visible_, {},
                                      rules_.parameters.Int("validation.rows_per_round"));
  return learning::TakeRows(pool_, rows);
}

absl::StatusOr<attribution::Game> Cooperative::EvaluateGame(
    const std::vector<learning::GridVector>& weighted, learning::Rows rows,
    const attribution::GameRule& rule) const {
  const std::vector<learning::GridSpan> updates(weighted.begin(), weighted.end());
  attribution::Game game;
  game.contributors = static_cast<int>(weighted.size());
  game.rows = rows.count();
  game.seed = RoundSeed();
  const bool sampled = attribution::IsSampled(rule, game.contributors);
  const auto evaluate = [&](std::vector<uint64_t> masks) -> absl::Status {
    std::erase_if(masks, [&](uint64_t mask) { return !game.Losses(mask).empty(); });
    ASSIGN_OR_RETURN(const learning::LossMatrix matrix,
                     learning::EvaluateCoalitions(spec_, base_, updates, masks, rows));
    attribution::AddCoalitions(game, masks, matrix.losses);
    return absl::OkStatus();
  };
  if (rules_.literal) {
    // Solo pay needs no other coalition.
    std::vector<uint64_t> masks = {0, (uint64_t{1} << game.contributors) - 1};
    for (int i = 0; i < game.contributors; ++i) masks.push_back(uint64_t{1} << i);
    std::sort(masks.begin(), masks.end());
    masks.erase(std::unique(masks.begin(), masks.end()), masks.end());
    RETURN_IF_ERROR(evaluate(masks));
    return game;
  }
  for (bool ends = false; !ends;) {
    if (sampled) game.pairs = learning::PairsOfNextStage(rule.sampling, game.pairs);
    RETURN_IF_ERROR(
        evaluate(attribution::GameMasks(game.contributors, game.seed, game.pairs)));
    if (game.best.empty()) {
      const learning::GridSpan best = best_;
      ASSIGN_OR_RETURN(learning::LossMatrix losses,
                       learning::EvaluateCheckpoints(spec_, {best}, rows));
      game.best = std::move(losses.losses);
    }
    ends = true;
    if (sampled) {
      ASSIGN_OR_RETURN(ends, attribution::SamplingEnds(rule, game));
    }
  }
  ASSIGN_OR_RETURN(const uint64_t applied, attribution::AppliedMask(rule, game));
  if (game.Losses(applied).empty()) RETURN_IF_ERROR(evaluate({applied}));
  return game;
}

absl::Status Cooperative::Release(const learning::GridVector& next, PlayedRound& played) {
  if (visible_.empty()) return absl::OkStatus();
  std::vector<int64_t> rows = visible_;
  const auto rows_max =
      static_cast<size_t>(rules_.parameters.Int("validation.rows_per_round"));
  if (rows.size() > rows_max) rows.resize(rows_max);
  const learning::GridSpan candidates[] = {base_, next};
  ASSIGN_OR_RETURN(const learning::LossMatrix losses,
                   learning::EvaluateCheckpoints(spec_, candidates,
                                                 learning::TakeRows(pool_, rows)));
  attribution::RoundRecord record;
  record.parameters = attribution::ParametersToText(rules_.parameters);
  record.visible_loss = attribution::MeanLoss(losses.candidate(1));
  record.closed_us = 1;
  const absl::Duration delay = rules_.parameters.Duration("validation.score_delay_ms");
  released_loss_ = attribution::ReleasedLoss(record, 1 + absl::ToInt64Microseconds(delay));
  played.visible_gain = attribution::MeanLoss(losses.candidate(0)) - *record.visible_loss;
  played.overfit_alarm =
      attribution::LooksOverfit(played.visible_gain, played.base_loss - played.applied_loss);
  return absl::OkStatus();
}

absl::StatusOr<PlayedRound> Cooperative::Play(const std::vector<Submission>& submissions) {
  ASSIGN_OR_RETURN(Screening screening, Screen(submissions));
  PlayedRound& played = screening.played;
  if (screening.contributors.empty()) {
    ++round_;
    return std::move(played);
  }
  const learning::Dataset rows = DrawnRows();
  const attribution::GameRule rule = attribution::GameRuleOf(
      rules_.parameters, static_cast<int>(screening.contributors.size()));
  ASSIGN_OR_RETURN(const attribution::Game game,
                   EvaluateGame(screening.weighted, rows, rule));
  ASSIGN_OR_RETURN(const attribution::GameResult result,
                   rules_.literal ? LiteralResult(game) : attribution::Settle(rule, game));
  for (size_t k = 0; k < screening.contributors.size(); ++k) {
    const attribution::ContributorResult& one = result.contributors[k];
    Fate& fate = played.fates[screening.contributors[k]];
    fate.applied = (result.applied_mask >> k & 1) != 0;
    if (!fate.applied) fate.reason = "NOT_APPLIED_HARMFUL";
    fate.credit = one.credit;
    fate.estimate = one.estimate;
    fate.standard_error = one.standard_error;
    credits_[fate.principal] += one.credit;
  }
  const auto applied = game.Losses(result.applied_mask);
  played.base_loss = attribution::MeanLoss(game.Losses(0));
  played.applied_loss = attribution::MeanLoss(applied);
  const std::vector<learning::GridSpan> updates(screening.weighted.begin(),
                                                screening.weighted.end());
  learning::GridVector next = learning::ApplyUpdates(base_, updates, result.applied_mask);
  RETURN_IF_ERROR(Release(next, played));
  if (attribution::LossSum(applied) < attribution::LossSum(game.best)) best_ = next;
  base_ = std::move(next);
  ++round_;
  return std::move(played);
}

double Accuracy(const learning::ModelSpec& spec, learning::GridSpan parameters,
                learning::Rows rows) {
  const auto correct = learning::CountCorrect(spec, parameters, rows);
  if (!correct.ok()) throw std::runtime_error(correct.status().ToString());
  return static_cast<double>(*correct) / static_cast<double>(rows.count());
}

double MeanLossOf(const learning::ModelSpec& spec, learning::GridSpan parameters,
                  learning::Rows rows) {
  const auto losses = learning::EvaluateCheckpoints(spec, {parameters}, rows);
  if (!losses.ok()) throw std::runtime_error(losses.status().ToString());
  return 1e-9 * static_cast<double>(attribution::LossSum(losses->losses)) /
         static_cast<double>(rows.count());
}

}  // namespace rochdale::simulated
