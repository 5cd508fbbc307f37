#include <algorithm>
#include <cstdio>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/bench/attribution_attacks/parallel.h"
#include "tests/bench/attribution_attacks/setting.h"

namespace rochdale::bench {
namespace {

using simulated::Attack;
using simulated::History;
using simulated::World;

constexpr const char* kPresets[] = {"literal", "hardened"};

// One history: of an attack, or (attack < 0) of the honest use without or with the spare rows.
struct Case {
  size_t seed = 0;
  int preset = 0;
  int attack = -1;
  bool with_spare = false;
};

simulated::Rules RulesOf(int preset, const Attack* attack) {
  if (preset == 0) return simulated::LiteralRules(kRowsPerRound);
  simulated::Rules rules = simulated::HardenedRules(kRowsPerRound);
  const bool together = attack != nullptr && attack->unattested_together;
  return together ? simulated::WithUnattestedTogether(std::move(rules)) : rules;
}

void Report(const Attack& attack, const std::vector<double> (&values)[2], Figures& figures) {
  const std::string unit = attack.against_honest_agent ? "of an honest agent's pay"
                                                       : "of the honest share";
  for (int preset = attack.hardened_only ? 1 : 0; preset < 2; ++preset) {
    const double mean = MeanOf(values[preset]);
    const double worst = *std::max_element(values[preset].begin(), values[preset].end());
    const std::string name = absl::StrCat(attack.name, ", ", kPresets[preset]);
    if (preset == 0 || attack.without_target) {
      AddPlain(figures, name + ", mean", mean, unit);
      AddPlain(figures, name + ", worst", worst, unit);
    } else {
      AddJudged(figures, name + ", mean", mean, unit, attack.mean_max, true);
      AddJudged(figures, name + ", worst", worst, unit, attack.seed_max, true);
    }
  }
}

}  // namespace

void MeasureAttacks(const Setting& setting, Figures& figures) {
  std::vector<Attack> attacks;
  for (Attack& attack : simulated::AllAttacks()) {
    if (absl::StrContains(attack.name, setting.only)) attacks.push_back(std::move(attack));
  }
  std::vector<World> worlds;
  std::vector<Case> cases;
  for (const uint64_t seed : setting.seeds) worlds.push_back(MakeWorld(setting, seed, {}));
  for (const int preset : {1, 0}) {  // what is judged first
    for (size_t seed = 0; seed < setting.seeds.size(); ++seed) {
      for (const bool with_spare : {false, true}) cases.push_back({seed, preset, -1, with_spare});
      for (size_t a = 0; a < attacks.size(); ++a) {
        if (preset == 0 && attacks[a].hardened_only) continue;
        cases.push_back({seed, preset, static_cast<int>(a), false});
      }
    }
  }
  std::vector<History> histories(cases.size());
  std::vector<std::function<void()>> jobs;
  for (size_t c = 0; c < cases.size(); ++c) {
    jobs.push_back([&, c] {
      const Case& one = cases[c];
      const World& world = worlds[one.seed];
      histories[c] = MustPlay(world, RulesOf(one.preset, one.attack < 0 ? nullptr
                                                                        : &attacks[one.attack]),
                              simulated::HonestShards(world),
                              one.attack < 0 ? simulated::HonestUse(one.with_spare)
                                             : attacks[one.attack].attacker());
      std::fprintf(stderr, "seed %d, %s, %s: the attacker has %.4f of all pay\n",
                   static_cast<int>(setting.seeds[one.seed]), kPresets[one.preset],
                   one.attack < 0 ? (one.with_spare ? "honest, more rows" : "honest")
                                  : attacks[one.attack].name.c_str(),
                   histories[c].AttackerShare());
    });
  }
  InParallel(jobs);
  const auto history_of = [&](const Case& wanted) -> const History& {
    const auto found = std::find_if(cases.begin(), cases.end(), [&](const Case& one) {
      return one.seed == wanted.seed && one.preset == wanted.preset &&
             one.attack == wanted.attack && one.with_spare == wanted.with_spare;
    });
    return histories[found - cases.begin()];
  };
  for (size_t a = 0; a < attacks.size(); ++a) {
    std::vector<double> values[2];
    for (int preset = attacks[a].hardened_only ? 1 : 0; preset < 2; ++preset) {
      for (size_t seed = 0; seed < worlds.size(); ++seed) {
        values[preset].push_back(simulated::Advantage(
            attacks[a], history_of({seed, preset, static_cast<int>(a), false}),
            history_of({seed, preset, -1, attacks[a].against_more_rows})));
      }
    }
    Report(attacks[a], values, figures);
  }
}

}  // namespace rochdale::bench
