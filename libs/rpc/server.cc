#include "libs/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/impl/server_initializer.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "grpc/health/v1/health.pb.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/loopback.h"
#include "libs/rpc/method_tag.h"
#include "libs/rpc/tls.h"

namespace rochdale::rpc {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(10);
constexpr absl::Duration kFarewell = absl::Seconds(1);

// Names of the registered services, which only a plugin is told.
class NamesPlugin final : public grpc::ServerBuilderPlugin {
 public:
  explicit NamesPlugin(std::shared_ptr<std::vector<std::string>> names) : names_(names) {}
  std::string name() override { return "rochdale.service_names"; }
  void InitServer(grpc::ServerInitializer*) override {}
  void Finish(grpc::ServerInitializer* initializer) override {
    *names_ = *initializer->GetServiceList();
  }
  void ChangeArguments(const std::string&, void*) override {}

 private:
  const std::shared_ptr<std::vector<std::string>> names_;
};

class NamesOption final : public grpc::ServerBuilderOption {
 public:
  explicit NamesOption(std::shared_ptr<std::vector<std::string>> names) : names_(names) {}
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->push_back(std::make_unique<NamesPlugin>(names_));
  }

 private:
  const std::shared_ptr<std::vector<std::string>> names_;
};

// Switches that hold for the whole process.
void SetUpProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Debian builds Abseil with its search for deadlocks on, which costs every lock of gRPC a look
    // into one graph that all threads share.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // Keeps the health protos in the program, so that reflection can describe them.
    grpc::health::v1::HealthCheckRequest::descriptor();
  });
}

std::string HostPort(const std::string& address, int port) {
  if (absl::StartsWith(address, "unix:")) return address;
  return absl::StrContains(address, ':') ? absl::StrCat("[", address, "]:", port)
                                         : absl::StrCat(address, ":", port);
}

int Millis(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

void SetLimits(const ServerOptions& options, const CallLimits& limits,
               grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(options.message_bytes_max);
  builder.SetMaxSendMessageSize(options.message_bytes_max);
  grpc::ResourceQuota quota("rochdale");
  quota.Resize(options.memory_bytes_max);
  // Above our own bounds, so that it is Handle that refuses, with its details.
  quota.SetMaxThreads(2 * (limits.unary_max + limits.streams_max) + 32);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a taken port is an error
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Millis(options.keepalive));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Millis(options.connection_age_max));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                             Millis(options.connection_age_grace));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> CredentialsOf(
    const ServerOptions& options) {
  if (!options.plaintext) return ServerTls(options.tls);
  if (!IsLoopback(options.address)) {
    return absl::InvalidArgumentError(
        absl::StrCat("plain text is for loopback only, not for ", options.address));
  }
  return grpc::InsecureServerCredentials();
}

}  // namespace

struct Server::State {
  Calls* calls = nullptr;
  std::shared_ptr<std::vector<std::string>> names = std::make_shared<std::vector<std::string>>();
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<grpc::Server> health;
  std::mutex mutex;
  bool stopped = false;

  void SetServing(bool serving) {
    for (grpc::Server* one : {server.get(), health.get()}) {
      if (one == nullptr || one->GetHealthCheckService() == nullptr) continue;
      one->GetHealthCheckService()->SetServingStatus("", serving);
      for (const std::string& name : *names) {
        one->GetHealthCheckService()->SetServingStatus(name, serving);
      }
    }
  }
};

Server::Server() : state_(std::make_unique<State>()) {}

Server::~Server() { Stop(absl::Seconds(5)); }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      const std::vector<grpc::Service*>& services,
                                                      Calls& calls) {
  SetUpProcess();
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                   CredentialsOf(options));
  std::unique_ptr<Server> server(new Server());
  server->state_->calls = &calls;

  grpc::ServerBuilder builder;
  SetLimits(options, calls.limits(), builder);
  AddMethodTag(builder);
  builder.SetOption(std::make_unique<NamesOption>(server->state_->names));
  for (grpc::Service* service : services) builder.RegisterService(service);
  const std::string listen = HostPort(options.address, options.port);
  builder.AddListeningPort(listen, credentials, &server->port_);
  server->state_->server = builder.BuildAndStart();
  if (server->state_->server == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot serve on ", listen));
  }

  if (options.health_port >= 0) {
    grpc::ServerBuilder health;
    health.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    health.AddListeningPort(HostPort(options.health_address, options.health_port),
                            grpc::InsecureServerCredentials(), &server->health_port_);
    server->state_->health = health.BuildAndStart();
    if (server->state_->health == nullptr) {
      return absl::UnavailableError(absl::StrCat("cannot serve health on port ",
                                                 options.health_port));
    }
  }
  server->SetServing(false);
  return server;
}

void Server::SetServing(bool serving) {
  std::lock_guard lock(state_->mutex);
  if (!state_->stopped) state_->SetServing(serving);
}

std::shared_ptr<grpc::Channel> Server::InProcessChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetMaxReceiveMessageSize(-1);  // the server's bounds hold
  return state_->server->InProcessChannel(arguments);
}

void Server::Stop(absl::Duration grace) {
  {
    std::lock_guard lock(state_->mutex);
    if (state_->stopped) return;
    state_->SetServing(false);
    state_->stopped = true;
  }
  if (state_->server == nullptr) return;
  state_->calls->Drain();
  const absl::Time deadline = absl::Now() + grace;
  while (state_->calls->running() > 0 && absl::Now() < deadline) absl::SleepFor(kLookAgain);
  // Lets answers leave; cancels calls that are left, and then still waits for their handlers, which
  // see Call::Ended(). Not longer: gRPC waits for connections, too, and a client that sits idle
  // reads our goodbye seconds later.
  state_->server->Shutdown(absl::ToChronoTime(std::min(deadline, absl::Now() + kFarewell)));
  if (state_->health != nullptr) {
    state_->health->Shutdown(absl::ToChronoTime(absl::Now()));
  }
}

}  // namespace rochdale::rpc
