// What a run costs: processor time of every party, bytes of WAL and disk, and latencies.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/pg/database.h"

namespace rochdale::bench {

// Ends the program with the status on standard error unless it is OK.
void Require(const absl::Status& status, const char* doing);

// Sums since the beginning of things; a run's are the difference of two.
struct Usage {
  absl::Time at;
  double generator_s = 0;  // processor time of this process
  double server_s = 0;     // of the ledger's process; 0 where there is none
  double postgres_s = 0;   // of the database server and its backends
  double machine_s = 0;    // of everything on this machine, idle time left out
  int64_t wal_bytes = 0;
  int64_t disk_bytes = 0;  // of the one database
};

// `server` may be -1. `admin`: the superuser's.
Usage MeasureUsage(pid_t server, pid_t postmaster, pg::Database& admin,
                   const std::string& database);

struct Latencies {
  std::vector<uint32_t> micros;
  void Add(absl::Duration took);
  // 0 <= quantile <= 1; milliseconds; 0 where there are none. Sorts.
  double Quantile(double quantile);
};

// One measured window of a run.
struct Measured {
  int64_t transfers = 0;  // acknowledged in the window
  Usage begin, end;
  Latencies latencies;    // of calls that were answered in the window

  double seconds() const { return absl::ToDoubleSeconds(end.at - begin.at); }
  double rate() const { return static_cast<double>(transfers) / seconds(); }
};

}  // namespace rochdale::bench
