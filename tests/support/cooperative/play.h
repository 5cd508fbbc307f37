// Whole histories of a simulated cooperative: honest agents, perhaps an attacker, some rounds.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/support/cooperative/attacks.h"
#include "tests/support/cooperative/cooperative.h"
#include "tests/support/cooperative/fashion.h"

namespace rochdale::simulated {

// What does not change between the histories that are compared.
struct World {
  learning::ModelSpec spec{learning::ModelKind::kMlp, {784, 256, 128, 10}};
  Training training;
  int rounds = 8;
  uint64_t seed = 1;
  Dealt dealt;  // the attacker's rows are the last shard
};

struct History {
  std::vector<PlayedRound> rounds;
  std::map<int, int64_t> credits;    // by principal; all who ever submitted
  learning::GridVector checkpoint;

  int64_t TotalPay() const;
  // Of all principals from `first` to before `end`, as a part of all pay; 0 where nobody is paid.
  double ShareOf(int first, int end) const;
  double AttackerShare() const { return ShareOf(kAttacker, kAttacker + 1'000); }
};

// Agents with these shards commit first, in this order, as principals 0, 1, ..., each with an
// attested owner of its own; then the attacker
// (may be null), whose rows are world.dealt.shards.back().
absl::StatusOr<History> PlayHistory(const World& world, const Rules& rules,
                                    const std::vector<const learning::Dataset*>& shards,
                                    const Attacker& attacker);

// All shards of the world but the last.
std::vector<const learning::Dataset*> HonestShards(const World& world);

// What the attack earns, as attack.mean_max is meant. `fair`: the history of the honest use.
double Advantage(const Attack& attack, const History& attacked, const History& fair);

}  // namespace rochdale::simulated
