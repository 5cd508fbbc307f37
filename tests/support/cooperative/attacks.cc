#include "tests/support/cooperative/attacks.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "tests/support/cooperative/fashion.h"

namespace rochdale::simulated {
namespace {

// One principal for each update.
std::vector<Submission> Identities(std::vector<Delta> deltas) {
  std::vector<Submission> out;
  for (Delta& delta : deltas) {
    out.push_back({kAttacker + static_cast<int>(out.size()), std::move(delta)});
  }
  return out;
}

std::vector<Submission> OnePrincipal(std::vector<Delta> deltas) {
  std::vector<Submission> out;
  for (Delta& delta : deltas) out.push_back({kAttacker, std::move(delta)});
  return out;
}

// The same strategy every round, without memory.
MakeAttacker Always(Attacker act) {
  return [act] { return act; };
}

// With noise of `noise` times its norm.
Delta Noisy(const Delta& delta, double noise, uint64_t seed) {
  return Plus(delta, Noise(delta.size(), noise * Norm(delta), seed));
}

MakeAttacker Copies(int copies, double noise) {
  return Always([=](const Sight& sight) {
    std::vector<Delta> deltas = {sight.TrainOn(sight.own)};
    for (int i = 1; i <= copies; ++i) {
      deltas.push_back(noise > 0 ? Noisy(deltas[0], noise, sight.seed + i) : deltas[0]);
    }
    return Identities(std::move(deltas));
  });
}

// Breaks in the first round and every other, and mends in those between by taking back what it
// broke, beside its own work. With a confederate the one who breaks is another principal.
MakeAttacker Churn(double strength, bool confederate) {
  return [=]() -> Attacker {
    return [=, broken = Delta()](const Sight& sight) mutable {
      Delta own = sight.TrainOn(sight.own);
      if (sight.round % 2 == 0) {
        broken = Scaled(std::move(own), -strength);
        return std::vector<Submission>{{kAttacker + confederate, broken}};
      }
      own = Plus(std::move(own), broken, -1);
      return std::vector<Submission>{{kAttacker, std::move(own)}};
    };
  };
}

// Mixtures of the others' updates with random positive weights, by as many principals.
MakeAttacker Mixtures(int identities, double noise) {
  return Always([=](const Sight& sight) {
    std::mt19937_64 random(sight.seed);
    std::exponential_distribution<double> weight;
    const double norm = Norm(sight.TrainOn(sight.own));
    std::vector<Delta> deltas;
    for (int i = 0; i < identities; ++i) {
      Delta sum(sight.honest.front().size(), 0.0f);
      for (const Delta& delta : sight.honest) sum = Plus(std::move(sum), delta, weight(random));
      const double length = Norm(sum);
      sum = Scaled(std::move(sum), norm / length);
      deltas.push_back(noise > 0 ? Noisy(sum, noise, sight.seed + i) : sum);
    }
    return Identities(std::move(deltas));
  });
}

// One update cut by coordinates into k parts, each stretched to the length of the whole.
MakeAttacker Split(int parts, bool one_principal) {
  return Always([=](const Sight& sight) {
    const Delta whole = sight.TrainOn(sight.own);
    const double norm = Norm(whole);
    std::mt19937_64 random(sight.seed);
    std::vector<Delta> deltas(parts, Delta(whole.size(), 0.0f));
    for (size_t i = 0; i < whole.size(); ++i) deltas[random() % parts][i] = whole[i];
    for (Delta& delta : deltas) {
      const double length = Norm(delta);
      if (length > 0) delta = Scaled(std::move(delta), norm / length);
    }
    return one_principal ? OnePrincipal(std::move(deltas)) : Identities(std::move(deltas));
  });
}

MakeAttacker Inflate(double factor) {
  return Always([=](const Sight& sight) {
    return Identities({Scaled(sight.TrainOn(sight.own), factor)});
  });
}

MakeAttacker NoiseFarm(int identities) {
  return Always([=](const Sight& sight) {
    const double norm = Norm(sight.honest.front());
    std::vector<Delta> deltas;
    for (int i = 0; i < identities; ++i) {
      deltas.push_back(Noise(sight.honest.front().size(), norm, sight.seed + i));
    }
    return Identities(std::move(deltas));
  });
}

// The update that points most along with all others, with a little noise.
MakeAttacker CopyTheBest(double noise) {
  return Always([=](const Sight& sight) {
    const Delta mean = Mean(sight.honest);
    const auto best = std::max_element(
        sight.honest.begin(), sight.honest.end(),
        [&](const Delta& a, const Delta& b) { return Cosine(a, mean) < Cosine(b, mean); });
    return Identities({Noisy(*best, noise, sight.seed)});
  });
}

// Its own work, moved as far again towards what the others agree on.
MakeAttacker OwnAndMean() {
  return Always([](const Sight& sight) {
    const Delta own = sight.TrainOn(sight.own);
    const Delta mean = Mean(sight.honest);
    return Identities({Plus(own, mean, Norm(own) / Norm(mean))});
  });
}

// Its own work, moved half as far along the last round's step, which every member can see.
MakeAttacker OwnAndLastStep() {
  return []() -> Attacker {
    return [before = Delta()](const Sight& sight) mutable {
      Delta own = sight.TrainOn(sight.own);
      Delta now = learning::F32FromGrid(sight.base);
      if (!before.empty()) {
        const Delta step = Plus(now, before, -1);
        const double length = Norm(step);
        if (length > 0) own = Plus(own, step, 0.5 * Norm(own) / length);
      }
      before = std::move(now);
      return Identities({std::move(own)});
    };
  };
}

MakeAttacker LeakedRows() {
  return Always([](const Sight& sight) {
    return Identities({sight.TrainOn(Joined(sight.own, sight.visible))});
  });
}

// Keeps what the released score seemed to like: each round tries a random direction beside its
// own work, and goes on along it, or back, as the score fell by more or by less than before.
MakeAttacker HillClimb(double step) {
  struct Memory {
    Delta direction;
    double sign = 1;
    std::vector<int64_t> scores;
  };
  return [=]() -> Attacker {
    return [=, memory = Memory()](const Sight& sight) mutable {
      Delta own = sight.TrainOn(sight.own);
      if (sight.released_loss) memory.scores.push_back(*sight.released_loss);
      const size_t n = memory.scores.size();
      const double norm = Norm(own);
      if (n >= 3) {
        const int64_t gained = memory.scores[n - 2] - memory.scores[n - 1];
        const int64_t before = memory.scores[n - 3] - memory.scores[n - 2];
        // Later rounds gain less on their own: half of the last gain would be usual.
        if (gained < before / 2) memory.direction.clear();
      }
      if (memory.direction.empty()) memory.direction = Noise(own.size(), 1, sight.seed);
      return Identities({Plus(std::move(own), memory.direction, step * norm)});
    };
  };
}

// k agents, each with a part of the rows.
std::vector<Delta> OfParts(const Sight& sight, int parts) {
  std::vector<Delta> deltas;
  for (const learning::Dataset& rows : Parted(sight.own, parts)) {
    deltas.push_back(sight.TrainOn(rows, deltas.size()));
  }
  return deltas;
}

// k agents that train on the same rows, each in an order of its own.
std::vector<Delta> OfOrders(const Sight& sight, int agents) {
  std::vector<Delta> deltas;
  for (int i = 0; i < agents; ++i) deltas.push_back(sight.TrainOn(sight.own, i));
  return deltas;
}

// The same by principals of which it is attested that they are one person's.
MakeAttacker Attested(const MakeAttacker& make) {
  return [make]() -> Attacker {
    return [attacker = make()](const Sight& sight) {
      std::vector<Submission> submissions = attacker(sight);
      for (Submission& one : submissions) one.owner = kAttacker;
      return submissions;
    };
  };
}

}  // namespace

Delta Sight::TrainOn(const learning::Dataset& rows, uint64_t stream) const {
  return Train(spec, base, rows, training, round, seed * 1'000 + stream);
}

Attacker HonestUse(bool with_spare) {
  return [with_spare](const Sight& sight) {
    return Identities(
        {with_spare ? sight.TrainOn(Joined(sight.own, sight.spare)) : sight.TrainOn(sight.own)});
  };
}

std::vector<Attack> AllAttacks() {
  std::vector<Attack> all;
  const auto add = [&](std::string name, MakeAttacker attacker) -> Attack& {
    all.push_back({std::move(name), std::move(attacker)});
    return all.back();
  };
  const auto add_churn = [&](std::string name, double strength, bool confederate) {
    Attack& churn = add(std::move(name), Churn(strength, confederate));
    churn.mean_max = churn.seed_max = 0.5;
  };
  add_churn("churn x10", 10, false);
  add_churn("churn x1", 1, false);
  add_churn("churn x1 with a confederate", 1, true);
  // What churn is to be held against: it works in every other round, too, and breaks nothing.
  add("own work in every other round", Always([](const Sight& sight) {
        return sight.round % 2 == 0 ? std::vector<Submission>()
                                    : Identities({sight.TrainOn(sight.own)});
      })).without_target = true;
  // All but those "of one principal" are identities that nothing in the registry ties together,
  // unless it says that owners are attested.
  const auto add_colluding = [&](const std::string& name, const MakeAttacker& attacker) {
    add(absl::StrCat(name, ", owners hidden"), attacker);
    add(absl::StrCat(name, ", owners attested"), Attested(attacker)).hardened_only = true;
  };
  for (const int copies : {1, 3, 10}) add(absl::StrCat(copies, " copies"), Copies(copies, 0));
  add("3 near-copies, noise 0.2", Copies(3, 0.2));
  for (const double noise : {0.5, 1.0}) {
    add_colluding(absl::StrCat("3 near-copies, noise ", noise), Copies(3, noise));
  }
  add("mixture of others", Mixtures(1, 0));
  add("3 mixtures of others, noise 0.2", Mixtures(3, 0.2));
  add("split into 3 of one principal", Split(3, true));
  add_colluding("split into 3", Split(3, false));
  add_colluding("split into 10", Split(10, false));
  Attack& together = add("split into 10, the unattested together", Split(10, false));
  together.unattested_together = together.hardened_only = true;
  add("norm x3", Inflate(3));
  add("norm x10", Inflate(10));
  for (const int identities : {1, 3}) {
    Attack& noise = add(absl::StrCat("noise farming by ", identities), NoiseFarm(identities));
    noise.mean_max = noise.seed_max = 0.02;
    noise.against_honest_agent = true;
  }
  add("late copy of the best, noise 0.1", CopyTheBest(0.1));
  add("late: own work and the others' mean", OwnAndMean());
  // Momentum from what every member sees: it pays by as much as it helps the model.
  add("own work and the last step", OwnAndLastStep()).without_target = true;
  add("leaked visible rows", LeakedRows()).against_more_rows = true;
  add("hill-climbing on released scores", HillClimb(0.3));
  add("3 agents of one principal, parts", Always([](const Sight& sight) {
        return OnePrincipal(OfParts(sight, 3));
      }));
  add("3 agents of one principal, orders", Always([](const Sight& sight) {
        return OnePrincipal(OfOrders(sight, 3));
      }));
  add_colluding("3 principals, parts of the rows", Always([](const Sight& sight) {
                  return Identities(OfParts(sight, 3));
                }));
  add_colluding("3 principals, orders of the rows", Always([](const Sight& sight) {
                  return Identities(OfOrders(sight, 3));
                }));
  return all;
}

Attack FindAttack(const std::string& name) {
  for (Attack& attack : AllAttacks()) {
    if (attack.name == name) return attack;
  }
  throw std::invalid_argument(absl::StrCat("no attack is named ", name));
}

}  // namespace rochdale::simulated
