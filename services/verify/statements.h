// The statements in a bundle against the log.
#pragma once

#include "services/verify/bundle.h"
#include "services/verify/epochs.h"
#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// Check "statements": statements/ say what the log, the shares and the distribution say.
void CheckStatements(const Bundle& bundle, const Log& log, const Epochs& epochs, Report& report);

}  // namespace rochdale::verify
