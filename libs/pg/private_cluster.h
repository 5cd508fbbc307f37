// A PostgreSQL server of our own on a unix socket: for rochdale-standalone and for the tests.
//
// Start makes the data directory where it is missing (initdb), starts the server and waits until it
// accepts; after a crash or kill -9 of either process it recovers what was committed. The server
// listens on a unix socket in a directory that only its own user (and root) may enter, and trusts
// whoever comes through it. PostgreSQL refuses to run as root: then the server runs as the user
// postgres (or nobody), who gets the data directory.
//
// A supervising process stands between us and the server. When we end in any way, kill -9 included,
// it stops the server (fast: open transactions are rolled back, nothing committed is lost).
// No shell is involved. Not thread-safe; Start forks, so it is best called early.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace rochdale::pg {

struct PrivateClusterOptions {
  // Made if missing. Every directory above it must be open to the server's user.
  std::string data_dir;
  // Must be shorter than 90 characters. Empty: a new directory under /tmp, removed in the end.
  std::string socket_dir;
  // With bin/initdb and bin/postgres. Empty: the newest under /usr/lib/postgresql, else PATH.
  std::string bin_dir;
  bool fsync = true;  // false for tests: a crash of the machine (not of a process) may lose data
  std::vector<std::pair<std::string, std::string>> settings;  // on top: {"max_connections", "50"}
  absl::Duration start_timeout = absl::Seconds(60);  // covers recovery after a crash
  absl::Duration stop_timeout = absl::Seconds(30);   // then the server is killed
  bool remove_when_stopped = false;  // the data directory goes with the server: for tests
};

class PrivateCluster {
 public:
  // FAILED_PRECONDITION if another server or process uses the directory, it belongs to another
  // major version, or no PostgreSQL is installed; UNAVAILABLE if it does not accept in time.
  // Messages name the log file (<data_dir>/server.log).
  static absl::StatusOr<std::unique_ptr<PrivateCluster>> Start(PrivateClusterOptions options);
  ~PrivateCluster();  // stops
  PrivateCluster(const PrivateCluster&) = delete;
  PrivateCluster& operator=(const PrivateCluster&) = delete;

  // For DatabaseOptions::connection, as the cluster's superuser "rochdale".
  std::string ConnectionString(absl::string_view database = "postgres") const;

  // Fast stop; idempotent. DATA_LOSS (never: committed data stays) is not among its answers; an
  // error says that the server had to be killed.
  absl::Status Stop();

  // False once the server has ended, for whatever reason.
  bool Running();
  pid_t server_pid() const { return server_pid_; }
  const std::string& socket_dir() const { return options_.socket_dir; }

 private:
  explicit PrivateCluster(PrivateClusterOptions options) : options_(std::move(options)) {}

  absl::Status Prepare();
  absl::Status FindServerUser();
  absl::Status FindPrograms();
  absl::Status LockDataDir();
  absl::Status MakeSocketDir();
  absl::Status InitDataDir();
  // After kill -9 of our predecessor its supervisor may still be stopping the old server.
  absl::Status WaitForOldServer(absl::Time deadline);
  absl::Status Launch();
  // UNAVAILABLE if the server ended, DEADLINE_EXCEEDED if it is not ready in time.
  absl::Status WaitUntilAccepting(absl::Time deadline);
  std::string LogFile() const;

  PrivateClusterOptions options_;
  uid_t server_uid_ = 0;
  gid_t server_gid_ = 0;
  bool own_socket_dir_ = false;
  int lock_fd_ = -1;  // exclusive lock on <data_dir>.lock
  int life_fd_ = -1;  // the supervisor stops the server when this closes
  pid_t supervisor_pid_ = -1;
  pid_t server_pid_ = -1;
  int64_t log_start_ = 0;  // where the log of the last launch begins, bytes
};

}  // namespace rochdale::pg
