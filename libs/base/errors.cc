#include "libs/base/errors.h"

#include <cstdio>
#include <cstdlib>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace rochdale {
namespace {

constexpr absl::string_view kReasonKey = "rochdale/reason";
constexpr absl::string_view kRetryKey = "rochdale/retry_after_ms";
constexpr absl::string_view kFieldsKey = "rochdale/field_violations";
constexpr absl::string_view kDetailPrefix = "rochdale/detail/";
constexpr size_t kDetailMax = 256;

using absl::StatusCode;

const ReasonInfo& FindReason(absl::string_view reason) {
  for (const ReasonInfo& info : Reasons()) {
    if (info.reason == reason) return info;
  }
  std::fprintf(stderr, "undocumented error reason %.*s\n", static_cast<int>(reason.size()),
               reason.data());
  std::abort();
}

std::string PayloadText(const absl::Status& status, absl::string_view key) {
  const auto payload = status.GetPayload(key);
  return payload ? std::string(*payload) : std::string();
}

}  // namespace

// Keep docs/errors.md equal to this list: tests/unit/base/errors_test.cc compares them, and writes
// the page when asked to.
const std::vector<ReasonInfo>& Reasons() {
  static const auto* reasons = new std::vector<ReasonInfo>{
      // Any call.
      {"BAD_REQUEST", StatusCode::kInvalidArgument,
       "One or more fields are malformed or out of bounds; every one is listed in BadRequest."},
      {"UNAUTHENTICATED", StatusCode::kUnauthenticated,
       "The call needs a token and carries none, or one that does not verify."},
      {"TOKEN_EXPIRED", StatusCode::kUnauthenticated,
       "The token is past its expiry or not yet valid; sign a new one."},
      {"PERMISSION_DENIED", StatusCode::kPermissionDenied,
       "The caller's role may not call this method, or not for this resource."},
      {"SIGNATURE_INVALID", StatusCode::kPermissionDenied,
       "The signature over a signed document does not verify under the key it names."},
      {"REQUEST_ID_REUSED", StatusCode::kAlreadyExists,
       "This request_id was used before with other content; use a new one."},
      {"OVERLOADED", StatusCode::kResourceExhausted,
       "Too many calls wait; try again after RetryInfo."},
      {"UNAVAILABLE", StatusCode::kUnavailable,
       "The service or its database cannot answer now; try again after RetryInfo."},
      {"DEADLINE_EXCEEDED", StatusCode::kDeadlineExceeded,
       "The call's deadline passed before it was done; repeat it with the same request_id."},
      {"CANCELLED", StatusCode::kCancelled, "The caller cancelled the call before it was done."},
      {"INTERNAL", StatusCode::kInternal,
       "A fault of the service; the message carries an error id for the operator."},
      {"NOT_FOUND", StatusCode::kNotFound, "No such resource, or it is not visible to the caller."},
      {"ALREADY_EXISTS", StatusCode::kAlreadyExists,
       "A resource with this id or key exists with other content."},
      {"PAGE_TOKEN_INVALID", StatusCode::kInvalidArgument,
       "The page token was not made by this method for these arguments."},
      {"DOCUMENT_INVALID", StatusCode::kInvalidArgument,
       "A signed document is not valid JSON of its type, or has unknown or missing fields."},
      // Governance.
      {"COOPERATIVE_EXISTS", StatusCode::kAlreadyExists,
       "This cooperative has been founded before."},
      {"KEY_IN_USE", StatusCode::kAlreadyExists,
       "The public key is registered already, to this or another identity."},
      {"NOT_A_MEMBER", StatusCode::kPermissionDenied,
       "The principal is not a consenting member of the cooperative."},
      {"MEMBERSHIP_STATE", StatusCode::kFailedPrecondition,
       "The membership is not in the state that this step needs (REQUESTED, APPROVED, CONSENTED)."},
      {"CONSENT_OUTDATED", StatusCode::kFailedPrecondition,
       "The member consented to an older version of the rules; consent to the current one."},
      {"MANDATE_MISSING", StatusCode::kPermissionDenied,
       "No mandate in force lets this agent do this."},
      {"MANDATE_EXPIRED", StatusCode::kPermissionDenied, "The agent's mandate has expired."},
      {"AGENT_PAUSED", StatusCode::kPermissionDenied,
       "The agent is paused until a person resumes it."},
      {"KYC_VERIFIER_UNKNOWN", StatusCode::kPermissionDenied,
       "The attestation is not signed by a registered KYC verifier."},
      {"KYC_ATTESTATION_STALE", StatusCode::kFailedPrecondition,
       "An attestation of this principal that was signed at the same time or later exists."},
      {"PARAMETER_UNKNOWN", StatusCode::kInvalidArgument, "No governed parameter has this name."},
      {"PARAMETER_OUT_OF_BOUNDS", StatusCode::kInvalidArgument,
       "The value is not of the parameter's type or is outside its bounds."},
      {"STALE_VERSION", StatusCode::kAborted,
       "The resource has changed since the version the request names; read it again."},
      // Ledger.
      {"ACCOUNT_NOT_FOUND", StatusCode::kNotFound, "No account has this id."},
      {"LOG_SIZE_UNKNOWN", StatusCode::kOutOfRange,
       "The tree size or leaf index lies beyond the committed log."},
      {"ENTRY_INVALID", StatusCode::kInvalidArgument,
       "The entry's canonical bytes are malformed, too long, or lack a field of their kind."},
      {"AUTHORITY_STALE", StatusCode::kUnavailable,
       "What the ledger knows of KYC levels, mandates and pauses is too old for a debit; nothing "
       "was decided. Try again after RetryInfo."},
      {"RATE_BELOW_MINIMUM", StatusCode::kFailedPrecondition,
       "At the governed rate the conversion gives less than its order asks for at least; sign a "
       "new order."},
      {"ACCOUNT_TRANSITION_INVALID", StatusCode::kFailedPrecondition,
       "The account cannot go from its status to the one asked for."},
      {"NOT_LEADER", StatusCode::kUnavailable,
       "This replica may not write and knows no leader; try again after RetryInfo."},
      // Filter: intake.
      {"ROUND_NOT_ACCEPTING", StatusCode::kFailedPrecondition,
       "The round is not in the state that accepts this step; look at its state and deadline."},
      {"STALE_CHECKPOINT", StatusCode::kFailedPrecondition,
       "The update was made against a checkpoint that is not the round's base; train again."},
      {"UPDATE_EXISTS", StatusCode::kAlreadyExists,
       "The principal has an update in this round already."},
      {"OWNER_HAS_UPDATE", StatusCode::kAlreadyExists,
       "An update of the same beneficial owner was committed to earlier in this round."},
      {"ROUND_FULL", StatusCode::kFailedPrecondition,
       "The round has as many commitments as it takes (round.max_updates)."},
      {"COMMITMENT_MISMATCH", StatusCode::kFailedPrecondition,
       "The uploaded bytes are not those that were committed to (size or digest)."},
      {"UPLOAD_OFFSET", StatusCode::kOutOfRange,
       "The chunk does not start where the upload stands; resume at the offset in the message."},
      {"UPLOAD_INCOMPLETE", StatusCode::kFailedPrecondition,
       "Bytes are missing; upload the rest first."},
      {"UPLOAD_TOO_LARGE", StatusCode::kInvalidArgument,
       "The blob is larger than the declared limit."},
      {"STORE_FULL", StatusCode::kResourceExhausted,
       "The blob store has no room for this many bytes; the operator has to make some."},
      {"DIGEST_MISMATCH", StatusCode::kDataLoss,
       "Bytes do not have the SHA-256 that was declared."},
      {"TENSOR_MALFORMED", StatusCode::kInvalidArgument,
       "Not a well-formed safetensors file within limits (header, offsets, names, dtypes, sizes)."},
      {"TENSOR_MISMATCH", StatusCode::kInvalidArgument,
       "Names, shapes or dtypes are not those of the model."},
      {"TENSOR_NOT_FINITE", StatusCode::kInvalidArgument,
       "A value is NaN or infinite, or beyond the grid."},
      {"PROFILE_MISSING", StatusCode::kFailedPrecondition,
       "The principal has no signed value profile in this cooperative."},
      {"PROBE_INVALID", StatusCode::kInvalidArgument,
       "The probe's data set is malformed, empty, or does not fit the model's input."},
      // Filter: decisions (also reasons of a refusal in a decision).
      {"ORIGINALITY", StatusCode::kFailedPrecondition,
       "The update is a copy, near-copy or mixture of earlier ones."},
      {"MAGNITUDE", StatusCode::kFailedPrecondition,
       "The update's norm exceeds the bound for the round."},
      {"VALUE_EFFECT", StatusCode::kFailedPrecondition,
       "Applied as it would be, the update raises the loss of a protected probe by more than "
       "allowed."},
      {"VALUE_FIT", StatusCode::kFailedPrecondition,
       "The update does not serve its principal's weighted preferences."},
      {"VALUE_DIRECTION", StatusCode::kFailedPrecondition,
       "The update points against a protected probe and the rule refuses instead of projecting."},
      {"GROUP_HARM", StatusCode::kFailedPrecondition,
       "The update widens the loss gap between a probe's declared groups by more than the rule "
       "allows."},
      {"REVIEW_EXPIRED", StatusCode::kFailedPrecondition,
       "The update was sent to review and nobody decided before the deadline."},
      {"RULE_ERROR", StatusCode::kFailedPrecondition,
       "A rule could not be evaluated (missing data or budget); a floor rule that errs denies."},
      // Attribution.
      {"NOT_APPLIED_HARMFUL", StatusCode::kFailedPrecondition,
       "The measured improvement was significantly negative; the update was left out of the step."},
      {"NOT_APPLIED_VALUES", StatusCode::kFailedPrecondition,
       "With the others' admitted updates it would have raised the loss of one of the "
       "cooperative's probes by more than the floor allows; it was left out of the step."},
      {"NOT_APPLIED_ABANDONED", StatusCode::kFailedPrecondition,
       "The round was abandoned; nothing was applied."},
      {"LEASE_LOST", StatusCode::kFailedPrecondition,
       "The shard's lease expired or was taken over; drop the work."},
      {"EVALUATION_RANGE", StatusCode::kFailedPrecondition,
       "Exact evaluation would leave its range; the named layer of the named update is too large."},
      {"DEVICE_UNFIT", StatusCode::kFailedPrecondition,
       "The device is not there, lacks memory, or does not compute what the exact evaluator does."},
      {"MODULE_UNREGISTERED", StatusCode::kFailedPrecondition,
       "The digest of the TorchScript module is not one that the cooperative's founders registered "
       "and did not withdraw."},
      {"MODULE_INVALID", StatusCode::kInvalidArgument,
       "The TorchScript module cannot be loaded, uses an operator that is not allowed, differs "
       "from its spec, or its losses are not per-sample; the message says which."},
      {"ROUND_STATE", StatusCode::kFailedPrecondition,
       "The round or run is not in the state that this step needs."},
      {"VALIDATION_POOL_EMPTY", StatusCode::kFailedPrecondition,
       "The cooperative has no sealed validation rows left to draw from."},
      // Payout.
      {"EPOCH_STATE", StatusCode::kFailedPrecondition,
       "The epoch is not in the state that this step needs; a settled epoch is immutable."},
      {"ROUNDS_UNSETTLED", StatusCode::kFailedPrecondition,
       "A round that the epoch would cover is not CLOSED or ABANDONED yet."},
  };
  return *reasons;
}

absl::Status Error(absl::string_view reason, absl::string_view message) {
  const ReasonInfo& info = FindReason(reason);
  absl::Status status(info.code, message);
  status.SetPayload(kReasonKey, absl::Cord(reason));
  return status;
}

absl::Status RetryableError(absl::string_view reason, absl::string_view message,
                            absl::Duration after) {
  absl::Status status = Error(reason, message);
  status.SetPayload(kRetryKey, absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(after))));
  return status;
}

void FieldErrors::Add(absl::string_view field, absl::string_view description) {
  violations_.push_back({std::string(field), std::string(description)});
}

absl::Status FieldErrors::ToStatus() const {
  if (violations_.empty()) return absl::OkStatus();
  std::string message, packed;
  for (const FieldViolation& v : violations_) {
    absl::StrAppend(&message, message.empty() ? "" : "; ", v.field, ": ", v.description);
    // Length-prefixed, since a field path may hold any character a client sent.
    absl::StrAppend(&packed, v.field.size(), ":", v.field, v.description.size(), ":",
                    v.description);
  }
  absl::Status status = Error("BAD_REQUEST", message);
  status.SetPayload(kFieldsKey, absl::Cord(packed));
  return status;
}

absl::Status WithDetail(absl::Status status, absl::string_view key, absl::string_view value) {
  status.SetPayload(absl::StrCat(kDetailPrefix, key), absl::Cord(value.substr(0, kDetailMax)));
  return status;
}

std::map<std::string, std::string> DetailsOf(const absl::Status& status) {
  std::map<std::string, std::string> details;
  status.ForEachPayload([&](absl::string_view key, const absl::Cord& value) {
    if (absl::ConsumePrefix(&key, kDetailPrefix)) details.emplace(key, std::string(value));
  });
  return details;
}

std::string ReasonOf(const absl::Status& status) { return PayloadText(status, kReasonKey); }

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  int64_t millis;
  if (!absl::SimpleAtoi(PayloadText(status, kRetryKey), &millis)) return std::nullopt;
  return absl::Milliseconds(millis);
}

std::vector<FieldViolation> FieldViolationsOf(const absl::Status& status) {
  std::vector<FieldViolation> violations;
  const std::string packed = PayloadText(status, kFieldsKey);
  absl::string_view rest = packed;
  auto take = [&rest]() -> std::string {
    const size_t colon = rest.find(':');
    size_t length = 0;
    if (colon == rest.npos || !absl::SimpleAtoi(rest.substr(0, colon), &length)) return "";
    std::string text(rest.substr(colon + 1, length));
    rest.remove_prefix(colon + 1 + text.size());
    return text;
  };
  while (!rest.empty()) {
    std::string field = take();
    violations.push_back({std::move(field), take()});
  }
  return violations;
}

}  // namespace rochdale
