// A/B tests of checkpoints: what the log says of a test, its evidence, and the rule that ended it
// applied again to every loss that it looked at.
#pragma once

#include "libs/base/ids.h"
#include "services/verify/bundle.h"
#include "services/verify/log.h"
#include "services/verify/report.h"
#include "services/verify/rounds.h"

namespace rochdale::verify {

// Check "comparisons". The losses themselves are not evaluated again: they are of visible rows,
// which are never published.
void CheckComparisons(const Bundle& bundle, const Log& log, const CooperativeId& cooperative,
                      const Rounds& rounds, Report& report);

}  // namespace rochdale::verify
