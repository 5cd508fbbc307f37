#include "libs/blob/mapped_blob.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/blob/file.h"

namespace rochdale::blob {

absl::StatusOr<MappedBlob> MappedBlob::Map(const std::string& path) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    if (errno == ENOENT) return Error("NOT_FOUND", "no blob with this digest");
    return SystemError("open", path);
  }
  ASSIGN_OR_RETURN(const uint64_t size, file.Size());
  if (size == 0) return MappedBlob();
  void* const start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd(), 0);
  if (start == MAP_FAILED) return SystemError("mmap", path);
  return MappedBlob(start, size);
}

MappedBlob::MappedBlob(MappedBlob&& other) noexcept
    : start_(std::exchange(other.start_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedBlob& MappedBlob::operator=(MappedBlob&& other) noexcept {
  std::swap(start_, other.start_);
  std::swap(size_, other.size_);
  return *this;
}

MappedBlob::~MappedBlob() {
  if (start_ != nullptr) ::munmap(start_, size_);
}

}  // namespace rochdale::blob
