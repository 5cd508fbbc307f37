// A real server on a free port with the probe service, and what a test needs to call it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/ids.h"
#include "libs/crypto/jwt.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/server.h"
#include "probe.grpc.pb.h"

namespace rochdale::rpc::testing {

namespace v1 = rpctest::v1;

// A registry of keys in memory that counts how often it is asked.
class MapDirectory final : public KeyDirectory {
 public:
  absl::StatusOr<std::optional<RegisteredKey>> Lookup(const crypto::PublicKey& key) override {
    std::lock_guard lock(mutex_);
    ++lookups_;
    if (!failure_.ok()) return failure_;
    const auto at = keys_.find(key);
    if (at == keys_.end()) return std::nullopt;
    return at->second;
  }
  void Put(const crypto::PublicKey& key, RegisteredKey registered) {
    std::lock_guard lock(mutex_);
    keys_[key] = std::move(registered);
  }
  void Remove(const crypto::PublicKey& key) {
    std::lock_guard lock(mutex_);
    keys_.erase(key);
  }
  void Fail(absl::Status status) {
    std::lock_guard lock(mutex_);
    failure_ = std::move(status);
  }
  int lookups() const {
    std::lock_guard lock(mutex_);
    return lookups_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<crypto::PublicKey, RegisteredKey> keys_;
  absl::Status failure_;
  int lookups_ = 0;
};

// Takes "good" for one run.
class OneRun final : public RunTokenVerifier {
 public:
  RunId run{Uuid::Parse("01890000-0000-7000-8000-00000000cafe").value()};
  absl::StatusOr<std::optional<WorkerToken>> Verify(absl::string_view token,
                                                    absl::Time now) override {
    if (token == "broken") return absl::InternalError("no database");
    if (token != "good") return std::nullopt;
    return WorkerToken{run, "w1"};
  }
};

// Runs `body` for every rpc; each test sets it.
class Probe final : public v1::ProbeService::Service {
 public:
  using Body = std::function<absl::Status(const Call&, const v1::ProbeRequest&,
                                          v1::ProbeResponse&)>;
  explicit Probe(Calls& calls) : calls_(calls) {}

  Body body = [](const Call& call, const v1::ProbeRequest& request, v1::ProbeResponse& response) {
    response.set_text(call.identity.ToString());
    response.set_number(request.number());
    return absl::OkStatus();
  };

#define PROBE_RPC(name)                                                                       \
  grpc::Status name(grpc::ServerContext* context, const v1::ProbeRequest* request,            \
                    v1::ProbeResponse* response) override {                                   \
    return Handle(context, calls_,                                                            \
                  [&](const Call& call) { return body(call, *request, *response); });         \
  }
  PROBE_RPC(Open)
  PROBE_RPC(ForAgents)
  PROBE_RPC(ForMembers)
  PROBE_RPC(ForFounders)
  PROBE_RPC(ForWorkers)
  PROBE_RPC(ForFilter)
  PROBE_RPC(ForNobody)
#undef PROBE_RPC

  // One response per run of the body until it fails or the call ends.
  grpc::Status Watch(grpc::ServerContext* context, const v1::ProbeRequest* request,
                     grpc::ServerWriter<v1::ProbeResponse>* writer) override {
    return HandleStream(context, calls_, writer,
                        [&](const Call& call, grpc::ServerWriter<v1::ProbeResponse>& out) {
                          v1::ProbeResponse response;
                          while (!call.Ended()) {
                            absl::Status status = body(call, *request, response);
                            if (!status.ok()) return status;
                            if (!out.Write(response)) break;
                            if (response.number() == 0) return absl::OkStatus();
                            absl::SleepFor(absl::Milliseconds(5));
                          }
                          return Error("CANCELLED", "ended");
                        });
  }

  grpc::Status Upload(grpc::ServerContext* context, grpc::ServerReader<v1::ProbeRequest>* reader,
                      v1::ProbeResponse* response) override {
    return HandleStream(context, calls_, reader,
                        [&](const Call& call, grpc::ServerReader<v1::ProbeRequest>& in) {
                          v1::ProbeRequest request;
                          while (in.Read(&request)) {
                            absl::Status status = body(call, request, *response);
                            if (!status.ok()) return status;
                          }
                          return absl::OkStatus();
                        });
  }

 private:
  Calls& calls_;
};

struct ProbeServer {
  explicit ProbeServer(CallLimits limits = {}, ServerOptions options = Plaintext(),
                       AuthenticatorOptions identity = {})
      : authenticator(keys, &runs, identity),
        calls(clock, ids, authenticator, logger, metrics, limits),
        probe(calls) {
    auto started = Server::Start(options, {&probe}, calls);
    if (!started.ok()) {
      std::fprintf(stderr, "%s\n", started.status().ToString().c_str());
      std::abort();
    }
    server = *std::move(started);
    server->SetServing(true);
    // Under TLS the test makes its own channels.
    channel = options.plaintext ? MakeChannel(address(), {.plaintext = true}).value()
                                : server->InProcessChannel();
    stub = v1::ProbeService::NewStub(channel);
  }

  static ServerOptions Plaintext() {
    ServerOptions options;
    options.plaintext = true;
    return options;
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(server->port()); }

  // A registered agent's or principal's key.
  crypto::KeyPair NewKey() {
    return crypto::KeyPair::Generate(crypto::SystemRandomBytes());
  }
  TokenSource Agent(const crypto::KeyPair& key) {
    RegisteredKey registered{IdentityKind::kAgent, PrincipalId{ids.New(clock.Now())},
                             AgentId{ids.New(clock.Now())}, ""};
    keys.Put(key.public_key(), registered);
    return TokenSource(crypto::TokenSubject::Of(registered.agent), key, clock, ids);
  }
  TokenSource Principal(const crypto::KeyPair& key) {
    RegisteredKey registered{IdentityKind::kPrincipal, PrincipalId{ids.New(clock.Now())}, {}, ""};
    keys.Put(key.public_key(), registered);
    return TokenSource(crypto::TokenSubject::Of(registered.principal), key, clock, ids);
  }

  // The last log line that says "call".
  std::string LastLine() {
    std::lock_guard lock(log_mutex);
    return lines.empty() ? "" : lines.back();
  }

  ManualClock clock{absl::FromUnixSeconds(1'900'000'000)};
  SeededIdSource ids{7};
  std::mutex log_mutex;
  std::vector<std::string> lines;
  obs::Logger logger{"probe", obs::LogLevel::kInfo, clock, [this](const std::string& line) {
                       std::lock_guard lock(log_mutex);
                       lines.push_back(line);
                     }};
  obs::Metrics metrics;
  MapDirectory keys;
  OneRun runs;
  Authenticator authenticator;
  Calls calls;
  Probe probe;
  std::unique_ptr<Server> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::ProbeService::Stub> stub;
};

// Calls Open (or another) with this authorization value; empty: none.
inline grpc::Status CallWith(
    ProbeServer& s, const std::string& authorization,
    grpc::Status (v1::ProbeService::Stub::*method)(grpc::ClientContext*, const v1::ProbeRequest&,
                                                   v1::ProbeResponse*),
    v1::ProbeResponse* response = nullptr, v1::ProbeRequest request = {}) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  v1::ProbeResponse ignored;
  return (s.stub.get()->*method)(&context, request, response == nullptr ? &ignored : response);
}

}  // namespace rochdale::rpc::testing
