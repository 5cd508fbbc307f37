#include "services/attribution/run_engine.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "services/attribution/round_store.h"

namespace rochdale::attribution {
namespace {

constexpr int kResultMismatch = 2;  // governance.v1.EXCEPTION_KIND_RESULT_MISMATCH
constexpr absl::Duration kTendTimeout = absl::Seconds(10);

absl::Status LeaseLost() {
  return Error("LEASE_LOST", "the lease of this shard ran out or went to another worker");
}

// The shard, where the caller holds its lease.
absl::StatusOr<Shard> HeldShard(pg::Transaction& tx, const WorkerCall& call, int64_t number,
                                int64_t epoch) {
  ASSIGN_OR_RETURN(const auto shard, LockShard(tx, call.run, number));
  if (!shard) return Error("NOT_FOUND", "the run has no such shard");
  if (shard->state != 1 || shard->lease_epoch != epoch || shard->lease_owner != call.session) {
    return LeaseLost();
  }
  return *shard;
}

// Whether a result says the same as the one that the shard has: of an exact model the same
// integers, of a module losses within its tolerance.
absl::StatusOr<bool> SaysTheSame(pg::Transaction& tx, const RunId& run, int64_t number,
                                 absl::string_view losses) {
  ASSIGN_OR_RETURN(const std::string first, ReadResult(tx, run, number));
  if (first == losses) return true;
  ASSIGN_OR_RETURN(const auto record, FindRun(tx, run));
  if (!record) return absl::InternalError("a shard without its run");
  ASSIGN_OR_RETURN(const RunSpec spec, ParseRunSpec(record->spec));
  if (spec.model.exact()) return false;
  const auto count = static_cast<int64_t>(first.size() / 8);
  ASSIGN_OR_RETURN(const std::vector<int64_t> a, DecodeLosses(first, count));
  const absl::StatusOr<std::vector<int64_t>> b = DecodeLosses(losses, count);
  if (!b.ok()) return false;
  for (int64_t i = 0; i < count; ++i) {
    if (!spec.model.Agree(a[i], (*b)[i])) return false;
  }
  return true;
}

// `id` and `evidence` make it one, however often it is recorded.
absl::Status RecordMismatch(pg::Transaction& tx, const WorkerCall& call, absl::string_view id,
                            int64_t number, const crypto::Digest& evidence,
                            std::string description) {
  ExceptionRecord exception;
  exception.exception = {crypto::DeterministicId(id, call.run, number, evidence)};
  ASSIGN_OR_RETURN(exception.cooperative, FindRunCooperative(tx, call.run));
  exception.kind = kResultMismatch;
  exception.subject = call.run.value;
  exception.description = std::move(description);
  exception.evidence = evidence;
  exception.raised_us = ToUnixMicros(call.now);
  return InsertException(tx, exception);
}

}  // namespace

absl::StatusOr<ClaimedShard> RunEngine::Claim(const WorkerCall& call, const Uuid& request) {
  return db_.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::StatusOr<ClaimedShard> {
    ASSIGN_OR_RETURN(const RunLock run, LockRun(tx, call.run));
    ClaimedShard claimed;
    if (run.state != RunState::kRunning) {
      claimed.run_ended = true;
      return claimed;
    }
    const int64_t now_us = ToUnixMicros(call.now);
    ASSIGN_OR_RETURN(claimed.shard, FindClaim(tx, call.run, request, call.session, now_us));
    if (claimed.shard) return claimed;
    ASSIGN_OR_RETURN(claimed.shard,
                     ClaimNextShard(tx, call.run, request, call.session, run.attempts_max, now_us,
                                    now_us + run.lease_ms * 1000));
    return claimed;
  });
}

absl::Status RunEngine::Heartbeat(const WorkerCall& call, int64_t number, int64_t epoch) {
  return db_.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const RunLock run, LockRun(tx, call.run));
    if (run.state != RunState::kRunning) return LeaseLost();
    RETURN_IF_ERROR(HeldShard(tx, call, number, epoch).status());
    return ExtendLease(tx, call.run, number, ToUnixMicros(call.now) + run.lease_ms * 1000);
  });
}

absl::Status RunEngine::Complete(const WorkerCall& call, int64_t number, int64_t epoch,
                                 absl::string_view losses) {
  const crypto::Digest digest = crypto::Sha256(losses);
  enum class Outcome { kAccepted, kEnded, kMismatch, kDisputed };
  absl::StatusOr<Outcome> outcome =
      db_.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::StatusOr<Outcome> {
        ASSIGN_OR_RETURN(const RunLock run, LockRun(tx, call.run));
        ASSIGN_OR_RETURN(const auto first, FindResultDigest(tx, call.run, number));
        bool repeats = first && *first == digest;
        if (first && !repeats) {
          ASSIGN_OR_RETURN(repeats, SaysTheSame(tx, call.run, number, losses));
        }
        if (repeats) {
          if (run.state != RunState::kRunning) return Outcome::kAccepted;
          if (!HeldShard(tx, call, number, epoch).ok()) return Outcome::kAccepted;
          RETURN_IF_ERROR(ConfirmShard(tx, call.run, number));  // it was disputed
          ASSIGN_OR_RETURN(const bool ended,
                           EndIfFinished(tx, call.run, run.attempts_max, call.now));
          return ended ? Outcome::kEnded : Outcome::kAccepted;
        }
        if (first) {
          RETURN_IF_ERROR(RecordMismatch(
              tx, call, "attribution/mismatch", number, digest,
              absl::StrCat("shard ", number, " of the run has a result, and worker ",
                           call.session, " delivered another one with digest ",
                           digest.ToString())));
          ASSIGN_OR_RETURN(const auto shard, LockShard(tx, call.run, number));
          if (run.state != RunState::kRunning || shard->canonical) return Outcome::kMismatch;
          if (shard->lease_owner == kCanonicalOwner &&
              shard->lease_until_us > ToUnixMicros(call.now)) {
            return Outcome::kMismatch;  // it is being decided
          }
          RETURN_IF_ERROR(DisputeShard(tx, call.run, number,
                                       ToUnixMicros(call.now) + run.lease_ms * 1000));
          return Outcome::kDisputed;
        }
        if (run.state != RunState::kRunning) return LeaseLost();
        ASSIGN_OR_RETURN(const Shard shard, HeldShard(tx, call, number, epoch));
        RETURN_IF_ERROR(DecodeLosses(losses, shard.range.losses()).status());
        RETURN_IF_ERROR(CompleteShard(tx, call.run, number, losses, digest, call.session,
                                      ToUnixMicros(call.now)));
        ASSIGN_OR_RETURN(const bool ended,
                         EndIfFinished(tx, call.run, run.attempts_max, call.now));
        return ended ? Outcome::kEnded : Outcome::kAccepted;
      });
  RETURN_IF_ERROR(outcome.status());
  if (*outcome == Outcome::kAccepted) return absl::OkStatus();
  // Where the service cannot decide, the shard's lease runs out and another worker gets it.
  if (*outcome == Outcome::kDisputed) Decide(call, number).IgnoreError();
  ended_();
  return *outcome == Outcome::kEnded ? absl::OkStatus() : LeaseLost();
}

absl::Status RunEngine::Decide(const WorkerCall& call, int64_t number) {
  ASSIGN_OR_RETURN(const auto shard, db_.Transact(call.deadline, [&](pg::Transaction& tx) {
    return LockShard(tx, call.run, number);
  }));
  ASSIGN_OR_RETURN(const std::string losses, canonical_(call.run, shard->range));
  RETURN_IF_ERROR(DecodeLosses(losses, shard->range.losses()).status());
  return db_.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const RunLock run, LockRun(tx, call.run));
    if (run.state != RunState::kRunning) return absl::OkStatus();
    ASSIGN_OR_RETURN(const auto first, FindResultDigest(tx, call.run, number));
    if (!first) return absl::InternalError("a disputed shard without a result");
    ASSIGN_OR_RETURN(const bool same, SaysTheSame(tx, call.run, number, losses));
    std::string stands = losses;
    if (same) {
      ASSIGN_OR_RETURN(stands, ReadResult(tx, call.run, number));
    } else {
      RETURN_IF_ERROR(RecordMismatch(
          tx, call, "attribution/corrected", number, *first,
          absl::StrCat("shard ", number, " of the run had a wrong result with digest ",
                       first->ToString(), "; the service's own evaluation replaced it")));
    }
    RETURN_IF_ERROR(DecideShard(tx, call.run, number, stands, crypto::Sha256(stands),
                                ToUnixMicros(call.now)));
    return EndIfFinished(tx, call.run, run.attempts_max, call.now).status();
  });
}

absl::Status RunEngine::Fail(const WorkerCall& call, int64_t number, int64_t epoch,
                             const Failure& failure) {
  absl::StatusOr<bool> ended =
      db_.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const RunLock run, LockRun(tx, call.run));
        if (run.state != RunState::kRunning) return LeaseLost();
        ASSIGN_OR_RETURN(const Shard shard, HeldShard(tx, call, number, epoch));
        if (failure.reason == "EVALUATION_RANGE") {
          RETURN_IF_ERROR(SetShardOutOfRange(tx, call.run, shard.number, failure.candidate,
                                             failure.update));
        } else {
          RETURN_IF_ERROR(ReopenShard(tx, call.run, shard.number));
        }
        return EndIfFinished(tx, call.run, run.attempts_max, call.now);
      });
  RETURN_IF_ERROR(ended.status());
  if (*ended) ended_();
  return absl::OkStatus();
}

absl::StatusOr<bool> RunEngine::EndIfFinished(pg::Transaction& tx, const RunId& run,
                                              int attempts_max, absl::Time now) {
  ASSIGN_OR_RETURN(const RunProgress progress,
                   FindProgress(tx, run, attempts_max, ToUnixMicros(now)));
  if (progress.exhausted) {
    RETURN_IF_ERROR(EndRun(tx, run, RunState::kFailed, "RUN_FAILED", std::nullopt,
                           ToUnixMicros(now)));
    return true;
  }
  if (progress.unfinished) return false;
  // The lowest failing candidate over all shards decides, so that it does not depend on which
  // shard was evaluated first.
  RETURN_IF_ERROR(EndRun(tx, run, progress.out_of_range ? RunState::kFailed : RunState::kDone,
                         progress.out_of_range ? "EVALUATION_RANGE" : "", progress.range_update,
                         ToUnixMicros(now)));
  return true;
}

absl::Status RunEngine::Tend(absl::Time now) {
  ASSIGN_OR_RETURN(const std::vector<RunId> running,
                   db_.Transact(kTendTimeout, [&](pg::Transaction& tx) {
                     return ListRunningRuns(tx);
                   }));
  for (const RunId& run : running) {
    RETURN_IF_ERROR(db_.Transact(kTendTimeout, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const RunLock locked, LockRun(tx, run));
      if (locked.state != RunState::kRunning) return absl::OkStatus();
      return EndIfFinished(tx, run, locked.attempts_max, now).status();
    }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<int64_t>>> AssembleLosses(
    const RunSpec& spec, const std::vector<ShardResult>& results) {
  std::vector<std::vector<int64_t>> parts;
  for (const RunPart& part : spec.parts) {
    parts.emplace_back(part.candidates() * part.rows, int64_t{-1});
  }
  for (const ShardResult& result : results) {
    const ShardRange& range = result.range;
    ASSIGN_OR_RETURN(const std::vector<int64_t> losses,
                     DecodeLosses(result.losses, range.losses()));
    const int64_t rows = spec.parts[range.part].rows;
    const int64_t block = range.row_end - range.row_begin;
    for (int64_t c = range.candidate_begin; c < range.candidate_end; ++c) {
      const auto from = losses.begin() + (c - range.candidate_begin) * block;
      std::copy(from, from + block, parts[range.part].begin() + c * rows + range.row_begin);
    }
  }
  for (const std::vector<int64_t>& part : parts) {
    if (std::find(part.begin(), part.end(), -1) != part.end()) {
      return absl::InternalError("a run that is done lacks results");
    }
  }
  return parts;
}

}  // namespace rochdale::attribution
