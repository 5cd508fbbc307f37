// Errors that a caller can act on: an absl::Status with a reason from a stable list.
//
// A reason is an upper-case word of the list in docs/errors.md (Reasons() is its source).
// libs/rpc turns such a status into google.rpc.Status with one ErrorInfo{reason, domain "rochdale"}
// and, where set, BadRequest, RetryInfo and PreconditionFailure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace rochdale {

struct ReasonInfo {
  absl::string_view reason;
  absl::StatusCode code;
  absl::string_view meaning;  // one sentence: what is wrong and what the caller can do
};

// The whole list, in the order of the documentation.
const std::vector<ReasonInfo>& Reasons();

// An error with `reason`; its code comes from the list. A reason that is not in the list is a
// broken invariant (crash). `message` may be shown to the caller: no secrets, no driver text.
absl::Status Error(absl::string_view reason, absl::string_view message);

// UNAVAILABLE / RESOURCE_EXHAUSTED style errors: the caller may try again after `after`.
absl::Status RetryableError(absl::string_view reason, absl::string_view message,
                            absl::Duration after);

// One bad field of a request: the path ("transfers[3].amount") and what is wrong with it.
struct FieldViolation {
  std::string field;
  std::string description;
};

// Collects every bad field of a request, so that all are reported at once.
//   FieldErrors errors;
//   if (request.name().empty()) errors.Add("name", "must not be empty");
//   RETURN_IF_ERROR(errors.ToStatus());
class FieldErrors {
 public:
  void Add(absl::string_view field, absl::string_view description);
  bool empty() const { return violations_.empty(); }
  // OK if there are none, else BAD_REQUEST (INVALID_ARGUMENT) that lists them all.
  absl::Status ToStatus() const;

 private:
  std::vector<FieldViolation> violations_;
};

// Adds a value for programs ("leader_address"), which travels as metadata of the ErrorInfo. At most
// 256 bytes. `status` is an Error.
absl::Status WithDetail(absl::Status status, absl::string_view key, absl::string_view value);

// What was attached; empty where nothing was.
std::string ReasonOf(const absl::Status& status);
std::map<std::string, std::string> DetailsOf(const absl::Status& status);
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);
std::vector<FieldViolation> FieldViolationsOf(const absl::Status& status);

}  // namespace rochdale
