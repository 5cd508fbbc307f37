// What an attacker may do in place of honest work. An attacker is a function with a memory of its
// own: what it submits in a round, given what it sees.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/cooperative/cooperative.h"
#include "tests/support/cooperative/training.h"

namespace rochdale::simulated {

// Principals of the attacker count from here; those of honest agents are below.
inline constexpr int kAttacker = 100;

// What an attacker has and sees in one round.
struct Sight {
  const learning::ModelSpec& spec;
  learning::GridSpan base;
  int round = 0;
  uint64_t seed = 0;                      // differs by round
  const learning::Dataset& own;           // its rows
  const learning::Dataset& visible;       // pool rows whose scores are released, as if leaked
  const learning::Dataset& spare;         // as many honest rows of the same distribution
  const std::vector<Delta>& honest;       // this round's updates of the others, as if leaked
  std::optional<int64_t> released_loss;   // of the last round
  const Training& training;

  // An honest update from these rows; `stream` tells apart the agents of one attacker.
  Delta TrainOn(const learning::Dataset& rows, uint64_t stream = 0) const;
};

// Submissions after those of the others, in the order of commitment; none: absent this round.
using Attacker = std::function<std::vector<Submission>(const Sight&)>;
using MakeAttacker = std::function<Attacker()>;

struct Attack {
  std::string name;
  MakeAttacker attacker;
  // Measured against the honest use of the attacker's own rows, or of these and the spare ones.
  bool against_more_rows = false;
  // Targets under the hardened preset: the attacker's share over the share of the honest use, in
  // the mean over seeds and in any seed.
  double mean_max = 1.05;
  double seed_max = 1.10;
  // Instead: the attacker's pay over the mean pay of an honest agent.
  bool against_honest_agent = false;
  // Outside of what the targets are about: printed to be known.
  bool without_target = false;
  // Whoever has no attested owner counts as one lineage; the honest have one each.
  bool unattested_together = false;
  // What is different from another attack is nothing to the seed's formulas.
  bool hardened_only = false;
};

// One honest agent with all of the attacker's rows; `with_spare`: and the spare ones.
Attacker HonestUse(bool with_spare = false);

std::vector<Attack> AllAttacks();
// The attack of this name, which must exist.
Attack FindAttack(const std::string& name);

}  // namespace rochdale::simulated
