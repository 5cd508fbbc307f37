// The files of an evidence bundle, read as what they are: somebody else's. docs/evidence.md,
// section 1, says which there may be.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/sha256.h"

namespace rochdale::verify {

inline constexpr uint64_t kJsonBytesMax = 16 << 20;
inline constexpr uint64_t kManifestBytesMax = 64 << 20;
inline constexpr uint64_t kBlobBytesMax = (uint64_t{2} << 30) + (64 << 20);

// Whether a path may be in a bundle: names of [A-Za-z0-9._-], 1 to 100 characters, at most eight.
bool IsBundlePath(absl::string_view path);

// A directory, or an uncompressed ustar archive of one. Nothing is followed: links and special
// files are refused when it is opened. Every read goes to the file again, by descriptor, without
// following links. Thread-safe once opened.
class Bundle {
 public:
  // INVALID_ARGUMENT naming the path for anything that may not be in a bundle; NOT_FOUND.
  static absl::StatusOr<Bundle> Open(const std::string& path);
  Bundle(Bundle&& other) noexcept;
  Bundle& operator=(Bundle&&) = delete;
  ~Bundle();

  struct File {
    uint64_t size = 0;
    uint64_t offset = 0;  // in the archive
  };
  // By path, "log/checkpoint".
  const std::map<std::string, File>& files() const { return files_; }
  bool Has(const std::string& path) const { return files_.contains(path); }
  // The names in a folder ("rounds") without it, in order.
  std::vector<std::string> NamesIn(absl::string_view folder) const;

  // The bytes. NOT_FOUND; RESOURCE_EXHAUSTED beyond `bytes_max`; DATA_LOSS where it changed.
  absl::StatusOr<std::string> Read(const std::string& path, uint64_t bytes_max) const;
  // Of the bytes, without holding them.
  absl::StatusOr<crypto::Digest> Sha256(const std::string& path) const;

 private:
  Bundle(int fd, bool archive) : fd_(fd), archive_(archive) {}
  absl::Status Walk(int folder, const std::string& prefix, int depth);
  absl::Status ReadArchive();
  absl::StatusOr<std::pair<int, bool>> Descriptor(const std::string& path) const;
  absl::Status Add(const std::string& path, File file);
  template <typename Sink>
  absl::Status Stream(const std::string& path, const Sink& sink) const;

  int fd_ = -1;
  bool archive_ = false;
  std::map<std::string, File> files_;
};

}  // namespace rochdale::verify
