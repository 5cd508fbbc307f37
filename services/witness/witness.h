// A witness of logs (c2sp.org/tlog-witness): it remembers the largest checkpoint of each log that
// it knows, cosigns one only if it proves to continue that, and so makes it impossible for a log to
// show different histories to different people, or to take back what it showed, unnoticed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/clock.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/note.h"
#include "services/witness/last_checkpoints.h"

namespace rochdale::witness {

enum class Verdict {
  kCosigned,
  kMalformed,      // or the old size is above the new one
  kUnknownLog,
  kNotSigned,      // by the key of the log
  kOtherSize,      // the old size is not that of the checkpoint that is remembered, or at one size
                   // there are two roots
  kInconsistent,   // the proof does not show that the log only grew
  kNotRemembered,  // it could not be made durable, and so was not cosigned
};

struct Answer {
  Verdict verdict = Verdict::kMalformed;
  std::string text;        // of kCosigned: the signature line; else what is wrong
  uint64_t known_size = 0;  // of kOtherSize; 0 where none is remembered
};

// Thread-safe.
class Witness {
 public:
  // `name` is that of its key; `logs` have one key each, whose name is the origin. State is kept in
  // `folder`. INVALID_ARGUMENT for names that cannot be, FAILED_PRECONDITION: see LastCheckpoints.
  static absl::StatusOr<std::unique_ptr<Witness>> Open(std::string name, crypto::KeyPair key,
                                                       std::vector<crypto::NoteKey> logs,
                                                       const std::string& folder,
                                                       const Clock& clock);

  // The key that its cosignatures verify under.
  crypto::NoteKey verifier_key() const { return own_; }

  // `request`: crypto/add_checkpoint.h.
  Answer Add(absl::string_view request);

  // The remembered note of the log with this OriginName. Nothing where there is none.
  std::optional<std::string> Last(absl::string_view origin_name) const;

 private:
  Witness(crypto::NoteKey own, crypto::KeyPair key, LastCheckpoints last, const Clock& clock);

  const crypto::NoteKey own_;
  const crypto::KeyPair key_;
  const Clock& clock_;
  std::map<std::string, crypto::NoteKey> logs_;  // by origin
  std::map<std::string, std::string, std::less<>> origins_;  // by OriginName
  mutable std::mutex mutex_;
  LastCheckpoints last_;  // checked and replaced under the mutex, so that it never goes back
};

}  // namespace rochdale::witness
