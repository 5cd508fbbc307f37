// Money: every account and transfer of the log posted again, from leaves alone.
#pragma once

#include "libs/replay/books.h"
#include "services/verify/documents.h"
#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// Check "transfers": the books of libs/replay; for every transfer who allowed it, and that it is as
// its order says where that document is there. Gives the books.
replay::Books CheckTransfers(const Log& log, const Documents& documents, Report& report);

}  // namespace rochdale::verify
