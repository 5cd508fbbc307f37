// One database transaction, as a store function sees it. Made by Database::Transact only.
//
// No call throws. After the first failed statement the transaction is lost: every later statement
// answers the same error, and Transact rolls back (or runs the closure again) whatever the closure
// returns. So a store function passes errors on and never "handles" them: where a conflict is an
// expected outcome, write INSERT ... ON CONFLICT and look at the affected rows.
//
// Statements are named constants with $1, $2, ... for values; never build SQL from data.
// One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "libs/base/ids.h"
#include "libs/pg/binary_array.h"
#include "libs/pg/rows.h"
#include "libs/pg/value.h"

namespace rochdale::crypto {
struct Entry;
}

namespace rochdale::pg {

class Connection;    // libs/pg/connection.h, private to this library
struct Failure;      // libs/pg/failure.h, private to this library
struct OutboxEntry;  // libs/pg/outbox.h

// Rows for COPY; see Transaction::CopyIn.
class CopyWriter {
 public:
  virtual ~CopyWriter() = default;
  // One value per column of the COPY, in order.
  virtual absl::Status Write(const std::vector<Value>& row) = 0;
};

// Rows for COPY in PostgreSQL's binary format: for the few tables that take 100,000 rows a second,
// where text costs both sides too much. The values must be of exactly the column's type.
//
//   BinaryRows rows;
//   rows.Begin(2).Id(id).Int8(index);   // one row of two columns: uuid, bigint
class BinaryRows {
 public:
  BinaryRows();
  // Starts a row; so many values follow.
  BinaryRows& Begin(int columns);
  BinaryRows& Id(const Uuid& value);
  BinaryRows& Int2(int16_t value);
  BinaryRows& Int4(int32_t value);
  BinaryRows& Int8(int64_t value);
  BinaryRows& Bytes(absl::string_view value);  // bytea, and text that is known to be UTF-8
  BinaryRows& Null();
  bool empty() const { return rows_ == 0; }
  int64_t rows() const { return rows_; }

 private:
  friend class Transaction;
  std::string Finish() &&;
  std::string bytes_;
  int64_t rows_ = 0;
};

class Transaction {
 public:
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // Runs one statement. It is prepared on its connection at first use, so `sql` should be one of
  // a small number of constants.
  // Errors: see failure.h; a violated unique key is ALREADY_EXISTS, another violated constraint
  // INTERNAL (the service must check before), a passed deadline DEADLINE_EXCEEDED.
  template <typename... Args>
  absl::StatusOr<Rows> Exec(absl::string_view sql, const Args&... args) {
    std::vector<Value> values;
    values.reserve(sizeof...(args));
    (values.emplace_back(args), ...);
    return Run(sql, values);
  }
  // As Exec, for a statement that must give exactly one row (INTERNAL otherwise).
  template <typename... Args>
  absl::StatusOr<Row> ExecOne(absl::string_view sql, const Args&... args) {
    return One(Exec(sql, args...), sql);
  }
  // As Exec, for a statement that gives no row or one (INTERNAL for more).
  template <typename... Args>
  absl::StatusOr<std::optional<Row>> ExecOptional(absl::string_view sql, const Args&... args) {
    return AtMostOne(Exec(sql, args...), sql);
  }
  // As Exec; the number of rows that were touched.
  template <typename... Args>
  absl::StatusOr<int64_t> ExecAffected(absl::string_view sql, const Args&... args) {
    absl::StatusOr<Rows> rows = Exec(sql, args...);
    if (!rows.ok()) return rows.status();
    return rows->affected();
  }

  // As Exec, for statements whose values are all arrays: vectors of what BinaryArray takes. Each is
  // sent in the binary format, which costs a fraction of the text.
  template <typename... Lists>
  absl::StatusOr<Rows> ExecArrays(absl::string_view sql, const Lists&... lists) {
    return RunArrays(sql, {BinaryArray(lists)...});
  }

  absl::StatusOr<Rows> Run(absl::string_view sql, const std::vector<Value>& values);
  absl::StatusOr<Rows> RunArrays(absl::string_view sql, const std::vector<BinaryArray>& arrays);

  // Several statements separated by ";", without parameters and results: for migrations.
  absl::Status ExecScript(absl::string_view sql);

  // COPY table (1 to 24 columns) FROM STDIN of what `fill` writes: the way for thousands of rows.
  // `table` and `columns` are constants of the code, not data. No other statement may run on this
  // transaction inside `fill`. An error from `fill` loses the transaction and is returned.
  absl::Status CopyIn(absl::string_view table, const std::vector<std::string>& columns,
                      absl::FunctionRef<absl::Status(CopyWriter&)> fill);

  // The same from rows in the binary format; no rows, nothing happens.
  absl::Status CopyBinary(absl::string_view table, const std::vector<std::string>& columns,
                          BinaryRows rows);

  // Advisory locks of the whole database, held until the transaction ends. See AdvisoryKey.
  absl::Status AdvisoryLock(int64_t key);
  absl::StatusOr<bool> TryAdvisoryLock(int64_t key);

  // For rows that cannot be: INTERNAL with a new error id, which loses the transaction; `detail`
  // goes to the log under that id and never to the client.
  absl::Status InternalError(absl::string_view detail);

  // What Transact was given. Statements are refused after it.
  absl::Time deadline() const { return deadline_; }

 private:
  friend class Connection;
  friend class CopyStream;
  friend absl::Status EnqueueEntry(Transaction& tx, const crypto::Entry& entry);
  friend absl::Status EnqueueEncodedEntry(Transaction& tx, OutboxEntry entry);
  friend absl::Status FlushOutbox(Transaction& tx);

  Transaction(Connection* connection, absl::Time deadline, absl::Duration statement_timeout);
  ~Transaction();

  absl::StatusOr<Row> One(absl::StatusOr<Rows> rows, absl::string_view sql);
  absl::StatusOr<std::optional<Row>> AtMostOne(absl::StatusOr<Rows> rows, absl::string_view sql);
  // Remembers the first failure, logs its driver text and gives the status for the caller.
  absl::Status Fail(Failure failure);
  template <typename Parameters>
  absl::StatusOr<Rows> RunWith(absl::string_view sql, const Parameters& parameters);
  // Refuses where the transaction is lost or late; shortens the statement timeout as time passes.
  absl::Status Admit();

  Connection* const connection_;
  const absl::Time deadline_;
  absl::Duration statement_timeout_;
  std::unique_ptr<Failure> failure_;        // the first one; null while all is well
  std::vector<OutboxEntry> outbox_;         // written just before COMMIT, see outbox.h
};

// The key of an advisory lock with this name ("<schema>.<what>"): the first 8 bytes of its SHA-256.
int64_t AdvisoryKey(absl::string_view name);

}  // namespace rochdale::pg
