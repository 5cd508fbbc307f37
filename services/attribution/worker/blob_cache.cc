#include "services/attribution/worker/blob_cache.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::attribution {
namespace {

namespace fs = std::filesystem;

bool IsBlobName(const std::string& name) { return crypto::Digest::Parse(name).ok(); }

}  // namespace

absl::StatusOr<BlobCache> BlobCache::Open(const std::string& directory, uint64_t bytes_max) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return absl::InternalError(absl::StrCat("cannot make ", directory, ": ", error.message()));
  }
  return BlobCache(directory, bytes_max);
}

absl::StatusOr<std::string> BlobCache::Get(const crypto::Digest& sha256,
                                           absl::FunctionRef<absl::StatusOr<std::string>()> fetch) {
  const fs::path path = fs::path(directory_) / sha256.ToString();
  std::ifstream file(path, std::ios::binary);
  if (file) {
    std::stringstream content;
    content << file.rdbuf();
    std::string bytes = std::move(content).str();
    if (crypto::Sha256(bytes) == sha256) {
      std::error_code ignored;  // its age only orders what leaves first
      fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);
      return bytes;
    }
  }
  ASSIGN_OR_RETURN(std::string bytes, fetch());
  if (crypto::Sha256(bytes) != sha256) {
    return Error("DIGEST_MISMATCH", "a blob has not the digest it was asked for by");
  }
  Keep(sha256, bytes);
  return bytes;
}

void BlobCache::Keep(const crypto::Digest& sha256, const std::string& bytes) {
  if (bytes.size() > bytes_max_) return;
  MakeRoom(bytes.size());
  const fs::path path = fs::path(directory_) / sha256.ToString();
  const fs::path partial = absl::StrCat(path.string(), ".", getpid(), ".part");
  std::error_code ignored;
  {
    std::ofstream file(partial, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) {
      fs::remove(partial, ignored);
      return;
    }
  }
  fs::rename(partial, path, ignored);
}

void BlobCache::MakeRoom(uint64_t bytes) {
  struct Kept {
    fs::file_time_type used;
    uint64_t size;
    fs::path path;
  };
  std::vector<Kept> kept;
  uint64_t total = 0;
  std::error_code error;
  for (fs::directory_iterator at(directory_, error), end; !error && at != end;
       at.increment(error)) {
    if (!IsBlobName(at->path().filename())) continue;
    std::error_code gone;  // another worker may remove it meanwhile
    const uint64_t size = fs::file_size(at->path(), gone);
    if (gone) continue;
    kept.push_back({fs::last_write_time(at->path(), gone), size, at->path()});
    total += size;
  }
  std::sort(kept.begin(), kept.end(), [](const Kept& a, const Kept& b) { return a.used < b.used; });
  for (const Kept& one : kept) {
    if (total + bytes <= bytes_max_) return;
    std::error_code gone;
    fs::remove(one.path, gone);
    total -= one.size;
  }
}

}  // namespace rochdale::attribution
