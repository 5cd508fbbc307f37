// The ledger's tables, as somebody exported them, against what the log gives.
#pragma once

#include <string>

#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// Check "tables": every row of the export (docs/evidence.md, section 7.5) is as the entries give
// it, and none is missing. The export may be of an earlier size of the log. Names the first
// difference.
void CheckTables(const Log& log, const std::string& path, Report& report);

}  // namespace rochdale::verify
