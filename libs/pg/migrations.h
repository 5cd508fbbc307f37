// Numbered, forward-only SQL, applied by rochdale-migrate and never at service start.
//
// services/<svc>/migrations/NNNN_name.sql (0001 first, no gaps) is compiled in: in
// services/<svc>/CMakeLists.txt write
//   rochdale_migrations(<svc>)
// which makes the library rochdale_<svc>_migrations with the header "services/<svc>/migrations.h":
//   namespace rochdale::<svc> { const pg::MigrationSet& Migrations(); }
//
// For a set, Migrate makes the schema and the role rochdale_<svc> (both named for the service; the
// role may log in, has no password, and may use its own schema only), applies the tables that
// every schema has (requests, outbox, leases: libs/pg/migrations), then the set's own files with
// search_path set to the schema, so they name tables without it. Tables that a file makes get
// SELECT, INSERT, UPDATE and DELETE for the role. For a table that must never change:
//   SELECT public.rochdale_append_only('entries');
// leaves SELECT and INSERT to every role and adds triggers (ENABLE ALWAYS) that refuse UPDATE,
// DELETE and TRUNCATE even of the owner.
//
// Each file runs in one transaction of its own under an advisory lock, together with its row in
// public.rochdale_migrations(schema, number, name, sha256, applied_at). Two at once are safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/pg/database.h"

namespace rochdale::pg {

// Texts live as long as the program.
struct Migration {
  int number = 0;          // from 1
  absl::string_view name;  // "0001_accounts", without ".sql"
  absl::string_view sql;
};

struct MigrationSet {
  absl::string_view schema;  // the service: "ledger"
  std::vector<Migration> migrations;
};

struct MigrationState {
  std::string schema;  // "ledger", or "ledger.common" for the tables that every schema has
  int number = 0;
  std::string name;
  bool applied = false;  // before this run (ListMigrations, dry run) or after it (Migrate)
  bool newly_applied = false;
};

struct MigrateOptions {
  bool dry_run = false;  // say what would be done; change nothing
  absl::Duration timeout_per_file = absl::Minutes(10);
  std::function<void(const MigrationState&)> progress;  // after each file
};

// Applies what is missing, in order. `db` must be allowed to make schemas and roles.
// FAILED_PRECONDITION if an applied file has changed, or if one is applied that comes after one
// that is not; INVALID_ARGUMENT if a set is not numbered 1, 2, ...; else the error of the file that
// failed (those before it stay). Files that are applied but lie beyond the set are left alone: that
// is what an older program sees after a rollback.
// `now` is recorded as applied_at.
absl::StatusOr<std::vector<MigrationState>> Migrate(Database& db,
                                                    const std::vector<MigrationSet>& sets,
                                                    absl::Time now, const MigrateOptions& options);

// What is applied and what is missing; changes nothing.
absl::StatusOr<std::vector<MigrationState>> ListMigrations(Database& db,
                                                           const std::vector<MigrationSet>& sets);

// "rochdale_ledger" for "ledger".
std::string ServiceRole(absl::string_view schema);

// `options` for the service: its role and its schema.
DatabaseOptions ForService(DatabaseOptions options, absl::string_view schema);

}  // namespace rochdale::pg
