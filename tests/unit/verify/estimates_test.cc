// What follows from v(S), against the code that computes credits: two programs, one page.
#include <catch2/catch.hpp>
#include <random>

#include "services/attribution/evidence.h"
#include "services/attribution/game.h"
#include "services/verify/estimates.h"

namespace rochdale::verify {
namespace {

using attribution::Estimator;

attribution::Evidence RandomEvidence(std::mt19937_64& engine, int k, attribution::GameRule rule) {
  attribution::Evidence evidence;
  attribution::Game game;
  game.contributors = k;
  game.rows = 2 + static_cast<int64_t>(engine() % 40);
  evidence.seed = game.seed = crypto::Sha256(std::to_string(engine()));
  if (attribution::IsSampled(rule, k)) {
    // Bounds that the first stage meets: the losses are made for this one.
    evidence.pairs = game.pairs = rule.sampling.pairs_min;
    rule.sampling.error_max_nanonats = 1'000'000'000;
  }
  game.masks = attribution::GameMasks(k, game.seed, game.pairs);
  std::vector<int64_t> help(k);
  for (int64_t& h : help) h = static_cast<int64_t>(engine() % 2'000'000) - 700'000;
  const auto loss = [&](uint64_t mask) {
    int64_t value = 2'000'000'000;
    for (int i = 0; i < k; ++i) value -= mask >> i & 1 ? help[i] : 0;
    return value + static_cast<int64_t>(engine() % 3'000'000);
  };
  for (const uint64_t mask : game.masks) {
    for (int64_t r = 0; r < game.rows; ++r) game.losses.push_back(loss(mask));
  }
  for (int64_t r = 0; r < game.rows; ++r) game.best.push_back(loss(0));
  const auto applied = attribution::AppliedMask(rule, game);
  if (k > 10 && game.Losses(*applied).empty()) {
    const auto at = std::lower_bound(game.masks.begin(), game.masks.end(), *applied);
    const auto offset = (at - game.masks.begin()) * game.rows;
    game.masks.insert(at, *applied);
    for (int64_t r = 0; r < game.rows; ++r) {
      game.losses.insert(game.losses.begin() + offset, loss(*applied));
    }
  }
  const auto result = attribution::Settle(rule, game);
  REQUIRE(result.ok());
  evidence.rule = rule;
  evidence.masks = game.masks;
  for (const uint64_t mask : game.masks) {
    evidence.coalition_loss_sums.push_back(attribution::LossSum(game.Losses(mask)));
  }
  evidence.best_loss_sum = attribution::LossSum(game.best);
  evidence.applied_mask = result->applied_mask;
  evidence.rows.resize(game.rows);
  for (int i = 0; i < k; ++i) {
    UpdateId id;
    id.value.bytes[0] = static_cast<uint8_t>(i + 1);
    evidence.updates.push_back({id, {}, {}});
    const attribution::ContributorResult& one = result->contributors[i];
    evidence.credits.push_back({id, one.credit, one.estimate, one.standard_error, one.solo,
                                one.leave_one_out, one.harmful});
  }
  return evidence;
}

}  // namespace

TEST_CASE("Credits follow from sums of losses, for every rule", "[verify]") {
  const uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  int with_credit = 0, with_harm = 0, with_sampling = 0;
  for (int i = 0; i < 120; ++i) {
    attribution::GameRule rule;
    rule.preset = i % 5 == 0 ? learning::CreditPreset::kLiteral : learning::CreditPreset::kHardened;
    rule.estimator = static_cast<Estimator>(i % 4);
    rule.z_gate_micro = static_cast<int64_t>(engine() % 3'000'000);
    rule.z_bound_micro = static_cast<int64_t>(engine() % 3'000'000);
    const int k = i % 12 >= 9 ? 12 : 1 + i % 7;
    attribution::Evidence evidence = RandomEvidence(engine, k, rule);
    INFO("game " << i << " of " << k);
    if (evidence.pairs > 0) {
      ++with_sampling;
      attribution::Evidence changed = evidence;
      changed.rule.sampling.error_max_nanonats = 0;  // then it would have gone on
      CHECK_FALSE(CheckEstimates(changed).ok());
      changed = evidence;
      changed.pairs *= 2;
      CHECK_FALSE(CheckEstimates(changed).ok());
      changed = evidence;
      changed.seed = crypto::Sha256("other permutations");
      CHECK_FALSE(CheckEstimates(changed).ok());
      changed = evidence;
      changed.credits[0].standard_error = 0;
      CHECK_FALSE(CheckEstimates(changed).ok());
    }
    CHECK(CheckEstimates(evidence).message() == "");
    for (size_t c = 0; c < evidence.credits.size(); ++c) {
      with_credit += evidence.credits[c].credit > 0;
      with_harm += evidence.credits[c].harmful;
      attribution::Evidence changed = evidence;
      switch (engine() % 6) {
        case 0: changed.credits[c].credit += 1; break;
        case 1: changed.credits[c].estimate -= 1; break;
        case 2: changed.credits[c].solo += 1; break;
        case 3: changed.credits[c].leave_one_out -= 1; break;
        case 4: changed.credits[c].harmful = !changed.credits[c].harmful; break;
        default: changed.applied_mask ^= uint64_t{1} << c;
      }
      CHECK_FALSE(CheckEstimates(changed).ok());
    }
    evidence.coalition_loss_sums[0] += 100 * static_cast<int64_t>(evidence.rows.size());
    CHECK_FALSE(CheckEstimates(evidence).ok());
  }
  CHECK(with_sampling == 16);
  CHECK(with_credit > 20);
  CHECK(with_harm > 5);
}

TEST_CASE("Hostile evidence is refused", "[verify]") {
  std::mt19937_64 engine(3);
  const attribution::Evidence honest = RandomEvidence(engine, 3, {});
  attribution::Evidence evidence = honest;
  evidence.rows.resize(1);
  CHECK_FALSE(CheckEstimates(evidence).ok());
  evidence = honest;
  evidence.coalition_loss_sums[2] = absl::Int128Max();
  CHECK_FALSE(CheckEstimates(evidence).ok());
  evidence = honest;
  evidence.best_loss_sum = -1;
  CHECK_FALSE(CheckEstimates(evidence).ok());
  evidence = honest;
  evidence.credits[1].standard_error = std::numeric_limits<int64_t>::max();
  CHECK_FALSE(CheckEstimates(evidence).ok());
  evidence = honest;
  evidence.masks[1] = 0;
  CHECK_FALSE(CheckEstimates(evidence).ok());
  evidence = honest;
  std::swap(evidence.credits[0].update, evidence.credits[1].update);
  CHECK_FALSE(CheckEstimates(evidence).ok());
}

}  // namespace rochdale::verify
