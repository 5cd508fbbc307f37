// The process between us and a private server. Private to libs/pg.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace rochdale::pg {

// A program to run: no shell, a fixed small environment, working directory "/".
struct Program {
  std::vector<std::string> argv;  // argv[0] is its path
  uid_t uid = 0;                  // whom to run as; another than us only where we are root
  gid_t gid = 0;
  std::string log_file;           // standard output and error are appended; empty: dropped
};

// Runs it to its end; its exit status. DEADLINE_EXCEEDED (and it is killed) after `timeout`.
absl::StatusOr<int> RunProgram(const Program& program, absl::Duration timeout);

struct SupervisorPlan {
  Program server;
  int life_fd = -1;  // read end of a pipe; when its writers are gone, the server is stopped
  absl::Duration stop_timeout;
  std::vector<std::string> remove_when_stopped;  // files and directories
};

// Exit statuses of the supervisor.
inline constexpr int kServerStopped = 0;  // because life_fd closed, in time
inline constexpr int kServerEnded = 1;    // by itself
inline constexpr int kServerKilled = 2;   // it did not stop in time

// Forks the supervisor, which starts the server: fast stop (SIGINT) when life_fd closes, and by the
// kernel should the supervisor itself be killed. The supervisor's pid. INTERNAL if fork fails.
absl::StatusOr<pid_t> StartSupervised(const SupervisorPlan& plan);

}  // namespace rochdale::pg
