// Signed tree heads: C2SP checkpoints of committed sizes, in the table `tree_heads` and, the last
// one, in a file outside the database, which a restored database cannot be behind unnoticed.
//
// The file is written and flushed before the head is published: whatever anybody was shown is in
// it. Thread-safe.
#pragma once

#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/note.h"
#include "libs/obs/metrics.h"
#include "libs/pg/database.h"
#include "services/ledger/log_store.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

// The first line of a bundle's note; no origin may be called so.
inline constexpr char kBundleLine[] = "rochdale evidence bundle v1";

class TreeHeads {
 public:
  // `origin` is the name of the log and of its key. `file`: the last signed checkpoint, a note.
  TreeHeads(pg::Database& db, const Clock& clock, crypto::KeyPair key, std::string origin,
            std::string file, obs::Gauge signed_size);

  const std::string& origin() const { return origin_; }
  crypto::NoteKey verifier_key() const;

  // DATA_LOSS where the database is behind the checkpoint in the file or has another root at its
  // size; FAILED_PRECONDITION where the file is not a checkpoint of this log.
  absl::Status Check(pg::Transaction& tx, const TreeState& state) const;

  // Signs the head of what is committed now, unless that size has one, and returns it.
  // FAILED_PRECONDITION for an empty log.
  absl::StatusOr<TreeHead> SignNow(absl::Time deadline);

  // The note over a manifest's digest: kBundleLine and the digest in hexadecimal, a line each.
  absl::StatusOr<std::string> SignBundle(const crypto::Digest& manifest) const;

 private:
  absl::Status WriteFile(const std::string& note) const;

  pg::Database& db_;
  const Clock& clock_;
  const crypto::KeyPair key_;
  const std::string origin_;
  const std::string file_;
  const obs::Gauge signed_size_;
  std::mutex signing_;  // one at a time, so that the file never goes back
};

}  // namespace rochdale::ledger
