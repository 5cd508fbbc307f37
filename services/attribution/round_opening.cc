#include "services/attribution/round_opening.h"

#include "libs/base/clock.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "services/attribution/entries.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/round_store.h"

namespace rochdale::attribution {

RoundId RoundIdOf(const CooperativeId& cooperative, int64_t number) {
  return RoundId{crypto::DeterministicId("attribution/round", cooperative, number)};
}

absl::StatusOr<RoundRecord> InsertNextRound(pg::Transaction& tx, const Secrets& secrets,
                                            const PlanRecord& plan, int64_t number,
                                            absl::Time now) {
  ASSIGN_OR_RETURN(const auto model, FindModel(tx, plan.cooperative));
  ASSIGN_OR_RETURN(const auto base, FindNewestCheckpoint(tx, plan.cooperative));
  if (!model || !base) return absl::InternalError("a plan without model and checkpoint");
  RoundRecord round;
  round.round = RoundIdOf(plan.cooperative, number);
  round.cooperative = plan.cooperative;
  round.plan = plan.plan;
  round.number = number;
  round.state = RoundState::kPreparing;
  round.deadline_us = ToUnixMicros(now + kPreparationMax);
  round.base_version = base->version;
  round.base = base->sha256;
  round.best = model->best;
  round.seed_sha256 = crypto::Sha256(secrets.RoundSeed(round.round).AsBytes());
  round.scenario = plan.scenario;
  round.opened_event = EventOf("OPENED", round.round.value);
  round.created_us = ToUnixMicros(now);
  round.filter_told = true;
  RETURN_IF_ERROR(InsertRound(tx, round));
  return round;
}

}  // namespace rochdale::attribution
