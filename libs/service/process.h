// The life of a process that serves one module or several: what it is made of, and the order in
// which that starts and stops. rochdale-standalone and every single service run through Serve.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/obs/admin.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "libs/pg/database.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/server.h"
#include "libs/service/module.h"

namespace rochdale::service {

// What a process has once.
struct Foundations {
  Foundations(absl::string_view name, obs::LogLevel level) : logger(name, level, clock) {}
  SystemClock clock;
  RandomIdSource ids;
  obs::Logger logger;
  obs::Metrics metrics;
};

// Channels to services by name: within the process, to addresses, or both. Thread-safe once set.
class ChannelBook {
 public:
  // For every name that has no address of its own.
  void SetDefault(std::shared_ptr<grpc::Channel> channel) { default_ = std::move(channel); }
  void Set(const std::string& service, std::shared_ptr<grpc::Channel> channel) {
    channels_[service] = std::move(channel);
  }
  // Null where there is none (yet).
  std::shared_ptr<grpc::Channel> Find(absl::string_view service) const;

  // How replicas of a service call each other; empty: not at all.
  using Connect = std::function<absl::StatusOr<std::shared_ptr<grpc::Channel>>(const std::string&)>;
  void SetConnect(Connect connect) { connect_ = std::move(connect); }
  const Connect& connect() const { return connect_; }

 private:
  Connect connect_;
  std::shared_ptr<grpc::Channel> default_;
  std::map<std::string, std::shared_ptr<grpc::Channel>, std::less<>> channels_;
};

// Run tokens are checked by the attribution module, which is made after the calls it serves.
class DeferredRunTokens final : public rpc::RunTokenVerifier {
 public:
  void Set(rpc::RunTokenVerifier* verifier) { verifier_ = verifier; }
  absl::StatusOr<std::optional<rpc::WorkerToken>> Verify(absl::string_view token,
                                                         absl::Time now) override {
    if (verifier_ == nullptr) return std::nullopt;
    return verifier_->Verify(token, now);
  }

 private:
  rpc::RunTokenVerifier* verifier_ = nullptr;
};

// What one service has of its own: its identity, its schema and role, its directory.
class Member {
 public:
  // Makes `data_dir` (mode 0700) and, where it is missing, the key file `data_dir`/service.key.
  // `with_tokens`: its calls carry tokens; else its certificate alone says who it is.
  static absl::StatusOr<std::unique_ptr<Member>> Make(Foundations& foundations,
                                                      const std::string& service,
                                                      pg::DatabaseOptions database,
                                                      const std::string& data_dir,
                                                      bool with_tokens = true);

  const std::string& service() const { return service_; }
  const crypto::PublicKey& public_key() const { return public_key_; }
  pg::Database& db() { return db_; }
  const rpc::Outgoing& outgoing() const { return outgoing_; }
  const std::string& data_dir() const { return data_dir_; }

  // The module's environment; `calls` and `channels` outlive it.
  Environment MakeEnvironment(Foundations& foundations, rpc::Calls& calls,
                              const ChannelBook& channels);

 private:
  Member(Foundations& foundations, std::string service, pg::DatabaseOptions database,
         std::string data_dir, crypto::KeyPair key, bool with_tokens);

  const std::string service_;
  const std::string data_dir_;
  const crypto::PublicKey public_key_;
  pg::Database db_;
  rpc::TokenSource tokens_;
  rpc::Outgoing outgoing_;
};

struct ServeOptions {
  rpc::ServerOptions server;
  obs::AdminOptions admin;
  absl::Duration grace = absl::Seconds(15);  // for running calls; below the termination period
  // Called once the server is bound, before any module starts. May be empty.
  std::function<void(int port)> on_bound;
  // Called once everything has started, with the bound ports. May be empty.
  std::function<absl::Status(int port, int admin_port)> on_serving;
  // Asked every second while it serves: what cannot be done without, and cannot be had back by
  // this process. An error ends the process with it, within seconds. May be empty.
  std::function<absl::Status()> alive;
};

// Starts the server with the modules' services, sets the default channel to it where
// `in_process`, starts the modules in order, says that it serves, waits for SIGTERM or SIGINT (or
// for an error of `alive`), and stops everything in the opposite order. `signals` was made before
// any thread started.
absl::Status Serve(Foundations& foundations, const ServeOptions& options, rpc::Calls& calls,
                   ChannelBook& channels, bool in_process, const std::vector<Module*>& modules,
                   rpc::StopSignals& signals);

// The private key in `path`, made there (0600) if the file is missing.
absl::StatusOr<crypto::KeyPair> LoadOrMakeKey(const std::string& path);

}  // namespace rochdale::service
