#include "libs/obs/admin.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

// libmicrohttpd and not the CivetWeb that comes with prometheus-cpp, whose threads have a stack
// of 100 KiB, which the thread-local storage of a process that links torch fills up.

namespace rochdale::obs {
namespace {

constexpr unsigned kTimeoutSeconds = 10;
constexpr unsigned kConnectionsMax = 64;
constexpr char kText[] = "text/plain; charset=utf-8";

MHD_Result Answer(MHD_Connection* connection, unsigned code, const char* type,
                  const std::string& body) {
  MHD_Response* response = MHD_create_response_from_buffer(
      body.size(), const_cast<char*>(body.data()), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, "Content-Type", type);
  MHD_add_response_header(response, "Cache-Control", "no-store");
  const MHD_Result queued = MHD_queue_response(connection, code, response);
  MHD_destroy_response(response);
  return queued;
}

}  // namespace

struct AdminServer::State {
  const Metrics* metrics = nullptr;
  Readiness ready;
  MHD_Daemon* http = nullptr;

  static MHD_Result Handle(void* self, MHD_Connection* connection, const char* path,
                           const char* method, const char* version, const char* data,
                           size_t* data_size, void** request) {
    return static_cast<const State*>(self)->Respond(connection, path, method);
  }

  MHD_Result Respond(MHD_Connection* connection, absl::string_view path,
                     absl::string_view method) const {
    if (method != "GET" && method != "HEAD") {
      return Answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, kText, "only GET\n");
    }
    if (path == "/metrics") {
      return Answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                    metrics->Expose());
    }
    if (path == "/healthz") return Answer(connection, MHD_HTTP_OK, kText, "ok\n");
    if (path == "/readyz") {
      const absl::Status status = ready();
      if (status.ok()) return Answer(connection, MHD_HTTP_OK, kText, "ready\n");
      return Answer(connection, MHD_HTTP_SERVICE_UNAVAILABLE, kText,
                    absl::StrCat("not ready: ", status.message(), "\n"));
    }
    return Answer(connection, MHD_HTTP_NOT_FOUND, kText,
                  "nothing here; see /metrics, /healthz, /readyz\n");
  }
};

AdminServer::AdminServer() : state_(std::make_unique<State>()) {}

AdminServer::~AdminServer() {
  if (state_->http != nullptr) MHD_stop_daemon(state_->http);
}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const AdminOptions& options,
                                                                const Metrics& metrics,
                                                                Readiness ready) {
  std::unique_ptr<AdminServer> server(new AdminServer());
  server->state_->metrics = &metrics;
  server->state_->ready = std::move(ready);
  sockaddr_in v4 = {};
  sockaddr_in6 v6 = {};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(static_cast<uint16_t>(options.port));
  const bool is_v6 = absl::StrContains(options.address, ':');
  if (inet_pton(is_v6 ? AF_INET6 : AF_INET, options.address.c_str(),
                is_v6 ? static_cast<void*>(&v6.sin6_addr) : &v4.sin_addr) != 1) {
    return absl::UnavailableError(
        absl::StrCat("the admin address ", options.address, " is not an IP address"));
  }
  const sockaddr* address = is_v6 ? reinterpret_cast<const sockaddr*>(&v6)
                                  : reinterpret_cast<const sockaddr*>(&v4);
  unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD;
  if (is_v6) flags |= MHD_USE_IPv6;
  server->state_->http = MHD_start_daemon(
      flags, 0, nullptr, nullptr, &State::Handle, server->state_.get(), MHD_OPTION_SOCK_ADDR,
      address, MHD_OPTION_CONNECTION_TIMEOUT, kTimeoutSeconds, MHD_OPTION_CONNECTION_LIMIT,
      kConnectionsMax, MHD_OPTION_THREAD_POOL_SIZE, 2u, MHD_OPTION_END);
  if (server->state_->http == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot serve the admin port on ", options.address,
                                               ":", options.port, ": ", std::strerror(errno)));
  }
  const MHD_DaemonInfo* bound =
      MHD_get_daemon_info(server->state_->http, MHD_DAEMON_INFO_BIND_PORT);
  if (bound == nullptr || bound->port == 0) {
    return absl::UnavailableError(absl::StrCat("no bound admin port on ", options.address));
  }
  server->port_ = bound->port;
  return server;
}

}  // namespace rochdale::obs
