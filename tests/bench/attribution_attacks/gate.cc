#include <algorithm>
#include <cstdio>
#include <functional>

#include "absl/strings/str_cat.h"
#include "tests/bench/attribution_attacks/parallel.h"
#include "tests/bench/attribution_attacks/setting.h"

namespace rochdale::bench {
namespace {

using simulated::History;
using simulated::World;

struct GateCase {
  double dirichlet = 0;
  double z = 0;
  std::vector<History> histories;   // by seed
  std::vector<double> accuracies;
};

// Part of the updates of honest agents that the gate left out.
double LeftOut(const History& history) {
  int left_out = 0, all = 0;
  for (const simulated::PlayedRound& round : history.rounds) {
    for (const simulated::Fate& fate : round.fates) {
      if (fate.principal >= kHonest) continue;
      ++all;
      left_out += fate.reason == "NOT_APPLIED_HARMFUL";
    }
  }
  return all > 0 ? static_cast<double>(left_out) / all : 0;
}

simulated::Rules RulesWithGate(double z) {
  simulated::Rules rules = simulated::HardenedRules(kRowsPerRound);
  const auto set = rules.parameters.Set("credit.z_gate_micro",
                                        absl::StrCat(static_cast<int64_t>(z * 1e6 + 0.5)));
  if (!set.ok()) std::abort();
  return rules;
}

void Report(const GateCase& one, bool is_default, Figures& figures) {
  const bool iid = one.dirichlet == 0;
  const std::string name =
      absl::StrCat("gate z ", one.z, iid ? ", IID: " : ", Dirichlet 0.5: ");
  std::vector<double> left_out;
  double flipper = 0, smallest = 1;
  int unpaid = 0;
  for (const History& history : one.histories) {
    left_out.push_back(LeftOut(history));
    flipper = std::max(flipper, history.AttackerShare());
    for (int i = 0; i < kHonest; ++i) {
      const double share = history.ShareOf(i, i + 1);
      smallest = std::min(smallest, share);
      unpaid += share == 0;
    }
  }
  if (is_default) {
    AddJudged(figures, name + "honest updates left out", MeanOf(left_out), "part",
              iid ? 0.05 : 0.25, true);
    AddJudged(figures, name + "largest pay of the flipper", flipper, "of all pay", 0.03, true);
    AddJudged(figures, name + "honest agents never paid", unpaid, "agents", 0, true);
  } else {
    AddPlain(figures, name + "honest updates left out", MeanOf(left_out), "part");
    AddPlain(figures, name + "largest pay of the flipper", flipper, "of all pay");
    AddPlain(figures, name + "honest agents never paid", unpaid, "agents");
  }
  AddPlain(figures, name + "smallest honest pay", smallest, "of all pay");
  AddPlain(figures, name + "accuracy", MeanOf(one.accuracies), "part");
}

}  // namespace

void MeasureGate(const Setting& setting, Figures& figures) {
  const double kDefault =
      1e-6 * static_cast<double>(config::ParameterSet().Micro("credit.z_gate_micro"));
  std::vector<double> levels = {1.0, 1.5, 1.96, 2.5, 3.0, 4.0};
  if (std::find(levels.begin(), levels.end(), kDefault) == levels.end()) {
    levels.push_back(kDefault);
  }
  std::vector<GateCase> cases;
  std::vector<std::vector<World>> worlds(2);
  for (const double dirichlet : {0.5, 0.0}) {
    for (const uint64_t seed : setting.seeds) {
      simulated::Dealing dealing;
      dealing.dirichlet = dirichlet;
      worlds[dirichlet == 0].push_back(MakeWorld(setting, seed, dealing));
    }
    for (const double z : levels) {
      cases.push_back({dirichlet, z, std::vector<History>(setting.seeds.size()),
                       std::vector<double>(setting.seeds.size())});
    }
  }
  // The last shard is the flipper's.
  const simulated::Attacker flipper = [](const simulated::Sight& sight) {
    return std::vector<simulated::Submission>{
        {simulated::kAttacker, sight.TrainOn(simulated::Flipped(sight.own))}};
  };
  std::vector<std::function<void()>> jobs;
  for (GateCase& one : cases) {
    for (size_t s = 0; s < setting.seeds.size(); ++s) {
      jobs.push_back([&, s] {
        const World& world = worlds[one.dirichlet == 0][s];
        one.histories[s] =
            MustPlay(world, RulesWithGate(one.z), simulated::HonestShards(world), flipper);
        one.accuracies[s] =
            simulated::Accuracy(world.spec, one.histories[s].checkpoint, setting.test);
        std::fprintf(stderr, "z %.2f, Dirichlet %.1f, seed %d: left out %.3f, accuracy %.4f\n",
                     one.z, one.dirichlet, static_cast<int>(setting.seeds[s]),
                     LeftOut(one.histories[s]), one.accuracies[s]);
      });
    }
  }
  InParallel(jobs);
  for (const GateCase& one : cases) Report(one, one.z == kDefault, figures);
}

}  // namespace rochdale::bench
