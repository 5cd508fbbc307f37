// What the server secret gives: run tokens, session tokens of workers, seeds.
//
//   run token      "R.<run>.<hex of HMAC-SHA-256(secret, "ROCHDALErun1" | run)>"
//   session token  "S.<run>.<session>.<hex of HMAC(secret, "ROCHDALEses1" | run | session)>"
//   round seed     HMAC(secret, "ROCHDALEseed" | round)
//   split seed     HMAC(secret, "ROCHDALEsplt" | cooperative | pool digest)
// (ids as 16 bytes). The same inputs always give the same token, so that a repeated job has the
// same spec. A token holds until its run has ended; then only for a goodbye of a minute, in which
// a worker can learn that the run has ended.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/config/flags.h"
#include "libs/crypto/sha256.h"
#include "libs/rpc/auth.h"
#include "services/attribution/records.h"

namespace rochdale::pg {
class Database;
}

namespace rochdale::attribution {

using SessionId = Id<struct SessionTag>;

// Thread-safe.
class Secrets {
 public:
  // The secret has at least 32 bytes (crash).
  explicit Secrets(config::Secret secret);

  std::string RunToken(const RunId& run) const;
  std::string SessionToken(const RunId& run, const SessionId& session) const;
  crypto::Digest RoundSeed(const RoundId& round) const;
  crypto::Digest ComparisonSeed(const ComparisonId& comparison) const;
  crypto::Digest SplitSeed(const CooperativeId& cooperative, const crypto::Digest& pool) const;

  // What a token says, if it is one of ours; nothing is looked up.
  std::optional<rpc::WorkerToken> Open(absl::string_view token) const;

 private:
  crypto::Digest Derive(absl::string_view domain, absl::string_view a, absl::string_view b) const;
  const config::Secret secret_;
};

// Asks the database (the attribution schema) whether the run goes on. Thread-safe.
class RunTokens final : public rpc::RunTokenVerifier {
 public:
  RunTokens(config::Secret secret, pg::Database& db) : secrets_(std::move(secret)), db_(db) {}
  absl::StatusOr<std::optional<rpc::WorkerToken>> Verify(absl::string_view token,
                                                         absl::Time now) override;

 private:
  const Secrets secrets_;
  pg::Database& db_;
};

}  // namespace rochdale::attribution
