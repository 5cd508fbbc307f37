#include "libs/pg/failure.h"

#include <catch2/catch.hpp>
#include <memory>
#include <pqxx/except>
#include <stdexcept>

#include "absl/strings/match.h"
#include "libs/base/errors.h"

namespace rochdale::pg {
namespace {

using Kind = Failure::Kind;

constexpr char kSecret[] = "Key (email)=(someone@example.org) already exists";

struct Case {
  const char* name;
  std::shared_ptr<std::exception> error;
  bool connection_open;
  Kind kind;
  const char* reason;
  bool discards;
  bool has_retry_hint;
};

std::shared_ptr<std::exception> Sql(const char* state, const char* text = kSecret) {
  return std::make_shared<pqxx::sql_error>(text, "SELECT 1", state);
}

TEST_CASE("each driver error has one kind and one reason, and no driver text reaches the client") {
  const Case cases[] = {
      {"serialization", std::make_shared<pqxx::serialization_failure>(kSecret), true, Kind::kRetry,
       "UNAVAILABLE", false, true},
      {"deadlock", std::make_shared<pqxx::deadlock_detected>(kSecret), true, Kind::kRetry,
       "UNAVAILABLE", false, true},
      {"rollback and gone", std::make_shared<pqxx::deadlock_detected>(kSecret), false,
       Kind::kConnectionLost, "UNAVAILABLE", true, true},
      {"in doubt", std::make_shared<pqxx::in_doubt_error>(kSecret), false, Kind::kInDoubt,
       "UNAVAILABLE", true, true},
      {"broken", std::make_shared<pqxx::broken_connection>(kSecret), false, Kind::kConnectionLost,
       "UNAVAILABLE", true, true},
      {"too many connections", std::make_shared<pqxx::too_many_connections>(kSecret), false,
       Kind::kConnectionLost, "UNAVAILABLE", true, true},
      {"unique", Sql("23505"), true, Kind::kFinal, "ALREADY_EXISTS", false, false},
      {"foreign key", Sql("23503"), true, Kind::kFinal, "INTERNAL", false, false},
      {"check", Sql("23514"), true, Kind::kFinal, "INTERNAL", false, false},
      {"timeout", Sql("57014"), true, Kind::kFinal, "DEADLINE_EXCEEDED", false, false},
      {"shutdown", Sql("57P01"), false, Kind::kConnectionLost, "UNAVAILABLE", true, true},
      {"shutdown, still open", Sql("57P01"), true, Kind::kConnectionLost, "UNAVAILABLE", true,
       true},
      {"starting up", Sql("57P03"), true, Kind::kConnectionLost, "UNAVAILABLE", true, true},
      {"idle in transaction", Sql("25P03"), true, Kind::kConnectionLost, "UNAVAILABLE", true,
       true},
      {"lock not available", Sql("55P03"), true, Kind::kRetry, "UNAVAILABLE", false, true},
      {"disk full", Sql("53100"), true, Kind::kFinal, "UNAVAILABLE", false, true},
      {"out of memory", Sql("53200"), true, Kind::kFinal, "UNAVAILABLE", false, true},
      {"read only", Sql("25006"), true, Kind::kFinal, "UNAVAILABLE", true, true},
      {"bad text", Sql("22021"), true, Kind::kFinal, "BAD_REQUEST", false, false},
      {"stale plan", Sql("0A000", "cached plan must not change result type"), true, Kind::kRetry,
       "UNAVAILABLE", true, true},
      {"not supported", Sql("0A000"), true, Kind::kFinal, "INTERNAL", false, false},
      {"no privilege", Sql("42501"), true, Kind::kFinal, "INTERNAL", false, false},
      {"unique, state left out", std::make_shared<pqxx::unique_violation>(kSecret), true,
       Kind::kFinal, "ALREADY_EXISTS", false, false},
      {"disk full, state left out", std::make_shared<pqxx::disk_full>(kSecret), true, Kind::kFinal,
       "UNAVAILABLE", false, true},
      {"syntax", Sql("42601"), true, Kind::kFinal, "INTERNAL", false, false},
      {"no state, gone", Sql(""), false, Kind::kConnectionLost, "UNAVAILABLE", true, true},
      {"not of the driver", std::make_shared<std::runtime_error>(kSecret), true, Kind::kFinal,
       "INTERNAL", false, false},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    const Failure failure = FailureOf(*c.error, c.connection_open);
    CHECK(failure.kind == c.kind);
    CHECK(ReasonOf(failure.status) == c.reason);
    CHECK(failure.discard_connection == c.discards);
    CHECK(RetryAfterOf(failure.status).has_value() == c.has_retry_hint);
    CHECK_FALSE(absl::StrContains(failure.status.message(), "example.org"));
    CHECK_FALSE(failure.log_line.empty());
  }
}

TEST_CASE("an internal error carries an id that the log line carries too") {
  const Failure one = InternalFailure("what happened\nin detail");
  const Failure two = InternalFailure("what happened");
  const absl::string_view message = one.status.message();
  const absl::string_view id = message.substr(message.size() - 8);
  CHECK(absl::StrContains(one.log_line, id));
  CHECK(absl::StrContains(one.log_line, "what happened in detail"));  // one line
  CHECK(one.status.message() != two.status.message());
}

}  // namespace
}  // namespace rochdale::pg
