// Lineages of a round: what the log says of who is in truth one, against the n that weights go by.
#pragma once

#include <map>
#include <vector>

#include "absl/status/status.h"
#include "services/attribution/evidence.h"
#include "services/verify/log.h"

namespace rochdale::verify {

// DECISION_MADE entries by round.
using Decisions = std::map<RoundId, std::vector<const crypto::Entry*>>;
Decisions DecisionsByRound(const Log& log);

// docs/evidence.md, section 6.1: n is the number of lineages of the round's decisions; each is
// named by its earliest update and has at most one that was admitted; attestations that decisions
// name are the last ones; updates of one owner are of one lineage, and all but the earliest were
// refused for it, nobody else. DATA_LOSS says what is wrong.
absl::Status CheckLineages(const Log& log, const Decisions& decisions,
                           const attribution::Evidence& evidence);

}  // namespace rochdale::verify
