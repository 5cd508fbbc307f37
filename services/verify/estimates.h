// How a round's credits follow from v(S) alone: every number in the round's evidence but the
// standard errors, from the sums of losses. Written from docs/evidence.md, apart from the code that
// computes credits.
#pragma once

#include "absl/status/status.h"
#include "services/attribution/evidence.h"

namespace rochdale::verify {

// DATA_LOSS naming the first number that does not follow.
absl::Status CheckEstimates(const attribution::Evidence& evidence);

}  // namespace rochdale::verify
