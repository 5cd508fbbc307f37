#include "libs/blob/blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::blob {
namespace {

constexpr absl::Duration kRetryWhenBusy = absl::Seconds(30);

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  DIR* const directory = ::opendir(path.c_str());
  if (directory == nullptr) return SystemError("opendir", path);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  return names;
}

absl::Status NoSuchUpload() { return Error("NOT_FOUND", "no open upload with this id"); }

}  // namespace

BlobStore::BlobStore(std::string dir, const BlobLimits& limits, File lock)
    : dir_(std::move(dir)), limits_(limits), lock_(std::move(lock)) {}

absl::StatusOr<std::unique_ptr<BlobStore>> BlobStore::Open(const std::string& dir,
                                                           const BlobLimits& limits) {
  for (absl::string_view part : {"", "/blobs", "/uploads"}) {
    RETURN_IF_ERROR(MakeDirectory(absl::StrCat(dir, part)));
  }
  const std::string lock_path = dir + "/lock";
  File lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return SystemError("open", lock_path);
  if (::flock(lock.fd(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(dir, " is open in another store"));
  }
  auto store = std::unique_ptr<BlobStore>(new BlobStore(dir, limits, std::move(lock)));
  RETURN_IF_ERROR(store->LoadBlobs());
  RETURN_IF_ERROR(store->LoadUploads());
  return store;
}

absl::Status BlobStore::LoadBlobs() {
  ASSIGN_OR_RETURN(const std::vector<std::string> folders, ListDirectory(dir_ + "/blobs"));
  for (const std::string& folder : folders) {
    const std::string path = absl::StrCat(dir_, "/blobs/", folder);
    ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
    for (const std::string& name : names) {
      struct stat info;
      if (!crypto::Digest::Parse(name).ok() ||
          ::stat(absl::StrCat(path, "/", name).c_str(), &info) != 0) {
        continue;
      }
      usage_.blob_bytes += static_cast<uint64_t>(info.st_size);
      ++usage_.blobs;
    }
  }
  return absl::OkStatus();
}

absl::Status BlobStore::LoadUploads() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(dir_ + "/uploads"));
  for (const std::string& name : names) {
    auto session = std::make_shared<Session>();
    session->path = absl::StrCat(dir_, "/uploads/", name);
    const std::vector<std::string> parts = absl::StrSplit(name, '.');
    struct stat info;
    const auto id = UploadId::Parse(parts[0]);
    const auto digest = crypto::Digest::Parse(parts.size() == 4 ? parts[2] : "");
    if (!id.ok() || !digest.ok() || !absl::SimpleAtoi(parts[1], &session->upload.size) ||
        ::stat(session->path.c_str(), &info) != 0 ||
        static_cast<uint64_t>(info.st_size) > session->upload.size) {
      // What a Put that was interrupted left behind, or damage: nobody can resume it.
      RETURN_IF_ERROR(Remove(session->path));
      continue;
    }
    session->upload.offset = static_cast<uint64_t>(info.st_size);
    session->upload.digest = *digest;
    session->last_write = absl::TimeFromTimespec(info.st_mtim);
    usage_.reserved_bytes += session->upload.size;
    ++usage_.uploads;
    sessions_[*id] = std::move(session);
  }
  return absl::OkStatus();
}

std::string BlobStore::BlobPath(const crypto::Digest& digest) const {
  const std::string text = digest.ToString();
  return absl::StrCat(dir_, "/blobs/", text.substr(0, 2), "/", text);
}

std::string BlobStore::UploadPath(UploadId id, const Upload& upload) const {
  return absl::StrCat(dir_, "/uploads/", id.ToString(), ".", upload.size, ".",
                      upload.digest.ToString(), ".part");
}

std::shared_ptr<BlobStore::Session> BlobStore::FindSession(UploadId id) const {
  std::lock_guard lock(mutex_);
  const auto at = sessions_.find(id);
  return at == sessions_.end() ? nullptr : at->second;
}

absl::Status BlobStore::CheckRoomLocked(uint64_t bytes) const {
  const uint64_t taken = usage_.blob_bytes + usage_.reserved_bytes;
  if (taken > limits_.store_bytes_max || bytes > limits_.store_bytes_max - taken) {
    return Error("STORE_FULL", "the blob store has no room left");
  }
  return absl::OkStatus();
}

absl::StatusOr<Upload> BlobStore::Begin(UploadId id, uint64_t size, const crypto::Digest& digest,
                                        absl::Time now) {
  if (size == 0 || size > limits_.blob_bytes_max) {
    return Error("UPLOAD_TOO_LARGE", absl::StrCat("a blob has 1 to ", limits_.blob_bytes_max,
                                                  " bytes, not ", size));
  }
  if (const std::shared_ptr<Session> session = FindSession(id)) {
    std::lock_guard lock(session->mutex);
    if (session->upload.size != size || session->upload.digest != digest) {
      return Error("REQUEST_ID_REUSED", "this upload was begun with another size or digest");
    }
    if (!session->ended) return session->upload;
  }
  std::lock_guard lock(mutex_);
  if (sessions_.contains(id)) {
    return RetryableError("OVERLOADED", "this upload is being begun by another call",
                          absl::Seconds(1));
  }
  if (sessions_.size() >= limits_.uploads_max) {
    return RetryableError("OVERLOADED", "too many uploads are open", kRetryWhenBusy);
  }
  RETURN_IF_ERROR(CheckRoomLocked(size));
  auto session = std::make_shared<Session>();
  session->upload = {0, size, digest};
  session->path = UploadPath(id, session->upload);
  session->last_write = now;
  const File file(::open(session->path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) return SystemError("open", session->path);
  RETURN_IF_ERROR(file.SetModified(now));
  usage_.reserved_bytes += size;
  ++usage_.uploads;
  sessions_[id] = session;
  return session->upload;
}

absl::StatusOr<Upload> BlobStore::Find(UploadId id) const {
  const std::shared_ptr<Session> session = FindSession(id);
  if (session == nullptr) return NoSuchUpload();
  std::lock_guard lock(session->mutex);
  if (session->ended) return NoSuchUpload();
  return session->upload;
}

absl::StatusOr<Upload> BlobStore::WriteAt(UploadId id, uint64_t offset, absl::string_view bytes,
                                          absl::Time now) {
  const std::shared_ptr<Session> session = FindSession(id);
  if (session == nullptr) return NoSuchUpload();
  std::lock_guard lock(session->mutex);
  if (session->ended) return NoSuchUpload();
  Upload& upload = session->upload;
  if (offset != upload.offset) {
    return Error("UPLOAD_OFFSET", absl::StrCat("the upload stands at offset ", upload.offset));
  }
  if (bytes.size() > limits_.chunk_bytes_max) {
    return Error("UPLOAD_TOO_LARGE",
                 absl::StrCat("a chunk has at most ", limits_.chunk_bytes_max, " bytes"));
  }
  if (bytes.size() > upload.size - upload.offset) {
    return Error("UPLOAD_TOO_LARGE", "the chunk reaches past the declared size");
  }
  const File file(::open(session->path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return SystemError("open", session->path);
  if (absl::Status written = file.WriteAt(offset, bytes); !written.ok()) {
    // The file's size is the session's memory: take back what was written of the chunk.
    RETURN_IF_ERROR(file.Truncate(upload.offset));
    return written;
  }
  upload.offset += bytes.size();
  session->last_write = now;
  RETURN_IF_ERROR(file.SetModified(now));
  return upload;
}

absl::Status BlobStore::Commit(UploadId id, const crypto::Digest& digest) {
  const std::shared_ptr<Session> session = FindSession(id);
  if (session == nullptr) return Exists(digest) ? absl::OkStatus() : NoSuchUpload();
  std::lock_guard lock(session->mutex);
  if (session->ended) return Exists(digest) ? absl::OkStatus() : NoSuchUpload();
  const Upload& upload = session->upload;
  if (upload.digest != digest) {
    return Error("DIGEST_MISMATCH", "the upload was begun with another digest");
  }
  if (!upload.complete()) {
    return Error("UPLOAD_INCOMPLETE",
                 absl::StrCat("the upload stands at offset ", upload.offset, " of ", upload.size));
  }
  {
    const File file(::open(session->path.c_str(), O_RDWR | O_CLOEXEC));
    if (!file.valid()) return SystemError("open", session->path);
    ASSIGN_OR_RETURN(const crypto::Digest actual, file.Sha256());
    if (actual != digest) {
      RETURN_IF_ERROR(EndSession(id, *session));
      return Error("DIGEST_MISMATCH", "the uploaded bytes do not have the declared SHA-256");
    }
    RETURN_IF_ERROR(file.Sync());
  }
  RETURN_IF_ERROR(Publish(session->path, digest, upload.size));
  return EndSession(id, *session);
}

absl::Status BlobStore::Abort(UploadId id) {
  const std::shared_ptr<Session> session = FindSession(id);
  if (session == nullptr) return absl::OkStatus();
  std::lock_guard lock(session->mutex);
  return session->ended ? absl::OkStatus() : EndSession(id, *session);
}

size_t BlobStore::Sweep(absl::Time now) {
  std::vector<std::pair<UploadId, std::shared_ptr<Session>>> all;
  {
    std::lock_guard lock(mutex_);
    all.assign(sessions_.begin(), sessions_.end());
  }
  size_t swept = 0;
  for (const auto& [id, session] : all) {
    const std::unique_lock lock(session->mutex, std::try_to_lock);
    if (!lock.owns_lock() || session->ended) continue;  // a call is at work on it
    if (session->last_write + limits_.upload_idle_max >= now) continue;
    if (EndSession(id, *session).ok()) ++swept;
  }
  return swept;
}

// Called with session.mutex held.
absl::Status BlobStore::EndSession(UploadId id, Session& session) {
  RETURN_IF_ERROR(Remove(session.path));
  session.ended = true;
  std::lock_guard lock(mutex_);
  sessions_.erase(id);
  usage_.reserved_bytes -= session.upload.size;
  --usage_.uploads;
  return absl::OkStatus();
}

// Moves a file that is complete, verified and synced to its place. If the blob is there already,
// the file is left for the caller to remove.
absl::Status BlobStore::Publish(const std::string& path, const crypto::Digest& digest,
                                uint64_t size) {
  const std::string target = BlobPath(digest);
  const std::string folder = target.substr(0, target.rfind('/'));
  std::lock_guard lock(mutex_);
  struct stat info;
  if (::stat(target.c_str(), &info) == 0) return absl::OkStatus();
  if (::stat(folder.c_str(), &info) != 0) {
    RETURN_IF_ERROR(MakeDirectory(folder));
    RETURN_IF_ERROR(SyncDirectory(dir_ + "/blobs"));
  }
  if (::chmod(path.c_str(), 0400) != 0) return SystemError("chmod", path);
  RETURN_IF_ERROR(Rename(path, target));
  usage_.blob_bytes += size;
  ++usage_.blobs;
  return SyncDirectory(folder);
}

absl::StatusOr<crypto::Digest> BlobStore::Put(absl::string_view bytes) {
  if (bytes.empty() || bytes.size() > limits_.blob_bytes_max) {
    return Error("UPLOAD_TOO_LARGE", absl::StrCat("a blob has 1 to ", limits_.blob_bytes_max,
                                                  " bytes, not ", bytes.size()));
  }
  const crypto::Digest digest = crypto::Sha256(bytes);
  if (Exists(digest)) return digest;
  std::string path;
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(CheckRoomLocked(bytes.size()));
    usage_.reserved_bytes += bytes.size();
    path = absl::StrCat(dir_, "/uploads/put-", ++puts_);
  }
  absl::Status stored = [&]() -> absl::Status {
    const File file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file.valid()) return SystemError("open", path);
    RETURN_IF_ERROR(file.WriteAt(0, bytes));
    RETURN_IF_ERROR(file.Sync());
    return Publish(path, digest, bytes.size());
  }();
  stored.Update(Remove(path));  // still there only if the blob was there first, or on an error
  {
    std::lock_guard lock(mutex_);
    usage_.reserved_bytes -= bytes.size();
  }
  RETURN_IF_ERROR(stored);
  return digest;
}

absl::StatusOr<MappedBlob> BlobStore::Get(const crypto::Digest& digest) const {
  return MappedBlob::Map(BlobPath(digest));
}

bool BlobStore::Exists(const crypto::Digest& digest) const { return SizeOf(digest).ok(); }

absl::StatusOr<uint64_t> BlobStore::SizeOf(const crypto::Digest& digest) const {
  const std::string path = BlobPath(digest);
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) return static_cast<uint64_t>(info.st_size);
  if (errno == ENOENT) return Error("NOT_FOUND", "no blob with this digest");
  return SystemError("stat", path);
}

absl::Status BlobStore::Verify(const crypto::Digest& digest) const {
  const std::string path = BlobPath(digest);
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    return errno == ENOENT ? Error("NOT_FOUND", "no blob with this digest")
                           : SystemError("open", path);
  }
  ASSIGN_OR_RETURN(const crypto::Digest actual, file.Sha256());
  return actual == digest ? absl::OkStatus()
                          : Error("DIGEST_MISMATCH", "a stored blob no longer has its digest");
}

absl::Status BlobStore::Delete(const crypto::Digest& digest) {
  std::lock_guard lock(mutex_);
  const auto size = SizeOf(digest);
  if (!size.ok()) {
    return size.status().code() == absl::StatusCode::kNotFound ? absl::OkStatus() : size.status();
  }
  const std::string path = BlobPath(digest);
  RETURN_IF_ERROR(Remove(path));
  usage_.blob_bytes -= *size;
  --usage_.blobs;
  return SyncDirectory(path.substr(0, path.rfind('/')));
}

BlobUsage BlobStore::usage() const {
  std::lock_guard lock(mutex_);
  return usage_;
}

}  // namespace rochdale::blob
