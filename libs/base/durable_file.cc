#include "libs/base/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

namespace rochdale {
namespace {

absl::Status FileError(absl::string_view what, const std::string& path) {
  return absl::UnavailableError(absl::StrCat(what, " ", path, ": ", std::strerror(errno)));
}

// Owns a descriptor.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool valid() const { return fd_ >= 0; }
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status WriteAndFlush(const std::string& path, absl::string_view bytes) {
  const Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.valid()) return FileError("cannot make", path);
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.fd(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return FileError("cannot write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return ::fsync(file.fd()) == 0 ? absl::OkStatus() : FileError("cannot flush", path);
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

absl::Status WriteDurably(const std::string& path, absl::string_view bytes) {
  const std::string next = absl::StrCat(path, ".next");
  RETURN_IF_ERROR(WriteAndFlush(next, bytes));
  if (std::rename(next.c_str(), path.c_str()) != 0) return FileError("cannot replace", path);
  const std::string folder = FolderOf(path);
  const Descriptor directory(folder, O_RDONLY | O_DIRECTORY);
  if (!directory.valid() || ::fsync(directory.fd()) != 0) return FileError("cannot flush", folder);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> ReadWhole(const std::string& path, size_t bytes_max) {
  const Descriptor file(path, O_RDONLY);
  if (!file.valid()) {
    if (errno == ENOENT) return std::nullopt;
    return FileError("cannot open", path);
  }
  std::string bytes;
  char part[4096];
  for (;;) {
    const ssize_t read = ::read(file.fd(), part, sizeof part);
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return FileError("cannot read", path);
    if (read == 0) return bytes;
    bytes.append(part, static_cast<size_t>(read));
    if (bytes.size() > bytes_max) {
      return absl::UnavailableError(absl::StrCat(path, " has more than ", bytes_max, " bytes"));
    }
  }
}

}  // namespace rochdale
