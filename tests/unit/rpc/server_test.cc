#include "libs/rpc/server.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "libs/base/errors.h"
#include "libs/rpc/status.h"
#include "tests/unit/rpc/probe_server.h"

namespace rochdale::rpc {
namespace {

using namespace testing;  // NOLINT
using Stub = v1::ProbeService::Stub;
using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

std::string HealthOf(int port, const std::string& service) {
  auto stub = Health::NewStub(
      MakeChannel(absl::StrCat("127.0.0.1:", port), {.plaintext = true}).value());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) return absl::StrCat("code ", status.error_code());
  return HealthCheckResponse::ServingStatus_Name(response.status());
}

ServerOptions WithHealth() {
  ServerOptions options = ProbeServer::Plaintext();
  options.health_port = 0;
  return options;
}

TEST_CASE("health follows SetServing, on both ports and for each service", "[rpc]") {
  ProbeServer s({}, WithHealth());
  REQUIRE(s.server->port() > 0);
  REQUIRE(s.server->health_port() > 0);
  REQUIRE(s.server->health_port() != s.server->port());
  for (const int port : {s.server->port(), s.server->health_port()}) {
    CHECK(HealthOf(port, "") == "SERVING");
    CHECK(HealthOf(port, "rochdale.rpctest.v1.ProbeService") == "SERVING");
    CHECK(HealthOf(port, "no.such.Service") == "code 5");
  }
  s.server->SetServing(false);
  for (const int port : {s.server->port(), s.server->health_port()}) {
    CHECK(HealthOf(port, "") == "NOT_SERVING");
    CHECK(HealthOf(port, "rochdale.rpctest.v1.ProbeService") == "NOT_SERVING");
  }
}

TEST_CASE("the health port serves nothing but health", "[rpc]") {
  ProbeServer s({}, WithHealth());
  auto stub = v1::ProbeService::NewStub(
      MakeChannel(absl::StrCat("127.0.0.1:", s.server->health_port()),
                  {.plaintext = true}).value());
  grpc::ClientContext context;
  v1::ProbeResponse response;
  CHECK(stub->Open(&context, {}, &response).error_code() == grpc::StatusCode::UNIMPLEMENTED);
}

TEST_CASE("stop lets running calls end and refuses new ones", "[rpc]") {
  ProbeServer s;
  std::atomic<bool> inside{false}, release{false};
  s.probe.body = [&](const Call&, const v1::ProbeRequest&, v1::ProbeResponse& response) {
    inside = true;
    while (!release) absl::SleepFor(absl::Milliseconds(2));
    response.set_text("done");
    return absl::OkStatus();
  };
  grpc::Status running;
  v1::ProbeResponse response;
  std::thread caller([&] { running = CallWith(s, "", &Stub::Open, &response); });
  while (!inside) absl::SleepFor(absl::Milliseconds(1));
  std::atomic<bool> stopped{false};
  std::thread stopper([&] {
    s.server->Stop(absl::Seconds(10));
    stopped = true;
  });
  while (!s.calls.draining()) absl::SleepFor(absl::Milliseconds(1));
  CHECK(FromGrpc(CallWith(s, "", &Stub::Open)).code() == absl::StatusCode::kUnavailable);
  absl::SleepFor(absl::Milliseconds(50));
  CHECK_FALSE(stopped);
  release = true;
  caller.join();
  stopper.join();
  CHECK(running.ok());
  CHECK(response.text() == "done");
  s.server->Stop(absl::Seconds(1));  // again: nothing
}

TEST_CASE("stop ends streams and is bounded by its grace", "[rpc]") {
  ProbeServer s;
  s.probe.body = [](const Call&, const v1::ProbeRequest&, v1::ProbeResponse& response) {
    response.set_number(1);  // never ends by itself
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  auto reader = s.stub->Watch(&context, {});
  v1::ProbeResponse response;
  REQUIRE(reader->Read(&response));
  std::thread drain([&] {
    while (reader->Read(&response)) {
    }
  });
  const absl::Time start = absl::Now();
  s.server->Stop(absl::Seconds(5));
  CHECK(absl::Now() - start < absl::Seconds(4));
  drain.join();
  CHECK_FALSE(reader->Finish().ok());
}

TEST_CASE("a handler that does not end is cancelled after the grace", "[rpc]") {
  ProbeServer s;
  std::atomic<bool> inside{false};
  s.probe.body = [&](const Call& call, const v1::ProbeRequest&, v1::ProbeResponse&) {
    inside = true;
    while (!call.context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return Error("CANCELLED", "cancelled");
  };
  std::thread caller([&] { CallWith(s, "", &Stub::Open); });
  while (!inside) absl::SleepFor(absl::Milliseconds(1));
  const absl::Time start = absl::Now();
  s.server->Stop(absl::Milliseconds(200));
  CHECK(absl::Now() - start < absl::Seconds(3));
  caller.join();
}

TEST_CASE("what cannot be served is an error", "[rpc]") {
  ProbeServer s;
  Calls calls(s.clock, s.ids, s.authenticator, s.logger, s.metrics);
  Probe probe(calls);
  ServerOptions taken = ProbeServer::Plaintext();
  taken.port = s.server->port();
  CHECK(Server::Start(taken, {&probe}, calls).status().code() == absl::StatusCode::kUnavailable);
  ServerOptions open = ProbeServer::Plaintext();
  open.address = "0.0.0.0";
  CHECK(Server::Start(open, {&probe}, calls).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Server::Start(ServerOptions(), {&probe}, calls).status().code() ==
        absl::StatusCode::kInvalidArgument);  // neither plain text nor TLS files
  ServerOptions missing;
  missing.tls = {"/nonexistent/tls.crt", "/nonexistent/tls.key", "", false};
  CHECK(Server::Start(missing, {&probe}, calls).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("messages beyond the bound are refused", "[rpc]") {
  ProbeServer s;
  v1::ProbeRequest request;
  request.set_text(std::string(4 << 20, 'x'));
  CHECK(CallWith(s, "", &Stub::Open, nullptr, request).ok());
  request.set_text(std::string((4 << 20) + (64 << 10), 'x'));
  CHECK(CallWith(s, "", &Stub::Open, nullptr, request).error_code() ==
        grpc::StatusCode::RESOURCE_EXHAUSTED);
}

// In a child process, since signals and exit codes belong to one.
int InChild(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("a signal is waited for", "[rpc]") {
  CHECK(InChild([] {
          StopSignals signals;
          if (signals.Wait(absl::Milliseconds(20))) _exit(1);
          kill(getpid(), SIGTERM);
          if (!signals.Wait(absl::Seconds(5))) _exit(2);
          kill(getpid(), SIGINT);
          if (!signals.Wait()) _exit(3);
        }) == 0);
}

TEST_CASE("a stop that hangs ends the process", "[rpc]") {
  CHECK(InChild([] { StopWithin(absl::Seconds(5), [] {}); }) == 0);
  CHECK(InChild([] {
          freopen("/dev/null", "w", stderr);
          StopWithin(absl::Milliseconds(50), [] { absl::SleepFor(absl::Seconds(30)); });
        }) == 70);
}

}  // namespace
}  // namespace rochdale::rpc
