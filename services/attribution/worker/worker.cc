#include "services/attribution/worker/worker.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/ids.h"
#include "libs/base/status_macros.h"
#include "libs/blob/transfer.h"
#include "libs/rpc/status.h"
#include "rochdale/attribution/v1/attribution.grpc.pb.h"
#include "services/attribution/worker/blob_cache.h"
#include "services/attribution/worker/evaluation.h"

namespace rochdale::attribution {
namespace {

namespace v1 = ::rochdale::attribution::v1;
namespace common = ::rochdale::common::v1;
using Stub = v1::WorkerService::Stub;

constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr absl::Duration kBlobTimeout = absl::Minutes(2);
constexpr absl::Duration kRetryMin = absl::Milliseconds(20);
constexpr absl::Duration kRetryMax = absl::Seconds(2);
constexpr uint64_t kBlobBytesMax = uint64_t{4} << 30;

bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status);
}

// The calls of one session. Thread-safe.
class Session {
 public:
  Session(std::shared_ptr<grpc::Channel> channel, const WorkerOptions& options)
      : stub_(std::move(channel)), options_(options) {}

  absl::StatusOr<v1::StartSessionResponse> Start() {
    v1::StartSessionRequest request;
    request.set_request_id(NewId());
    request.set_run_id(options_.run);
    request.set_run_token(options_.run_token.Reveal());
    v1::StartSessionResponse response;
    RETURN_IF_ERROR(Call(&Stub::StartSession, request, &response));
    authorization_ = absl::StrCat("Run ", response.session_token());
    return response;
  }

  absl::StatusOr<v1::ClaimShardResponse> Claim() {
    v1::ClaimShardRequest request;
    request.set_request_id(NewId());
    request.set_run_id(options_.run);
    v1::ClaimShardResponse response;
    RETURN_IF_ERROR(Call(&Stub::ClaimShard, request, &response));
    return response;
  }

  absl::Status Heartbeat(const v1::Shard& shard) {
    v1::HeartbeatShardRequest request;
    request.set_request_id(NewId());
    request.set_run_id(options_.run);
    request.set_number(shard.number());
    request.set_lease_epoch(shard.lease_epoch());
    v1::HeartbeatShardResponse response;
    return Once(&Stub::HeartbeatShard, request, &response);
  }

  absl::Status Complete(const v1::Shard& shard, absl::Span<const int64_t> losses) {
    v1::CompleteShardRequest request;
    request.set_request_id(NewId());
    request.set_run_id(options_.run);
    request.set_number(shard.number());
    request.set_lease_epoch(shard.lease_epoch());
    request.set_losses(EncodeLosses(losses));
    v1::CompleteShardResponse response;
    return Call(&Stub::CompleteShard, request, &response);
  }

  absl::Status Fail(const v1::Shard& shard, const absl::Status& why,
                    const std::optional<RangeFailure>& range) {
    v1::FailShardRequest request;
    request.set_request_id(NewId());
    request.set_run_id(options_.run);
    request.set_number(shard.number());
    request.set_lease_epoch(shard.lease_epoch());
    request.set_reason(range ? "EVALUATION_RANGE" : ReasonOf(why));
    request.set_message(std::string(why.message().substr(0, 1'000)));
    if (range) {
      request.set_candidate(range->candidate);
      if (range->update) request.set_update_id(range->update->ToString());
    }
    v1::FailShardResponse response;
    return Call(&Stub::FailShard, request, &response);
  }

  absl::StatusOr<std::string> Download(const crypto::Digest& sha256) {
    blob::BlobCalls calls;
    calls.download = [this](grpc::ClientContext* context,
                            const common::DownloadBlobRequest& request) {
      return std::unique_ptr<grpc::ClientReaderInterface<common::BlobChunk>>(
          stub_.DownloadRunBlob(context, request));
    };
    calls.prepare = [this](grpc::ClientContext& context) { Prepare(context, kBlobTimeout); };
    return Patiently([&] { return blob::DownloadBytes(calls, sha256, kBlobBytesMax); });
  }

 private:
  std::string NewId() { return ids_.New(absl::Now()).ToString(); }

  void Prepare(grpc::ClientContext& context, absl::Duration timeout) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    context.set_wait_for_ready(false);
    if (!authorization_.empty()) context.AddMetadata("authorization", authorization_);
  }

  template <typename Request, typename Response>
  absl::Status Once(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    Prepare(context, kCallTimeout);
    return rpc::FromAnswer((stub_.*method)(&context, request, response));
  }

  // Every call may be repeated: each names its shard and epoch, or its request.
  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    return Patiently([&] { return Once(method, request, response); });
  }

  template <typename Fn>
  auto Patiently(Fn fn) -> decltype(fn()) {
    const absl::Time until = absl::Now() + options_.reconnect_max;
    absl::Duration pause = kRetryMin;
    while (true) {
      auto result = fn();
      const absl::Status& status = StatusOf(result);
      if (status.ok() || !MayPass(status) || absl::Now() + pause > until) return result;
      absl::SleepFor(pause);
      pause = std::min(pause * 2, kRetryMax);
    }
  }
  static const absl::Status& StatusOf(const absl::Status& status) { return status; }
  template <typename T>
  static const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
    return result.status();
  }

  Stub stub_;
  const WorkerOptions& options_;
  RandomIdSource ids_;
  std::string authorization_;
};

// Extends the lease of one shard from a thread of its own while it lives.
class Heartbeats {
 public:
  Heartbeats(Session& session, v1::Shard shard, absl::Duration lease)
      : session_(session),
        shard_(std::move(shard)),
        every_(lease / 3),
        thread_([this] { Loop(); }) {}
  ~Heartbeats() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  void Loop() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, absl::ToChronoMicroseconds(every_), [&] { return done_; })) {
      lock.unlock();
      const absl::Status status = session_.Heartbeat(shard_);
      lock.lock();
      // A lost lease is found out when the result is delivered; anything else may pass.
      if (ReasonOf(status) == "LEASE_LOST") return;
    }
  }

  Session& session_;
  const v1::Shard shard_;
  const absl::Duration every_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

ShardRange RangeOf(const v1::Shard& shard) {
  return {shard.part(), shard.row_begin(), shard.row_end(), shard.candidate_begin(),
          shard.candidate_end()};
}

// The lease is gone or the run is over: nothing to be done about this shard.
bool IsMoot(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  return reason == "LEASE_LOST" || reason == "UNAUTHENTICATED";
}

absl::Status WorkOn(Session& session, RunEvaluation& evaluation, const v1::Shard& shard,
                    absl::Duration lease) {
  absl::StatusOr<ShardLosses> result = absl::UnknownError("not evaluated");
  absl::Status delivered;
  {
    const Heartbeats heartbeats(session, shard, lease);
    result = evaluation.Evaluate(RangeOf(shard));
    if (result.ok() && !result->failure) {
      delivered = session.Complete(shard, result->losses);
    } else if (result.ok()) {
      delivered = session.Fail(
          shard, Error("EVALUATION_RANGE", absl::StrCat("layer ", result->failure->layer)),
          result->failure);
    } else {
      delivered = session.Fail(shard, result.status(), std::nullopt);
    }
  }
  if (IsMoot(delivered)) return absl::OkStatus();
  RETURN_IF_ERROR(delivered);
  return result.ok() ? absl::OkStatus() : result.status();
}

}  // namespace

absl::Status RunWorker(std::shared_ptr<grpc::Channel> channel, learning::Evaluator& evaluator,
                       const WorkerOptions& options) {
  Session session(std::move(channel), options);
  const absl::StatusOr<v1::StartSessionResponse> started = session.Start();
  if (ReasonOf(started.status()) == "ROUND_STATE") return absl::OkStatus();  // it has ended
  RETURN_IF_ERROR(started.status());
  ASSIGN_OR_RETURN(RunSpec spec, ParseRunSpec(started->spec()));
  ASSIGN_OR_RETURN(BlobCache cache, BlobCache::Open(options.cache_dir, options.cache_bytes_max));
  const auto blobs = [&](const crypto::Digest& sha256) {
    return cache.Get(sha256, [&] { return session.Download(sha256); });
  };
  RunEvaluation evaluation(std::move(spec), blobs, evaluator);
  const absl::Duration lease = absl::Milliseconds(started->lease_ms());
  absl::Duration pause = options.idle_min;
  while (true) {
    const absl::StatusOr<v1::ClaimShardResponse> claimed = session.Claim();
    if (IsMoot(claimed.status())) return absl::OkStatus();
    RETURN_IF_ERROR(claimed.status());
    if (claimed->run_ended()) return absl::OkStatus();
    if (claimed->none()) {
      absl::SleepFor(pause);
      pause = std::min(pause * 2, options.idle_max);
      continue;
    }
    pause = options.idle_min;
    RETURN_IF_ERROR(WorkOn(session, evaluation, claimed->shard(), lease));
  }
}

}  // namespace rochdale::attribution
