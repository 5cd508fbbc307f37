#include "libs/pg/transaction.h"

#include <algorithm>
#include <array>
#include <pqxx/binarystring>
#include <pqxx/result>
#include <pqxx/stream_to>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"
#include "libs/pg/connection.h"
#include "libs/pg/failure.h"
#include "libs/pg/outbox.h"

namespace rochdale::pg {
namespace {

// libpq takes a text parameter to its first NUL, so that one must never get there.
bool HasNul(const std::vector<Value>& values) {
  for (const Value& value : values) {
    if (!value.is_null() && value.text().find('\0') != std::string::npos) return true;
  }
  return false;
}

std::vector<const char*> Pointers(const std::vector<Value>& values) {
  std::vector<const char*> pointers;
  pointers.reserve(values.size());
  for (const Value& value : values) {
    pointers.push_back(value.is_null() ? nullptr : value.text().c_str());
  }
  return pointers;
}

Failure NulFailure() {
  Failure failure;
  failure.status = Error("BAD_REQUEST", "a text holds a NUL byte");
  return failure;
}

}  // namespace

Transaction::Transaction(Connection* connection, absl::Time deadline,
                         absl::Duration statement_timeout)
    : connection_(connection), deadline_(deadline), statement_timeout_(statement_timeout) {}

Transaction::~Transaction() = default;

absl::Status Transaction::Fail(Failure failure) {
  if (failure_ == nullptr) {
    connection_->Log(failure.log_line);
    failure_ = std::make_unique<Failure>(std::move(failure));
  }
  return failure_->status;
}

absl::Status Transaction::InternalError(absl::string_view detail) {
  return Fail(InternalFailure(detail));
}

absl::Status Transaction::Admit() {
  if (failure_ != nullptr) return failure_->status;
  const absl::Duration left = deadline_ - SystemClock().Now();
  if (left <= absl::ZeroDuration()) {
    Failure failure;
    failure.status = Error("DEADLINE_EXCEEDED", "the deadline passed inside the transaction");
    return Fail(std::move(failure));
  }
  // Only when half of it is gone: a SET costs a round trip.
  if (left < statement_timeout_ / 2) {
    statement_timeout_ = std::max(left, absl::Milliseconds(1));
    connection_->work().exec(
        absl::StrCat("SET LOCAL statement_timeout = ",
                     std::max<int64_t>(1, absl::ToInt64Milliseconds(statement_timeout_))));
  }
  return absl::OkStatus();
}

template <typename Parameters>
absl::StatusOr<Rows> Transaction::RunWith(absl::string_view sql, const Parameters& parameters) {
  try {
    RETURN_IF_ERROR(Admit());
    const std::string name = connection_->PreparedName(sql);
    return Rows(std::make_shared<const pqxx::result>(
        name.empty() ? connection_->work().exec_params(std::string(sql), parameters)
                     : connection_->work().exec_prepared(name, parameters)));
  } catch (const std::exception& error) {
    Failure failure = FailureOf(error, connection_->is_open());
    absl::StrAppend(&failure.log_line, " [", sql, "]");  // the driver knows but its prepared name
    return Fail(std::move(failure));
  }
}

absl::StatusOr<Rows> Transaction::Run(absl::string_view sql, const std::vector<Value>& values) {
  if (failure_ == nullptr && HasNul(values)) return Fail(NulFailure());
  const std::vector<const char*> pointers = Pointers(values);
  return RunWith(sql, pqxx::prepare::make_dynamic_params(pointers));
}

absl::StatusOr<Rows> Transaction::RunArrays(absl::string_view sql,
                                            const std::vector<BinaryArray>& arrays) {
  std::vector<pqxx::binarystring> parameters;
  parameters.reserve(arrays.size());
  for (const BinaryArray& array : arrays) parameters.emplace_back(array.bytes());
  return RunWith(sql, pqxx::prepare::make_dynamic_params(parameters));
}

absl::Status Transaction::ExecScript(absl::string_view sql) {
  try {
    RETURN_IF_ERROR(Admit());
    connection_->work().exec(std::string(sql));
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return Fail(FailureOf(error, connection_->is_open()));
  }
}

namespace {

// libpqxx 6.4 streams only rows whose number of columns is known when compiling.
constexpr size_t kCopyColumnsMax = 24;
using CopyRow = void (*)(pqxx::stream_to&, const std::vector<const char*>&);

template <size_t N>
void CopyRowOf(pqxx::stream_to& stream, const std::vector<const char*>& row) {
  std::array<const char*, N> columns;
  std::copy_n(row.begin(), N, columns.begin());
  stream << columns;
}

template <size_t... N>
constexpr std::array<CopyRow, sizeof...(N)> CopyRows(std::index_sequence<N...>) {
  return {CopyRowOf<N + 1>...};
}

constexpr auto kCopyRows = CopyRows(std::make_index_sequence<kCopyColumnsMax>());

}  // namespace

class CopyStream : public CopyWriter {
 public:
  CopyStream(Transaction& tx, absl::string_view table, const std::vector<std::string>& columns)
      : tx_(tx),
        columns_(columns.size()),
        stream_(tx.connection_->work(), std::string(table), columns) {}

  absl::Status Write(const std::vector<Value>& row) override {
    if (tx_.failure_ != nullptr) return tx_.failure_->status;
    if (row.size() != columns_ || row.empty() || row.size() > kCopyColumnsMax) {
      return tx_.Fail(InternalFailure("COPY of a row with the wrong number of columns"));
    }
    if (HasNul(row)) return tx_.Fail(NulFailure());
    try {
      kCopyRows[columns_ - 1](stream_, Pointers(row));
      return absl::OkStatus();
    } catch (const std::exception& error) {
      return tx_.Fail(FailureOf(error, tx_.connection_->is_open()));
    }
  }

  void Complete() { stream_.complete(); }

 private:
  Transaction& tx_;
  const size_t columns_;
  pqxx::stream_to stream_;
};

absl::Status Transaction::CopyIn(absl::string_view table, const std::vector<std::string>& columns,
                                 absl::FunctionRef<absl::Status(CopyWriter&)> fill) {
  try {
    RETURN_IF_ERROR(Admit());
    CopyStream stream(*this, table, columns);
    absl::Status filled = fill(stream);
    // Ended in every case: libpqxx must leave COPY mode before the transaction can roll back.
    stream.Complete();
    if (failure_ != nullptr) return failure_->status;
    if (!filled.ok()) {
      Failure failure;
      failure.status = std::move(filled);
      return Fail(std::move(failure));
    }
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return Fail(FailureOf(error, connection_->is_open()));
  }
}

// Signature, flags, and the length of an extension that there is not: PostgreSQL, COPY, "Binary
// Format".
BinaryRows::BinaryRows() : bytes_("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19) {}

BinaryRows& BinaryRows::Begin(int columns) {
  AppendBigEndian(bytes_, static_cast<int16_t>(columns));
  ++rows_;
  return *this;
}

BinaryRows& BinaryRows::Id(const Uuid& value) { return Bytes(value.AsBytes()); }

BinaryRows& BinaryRows::Int2(int16_t value) {
  AppendBigEndian(bytes_, int32_t{2});
  AppendBigEndian(bytes_, value);
  return *this;
}

BinaryRows& BinaryRows::Int4(int32_t value) {
  AppendBigEndian(bytes_, int32_t{4});
  AppendBigEndian(bytes_, value);
  return *this;
}

BinaryRows& BinaryRows::Int8(int64_t value) {
  AppendBigEndian(bytes_, int32_t{8});
  AppendBigEndian(bytes_, value);
  return *this;
}

BinaryRows& BinaryRows::Bytes(absl::string_view value) {
  AppendBigEndian(bytes_, static_cast<int32_t>(value.size()));
  bytes_.append(value.data(), value.size());
  return *this;
}

BinaryRows& BinaryRows::Null() {
  AppendBigEndian(bytes_, int32_t{-1});
  return *this;
}

std::string BinaryRows::Finish() && {
  AppendBigEndian(bytes_, int16_t{-1});
  return std::move(bytes_);
}

absl::Status Transaction::CopyBinary(absl::string_view table,
                                     const std::vector<std::string>& columns, BinaryRows rows) {
  if (rows.empty()) return absl::OkStatus();
  try {
    RETURN_IF_ERROR(Admit());
    connection_->CopyBinary(absl::StrCat("COPY ", table, " (", absl::StrJoin(columns, ", "),
                                         ") FROM STDIN (FORMAT binary)"),
                            std::move(rows).Finish());
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return Fail(FailureOf(error, connection_->is_open()));
  }
}

absl::Status Transaction::AdvisoryLock(int64_t key) {
  return Exec("SELECT pg_advisory_xact_lock($1)", key).status();
}

absl::StatusOr<bool> Transaction::TryAdvisoryLock(int64_t key) {
  ASSIGN_OR_RETURN(const Row row, ExecOne("SELECT pg_try_advisory_xact_lock($1)", key));
  return row.Get<bool>(0);
}

absl::StatusOr<Row> Transaction::One(absl::StatusOr<Rows> rows, absl::string_view sql) {
  if (!rows.ok()) return rows.status();
  if (rows->size() == 1) return (*rows)[0];
  return InternalError(absl::StrCat(rows->size(), " rows instead of one from: ", sql));
}

absl::StatusOr<std::optional<Row>> Transaction::AtMostOne(absl::StatusOr<Rows> rows,
                                                          absl::string_view sql) {
  if (!rows.ok()) return rows.status();
  if (rows->empty()) return std::optional<Row>();
  if (rows->size() == 1) return std::optional<Row>((*rows)[0]);
  return InternalError(absl::StrCat(rows->size(), " rows instead of one from: ", sql));
}

int64_t AdvisoryKey(absl::string_view name) {
  const crypto::Digest digest = crypto::Sha256(name);
  uint64_t key = 0;
  for (int i = 0; i < 8; ++i) key = key << 8 | digest.bytes[i];
  return static_cast<int64_t>(key);
}

}  // namespace rochdale::pg
