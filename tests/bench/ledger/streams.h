// Many clients that send single transfers, each on a stream of its own, one at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/bench/ledger/batches.h"

namespace rochdale::bench {

inline constexpr int kStreams = 1'024;
inline constexpr int kStreamConnections = 64;

// Where the clients' requests come from. Called by one thread.
struct StreamSource {
  std::string service;  // whose certificate the connections show; empty: none
  // What a client's stream carries as "authorization"; empty: nothing. May be null.
  std::function<std::string(uint32_t client)> token;
  // The client's next request with one transfer, which `journal` knows; false: it has no more.
  std::function<bool(uint32_t client, uint32_t sequence, std::string& bytes)> next;
};

// kStreams clients over kStreamConnections connections, one thread. Where a client has no more
// requests the measured window ends early. A transfer that is refused, or a stream that fails, ends
// the program.
Measured RunStreams(LedgerProcess& ledger, Postgres& postgres, const StreamSource& source,
                    const Timing& timing, Journal& journal);

}  // namespace rochdale::bench
