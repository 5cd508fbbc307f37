#include "services/attribution/game.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/merkle.h"

namespace rochdale::attribution {
namespace {

void AddLosses(uint64_t mask, absl::Span<const int64_t> losses, crypto::Frontier& tree) {
  for (size_t row = 0; row < losses.size(); ++row) {
    crypto::CanonicalWriter leaf(20);
    leaf.U64(mask).U32(static_cast<uint32_t>(row)).I64(losses[row]);
    tree.Append(crypto::LeafHash(leaf.bytes()));
  }
}

uint64_t AllOf(int contributors) { return (uint64_t{1} << contributors) - 1; }

std::vector<uint64_t> ReducedMasks(int contributors) {
  const uint64_t whole = AllOf(contributors);
  std::vector<uint64_t> masks = {0, whole};
  for (int i = 0; i < contributors; ++i) {
    masks.push_back(uint64_t{1} << i);
    masks.push_back(whole & ~(uint64_t{1} << i));
  }
  return masks;
}

struct Estimates {
  std::vector<learning::Estimate> payment;
  std::vector<learning::Estimate> solo;
  std::vector<learning::Estimate> leave_one_out;
};

absl::Status CheckShape(const Game& game) {
  const bool fits = game.contributors >= 1 && game.contributors <= kContributorsMax &&
                    game.rows >= 2 &&
                    game.losses.size() == game.masks.size() * static_cast<size_t>(game.rows) &&
                    game.best.size() == static_cast<size_t>(game.rows) &&
                    std::is_sorted(game.masks.begin(), game.masks.end());
  if (fits) return absl::OkStatus();
  return Error("BAD_REQUEST", "the losses of a game do not fit its coalitions and rows");
}

absl::StatusOr<Estimates> FullEstimates(const GameRule& rule, const Game& game) {
  ASSIGN_OR_RETURN(learning::GameEstimates all,
                   learning::EstimateGame(game.contributors, game.rows, game.losses));
  Estimates estimates;
  switch (PaidEstimator(rule.preset, rule.estimator, game.contributors)) {
    case Estimator::kSolo: estimates.payment = all.solo; break;
    case Estimator::kShapley: estimates.payment = all.shapley; break;
    case Estimator::kLeaveOneOut: estimates.payment = all.leave_one_out; break;
    case Estimator::kBanzhaf: estimates.payment = all.banzhaf; break;
  }
  estimates.solo = std::move(all.solo);
  estimates.leave_one_out = std::move(all.leave_one_out);
  return estimates;
}

absl::StatusOr<Estimates> ReducedEstimates(const GameRule& rule, const Game& game) {
  const uint64_t whole = AllOf(game.contributors);
  Estimates estimates;
  for (int i = 0; i < game.contributors; ++i) {
    const uint64_t bit = uint64_t{1} << i;
    for (const uint64_t mask : {uint64_t{0}, bit, whole, whole & ~bit}) {
      if (game.Losses(mask).empty()) {
        return Error("BAD_REQUEST", absl::StrCat("coalition ", mask, " was not evaluated"));
      }
    }
    estimates.solo.push_back(learning::EstimateDifference(game.Losses(0), game.Losses(bit)));
    estimates.leave_one_out.push_back(
        learning::EstimateDifference(game.Losses(whole & ~bit), game.Losses(whole)));
  }
  if (IsSampled(rule, game.contributors)) {
    ASSIGN_OR_RETURN(const bool ends, SamplingEnds(rule, game));
    if (!ends) return Error("BAD_REQUEST", "more permutations have to be evaluated");
    ASSIGN_OR_RETURN(estimates.payment,
                     learning::EstimateSampledShapley(
                         RoundPermutations(game.contributors, game.seed, game.pairs), game.masks,
                         game.rows, game.losses));
    return estimates;
  }
  const bool solo =
      PaidEstimator(rule.preset, rule.estimator, game.contributors) == Estimator::kSolo;
  estimates.payment = solo ? estimates.solo : estimates.leave_one_out;
  return estimates;
}

absl::StatusOr<Estimates> EstimatesOf(const GameRule& rule, const Game& game) {
  RETURN_IF_ERROR(CheckShape(game));
  return game.contributors <= learning::kExactShapleyMax ? FullEstimates(rule, game)
                                                         : ReducedEstimates(rule, game);
}

// What the rule makes of estimates: those within the deadband count as 0.
std::vector<learning::Estimate> Counted(const GameRule& rule,
                                        std::vector<learning::Estimate> estimates) {
  for (learning::Estimate& estimate : estimates) {
    const absl::int128 deadband =
        absl::int128(rule.deadband_nanonats) * estimate.scale * estimate.rows;
    const absl::int128 total = estimate.total;
    if (total < deadband && -total < deadband) estimate.total = 0;
  }
  return estimates;
}

learning::CreditRule CreditRuleOf(const GameRule& rule) {
  return {rule.preset, static_cast<int>(rule.z_gate_micro / 10'000),
          static_cast<int>(rule.z_bound_micro / 10'000)};
}

uint64_t MaskWithout(const std::vector<bool>& harmful) {
  uint64_t mask = 0;
  for (size_t i = 0; i < harmful.size(); ++i) mask |= uint64_t{!harmful[i]} << i;
  return mask;
}

}  // namespace

absl::string_view EstimatorName(Estimator estimator) {
  switch (estimator) {
    case Estimator::kSolo: return "solo";
    case Estimator::kShapley: return "shapley";
    case Estimator::kLeaveOneOut: return "leave_one_out";
    case Estimator::kBanzhaf: return "banzhaf";
  }
  return "";
}

absl::StatusOr<Estimator> ParseEstimator(absl::string_view name) {
  for (const Estimator estimator : {Estimator::kSolo, Estimator::kShapley, Estimator::kLeaveOneOut,
                                    Estimator::kBanzhaf}) {
    if (EstimatorName(estimator) == name) return estimator;
  }
  return Error("BAD_REQUEST", absl::StrCat("no estimator is named ", name.substr(0, 100)));
}

Estimator PaidEstimator(learning::CreditPreset preset, Estimator wanted, int contributors) {
  if (preset == learning::CreditPreset::kLiteral) return Estimator::kSolo;
  const bool too_many = contributors > learning::kExactShapleyMax;
  return too_many && wanted == Estimator::kBanzhaf ? Estimator::kShapley : wanted;
}

bool IsSampled(const GameRule& rule, int contributors) {
  return contributors > learning::kExactShapleyMax &&
         PaidEstimator(rule.preset, rule.estimator, contributors) == Estimator::kShapley;
}

std::vector<std::vector<int>> RoundPermutations(int contributors, const crypto::Digest& seed,
                                                int pairs) {
  return learning::SamplePermutations(contributors, pairs,
                                      absl::StrCat("ROCHDALEperm1", seed.AsBytes()));
}

std::vector<uint64_t> GameMasks(int contributors, const crypto::Digest& seed, int pairs) {
  std::vector<uint64_t> masks;
  if (contributors <= learning::kExactShapleyMax) {
    for (uint64_t mask = 0; mask <= AllOf(contributors); ++mask) masks.push_back(mask);
    return masks;
  }
  masks = ReducedMasks(contributors);
  if (pairs > 0) {
    const std::vector<uint64_t> sampled =
        learning::CoalitionsOf(RoundPermutations(contributors, seed, pairs));
    masks.insert(masks.end(), sampled.begin(), sampled.end());
  }
  std::sort(masks.begin(), masks.end());
  masks.erase(std::unique(masks.begin(), masks.end()), masks.end());
  return masks;
}

absl::Span<const int64_t> Game::Losses(uint64_t mask) const {
  const auto found = std::lower_bound(masks.begin(), masks.end(), mask);
  if (found == masks.end() || *found != mask) return {};
  return absl::MakeConstSpan(losses).subspan((found - masks.begin()) * rows, rows);
}

void AddCoalitions(Game& game, const std::vector<uint64_t>& masks,
                   const std::vector<int64_t>& losses) {
  std::vector<std::pair<uint64_t, const int64_t*>> all;
  for (size_t i = 0; i < game.masks.size(); ++i) {
    all.emplace_back(game.masks[i], game.losses.data() + i * game.rows);
  }
  for (size_t i = 0; i < masks.size(); ++i) {
    all.emplace_back(masks[i], losses.data() + i * game.rows);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  all.erase(std::unique(all.begin(), all.end(),
                        [](const auto& a, const auto& b) { return a.first == b.first; }),
            all.end());
  std::vector<uint64_t> sorted;
  std::vector<int64_t> merged;
  merged.reserve(all.size() * game.rows);
  for (const auto& [mask, first] : all) {
    sorted.push_back(mask);
    merged.insert(merged.end(), first, first + game.rows);
  }
  game.masks = std::move(sorted);
  game.losses = std::move(merged);
}

absl::StatusOr<bool> SamplingEnds(const GameRule& rule, const Game& game) {
  RETURN_IF_ERROR(CheckShape(game));
  if (game.pairs < 2 || game.pairs > learning::kSampledPairsMax) {
    return Error("BAD_REQUEST", "a sampled game has 2 to 512 pairs of permutations");
  }
  std::vector<absl::int128> sums;
  for (const uint64_t mask : game.masks) sums.push_back(LossSum(game.Losses(mask)));
  int stage = learning::PairsOfNextStage(rule.sampling, 0);
  while (stage < game.pairs && stage < rule.sampling.pairs_max) {
    stage = learning::PairsOfNextStage(rule.sampling, stage);
  }
  ASSIGN_OR_RETURN(
      const int suffice,
      learning::PairsThatSuffice(rule.sampling,
                                 RoundPermutations(game.contributors, game.seed, game.pairs),
                                 game.masks, game.rows, sums));
  if (stage != game.pairs || (suffice != 0 && suffice != game.pairs)) {
    return Error("BAD_REQUEST", "sampling does not end with so many permutations");
  }
  return suffice == game.pairs;
}

absl::StatusOr<uint64_t> AppliedMask(const GameRule& rule, const Game& game) {
  ASSIGN_OR_RETURN(const Estimates estimates, EstimatesOf(rule, game));
  return MaskWithout(
      learning::GateHarmful(CreditRuleOf(rule), Counted(rule, estimates.payment)));
}

absl::StatusOr<GameResult> Settle(const GameRule& rule, const Game& game, uint64_t refused) {
  ASSIGN_OR_RETURN(const Estimates estimates, EstimatesOf(rule, game));
  const learning::CreditRule credit_rule = CreditRuleOf(rule);
  const std::vector<learning::Estimate> payment = Counted(rule, estimates.payment);
  const std::vector<learning::Estimate> alone = Counted(rule, estimates.solo);
  const std::vector<learning::Estimate> without = Counted(rule, estimates.leave_one_out);
  const std::vector<bool> harmful = learning::GateHarmful(credit_rule, payment);
  std::vector<bool> left_out = harmful;
  for (int i = 0; i < game.contributors; ++i) left_out[i] = harmful[i] || (refused >> i & 1) != 0;
  GameResult result;
  result.applied_mask = MaskWithout(left_out);
  const absl::Span<const int64_t> applied = game.Losses(result.applied_mask);
  if (applied.empty()) return Error("BAD_REQUEST", "the applied coalition was not evaluated");
  std::vector<int64_t> credits;
  if (rule.preset == learning::CreditPreset::kHardened) {
    const absl::int128 gain = LossSum(game.best) - LossSum(applied);
    const bool counts = gain >= absl::int128(rule.deadband_nanonats) * game.rows;
    credits = counts ? learning::HardenedCredits(credit_rule, payment, left_out, game.best,
                                                 applied, nullptr)
                     : std::vector<int64_t>(game.contributors, 0);
  }
  for (int i = 0; i < game.contributors; ++i) {
    ContributorResult one;
    one.harmful = harmful[i];
    one.estimate = estimates.payment[i].Mean();
    one.standard_error = estimates.payment[i].standard_error;
    one.solo = estimates.solo[i].Mean();
    one.leave_one_out = estimates.leave_one_out[i].Mean();
    one.credit = credits.empty() ? std::max<int64_t>(alone[i].Mean(), 0) : credits[i];
    if ((refused >> i & 1) != 0) one.credit = 0;
    one.disagreement = rule.preset == learning::CreditPreset::kHardened && one.credit > 0 &&
                       learning::SignificantlyNegative(without[i], credit_rule.z_gate_hundredths);
    result.contributors.push_back(one);
  }
  return result;
}

absl::int128 LossSum(absl::Span<const int64_t> losses) {
  absl::int128 sum = 0;
  for (const int64_t loss : losses) sum += loss;
  return sum;
}

crypto::Digest LossesRoot(const Game& game) {
  crypto::Frontier tree;
  for (const uint64_t mask : game.masks) AddLosses(mask, game.Losses(mask), tree);
  AddLosses(~uint64_t{0}, game.best, tree);
  return tree.Root();
}

}  // namespace rochdale::attribution
