// Blobs over gRPC: the server side of BeginUpload, UploadBlob, GetUpload and DownloadBlob, and the
// client side. Used by every service that takes or gives blobs.
//
// An upload belongs to who began it: its id follows from owner, purpose and digest, so beginning
// again finds it. That somebody else has uploaded the same bytes is never told: each owner sends
// them, and the service remembers who has.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/blob/blob_store.h"
#include "libs/crypto/sha256.h"

namespace grpc {
class ClientContext;
template <class W>
class ClientReaderInterface;
template <class W>
class ClientWriterInterface;
template <class R>
class ServerReader;
template <class W>
class ServerWriter;
}  // namespace grpc
namespace rochdale::common::v1 {
class BeginUploadRequest;
class BlobChunk;
class DownloadBlobRequest;
class GetUploadRequest;
class Upload;
class UploadChunk;
}  // namespace rochdale::common::v1
namespace rochdale::rpc {
struct Call;
}

namespace rochdale::blob {

// What the service remembers of complete uploads, and what it allows.
struct UploadPolicy {
  // The size limit of a purpose (common.v1.BlobPurpose) for this caller, in bytes; an error
  // (PERMISSION_DENIED) where the caller may not upload for it.
  std::function<absl::StatusOr<uint64_t>(const rpc::Call& call, int purpose)> limit;
  // Whether this owner has completed this upload before.
  std::function<absl::StatusOr<bool>(const rpc::Call& call, const std::string& owner, int purpose,
                                     const crypto::Digest& digest)>
      is_recorded;
  // Remembers that it has; idempotent.
  std::function<absl::Status(const rpc::Call& call, const std::string& owner, int purpose,
                             const crypto::Digest& digest, uint64_t size_bytes)>
      record;
};

// Thread-safe. `store` outlives it. The owner is the caller's identity ("agent:<uuid>").
class UploadDesk {
 public:
  UploadDesk(BlobStore& store, UploadPolicy policy)
      : store_(store), policy_(std::move(policy)) {}

  // BAD_REQUEST, UPLOAD_TOO_LARGE, PERMISSION_DENIED, OVERLOADED, STORE_FULL; DIGEST_MISMATCH where
  // all bytes were there already and are not the declared ones.
  absl::Status Begin(const rpc::Call& call, const common::v1::BeginUploadRequest& request,
                     common::v1::Upload* response);
  // Reads until the client ends its stream or the upload is complete; then verifies and records.
  // NOT_FOUND, UPLOAD_OFFSET, UPLOAD_TOO_LARGE, DIGEST_MISMATCH.
  absl::Status Receive(const rpc::Call& call,
                       grpc::ServerReader<common::v1::UploadChunk>& reader,
                       common::v1::Upload* response);
  absl::Status Find(const rpc::Call& call, const common::v1::GetUploadRequest& request,
                    common::v1::Upload* response);
  // The bytes from the request's offset on. The caller has been allowed to read the blob.
  absl::Status Send(const rpc::Call& call, const common::v1::DownloadBlobRequest& request,
                    grpc::ServerWriter<common::v1::BlobChunk>& writer);

 private:
  // The caller's open upload with this id, and its purpose; NOT_FOUND otherwise.
  absl::StatusOr<int> PurposeOf(const rpc::Call& call, UploadId id, const Upload& upload) const;

  // Verifies, keeps and records an upload whose bytes are all there.
  absl::Status Complete(const rpc::Call& call, UploadId id, int purpose, const Upload& upload);

  BlobStore& store_;
  const UploadPolicy policy_;
};

// ---- Client side ----

// The three calls of one service, bound to its stub, credentials and deadline.
struct BlobCalls {
  std::function<absl::Status(const common::v1::BeginUploadRequest&, common::v1::Upload*)> begin;
  // Opens the stream; the context lives as long as the writer.
  std::function<std::unique_ptr<grpc::ClientWriterInterface<common::v1::UploadChunk>>(
      grpc::ClientContext*, common::v1::Upload*)>
      upload;
  std::function<std::unique_ptr<grpc::ClientReaderInterface<common::v1::BlobChunk>>(
      grpc::ClientContext*, const common::v1::DownloadBlobRequest&)>
      download;
  // Sets deadline and credentials of a stream's context.
  std::function<void(grpc::ClientContext&)> prepare;
};

// Uploads `bytes`, resuming up to `attempts_max` times. The digest is returned.
absl::StatusOr<crypto::Digest> UploadBytes(const BlobCalls& calls, absl::string_view request_id,
                                           int purpose, absl::string_view bytes,
                                           int attempts_max = 4);

// Downloads a blob of at most `bytes_max` bytes and verifies its digest, resuming up to
// `attempts_max` times. DIGEST_MISMATCH, UPLOAD_TOO_LARGE, and the server's errors.
absl::StatusOr<std::string> DownloadBytes(const BlobCalls& calls, const crypto::Digest& digest,
                                          uint64_t bytes_max, int attempts_max = 4);

}  // namespace rochdale::blob
