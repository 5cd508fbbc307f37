// A committed blob in memory: a read-only mapping of its file.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace rochdale::blob {

// Move-only. The bytes stay readable until destruction, even if the blob is deleted meanwhile.
// They begin at a page boundary. Reading is thread-safe.
class MappedBlob {
 public:
  // NOT_FOUND if there is no such file.
  static absl::StatusOr<MappedBlob> Map(const std::string& path);

  MappedBlob() = default;
  MappedBlob(MappedBlob&& other) noexcept;
  MappedBlob& operator=(MappedBlob&& other) noexcept;
  ~MappedBlob();

  size_t size() const { return size_; }
  absl::Span<const uint8_t> bytes() const { return {static_cast<const uint8_t*>(start_), size_}; }
  absl::string_view text() const { return {static_cast<const char*>(start_), size_}; }

 private:
  MappedBlob(void* start, size_t size) : start_(start), size_(size) {}
  void* start_ = nullptr;
  size_t size_ = 0;
};

}  // namespace rochdale::blob
