#include "libs/rpc/status.h"

#include <grpcpp/support/status.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "libs/base/errors.h"
#include "libs/obs/log.h"

namespace rochdale::rpc {
namespace {

// Status and details travel in headers, of which clients take 8 KiB by default; the message goes
// twice, once of them percent-encoded.
constexpr size_t kMessageMax = 1'000;
constexpr size_t kViolationsMax = 3'000;

std::string Cut(absl::string_view text, size_t max) {
  std::string valid = obs::ValidUtf8(text.substr(0, max));
  return text.size() > max ? valid + "..." : valid;
}

const ReasonInfo* KnownReason(absl::string_view reason) {
  for (const ReasonInfo& info : Reasons()) {
    if (info.reason == reason) return &info;
  }
  return nullptr;
}

// As many violations as fit; the last entry says how many were left out.
void AddViolations(const std::vector<FieldViolation>& violations, google::rpc::BadRequest& out) {
  size_t used = 0;
  for (size_t i = 0; i < violations.size(); ++i) {
    const std::string field = Cut(violations[i].field, 200);
    const std::string description = Cut(violations[i].description, 300);
    used += field.size() + description.size() + 8;
    auto* added = out.add_field_violations();
    if (used > kViolationsMax) {
      added->set_field("...");
      added->set_description(absl::StrCat("and ", violations.size() - i, " more"));
      return;
    }
    added->set_field(field);
    added->set_description(description);
  }
}

}  // namespace

absl::Status Presentable(const absl::Status& status, const std::string& error_id) {
  if (status.ok()) return status;
  const std::string reason = ReasonOf(status);
  if (!reason.empty() && reason != "INTERNAL") return status;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument: return Error("BAD_REQUEST", status.message());
    case absl::StatusCode::kNotFound: return Error("NOT_FOUND", status.message());
    case absl::StatusCode::kAlreadyExists: return Error("ALREADY_EXISTS", status.message());
    case absl::StatusCode::kPermissionDenied: return Error("PERMISSION_DENIED", status.message());
    case absl::StatusCode::kUnauthenticated: return Error("UNAUTHENTICATED", status.message());
    // These come from libraries below, whose words may name hosts and sockets.
    case absl::StatusCode::kUnavailable:
      return RetryableError("UNAVAILABLE", "cannot answer now; try again", absl::Seconds(1));
    case absl::StatusCode::kResourceExhausted:
      return RetryableError("OVERLOADED", "too much at once; try again", absl::Seconds(1));
    case absl::StatusCode::kCancelled: return Error("CANCELLED", "the caller cancelled the call");
    case absl::StatusCode::kDeadlineExceeded:
      return Error("DEADLINE_EXCEEDED", "the deadline passed before the call was done");
    default: return Error("INTERNAL", absl::StrCat("a fault of the service; error id ", error_id));
  }
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());
  google::rpc::Status wire;
  wire.set_code(code);
  wire.set_message(Cut(status.message(), kMessageMax));
  google::rpc::ErrorInfo info;
  info.set_reason(ReasonOf(status));
  info.set_domain(kErrorDomain);
  for (const auto& [key, value] : DetailsOf(status)) {
    (*info.mutable_metadata())[key] = obs::ValidUtf8(value);
  }
  wire.add_details()->PackFrom(info);
  if (const auto violations = FieldViolationsOf(status); !violations.empty()) {
    google::rpc::BadRequest bad;
    AddViolations(violations, bad);
    wire.add_details()->PackFrom(bad);
  }
  if (const auto after = RetryAfterOf(status); after.has_value()) {
    google::rpc::RetryInfo retry;
    const int64_t millis = absl::ToInt64Milliseconds(*after);
    retry.mutable_retry_delay()->set_seconds(millis / 1'000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(millis % 1'000 * 1'000'000));
    wire.add_details()->PackFrom(retry);
  }
  return grpc::Status(code, wire.message(), wire.SerializeAsString());
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  const std::string& message = status.error_message();
  google::rpc::Status wire;
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad;
  google::rpc::RetryInfo retry;
  bool has_retry = false;
  if (wire.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : wire.details()) {
      if (detail.Is<google::rpc::ErrorInfo>()) detail.UnpackTo(&info);
      if (detail.Is<google::rpc::BadRequest>()) detail.UnpackTo(&bad);
      if (detail.Is<google::rpc::RetryInfo>()) has_retry = detail.UnpackTo(&retry);
    }
  }
  const ReasonInfo* known = info.domain() == kErrorDomain ? KnownReason(info.reason()) : nullptr;
  if (known == nullptr || known->code != code) return absl::Status(code, message);
  if (bad.field_violations_size() > 0 && info.reason() == "BAD_REQUEST") {
    FieldErrors errors;
    for (const auto& violation : bad.field_violations()) {
      errors.Add(violation.field(), violation.description());
    }
    return errors.ToStatus();
  }
  absl::Status error =
      has_retry ? RetryableError(info.reason(), message,
                                 absl::Seconds(retry.retry_delay().seconds()) +
                                     absl::Nanoseconds(retry.retry_delay().nanos()))
                : Error(info.reason(), message);
  for (const auto& [key, value] : info.metadata()) {
    error = WithDetail(std::move(error), key, value);
  }
  return error;
}

absl::Status FromAnswer(const grpc::Status& status) {
  absl::Status answer = FromGrpc(status);
  if (absl::IsCancelled(answer) && ReasonOf(answer).empty()) {
    return absl::UnavailableError("the server stopped");
  }
  return answer;
}

}  // namespace rochdale::rpc
