#include "libs/pg/migrations.h"

#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);
const absl::Time kNow = absl::FromUnixMicros(1'700'000'000'000'000);

MigrationSet Alpha() {
  return {"alpha",
          {{1, "0001_notes", "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, t text)"},
           {2, "0002_facts",
            "CREATE TABLE facts (id bigint);\nSELECT public.rochdale_append_only('facts');"}}};
}
MigrationSet Beta() {
  return {"beta", {{1, "0001_secrets", "CREATE TABLE secrets (id bigint)"}}};
}

absl::Status Exec(Database& db, const std::string& sql) {
  return db.Transact(kTimeout, [&](Transaction& tx) { return tx.ExecScript(sql); });
}

std::vector<bool> Applied(Database& db, const std::vector<MigrationSet>& sets) {
  const auto states = ListMigrations(db, sets);
  REQUIRE(states.ok());
  std::vector<bool> applied;
  for (const MigrationState& state : *states) applied.push_back(state.applied);
  return applied;
}

TEST_CASE("migrations are applied once, in order, and listed") {
  testing::TestDatabase database;
  Database& db = database.Admin();
  CHECK(Applied(db, {Alpha()}) == std::vector<bool>{false, false, false});
  MigrateOptions dry;
  dry.dry_run = true;
  REQUIRE(Migrate(db, {Alpha()}, kNow, dry).ok());
  CHECK(Applied(db, {Alpha()}) == std::vector<bool>{false, false, false});

  const auto first = Migrate(db, {Alpha(), Beta()}, kNow, {});
  INFO(first.status().ToString());
  REQUIRE(first.ok());
  REQUIRE(first->size() == 5);
  CHECK((*first)[0].schema == "alpha.common");
  CHECK((*first)[1].name == "0001_notes");
  for (const MigrationState& state : *first) CHECK(state.newly_applied);
  const auto second = Migrate(db, {Alpha(), Beta()}, kNow, {});
  REQUIRE(second.ok());
  for (const MigrationState& state : *second) {
    CHECK(state.applied);
    CHECK_FALSE(state.newly_applied);
  }
  const auto recorded = db.Transact(kTimeout, [](Transaction& tx) {
    return tx.ExecOne("SELECT sha256, applied_at FROM public.rochdale_migrations "
                      "WHERE schema = 'alpha' AND number = 1");
  });
  REQUIRE(recorded.ok());
  CHECK(recorded->GetBytes(0).size() == 32);
  CHECK(recorded->Get<absl::Time>(1) == kNow);
}

TEST_CASE("a changed file is refused before anything else is applied") {
  testing::TestDatabase database({Alpha()});
  Database& db = database.Admin();
  MigrationSet changed = Alpha();
  changed.migrations[0].sql = "CREATE TABLE notes (id bigint, t text, more text)";
  changed.migrations.push_back({3, "0003_more", "CREATE TABLE more (id bigint)"});
  const auto refused = Migrate(db, {changed}, kNow, {});
  CHECK(absl::IsFailedPrecondition(refused.status()));
  CHECK(absl::StrContains(refused.status().message(), "alpha/0001_notes"));
  CHECK_FALSE(Exec(db, "SELECT * FROM alpha.more").ok());
}

TEST_CASE("an older program leaves newer files alone") {
  testing::TestDatabase database({Alpha()});
  MigrationSet older = Alpha();
  older.migrations.pop_back();
  CHECK(Migrate(database.Admin(), {older}, kNow, {}).ok());
}

TEST_CASE("a gap is refused, in the files and in the database") {
  testing::TestDatabase database({Alpha()});
  Database& db = database.Admin();
  MigrationSet gap = Alpha();
  gap.migrations[1].number = 3;
  CHECK(absl::IsInvalidArgument(Migrate(db, {gap}, kNow, {}).status()));
  CHECK(absl::IsInvalidArgument(Migrate(db, {{"Bad name", {}}}, kNow, {}).status()));
  REQUIRE(Exec(db, "DELETE FROM public.rochdale_migrations WHERE schema = 'alpha' AND number = 1")
              .ok());
  CHECK(absl::IsFailedPrecondition(Migrate(db, {Alpha()}, kNow, {}).status()));
}

TEST_CASE("a file that fails leaves nothing of itself and all before it") {
  testing::TestDatabase database;
  Database db([&] {
    DatabaseOptions options = database.Options();
    options.log = [](absl::string_view) {};
    return options;
  }());
  MigrationSet broken = Alpha();
  broken.migrations[1].sql = "CREATE TABLE half (id bigint); SELECT 1/0;";
  const auto failed = Migrate(db, {broken}, kNow, {});
  REQUIRE_FALSE(failed.ok());
  CHECK(absl::StrContains(failed.status().message(), "alpha/0002_facts"));
  CHECK(Applied(db, {Alpha()}) == std::vector<bool>{true, true, false});
  CHECK_FALSE(Exec(db, "SELECT * FROM alpha.half").ok());
  CHECK(Migrate(db, {Alpha()}, kNow, {}).ok());  // mended, it goes on
}

TEST_CASE("two at once apply everything exactly once") {
  testing::TestDatabase database;
  std::vector<absl::StatusOr<std::vector<MigrationState>>> results(
      4, absl::UnknownError("did not run"));
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      Database db(database.Options());
      result = Migrate(db, {Alpha(), Beta()}, kNow, {});
    });
  }
  for (std::thread& thread : threads) thread.join();
  int newly = 0;
  for (const auto& result : results) {
    INFO(result.status().ToString());
    REQUIRE(result.ok());
    for (const MigrationState& state : *result) newly += state.newly_applied;
  }
  CHECK(newly == 5);
}

TEST_CASE("a service's role reaches its own schema only") {
  testing::TestDatabase database({Alpha(), Beta()});
  Database& alpha = database.ForService("alpha");
  CHECK(Exec(alpha, "INSERT INTO notes (t) VALUES ('x')").ok());  // table and its sequence
  CHECK(Exec(alpha, "UPDATE notes SET t = 'y'").ok());
  CHECK(Exec(alpha, "DELETE FROM notes").ok());
  CHECK_FALSE(Exec(alpha, "SELECT * FROM beta.secrets").ok());
  CHECK_FALSE(Exec(alpha, "INSERT INTO beta.secrets VALUES (1)").ok());
  CHECK_FALSE(Exec(alpha, "CREATE TABLE mine (id bigint)").ok());
  CHECK_FALSE(Exec(alpha, "CREATE TABLE public.mine (id bigint)").ok());
  CHECK_FALSE(Exec(alpha, "DROP TABLE notes").ok());
  CHECK_FALSE(Exec(alpha, "DELETE FROM public.rochdale_migrations").ok());
}

TEST_CASE("an append-only table takes inserts and nothing else, from anybody") {
  testing::TestDatabase database({Alpha()});
  for (Database* db : {&database.ForService("alpha"), &database.Admin()}) {
    CHECK(Exec(*db, "INSERT INTO alpha.facts VALUES (1)").ok());
    CHECK(Exec(*db, "SELECT * FROM alpha.facts").ok());
    CHECK_FALSE(Exec(*db, "UPDATE alpha.facts SET id = 2").ok());
    CHECK_FALSE(Exec(*db, "DELETE FROM alpha.facts").ok());
    CHECK_FALSE(Exec(*db, "DELETE FROM alpha.facts WHERE false").ok());
    CHECK_FALSE(Exec(*db, "TRUNCATE alpha.facts").ok());
    // ENABLE ALWAYS: not even where ordinary triggers are off.
    CHECK_FALSE(
        Exec(*db, "SET LOCAL session_replication_role = replica; DELETE FROM alpha.facts").ok());
  }
  CHECK_FALSE(
      Exec(database.ForService("alpha"), "ALTER TABLE facts DISABLE TRIGGER append_only").ok());
}

TEST_CASE("a service may only note that an outbox entry was sent") {
  testing::TestDatabase database({Alpha()});
  Database& alpha = database.ForService("alpha");
  REQUIRE(Exec(alpha, "INSERT INTO outbox (event_id, time_us, leaf) VALUES "
                      "('0190a5b4-0000-7000-8000-0123456789ab', 1, '\\x01')")
              .ok());
  CHECK(Exec(alpha, "UPDATE outbox SET log_index = 1, sent_us = 1").ok());
  CHECK_FALSE(Exec(alpha, "UPDATE outbox SET leaf = '\\x02'").ok());
  CHECK_FALSE(Exec(alpha, "UPDATE outbox SET event_id = gen_random_uuid()").ok());
  CHECK_FALSE(Exec(alpha, "DELETE FROM outbox").ok());
}

}  // namespace
}  // namespace rochdale::pg
