#include "libs/blob/transfer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "grpcpp/client_context.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/sync_stream.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/rpc/call.h"
#include "libs/rpc/fields.h"
#include "libs/rpc/status.h"
#include "rochdale/common/v1/common.pb.h"

namespace rochdale::blob {
namespace {

using rpc::TakeDigest;
namespace v1 = ::rochdale::common::v1;

constexpr size_t kSendChunkBytes = 1 << 20;
constexpr size_t kUploadChunkBytes = 1 << 20;

UploadId IdOf(const std::string& owner, int purpose, const crypto::Digest& digest) {
  return UploadId{crypto::DeterministicId("blob/upload", owner, purpose, digest)};
}

void Fill(UploadId id, const Upload& upload, bool complete, v1::Upload* out) {
  out->set_upload_id(id.ToString());
  out->set_offset_bytes(static_cast<int64_t>(upload.offset));
  out->set_size_bytes(static_cast<int64_t>(upload.size));
  out->set_sha256(upload.digest.ToString());
  out->set_complete(complete);
}

}  // namespace

absl::Status UploadDesk::Begin(const rpc::Call& call, const v1::BeginUploadRequest& request,
                               v1::Upload* response) {
  FieldErrors errors;
  const crypto::Digest digest = TakeDigest(request.sha256(), "sha256", errors);
  if (request.size_bytes() < 1) errors.Add("size_bytes", "must be at least 1");
  if (request.purpose() == v1::BLOB_PURPOSE_UNSPECIFIED ||
      !v1::BlobPurpose_IsValid(request.purpose())) {
    errors.Add("purpose", "must be a purpose");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  const int purpose = request.purpose();
  const uint64_t size = static_cast<uint64_t>(request.size_bytes());
  ASSIGN_OR_RETURN(const uint64_t limit, policy_.limit(call, purpose));
  if (size > limit) {
    return Error("UPLOAD_TOO_LARGE", absl::StrCat("at most ", limit, " bytes for this purpose"));
  }
  const std::string owner = call.identity.ToString();
  const UploadId id = IdOf(owner, purpose, digest);
  ASSIGN_OR_RETURN(const bool recorded, policy_.is_recorded(call, owner, purpose, digest));
  if (recorded && store_.Exists(digest)) {
    Fill(id, Upload{size, size, digest}, true, response);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const Upload upload, store_.Begin(id, size, digest, call.now));
  // All bytes had arrived when the process or the connection ended: there is no chunk left to send
  // that would complete it.
  if (upload.complete()) RETURN_IF_ERROR(Complete(call, id, purpose, upload));
  Fill(id, upload, upload.complete(), response);
  return absl::OkStatus();
}

absl::Status UploadDesk::Complete(const rpc::Call& call, UploadId id, int purpose,
                                  const Upload& upload) {
  RETURN_IF_ERROR(store_.Commit(id, upload.digest));
  return policy_.record(call, call.identity.ToString(), purpose, upload.digest, upload.size);
}

absl::StatusOr<int> UploadDesk::PurposeOf(const rpc::Call& call, UploadId id,
                                          const Upload& upload) const {
  const std::string owner = call.identity.ToString();
  for (int purpose = v1::BlobPurpose_MIN; purpose <= v1::BlobPurpose_MAX; ++purpose) {
    if (IdOf(owner, purpose, upload.digest) == id) return purpose;
  }
  return Error("NOT_FOUND", "no such upload of this caller");
}

absl::Status UploadDesk::Receive(const rpc::Call& call,
                                 grpc::ServerReader<v1::UploadChunk>& reader,
                                 v1::Upload* response) {
  v1::UploadChunk chunk;
  UploadId id;
  Upload upload;
  int purpose = 0;
  while (!call.Ended() && reader.Read(&chunk)) {
    auto named = UploadId::Parse(chunk.upload_id());
    if (!named.ok()) return Error("NOT_FOUND", "no such upload of this caller");
    if (id.IsZero()) {
      id = *named;
      ASSIGN_OR_RETURN(upload, store_.Find(id));
      ASSIGN_OR_RETURN(purpose, PurposeOf(call, id, upload));
    } else if (*named != id) {
      return Error("UPLOAD_OFFSET", "a stream carries chunks of one upload");
    }
    if (chunk.offset_bytes() < 0) return Error("UPLOAD_OFFSET", "the offset is negative");
    ASSIGN_OR_RETURN(upload, store_.WriteAt(id, static_cast<uint64_t>(chunk.offset_bytes()),
                                            chunk.data(), call.now));
    if (upload.complete()) break;
  }
  if (id.IsZero()) return Error("UPLOAD_INCOMPLETE", "the stream carried no chunk");
  if (upload.complete()) RETURN_IF_ERROR(Complete(call, id, purpose, upload));
  Fill(id, upload, upload.complete(), response);
  return absl::OkStatus();
}

absl::Status UploadDesk::Find(const rpc::Call& call, const v1::GetUploadRequest& request,
                              v1::Upload* response) {
  auto id = UploadId::Parse(request.upload_id());
  if (!id.ok()) return Error("NOT_FOUND", "no such upload of this caller");
  ASSIGN_OR_RETURN(const Upload upload, store_.Find(*id));
  RETURN_IF_ERROR(PurposeOf(call, *id, upload).status());
  Fill(*id, upload, false, response);
  return absl::OkStatus();
}

absl::Status UploadDesk::Send(const rpc::Call& call, const v1::DownloadBlobRequest& request,
                              grpc::ServerWriter<v1::BlobChunk>& writer) {
  FieldErrors errors;
  const crypto::Digest digest = TakeDigest(request.sha256(), "sha256", errors);
  if (request.offset_bytes() < 0) errors.Add("offset_bytes", "must be >= 0");
  RETURN_IF_ERROR(errors.ToStatus());
  ASSIGN_OR_RETURN(const MappedBlob blob, store_.Get(digest));
  const absl::string_view bytes = blob.text();
  size_t offset = static_cast<size_t>(request.offset_bytes());
  if (offset > bytes.size()) return Error("UPLOAD_OFFSET", "the offset is past the blob's end");
  while (offset < bytes.size() && !call.Ended()) {
    const absl::string_view piece = bytes.substr(offset, kSendChunkBytes);
    v1::BlobChunk chunk;
    chunk.set_offset_bytes(static_cast<int64_t>(offset));
    chunk.set_size_bytes(static_cast<int64_t>(bytes.size()));
    chunk.set_data(piece.data(), piece.size());
    if (!writer.Write(chunk)) break;  // the client has gone
    offset += piece.size();
  }
  return absl::OkStatus();
}

absl::StatusOr<crypto::Digest> UploadBytes(const BlobCalls& calls, absl::string_view request_id,
                                           int purpose, absl::string_view bytes,
                                           int attempts_max) {
  const crypto::Digest digest = crypto::Sha256(bytes);
  v1::BeginUploadRequest begin;
  begin.set_request_id(std::string(request_id));
  begin.set_purpose(static_cast<v1::BlobPurpose>(purpose));
  begin.set_size_bytes(static_cast<int64_t>(bytes.size()));
  begin.set_sha256(digest.ToString());
  absl::Status last = Error("UNAVAILABLE", "the upload was not attempted");
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    v1::Upload upload;
    RETURN_IF_ERROR(calls.begin(begin, &upload));
    if (upload.complete()) return digest;
    grpc::ClientContext context;
    calls.prepare(context);
    v1::Upload result;
    const auto writer = calls.upload(&context, &result);
    size_t offset = static_cast<size_t>(upload.offset_bytes());
    while (offset < bytes.size()) {
      const absl::string_view piece = bytes.substr(offset, kUploadChunkBytes);
      v1::UploadChunk chunk;
      chunk.set_upload_id(upload.upload_id());
      chunk.set_offset_bytes(static_cast<int64_t>(offset));
      chunk.set_data(piece.data(), piece.size());
      if (!writer->Write(chunk)) break;
      offset += piece.size();
    }
    writer->WritesDone();
    last = rpc::FromAnswer(writer->Finish());
    if (last.ok() && result.complete()) return digest;
    if (!last.ok() && !absl::IsUnavailable(last) && ReasonOf(last) != "UPLOAD_OFFSET") return last;
  }
  return last.ok() ? Error("UPLOAD_INCOMPLETE", "the upload did not finish") : last;
}

absl::StatusOr<std::string> DownloadBytes(const BlobCalls& calls, const crypto::Digest& digest,
                                          uint64_t bytes_max, int attempts_max) {
  std::string bytes;
  absl::Status last = Error("UNAVAILABLE", "the download was not attempted");
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    v1::DownloadBlobRequest request;
    request.set_sha256(digest.ToString());
    request.set_offset_bytes(static_cast<int64_t>(bytes.size()));
    grpc::ClientContext context;
    calls.prepare(context);
    const auto reader = calls.download(&context, request);
    v1::BlobChunk chunk;
    while (reader->Read(&chunk)) {
      if (bytes.size() + chunk.data().size() > bytes_max) {
        context.TryCancel();
        return Error("UPLOAD_TOO_LARGE", absl::StrCat("the blob exceeds ", bytes_max, " bytes"));
      }
      bytes += chunk.data();
    }
    last = rpc::FromAnswer(reader->Finish());
    if (last.ok()) {
      if (crypto::Sha256(bytes) == digest) return bytes;
      return Error("DIGEST_MISMATCH", "the bytes received are not those asked for");
    }
    if (!absl::IsUnavailable(last)) return last;
  }
  return last;
}

}  // namespace rochdale::blob
