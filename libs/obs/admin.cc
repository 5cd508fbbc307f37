#include "libs/obs/admin.h"

#include <civetweb.h>

#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace rochdale::obs {
namespace {

int Answer(mg_connection* connection, int code, const char* phrase, absl::string_view type,
           const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            code, phrase, std::string(type).c_str(), body.size());
  mg_write(connection, body.data(), body.size());
  return code;
}

// CivetWeb counts its users in the process.
void InitOnce() {
  static std::once_flag once;
  std::call_once(once, [] { mg_init_library(0); });
}

}  // namespace

struct AdminServer::State {
  const Metrics* metrics;
  Readiness ready;
  mg_context* http = nullptr;

  static int Handle(mg_connection* connection, void* self) {
    return static_cast<State*>(self)->Respond(connection);
  }

  int Respond(mg_connection* connection) const {
    constexpr absl::string_view kText = "text/plain; charset=utf-8";
    const mg_request_info* request = mg_get_request_info(connection);
    const absl::string_view method = request->request_method, path = request->local_uri;
    if (method != "GET" && method != "HEAD") {
      return Answer(connection, 405, "Method Not Allowed", kText, "only GET\n");
    }
    if (path == "/metrics") {
      return Answer(connection, 200, "OK", "text/plain; version=0.0.4; charset=utf-8",
                    metrics->Expose());
    }
    if (path == "/healthz") return Answer(connection, 200, "OK", kText, "ok\n");
    if (path == "/readyz") {
      const absl::Status status = ready();
      if (status.ok()) return Answer(connection, 200, "OK", kText, "ready\n");
      return Answer(connection, 503, "Service Unavailable", kText,
                    absl::StrCat("not ready: ", status.message(), "\n"));
    }
    return Answer(connection, 404, "Not Found", kText,
                  "nothing here; see /metrics, /healthz, /readyz\n");
  }
};

AdminServer::AdminServer() : state_(std::make_unique<State>()) {}

AdminServer::~AdminServer() {
  if (state_->http != nullptr) mg_stop(state_->http);
}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const AdminOptions& options,
                                                                const Metrics& metrics,
                                                                Readiness ready) {
  InitOnce();
  std::unique_ptr<AdminServer> server(new AdminServer());
  server->state_->metrics = &metrics;
  server->state_->ready = std::move(ready);
  const std::string host = absl::StrContains(options.address, ':')
                               ? absl::StrCat("[", options.address, "]")
                               : options.address;
  const std::string listen = absl::StrCat(host, ":", options.port);
  const char* settings[] = {"listening_ports",    listen.c_str(), "num_threads", "2",
                            "request_timeout_ms", "10000",        "max_request_size", "8192",
                            nullptr};
  const mg_callbacks callbacks = {};
  server->state_->http = mg_start(&callbacks, nullptr, settings);
  if (server->state_->http == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot serve the admin port on ", listen));
  }
  mg_set_request_handler(server->state_->http, "**", &State::Handle, server->state_.get());
  mg_server_port ports[1] = {};
  if (mg_get_server_ports(server->state_->http, 1, ports) < 1) {
    return absl::UnavailableError(absl::StrCat("no bound admin port on ", listen));
  }
  server->port_ = ports[0].port;
  return server;
}

}  // namespace rochdale::obs
