// A content-addressed store of blobs in a directory, filled by resumable uploads.
//
//   <dir>/blobs/ab/<64 hex digits>              committed, complete, verified, read-only
//   <dir>/uploads/<id>.<size>.<digest>.part     an upload session: its offset is its file's size
//   <dir>/lock                                  one process at a time
//
// A blob appears under its digest only when all its bytes are on the disk and have been verified;
// sessions survive a restart or crash of the process at any instant. Disk use never exceeds
// `store_bytes_max`: an upload reserves its declared size when it begins.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/blob/file.h"
#include "libs/blob/mapped_blob.h"
#include "libs/crypto/sha256.h"

namespace rochdale::blob {

using UploadId = Id<struct UploadTag>;

struct BlobLimits {
  uint64_t blob_bytes_max = uint64_t{4} << 30;
  uint64_t store_bytes_max = uint64_t{256} << 30;  // blobs and reservations together
  uint64_t chunk_bytes_max = 4 << 20;
  size_t uploads_max = 256;                        // open at once
  absl::Duration upload_idle_max = absl::Hours(24);
};

// Where an upload session stands.
struct Upload {
  uint64_t offset = 0;  // bytes received; the next chunk starts here
  uint64_t size = 0;    // declared
  crypto::Digest digest;  // declared

  bool complete() const { return offset == size; }
};

struct BlobUsage {
  uint64_t blob_bytes = 0;
  uint64_t blobs = 0;
  uint64_t reserved_bytes = 0;  // declared sizes of open uploads
  uint64_t uploads = 0;
};

// Thread-safe. Calls for one upload run one after the other, others in parallel.
// Any call may fail with STORE_FULL (disk or limit) or, on a fault of the disk, with INTERNAL
// without a reason.
class BlobStore {
 public:
  // Makes the directory if need be (its parent must exist) and finds what is in it.
  // FAILED_PRECONDITION if another store has it open.
  static absl::StatusOr<std::unique_ptr<BlobStore>> Open(const std::string& dir,
                                                         const BlobLimits& limits);

  // Starts an upload or finds it again: the same id, size and digest give where it stands.
  // UPLOAD_TOO_LARGE beyond blob_bytes_max (or size 0), REQUEST_ID_REUSED for the same id with
  // other arguments, OVERLOADED (retryable) where too many uploads are open.
  absl::StatusOr<Upload> Begin(UploadId id, uint64_t size, const crypto::Digest& digest,
                               absl::Time now);
  // NOT_FOUND if there is no such session (never begun, committed, expired or aborted).
  absl::StatusOr<Upload> Find(UploadId id) const;
  // Appends a chunk. UPLOAD_OFFSET, saying where the upload stands, unless `offset` is just there;
  // UPLOAD_TOO_LARGE for a chunk over the limit or past the declared size; NOT_FOUND as above.
  // A chunk that fails midway leaves the session as it was.
  absl::StatusOr<Upload> WriteAt(UploadId id, uint64_t offset, absl::string_view bytes,
                                 absl::Time now);
  // Verifies size and digest and makes the blob durable and visible; the session ends. Repeating
  // it is OK. UPLOAD_INCOMPLETE while bytes are missing; DIGEST_MISMATCH where the bytes are not
  // the declared ones (the session ends, nothing is kept); NOT_FOUND if there is neither a session
  // nor a blob with `digest`.
  absl::Status Commit(UploadId id, const crypto::Digest& digest);
  // Ends a session without a blob. OK if there is none.
  absl::Status Abort(UploadId id);
  // Aborts the sessions that nothing was written to for upload_idle_max. Returns how many.
  size_t Sweep(absl::Time now);

  // Stores `bytes` at once. OK with the same digest if they are there already.
  absl::StatusOr<crypto::Digest> Put(absl::string_view bytes);
  // NOT_FOUND if it is not there. Does not hash: see Verify.
  absl::StatusOr<MappedBlob> Get(const crypto::Digest& digest) const;
  bool Exists(const crypto::Digest& digest) const;
  absl::StatusOr<uint64_t> SizeOf(const crypto::Digest& digest) const;
  // Hashes the stored bytes: NOT_FOUND, or DIGEST_MISMATCH if they have changed on the disk.
  absl::Status Verify(const crypto::Digest& digest) const;
  // OK if it is not there. Mappings that are open stay valid.
  absl::Status Delete(const crypto::Digest& digest);

  BlobUsage usage() const;
  const BlobLimits& limits() const { return limits_; }

 private:
  struct Session {
    std::mutex mutex;  // taken before the store's mutex_, never after
    std::string path;
    Upload upload;
    absl::Time last_write;
    bool ended = false;
  };

  BlobStore(std::string dir, const BlobLimits& limits, File lock);
  absl::Status LoadBlobs();
  absl::Status LoadUploads();
  std::string BlobPath(const crypto::Digest& digest) const;
  std::string UploadPath(UploadId id, const Upload& upload) const;
  std::shared_ptr<Session> FindSession(UploadId id) const;
  absl::Status CheckRoomLocked(uint64_t bytes) const;
  absl::Status EndSession(UploadId id, Session& session);
  absl::Status Publish(const std::string& path, const crypto::Digest& digest, uint64_t size);

  const std::string dir_;
  const BlobLimits limits_;
  const File lock_;
  mutable std::mutex mutex_;  // guards what follows and which blobs exist
  std::map<UploadId, std::shared_ptr<Session>> sessions_;
  BlobUsage usage_;
  uint64_t puts_ = 0;  // names of temporary files
};

}  // namespace rochdale::blob
