#include "tests/bench/attribution_attacks/setting.h"

#include <stdexcept>
#include <utility>

namespace rochdale::bench {

simulated::World MakeWorld(const Setting& setting, uint64_t seed,
                           const simulated::Dealing& dealing) {
  simulated::World world;
  world.rounds = setting.rounds;
  world.seed = seed;
  world.dealt = simulated::Deal(setting.train, dealing, seed);
  return world;
}

simulated::History MustPlay(const simulated::World& world, const simulated::Rules& rules,
                            const std::vector<const learning::Dataset*>& shards,
                            const simulated::Attacker& attacker) {
  auto history = simulated::PlayHistory(world, rules, shards, attacker);
  if (!history.ok()) throw std::runtime_error(history.status().ToString());
  return *std::move(history);
}

void AddJudged(Figures& figures, std::string name, double value, std::string unit, double target,
               bool at_most) {
  Figure figure;
  figure.name = std::move(name);
  figure.value = value;
  figure.unit = std::move(unit);
  figure.target = target;
  figure.at_most = at_most;
  figures.Add(std::move(figure));
}

void AddPlain(Figures& figures, std::string name, double value, std::string unit) {
  Figure figure;
  figure.name = std::move(name);
  figure.value = value;
  figure.unit = std::move(unit);
  figures.Add(std::move(figure));
}

}  // namespace rochdale::bench
