// A small HTTP server over libmicrohttpd: GET, HEAD and, where bodies are allowed, POST. Plain
// HTTP/1.1; TLS is the business of what stands before it.
//
// Everything is bounded: connections (in all and of one peer), the bytes of a request, the bytes of
// answers under way, the seconds that a connection may be silent, and the requests that are worked
// on at a time (one per thread).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/http/endpoint.h"

namespace rochdale::http {

inline constexpr char kTextType[] = "text/plain; charset=utf-8";
inline constexpr char kBytesType[] = "application/octet-stream";
// Values of Cache-Control.
inline constexpr char kNeverKeep[] = "no-store";
inline constexpr char kAskAgain[] = "no-cache";  // may be kept, is asked for again each time
inline constexpr char kForEver[] = "public, max-age=31536000, immutable";

enum class Method { kGet, kPost };  // HEAD is GET without the body, which the server leaves out

struct Request {
  Method method = Method::kGet;
  // As sent, escapes ("%2F") not resolved, without the query. Any bytes but NUL.
  absl::string_view path;
  absl::string_view body;
};

struct Response {
  int code = 200;
  std::string body;
  std::string type = kTextType;
  std::string cache = kNeverKeep;
};

// Called from several threads at once. What it does must be bounded in time.
using Handler = std::function<Response(const Request&)>;

struct ServerOptions {
  Endpoint endpoint;
  int threads = 2;                  // requests worked on at a time
  int connections_max = 64;
  int connections_of_peer_max = 0;  // of one IP address; 0: as many as there are
  int silent_seconds_max = 10;
  // 0: POST is answered 405. Longer bodies: 413.
  size_t body_bytes_max = 0;
  // Of answers that are not yet sent, all together; beyond it 503.
  size_t unsent_bytes_max = size_t{256} << 20;
  // Whether pages of any web site may read the answers (CORS).
  bool any_origin = false;
};

class Server {
 public:
  // UNAVAILABLE where the port is taken.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       Handler handler);
  // Stops listening and waits for running requests.
  ~Server();

  int port() const { return port_; }  // the bound port

 private:
  struct State;
  Server();
  std::unique_ptr<State> state_;
  int port_ = 0;
};

}  // namespace rochdale::http
