#include "libs/pg/requests.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::pg {

crypto::Digest RequestDigest(absl::string_view caller, absl::string_view body) {
  crypto::Sha256Hasher hasher;
  hasher.Update(absl::StrCat(caller.size(), ":")).Update(caller).Update(body);
  return hasher.Finish();
}

// A rival with the same id makes this wait until the rival has ended.
constexpr char kClaimRequest[] =
    "INSERT INTO requests (request_id, method, body_sha256, created_us) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (request_id) DO NOTHING";
constexpr char kFindRequest[] =
    "SELECT method, body_sha256, response FROM requests WHERE request_id = $1";

absl::StatusOr<std::optional<Replay>> FindOrClaimRequest(Transaction& tx, const RequestKey& key,
                                                         absl::Time now) {
  if (key.request_id.IsZero()) {
    FieldErrors errors;
    errors.Add("request_id", "must be a UUID other than zero");
    return errors.ToStatus();
  }
  // Looked up first, since an INSERT that conflicts writes; and again after a lost race.
  for (int look = 0; look < 2; ++look) {
    ASSIGN_OR_RETURN(const std::optional<Row> row, tx.ExecOptional(kFindRequest, key.request_id));
    if (row.has_value()) {
      if (row->Get<std::string>("method") != key.method ||
          row->Get<crypto::Digest>("body_sha256") != key.body_sha256) {
        return Error("REQUEST_ID_REUSED", "this request_id was used with another request");
      }
      std::optional<std::string> response = row->GetOptionalBytes("response");
      if (response.has_value()) return std::optional<Replay>(Replay{*std::move(response)});
      return tx.InternalError(absl::StrCat("request ", key.request_id.ToString(),
                                           " was committed without its response"));
    }
    ASSIGN_OR_RETURN(const int64_t claimed,
                     tx.ExecAffected(kClaimRequest, key.request_id, key.method, key.body_sha256,
                                     now));
    if (claimed == 1) return std::optional<Replay>();
  }
  // Forgotten between the two looks.
  return RetryableError("UNAVAILABLE", "the request is being forgotten", absl::Milliseconds(200));
}

constexpr char kStoreResponse[] =
    "UPDATE requests SET response = $2 WHERE request_id = $1 AND response IS NULL";

absl::Status StoreResponse(Transaction& tx, const RequestKey& key, absl::string_view response) {
  ASSIGN_OR_RETURN(const int64_t stored,
                   tx.ExecAffected(kStoreResponse, key.request_id, Bytes{response}));
  if (stored == 1) return absl::OkStatus();
  return tx.InternalError(absl::StrCat("request ", key.request_id.ToString(),
                                       " is not claimed or has a response already"));
}

absl::StatusOr<std::string> RunOnce(Transaction& tx, const RequestKey& key, absl::Time now,
                                    absl::FunctionRef<absl::StatusOr<std::string>()> change) {
  ASSIGN_OR_RETURN(std::optional<Replay> replay, FindOrClaimRequest(tx, key, now));
  if (replay.has_value()) return std::move(replay->response);
  ASSIGN_OR_RETURN(std::string response, change());
  RETURN_IF_ERROR(StoreResponse(tx, key, response));
  return response;
}

constexpr char kForgetRequests[] =
    "DELETE FROM requests WHERE request_id IN (SELECT request_id FROM requests "
    "WHERE created_us < $1 ORDER BY created_us LIMIT $2 FOR UPDATE SKIP LOCKED)";

absl::StatusOr<int64_t> ForgetRequests(Transaction& tx, absl::Time before, int limit) {
  return tx.ExecAffected(kForgetRequests, before, limit);
}

}  // namespace rochdale::pg
