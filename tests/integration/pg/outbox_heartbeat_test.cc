// Until when the log is complete: what a relay says of it must hold at the moment it says it.
#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/outbox.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(30);

const std::vector<MigrationSet>& Sets() {
  static const auto* sets =
      new std::vector<MigrationSet>{{"alpha", {{1, "0001_none", "CREATE TABLE none (n int)"}}}};
  return *sets;
}

Uuid IdOf(uint32_t number) {
  Uuid id;
  id.bytes[0] = 1;
  for (int i = 0; i < 4; ++i) id.bytes[12 + i] = number >> (24 - 8 * i);
  return id;
}

absl::Status Enqueue(Database& db, uint32_t first, uint32_t count = 1) {
  return db.Transact(kTimeout, [&](Transaction& tx) -> absl::Status {
    for (uint32_t i = first; i < first + count; ++i) {
      RETURN_IF_ERROR(EnqueueEncodedEntry(tx, {IdOf(i), i, absl::StrCat("leaf ", i)}));
    }
    return absl::OkStatus();
  });
}

// A log that notes, with every time that it is told, how much it holds then.
class NotingLog {
 public:
  struct Told {
    absl::Time complete_until;
    size_t rows;  // of the call
    size_t size;  // of the log after it
  };

  OutboxRelay::Send Send() {
    return [this](const std::vector<OutboxRow>& rows,
                  absl::Time until) -> absl::StatusOr<std::vector<int64_t>> {
      if (slow_) absl::SleepFor(absl::Microseconds(500));
      std::lock_guard lock(mutex_);
      if (failing_) return RetryableError("UNAVAILABLE", "down", absl::Seconds(1));
      std::vector<int64_t> indexes;
      for (const OutboxRow& row : rows) {
        indexes.push_back(index_.emplace(row.event_id, index_.size()).first->second);
      }
      calls_.push_back({until, rows.size(), index_.size()});
      return indexes;
    };
  }
  void SetFailing(bool failing) {
    std::lock_guard lock(mutex_);
    failing_ = failing;
  }
  void SetSlow() { slow_ = true; }
  // Every call; Told only where it says a time.
  std::vector<Told> calls() const {
    std::lock_guard lock(mutex_);
    return calls_;
  }
  std::vector<Told> told() const {
    std::vector<Told> told;
    for (const Told& call : calls()) {
      if (call.complete_until != absl::InfinitePast()) told.push_back(call);
    }
    return told;
  }
  std::map<Uuid, int64_t> indexes() const {
    std::lock_guard lock(mutex_);
    return index_;
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> slow_{false};
  bool failing_ = false;
  std::map<Uuid, int64_t> index_;
  std::vector<Told> calls_;
};

bool Soon(const std::function<bool()>& holds) {
  for (int i = 0; i < 4000 && !holds(); ++i) absl::SleepFor(absl::Milliseconds(5));
  return holds();
}

TEST_CASE("a log is told that it is complete, again and again, while nothing happens") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  NotingLog log;
  OutboxRelayOptions options;
  options.poll_every = absl::Seconds(60);
  options.heartbeat_every = absl::Milliseconds(30);
  const absl::Time begin = clock.Now();
  OutboxRelay relay(db, clock, log.Send(), options);
  REQUIRE(Soon([&] { return log.told().size() >= 4; }));
  relay.Stop();
  const auto told = log.told();
  for (size_t i = 0; i < told.size(); ++i) {
    CHECK(told[i].rows == 0);
    CHECK(told[i].complete_until >= (i == 0 ? begin : told[i - 1].complete_until));
    CHECK(told[i].complete_until <= clock.Now());
  }
  // Not more often than it was asked for: by the clock that paces it, so with some allowance.
  CHECK(told.size() <= 2 + (clock.Now() - begin) / absl::Milliseconds(30));
  CHECK(relay.stats().heartbeats == static_cast<int64_t>(told.size()));
}

TEST_CASE("a relay that was not asked to says nothing of it") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  NotingLog log;
  OutboxRelayOptions options;
  options.poll_every = absl::Milliseconds(5);
  OutboxRelay relay(db, clock, log.Send(), options);
  REQUIRE(Enqueue(db, 0, 3).ok());
  REQUIRE(relay.WaitUntilEmpty(kTimeout));
  REQUIRE(relay.WaitUntilEmpty(kTimeout));
  CHECK(log.told().empty());
  CHECK(log.calls().size() == 1);
}

TEST_CASE("only the last of several batches says that this was all") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  NotingLog log;
  const absl::Time begin = clock.Now();
  REQUIRE(Enqueue(db, 0, 5).ok());
  OutboxRelayOptions options;
  options.heartbeat_every = absl::Seconds(60);
  SECTION("by number") { options.batch_max = 2; }
  SECTION("by bytes") { options.batch_bytes_max = 13; }  // two of "leaf 0"
  OutboxRelay relay(db, clock, log.Send(), options);
  REQUIRE(relay.WaitUntilEmpty(kTimeout));
  relay.Stop();
  const auto calls = log.calls();
  REQUIRE(calls.size() == 3);
  CHECK(calls[0].complete_until == absl::InfinitePast());
  CHECK(calls[1].complete_until == absl::InfinitePast());
  CHECK(calls[2].complete_until >= begin);
  CHECK(calls[2].rows == 1);
  CHECK(relay.stats().heartbeats == 1);  // said with the entries, at once
}

TEST_CASE("a heartbeat that fails is repeated and holds up nothing else") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  NotingLog log;
  log.SetFailing(true);
  OutboxRelayOptions options;
  options.heartbeat_every = absl::Milliseconds(20);
  options.backoff_min = absl::Milliseconds(5);
  options.backoff_max = absl::Milliseconds(20);
  OutboxRelay relay(db, clock, log.Send(), options);
  REQUIRE(relay.WaitUntilEmpty(kTimeout));  // nothing is unsent, though the log is down
  REQUIRE(Soon([&] { return relay.stats().consecutive_failures > 2; }));
  CHECK(relay.stats().heartbeats == 0);
  log.SetFailing(false);
  REQUIRE(Soon([&] { return relay.stats().heartbeats > 0; }));
  CHECK(relay.stats().consecutive_failures == 0);
}

TEST_CASE("what was committed by the time that is said is in the log, whoever relays") {
  const uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  testing::TestDatabase database(Sets());
  DatabaseOptions many = database.Options("alpha");
  many.connections_max = 12;
  Database db(many);
  Database replica(database.Options("alpha"));
  SystemClock clock;
  NotingLog log;
  log.SetSlow();
  OutboxRelayOptions options;
  options.batch_max = 7;
  options.poll_every = absl::Milliseconds(2);
  options.heartbeat_every = absl::Microseconds(100);
  OutboxRelay relay(db, clock, log.Send(), options);
  OutboxRelay other(replica, clock, log.Send(), options);
  // Transactions begin, write and commit at random beside looks and calls.
  std::mutex mutex;
  std::map<Uuid, absl::Time> committed;  // not later than this
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      for (int i = 0; i < 120; ++i) {
        const uint32_t id = t * 1000 + i;
        absl::SleepFor(absl::Microseconds(random() % 3000));
        const absl::Duration open = absl::Microseconds(random() % 2000);
        const absl::Status status = db.Transact(kTimeout, [&](Transaction& tx) -> absl::Status {
          RETURN_IF_ERROR(EnqueueEncodedEntry(tx, {IdOf(id), id, absl::StrCat("leaf ", id)}));
          RETURN_IF_ERROR(tx.Exec("SELECT 1").status());
          absl::SleepFor(open);
          return absl::OkStatus();
        });
        const absl::Time done = clock.Now();
        if (!status.ok()) ++failed;
        std::lock_guard lock(mutex);
        committed[IdOf(id)] = done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  REQUIRE(relay.WaitUntilEmpty(kTimeout));
  relay.Stop();
  other.Stop();
  const auto told = log.told();
  const auto indexes = log.indexes();
  REQUIRE(indexes.size() == committed.size());
  CHECK(told.size() > 20);
  int violations = 0;
  for (const auto& [id, time] : committed) {
    for (const NotingLog::Told& said : told) {
      if (time <= said.complete_until && indexes.at(id) >= static_cast<int64_t>(said.size)) {
        ++violations;
      }
    }
  }
  CHECK(violations == 0);
}

}  // namespace
}  // namespace rochdale::pg
