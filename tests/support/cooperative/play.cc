#include "tests/support/cooperative/play.h"

#include "libs/base/status_macros.h"

namespace rochdale::simulated {

int64_t History::TotalPay() const {
  int64_t sum = 0;
  for (const auto& [principal, credit] : credits) sum += credit;
  return sum;
}

double History::ShareOf(int first, int end) const {
  const int64_t total = TotalPay();
  int64_t sum = 0;
  for (auto at = credits.lower_bound(first); at != credits.end() && at->first < end; ++at) {
    sum += at->second;
  }
  return total > 0 ? static_cast<double>(sum) / static_cast<double>(total) : 0;
}

absl::StatusOr<History> PlayHistory(const World& world, const Rules& rules,
                                    const std::vector<const learning::Dataset*>& shards,
                                    const Attacker& attacker) {
  Cooperative cooperative(world.spec, rules, world.dealt.pool, world.seed);
  const learning::Dataset visible = learning::TakeRows(world.dealt.pool, cooperative.visible());
  History history;
  for (int round = 0; round < world.rounds; ++round) {
    std::vector<Delta> honest;
    std::vector<Submission> submissions;
    for (size_t i = 0; i < shards.size(); ++i) {
      const uint64_t seed = (world.seed * 1'000 + i) * 1'000 + round;
      honest.push_back(
          Train(world.spec, cooperative.base(), *shards[i], world.training, round, seed));
      submissions.push_back({static_cast<int>(i), honest.back(), static_cast<int>(i)});
    }
    if (attacker != nullptr) {
      const Sight sight{world.spec, cooperative.base(), round,
                        (world.seed * 1'000 + 999) * 1'000 + round, world.dealt.shards.back(),
                        visible, world.dealt.spare, honest, cooperative.released_loss(),
                        world.training};
      for (Submission& one : attacker(sight)) submissions.push_back(std::move(one));
    }
    ASSIGN_OR_RETURN(PlayedRound played, cooperative.Play(submissions));
    for (const Fate& fate : played.fates) history.credits[fate.principal] += fate.credit;
    history.rounds.push_back(std::move(played));
  }
  history.checkpoint.assign(cooperative.base().begin(), cooperative.base().end());
  return history;
}

std::vector<const learning::Dataset*> HonestShards(const World& world) {
  std::vector<const learning::Dataset*> shards;
  for (size_t i = 0; i + 1 < world.dealt.shards.size(); ++i) {
    shards.push_back(&world.dealt.shards[i]);
  }
  return shards;
}

double Advantage(const Attack& attack, const History& attacked, const History& fair) {
  if (attack.against_honest_agent) {
    int64_t honest = 0;
    int agents = 0;
    for (const auto& [principal, credit] : attacked.credits) {
      if (principal >= kAttacker) continue;
      honest += credit;
      ++agents;
    }
    const auto pay = attacked.AttackerShare() * static_cast<double>(attacked.TotalPay());
    return honest > 0 ? pay * agents / static_cast<double>(honest) : 0;
  }
  return fair.AttackerShare() > 0 ? attacked.AttackerShare() / fair.AttackerShare() : 0;
}

}  // namespace rochdale::simulated
