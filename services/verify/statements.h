// The statements in a bundle against the log.
#pragma once

#include "services/verify/bundle.h"
#include "services/verify/epochs.h"
#include "services/verify/log.h"
#include "services/verify/report.h"
#include "services/verify/rounds.h"

namespace rochdale::verify {

// Check "statements": statements/ say what the log, the shares and the distribution say, and of
// credits that are not exact the tolerance and deadband of their round's model.
void CheckStatements(const Bundle& bundle, const Log& log, const Epochs& epochs,
                     const Rounds& rounds, Report& report);

}  // namespace rochdale::verify
