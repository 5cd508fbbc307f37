#include "libs/pg/leader.h"

#include <atomic>
#include <catch2/catch.hpp>

#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);

const std::vector<MigrationSet>& Sets() {
  static const auto* sets =
      new std::vector<MigrationSet>{{"alpha", {{1, "0001_t", "CREATE TABLE t (a bigint)"}}}};
  return *sets;
}

LeadershipOptions Options(const std::string& address) {
  LeadershipOptions options;
  options.name = "alpha.writer";
  options.address = address;
  options.check_every = absl::Milliseconds(20);
  return options;
}

absl::Status Check(Database& db, int64_t epoch) {
  return db.Transact(kTimeout,
                     [&](Transaction& tx) { return CheckEpoch(tx, "alpha.writer", epoch); });
}

std::optional<Lease> LeaseOf(Database& db) {
  return db.Transact(kTimeout, [](Transaction& tx) { return FindLease(tx, "alpha.writer"); })
      .value();
}

// Ends the sessions that hold advisory locks, as the death of the leader's host would.
void KillLockHolder(Database& admin) {
  REQUIRE(admin
              .Transact(kTimeout,
                        [](Transaction& tx) {
                          return tx.Exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks "
                                         "WHERE locktype = 'advisory' AND granted AND database = "
                                         "(SELECT oid FROM pg_database WHERE datname = "
                                         "current_database())")
                              .status();
                        })
              .ok());
}

TEST_CASE("one leads at a time, and the next takes over with the next epoch") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  CHECK_FALSE(LeaseOf(db).has_value());
  CHECK(ReasonOf(Check(db, 1)) == "NOT_LEADER");
  Leadership first(db, clock, Options("host-1:1"));
  REQUIRE(first.WaitUntilLeading(kTimeout));
  Leadership second(db, clock, Options("host-2:1"));
  CHECK_FALSE(second.WaitUntilLeading(absl::Milliseconds(300)));
  CHECK(first.epoch() == 1);
  CHECK(LeaseOf(db)->address == "host-1:1");
  CHECK(Check(db, 1).ok());
  first.Stop();
  CHECK_FALSE(first.epoch().has_value());
  REQUIRE(second.WaitUntilLeading(kTimeout));
  CHECK(second.epoch() == 2);
  CHECK(LeaseOf(db)->address == "host-2:1");
  CHECK(ReasonOf(Check(db, 1)) == "NOT_LEADER");
  CHECK(Check(db, 2).ok());
  second.Stop();
  CHECK(LeaseOf(db)->address.empty());
}

TEST_CASE("a leader whose session dies is fenced and told") {
  testing::TestDatabase database(Sets());
  DatabaseOptions options = database.Options("alpha");
  options.log = [](absl::string_view) {};
  Database db(options);
  SystemClock clock;
  std::atomic<int> gained{0}, lost{0};
  LeadershipOptions watched = Options("host-1:1");
  watched.on_gained = [&](int64_t) { ++gained; };
  watched.on_lost = [&] { ++lost; };
  Leadership leader(db, clock, watched);
  REQUIRE(leader.WaitUntilLeading(kTimeout));
  KillLockHolder(database.Admin());
  for (int i = 0; i < 1000 && gained < 2; ++i) absl::SleepFor(absl::Milliseconds(5));
  CHECK(lost == 1);
  CHECK(gained == 2);
  CHECK(leader.epoch() == 2);  // alone, so it leads again, in a new epoch
  CHECK(ReasonOf(Check(db, 1)) == "NOT_LEADER");
  leader.Stop();
  CHECK(lost == 2);
}

TEST_CASE("a write under way holds off the next leader") {
  testing::TestDatabase database(Sets());
  DatabaseOptions options = database.Options("alpha");
  options.log = [](absl::string_view) {};
  Database db(options);
  SystemClock clock;
  auto slow = Options("host-1:1");
  slow.check_every = absl::Seconds(60);  // does not notice
  Leadership first(db, clock, slow);
  REQUIRE(first.WaitUntilLeading(kTimeout));
  auto next = Options("host-2:1");
  next.call_timeout = kTimeout;
  std::optional<Leadership> second;
  const absl::Status written = db.Transact(kTimeout, [&](Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(CheckEpoch(tx, "alpha.writer", 1));
    KillLockHolder(database.Admin());
    second.emplace(db, clock, next);
    CHECK_FALSE(second->WaitUntilLeading(absl::Milliseconds(300)));
    return tx.Exec("INSERT INTO t VALUES (1)").status();
  });
  CHECK(written.ok());
  REQUIRE(second->WaitUntilLeading(kTimeout));
  CHECK(first.epoch() == 1);  // believes it still leads, but
  CHECK(ReasonOf(Check(db, 1)) == "NOT_LEADER");
}

}  // namespace
}  // namespace rochdale::pg
