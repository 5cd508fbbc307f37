// Checks a run through the ledger's public API alone: what the log says must be what was
// acknowledged, and the balances must follow from it.
#pragma once

#include <cstdint>

#include "tests/bench/ledger/deployment.h"
#include "tests/bench/ledger/requests.h"
#include "tests/bench/ledger/world.h"

namespace rochdale::bench {

struct Audited {
  int64_t entries = 0;    // of the log
  int64_t transfers = 0;  // among them, of the run
  double seconds = 0;
};

// Reads every leaf, builds the tree from them and compares its root with the signed head; every
// acknowledged transfer must be there once, nothing that was not sent; every account's balance must
// be what the leaves sum to, and all of them together 0. A difference ends the program.
Audited Audit(LedgerProcess& ledger, const World& world, const Journal& journal);

}  // namespace rochdale::bench
