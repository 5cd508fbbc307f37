// absl::Status <-> grpc::Status, so that an error passes through services unchanged.
//
// On the wire an error is google.rpc.Status with exactly one ErrorInfo{reason, domain "rochdale"}
// and, where they were set, BadRequest and RetryInfo.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace grpc {
class Status;
}

namespace rochdale::rpc {

inline constexpr char kErrorDomain[] = "rochdale";

// What a client may see of `status`: a status with a reason as it is; one without a reason gets the
// general reason of its code (INVALID_ARGUMENT: BAD_REQUEST, NOT_FOUND: NOT_FOUND, ...), and a code
// that no general reason covers (INTERNAL, UNKNOWN, FAILED_PRECONDITION, ...) becomes INTERNAL
// with `error_id` and without the message.
absl::Status Presentable(const absl::Status& status, const std::string& error_id);

// `status` is OK or Presentable.
grpc::Status ToGrpc(const absl::Status& status);

// The inverse, for clients: the reason (where this version knows it and it belongs to the code),
// field violations and retry delay come back. Anything else keeps code and message.
absl::Status FromGrpc(const grpc::Status& status);

// FromGrpc for a call that nobody here cancelled: CANCELLED without a reason is then gRPC's server,
// which does that, as it stops, to calls that it has not begun. It becomes UNAVAILABLE, without a
// reason like a connection that broke.
absl::Status FromAnswer(const grpc::Status& status);

}  // namespace rochdale::rpc
