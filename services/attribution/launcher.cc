#include "services/attribution/launcher.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/base/program.h"
#include "libs/obs/log.h"

extern char** environ;

namespace rochdale::attribution {
namespace {

constexpr auto kTick = std::chrono::milliseconds(50);
constexpr int kTicksToLeave = 40;  // 2 s between the end of a run and SIGKILL

// Ours, less what must not be inherited.
std::vector<std::string> WorkerEnvironment(const std::string& token) {
  std::vector<std::string> environment = {absl::StrCat("ROCHDALE_RUN_TOKEN=", token),
                                          "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1"};
  for (const char* name : {"PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "GRPC_VERBOSITY",
                           "OPENBLAS_CORETYPE"}) {
    const char* value = getenv(name);
    if (value != nullptr) environment.push_back(absl::StrCat(name, "=", value));
  }
  return environment;
}

}  // namespace

LocalProcessLauncher::LocalProcessLauncher(LocalProcessOptions options, const obs::Logger& logger)
    : options_(std::move(options)), logger_(logger), thread_([this] { Loop(); }) {}

LocalProcessLauncher::~LocalProcessLauncher() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void LocalProcessLauncher::Start(const RunId& run, const std::string& run_token) {
  {
    const std::lock_guard lock(mutex_);
    Work& work = work_[run];
    if (!work.token.empty() && !work.stopping) return;
    work.token = run_token;
    work.stopping = false;
    work.ticks_stopping = 0;
  }
  changed_.notify_all();
}

void LocalProcessLauncher::Stop(const RunId& run) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = work_.find(run);
    if (found == work_.end()) return;
    found->second.stopping = true;
  }
  changed_.notify_all();
}

std::vector<pid_t> LocalProcessLauncher::Processes(const RunId& run) const {
  const std::lock_guard lock(mutex_);
  const auto found = work_.find(run);
  return found == work_.end() ? std::vector<pid_t>() : found->second.processes;
}

void LocalProcessLauncher::Loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    for (auto at = work_.begin(); at != work_.end();) {
      Tend(at->first, at->second);
      at = at->second.stopping && at->second.processes.empty() ? work_.erase(at) : std::next(at);
    }
    // Without work there is nothing to reap: sleep until there is.
    if (work_.empty()) {
      changed_.wait(lock);
    } else {
      changed_.wait_for(lock, kTick);
    }
  }
  for (auto& [run, work] : work_) {
    for (const pid_t pid : work.processes) {
      kill(pid, SIGKILL);
      while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
  }
  work_.clear();
}

void LocalProcessLauncher::Tend(const RunId& run, Work& work) {
  Reap(run, work);
  if (work.stopping) {
    if (++work.ticks_stopping < kTicksToLeave) return;
    for (const pid_t pid : work.processes) kill(pid, SIGKILL);
    return;
  }
  while (static_cast<int>(work.processes.size()) < options_.processes) {
    if (work.failures > options_.restarts_max) return;
    if (work.started >= options_.processes + work.failures) return;  // the others left in peace
    const pid_t pid = Fork(run, work.token);
    ++work.started;
    if (pid < 0) {
      ++work.failures;
      return;  // again at the next tick
    }
    work.processes.push_back(pid);
  }
}

void LocalProcessLauncher::Reap(const RunId& run, Work& work) {
  for (size_t i = work.processes.size(); i-- > 0;) {
    int status = 0;
    const pid_t pid = work.processes[i];
    const pid_t reaped = waitpid(pid, &status, WNOHANG);
    if (reaped == 0 || (reaped < 0 && errno == EINTR)) continue;
    work.processes.erase(work.processes.begin() + i);
    if (reaped == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    if (work.stopping) continue;
    ++work.failures;
    logger_.Warning("a worker ended", obs::Fields()
                                          .Text("run", run.ToString())
                                          .Int("failures", work.failures)
                                          .Int("status", status));
  }
}

pid_t LocalProcessLauncher::Fork(const RunId& run, const std::string& token) {
  std::vector<std::string> arguments = {options_.program, "--endpoint", options_.endpoint(),
                                        "--run", run.ToString(), "--cache-dir", options_.cache_dir};
  if (options_.device != "cpu") arguments.insert(arguments.end(), {"--device", options_.device});
  if (options_.plaintext) arguments.push_back("--plaintext");
  if (!options_.ca_file.empty()) {
    arguments.insert(arguments.end(), {"--tls-ca", options_.ca_file});
  }
  if (!options_.server_name.empty()) {
    arguments.insert(arguments.end(), {"--tls-server-name", options_.server_name});
  }
  std::vector<std::string> environment = WorkerEnvironment(token);
  const std::vector<char*> argv = ArgumentPointers(arguments);
  const std::vector<char*> envp = ArgumentPointers(environment);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) {
    if (pid < 0) {
      logger_.Error("cannot fork a worker", obs::Fields().Text("cause", std::strerror(errno)));
    }
    return pid;
  }
  // In the child: async-signal-safe calls only.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(71);  // the parent ended before prctl
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  close_range(3, ~0U, 0);  // no socket or file of the server
  execve(argv[0], argv.data(), envp.data());
  _exit(72);
}

}  // namespace rochdale::attribution
