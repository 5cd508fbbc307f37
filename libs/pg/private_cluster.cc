#include "libs/pg/private_cluster.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "libs/base/clock.h"
#include "libs/base/status_macros.h"
#include "libs/pg/server_files.h"
#include "libs/pg/supervisor.h"

namespace rochdale::pg {
namespace {

namespace fs = std::filesystem;

constexpr size_t kSocketDirMax = 90;  // a unix socket's path has at most 107 characters
constexpr int kLaunchesMax = 6;       // while processes of a killed server still go away

absl::Status SystemError(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", strerror(errno)));
}

std::string Quoted(absl::string_view value) {
  std::string quoted = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

}  // namespace

absl::StatusOr<std::unique_ptr<PrivateCluster>> PrivateCluster::Start(
    PrivateClusterOptions options) {
  std::unique_ptr<PrivateCluster> cluster(new PrivateCluster(std::move(options)));
  RETURN_IF_ERROR(cluster->Prepare());
  const absl::Time deadline = SystemClock().Now() + cluster->options_.start_timeout;
  absl::Status status;
  for (int launch = 0; launch < kLaunchesMax; ++launch) {
    RETURN_IF_ERROR(cluster->WaitForOldServer(deadline));
    RETURN_IF_ERROR(cluster->Launch());
    status = cluster->WaitUntilAccepting(deadline);
    if (status.ok()) return cluster;
    if (!absl::IsUnavailable(status) || cluster->options_.remove_when_stopped) break;
    // Its predecessor's children may hold the shared memory for a moment after kill -9.
    if (!absl::StrContains(status.message(), "shared memory") &&
        !absl::StrContains(status.message(), "lock file")) {
      break;
    }
    absl::SleepFor(absl::Milliseconds(200 << launch));
  }
  return absl::UnavailableError(absl::StrCat(status.message(), "; see ", cluster->LogFile()));
}

PrivateCluster::~PrivateCluster() {
  const absl::Status stopped = Stop();
  if (!stopped.ok()) std::fprintf(stderr, "%s\n", std::string(stopped.message()).c_str());
  if (own_socket_dir_) {
    std::error_code ignored;  // empty by now, or removed by the supervisor
    fs::remove_all(options_.socket_dir, ignored);
  }
  if (lock_fd_ >= 0) close(lock_fd_);
}

std::string PrivateCluster::LogFile() const { return options_.data_dir + "/server.log"; }

std::string PrivateCluster::ConnectionString(absl::string_view database) const {
  return absl::StrCat("host=", Quoted(options_.socket_dir), " user=rochdale dbname=",
                      Quoted(database));
}

absl::Status PrivateCluster::FindServerUser() {
  server_uid_ = geteuid();
  server_gid_ = getegid();
  if (server_uid_ != 0) return absl::OkStatus();
  for (const char* name : {"postgres", "nobody"}) {
    if (const passwd* user = getpwnam(name); user != nullptr && user->pw_uid != 0) {
      server_uid_ = user->pw_uid;
      server_gid_ = user->pw_gid;
      return absl::OkStatus();
    }
  }
  return absl::FailedPreconditionError("PostgreSQL does not run as root and there is no user "
                                       "postgres or nobody to run it as");
}

absl::Status PrivateCluster::FindPrograms() {
  int major = 0;
  const std::string version = ReadFile(options_.data_dir + "/PG_VERSION");
  if (!version.empty() && !absl::SimpleAtoi(version, &major)) {
    return absl::FailedPreconditionError(absl::StrCat(options_.data_dir, "/PG_VERSION is damaged"));
  }
  if (options_.bin_dir.empty()) {
    const std::vector<fs::path> dirs = ProgramDirs(major);
    if (!dirs.empty()) options_.bin_dir = dirs[0].string();
  }
  if (options_.bin_dir.empty() || !HasPrograms(options_.bin_dir)) {
    return absl::FailedPreconditionError(
        absl::StrCat("no PostgreSQL server", major == 0 ? "" : absl::StrCat(" ", major),
                     " found (initdb and postgres): install it or name its directory"));
  }
  return absl::OkStatus();
}

absl::Status PrivateCluster::LockDataDir() {
  const std::string path = options_.data_dir + ".lock";
  lock_fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) return SystemError(path);
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " is in use by another process"));
  }
  return absl::OkStatus();
}

absl::Status PrivateCluster::MakeSocketDir() {
  // Our own is new at each launch: the supervisor of a failed one has removed it.
  if (options_.socket_dir.empty() || own_socket_dir_) {
    char name[] = "/tmp/rochdale-XXXXXX";
    if (mkdtemp(name) == nullptr) return SystemError("a directory for the socket");
    options_.socket_dir = name;
    own_socket_dir_ = true;
  }
  if (options_.socket_dir.size() > kSocketDirMax) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.socket_dir, " is too long for a socket's directory"));
  }
  std::error_code error;
  fs::create_directories(options_.socket_dir, error);
  if (error || chmod(options_.socket_dir.c_str(), 0700) != 0 ||
      chown(options_.socket_dir.c_str(), server_uid_, server_gid_) != 0) {
    return SystemError(options_.socket_dir);
  }
  return absl::OkStatus();
}

absl::Status PrivateCluster::Prepare() {
  if (options_.data_dir.empty()) return absl::FailedPreconditionError("no data directory is named");
  std::error_code error;
  options_.data_dir = fs::absolute(options_.data_dir, error).lexically_normal().string();
  while (options_.data_dir.size() > 1 && options_.data_dir.back() == '/') {
    options_.data_dir.pop_back();
  }
  fs::create_directories(fs::path(options_.data_dir).parent_path(), error);
  if (error) {
    return absl::FailedPreconditionError(absl::StrCat(options_.data_dir, ": ", error.message()));
  }
  RETURN_IF_ERROR(FindServerUser());
  if (const std::string closed = ClosedDirectory(options_.data_dir, server_uid_, server_gid_);
      !closed.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the server's user may not pass through ", closed));
  }
  RETURN_IF_ERROR(LockDataDir());
  RETURN_IF_ERROR(FindPrograms());
  if (!fs::exists(options_.data_dir + "/PG_VERSION")) RETURN_IF_ERROR(InitDataDir());
  return absl::OkStatus();
}

absl::Status PrivateCluster::InitDataDir() {
  if (fs::exists(options_.data_dir) && !fs::is_empty(options_.data_dir)) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " holds something else than a PostgreSQL cluster"));
  }
  // Made beside and then renamed, so that a half-made cluster is never taken for one.
  const std::string making = options_.data_dir + ".new";
  const std::string log = options_.data_dir + ".initdb.log";
  std::error_code error;
  fs::remove_all(making, error);
  fs::remove(log, error);
  fs::remove(options_.data_dir, error);
  if (mkdir(making.c_str(), 0700) != 0 || chown(making.c_str(), server_uid_, server_gid_) != 0) {
    return SystemError(making);
  }
  const int log_fd = open(log.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (log_fd < 0 || fchown(log_fd, server_uid_, server_gid_) != 0) return SystemError(log);
  close(log_fd);
  Program initdb;
  initdb.argv = {options_.bin_dir + "/initdb", "--pgdata=" + making, "--username=rochdale",
                 "--auth=trust",  // the socket's directory is what keeps others out
                 "--encoding=UTF8", "--no-locale", "--data-checksums", "--no-instructions"};
  if (!options_.fsync) initdb.argv.push_back("--no-sync");
  initdb.uid = server_uid_;
  initdb.gid = server_gid_;
  initdb.log_file = log;
  ASSIGN_OR_RETURN(const int status, RunProgram(initdb, absl::Minutes(3)));
  if (status != 0) {
    return absl::FailedPreconditionError(absl::StrCat("initdb failed; see ", log));
  }
  fs::rename(making, options_.data_dir, error);
  if (error) return SystemError(options_.data_dir);
  fs::remove(log, error);
  return absl::OkStatus();
}

absl::Status PrivateCluster::WaitForOldServer(absl::Time deadline) {
  const std::string pid_file = options_.data_dir + "/postmaster.pid";
  std::optional<pid_t> pid = PidIn(pid_file);
  while (pid.has_value() && IsServer(*pid, options_.data_dir)) {
    if (SystemClock().Now() > deadline) {
      return absl::FailedPreconditionError(
          absl::StrCat("another server (process ", *pid, ") uses ", options_.data_dir));
    }
    absl::SleepFor(absl::Milliseconds(50));
    pid = PidIn(pid_file);
  }
  // The server trusts these files as long as a process has that number, whatever it is by now.
  std::error_code ignored;
  if (pid.has_value()) fs::remove(pid_file, ignored);
  const std::string socket_lock = options_.socket_dir + "/.s.PGSQL.5432.lock";
  if (options_.socket_dir.empty()) return absl::OkStatus();
  if (const std::optional<pid_t> holder = PidIn(socket_lock);
      holder.has_value() && !IsServer(*holder, options_.data_dir)) {
    fs::remove(socket_lock, ignored);
  }
  return absl::OkStatus();
}

absl::Status PrivateCluster::Launch() {
  RETURN_IF_ERROR(MakeSocketDir());
  SupervisorPlan plan;
  std::vector<std::pair<std::string, std::string>> settings = {
      {"listen_addresses", ""},
      {"unix_socket_directories", options_.socket_dir},
      {"unix_socket_permissions", "0700"},
      {"logging_collector", "off"},
      {"log_line_prefix", "%m [%p] "},
  };
  if (!options_.fsync) {
    settings.insert(settings.end(), {{"fsync", "off"}, {"full_page_writes", "off"}});
  }
  settings.insert(settings.end(), options_.settings.begin(), options_.settings.end());
  plan.server.argv = {options_.bin_dir + "/postgres", "-D", options_.data_dir};
  for (const auto& [name, value] : settings) {
    plan.server.argv.insert(plan.server.argv.end(), {"-c", absl::StrCat(name, "=", value)});
  }
  plan.server.uid = server_uid_;
  plan.server.gid = server_gid_;
  plan.server.log_file = LogFile();
  plan.stop_timeout = options_.stop_timeout;
  if (own_socket_dir_) plan.remove_when_stopped.push_back(options_.socket_dir);
  if (options_.remove_when_stopped) {
    plan.remove_when_stopped.insert(plan.remove_when_stopped.end(),
                                    {options_.data_dir, options_.data_dir + ".lock"});
  }
  int life[2];
  if (pipe2(life, O_CLOEXEC) != 0) return SystemError("pipe");
  plan.life_fd = life[0];
  std::error_code no_log_yet;
  const auto log_size = fs::file_size(LogFile(), no_log_yet);
  log_start_ = no_log_yet ? 0 : static_cast<int64_t>(log_size);
  const absl::StatusOr<pid_t> supervisor = StartSupervised(plan);
  close(life[0]);
  if (!supervisor.ok()) {
    close(life[1]);
    return supervisor.status();
  }
  life_fd_ = life[1];
  supervisor_pid_ = *supervisor;
  return absl::OkStatus();
}

absl::Status PrivateCluster::WaitUntilAccepting(absl::Time deadline) {
  const std::string pid_file = options_.data_dir + "/postmaster.pid";
  while (Running()) {
    // Line 1: its pid; line 8: what it is doing. A file of an earlier server has another parent.
    const std::vector<std::string> lines = absl::StrSplit(ReadFile(pid_file), '\n');
    int pid = 0;
    if (lines.size() >= 8 && absl::SimpleAtoi(lines[0], &pid) &&
        absl::StripAsciiWhitespace(lines[7]) == "ready" && ParentOf(pid) == supervisor_pid_) {
      server_pid_ = pid;
      return absl::OkStatus();
    }
    if (SystemClock().Now() > deadline) {
      Stop().IgnoreError();  // it is late, and that is what we report
      return absl::DeadlineExceededError("the database server is not ready in time");
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  return absl::UnavailableError(absl::StrCat("the database server ended while starting: ",
                                             LastFatalLine(LogFile(), log_start_)));
}

bool PrivateCluster::Running() {
  if (supervisor_pid_ < 0) return false;
  int status = 0;
  if (waitpid(supervisor_pid_, &status, WNOHANG) == 0) return true;
  supervisor_pid_ = -1;
  close(life_fd_);
  life_fd_ = -1;
  return false;
}

absl::Status PrivateCluster::Stop() {
  if (!Running()) return absl::OkStatus();
  close(life_fd_);
  life_fd_ = -1;
  int status = 0;
  while (waitpid(supervisor_pid_, &status, 0) < 0 && errno == EINTR) {
  }
  supervisor_pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kServerKilled) {
    return absl::InternalError("the database server did not stop in time and was killed");
  }
  return absl::OkStatus();
}

}  // namespace rochdale::pg
