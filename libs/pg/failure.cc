#include "libs/pg/failure.h"

#include <pqxx/except>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/base/errors.h"

namespace rochdale::pg {
namespace {

using Kind = Failure::Kind;

std::string NewErrorId() {
  thread_local std::random_device device;
  return absl::StrCat(absl::Hex(device(), absl::kZeroPad8));
}

std::string OneLine(absl::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

Failure Unavailable(Kind kind, absl::string_view message, absl::Duration after,
                    absl::string_view detail) {
  Failure failure;
  failure.kind = kind;
  failure.discard_connection = kind != Kind::kFinal && kind != Kind::kRetry;
  failure.status = RetryableError("UNAVAILABLE", message, after);
  failure.log_line = OneLine(detail);
  return failure;
}

Failure ConnectionLost(absl::string_view detail) {
  return Unavailable(Kind::kConnectionLost, "the database cannot be reached", absl::Seconds(1),
                     detail);
}

Failure Final(absl::Status status, absl::string_view detail) {
  Failure failure;
  failure.status = std::move(status);
  failure.log_line = OneLine(detail);
  return failure;
}

template <typename Error>
bool Is(const std::exception& error) {
  return dynamic_cast<const Error*>(&error) != nullptr;
}

// libpqxx 6.4 leaves the state out of some of its classes.
std::string StateOf(const pqxx::sql_error& error) {
  if (!error.sqlstate().empty()) return error.sqlstate();
  if (Is<pqxx::insufficient_privilege>(error)) return "42501";
  if (Is<pqxx::unique_violation>(error)) return "23505";
  if (Is<pqxx::insufficient_resources>(error)) return "53000";
  return "";
}

Failure OfSqlError(const pqxx::sql_error& error, bool connection_open) {
  const std::string state = StateOf(error);
  const std::string detail =
      absl::StrCat("SQLSTATE ", state, ": ", error.what(), " in: ", error.query());
  if (!connection_open || absl::StartsWith(state, "08") || state == "57P01" || state == "57P02" ||
      state == "57P03" || state == "57P05" || state == "25P03") {
    return ConnectionLost(detail);
  }
  if (state == "55P03") {
    return Unavailable(Kind::kRetry, "the change meets another one", absl::Milliseconds(200),
                       detail);
  }
  if (state == "0A000" && absl::StrContains(error.what(), "cached plan")) {
    Failure failure = Unavailable(Kind::kRetry, "the database is being upgraded",
                                  absl::Milliseconds(200), detail);
    failure.discard_connection = true;
    return failure;
  }
  if (state == "23505") {
    return Final(Error("ALREADY_EXISTS", "a resource with this id or key exists"), detail);
  }
  if (state == "57014") {
    return Final(Error("DEADLINE_EXCEEDED", "the database did not finish in time"), detail);
  }
  if (absl::StartsWith(state, "53")) {
    return Unavailable(Kind::kFinal, "the database has no room", absl::Seconds(5), detail);
  }
  if (state == "25006") {
    // After a fail-over this connection leads to a server that may only read; a new one may not.
    Failure failure =
        Unavailable(Kind::kFinal, "the database is read-only", absl::Seconds(5), detail);
    failure.discard_connection = true;
    return failure;
  }
  if (state == "22021") {
    return Final(Error("BAD_REQUEST", "a text is not valid UTF-8"), detail);
  }
  return InternalFailure(detail);
}

}  // namespace

Failure InternalFailure(absl::string_view detail) {
  const std::string id = NewErrorId();
  return Final(Error("INTERNAL", absl::StrCat("internal error ", id)),
               absl::StrCat("error ", id, ": ", detail));
}

Failure FailureOf(const std::exception& error, bool connection_open) {
  // In libpqxx 6.4 neither a rollback by the server nor a commit in doubt is an sql_error.
  if (Is<pqxx::in_doubt_error>(error)) {
    return Unavailable(Kind::kInDoubt,
                       "the outcome of the change is not known; repeat the call with the same "
                       "request_id",
                       absl::Seconds(1), error.what());
  }
  if (Is<pqxx::broken_connection>(error)) {
    return ConnectionLost(error.what());
  }
  if (Is<pqxx::transaction_rollback>(error)) {
    if (!connection_open) return ConnectionLost(error.what());
    return Unavailable(Kind::kRetry, "the change meets another one", absl::Milliseconds(200),
                       error.what());
  }
  if (const auto* sql = dynamic_cast<const pqxx::sql_error*>(&error)) {
    return OfSqlError(*sql, connection_open);
  }
  if (!connection_open) return ConnectionLost(error.what());
  return InternalFailure(error.what());
}

}  // namespace rochdale::pg
