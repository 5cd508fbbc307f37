// Decisions: what the log commits to, decided again from the recorded numbers, and that what was
// refused never trained and never earned.
#pragma once

#include <optional>

#include "libs/base/ids.h"
#include "services/verify/bundle.h"
#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// Check "decisions": of every decision that is in the bundle, or of one update. Says how many of
// the cooperative are not there: a member is shown its own only.
void CheckDecisions(const Bundle& bundle, const Log& log, const CooperativeId& cooperative,
                    const std::optional<UpdateId>& only, Report& report);

// Check "refused-unpaid": one decision per update; an update that was not admitted has neither
// credit nor a place in a checkpoint.
void CheckRefusals(const Log& log, Report& report);

}  // namespace rochdale::verify
