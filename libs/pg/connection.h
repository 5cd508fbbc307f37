// One connection to the server and the transactions on it, one at a time. Private to libs/pg: the
// only header that includes libpqxx.
#pragma once

#include <map>
#include <memory>
#include <pqxx/connection>
#include <pqxx/transaction>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/database.h"
#include "libs/pg/failure.h"

namespace rochdale::pg {

// A transaction whose BEGIN and statement timeout go to the server as one message, and which never
// reconnects (libpqxx's own BEGIN would try again on a new connection).
class Work : public pqxx::internal::basic_transaction {
 public:
  Work(pqxx::connection_base& connection, std::string begin);
  ~Work() noexcept override { End(); }

 private:
  void do_begin() override;

  const std::string begin_;
};

// A connection that is made at once and never again, and whose libpq handle can be had: libpqxx
// has no way to COPY in the binary format.
class Direct : public pqxx::connection_base {
 public:
  explicit Direct(const std::string& options);
  ~Direct() noexcept { close(); }
  // Null once it is closed. Valid until the next call of anything else.
  ::pg_conn* handle() const { return policy_.handle_; }

 private:
  class Policy : public pqxx::connect_direct {
   public:
    explicit Policy(const std::string& options) : pqxx::connect_direct(options) {}
    handle do_startconnect(handle orig) override;
    handle do_disconnect(handle orig) noexcept override;
    handle handle_ = nullptr;
  };
  Policy policy_;  // used by the base once this is constructed
};

class Connection {
 public:
  // How a transaction ended. `committed` and `wrote_outbox` only where `failure.status` is OK.
  struct Outcome {
    Failure failure;
    bool wrote_outbox = false;
  };

  // Connects and sets the session up. `options` must outlive the connection.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const DatabaseOptions& options);
  ~Connection();

  // Runs `fn` once in a transaction that commits where everything went well.
  Outcome Run(absl::Time deadline, const TransactOptions& options,
              absl::FunctionRef<absl::Status(Transaction&)> fn);

  absl::Status ExecOutsideTransaction(absl::string_view sql);

  // After a failure that makes this connection unfit for further use.
  bool broken() const { return broken_; }
  const DatabaseOptions& options() const { return options_; }
  void Log(absl::string_view line) const;

  // For Transaction.
  Work& work() { return *work_; }
  bool is_open() const { return connection_->is_open(); }
  // COPY ... FROM STDIN (FORMAT binary) of these bytes. Throws as libpqxx does.
  void CopyBinary(const std::string& sql, absl::string_view bytes);
  // The name under which `sql` is prepared here; empty where there are too many statements.
  std::string PreparedName(absl::string_view sql);

 private:
  class NoticeLog;

  explicit Connection(const DatabaseOptions& options);
  void SetUpSession();
  Failure RunInside(absl::Time deadline, const TransactOptions& options,
                    absl::FunctionRef<absl::Status(Transaction&)> fn, bool* wrote_outbox);

  const DatabaseOptions& options_;
  std::unique_ptr<Direct> connection_;
  std::unique_ptr<NoticeLog> notices_;
  std::map<std::string, std::string, std::less<>> prepared_;  // SQL -> name
  Work* work_ = nullptr;  // while a transaction runs
  bool broken_ = false;
};

}  // namespace rochdale::pg
