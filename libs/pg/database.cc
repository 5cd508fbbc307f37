#include "libs/pg/database.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/connection.h"

namespace rochdale::pg {
namespace {

constexpr int kRetriesMax = 3;

// A random part of a bound that doubles with each attempt, so that rivals part.
absl::Duration Pause(Failure::Kind kind, int attempt) {
  thread_local std::minstd_rand engine{std::random_device{}()};
  const absl::Duration base =
      kind == Failure::Kind::kRetry ? absl::Milliseconds(5) : absl::Milliseconds(50);
  std::uniform_real_distribution<double> part(0.5, 1.0);
  return base * (1 << attempt) * part(engine);
}

bool MayRunAgain(Failure::Kind kind) {
  return kind == Failure::Kind::kRetry || kind == Failure::Kind::kConnectionLost;
}

}  // namespace

class Database::Pool {
 public:
  explicit Pool(DatabaseOptions options) : options_(std::move(options)) {
    options_.connections_max = std::clamp(options_.connections_max, 1, 1000);
    options_.waiters_max = std::max(options_.waiters_max, 0);
  }

  absl::StatusOr<std::unique_ptr<Connection>> Acquire(absl::Time deadline);
  void Release(std::unique_ptr<Connection> connection);
  // Adds to the sums under the lock.
  void Count(int64_t DatabaseStats::*sum);
  DatabaseStats stats() const;
  void SetOutboxListener(std::function<void()> listener);
  void NotifyOutbox();
  const DatabaseOptions& options() const { return options_; }

 private:
  // Waits until a connection is idle or may be opened.
  absl::Status WaitForTurn(std::unique_lock<std::mutex>& lock, absl::Time deadline);
  bool HasTurn() const {
    return !idle_.empty() || stats_.connections_open < options_.connections_max;
  }

  DatabaseOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Connection>> idle_;  // the last used is used next
  DatabaseStats stats_;
  std::mutex listener_mutex_;  // held while the listener runs, so that it can be taken away
  std::function<void()> listener_;
};

absl::Status Database::Pool::WaitForTurn(std::unique_lock<std::mutex>& lock, absl::Time deadline) {
  if (HasTurn()) return absl::OkStatus();
  if (stats_.waiters >= options_.waiters_max) {
    ++stats_.refused;
    return RetryableError("OVERLOADED", "too many calls wait for the database",
                          absl::Milliseconds(200));
  }
  ++stats_.waiters;
  const absl::Time until = std::min(deadline, SystemClock().Now() + options_.wait_max);
  const bool turn =
      freed_.wait_until(lock, absl::ToChronoTime(until), [this] { return HasTurn(); });
  --stats_.waiters;
  if (turn) return absl::OkStatus();
  ++stats_.refused;
  if (until == deadline) {
    return Error("DEADLINE_EXCEEDED", "the deadline passed while waiting for the database");
  }
  return RetryableError("OVERLOADED", "the database is busy", absl::Seconds(1));
}

absl::StatusOr<std::unique_ptr<Connection>> Database::Pool::Acquire(absl::Time deadline) {
  {
    std::unique_lock lock(mutex_);
    RETURN_IF_ERROR(WaitForTurn(lock, deadline));
    if (!idle_.empty()) {
      std::unique_ptr<Connection> connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
    ++stats_.connections_open;  // its place, while it is being made without the lock
  }
  absl::StatusOr<std::unique_ptr<Connection>> opened = Connection::Open(options_);
  std::lock_guard lock(mutex_);
  if (opened.ok()) {
    ++stats_.opened;
  } else {
    --stats_.connections_open;
    freed_.notify_one();
  }
  return opened;
}

void Database::Pool::Release(std::unique_ptr<Connection> connection) {
  std::vector<std::unique_ptr<Connection>> dead;  // closed after the lock is let go
  {
    std::lock_guard lock(mutex_);
    if (connection->broken()) {
      // What broke one has probably broken the idle ones too (a restart of the server).
      dead = std::move(idle_);
      idle_.clear();
      dead.push_back(std::move(connection));
      stats_.connections_open -= static_cast<int64_t>(dead.size());
      stats_.discarded += static_cast<int64_t>(dead.size());
    } else {
      idle_.push_back(std::move(connection));
    }
  }
  if (dead.size() > 1) {
    freed_.notify_all();
  } else {
    freed_.notify_one();
  }
}

void Database::Pool::Count(int64_t DatabaseStats::*sum) {
  std::lock_guard lock(mutex_);
  ++(stats_.*sum);
}

DatabaseStats Database::Pool::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Database::Pool::SetOutboxListener(std::function<void()> listener) {
  std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
}

void Database::Pool::NotifyOutbox() {
  std::lock_guard lock(listener_mutex_);
  if (listener_) listener_();
}

Database::Database(DatabaseOptions options) : pool_(std::make_unique<Pool>(std::move(options))) {}

Database::~Database() = default;

absl::Time Database::After(absl::Duration timeout) { return SystemClock().Now() + timeout; }

absl::Status Database::Run(absl::Time deadline, TransactOptions options,
                           absl::FunctionRef<absl::Status(Transaction&)> fn) {
  absl::Status status;
  for (int attempt = 0;; ++attempt) {
    if (SystemClock().Now() >= deadline) {
      // The failure before tells the caller more than that its time has passed.
      return status.ok() ? Error("DEADLINE_EXCEEDED", "the deadline has passed") : status;
    }
    Connection::Outcome outcome;
    absl::StatusOr<std::unique_ptr<Connection>> connection = pool_->Acquire(deadline);
    if (connection.ok()) {
      outcome = (*connection)->Run(deadline, options, fn);
      pool_->Release(*std::move(connection));
    } else {
      outcome.failure.status = connection.status();
      // Only what could not connect is tried again; who waited in vain has waited enough.
      outcome.failure.kind = absl::IsUnavailable(connection.status())
                                 ? Failure::Kind::kConnectionLost
                                 : Failure::Kind::kFinal;
    }
    status = std::move(outcome.failure.status);
    if (status.ok()) {
      pool_->Count(&DatabaseStats::commits);
      if (outcome.wrote_outbox) pool_->NotifyOutbox();
      return status;
    }
    const Failure::Kind kind = outcome.failure.kind;
    pool_->Count(kind == Failure::Kind::kInDoubt ? &DatabaseStats::in_doubt
                                                 : &DatabaseStats::rollbacks);
    if (!MayRunAgain(kind) || attempt == kRetriesMax) return status;
    pool_->Count(&DatabaseStats::retries);
    absl::SleepFor(std::min(Pause(kind, attempt), deadline - SystemClock().Now()));
  }
}

absl::Status Database::Ping(absl::Duration timeout) {
  return Transact(timeout, [](Transaction& tx) { return tx.Exec("SELECT 1").status(); });
}

absl::StatusOr<std::unique_ptr<Session>> Database::OpenSession() {
  ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Connection::Open(pool_->options()));
  return std::make_unique<Session>(std::move(connection));
}

void Database::SetOutboxListener(std::function<void()> listener) {
  pool_->SetOutboxListener(std::move(listener));
}

DatabaseStats Database::stats() const { return pool_->stats(); }

const DatabaseOptions& Database::options() const { return pool_->options(); }

Session::Session(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}

Session::~Session() = default;

absl::Status Session::Transact(absl::Time deadline,
                               absl::FunctionRef<absl::Status(Transaction&)> fn,
                               TransactOptions options) {
  if (connection_->broken()) {
    return RetryableError("UNAVAILABLE", "the session is lost", absl::Seconds(1));
  }
  return connection_->Run(deadline, options, fn).failure.status;
}

absl::Status Session::ExecOutsideTransaction(absl::string_view sql) {
  if (connection_->broken()) {
    return RetryableError("UNAVAILABLE", "the session is lost", absl::Seconds(1));
  }
  return connection_->ExecOutsideTransaction(sql);
}

bool Session::broken() const { return connection_->broken(); }

constexpr char kDatabaseExists[] = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";

absl::Status CreateDatabaseIfMissing(const DatabaseOptions& options, absl::string_view name) {
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) {
      return absl::InvalidArgumentError(absl::StrCat("not a database name: ", name));
    }
  }
  Database db(options);
  bool exists = false;
  RETURN_IF_ERROR(db.Transact(absl::Seconds(30), [&](Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const Row row, tx.ExecOne(kDatabaseExists, name));
    exists = row.Get<bool>(0);
    return absl::OkStatus();
  }));
  if (exists) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, db.OpenSession());
  return session->ExecOutsideTransaction(absl::StrCat("CREATE DATABASE \"", name, "\""));
}

}  // namespace rochdale::pg
