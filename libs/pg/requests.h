// A request repeated with the same request_id has the effect of one (table `requests` of the
// service's schema). In the transaction that makes the change:
//
//   return pg::RunOnce(tx, request, now, [&]() -> absl::StatusOr<std::string> {
//     ASSIGN_OR_RETURN(const Account account, OpenAccount(tx, wanted));
//     return Serialize(account);          // the response's bytes, stored with the change
//   });
//
// Two calls with one id at the same time: the second waits for the first to commit or roll back.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"
#include "libs/pg/transaction.h"

namespace rochdale::pg {

struct RequestKey {
  Uuid request_id;      // made by the client; not zero
  std::string method;   // full name of the RPC
  // SHA-256 over who calls and the request without its request_id: another caller that knows the
  // id must not be handed this caller's response. See RequestDigest.
  crypto::Digest body_sha256;
};

// SHA-256 of the length-prefixed caller ("agent:<uuid>") and the deterministically serialised body.
crypto::Digest RequestDigest(absl::string_view caller, absl::string_view body);

// What the first call answered.
struct Replay {
  std::string response;
};

// Nothing: the id is new and now claimed by `tx`, which must StoreResponse before it commits.
// A Replay: the call was made before. REQUEST_ID_REUSED: with another method or body.
// INVALID_ARGUMENT for a zero id.
absl::StatusOr<std::optional<Replay>> FindOrClaimRequest(Transaction& tx, const RequestKey& key,
                                                         absl::Time now);
absl::Status StoreResponse(Transaction& tx, const RequestKey& key, absl::string_view response);

// The bytes that `change` returned, now or when the request was first made.
// An error of `change` is not stored: the transaction rolls back, and the id is free again.
absl::StatusOr<std::string> RunOnce(Transaction& tx, const RequestKey& key, absl::Time now,
                                    absl::FunctionRef<absl::StatusOr<std::string>()> change);

// Forgets at most `limit` requests made before `before`; the number forgotten.
absl::StatusOr<int64_t> ForgetRequests(Transaction& tx, absl::Time before, int limit);

}  // namespace rochdale::pg
