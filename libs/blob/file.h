// The few calls on files that the store needs, with their errors as statuses. For libs/blob only.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/crypto/sha256.h"

namespace rochdale::blob {

// From errno: STORE_FULL where the disk or a quota is exhausted, else INTERNAL without a reason
// (its text, with path and cause, is for the operator's log).
absl::Status SystemError(absl::string_view call, absl::string_view path);

// Owns a descriptor.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&&) = delete;
  ~File();

  bool valid() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  absl::StatusOr<uint64_t> Size() const;
  // All of `bytes` at `offset`, or an error (some may have been written then).
  absl::Status WriteAt(uint64_t offset, absl::string_view bytes) const;
  absl::Status Truncate(uint64_t size) const;
  absl::Status Sync() const;
  absl::StatusOr<crypto::Digest> Sha256() const;  // of the whole file
  absl::Status SetModified(absl::Time time) const;

 private:
  int fd_;
};

absl::Status MakeDirectory(const std::string& path);  // OK if it exists
absl::Status SyncDirectory(const std::string& path);
absl::Status Rename(const std::string& from, const std::string& to);
absl::Status Remove(const std::string& path);  // OK if it does not exist

}  // namespace rochdale::blob
