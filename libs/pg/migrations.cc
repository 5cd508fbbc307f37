#include "libs/pg/migrations.h"

#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"
#include "libs/pg/common_migrations.h"

namespace rochdale::pg {
namespace {

constexpr char kLockName[] = "rochdale.migrations";

struct Applied {
  std::string name;
  crypto::Digest sha256;
};
// By series ("ledger" or "ledger.common") and number.
using AppliedFiles = std::map<std::pair<std::string, int>, Applied>;

// One file and where it belongs.
struct Step {
  std::string schema;
  std::string series;
  const Migration* migration;
};

bool IsServiceName(absl::string_view name) {
  if (name.empty() || name.size() > 40 || !(name[0] >= 'a' && name[0] <= 'z')) return false;
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

absl::Status CheckNumbers(absl::string_view series, const std::vector<Migration>& migrations) {
  for (size_t i = 0; i < migrations.size(); ++i) {
    if (migrations[i].number != static_cast<int>(i) + 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(series, ": ", migrations[i].name, " should have number ", i + 1));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Step>> Plan(const std::vector<MigrationSet>& sets) {
  std::vector<Step> steps;
  for (const MigrationSet& set : sets) {
    if (!IsServiceName(set.schema)) {
      return absl::InvalidArgumentError(absl::StrCat("not a service name: ", set.schema));
    }
    RETURN_IF_ERROR(CheckNumbers(set.schema, set.migrations));
    const std::string schema(set.schema);
    for (const Migration& migration : Migrations().migrations) {
      steps.push_back({schema, absl::StrCat(schema, ".common"), &migration});
    }
    for (const Migration& migration : set.migrations) steps.push_back({schema, schema, &migration});
  }
  return steps;
}

constexpr char kTableExists[] =
    "SELECT to_regclass('public.rochdale_migrations') IS NOT NULL";
constexpr char kListApplied[] =
    "SELECT schema, number, name, sha256 FROM public.rochdale_migrations";

absl::StatusOr<AppliedFiles> ReadApplied(Transaction& tx) {
  ASSIGN_OR_RETURN(const Row exists, tx.ExecOne(kTableExists));
  AppliedFiles applied;
  if (!exists.Get<bool>(0)) return applied;
  ASSIGN_OR_RETURN(const Rows rows, tx.Exec(kListApplied));
  for (const Row& row : rows) {
    applied[{row.Get<std::string>(0), row.Get<int32_t>(1)}] = {row.Get<std::string>(2),
                                                              row.Get<crypto::Digest>(3)};
  }
  return applied;
}

// Whether the file is applied; FAILED_PRECONDITION where something else was applied in its place.
absl::StatusOr<bool> IsApplied(const Step& step, const AppliedFiles& applied) {
  const auto found = applied.find({step.series, step.migration->number});
  if (found == applied.end()) {
    if (applied.contains({step.series, step.migration->number + 1})) {
      return absl::FailedPreconditionError(
          absl::StrCat(step.series, "/", step.migration->name,
                       " is not applied but one after it is"));
    }
    return false;
  }
  if (found->second.sha256 != crypto::Sha256(step.migration->sql)) {
    return absl::FailedPreconditionError(
        absl::StrCat(step.series, "/", step.migration->name,
                     " has changed since it was applied as ", found->second.name,
                     "; migrations are never edited: add a new one"));
  }
  return true;
}

constexpr char kMakeTable[] = R"sql(
CREATE TABLE IF NOT EXISTS public.rochdale_migrations (
  schema     text NOT NULL,    -- the service, or "<service>.common"
  number     integer NOT NULL,
  name       text NOT NULL,
  sha256     bytea NOT NULL,   -- of the file as it was applied
  applied_at bigint NOT NULL,  -- unix microseconds
  PRIMARY KEY (schema, number)
);
CREATE OR REPLACE FUNCTION public.rochdale_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
  RAISE EXCEPTION 'table % is append-only: % refused', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'insufficient_privilege';
END $f$;
CREATE OR REPLACE FUNCTION public.rochdale_append_only(target regclass) RETURNS void
LANGUAGE plpgsql AS $f$
DECLARE
  grantee text;
BEGIN
  FOR grantee IN
    SELECT DISTINCT CASE WHEN acl.grantee = 0 THEN 'PUBLIC'
                         ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
    FROM pg_class, aclexplode(relacl) AS acl
    WHERE pg_class.oid = target AND acl.grantee <> relowner
  LOOP
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM %s', target, grantee);
  END LOOP;
  -- Of the statement, so that one trigger also covers TRUNCATE and statements that match no row.
  EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                 'FOR EACH STATEMENT EXECUTE FUNCTION public.rochdale_refuse_change()', target);
  EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', target);
END $f$;
)sql";

// $SCHEMA and $ROLE are service names, checked by IsServiceName. Roles belong to the whole server,
// so another database's migration may make the same one at this moment.
constexpr char kMakeSchema[] = R"sql(
DO $do$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$ROLE') THEN
    CREATE ROLE "$ROLE" LOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $do$;
CREATE SCHEMA IF NOT EXISTS "$SCHEMA";
REVOKE ALL ON SCHEMA "$SCHEMA" FROM PUBLIC;
GRANT USAGE ON SCHEMA "$SCHEMA" TO "$ROLE";
ALTER DEFAULT PRIVILEGES IN SCHEMA "$SCHEMA"
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "$ROLE";
ALTER DEFAULT PRIVILEGES IN SCHEMA "$SCHEMA" GRANT USAGE, SELECT ON SEQUENCES TO "$ROLE";
)sql";

constexpr char kRecord[] =
    "INSERT INTO public.rochdale_migrations (schema, number, name, sha256, applied_at) "
    "VALUES ($1, $2, $3, $4, $5)";

// In its own transaction; whether the file was applied now (and not by a rival before us).
absl::StatusOr<bool> Apply(Transaction& tx, const Step& step, absl::Time now) {
  RETURN_IF_ERROR(tx.AdvisoryLock(AdvisoryKey(kLockName)));
  RETURN_IF_ERROR(tx.ExecScript(kMakeTable));
  ASSIGN_OR_RETURN(const AppliedFiles applied, ReadApplied(tx));
  ASSIGN_OR_RETURN(const bool done, IsApplied(step, applied));
  if (done) return false;
  RETURN_IF_ERROR(tx.ExecScript(absl::StrReplaceAll(
      kMakeSchema, {{"$SCHEMA", step.schema}, {"$ROLE", ServiceRole(step.schema)}})));
  RETURN_IF_ERROR(tx.ExecScript(absl::StrCat("SET LOCAL search_path = \"", step.schema, "\"")));
  RETURN_IF_ERROR(tx.ExecScript(step.migration->sql));
  RETURN_IF_ERROR(tx.Exec(kRecord, step.series, step.migration->number, step.migration->name,
                          crypto::Sha256(step.migration->sql), now)
                      .status());
  return true;
}

}  // namespace

std::string ServiceRole(absl::string_view schema) { return absl::StrCat("rochdale_", schema); }

DatabaseOptions ForService(DatabaseOptions options, absl::string_view schema) {
  options.role = ServiceRole(schema);
  options.schema = std::string(schema);
  return options;
}

absl::StatusOr<std::vector<MigrationState>> ListMigrations(Database& db,
                                                           const std::vector<MigrationSet>& sets) {
  ASSIGN_OR_RETURN(const std::vector<Step> steps, Plan(sets));
  ASSIGN_OR_RETURN(const AppliedFiles applied, db.Transact(absl::Seconds(30), ReadApplied));
  std::vector<MigrationState> states;
  for (const Step& step : steps) {
    ASSIGN_OR_RETURN(const bool done, IsApplied(step, applied));
    states.push_back(
        {step.series, step.migration->number, std::string(step.migration->name), done, false});
  }
  return states;
}

absl::StatusOr<std::vector<MigrationState>> Migrate(Database& db,
                                                    const std::vector<MigrationSet>& sets,
                                                    absl::Time now, const MigrateOptions& options) {
  // Looks at everything first: a changed file is refused before anything is applied.
  ASSIGN_OR_RETURN(std::vector<MigrationState> states, ListMigrations(db, sets));
  ASSIGN_OR_RETURN(const std::vector<Step> steps, Plan(sets));
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!states[i].applied && !options.dry_run) {
      TransactOptions transact;
      transact.statement_timeout_max = options.timeout_per_file;
      const absl::StatusOr<bool> newly = db.Transact(
          options.timeout_per_file, [&](Transaction& tx) { return Apply(tx, steps[i], now); },
          transact);
      if (!newly.ok()) {
        return absl::Status(newly.status().code(),
                            absl::StrCat("migration ", states[i].schema, "/", states[i].name, ": ",
                                         newly.status().message()));
      }
      states[i].applied = true;
      states[i].newly_applied = *newly;
    }
    if (options.progress) options.progress(states[i]);
  }
  return states;
}

}  // namespace rochdale::pg
