// Blobs of runs in a directory that the workers of one machine share: by digest, verified when they
// are read, the ones used longest ago leave first.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/crypto/sha256.h"

namespace rochdale::attribution {

// Several processes may use one directory at once. Not thread-safe.
class BlobCache {
 public:
  // The directory is made where it is missing (its parent must exist).
  static absl::StatusOr<BlobCache> Open(const std::string& directory, uint64_t bytes_max);

  // The blob from the cache, or from `fetch`, which must return bytes with this digest
  // (DIGEST_MISMATCH otherwise). A cached file that has changed is fetched again. A full or
  // failing disk is no error: the blob is then not kept.
  absl::StatusOr<std::string> Get(const crypto::Digest& sha256,
                                  absl::FunctionRef<absl::StatusOr<std::string>()> fetch);

 private:
  BlobCache(std::string directory, uint64_t bytes_max)
      : directory_(std::move(directory)), bytes_max_(bytes_max) {}
  void Keep(const crypto::Digest& sha256, const std::string& bytes);
  void MakeRoom(uint64_t bytes);

  std::string directory_;
  uint64_t bytes_max_;
};

}  // namespace rochdale::attribution
