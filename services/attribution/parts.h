// What the service's rpcs and its engine share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/blob/blob_store.h"
#include "libs/blob/transfer.h"
#include "libs/rpc/governance_client.h"
#include "libs/service/module.h"
#include "services/attribution/config.h"
#include "services/attribution/filter_client.h"
#include "services/attribution/run_engine.h"
#include "services/attribution/run_tokens.h"

namespace rochdale::attribution {

// Something changed: wakes the engine and whoever watches rounds. Thread-safe.
class Changes {
 public:
  void Notify();
  int64_t version() const;
  // The version now, at once where it is not `seen`, else after a change or `timeout`.
  int64_t WaitFor(int64_t seen, absl::Duration timeout);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int64_t version_ = 0;
};

// Thread-safe. `env` outlives it.
class Parts {
 public:
  Parts(const service::Environment& env, AttributionOptions options);

  // From Start() on: opens the blob store and makes the clients.
  absl::Status Open();

  const service::Environment& env;
  const AttributionOptions options;
  const Secrets secrets;
  Changes changes;
  RunEngine runs;

  // UNAVAILABLE before Open.
  absl::StatusOr<blob::BlobStore*> blobs() const;
  absl::StatusOr<blob::UploadDesk*> desk() const;
  absl::StatusOr<rpc::GovernanceClient*> governance() const;
  absl::StatusOr<FilterClient*> filter() const;

 private:
  blob::UploadPolicy MakeUploadPolicy() const;
  absl::StatusOr<std::string> EvaluateShard(const RunId& run, const ShardRange& range) const;

  std::atomic<bool> open_{false};
  std::unique_ptr<blob::BlobStore> blobs_;
  std::unique_ptr<blob::UploadDesk> desk_;
  std::unique_ptr<rpc::GovernanceClient> governance_;
  std::unique_ptr<FilterClient> filter_;
};

}  // namespace rochdale::attribution
