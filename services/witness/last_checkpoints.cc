#include "services/witness/last_checkpoints.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/durable_file.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"

namespace rochdale::witness {

std::string OriginName(const std::string& origin) { return crypto::Sha256(origin).ToString(); }

absl::StatusOr<LastCheckpoints> LastCheckpoints::Open(const std::string& folder,
                                                      const std::vector<crypto::NoteKey>& logs,
                                                      const crypto::NoteKey& own) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const std::string lock_path = folder + "/lock";
  const int lock = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return absl::FailedPreconditionError(absl::StrCat("cannot open ", lock_path));
  LastCheckpoints last(folder, lock);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("another process is the witness of ", folder));
  }
  for (const crypto::NoteKey& log : logs) {
    const std::string path = last.PathOf(log.name);
    ASSIGN_OR_RETURN(const std::optional<std::string> note,
                     ReadWhole(path, crypto::kNoteMaxBytes));
    if (!note.has_value()) continue;
    const auto checkpoint = crypto::OpenCheckpoint(*note, log);
    absl::Status cosigned = checkpoint.status();
    if (cosigned.ok()) {
      ASSIGN_OR_RETURN(const crypto::Note parsed, crypto::ParseNote(*note));
      cosigned = crypto::VerifyCosignature(parsed, own).status();
    }
    if (!cosigned.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, " is not a checkpoint of ", log.name,
                       " that this witness cosigned: ", cosigned.message()));
    }
    last.by_origin_[log.name] = {*checkpoint, *note};
  }
  return last;
}

LastCheckpoints::LastCheckpoints(LastCheckpoints&& other) noexcept
    : folder_(other.folder_),
      lock_(std::exchange(other.lock_, -1)),
      by_origin_(std::move(other.by_origin_)) {}

LastCheckpoints::~LastCheckpoints() {
  if (lock_ >= 0) ::close(lock_);
}

const LastCheckpoint* LastCheckpoints::Find(const std::string& origin) const {
  const auto found = by_origin_.find(origin);
  return found == by_origin_.end() ? nullptr : &found->second;
}

absl::Status LastCheckpoints::Put(LastCheckpoint last) {
  RETURN_IF_ERROR(WriteDurably(PathOf(last.checkpoint.origin), last.note));
  std::string origin = last.checkpoint.origin;
  by_origin_.insert_or_assign(std::move(origin), std::move(last));
  return absl::OkStatus();
}

std::string LastCheckpoints::PathOf(const std::string& origin) const {
  return absl::StrCat(folder_, "/", OriginName(origin));
}

}  // namespace rochdale::witness
