#include "libs/obs/admin.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

// libs/http and not the CivetWeb that comes with prometheus-cpp, whose threads have a stack of
// 100 KiB, which the thread-local storage of a process that links torch fills up.

namespace rochdale::obs {
namespace {

http::Response Answer(const http::Request& request, const Metrics& metrics,
                      const AdminServer::Readiness& ready) {
  if (request.path == "/metrics") {
    return {200, metrics.Expose(), "text/plain; version=0.0.4; charset=utf-8"};
  }
  if (request.path == "/healthz") return {200, "ok\n"};
  if (request.path == "/readyz") {
    const absl::Status status = ready();
    if (status.ok()) return {200, "ready\n"};
    return {503, absl::StrCat("not ready: ", status.message(), "\n")};
  }
  return {404, "nothing here; see /metrics, /healthz, /readyz\n"};
}

}  // namespace

AdminServer::AdminServer(std::unique_ptr<http::Server> server) : server_(std::move(server)) {}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const AdminOptions& options,
                                                                const Metrics& metrics,
                                                                Readiness ready) {
  http::ServerOptions server;
  server.endpoint = {options.address, options.port};
  ASSIGN_OR_RETURN(auto running,
                   http::Server::Start(server, [&metrics, ready = std::move(ready)](
                                                   const http::Request& request) {
                     return Answer(request, metrics, ready);
                   }));
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(running)));
}

}  // namespace rochdale::obs
