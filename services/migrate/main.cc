// rochdale-migrate: brings a database to the schema of this build, and says what it did.
// Exit status 0: done (or, with --list, nothing is missing); 1: failed; 3: --list found files to
// apply.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "libs/base/clock.h"
#include "services/migrate/all_migrations.h"

namespace rochdale::migrate {
namespace {

struct Arguments {
  std::string database;
  std::vector<std::string> services;  // empty: all
  bool list = false;
  bool dry_run = false;
  int timeout_s = 600;
};

std::vector<pg::MigrationSet> Wanted(const Arguments& arguments) {
  std::vector<pg::MigrationSet> wanted;
  for (pg::MigrationSet& set : AllMigrations()) {
    bool named = arguments.services.empty();
    for (const std::string& service : arguments.services) named = named || service == set.schema;
    if (named) wanted.push_back(std::move(set));
  }
  return wanted;
}

int Report(const absl::StatusOr<std::vector<pg::MigrationState>>& states, bool list) {
  if (!states.ok()) {
    std::fprintf(stderr, "rochdale-migrate: %s\n", std::string(states.status().message()).c_str());
    return 1;
  }
  int applied = 0, missing = 0;
  for (const pg::MigrationState& state : *states) {
    applied += state.newly_applied ? 1 : 0;
    missing += state.applied ? 0 : 1;
    if (list) {
      std::printf("%-8s %s/%s\n", state.applied ? "applied" : "missing", state.schema.c_str(),
                  state.name.c_str());
    }
  }
  std::printf("%zu migrations: %d applied now, %d missing\n", states->size(), applied, missing);
  return list && missing > 0 ? 3 : 0;
}

int Run(const Arguments& arguments) {
  pg::DatabaseOptions options;
  options.connection = arguments.database;
  options.connections_max = 1;
  pg::Database db(std::move(options));
  const std::vector<pg::MigrationSet> sets = Wanted(arguments);
  if (arguments.list) return Report(pg::ListMigrations(db, sets), /*list=*/true);
  pg::MigrateOptions migrate;
  migrate.dry_run = arguments.dry_run;
  migrate.timeout_per_file = absl::Seconds(arguments.timeout_s);
  migrate.progress = [](const pg::MigrationState& state) {
    const char* what = state.newly_applied ? "applied" : state.applied ? "kept" : "would apply";
    std::printf("%-11s %s/%s\n", what, state.schema.c_str(), state.name.c_str());
    std::fflush(stdout);
  };
  return Report(pg::Migrate(db, sets, SystemClock().Now(), migrate), /*list=*/false);
}

}  // namespace
}  // namespace rochdale::migrate

int main(int argc, char** argv) {
  rochdale::migrate::Arguments arguments;
  CLI::App app{"Applies the database migrations of every Rochdale service."};
  app.add_option("--database", arguments.database,
                 "libpq connection string or URI of a user that may make schemas and roles")
      ->envname("ROCHDALE_DATABASE")
      ->required();
  app.add_option("--service", arguments.services, "Only this service (may be repeated)");
  app.add_flag("--list", arguments.list, "Show what is applied and what is missing");
  app.add_flag("--dry-run", arguments.dry_run, "Show what would be applied; change nothing");
  app.add_option("--timeout", arguments.timeout_s, "Seconds that one file may take")
      ->check(CLI::Range(1, 86'400));
  CLI11_PARSE(app, argc, argv);
  return rochdale::migrate::Run(arguments);
}
