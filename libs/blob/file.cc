#include "libs/blob/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"

namespace rochdale::blob {

absl::Status SystemError(absl::string_view call, absl::string_view path) {
  const int cause = errno;
  if (cause == ENOSPC || cause == EDQUOT || cause == EFBIG) {
    return Error("STORE_FULL", "the blob store has no room left");
  }
  return absl::InternalError(absl::StrCat(call, " ", path, ": ", std::strerror(cause)));
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

absl::StatusOr<uint64_t> File::Size() const {
  struct stat info;
  if (::fstat(fd_, &info) != 0) return SystemError("fstat", "a blob");
  return static_cast<uint64_t>(info.st_size);
}

absl::Status File::WriteAt(uint64_t offset, absl::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return SystemError("pwrite", "a blob");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

absl::Status File::Truncate(uint64_t size) const {
  return ::ftruncate(fd_, static_cast<off_t>(size)) == 0 ? absl::OkStatus()
                                                         : SystemError("ftruncate", "a blob");
}

absl::Status File::Sync() const {
  return ::fsync(fd_) == 0 ? absl::OkStatus() : SystemError("fsync", "a blob");
}

absl::StatusOr<crypto::Digest> File::Sha256() const {
  crypto::Sha256Hasher hasher;
  std::vector<char> buffer(1 << 20);
  for (off_t offset = 0;;) {
    const ssize_t got = ::pread(fd_, buffer.data(), buffer.size(), offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      return SystemError("pread", "a blob");
    }
    if (got == 0) return hasher.Finish();
    hasher.Update({buffer.data(), static_cast<size_t>(got)});
    offset += got;
  }
}

absl::Status File::SetModified(absl::Time time) const {
  const timespec at = absl::ToTimespec(time);
  const timespec times[2] = {at, at};
  return ::futimens(fd_, times) == 0 ? absl::OkStatus() : SystemError("futimens", "a blob");
}

absl::Status MakeDirectory(const std::string& path) {
  return ::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST ? absl::OkStatus()
                                                             : SystemError("mkdir", path);
}

absl::Status SyncDirectory(const std::string& path) {
  const File directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return SystemError("open", path);
  return directory.Sync();
}

absl::Status Rename(const std::string& from, const std::string& to) {
  return std::rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus() : SystemError("rename", to);
}

absl::Status Remove(const std::string& path) {
  return ::unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus()
                                                        : SystemError("unlink", path);
}

}  // namespace rochdale::blob
