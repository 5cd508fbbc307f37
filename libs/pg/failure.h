// What went wrong in the database, and what may be done about it. Private to libs/pg.
//
// | driver or SQLSTATE                                  | kind            | to the caller       |
// |-----------------------------------------------------|-----------------|---------------------|
// | serialization failure, deadlock, lock not available | kRetry          | UNAVAILABLE, retry  |
// | cached plan of a table that a migration changed     | kRetry          | UNAVAILABLE, retry  |
// | connection refused or lost, server shutting down    | kConnectionLost | UNAVAILABLE, retry  |
// | connection lost while COMMIT was under way          | kInDoubt        | UNAVAILABLE, retry  |
// | unique violation                                    | kFinal          | ALREADY_EXISTS      |
// | statement timeout, cancelled                        | kFinal          | DEADLINE_EXCEEDED   |
// | disk full, out of memory, read-only server          | kFinal          | UNAVAILABLE, retry  |
// | text that is not UTF-8                              | kFinal          | BAD_REQUEST         |
// | anything else                                       | kFinal          | INTERNAL with an id |
#pragma once

#include <exception>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rochdale::pg {

struct Failure {
  enum class Kind { kFinal, kRetry, kConnectionLost, kInDoubt };
  Kind kind = Kind::kFinal;
  bool discard_connection = false;
  absl::Status status;   // for the caller: no driver text
  std::string log_line;  // for the operator; empty where there is nothing to say
};

// `connection_open` as it is after `error` was thrown.
Failure FailureOf(const std::exception& error, bool connection_open);

// INTERNAL with a new error id; `log_line` gets the id and `detail`.
Failure InternalFailure(absl::string_view detail);

}  // namespace rochdale::pg
