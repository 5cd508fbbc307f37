#include "libs/pg/connection.h"

#include <algorithm>
#include <cstdio>
#include <libpq-fe.h>
#include <pqxx/errorhandler>
#include <pqxx/nontransaction>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/base/clock.h"
#include "libs/pg/outbox.h"

namespace rochdale::pg {
namespace {

// Statements prepared per connection; beyond it they run unprepared.
constexpr size_t kPreparedMax = 512;

const char* NameOf(Isolation isolation) {
  switch (isolation) {
    case Isolation::kReadCommitted: return "READ COMMITTED";
    case Isolation::kRepeatableRead: return "REPEATABLE READ";
    case Isolation::kSerializable: return "SERIALIZABLE";
  }
  return "";
}

// Ours come first, so that what the operator wrote wins. A dead peer is noticed within about
// 30 s even while we wait for an answer.
std::string ConnectString(const DatabaseOptions& options) {
  // libpq counts whole seconds and takes 1 for 2.
  const int64_t connect_s = std::max<int64_t>(2, absl::ToInt64Seconds(options.connect_timeout));
  if (absl::StartsWith(options.connection, "postgres://") ||
      absl::StartsWith(options.connection, "postgresql://")) {
    if (absl::StrContains(options.connection, "connect_timeout=")) return options.connection;
    return absl::StrCat(options.connection,
                        absl::StrContains(options.connection, '?') ? "&" : "?",
                        "connect_timeout=", connect_s, "&tcp_user_timeout=30000");
  }
  return absl::StrCat("connect_timeout=", connect_s, " tcp_user_timeout=30000 keepalives_idle=15 ",
                      options.connection);
}

}  // namespace

Direct::Direct(const std::string& options) : connection_base(policy_), policy_(options) {
  init();
}

Direct::Policy::handle Direct::Policy::do_startconnect(handle orig) {
  return handle_ = pqxx::connect_direct::do_startconnect(orig);
}

Direct::Policy::handle Direct::Policy::do_disconnect(handle orig) noexcept {
  handle_ = nullptr;
  return pqxx::connect_direct::do_disconnect(orig);
}

Work::Work(pqxx::connection_base& connection, std::string begin)
    : namedclass("transaction"),
      basic_transaction(connection, "", pqxx::read_write),
      begin_(std::move(begin)) {
  Begin();
}

void Work::do_begin() { direct_exec(begin_.c_str()); }

// Takes the server's warnings to the log instead of standard error.
class Connection::NoticeLog : public pqxx::errorhandler {
 public:
  explicit NoticeLog(Connection& connection)
      : errorhandler(*connection.connection_), connection_(connection) {}
  bool operator()(const char message[]) noexcept override {
    try {
      std::string line(message);
      while (!line.empty() && line.back() == '\n') line.pop_back();
      connection_.Log(absl::StrCat("notice: ", line));
    } catch (const std::exception&) {
      std::fputs("notice lost: the log failed\n", stderr);
    }
    return false;
  }

 private:
  Connection& connection_;
};

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const DatabaseOptions& options) {
  std::unique_ptr<Connection> made(new Connection(options));
  try {
    made->connection_ = std::make_unique<Direct>(ConnectString(options));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    made->connection_->inhibit_reactivation(true);
#pragma GCC diagnostic pop
    made->notices_ = std::make_unique<NoticeLog>(*made);
    made->SetUpSession();
    return made;
  } catch (const std::exception& error) {
    const bool open = made->connection_ != nullptr && made->connection_->is_open();
    Failure failure = FailureOf(error, open);
    made->Log(absl::StrCat("connecting: ", failure.log_line));
    return failure.status;
  }
}

Connection::Connection(const DatabaseOptions& options) : options_(options) {}

Connection::~Connection() {
  notices_.reset();  // before the connection that it is registered with
}

void Connection::SetUpSession() {
  std::string sql =
      "SET client_min_messages = warning; SET client_encoding = 'UTF8'; SET timezone = 'UTC'; "
      "SET datestyle = 'ISO'; SET bytea_output = 'hex'; "
      "SET idle_in_transaction_session_timeout = '120s';";
  if (!options_.schema.empty()) {
    absl::StrAppend(&sql, "SET search_path = ", connection_->quote_name(options_.schema), ";");
  }
  if (!options_.role.empty()) {
    absl::StrAppend(&sql, "SET ROLE ", connection_->quote_name(options_.role), ";");
  }
  pqxx::nontransaction session(*connection_);
  session.exec(sql);
}

void Connection::Log(absl::string_view line) const {
  if (line.empty()) return;
  if (options_.log) {
    options_.log(line);
  } else {
    std::fprintf(stderr, "database: %.*s\n", static_cast<int>(line.size()), line.data());
  }
}

std::string Connection::PreparedName(absl::string_view sql) {
  const auto found = prepared_.find(std::string_view(sql.data(), sql.size()));
  if (found != prepared_.end()) return found->second;
  if (prepared_.size() >= kPreparedMax) return "";
  const std::string name = absl::StrCat("s", prepared_.size());
  connection_->prepare(name, std::string(sql));
  prepared_.emplace(sql, name);
  return name;
}

namespace {

// A result of libpq, freed at the end.
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

[[noreturn]] void ThrowLast(PGconn* handle, const PGresult* result, const std::string& sql) {
  if (PQstatus(handle) != CONNECTION_OK) throw pqxx::broken_connection(PQerrorMessage(handle));
  const char* state = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
  throw pqxx::sql_error(PQerrorMessage(handle), sql, state == nullptr ? "" : state);
}

// Everything that the server still has to say about the running statement; the first error of it
// is thrown once the connection is free again.
void Drain(PGconn* handle, const std::string& sql) {
  Result failed(nullptr, &PQclear);
  while (true) {
    Result result(PQgetResult(handle), &PQclear);
    if (result == nullptr) break;
    const ExecStatusType status = PQresultStatus(result.get());
    if (status == PGRES_COPY_IN) PQputCopyEnd(handle, "given up");
    if (status == PGRES_FATAL_ERROR && failed == nullptr) failed = std::move(result);
  }
  if (failed != nullptr) ThrowLast(handle, failed.get(), sql);
}

}  // namespace

void Connection::CopyBinary(const std::string& sql, absl::string_view bytes) {
  // libpq takes an int; pieces of this size also keep its buffer small.
  constexpr size_t kPiece = 1 << 20;
  PGconn* handle = connection_->handle();
  if (handle == nullptr) throw pqxx::broken_connection("the connection is closed");
  {
    const Result begun(PQexec(handle, sql.c_str()), &PQclear);
    if (PQresultStatus(begun.get()) != PGRES_COPY_IN) ThrowLast(handle, begun.get(), sql);
  }
  for (; !bytes.empty(); bytes.remove_prefix(std::min(kPiece, bytes.size()))) {
    const int size = static_cast<int>(std::min(kPiece, bytes.size()));
    if (PQputCopyData(handle, bytes.data(), size) != 1) break;  // Drain says why
  }
  PQputCopyEnd(handle, bytes.empty() ? nullptr : "the data could not be sent");
  Drain(handle, sql);
  if (PQstatus(handle) != CONNECTION_OK) ThrowLast(handle, nullptr, sql);
}

Connection::Outcome Connection::Run(absl::Time deadline, const TransactOptions& options,
                                    absl::FunctionRef<absl::Status(Transaction&)> fn) {
  Outcome outcome;
  try {
    outcome.failure = RunInside(deadline, options, fn, &outcome.wrote_outbox);
  } catch (const std::exception& error) {
    outcome.failure = FailureOf(error, connection_->is_open());
    Log(outcome.failure.log_line);
  }
  work_ = nullptr;
  if (outcome.failure.kind == Failure::Kind::kInDoubt && options.read_only) {
    outcome.failure.kind = Failure::Kind::kConnectionLost;  // nothing can have changed
  }
  broken_ = broken_ || outcome.failure.discard_connection || !connection_->is_open();
  return outcome;
}

absl::Status Connection::ExecOutsideTransaction(absl::string_view sql) {
  try {
    pqxx::nontransaction session(*connection_);
    session.exec(std::string(sql));
    return absl::OkStatus();
  } catch (const std::exception& error) {
    Failure failure = FailureOf(error, connection_->is_open());
    Log(failure.log_line);
    broken_ = broken_ || failure.discard_connection;
    return std::move(failure.status);
  }
}

Failure Connection::RunInside(absl::Time deadline, const TransactOptions& options,
                              absl::FunctionRef<absl::Status(Transaction&)> fn,
                              bool* wrote_outbox) {
  const absl::Duration bound = options.statement_timeout_max > absl::ZeroDuration()
                                   ? options.statement_timeout_max
                                   : options_.statement_timeout_max;
  const absl::Duration timeout =
      std::clamp(deadline - SystemClock().Now(), absl::Milliseconds(1), bound);
  Work work(*connection_,
            absl::StrCat("BEGIN ISOLATION LEVEL ", NameOf(options.isolation),
                         options.read_only ? " READ ONLY" : " READ WRITE",
                         "; SET LOCAL statement_timeout = ", absl::ToInt64Milliseconds(timeout)));
  work_ = &work;
  Transaction tx(this, deadline, timeout);
  absl::Status status = fn(tx);
  if (status.ok()) {
    *wrote_outbox = !tx.outbox_.empty();
    status = FlushOutbox(tx);
  }
  if (tx.failure_ != nullptr) {
    Failure failure = std::move(*tx.failure_);
    // The closure may say better what a final failure means.
    if (failure.kind == Failure::Kind::kFinal && !status.ok()) failure.status = std::move(status);
    return failure;
  }
  Failure result;
  result.status = std::move(status);
  if (result.status.ok()) work.commit();
  return result;
}

}  // namespace rochdale::pg
