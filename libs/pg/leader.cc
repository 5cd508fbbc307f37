#include "libs/pg/leader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::pg {

constexpr char kFindLease[] = "SELECT epoch, address, acquired_us FROM leases WHERE name = $1";

absl::StatusOr<std::optional<Lease>> FindLease(Transaction& tx, absl::string_view name) {
  ASSIGN_OR_RETURN(const std::optional<Row> row, tx.ExecOptional(kFindLease, name));
  if (!row.has_value()) return std::optional<Lease>();
  return std::optional<Lease>(
      Lease{row->Get<int64_t>(0), row->Get<std::string>(1), row->Get<int64_t>(2)});
}

// The share lock holds off the next leader, whose first act is to raise the epoch.
constexpr char kLockEpoch[] = "SELECT epoch FROM leases WHERE name = $1 FOR SHARE";

absl::Status CheckEpoch(Transaction& tx, absl::string_view name, int64_t epoch) {
  ASSIGN_OR_RETURN(const std::optional<Row> row, tx.ExecOptional(kLockEpoch, name));
  if (row.has_value() && row->Get<int64_t>(0) == epoch) return absl::OkStatus();
  return RetryableError("NOT_LEADER", "this replica no longer leads", absl::Seconds(1));
}

Leadership::Leadership(Database& db, const Clock& clock, LeadershipOptions options)
    : db_(db), clock_(clock), options_(std::move(options)) {
  thread_ = std::thread([this] { Loop(); });
}

Leadership::~Leadership() { Stop(); }

std::optional<int64_t> Leadership::epoch() const {
  std::lock_guard lock(mutex_);
  return epoch_;
}

bool Leadership::WaitUntilLeading(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoMicroseconds(timeout),
                    [this] { return stopping_ || epoch_.has_value(); });
  return epoch_.has_value();
}

void Leadership::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Leadership::Loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const bool leading = epoch_.has_value();
    lock.unlock();
    if (leading) {
      CheckStillLeading();
    } else {
      TryToLead();
    }
    lock.lock();
    changed_.wait_for(lock, absl::ToChronoMicroseconds(options_.check_every),
                      [this] { return stopping_; });
  }
  const bool leading = epoch_.has_value();
  lock.unlock();
  if (leading) Lose(/*release=*/true);
  session_.reset();
}

// Of the session, not of the transaction: kept after the commit, until the session ends.
constexpr char kTryLock[] = "SELECT pg_try_advisory_lock($1)";
constexpr char kRaiseEpoch[] =
    "INSERT INTO leases (name, epoch, address, acquired_us) VALUES ($1, 1, $2, $3) "
    "ON CONFLICT (name) DO UPDATE SET epoch = leases.epoch + 1, address = excluded.address, "
    "acquired_us = excluded.acquired_us RETURNING epoch";

void Leadership::TryToLead() {
  if (session_ == nullptr) {
    absl::StatusOr<std::unique_ptr<Session>> session = db_.OpenSession();
    if (!session.ok()) return;  // logged; tried again
    session_ = *std::move(session);
  }
  const absl::Time now = clock_.Now();
  std::optional<int64_t> epoch;
  const absl::Status status = session_->Transact(
      SystemClock().Now() + options_.call_timeout, [&](Transaction& tx) -> absl::Status {
        ASSIGN_OR_RETURN(const Row locked, tx.ExecOne(kTryLock, AdvisoryKey(options_.name)));
        if (!locked.Get<bool>(0)) return absl::OkStatus();
        ASSIGN_OR_RETURN(const Row row,
                         tx.ExecOne(kRaiseEpoch, options_.name, options_.address, now));
        epoch = row.Get<int64_t>(0);
        return absl::OkStatus();
      });
  if (!status.ok()) {
    session_.reset();  // with the lock, if it got that far
    return;
  }
  if (!epoch.has_value()) return;
  {
    std::lock_guard lock(mutex_);
    epoch_ = epoch;
    changed_.notify_all();
  }
  if (options_.on_gained) options_.on_gained(*epoch);
}

void Leadership::CheckStillLeading() {
  const int64_t mine = *epoch();
  bool newest = false;
  const absl::Status status = session_->Transact(
      SystemClock().Now() + options_.call_timeout, [&](Transaction& tx) -> absl::Status {
        ASSIGN_OR_RETURN(const std::optional<Lease> lease, FindLease(tx, options_.name));
        newest = lease.has_value() && lease->epoch == mine;
        return absl::OkStatus();
      });
  if (!status.ok() || !newest) Lose(/*release=*/false);
}

constexpr char kLeave[] = "UPDATE leases SET address = '' WHERE name = $1 AND epoch = $2";

void Leadership::Lose(bool release) {
  const int64_t mine = *epoch();
  {
    std::lock_guard lock(mutex_);
    epoch_.reset();
    changed_.notify_all();
  }
  if (options_.on_lost) options_.on_lost();
  if (release) {
    // The session's end frees the lock whether this succeeds or not; it only saves followers a
    // call to an address that no longer answers.
    const absl::Status left = session_->Transact(
        SystemClock().Now() + options_.call_timeout, [&](Transaction& tx) {
          return tx.Exec(kLeave, options_.name, mine).status();
        });
    left.IgnoreError();
  }
  session_.reset();
}

}  // namespace rochdale::pg
