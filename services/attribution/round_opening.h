// A new round, prepared for the engine: base and best checkpoint, committed seed, number.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/transaction.h"
#include "services/attribution/records.h"
#include "services/attribution/run_tokens.h"

namespace rochdale::attribution {

RoundId RoundIdOf(const CooperativeId& cooperative, int64_t number);

// How long a round may be prepared before it is ABANDONED.
inline constexpr absl::Duration kPreparationMax = absl::Minutes(15);

// Inserts the plan's round `number` in the state kPreparing, on the newest checkpoint.
absl::StatusOr<RoundRecord> InsertNextRound(pg::Transaction& tx, const Secrets& secrets,
                                            const PlanRecord& plan, int64_t number,
                                            absl::Time now);

}  // namespace rochdale::attribution
