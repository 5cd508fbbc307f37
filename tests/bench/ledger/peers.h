// What others reach on the same PostgreSQL, with the same durability.
#pragma once

#include <string>

#include "tests/bench/ledger/batches.h"

namespace rochdale::bench {

struct PeerRun {
  Measured measured;
  int connections = 0;
};

// pgbench's own TPC-B-like transaction at scale 1: 100,000 accounts, and one branch that every
// transaction updates. `simple`: without branch and teller (pgbench -N).
PeerRun RunTpcB(Postgres& postgres, bool simple, const Timing& timing);

// A function that locks both rows in the order of their ids, checks, moves and records, without a
// log: as careful as such functions are. `batch` 1: one transfer per call; else so many in arrays.
PeerRun RunRowLock(Postgres& postgres, const Picker& picker, int batch, const Timing& timing);

}  // namespace rochdale::bench
