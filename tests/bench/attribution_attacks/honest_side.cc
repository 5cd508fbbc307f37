#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "tests/bench/attribution_attacks/parallel.h"
#include "tests/bench/attribution_attacks/setting.h"

namespace rochdale::bench {
namespace {

using simulated::Delta;
using simulated::History;
using simulated::World;

constexpr int kFlippers = 3;
constexpr int kRetrained = kHonest + 1;  // five honest agents and one who flips labels

struct Compared {
  double with_flippers = 0;   // accuracy
  double same_weights = 0;
  double own_weights = 0;
  double flipper_pay = 0;     // the largest
  int unpaid = 0;
  double lone_pay = 0;        // over the mean of the others
};

std::vector<const learning::Dataset*> FirstShards(const World& world) {
  std::vector<const learning::Dataset*> shards;
  for (int i = 0; i < kHonest; ++i) shards.push_back(&world.dealt.shards[i]);
  return shards;
}

void PlayWithFlippers(const Setting& setting, const World& world, Compared& out) {
  std::vector<learning::Dataset> flipped;
  for (int i = 0; i < kFlippers; ++i) {
    flipped.push_back(simulated::Flipped(world.dealt.shards[kHonest + i]));
  }
  std::vector<const learning::Dataset*> shards = FirstShards(world);
  for (const learning::Dataset& rows : flipped) shards.push_back(&rows);
  const History history =
      MustPlay(world, simulated::HardenedRules(kRowsPerRound), shards, nullptr);
  out.with_flippers = simulated::Accuracy(world.spec, history.checkpoint, setting.test);
  for (int i = 0; i < kHonest + kFlippers; ++i) {
    const double share = history.ShareOf(i, i + 1);
    if (i >= kHonest) out.flipper_pay = std::max(out.flipper_pay, share);
    out.unpaid += i < kHonest && share == 0;
  }
}

double AccuracyAlone(const Setting& setting, const World& world, int absent) {
  simulated::Rules rules = simulated::HardenedRules(kRowsPerRound);
  rules.absent_lineages = absent;
  const History history = MustPlay(world, rules, FirstShards(world), nullptr);
  return simulated::Accuracy(world.spec, history.checkpoint, setting.test);
}

double LonePay(const Setting& setting, uint64_t seed) {
  simulated::Dealing dealing;
  dealing.agents = kHonest;
  dealing.shard_rows = 10'000;
  dealing.lone_agent = 0;
  dealing.lone_class = static_cast<int>(3 * seed % simulated::kClasses);
  const World world = MakeWorld(setting, seed, dealing);
  const History history =
      MustPlay(world, simulated::HardenedRules(kRowsPerRound), FirstShards(world), nullptr);
  return history.ShareOf(0, 1) * kHonest;
}

// The loss after all rounds of plain averaging over the members of a subset.
class Retraining {
 public:
  Retraining(const World& world, std::vector<learning::Dataset> shards)
      : world_(world), shards_(std::move(shards)) {
    start_ = learning::InitialParameters(world.spec, absl::StrCat("initial ", world.seed));
    for (size_t i = 0; i < shards_.size(); ++i) first_.push_back(TrainOne(start_, i, 0));
  }

  double LossOf(uint64_t subset, learning::Rows rows) const {
    learning::GridVector base = start_;
    for (int round = 0; round < world_.rounds && subset != 0; ++round) {
      std::vector<Delta> deltas;
      for (size_t i = 0; i < shards_.size(); ++i) {
        if ((subset >> i & 1) == 0) continue;
        deltas.push_back(round == 0 ? first_[i] : TrainOne(base, i, round));
      }
      const Delta next = simulated::Plus(learning::F32FromGrid(base), simulated::Mean(deltas));
      base = learning::GridFromF32(next).value();
    }
    return simulated::MeanLossOf(world_.spec, base, rows);
  }

 private:
  Delta TrainOne(const learning::GridVector& base, size_t i, int round) const {
    const uint64_t seed = (world_.seed * 1'000 + i) * 1'000 + round;
    return Train(world_.spec, base, shards_[i], world_.training, round, seed);
  }

  const World& world_;
  const std::vector<learning::Dataset> shards_;
  learning::GridVector start_;
  std::vector<Delta> first_;
};

std::vector<double> ShapleyOf(const std::vector<double>& losses, int players) {
  std::vector<double> values(players, 0);
  for (int i = 0; i < players; ++i) {
    for (uint64_t subset = 0; subset < losses.size(); ++subset) {
      if ((subset >> i & 1) != 0) continue;
      const int size = __builtin_popcountll(subset);
      const double weight =
          1 / (players * std::exp(std::lgamma(players) - std::lgamma(size + 1) -
                                  std::lgamma(players - size)));
      values[i] += weight * (losses[subset] - losses[subset | uint64_t{1} << i]);
    }
  }
  return values;
}

double Correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const double mean_a = MeanOf(a), mean_b = MeanOf(b);
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

}  // namespace

void MeasureHonestSide(const Setting& setting, Figures& figures) {
  std::vector<World> worlds;
  simulated::Dealing dealing;
  dealing.agents = kHonest + kFlippers;
  dealing.shard_rows = 2'000 * dealing.agents;
  for (const uint64_t seed : setting.seeds) worlds.push_back(MakeWorld(setting, seed, dealing));
  std::vector<Compared> compared(worlds.size());
  std::vector<std::function<void()>> jobs;
  for (size_t s = 0; s < worlds.size(); ++s) {
    Compared& out = compared[s];
    const World& world = worlds[s];
    jobs.push_back([&] { PlayWithFlippers(setting, world, out); });
    jobs.push_back([&] { out.same_weights = AccuracyAlone(setting, world, kFlippers); });
    jobs.push_back([&] { out.own_weights = AccuracyAlone(setting, world, 0); });
    jobs.push_back([&, s] { out.lone_pay = LonePay(setting, setting.seeds[s]); });
  }
  InParallel(jobs);
  std::vector<double> with, same, own, lost_same, lost_own, lone;
  double flipper = 0;
  int unpaid = 0;
  for (const Compared& one : compared) {
    lost_same.push_back(100 * (one.same_weights - one.with_flippers));
    lost_own.push_back(100 * (one.own_weights - one.with_flippers));
    lone.push_back(one.lone_pay);
    flipper = std::max(flipper, one.flipper_pay);
    unpaid += one.unpaid;
    with.push_back(one.with_flippers);
    same.push_back(one.same_weights);
    own.push_back(one.own_weights);
  }
  AddPlain(figures, "three flippers of eight: accuracy, mean", MeanOf(with), "part");
  AddPlain(figures, "the five honest alone, weights 1/8: accuracy, mean", MeanOf(same), "part");
  AddPlain(figures, "the five honest alone, weights 1/5: accuracy, mean", MeanOf(own), "part");
  AddJudged(figures, "three flippers of eight: points lost to the five honest at 1/8, mean",
            MeanOf(lost_same), "points", 1, true);
  AddPlain(figures, "three flippers of eight: points lost to the five honest at 1/8, worst",
           *std::max_element(lost_same.begin(), lost_same.end()), "points");
  AddPlain(figures, "three flippers of eight: points lost to the five honest at 1/5, mean",
           MeanOf(lost_own), "points");
  AddJudged(figures, "three flippers of eight: largest pay of a flipper", flipper, "of all pay",
            0.03, true);
  AddJudged(figures, "three flippers of eight: honest agents never paid", unpaid, "agents", 0,
            true);
  AddJudged(figures, "an agent with a class of its own: pay over the mean, mean", MeanOf(lone),
            "of the honest mean", 1.3, false);
  AddPlain(figures, "an agent with a class of its own: pay over the mean, least",
           *std::min_element(lone.begin(), lone.end()), "of the honest mean");
}

void MeasureRetraining(const Setting& setting, Figures& figures) {
  std::vector<double> all, honest;
  for (const uint64_t seed : setting.seeds) {
    const World world = MakeWorld(setting, seed, {});
    std::vector<learning::Dataset> shards = world.dealt.shards;
    shards.back() = simulated::Flipped(shards.back());
    std::vector<const learning::Dataset*> agents;
    for (const learning::Dataset& rows : shards) agents.push_back(&rows);
    std::vector<double> credits(kRetrained);
    std::vector<double> losses(1 << kRetrained);
    const Retraining retraining(world, shards);
    std::vector<std::function<void()>> jobs;
    jobs.push_back([&] {
      const History history =
          MustPlay(world, simulated::HardenedRules(kRowsPerRound), agents, nullptr);
      for (int i = 0; i < kRetrained; ++i) credits[i] = history.ShareOf(i, i + 1);
    });
    for (uint64_t subset = losses.size(); subset-- > 0;) {
      jobs.push_back([&, subset] { losses[subset] = retraining.LossOf(subset, setting.test); });
    }
    InParallel(jobs);
    const std::vector<double> values = ShapleyOf(losses, kRetrained);
    all.push_back(Correlation(credits, values));
    honest.push_back(Correlation({credits.begin(), credits.begin() + kHonest},
                                 {values.begin(), values.begin() + kHonest}));
    std::fprintf(stderr, "retraining, seed %d: correlation %.3f, honest agents alone %.3f\n",
                 static_cast<int>(seed), all.back(), honest.back());
  }
  AddJudged(figures, "credits and 64 full retrainings: correlation, mean", MeanOf(all),
            "correlation", 0.8, false);
  AddPlain(figures, "credits and 64 full retrainings: correlation, least",
           *std::min_element(all.begin(), all.end()), "correlation");
  AddPlain(figures, "the same among the honest agents alone: correlation, mean", MeanOf(honest),
           "correlation");
}

}  // namespace rochdale::bench
