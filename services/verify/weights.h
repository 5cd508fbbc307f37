// The weights of an aggregation by samples or by earlier credits, against what the log says.
#pragma once

#include "absl/status/status.h"
#include "services/verify/documents.h"
#include "services/verify/log.h"
#include "services/verify/rounds.h"

namespace rochdale::verify {

// Whether the shares of a round's updates stand in the proportion of their numbers of samples (of
// commitments whose documents are there) or of their principals' credits in earlier rounds. The
// updates that were refused have shares of their own, which no evidence names: the sum over all
// lineages is not known, only that one and the same sum fits every share.
absl::Status CheckWeights(const Log& log, const Documents& documents, const Rounds& rounds,
                          const attribution::Evidence& evidence);

// Whether floor(unit sizes[i] / sum) = shares[i] for all i for some sum, not less than all of
// `sizes` together. Sizes and shares are not negative.
bool HaveCommonSum(const std::vector<int64_t>& sizes, const std::vector<int64_t>& shares,
                   int64_t unit);

}  // namespace rochdale::verify
