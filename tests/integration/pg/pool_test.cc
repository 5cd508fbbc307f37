#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/pg/database.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);

// Holds connections until it is let go.
class Holders {
 public:
  Holders(Database& db, int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, &db] {
        const absl::Status status = db.Transact(kTimeout, [this](Transaction&) {
          ++holding_;
          while (!released_) absl::SleepFor(absl::Milliseconds(1));
          return absl::OkStatus();
        });
        if (!status.ok()) ++failed_;
      });
    }
    while (holding_ < count) absl::SleepFor(absl::Milliseconds(1));
  }
  ~Holders() { Release(); }
  void Release() {
    released_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  int failed() const { return failed_; }

 private:
  std::atomic<int> holding_{0};
  std::atomic<int> failed_{0};
  std::atomic<bool> released_{false};
  std::vector<std::thread> threads_;
};

TEST_CASE("the pool never has more connections than its bound") {
  testing::TestDatabase database;
  DatabaseOptions options = database.Options();
  options.connections_max = 3;
  options.waiters_max = 100;
  Database db(options);
  std::atomic<int> inside{0}, most{0}, done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 12; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        const absl::Status status = db.Transact(kTimeout, [&](Transaction& tx) {
          const int now = ++inside;
          int seen = most;
          while (now > seen && !most.compare_exchange_weak(seen, now)) {
          }
          const absl::Status slept = tx.Exec("SELECT pg_sleep(0.002)").status();
          --inside;
          return slept;
        });
        if (status.ok()) ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(done == 120);
  CHECK(most == 3);
  CHECK(db.stats().opened == 3);
  CHECK(db.stats().connections_open == 3);
  CHECK(db.stats().waiters == 0);
}

TEST_CASE("who would wait too long or behind too many is refused with a hint") {
  testing::TestDatabase database;
  DatabaseOptions options = database.Options();
  options.connections_max = 2;
  options.waiters_max = 1;
  options.wait_max = absl::Milliseconds(400);
  Database db(options);
  Holders holders(db, 2);

  std::atomic<bool> waiting_failed{false};
  std::string waiter_reason;
  std::thread waiter([&] {
    waiter_reason = ReasonOf(db.Ping(kTimeout));  // waits its 400 ms in vain
    waiting_failed = true;
  });
  while (db.stats().waiters < 1) absl::SleepFor(absl::Milliseconds(1));
  const absl::Time start = absl::Now();
  const absl::Status refused = db.Ping(kTimeout);
  CHECK(ReasonOf(refused) == "OVERLOADED");
  CHECK(RetryAfterOf(refused).has_value());
  CHECK(absl::Now() - start < absl::Milliseconds(300));  // at once
  CHECK_FALSE(waiting_failed);
  waiter.join();
  CHECK(waiter_reason == "OVERLOADED");

  // A deadline before that is the deadline's fault.
  CHECK(ReasonOf(db.Ping(absl::Milliseconds(50))) == "DEADLINE_EXCEEDED");
  holders.Release();
  CHECK(holders.failed() == 0);
  CHECK(db.Ping(kTimeout).ok());
  CHECK(db.stats().refused == 3);
}

TEST_CASE("a waiter gets the connection that is given back") {
  testing::TestDatabase database;
  DatabaseOptions options = database.Options();
  options.connections_max = 1;
  Database db(options);
  Holders holders(db, 1);
  absl::Status status;
  std::thread waiter([&] { status = db.Ping(kTimeout); });
  while (db.stats().waiters < 1) absl::SleepFor(absl::Milliseconds(1));
  holders.Release();
  waiter.join();
  CHECK(status.ok());
  CHECK(db.stats().opened == 1);
}

TEST_CASE("a failed attempt to connect gives its place back") {
  testing::TestDatabase database;
  DatabaseOptions options = database.Options();
  options.connection += "_gone";  // quoted already, so this is a syntax error of the string
  options.connections_max = 1;
  options.log = [](absl::string_view) {};
  Database db(options);
  for (int i = 0; i < 3; ++i) CHECK_FALSE(db.Ping(kTimeout).ok());
  CHECK(db.stats().connections_open == 0);
}

TEST_CASE("role and schema hold for every connection") {
  static const MigrationSet set{"alpha", {{1, "0001_t", "CREATE TABLE t (a bigint)"}}};
  testing::TestDatabase database({set});
  Database& db = database.ForService("alpha");
  const absl::Status status = db.Transact(kTimeout, [](Transaction& tx) {
    const auto row = tx.ExecOne("SELECT current_user::text, current_schema()::text");
    CHECK(row->Get<std::string>(0) == "rochdale_alpha");
    CHECK(row->Get<std::string>(1) == "alpha");
    return tx.Exec("INSERT INTO t VALUES (1)").status();
  });
  CHECK(status.ok());
}

}  // namespace
}  // namespace rochdale::pg
