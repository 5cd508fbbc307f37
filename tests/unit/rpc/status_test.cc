#include "libs/rpc/status.h"

#include <grpcpp/support/status.h>

#include <catch2/catch.hpp>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "libs/base/errors.h"

namespace rochdale::rpc {
namespace {

TEST_CASE("every documented reason passes the wire unchanged", "[rpc]") {
  for (const ReasonInfo& info : Reasons()) {
    INFO(info.reason);
    const absl::Status status = Error(info.reason, "what happened");
    const grpc::Status wire = ToGrpc(status);
    CHECK(static_cast<int>(wire.error_code()) == static_cast<int>(info.code));
    CHECK(FromGrpc(wire) == status);

    google::rpc::Status details;
    REQUIRE(details.ParseFromString(wire.error_details()));
    REQUIRE(details.details_size() == 1);
    google::rpc::ErrorInfo error;
    REQUIRE(details.details(0).UnpackTo(&error));
    CHECK(error.reason() == info.reason);
    CHECK(error.domain() == "rochdale");
  }
}

TEST_CASE("retry delays and field violations pass the wire", "[rpc]") {
  const absl::Status retry = RetryableError("OVERLOADED", "later", absl::Milliseconds(1'250));
  CHECK(FromGrpc(ToGrpc(retry)) == retry);
  FieldErrors errors;
  errors.Add("a.b", "is bad: very; indeed");
  errors.Add("c", "");
  CHECK(FromGrpc(ToGrpc(errors.ToStatus())) == errors.ToStatus());
}

TEST_CASE("values for programs pass the wire, cut where they are long", "[rpc]") {
  const absl::Status status = WithDetail(Error("NOT_LEADER", "not here"), "leader_address", "h:1");
  CHECK(FromGrpc(ToGrpc(status)) == status);
  CHECK(DetailsOf(FromGrpc(ToGrpc(status))).at("leader_address") == "h:1");
  CHECK(DetailsOf(Error("NOT_LEADER", "not here")).empty());
  CHECK(DetailsOf(WithDetail(status, "long", std::string(1'000, 'x'))).at("long").size() == 256);
}

TEST_CASE("OK is OK", "[rpc]") {
  CHECK(ToGrpc(absl::OkStatus()).ok());
  CHECK(FromGrpc(grpc::Status::OK).ok());
  CHECK(Presentable(absl::OkStatus(), "x").ok());
}

TEST_CASE("details stay within what headers hold", "[rpc]") {
  FieldErrors errors;
  for (int i = 0; i < 2'000; ++i) errors.Add(absl::StrCat("field", i), std::string(500, 'x'));
  const grpc::Status wire = ToGrpc(errors.ToStatus());
  CHECK(wire.error_details().size() + wire.error_message().size() < 6'000);
  const auto violations = FieldViolationsOf(FromGrpc(wire));
  REQUIRE(violations.size() > 3);
  CHECK(absl::StrContains(violations.back().description, "more"));
}

TEST_CASE("statuses without a reason get a general one, or hide", "[rpc]") {
  struct Row {
    absl::Status status;
    std::string reason;
    bool shows_message;
  };
  const std::vector<Row> rows = {
      {absl::InvalidArgumentError("secret"), "BAD_REQUEST", true},
      {absl::NotFoundError("secret"), "NOT_FOUND", true},
      {absl::AlreadyExistsError("secret"), "ALREADY_EXISTS", true},
      {absl::PermissionDeniedError("secret"), "PERMISSION_DENIED", true},
      {absl::UnauthenticatedError("secret"), "UNAUTHENTICATED", true},
      {absl::UnavailableError("secret"), "UNAVAILABLE", false},
      {absl::DeadlineExceededError("secret"), "DEADLINE_EXCEEDED", false},
      {absl::ResourceExhaustedError("secret"), "OVERLOADED", false},
      {absl::CancelledError("secret"), "CANCELLED", false},
      {absl::InternalError("secret"), "INTERNAL", false},
      {absl::UnknownError("secret"), "INTERNAL", false},
      {absl::FailedPreconditionError("secret"), "INTERNAL", false},
      {absl::AbortedError("secret"), "INTERNAL", false},
      {absl::OutOfRangeError("secret"), "INTERNAL", false},
      {absl::DataLossError("secret"), "INTERNAL", false},
      {absl::UnimplementedError("secret"), "INTERNAL", false},
      {Error("INTERNAL", "secret"), "INTERNAL", false},
      {Error("STALE_VERSION", "secret"), "STALE_VERSION", true},
  };
  for (const Row& row : rows) {
    INFO(row.status.ToString());
    const absl::Status shown = Presentable(row.status, "id-1");
    CHECK(ReasonOf(shown) == row.reason);
    CHECK(absl::StrContains(shown.message(), "secret") == row.shows_message);
    if (row.reason == "INTERNAL") CHECK(absl::StrContains(shown.message(), "id-1"));
  }
}

TEST_CASE("a call that the stopping server cancelled was not answered", "[rpc]") {
  const grpc::Status stopped(grpc::StatusCode::CANCELLED, "CANCELLED");
  CHECK(FromGrpc(stopped).code() == absl::StatusCode::kCancelled);
  CHECK(FromAnswer(stopped).code() == absl::StatusCode::kUnavailable);
  CHECK(ReasonOf(FromAnswer(stopped)).empty());
  // What the service itself said stays.
  const absl::Status said = Error("CANCELLED", "the caller cancelled the call");
  CHECK(FromAnswer(ToGrpc(said)) == said);
  CHECK(FromAnswer(grpc::Status::OK).ok());
}

TEST_CASE("foreign details are not trusted", "[rpc]") {
  auto wire = [](grpc::StatusCode code, const std::string& reason, const std::string& domain) {
    google::rpc::Status status;
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    info.set_domain(domain);
    status.add_details()->PackFrom(info);
    return grpc::Status(code, "m", status.SerializeAsString());
  };
  using grpc::StatusCode;
  CHECK(ReasonOf(FromGrpc(wire(StatusCode::NOT_FOUND, "NOT_FOUND", "rochdale"))) == "NOT_FOUND");
  CHECK(ReasonOf(FromGrpc(wire(StatusCode::NOT_FOUND, "NOT_FOUND", "other"))).empty());
  CHECK(ReasonOf(FromGrpc(wire(StatusCode::NOT_FOUND, "FROM_THE_FUTURE", "rochdale"))).empty());
  CHECK(ReasonOf(FromGrpc(wire(StatusCode::ABORTED, "NOT_FOUND", "rochdale"))).empty());
  CHECK(FromGrpc(wire(StatusCode::ABORTED, "NOT_FOUND", "rochdale")).code() ==
        absl::StatusCode::kAborted);

  const uint64_t seed = 99;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 2'000; ++i) {
    std::string details(random() % 60, '\0');
    for (char& c : details) c = static_cast<char>(random());
    const auto code = static_cast<StatusCode>(1 + random() % 16);
    CHECK(static_cast<int>(FromGrpc(grpc::Status(code, "m", details)).code()) == code);
  }
}

TEST_CASE("messages that are not UTF-8 are made so", "[rpc]") {
  const grpc::Status wire = ToGrpc(Error("NOT_FOUND", "no \xFF\xFE"));
  google::rpc::Status details;
  REQUIRE(details.ParseFromString(wire.error_details()));
  CHECK(details.message() == "no \xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace rochdale::rpc
