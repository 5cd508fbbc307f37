// A service as a part that can be composed: alone behind its own main, or all five in one process.
// The same code, the same SQL; only composition differs.
//
// Life of a module: constructed (no I/O) -> its gRPC services are registered with a server ->
// Start() once that server accepts calls -> Stop() before the server and the database go.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace rochdale {
class Clock;
class IdSource;
namespace obs {
class Logger;
class Metrics;
}  // namespace obs
namespace pg {
class Database;
}
namespace rpc {
class Calls;
class KeyDirectory;
class Outgoing;
class RunTokenVerifier;
}  // namespace rpc
}  // namespace rochdale

namespace rochdale::service {

// What a module is given. Everything outlives the module.
struct Environment {
  const Clock& clock;
  IdSource& ids;
  const obs::Logger& logger;
  obs::Metrics& metrics;
  pg::Database& db;               // this service's role and schema
  rpc::Calls& calls;              // of the server that the services are registered with
  const rpc::Outgoing& outgoing;  // carries this service's own identity
  // The channel to another service ("ledger"). Usable from Start() on, never before.
  std::function<std::shared_ptr<grpc::Channel>(absl::string_view service)> channel;
  std::string data_dir;           // a directory of this service's own, for blobs; exists
  // A new channel to another replica of this service, "host:port". Empty: it has none.
  std::function<absl::StatusOr<std::shared_ptr<grpc::Channel>>(const std::string&)> connect = {};
};

class Module {
 public:
  virtual ~Module() = default;

  // What to register; owned by the module.
  virtual std::vector<grpc::Service*> grpc_services() = 0;

  // Starts relays, engines and watchers. Called once, after the server accepts calls. A dependency
  // that is not there yet is not an error: the module waits for it, bounded, in its own threads.
  virtual absl::Status Start() = 0;

  // Ends every thread of the module; idempotent. Calls may still arrive while it runs.
  virtual void Stop() = 0;

  // Why the module cannot serve now, for readiness; OK when it can.
  virtual absl::Status Ready() { return absl::OkStatus(); }
};

}  // namespace rochdale::service
