#include "libs/rpc/channel.h"

#include <atomic>
#include <catch2/catch.hpp>

#include "absl/strings/match.h"
#include "libs/base/errors.h"
#include "libs/rpc/loopback.h"
#include "tests/unit/rpc/probe_server.h"

namespace rochdale::rpc {
namespace {

using namespace testing;  // NOLINT
using Stub = v1::ProbeService::Stub;

struct Fixture : ProbeServer {
  Outgoing anonymous{ids, nullptr};
  std::atomic<int> attempts{0};
  v1::ProbeResponse response;

  // Fails `times` times with `status`, then succeeds.
  void FailFirst(int times, absl::Status status) {
    probe.body = [this, times, status](const Call&, const v1::ProbeRequest&, v1::ProbeResponse&) {
      return ++attempts <= times ? status : absl::OkStatus();
    };
  }
  absl::Status Invoke(const CallOptions& options = {}) {
    return anonymous.Invoke(*stub, &Stub::Open, v1::ProbeRequest(), &response, options);
  }
};

TEST_CASE("a call carries the caller's own token and trace", "[rpc]") {
  Fixture f;
  const crypto::KeyPair key = f.NewKey();
  TokenSource tokens = f.Agent(key);
  const Outgoing outgoing(f.ids, &tokens);
  std::string trace, caller;
  f.probe.body = [&](const Call& call, const v1::ProbeRequest&, v1::ProbeResponse&) {
    trace = call.trace_id;
    caller = call.identity.ToString();
    return absl::OkStatus();
  };
  CallOptions options;
  options.trace_id = "0af7651916cd43dd8448eb211c80319c";
  REQUIRE(outgoing.Invoke(*f.stub, &Stub::ForAgents, v1::ProbeRequest(), &f.response,
                          options).ok());
  CHECK(trace == options.trace_id);
  CHECK(absl::StartsWith(caller, "agent:"));
  REQUIRE(outgoing.Invoke(*f.stub, &Stub::ForAgents, v1::ProbeRequest(), &f.response).ok());
  CHECK(trace.size() == 32);
  CHECK(trace != options.trace_id);
}

TEST_CASE("a token is used again until half of its life is over", "[rpc]") {
  Fixture f;
  const crypto::KeyPair key = f.NewKey();
  TokenSource tokens = f.Agent(key);
  const std::string first = tokens.Authorization();
  f.clock.Advance(absl::Minutes(4));
  CHECK(tokens.Authorization() == first);
  f.clock.Advance(absl::Minutes(2));
  const std::string second = tokens.Authorization();
  CHECK(second != first);
  f.clock.Advance(-absl::Hours(1));  // the clock was set back: a token of now
  CHECK(tokens.Authorization() != second);
}

TEST_CASE("UNAVAILABLE is tried again, a bounded number of times", "[rpc]") {
  Fixture f;
  f.FailFirst(2, RetryableError("UNAVAILABLE", "not yet", absl::Milliseconds(5)));
  CHECK(f.Invoke().ok());
  CHECK(f.attempts == 3);
  f.attempts = 0;
  f.FailFirst(100, RetryableError("NOT_LEADER", "not yet", absl::Milliseconds(5)));
  CHECK(ReasonOf(f.Invoke()) == "NOT_LEADER");
  CHECK(f.attempts == kAttemptsMax);
}

TEST_CASE("what may not be repeated is not", "[rpc]") {
  Fixture f;
  f.FailFirst(100, RetryableError("UNAVAILABLE", "not yet", absl::Milliseconds(5)));
  CallOptions once;
  once.idempotent = false;
  CHECK(ReasonOf(f.Invoke(once)) == "UNAVAILABLE");
  CHECK(f.attempts == 1);
  for (const char* reason : {"NOT_FOUND", "OVERLOADED", "STALE_VERSION", "INTERNAL"}) {
    INFO(reason);
    f.attempts = 0;
    f.FailFirst(100, Error(reason, "no"));
    CHECK(ReasonOf(f.Invoke()) == reason);
    CHECK(f.attempts == 1);
  }
}

TEST_CASE("a retry that would come after the deadline is not made", "[rpc]") {
  Fixture f;
  f.FailFirst(100, RetryableError("UNAVAILABLE", "not yet", absl::Seconds(1)));
  CallOptions options;
  options.timeout = absl::Milliseconds(600);
  const absl::Time start = absl::Now();
  CHECK(ReasonOf(f.Invoke(options)) == "UNAVAILABLE");
  CHECK(f.attempts == 1);
  CHECK(absl::Now() - start < absl::Milliseconds(600));
}

TEST_CASE("a server that is not there is an error within the deadline", "[rpc]") {
  SeededIdSource ids(1);
  const Outgoing outgoing(ids, nullptr);
  // Nothing listens on port 1.
  auto stub = v1::ProbeService::NewStub(MakeChannel("127.0.0.1:1", {.plaintext = true}).value());
  v1::ProbeResponse response;
  CallOptions options;
  options.timeout = absl::Seconds(2);
  const absl::Time start = absl::Now();
  const absl::Status status =
      outgoing.Invoke(*stub, &Stub::Open, v1::ProbeRequest(), &response, options);
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(absl::Now() - start < absl::Seconds(3));
}

TEST_CASE("calls within the process pass the same checks", "[rpc]") {
  Fixture f;
  auto stub = v1::ProbeService::NewStub(f.server->InProcessChannel());
  CHECK(f.anonymous.Invoke(*stub, &Stub::Open, v1::ProbeRequest(), &f.response).ok());
  CHECK(ReasonOf(f.anonymous.Invoke(*stub, &Stub::ForAgents, v1::ProbeRequest(), &f.response)) ==
        "UNAUTHENTICATED");
  const crypto::KeyPair key = f.NewKey();
  TokenSource tokens = f.Agent(key);
  const Outgoing outgoing(f.ids, &tokens);
  CHECK(outgoing.Invoke(*stub, &Stub::ForAgents, v1::ProbeRequest(), &f.response).ok());
}

TEST_CASE("plain text goes to loopback only", "[rpc]") {
  for (const char* address : {"127.0.0.1:1", "127.9.0.3", "localhost:80", "[::1]:5", "::1",
                              "unix:/tmp/x", "127.0.0.1"}) {
    INFO(address);
    CHECK(IsLoopback(address));
  }
  for (const char* address :
       {"", "0.0.0.0:1", "10.0.0.1:1", "ledger:7443", "127.0.0.1.example.org:1", "localhost.evil:1",
        "[::]:1", "[2001:db8::1]:1", "dns:///127.0.0.1:1", "128.0.0.1", "127.0.0", "127.a.b.c",
        "127.0.0.999", "[::1].evil", "::2"}) {
    INFO(address);
    CHECK_FALSE(IsLoopback(address));
    CHECK(MakeChannel(address, {.plaintext = true}).status().code() ==
          absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace rochdale::rpc
