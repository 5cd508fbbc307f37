// What a witness must not forget: the largest checkpoint that it cosigned, of each log.
//
// One file per log, `<hexadecimal SHA-256 of the origin>`, which holds the note with the log's
// signature and the witness's own. It is durable before anybody sees the cosignature.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/crypto/note.h"

namespace rochdale::witness {

struct LastCheckpoint {
  crypto::Checkpoint checkpoint;
  std::string note;  // with both signatures
};

// Not thread-safe.
class LastCheckpoints {
 public:
  // Reads the files of `logs` in `folder`, which is made where it is missing and locked: it belongs
  // to one process. FAILED_PRECONDITION where another process has it, or a file is not a checkpoint
  // under both keys: a witness that does not know what it signed signs nothing.
  static absl::StatusOr<LastCheckpoints> Open(const std::string& folder,
                                              const std::vector<crypto::NoteKey>& logs,
                                              const crypto::NoteKey& own);
  LastCheckpoints(LastCheckpoints&& other) noexcept;
  LastCheckpoints& operator=(LastCheckpoints&&) = delete;
  ~LastCheckpoints();

  // Null where none of this origin was cosigned yet. Valid until the next Put.
  const LastCheckpoint* Find(const std::string& origin) const;
  // OK once it would be read again after a crash.
  absl::Status Put(LastCheckpoint last);

 private:
  LastCheckpoints(std::string folder, int lock) : folder_(std::move(folder)), lock_(lock) {}
  std::string PathOf(const std::string& origin) const;

  const std::string folder_;
  int lock_;  // descriptor of the lock file
  std::map<std::string, LastCheckpoint> by_origin_;
};

// The name of a log in files and paths: SHA-256 of its origin, hexadecimal.
std::string OriginName(const std::string& origin);

}  // namespace rochdale::witness
