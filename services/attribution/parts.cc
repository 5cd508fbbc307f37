#include "services/attribution/parts.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/module_evaluator.h"
#include "libs/pg/database.h"
#include "libs/rpc/call.h"
#include "rochdale/common/v1/common.pb.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/worker/evaluation.h"

namespace rochdale::attribution {
namespace {

constexpr absl::Duration kReadTimeout = absl::Seconds(10);
constexpr uint64_t kValidationBytesMax = uint64_t{2} << 30;
constexpr uint64_t kModuleBytesMax = uint64_t{512} << 20;

absl::Status NotOpen() {
  return RetryableError("UNAVAILABLE", "the attribution service is starting", absl::Seconds(1));
}

}  // namespace

void Changes::Notify() {
  {
    const std::lock_guard lock(mutex_);
    ++version_;
  }
  changed_.notify_all();
}

int64_t Changes::version() const {
  const std::lock_guard lock(mutex_);
  return version_;
}

int64_t Changes::WaitFor(int64_t seen, absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMicroseconds(timeout), [&] { return version_ != seen; });
  return version_;
}

Parts::Parts(const service::Environment& env, AttributionOptions options)
    : env(env),
      options(std::move(options)),
      secrets(this->options.server_secret),
      runs(env.db, [this] { changes.Notify(); },
           [this](const RunId& run, const ShardRange& range) {
             return EvaluateShard(run, range);
           }) {}

absl::Status Parts::Open() {
  if (open_.load()) return absl::OkStatus();
  ASSIGN_OR_RETURN(blobs_, blob::BlobStore::Open(absl::StrCat(env.data_dir, "/blobs"), {}));
  desk_ = std::make_unique<blob::UploadDesk>(*blobs_, MakeUploadPolicy());
  governance_ = std::make_unique<rpc::GovernanceClient>(env.channel("governance"), env.outgoing,
                                                        env.clock);
  filter_ =
      std::make_unique<FilterClient>(env.channel("filter"), env.outgoing, options.call_timeout);
  open_.store(true);
  return absl::OkStatus();
}

blob::UploadPolicy Parts::MakeUploadPolicy() const {
  blob::UploadPolicy policy;
  policy.limit = [](const rpc::Call& call, int purpose) -> absl::StatusOr<uint64_t> {
    if (purpose == common::v1::BLOB_PURPOSE_VALIDATION && call.identity.IsPerson()) {
      return kValidationBytesMax;
    }
    if (purpose == common::v1::BLOB_PURPOSE_MODULE && call.identity.IsPerson()) {
      return kModuleBytesMax;
    }
    return Error("PERMISSION_DENIED", "the caller does not upload blobs of this purpose");
  };
  policy.is_recorded = [this](const rpc::Call& call, const std::string& owner, int purpose,
                              const crypto::Digest& digest) {
    return env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return HasUpload(tx, owner, purpose, digest);
    });
  };
  policy.record = [this](const rpc::Call& call, const std::string& owner, int purpose,
                         const crypto::Digest& digest, uint64_t size_bytes) {
    return env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return RecordUpload(tx, owner, purpose, digest, static_cast<int64_t>(size_bytes),
                          ToUnixMicros(call.now));
    });
  };
  return policy;
}

absl::StatusOr<std::string> Parts::EvaluateShard(const RunId& run, const ShardRange& range) const {
  ASSIGN_OR_RETURN(const auto record, env.db.Transact(kReadTimeout, [&](pg::Transaction& tx) {
    return FindRun(tx, run);
  }));
  if (!record) return Error("NOT_FOUND", "no such run");
  ASSIGN_OR_RETURN(RunSpec spec, ParseRunSpec(record->spec));
  ASSIGN_OR_RETURN(blob::BlobStore * store, blobs());
  learning::HostEvaluator host;
  learning::ModuleEvaluator evaluator(host, {.program = options.module_program});
  RunEvaluation evaluation(
      std::move(spec),
      [store](const crypto::Digest& digest) -> absl::StatusOr<std::string> {
        ASSIGN_OR_RETURN(const blob::MappedBlob blob, store->Get(digest));
        return std::string(blob.text());
      },
      evaluator);
  ASSIGN_OR_RETURN(const ShardLosses result, evaluation.Evaluate(range));
  if (result.failure) return Error("EVALUATION_RANGE", "the shard leaves the range");
  return EncodeLosses(result.losses);
}

absl::StatusOr<blob::BlobStore*> Parts::blobs() const {
  if (!open_.load()) return NotOpen();
  return blobs_.get();
}

absl::StatusOr<blob::UploadDesk*> Parts::desk() const {
  if (!open_.load()) return NotOpen();
  return desk_.get();
}

absl::StatusOr<rpc::GovernanceClient*> Parts::governance() const {
  if (!open_.load()) return NotOpen();
  return governance_.get();
}

absl::StatusOr<FilterClient*> Parts::filter() const {
  if (!open_.load()) return NotOpen();
  return filter_.get();
}

}  // namespace rochdale::attribution
