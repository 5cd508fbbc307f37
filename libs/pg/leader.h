// Leadership among the replicas of a service: an advisory lock says who leads, and an epoch number
// in the lease row (table `leases` of the service's schema) fences out who led before.
//
// The lock is held by a session of its own; when that session dies, the server frees the lock and
// another replica takes it with the next epoch. A leader that does not know yet that it lost the
// lock cannot write: each of its transactions starts with CheckEpoch.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/pg/database.h"

namespace rochdale::pg {

struct Lease {
  int64_t epoch = 0;    // grows by 1 with each leader
  std::string address;  // where the leader is called; empty after it left of its own will
  int64_t acquired_us = 0;
};

// The last leader; it may be gone. Nothing where there never was one.
absl::StatusOr<std::optional<Lease>> FindLease(Transaction& tx, absl::string_view name);

// OK while `epoch` is the newest, and keeps it so until `tx` ends; else NOT_LEADER (UNAVAILABLE).
absl::Status CheckEpoch(Transaction& tx, absl::string_view name, int64_t epoch);

struct LeadershipOptions {
  std::string name;     // "<service>.<what>", e.g. "ledger.writer"
  std::string address;  // host:port of this replica
  absl::Duration check_every = absl::Seconds(1);  // tries to lead; looks whether it still does
  absl::Duration call_timeout = absl::Seconds(5);
  // From the leadership thread. on_gained ends before on_lost is called; both must return soon.
  std::function<void(int64_t epoch)> on_gained;
  std::function<void()> on_lost;
};

// A thread that tries to lead. Thread-safe.
class Leadership {
 public:
  // Starts at once. `db` (with the service's schema) and `clock` must outlive it.
  Leadership(Database& db, const Clock& clock, LeadershipOptions options);
  // Stops: on_lost is called if it led, and the lock is free when this returns.
  ~Leadership();
  Leadership(const Leadership&) = delete;
  Leadership& operator=(const Leadership&) = delete;

  // The epoch in which this replica leads, as far as it knows.
  std::optional<int64_t> epoch() const;
  // True once it leads; false if it does not within `timeout`.
  bool WaitUntilLeading(absl::Duration timeout);
  // Idempotent.
  void Stop();

 private:
  void Loop();
  void TryToLead();
  void CheckStillLeading();
  void Lose(bool release);

  Database& db_;
  const Clock& clock_;
  const LeadershipOptions options_;
  std::unique_ptr<Session> session_;  // leadership thread only; set while leading
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::optional<int64_t> epoch_;
  std::thread thread_;
};

}  // namespace rochdale::pg
