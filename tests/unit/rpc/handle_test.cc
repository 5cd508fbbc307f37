#include "libs/rpc/handle.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

#include "absl/strings/match.h"
#include "libs/base/errors.h"
#include "libs/rpc/status.h"
#include "tests/unit/rpc/probe_server.h"

namespace rochdale::rpc {
namespace {

using namespace testing;  // NOLINT
using Stub = v1::ProbeService::Stub;

std::string Reason(const grpc::Status& status) { return ReasonOf(FromGrpc(status)); }

TEST_CASE("a call passes identity, time, deadline and trace to its handler", "[rpc]") {
  ProbeServer s;
  Call seen;
  s.probe.body = [&](const Call& call, const v1::ProbeRequest&, v1::ProbeResponse&) {
    seen = call;
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(7));
  context.AddMetadata("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  v1::ProbeResponse response;
  REQUIRE(s.stub->Open(&context, {}, &response).ok());
  CHECK(seen.identity.IsAnonymous());
  CHECK(seen.now == s.clock.Now());
  CHECK(seen.trace_id == "0af7651916cd43dd8448eb211c80319c");
  CHECK(seen.deadline - absl::Now() > absl::Seconds(5));
  CHECK(seen.deadline - absl::Now() < absl::Seconds(7.1));
}

TEST_CASE("deadlines are bounded", "[rpc]") {
  CallLimits limits;
  limits.deadline_default = absl::Seconds(3);
  limits.unary_deadline_max = absl::Seconds(20);
  ProbeServer s(limits);
  absl::Time deadline;
  s.probe.body = [&](const Call& call, const v1::ProbeRequest&, v1::ProbeResponse&) {
    deadline = call.deadline;
    return absl::OkStatus();
  };
  v1::ProbeResponse response;
  grpc::ClientContext none;
  REQUIRE(s.stub->Open(&none, {}, &response).ok());
  CHECK(deadline - absl::Now() < absl::Seconds(3.1));
  grpc::ClientContext longer;
  longer.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(5));
  REQUIRE(s.stub->Open(&longer, {}, &response).ok());
  CHECK(deadline - absl::Now() < absl::Seconds(20.1));
  CHECK(deadline - absl::Now() > absl::Seconds(15));
}

TEST_CASE("a handler that outlives the deadline sees it", "[rpc]") {
  ProbeServer s;
  std::atomic<bool> ended{false};
  s.probe.body = [&](const Call& call, const v1::ProbeRequest&, v1::ProbeResponse&) {
    for (int i = 0; i < 500 && !call.Ended(); ++i) absl::SleepFor(absl::Milliseconds(10));
    ended = call.Ended();
    return Error("DEADLINE_EXCEEDED", "too late");
  };
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  v1::ProbeResponse response;
  const grpc::Status status = s.stub->Open(&context, {}, &response);
  CHECK(status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
  s.server->Stop(absl::Seconds(5));
  CHECK(ended);
}

TEST_CASE("a throw in a handler is INTERNAL with an error id, its text only in the log", "[rpc]") {
  ProbeServer s;
  const int kind = GENERATE(0, 1, 2);
  s.probe.body = [kind](const Call&, const v1::ProbeRequest&, v1::ProbeResponse&) -> absl::Status {
    if (kind == 0) throw std::runtime_error("password=hunter2");
    if (kind == 1) throw 42;
    return absl::InternalError("relation \"hunter2\" does not exist");
  };
  const grpc::Status status = CallWith(s, "", &Stub::Open);
  CHECK(status.error_code() == grpc::StatusCode::INTERNAL);
  CHECK(Reason(status) == "INTERNAL");
  CHECK_FALSE(absl::StrContains(status.error_message(), "hunter2"));
  CHECK_FALSE(absl::StrContains(status.error_details(), "hunter2"));
  const auto line = nlohmann::json::parse(s.LastLine());
  CHECK(line["level"] == "ERROR");
  const std::string id = line["error_id"];
  CHECK(id.size() == 36);
  CHECK(absl::StrContains(status.error_message(), id));
  if (kind != 1) CHECK(absl::StrContains(line["detail"].get<std::string>(), "hunter2"));
  // The server goes on.
  s.probe.body = [](const Call&, const v1::ProbeRequest&, v1::ProbeResponse&) {
    return absl::OkStatus();
  };
  CHECK(CallWith(s, "", &Stub::Open).ok());
  CHECK(s.calls.running() == 0);
}

TEST_CASE("beyond its bound a server answers OVERLOADED with a delay", "[rpc]") {
  CallLimits limits;
  limits.unary_max = 2;
  limits.retry_after = absl::Milliseconds(150);
  ProbeServer s(limits);
  std::atomic<bool> release{false};
  std::atomic<int> inside{0};
  s.probe.body = [&](const Call&, const v1::ProbeRequest&, v1::ProbeResponse&) {
    ++inside;
    while (!release) absl::SleepFor(absl::Milliseconds(2));
    return absl::OkStatus();
  };
  std::vector<std::thread> threads;
  std::atomic<int> succeeded{0};
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] { succeeded += CallWith(s, "", &Stub::Open).ok(); });
  }
  while (inside < 2) absl::SleepFor(absl::Milliseconds(1));
  const grpc::Status refused = CallWith(s, "", &Stub::Open);
  CHECK(refused.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(Reason(refused) == "OVERLOADED");
  CHECK(RetryAfterOf(FromGrpc(refused)) == absl::Milliseconds(150));
  // Streams have their own bound.
  grpc::ClientContext context;
  auto upload = [&] {
    v1::ProbeResponse response;
    auto writer = s.stub->Upload(&context, &response);
    writer->WritesDone();
    return writer->Finish();
  }();
  CHECK(upload.ok());
  release = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(succeeded == 2);
  CHECK(inside == 2);
  CHECK(CallWith(s, "", &Stub::Open).ok());
  CHECK(s.calls.running() == 0);
}

TEST_CASE("a stopping server is UNAVAILABLE", "[rpc]") {
  ProbeServer s;
  s.calls.Drain();
  const grpc::Status status = CallWith(s, "", &Stub::Open);
  CHECK(Reason(status) == "UNAVAILABLE");
  CHECK(RetryAfterOf(FromGrpc(status)).has_value());
}

TEST_CASE("errors of handlers reach the client with their details", "[rpc]") {
  ProbeServer s;
  s.probe.body = [](const Call&, const v1::ProbeRequest&, v1::ProbeResponse&) {
    FieldErrors errors;
    errors.Add("a", "must not be empty");
    errors.Add("b[3].c", "must be positive");
    return errors.ToStatus();
  };
  const absl::Status status = FromGrpc(CallWith(s, "", &Stub::Open));
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(ReasonOf(status) == "BAD_REQUEST");
  const auto violations = FieldViolationsOf(status);
  REQUIRE(violations.size() == 2);
  CHECK(violations[1].field == "b[3].c");
  CHECK(violations[1].description == "must be positive");
  CHECK(nlohmann::json::parse(s.LastLine())["reason"] == "BAD_REQUEST");
}

TEST_CASE("one log line and one count per call", "[rpc]") {
  ProbeServer s;
  REQUIRE(CallWith(s, "", &Stub::Open).ok());
  REQUIRE_FALSE(CallWith(s, "", &Stub::ForAgents).ok());
  s.server->Stop(absl::Seconds(1));
  REQUIRE(s.lines.size() == 2);
  const auto line = nlohmann::json::parse(s.lines[0]);
  CHECK(line["message"] == "call");
  CHECK(line["method"] == "/rochdale.rpctest.v1.ProbeService/Open");
  CHECK(line["caller"] == "anonymous");
  CHECK(line["code"] == "OK");
  CHECK(line["trace_id"].get<std::string>().size() == 32);
  CHECK(line["latency_ms"].get<double>() >= 0);
  const std::string text = s.metrics.Expose();
  for (const char* part :
       {R"(grpc_server_started_total{grpc_method="Open",)"
        R"(grpc_service="rochdale.rpctest.v1.ProbeService",grpc_type="unary"} 1)",
        R"(grpc_server_handled_total{grpc_code="OK",grpc_method="Open",)",
        R"(grpc_server_handled_total{grpc_code="Unauthenticated",grpc_method="ForAgents",)",
        R"(grpc_server_handling_seconds_count{grpc_method="Open",)"}) {
    INFO(text);
    CHECK(absl::StrContains(text, part));
  }
}

TEST_CASE("the metrics of libs/rpc are these", "[rpc]") {
  ProbeServer s;
  std::vector<std::string> names;
  for (const obs::MetricInfo& info : s.metrics.List()) names.push_back(info.name);
  CHECK(names == std::vector<std::string>{"grpc_server_handled_total",
                                          "grpc_server_handling_seconds",
                                          "grpc_server_started_total", "rochdale_rpc_running"});
}

TEST_CASE("a client cannot choose which method it is checked for", "[rpc]") {
  ProbeServer s;
  grpc::ClientContext context;
  context.AddMetadata("rochdale-method", "/rochdale.rpctest.v1.ProbeService/Open");
  v1::ProbeResponse response;
  CHECK(Reason(s.stub->ForAgents(&context, {}, &response)) == "UNAUTHENTICATED");
}

TEST_CASE("bad trace headers are replaced", "[rpc]") {
  ProbeServer s;
  for (const char* header : {"", "x", "00-0af7651916cd43dd8448eb211c80319c",
                             "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                             "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                             "00-\"},{\"a\":\"6cd43dd8448eb211c80319-b7ad6b7169203331-01"}) {
    INFO(header);
    std::string trace;
    s.probe.body = [&](const Call& call, const v1::ProbeRequest&, v1::ProbeResponse&) {
      trace = call.trace_id;
      return absl::OkStatus();
    };
    grpc::ClientContext context;
    context.AddMetadata("traceparent", header);
    v1::ProbeResponse response;
    REQUIRE(s.stub->Open(&context, {}, &response).ok());
    CHECK(trace.size() == 32);
    CHECK_FALSE(absl::StrContains(header, trace));
  }
}

TEST_CASE("streams run through the same helper", "[rpc]") {
  ProbeServer s;
  int runs = 3;
  s.probe.body = [&](const Call&, const v1::ProbeRequest&, v1::ProbeResponse& response) {
    response.set_number(--runs);
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  auto reader = s.stub->Watch(&context, {});
  v1::ProbeResponse response;
  int read = 0;
  while (reader->Read(&response)) ++read;
  CHECK(reader->Finish().ok());
  CHECK(read == 3);

  int64_t sum = 0;
  s.probe.body = [&](const Call&, const v1::ProbeRequest& request, v1::ProbeResponse& out) {
    sum += request.number();
    if (sum > 100) throw std::runtime_error("too much");
    out.set_number(sum);
    return absl::OkStatus();
  };
  grpc::ClientContext upload_context;
  auto writer = s.stub->Upload(&upload_context, &response);
  v1::ProbeRequest request;
  request.set_number(20);
  for (int i = 0; i < 5; ++i) REQUIRE(writer->Write(request));
  writer->WritesDone();
  CHECK(writer->Finish().ok());
  CHECK(response.number() == 100);

  grpc::ClientContext failing_context;
  auto failing = s.stub->Upload(&failing_context, &response);
  request.set_number(1);
  failing->Write(request);
  failing->WritesDone();
  CHECK(Reason(failing->Finish()) == "INTERNAL");
  CHECK(absl::StrContains(s.metrics.Expose(), R"(grpc_type="server_stream")"));
}

TEST_CASE("a watch ends when its client goes", "[rpc]") {
  ProbeServer s;
  s.probe.body = [](const Call&, const v1::ProbeRequest&, v1::ProbeResponse& response) {
    response.set_number(1);
    return absl::OkStatus();
  };
  grpc::ClientContext context;
  auto reader = s.stub->Watch(&context, {});
  v1::ProbeResponse response;
  REQUIRE(reader->Read(&response));
  context.TryCancel();
  CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
  for (int i = 0; i < 500 && s.calls.running() > 0; ++i) absl::SleepFor(absl::Milliseconds(10));
  CHECK(s.calls.running() == 0);
}

}  // namespace
}  // namespace rochdale::rpc
