// A real PostgreSQL for tests: one private cluster per test process, one database per test.
//
//   TEST_CASE("...") {
//     testing::TestDatabase database({ledger::Migrations()});
//     pg::Database& db = database.ForService("ledger");   // role rochdale_ledger, its schema
//
// The cluster starts with the first TestDatabase (fsync off, in a directory under /tmp) and stops
// when the process ends, however it ends. Migrations run once per process and list of sets; each
// TestDatabase is a copy of the result, which takes about 50 ms, and is dropped with the object.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/pg/database.h"
#include "libs/pg/migrations.h"
#include "libs/pg/private_cluster.h"

namespace rochdale::testing {

// The cluster of this process. A test that stops or kills it must start its own instead.
pg::PrivateCluster& TestCluster();

class TestDatabase {
 public:
  explicit TestDatabase(const std::vector<pg::MigrationSet>& migrations = {});
  ~TestDatabase();
  TestDatabase(const TestDatabase&) = delete;
  TestDatabase& operator=(const TestDatabase&) = delete;

  const std::string& name() const { return name_; }
  // As the superuser.
  std::string ConnectionString() const;
  // Options to change: as the superuser, or as the service where `schema` is named.
  pg::DatabaseOptions Options(absl::string_view schema = "") const;

  // As the superuser, for looking behind the scenes. Lives as long as this.
  pg::Database& Admin();
  // As the service, in its schema. One per service; lives as long as this.
  pg::Database& ForService(absl::string_view schema);

 private:
  std::string name_;
  std::map<std::string, std::unique_ptr<pg::Database>> databases_;  // by schema; "" the admin's
};

// The only value of the only row. Throws where there is none.
int64_t NumberOf(pg::Database& db, const std::string& sql);

}  // namespace rochdale::testing
