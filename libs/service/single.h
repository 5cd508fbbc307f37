// The main of a process that serves one service: flags, database, identity, peers, life.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "libs/config/flags.h"
#include "libs/rpc/auth.h"
#include "libs/service/module.h"
#include "libs/service/process.h"

namespace rochdale::service {

struct SingleService {
  std::string name;         // "ledger": schema, role and identity
  std::string description;  // for --help
  // Adds the service's own flags; may be empty. Its fields outlive RunSingle.
  std::function<void(config::Flags&)> add_flags;
  // Who holds a key. Governance reads its own tables; null: governance is asked.
  std::function<std::unique_ptr<rpc::KeyDirectory>(pg::Database&)> keys;
  struct Made {
    std::unique_ptr<Module> module;
    rpc::RunTokenVerifier* run_tokens = nullptr;  // of attribution; else null
  };
  // `port` answers the bound port, once it is.
  std::function<absl::StatusOr<Made>(const Environment&, std::function<int()> port)> make;
};

// Parses flags, runs until SIGTERM or SIGINT, and returns the exit code of the process: 0, 1 after
// a failure (said on standard error), 2 for bad flags. The schema must have been migrated before.
int RunSingle(int argc, const char* const* argv, const SingleService& service);

}  // namespace rochdale::service
