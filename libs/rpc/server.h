// The life of a gRPC server: start on a port, serve, not serving -> drain -> stop.
//
// Health (grpc.health.v1) and reflection are part of every server. With `health_port` health is
// also served alone, in plain text, for probes that speak no TLS.
#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/rpc/handle.h"

namespace grpc {
class Channel;
class Server;
class Service;
}  // namespace grpc

namespace rochdale::rpc {

// PEM files; read again when they change.
struct TlsFiles {
  std::string certificate;  // chain of the server
  std::string key;
  std::string client_ca;    // empty: clients show no certificate; else one that chains to it is
  bool require_client = false;  // required, or only verified where it is shown
  absl::Duration reload = absl::Seconds(60);  // how often the files are looked at; 1 s at least
};

struct ServerOptions {
  std::string address = "127.0.0.1";
  int port = 0;             // 0: any free port
  bool plaintext = false;   // without TLS: must be asked for, and binds to loopback only
  TlsFiles tls;             // where not plaintext
  int health_port = -1;     // plain-text health; -1: none, 0: any free port
  std::string health_address = "127.0.0.1";
  int message_bytes_max = (4 << 20) + (64 << 10);  // a 4 MiB chunk and its envelope
  size_t memory_bytes_max = 512u << 20;            // of gRPC's buffers
  absl::Duration keepalive = absl::Seconds(30);
  absl::Duration connection_age_max = absl::Minutes(30);
  absl::Duration connection_age_grace = absl::Minutes(5);
};

class Server {
 public:
  // Starts serving at once; health says NOT_SERVING until SetServing(true).
  // INVALID_ARGUMENT: plaintext beyond loopback, or TLS files missing; UNAVAILABLE: port taken.
  // Services and `calls` must outlive the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       const std::vector<grpc::Service*>& services,
                                                       Calls& calls);
  // Stop() with 5 s if it was not called.
  ~Server();

  int port() const { return port_; }                // the bound port
  int health_port() const { return health_port_; }  // -1: none

  // What health answers for the server ("") and for each service.
  void SetServing(bool serving);

  // Calls within the process, past the network, with the same checks of token and access.
  std::shared_ptr<grpc::Channel> InProcessChannel();

  // Not serving; refuses new calls; lets running ones end for `grace`, then cancels them; returns
  // when every handler has returned. A second call does nothing. Thread-safe.
  void Stop(absl::Duration grace);

 private:
  struct State;
  Server();
  std::unique_ptr<State> state_;
  int port_ = 0;
  int health_port_ = -1;
};

// SIGTERM and SIGINT of the process, as something to wait for. Construct it in main before any
// thread starts (threads inherit the mask), once.
class StopSignals {
 public:
  StopSignals();
  // Until a signal arrives, or `timeout` passes (false).
  bool Wait(absl::Duration timeout = absl::InfiniteDuration());

 private:
  sigset_t set_;
};

// Runs `stop` and ends the process with exit code 70 if it takes longer than `limit`: a stop that
// hangs is killed by the supervisor anyway, this one says so in the log first.
void StopWithin(absl::Duration limit, const std::function<void()>& stop);

}  // namespace rochdale::rpc
