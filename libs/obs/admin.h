// The admin HTTP port of a process: GET /metrics, /healthz and /readyz, and nothing else.
//
// /healthz answers 200 as long as the process can answer at all; /readyz answers 200 when the
// injected check says so and 503 with its message while it does not. For the operator's network
// only: there is no authentication, and no answer says anything of a member.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/obs/metrics.h"

namespace rochdale::obs {

struct AdminOptions {
  std::string address = "127.0.0.1";  // "0.0.0.0" or "::" for every interface
  int port = 0;                       // 0: any free port
};

class AdminServer {
 public:
  // Called by requests, from any thread. OK: ready. The message of another status is shown.
  using Readiness = std::function<absl::Status()>;

  // UNAVAILABLE where the port is taken. `metrics` must outlive the server.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const AdminOptions& options,
                                                            const Metrics& metrics,
                                                            Readiness ready);
  // Stops listening and waits for running requests.
  ~AdminServer();

  int port() const { return port_; }  // the bound port

 private:
  struct State;
  AdminServer();
  std::unique_ptr<State> state_;
  int port_ = 0;
};

}  // namespace rochdale::obs
