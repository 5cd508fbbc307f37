// Closed loop of unary PostTransfers calls with batches of one size, by the service "payout".
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/bench/ledger/deployment.h"
#include "tests/bench/ledger/picker.h"
#include "tests/bench/ledger/requests.h"
#include "tests/bench/ledger/usage.h"

namespace rochdale::bench {

struct Timing {
  absl::Duration warm_up, measured;
};

// How many calls are under way at once: enough that the writer never waits, few enough that its
// queue (eight of the largest batches) holds them.
int CallsUnderWay(int batch);

// One thread; client i of `journal` is the i-th call under way. A transfer that is refused, or a
// call that fails, ends the program.
Measured RunBatches(LedgerProcess& ledger, Postgres& postgres,
                    const std::vector<std::string>& accounts, const Picker& picker, int batch,
                    const Timing& timing, Journal& journal);

}  // namespace rochdale::bench
