// What the attribution service is told from outside.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/config/flags.h"

namespace rochdale::attribution {

struct AttributionOptions {
  // Of at least 32 bytes; round seeds, split seeds, run tokens and sessions derive from it. The
  // same for every replica, and for ever (LoadOrCreateServerSecret).
  config::Secret server_secret;
  // host:port of this replica, for the lease row of the round engine.
  std::string address;

  // Local worker processes. `worker_endpoint` says host:port of the server that serves
  // WorkerService; asked when a run starts, so that the port may be chosen late.
  bool launch_local_workers = true;
  std::string worker_program;  // rochdale-attribution-worker; empty: beside this program
  std::function<std::string()> worker_endpoint;
  bool worker_plaintext = true;    // loopback without TLS
  std::string worker_ca_file;      // where not plaintext
  std::string worker_server_name;  // name in the certificate, where it is not the endpoint's host
  int workers = 0;                 // processes per run; 0: one per core
  std::string worker_device = "cpu";     // of every worker: cpu, cuda or cuda:<n>
  int worker_restarts_max = 16;    // of one run
  std::string module_program;      // rochdale-module-evaluator; empty: beside this program

  // How often the engine looks while it waits for agents; it is woken by its own runs.
  absl::Duration poll_every = absl::Milliseconds(100);
  absl::Duration backoff_min = absl::Milliseconds(100);  // after a failing dependency
  absl::Duration backoff_max = absl::Seconds(10);
  absl::Duration call_timeout = absl::Seconds(60);       // of calls to the filter
  int rounds_max = 1'000;                                // worked on at once

  // For tests: told each step's name just before and after it; returning an error stops the engine
  // there as a crash would (it goes on only in another module). Null: nothing.
  std::function<absl::Status(absl::string_view step)> fault;
};

// Reads the secret from `path`, or makes one (mode 0600, 32 random bytes in hexadecimal) where
// there is no such file. INVALID_ARGUMENT where it is shorter than 32 characters.
absl::StatusOr<config::Secret> LoadOrCreateServerSecret(const std::string& path);

}  // namespace rochdale::attribution
