// Signed tree heads: C2SP checkpoints of committed sizes, in the table `tree_heads` and, the last
// one, outside the database: in a file, and with witnesses. So a restored database cannot be behind
// them unnoticed.
//
// The file is written and flushed before the head is published: whatever anybody was shown is in
// it. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <optional>
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

  // Makes Check answer also for this note, which `where` (a witness's address) remembers.
  // INVALID_ARGUMENT or DATA_LOSS where it is no checkpoint that this log signed: nothing follows
  // from it then.
  absl::Status Remember(const std::string& where, const std::string& note);

  // DATA_LOSS where the database is behind a checkpoint in the file or one that was remembered, or
  // has another root at its size; FAILED_PRECONDITION where the file is not a checkpoint of this
  // log, or the database has the log of another origin (one that was restarted has a new one, and
  // the old one must never be signed again).
  absl::Status Check(pg::Transaction& tx, const TreeState& state) const;

  // Signs the head of what is committed now, unless that size has one, and returns it.
  // FAILED_PRECONDITION for an empty log.
  absl::StatusOr<TreeHead> SignNow(absl::Time deadline);

  // The note over a manifest's digest: kBundleLine and the digest in hexadecimal, a line each.
  absl::StatusOr<std::string> SignBundle(const crypto::Digest& manifest) const;

 private:
  absl::Status CheckOrigin(pg::Transaction& tx, const TreeState& state) const;
  // Nothing where there is no file: none was ever signed here, by a new log or a replica that never
  // led.
  absl::StatusOr<std::optional<crypto::Checkpoint>> ReadFile() const;

  pg::Database& db_;
  const Clock& clock_;
  const crypto::KeyPair key_;
  const std::string origin_;
  const std::string file_;
  const obs::Gauge signed_size_;
  mutable std::mutex remembered_mutex_;
  std::map<std::string, crypto::Checkpoint> remembered_;  // by where; the largest of each
  std::mutex signing_;  // one at a time, so that the file never goes back
};

}  // namespace rochdale::ledger
