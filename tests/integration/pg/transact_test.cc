#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/database.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);

void MakeCounters(Database& db) {
  const absl::Status made = db.Transact(kTimeout, [](Transaction& tx) {
    return tx.ExecScript(
        "CREATE TABLE counter (id bigint PRIMARY KEY, value bigint NOT NULL CHECK (value >= 0));"
        "INSERT INTO counter VALUES (1, 0), (2, 0)");
  });
  REQUIRE(made.ok());
}

absl::Status Add(Transaction& tx, int64_t id, int64_t amount) {
  return tx.Exec("UPDATE counter SET value = value + $2 WHERE id = $1", id, amount).status();
}

int64_t ValueOf(Database& db, int64_t id) {
  const auto value = db.Transact(kTimeout, [&](Transaction& tx) -> absl::StatusOr<int64_t> {
    ASSIGN_OR_RETURN(const Row row, tx.ExecOne("SELECT value FROM counter WHERE id = $1", id));
    return row.Get<int64_t>(0);
  });
  REQUIRE(value.ok());
  return *value;
}

absl::StatusOr<int64_t> OwnBackend(Transaction& tx) {
  ASSIGN_OR_RETURN(const Row row, tx.ExecOne("SELECT pg_backend_pid()"));
  return row.Get<int64_t>(0);
}

// From another connection, as a crash of the backend would look.
void KillBackend(Database& admin, int64_t pid) {
  const absl::Status killed = admin.Transact(kTimeout, [&](Transaction& tx) {
    return tx.Exec("SELECT pg_terminate_backend($1, 5000)", pid).status();
  });
  REQUIRE(killed.ok());
}

TEST_CASE("a transaction commits on OK and rolls back on an error") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  MakeCounters(db);
  CHECK(db.Transact(kTimeout, [](Transaction& tx) { return Add(tx, 1, 5); }).ok());
  CHECK(ValueOf(db, 1) == 5);
  const absl::Status refused = db.Transact(kTimeout, [](Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(Add(tx, 1, 5));
    return Error("NOT_FOUND", "the store's own words");
  });
  CHECK(ReasonOf(refused) == "NOT_FOUND");
  CHECK(refused.message() == "the store's own words");
  CHECK(ValueOf(db, 1) == 5);
  CHECK(db.stats().rollbacks == 1);
}

TEST_CASE("a failed statement cannot be swallowed") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  MakeCounters(db);
  const absl::Status status = db.Transact(kTimeout, [](Transaction& tx) {
    CHECK(Add(tx, 1, 1).ok());
    const absl::Status failed =
        tx.Exec("INSERT INTO counter VALUES ($1, 0)", 2).status();
    CHECK(ReasonOf(failed) == "ALREADY_EXISTS");
    CHECK_FALSE(absl::StrContains(failed.message(), "counter"));  // no driver text
    CHECK(ReasonOf(Add(tx, 1, 1)) == "ALREADY_EXISTS");           // the first failure stays
    return absl::OkStatus();
  });
  CHECK(ReasonOf(status) == "ALREADY_EXISTS");
  CHECK(ValueOf(db, 1) == 0);
}

TEST_CASE("a store may give a final failure a better name, but not hide a retry") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  MakeCounters(db);
  const absl::Status status = db.Transact(kTimeout, [](Transaction& tx) -> absl::Status {
    if (!tx.Exec("INSERT INTO counter VALUES (1, 0)").ok()) {
      return Error("KEY_IN_USE", "taken");
    }
    return absl::OkStatus();
  });
  CHECK(ReasonOf(status) == "KEY_IN_USE");

  int runs = 0;
  const absl::Status retried = db.Transact(kTimeout, [&](Transaction& tx) -> absl::Status {
    ++runs;
    const auto failed = tx.Exec("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$");
    CHECK_FALSE(failed.ok());
    return Error("KEY_IN_USE", "mistaken");
  });
  CHECK(runs == 4);  // once, and three times more
  CHECK(ReasonOf(retried) == "UNAVAILABLE");
  CHECK(RetryAfterOf(retried).has_value());
}

TEST_CASE("what the operator needs goes to the log, with the id that the client got") {
  testing::TestDatabase database;
  DatabaseOptions options = database.Options();
  std::vector<std::string> lines;
  options.log = [&](absl::string_view line) { lines.emplace_back(line); };
  Database db(options);
  MakeCounters(db);
  const absl::Status status =
      db.Transact(kTimeout, [](Transaction& tx) { return Add(tx, 1, -1); });  // CHECK violated
  CHECK(ReasonOf(status) == "INTERNAL");
  CHECK_FALSE(absl::StrContains(status.message(), "counter"));
  REQUIRE(lines.size() == 1);
  CHECK(absl::StrContains(lines[0], "counter_value_check"));
  CHECK(absl::StrContains(lines[0], status.message().substr(status.message().size() - 8)));
}

TEST_CASE("deadlocks are retried until both are done") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  MakeCounters(db);
  std::atomic<int> first_rows{0};
  std::atomic<int> runs{0};
  const auto cross = [&](int64_t first, int64_t second) {
    bool waited = false;
    return db.Transact(kTimeout, [&, first, second](Transaction& tx) -> absl::Status {
      ++runs;
      RETURN_IF_ERROR(Add(tx, first, 1));
      if (!waited) {  // only the first time: both hold one row, then want the other's
        waited = true;
        ++first_rows;
        while (first_rows < 2) absl::SleepFor(absl::Milliseconds(1));
      }
      return Add(tx, second, 1);
    });
  };
  absl::Status other;
  std::thread thread([&] { other = cross(2, 1); });
  const absl::Status mine = cross(1, 2);
  thread.join();
  INFO(mine.ToString() << " " << other.ToString());
  CHECK(mine.ok());
  CHECK(other.ok());
  CHECK(runs >= 3);
  CHECK(db.stats().retries >= 1);
  CHECK(ValueOf(db, 1) == 2);
  CHECK(ValueOf(db, 2) == 2);
}

TEST_CASE("serialisable rivals are retried and none is lost") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  MakeCounters(db);
  TransactOptions serializable;
  serializable.isolation = Isolation::kSerializable;
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        absl::Status status;
        do {  // read, then write what depends on it: a lost update under a weaker isolation
          status = db.Transact(
              kTimeout,
              [](Transaction& tx) -> absl::Status {
                ASSIGN_OR_RETURN(const Row row,
                                 tx.ExecOne("SELECT value FROM counter WHERE id = 1"));
                return tx.Exec("UPDATE counter SET value = $1 WHERE id = 1",
                               row.Get<int64_t>(0) + 1)
                    .status();
              },
              serializable);
        } while (absl::IsUnavailable(status));
        if (status.ok()) ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(done == 40);
  CHECK(ValueOf(db, 1) == 40);
  CHECK(db.stats().retries > 0);
}

TEST_CASE("a backend that is killed before COMMIT costs one retry") {
  testing::TestDatabase database;
  Database db(database.Options());
  MakeCounters(db);
  int runs = 0;
  const absl::Status status = db.Transact(kTimeout, [&](Transaction& tx) -> absl::Status {
    ++runs;
    RETURN_IF_ERROR(Add(tx, 1, 1));
    if (runs == 1) {
      ASSIGN_OR_RETURN(const int64_t pid, OwnBackend(tx));
      KillBackend(database.Admin(), pid);
    }
    return Add(tx, 2, 1);
  });
  INFO(status.ToString());
  CHECK(status.ok());
  CHECK(runs == 2);
  CHECK(ValueOf(db, 1) == 1);
  CHECK(db.stats().discarded >= 1);
  CHECK(db.stats().connections_open == 1);
}

TEST_CASE("after a restart of the server every idle connection is thrown away at once") {
  testing::TestDatabase database;
  Database db(database.Options());
  // Five idle connections, more than there are retries.
  std::atomic<int> inside{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 5; ++t) {
    threads.emplace_back([&] {
      const absl::Status status = db.Transact(kTimeout, [&](Transaction& tx) {
        ++inside;
        while (inside < 5) absl::SleepFor(absl::Milliseconds(1));
        return absl::OkStatus();
      });
      if (!status.ok()) inside = 100;
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(db.stats().connections_open == 5);
  REQUIRE(database.Admin()
              .Transact(kTimeout,
                        [](Transaction& tx) {
                          return tx.Exec("SELECT pg_terminate_backend(pid, 5000) "
                                         "FROM pg_stat_activity WHERE datname = "
                                         "current_database() AND pid <> pg_backend_pid()")
                              .status();
                        })
              .ok());
  CHECK(db.Ping(kTimeout).ok());
  CHECK(db.stats().retries == 1);
  CHECK(db.stats().connections_open == 1);
}

TEST_CASE("COMMIT in doubt is UNAVAILABLE and is not run again") {
  testing::TestDatabase database;
  Database db(database.Options());
  MakeCounters(db);
  // A deferred trigger that kills its own backend runs while COMMIT is under way.
  REQUIRE(db.Transact(kTimeout, [](Transaction& tx) {
              return tx.ExecScript(
                  "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                  "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); "
                  "RETURN NULL; END $$;"
                  "CREATE CONSTRAINT TRIGGER die AFTER UPDATE ON counter DEFERRABLE INITIALLY "
                  "DEFERRED FOR EACH ROW EXECUTE FUNCTION die()");
            }).ok());
  int runs = 0;
  const absl::Status status = db.Transact(kTimeout, [&](Transaction& tx) {
    ++runs;
    return Add(tx, 1, 1);
  });
  CHECK(ReasonOf(status) == "UNAVAILABLE");
  CHECK(RetryAfterOf(status).has_value());
  CHECK(absl::StrContains(status.message(), "request_id"));
  CHECK(runs == 1);
  CHECK(db.stats().in_doubt == 1);
  CHECK(ValueOf(db, 1) == 0);  // on a new connection
}

TEST_CASE("an error at COMMIT is not taken for success") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  REQUIRE(db.Transact(kTimeout, [](Transaction& tx) {
              return tx.ExecScript(
                  "CREATE TABLE p (id bigint PRIMARY KEY);"
                  "CREATE TABLE c (id bigint REFERENCES p DEFERRABLE INITIALLY DEFERRED)");
            }).ok());
  const absl::Status status = db.Transact(
      kTimeout, [](Transaction& tx) { return tx.Exec("INSERT INTO c VALUES (1)").status(); });
  CHECK(ReasonOf(status) == "INTERNAL");
  CHECK(db.stats().in_doubt == 0);
}

TEST_CASE("the deadline bounds statements, and the connection survives it") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  const absl::Time start = absl::Now();
  const absl::Status slow = db.Transact(absl::Milliseconds(200), [](Transaction& tx) {
    return tx.Exec("SELECT pg_sleep(30)").status();
  });
  CHECK(ReasonOf(slow) == "DEADLINE_EXCEEDED");
  CHECK(absl::Now() - start < absl::Seconds(5));

  // Many quick statements do not slip past it either.
  int ran = 0;
  const absl::Status many = db.Transact(absl::Milliseconds(300), [&](Transaction& tx) {
    while (true) {
      RETURN_IF_ERROR(tx.Exec("SELECT pg_sleep(0.02)").status());
      ++ran;
    }
  });
  CHECK(ReasonOf(many) == "DEADLINE_EXCEEDED");
  CHECK(ran < 20);
  CHECK(db.stats().discarded == 0);
  CHECK(ReasonOf(db.Transact(absl::Time(), [](Transaction&) { return absl::OkStatus(); })) ==
        "DEADLINE_EXCEEDED");
  CHECK(db.Ping(kTimeout).ok());
}

TEST_CASE("an unreachable server is UNAVAILABLE with a hint, soon") {
  DatabaseOptions options;
  options.connection = "host=/nonexistent dbname=x user=y";
  options.log = [](absl::string_view) {};
  Database db(options);
  const absl::Time start = absl::Now();
  const absl::Status status = db.Ping(kTimeout);
  CHECK(ReasonOf(status) == "UNAVAILABLE");
  CHECK(RetryAfterOf(status).has_value());
  CHECK(absl::Now() - start < absl::Seconds(5));
  CHECK(db.stats().connections_open == 0);
}

TEST_CASE("text with a NUL byte or broken UTF-8 is the caller's fault") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  const auto echo = [&](const std::string& text) {
    return db.Transact(kTimeout,
                       [&](Transaction& tx) { return tx.Exec("SELECT $1::text", text).status(); });
  };
  CHECK(echo("ok").ok());
  CHECK(ReasonOf(echo(std::string("a\0b", 3))) == "BAD_REQUEST");
  CHECK(ReasonOf(echo("\xff\xfe")) == "BAD_REQUEST");
  CHECK(echo("'; DROP TABLE x; --").ok());
}

TEST_CASE("a plan that a migration made stale is made again") {
  testing::TestDatabase database;
  Database db(database.Options());
  MakeCounters(db);
  const auto read = [&] {
    return db.Transact(kTimeout, [](Transaction& tx) {
      return tx.Exec("SELECT * FROM counter WHERE id = $1", 1).status();
    });
  };
  CHECK(read().ok());
  CHECK(database.Admin()
            .Transact(kTimeout,
                      [](Transaction& tx) {
                        return tx.ExecScript("ALTER TABLE counter ADD COLUMN note text");
                      })
            .ok());
  CHECK(read().ok());
  CHECK(db.stats().retries == 1);
}

TEST_CASE("a read-only transaction cannot write") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  MakeCounters(db);
  TransactOptions read_only;
  read_only.read_only = true;
  CHECK_FALSE(
      db.Transact(kTimeout, [](Transaction& tx) { return Add(tx, 1, 1); }, read_only).ok());
  CHECK(ValueOf(db, 1) == 0);
}

TEST_CASE("a closure that throws is an internal error and leaks no connection") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  const absl::Status status = db.Transact(kTimeout, [](Transaction&) -> absl::Status {
    throw std::runtime_error("secret");
  });
  CHECK(ReasonOf(status) == "INTERNAL");
  CHECK_FALSE(absl::StrContains(status.message(), "secret"));
  CHECK(db.Ping(kTimeout).ok());
}

TEST_CASE("more statements than are prepared still run") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  const absl::Status status = db.Transact(kTimeout, [](Transaction& tx) -> absl::Status {
    for (int i = 0; i < 700; ++i) {
      ASSIGN_OR_RETURN(const Row row,
                       tx.ExecOne(absl::StrCat("SELECT $1::bigint + ", i), int64_t{1}));
      CHECK(row.Get<int64_t>(0) == i + 1);
    }
    return absl::OkStatus();
  });
  CHECK(status.ok());
}

}  // namespace
}  // namespace rochdale::pg
