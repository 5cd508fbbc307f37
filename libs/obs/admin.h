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
#include "libs/http/server.h"
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

  int port() const { return server_->port(); }  // the bound port

 private:
  explicit AdminServer(std::unique_ptr<http::Server> server);
  const std::unique_ptr<http::Server> server_;  // its end stops listening, after running requests
};

}  // namespace rochdale::obs
