// A bounded pool of connections to one PostgreSQL database, and the one way to use them: Transact.
//
//   absl::StatusOr<Account> account = db.Transact(call.deadline, [&](pg::Transaction& tx) {
//     return FindAccount(tx, id);       // absl::StatusOr<Account>
//   });
//
// The closure may run several times (see Transact): no side effects but on what it returns, and
// time and ids are taken outside. It must not keep `tx`, call another service or wait for another
// thread. It must not throw.
//
// Connections are made when needed. A connection that broke is thrown away, with all idle ones
// that were made before it broke; none is ever reconnected behind the caller's back.
// Thread-safe. Every Transact must have returned before the destructor runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/pg/transaction.h"

namespace rochdale::pg {

struct DatabaseOptions {
  std::string connection;  // libpq: "host=/run/db dbname=rochdale user=..." or a postgresql:// URI
  std::string role;        // SET ROLE for every connection; empty: stay who we are
  std::string schema;      // search_path of every connection; empty: the server's default
  int connections_max = 8;  // 1 to 1,000
  int waiters_max = 64;     // callers that may wait for a connection; the next is refused
  absl::Duration wait_max = absl::Seconds(5);  // the longest wait for a connection
  // The upper bound on one statement's time, whatever the deadline.
  absl::Duration statement_timeout_max = absl::Seconds(30);
  absl::Duration connect_timeout = absl::Seconds(5);
  // Gets what the driver said and the error id a client was given, one line each. It may hold
  // data of the statement: for the operator only. Default: standard error. Called from any thread.
  std::function<void(absl::string_view)> log;
};

// Sums since construction, and two gauges.
struct DatabaseStats {
  int64_t connections_open = 0;  // gauge: in use and idle
  int64_t waiters = 0;           // gauge
  int64_t opened = 0;
  int64_t discarded = 0;         // broken or outlived
  int64_t refused = 0;           // OVERLOADED: too many waiters or waited too long
  int64_t commits = 0;
  int64_t rollbacks = 0;
  int64_t retries = 0;           // closures run again
  int64_t in_doubt = 0;          // COMMIT sent, answer lost
};

enum class Isolation { kReadCommitted, kRepeatableRead, kSerializable };

struct TransactOptions {
  Isolation isolation = Isolation::kReadCommitted;
  bool read_only = false;
  // Instead of the database's statement_timeout_max, where positive.
  absl::Duration statement_timeout_max = absl::ZeroDuration();
};

// A connection outside the pool that stays one session: for session-level locks. Thread-compatible.
class Session;

class Database {
 public:
  explicit Database(DatabaseOptions options);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs `fn(Transaction&)` (absl::Status or absl::StatusOr<T>) in a transaction, commits where it
  // is OK and rolls back where it is not, and returns what it returned or why it failed.
  //
  // Runs `fn` again, at most 3 times more with a random pause, after a serialization failure, a
  // deadlock, or a connection lost before COMMIT was sent; then UNAVAILABLE with a retry hint.
  // Where the connection is lost while COMMIT is under way, UNAVAILABLE too: the change is made or
  // not, and the caller learns which by repeating the call with the same request_id.
  //
  // `deadline` bounds everything: waiting (OVERLOADED), connecting (UNAVAILABLE), statements
  // (DEADLINE_EXCEEDED). Statements also have options().statement_timeout_max.
  template <typename Fn>
  auto Transact(absl::Time deadline, Fn&& fn, TransactOptions options = {})
      -> std::invoke_result_t<Fn&, Transaction&> {
    using Result = std::invoke_result_t<Fn&, Transaction&>;
    if constexpr (std::is_same_v<Result, absl::Status>) {
      return Run(deadline, options, [&fn](Transaction& tx) { return fn(tx); });
    } else {
      std::optional<Result> result;
      absl::Status status = Run(deadline, options, [&fn, &result](Transaction& tx) {
        result.emplace(fn(tx));
        return result->status();
      });
      if (!status.ok()) return status;
      return *std::move(result);
    }
  }
  // The same with a deadline `timeout` from now.
  template <typename Fn>
  auto Transact(absl::Duration timeout, Fn&& fn, TransactOptions options = {})
      -> std::invoke_result_t<Fn&, Transaction&> {
    return Transact(After(timeout), std::forward<Fn>(fn), options);
  }

  // OK if the database answers within `timeout`: for readiness.
  absl::Status Ping(absl::Duration timeout);

  // A session of its own, made now and with the pool's role and schema; it must end before this
  // database does. UNAVAILABLE if it cannot be made.
  absl::StatusOr<std::unique_ptr<Session>> OpenSession();

  // Called after each commit that wrote outbox entries, from the committing thread, and replaced by
  // the next call (null: nobody). It must be quick. OutboxRelay sets it.
  void SetOutboxListener(std::function<void()> listener);

  DatabaseStats stats() const;
  const DatabaseOptions& options() const;

 private:
  class Pool;

  static absl::Time After(absl::Duration timeout);
  absl::Status Run(absl::Time deadline, TransactOptions options,
                   absl::FunctionRef<absl::Status(Transaction&)> fn);

  std::unique_ptr<Pool> pool_;
};

class Session {
 public:
  explicit Session(std::unique_ptr<Connection> connection);
  ~Session();

  // As Database::Transact, but once: a failure is the answer, and after a broken connection every
  // call answers UNAVAILABLE (what the session held, the server has let go).
  absl::Status Transact(absl::Time deadline, absl::FunctionRef<absl::Status(Transaction&)> fn,
                        TransactOptions options = {});
  // One statement that refuses to run inside a transaction (CREATE DATABASE, VACUUM).
  absl::Status ExecOutsideTransaction(absl::string_view sql);
  bool broken() const;

 private:
  std::unique_ptr<Connection> connection_;
};

// Makes the database on the server that `options` leads to; OK if it is there. `name` is made of
// lower-case letters, digits and "_" (INVALID_ARGUMENT otherwise).
absl::Status CreateDatabaseIfMissing(const DatabaseOptions& options, absl::string_view name);

}  // namespace rochdale::pg
