#include "libs/pg/requests.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);
const absl::Time kNow = absl::FromUnixMicros(1'700'000'000'000'000);

const std::vector<MigrationSet>& Sets() {
  static const auto* sets = new std::vector<MigrationSet>{
      {"alpha", {{1, "0001_effects", "CREATE TABLE effects (note text)"}}}};
  return *sets;
}

RequestKey Key(uint8_t id, absl::string_view body = "body") {
  RequestKey key;
  key.request_id.bytes[15] = id;
  key.method = "rochdale.test.v1.Test/Do";
  key.body_sha256 = RequestDigest("agent:1", body);
  return key;
}

absl::StatusOr<std::string> Do(Database& db, const RequestKey& key, const std::string& response) {
  return db.Transact(kTimeout, [&](Transaction& tx) {
    return RunOnce(tx, key, kNow, [&]() -> absl::StatusOr<std::string> {
      RETURN_IF_ERROR(tx.Exec("INSERT INTO effects VALUES ($1)", response).status());
      return response;
    });
  });
}

int64_t Effects(Database& db) {
  return db.Transact(kTimeout, [](Transaction& tx) -> absl::StatusOr<int64_t> {
             ASSIGN_OR_RETURN(const Row row, tx.ExecOne("SELECT count(*) FROM effects"));
             return row.Get<int64_t>(0);
           }).value();
}

TEST_CASE("a repeated request has one effect and one answer") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  CHECK(*Do(db, Key(1), "first") == "first");
  CHECK(*Do(db, Key(1), "second") == "first");
  CHECK(*Do(db, Key(2), "") == "");  // an empty response is a response
  CHECK(*Do(db, Key(2), "third") == "");
  CHECK(Effects(db) == 2);
}

TEST_CASE("an id with other content, method or caller is refused") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  REQUIRE(Do(db, Key(1), "first").ok());
  CHECK(ReasonOf(Do(db, Key(1, "other"), "x").status()) == "REQUEST_ID_REUSED");
  RequestKey method = Key(1);
  method.method = "rochdale.test.v1.Test/Undo";
  CHECK(ReasonOf(Do(db, method, "x").status()) == "REQUEST_ID_REUSED");
  RequestKey caller = Key(1);
  caller.body_sha256 = RequestDigest("agent:2", "body");
  CHECK(ReasonOf(Do(db, caller, "x").status()) == "REQUEST_ID_REUSED");
  CHECK(ReasonOf(Do(db, Key(0), "x").status()) == "BAD_REQUEST");
  CHECK(Effects(db) == 1);
  // The caller's length is part of the digest: no other split gives the same.
  CHECK(RequestDigest("ab", "c") != RequestDigest("a", "bc"));
}

TEST_CASE("a failed change frees its id") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  const auto failed = db.Transact(kTimeout, [&](Transaction& tx) {
    return RunOnce(tx, Key(1), kNow, [&]() -> absl::StatusOr<std::string> {
      RETURN_IF_ERROR(tx.Exec("INSERT INTO effects VALUES ('lost')").status());
      return Error("NOT_FOUND", "no");
    });
  });
  CHECK(ReasonOf(failed.status()) == "NOT_FOUND");
  CHECK(Effects(db) == 0);
  CHECK(*Do(db, Key(1), "now") == "now");
}

TEST_CASE("rivals with one id: one effect, and every answer is the same") {
  testing::TestDatabase database(Sets());
  DatabaseOptions options = database.Options("alpha");
  options.connections_max = 16;
  Database db(options);
  for (uint8_t id = 1; id <= 10; ++id) {
    std::vector<std::string> answers(8);
    std::vector<std::thread> threads;
    std::atomic<int> ready{0};
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        ++ready;
        while (ready < 8) std::this_thread::yield();
        const auto answer = Do(db, Key(id), absl::StrCat("from ", t));
        answers[t] = answer.ok() ? *answer : answer.status().ToString();
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::string& answer : answers) CHECK(answer == answers[0]);
    CHECK(absl::string_view(answers[0]).substr(0, 5) == "from ");
  }
  CHECK(Effects(db) == 10);
}

TEST_CASE("a rival waits for the first and takes over if that rolls back") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  std::atomic<bool> claimed{false}, let_go{false};
  std::thread first([&] {
    const absl::Status status = db.Transact(kTimeout, [&](Transaction& tx) -> absl::Status {
      RETURN_IF_ERROR(FindOrClaimRequest(tx, Key(1), kNow).status());
      claimed = true;
      while (!let_go) absl::SleepFor(absl::Milliseconds(1));
      return Error("NOT_FOUND", "rolled back");
    });
    if (status.ok()) std::abort();
  });
  while (!claimed) absl::SleepFor(absl::Milliseconds(1));
  std::atomic<bool> answered{false};
  std::string answer;
  std::thread second([&] {
    answer = Do(db, Key(1), "second").value();
    answered = true;
  });
  absl::SleepFor(absl::Milliseconds(100));
  CHECK_FALSE(answered);
  let_go = true;
  first.join();
  second.join();
  CHECK(answer == "second");
}

TEST_CASE("a claim without a response cannot be replayed as one") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  REQUIRE(db.Transact(kTimeout, [](Transaction& tx) {
              return FindOrClaimRequest(tx, Key(1), kNow).status();
            }).ok());
  CHECK(ReasonOf(Do(db, Key(1), "x").status()) == "INTERNAL");
  CHECK(ReasonOf(db.Transact(kTimeout, [](Transaction& tx) {
          return StoreResponse(tx, Key(2), "never claimed");
        })) == "INTERNAL");
}

TEST_CASE("a response survives a commit in doubt: the repeated call finds it") {
  // COMMIT waits for a standby that does not exist; the backend is killed meanwhile. The change is
  // committed, and the client cannot know.
  testing::TestDatabase database(Sets());
  Database admin(database.Options());
  DatabaseOptions options = database.Options("alpha");
  options.log = [](absl::string_view) {};
  Database db(options);
  const auto setting = [](const char* sql) {
    Database server([&] {
      DatabaseOptions options;
      options.connection = testing::TestCluster().ConnectionString();
      return options;
    }());
    const auto session = server.OpenSession();
    REQUIRE(session.ok());
    REQUIRE((*session)->ExecOutsideTransaction(sql).ok());
    REQUIRE((*session)->ExecOutsideTransaction("SELECT pg_reload_conf()").ok());
  };
  setting("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
  std::atomic<int64_t> backend{0};
  int runs = 0;
  absl::StatusOr<std::string> first = absl::UnknownError("did not run");
  std::thread client([&] {
    first = db.Transact(kTimeout, [&](Transaction& tx) {
      return RunOnce(tx, Key(1), kNow, [&]() -> absl::StatusOr<std::string> {
        ++runs;
        RETURN_IF_ERROR(tx.Exec("INSERT INTO effects VALUES ('once')").status());
        ASSIGN_OR_RETURN(const Row row, tx.ExecOne("SELECT pg_backend_pid()"));
        backend = row.Get<int64_t>(0);
        return std::string("done");
      });
    });
  });
  TransactOptions read_only;
  read_only.read_only = true;
  bool waiting = false;
  for (int i = 0; i < 1000 && !waiting; ++i) {
    absl::SleepFor(absl::Milliseconds(5));
    const absl::Status looked = admin.Transact(
        kTimeout,
        [&](Transaction& tx) -> absl::Status {
          ASSIGN_OR_RETURN(const Row row,
                           tx.ExecOne("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 "
                                      "AND wait_event = 'SyncRep')",
                                      backend.load()));
          waiting = row.Get<bool>(0);
          if (!waiting) return absl::OkStatus();
          return tx.Exec("SELECT pg_terminate_backend($1)", backend.load()).status();
        },
        read_only);
    if (!looked.ok()) break;
  }
  client.join();
  setting("ALTER SYSTEM RESET synchronous_standby_names");
  REQUIRE(waiting);
  CHECK(ReasonOf(first.status()) == "UNAVAILABLE");
  CHECK(db.stats().in_doubt == 1);
  CHECK(runs == 1);
  CHECK(*Do(db, Key(1), "again") == "done");
  CHECK(Effects(db) == 1);
}

TEST_CASE("old requests are forgotten, a bounded number at a time") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  for (uint8_t id = 1; id <= 5; ++id) REQUIRE(Do(db, Key(id), "x").ok());
  const auto forget = [&](absl::Time before, int limit) {
    return db.Transact(kTimeout,
                       [&](Transaction& tx) { return ForgetRequests(tx, before, limit); })
        .value();
  };
  CHECK(forget(kNow, 10) == 0);
  CHECK(forget(kNow + absl::Seconds(1), 3) == 3);
  CHECK(forget(kNow + absl::Seconds(1), 3) == 2);
}

}  // namespace
}  // namespace rochdale::pg
