#include "libs/http/server.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace rochdale::http {
namespace {

struct Incoming {
  std::string body;
};

// The body of an answer while it is sent.
struct Outgoing {
  std::string body;
  std::atomic<size_t>* unsent;
};

void Sent(void* closure) {
  auto* outgoing = static_cast<Outgoing*>(closure);
  *outgoing->unsent -= outgoing->body.size();
  delete outgoing;
}

size_t KeepEscapes(void*, MHD_Connection*, char* text) { return std::strlen(text); }

void Forget(void*, MHD_Connection*, void** closure, MHD_RequestTerminationCode) {
  delete static_cast<Incoming*>(*closure);
  *closure = nullptr;
}

}  // namespace

struct Server::State {
  ServerOptions options;
  Handler handler;
  std::atomic<size_t> unsent{0};
  MHD_Daemon* http = nullptr;

  static MHD_Result Handle(void* self, MHD_Connection* connection, const char* path,
                           const char* method, const char*, const char* data, size_t* data_size,
                           void** closure) {
    return static_cast<State*>(self)->Take(connection, path, method, data, data_size, closure);
  }

  MHD_Result Answer(MHD_Connection* connection, Response answer) {
    if (unsent + answer.body.size() > options.unsent_bytes_max) {
      answer = {503, "too much is being sent; try again\n"};
    }
    auto* outgoing = new Outgoing{std::move(answer.body), &unsent};
    unsent += outgoing->body.size();
    MHD_Response* response = MHD_create_response_from_buffer_with_free_callback_cls(
        outgoing->body.size(), outgoing->body.data(), &Sent, outgoing);
    if (response == nullptr) {
      Sent(outgoing);
      return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", answer.type.c_str());
    MHD_add_response_header(response, "Cache-Control", answer.cache.c_str());
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (options.any_origin) {
      MHD_add_response_header(response, "Access-Control-Allow-Origin", "*");
    }
    if (answer.code == 405) {
      MHD_add_response_header(response, "Allow",
                              options.body_bytes_max > 0 ? "GET, HEAD, POST" : "GET, HEAD");
    }
    const MHD_Result queued =
        MHD_queue_response(connection, static_cast<unsigned>(answer.code), response);
    MHD_destroy_response(response);
    return queued;
  }

  // What can be refused before the body is read. Nothing: read on.
  const char* Refusal(MHD_Connection* connection, bool post, int& code) const {
    const char* length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    uint64_t bytes = 0;
    if (length == nullptr || (absl::SimpleAtoi(length, &bytes) &&
                              bytes <= (post ? options.body_bytes_max : 0))) {
      return nullptr;
    }
    code = 413;
    return "the request has too long a body\n";
  }

  // Called once with the headers, then with each part of the body, then once more.
  MHD_Result Take(MHD_Connection* connection, const char* path, absl::string_view method,
                  const char* data, size_t* data_size, void** closure) {
    const bool post = method == "POST" && options.body_bytes_max > 0;
    if (*closure == nullptr) {
      if (!post && method != "GET" && method != "HEAD") {
        return Answer(connection, {405, "this method is not served\n"});
      }
      int code = 0;
      if (const char* why = Refusal(connection, post, code)) return Answer(connection, {code, why});
      *closure = new Incoming;
      return MHD_YES;
    }
    auto* incoming = static_cast<Incoming*>(*closure);
    if (*data_size > 0) {
      // Only a body of undeclared length can get here with too much.
      if (incoming->body.size() + *data_size > (post ? options.body_bytes_max : 0)) return MHD_NO;
      incoming->body.append(data, *data_size);
      *data_size = 0;
      return MHD_YES;
    }
    return Answer(connection,
                  handler({post ? Method::kPost : Method::kGet, path, incoming->body}));
  }
};

Server::Server() : state_(std::make_unique<State>()) {}

Server::~Server() {
  if (state_->http != nullptr) MHD_stop_daemon(state_->http);
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      Handler handler) {
  std::unique_ptr<Server> server(new Server());
  State& state = *server->state_;
  state.options = options;
  state.handler = std::move(handler);
  sockaddr_in v4 = {};
  sockaddr_in6 v6 = {};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(static_cast<uint16_t>(options.endpoint.port));
  const std::string& ip = options.endpoint.address;
  const bool is_v6 = absl::StrContains(ip, ':');
  if (inet_pton(is_v6 ? AF_INET6 : AF_INET, ip.c_str(),
                is_v6 ? static_cast<void*>(&v6.sin6_addr) : &v4.sin_addr) != 1) {
    return absl::UnavailableError(absl::StrCat(ip, " is not an IP address to serve HTTP on"));
  }
  const sockaddr* address = is_v6 ? reinterpret_cast<const sockaddr*>(&v6)
                                  : reinterpret_cast<const sockaddr*>(&v4);
  unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD;
  if (is_v6) flags |= MHD_USE_IPv6;
  state.http = MHD_start_daemon(
      flags, 0, nullptr, nullptr, &State::Handle, &state, MHD_OPTION_SOCK_ADDR, address,
      MHD_OPTION_CONNECTION_TIMEOUT, static_cast<unsigned>(options.silent_seconds_max),
      MHD_OPTION_CONNECTION_LIMIT, static_cast<unsigned>(options.connections_max),
      MHD_OPTION_PER_IP_CONNECTION_LIMIT, static_cast<unsigned>(options.connections_of_peer_max),
      MHD_OPTION_THREAD_POOL_SIZE, static_cast<unsigned>(options.threads),
      MHD_OPTION_UNESCAPE_CALLBACK, &KeepEscapes, nullptr, MHD_OPTION_NOTIFY_COMPLETED, &Forget,
      nullptr, MHD_OPTION_END);
  if (state.http == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot serve HTTP on ",
                                               options.endpoint.ToString(), ": ",
                                               std::strerror(errno)));
  }
  const MHD_DaemonInfo* bound = MHD_get_daemon_info(state.http, MHD_DAEMON_INFO_BIND_PORT);
  if (bound == nullptr || bound->port == 0) {
    return absl::UnavailableError(absl::StrCat("no bound HTTP port on ", ip));
  }
  server->port_ = bound->port;
  return server;
}

}  // namespace rochdale::http
