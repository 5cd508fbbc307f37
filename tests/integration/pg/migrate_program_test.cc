// rochdale-migrate as an operator runs it, with the migrations of every service of this build.
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "services/migrate/all_migrations.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);

struct Ended {
  int status = -1;
  std::string output;
};

Ended RunMigrate(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), ROCHDALE_MIGRATE);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int out[2];
  REQUIRE(pipe(out) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(out[1], STDOUT_FILENO);
    dup2(out[1], STDERR_FILENO);
    close(out[0]);
    close(out[1]);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  Ended ended;
  char buffer[4096];
  for (ssize_t got; (got = read(out[0], buffer, sizeof buffer)) > 0;) {
    ended.output.append(buffer, got);
  }
  close(out[0]);
  int status = 0;
  waitpid(child, &status, 0);
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}

TEST_CASE("rochdale-migrate brings an empty database to this build, and says so") {
  testing::TestDatabase database;
  const std::string at = absl::StrCat("--database=", database.ConnectionString());
  const Ended missing = RunMigrate({at, "--list"});
  INFO(missing.output);
  CHECK(missing.status == 3);
  const Ended dry = RunMigrate({at, "--dry-run"});
  CHECK(dry.status == 0);
  CHECK(absl::StrContains(dry.output, "would apply"));
  CHECK(RunMigrate({at, "--list"}).status == 3);
  const Ended applied = RunMigrate({at});
  INFO(applied.output);
  REQUIRE(applied.status == 0);
  CHECK(absl::StrContains(applied.output, " 0 missing"));
  CHECK(RunMigrate({at, "--list"}).status == 0);
  const Ended again = RunMigrate({at});
  CHECK(again.status == 0);
  CHECK(absl::StrContains(again.output, " 0 applied now"));
  CHECK(RunMigrate({"--database=host=/nonexistent"}).status == 1);
  CHECK(RunMigrate({}).status != 0);
}

TEST_CASE("no service can touch another's tables") {
  const std::vector<MigrationSet> sets = migrate::AllMigrations();
  testing::TestDatabase database(sets);
  const auto reachable = database.Admin().Transact(kTimeout, [&](Transaction& tx) {
    // has_table_privilege knows nothing of the schema's own privilege, hence both.
    return tx.Exec(
        "SELECT r.rolname || ' reaches ' || c.oid::regclass::text "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_roles r "
        "WHERE r.rolname LIKE 'rochdale\\_%' AND c.relkind IN ('r', 'v', 'S', 'm') "
        "AND n.nspname IN (SELECT substr(rolname, 10) FROM pg_roles "
        "                  WHERE rolname LIKE 'rochdale\\_%') "
        "AND r.rolname <> 'rochdale_' || n.nspname "
        "AND has_schema_privilege(r.rolname, n.oid, 'USAGE')");
  });
  REQUIRE(reachable.ok());
  for (const Row& row : *reachable) {
    INFO(row.Get<std::string>(0));
    CHECK(false);
  }
  for (const MigrationSet& set : sets) {
    INFO(set.schema);
    const auto count = database.ForService(set.schema).Transact(
        kTimeout, [](Transaction& tx) { return tx.ExecOne("SELECT count(*) FROM outbox"); });
    CHECK(count.ok());
  }
}

}  // namespace
}  // namespace rochdale::pg
