#include "tests/support/postgres.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"

namespace rochdale::testing {
namespace {

[[noreturn]] void Stop(absl::string_view what, const absl::Status& status) {
  std::fprintf(stderr, "test database: %s: %s\n", std::string(what).c_str(),
               status.ToString().c_str());
  std::exit(1);
}

pg::DatabaseOptions OptionsOf(absl::string_view database) {
  pg::DatabaseOptions options;
  options.connection = TestCluster().ConnectionString(database);
  return options;
}

void RunOnServer(const std::string& statement) {
  pg::Database db(OptionsOf("postgres"));
  auto session = db.OpenSession();
  if (!session.ok()) Stop(statement, session.status());
  const absl::Status status = (*session)->ExecOutsideTransaction(statement);
  if (!status.ok()) Stop(statement, status);
}

// The name of a migrated database that is never used but as a template.
std::string Template(const std::vector<pg::MigrationSet>& sets) {
  static std::mutex mutex;
  static auto* made = new std::map<std::string, std::string>;
  std::string key;
  for (const pg::MigrationSet& set : sets) {
    absl::StrAppend(&key, set.schema, ":");
    for (const pg::Migration& migration : set.migrations) absl::StrAppend(&key, migration.sql, ";");
  }
  std::lock_guard lock(mutex);
  std::string& name = (*made)[key];
  if (!name.empty()) return name;
  const std::string fresh = absl::StrCat("template_", made->size());
  RunOnServer(absl::StrCat("CREATE DATABASE ", fresh));
  pg::Database db(OptionsOf(fresh));
  const auto migrated = pg::Migrate(db, sets, SystemClock().Now(), {});
  if (!migrated.ok()) Stop("migrating", migrated.status());
  return name = fresh;
}

}  // namespace

pg::PrivateCluster& TestCluster() {
  static const std::unique_ptr<pg::PrivateCluster> cluster = [] {
    pg::PrivateClusterOptions options;
    // Removed by the supervisor, so that a test that is killed leaves nothing.
    options.data_dir = absl::StrCat("/tmp/rochdale-test-", getpid(), "-",
                                    absl::ToUnixNanos(SystemClock().Now()));
    options.remove_when_stopped = true;
    options.fsync = false;
    options.settings = {{"max_connections", "200"}, {"shared_buffers", "32MB"}};
    auto started = pg::PrivateCluster::Start(options);
    if (!started.ok()) Stop("starting", started.status());
    return *std::move(started);
  }();
  return *cluster;
}

TestDatabase::TestDatabase(const std::vector<pg::MigrationSet>& migrations) {
  static std::atomic<int> count{0};
  name_ = absl::StrCat("test_", ++count);
  RunOnServer(absl::StrCat("CREATE DATABASE ", name_, " TEMPLATE ",
                                     Template(migrations), " STRATEGY FILE_COPY"));
}

TestDatabase::~TestDatabase() {
  databases_.clear();
  RunOnServer(absl::StrCat("DROP DATABASE ", name_, " WITH (FORCE)"));
}

std::string TestDatabase::ConnectionString() const { return TestCluster().ConnectionString(name_); }

pg::DatabaseOptions TestDatabase::Options(absl::string_view schema) const {
  pg::DatabaseOptions options = OptionsOf(name_);
  return schema.empty() ? options : pg::ForService(std::move(options), schema);
}

pg::Database& TestDatabase::Admin() { return ForService(""); }

pg::Database& TestDatabase::ForService(absl::string_view schema) {
  std::unique_ptr<pg::Database>& db = databases_[std::string(schema)];
  if (db == nullptr) db = std::make_unique<pg::Database>(Options(schema));
  return *db;
}

int64_t NumberOf(pg::Database& db, const std::string& sql) {
  const auto row =
      db.Transact(absl::Seconds(10), [&](pg::Transaction& tx) { return tx.ExecOne(sql); });
  if (!row.ok()) throw std::runtime_error(row.status().ToString());
  return row->Get<int64_t>(0);
}

}  // namespace rochdale::testing
