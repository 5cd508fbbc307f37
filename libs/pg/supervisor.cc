#include "libs/pg/supervisor.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/clock.h"

namespace rochdale::pg {
namespace {

constexpr char kEnvPath[] = "PATH=/usr/local/bin:/usr/bin:/bin";
constexpr char kEnvLocale[] = "LC_ALL=C";
constexpr int kLifeFd = 3;

// Everything a child needs, laid out before the fork: between fork and exec in a process that may
// have threads, only async-signal-safe calls are allowed, so no allocation.
struct Prepared {
  explicit Prepared(const Program& from) : program(from) {
    for (const std::string& argument : program.argv) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
  }
  Program program;
  std::vector<char*> argv;
};

void SleepMillis(long millis) {
  timespec pause{millis / 1000, millis % 1000 * 1'000'000};
  nanosleep(&pause, nullptr);
}

void CloseFrom(unsigned first) {
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  for (unsigned fd = first; fd < 65536; ++fd) close(static_cast<int>(fd));
}

void RedirectTo(const char* path, int flags) {
  const int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd < 0) return;
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  close(fd);
}

void Complain(const char* what) {
  const char* reason = strerrordesc_np(errno);
  for (const char* part : {"cannot start the program: ", what, ": ", reason, "\n"}) {
    if (part != nullptr && write(STDERR_FILENO, part, strlen(part)) < 0) return;
  }
}

// In the child: becomes the program. `die_with` (0: none) is sent when the parent dies.
[[noreturn]] void Become(const Prepared& prepared, int die_with, pid_t parent) {
  const Program& program = prepared.program;
  if (geteuid() == 0 && program.uid != 0) {
    if (setgroups(1, &program.gid) != 0 || setgid(program.gid) != 0 || setuid(program.uid) != 0) {
      Complain("changing user");
      _exit(126);
    }
  }
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
  RedirectTo(program.log_file.empty() ? "/dev/null" : program.log_file.c_str(),
             O_WRONLY | O_APPEND | O_CREAT);
  CloseFrom(3);
  if (die_with != 0) {
    // After the change of user, which clears it; and the parent may be gone already.
    prctl(PR_SET_PDEATHSIG, die_with);
    if (getppid() != parent) _exit(125);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  if (chdir("/") != 0) Complain("chdir");
  char* const environment[] = {const_cast<char*>(kEnvPath), const_cast<char*>(kEnvLocale), nullptr};
  execve(prepared.argv[0], prepared.argv.data(), environment);
  Complain(prepared.argv[0]);
  _exit(127);
}

bool EndsWithin(pid_t pid, long millis) {
  for (long waited = 0; waited <= millis; waited += 20) {
    const pid_t ended = waitpid(pid, nullptr, WNOHANG);
    if (ended == pid || (ended < 0 && errno == ECHILD)) return true;
    SleepMillis(20);
  }
  return false;
}

void NoAction(int) {}

// Waits for the end of the server or of our parent; true if the server ended.
bool WaitForEnd(pid_t server, const sigset_t& waiting) {
  while (true) {
    const pid_t ended = waitpid(server, nullptr, WNOHANG);
    if (ended == server || (ended < 0 && errno == ECHILD)) return true;
    pollfd life{kLifeFd, POLLIN, 0};
    const int ready = ppoll(&life, 1, nullptr, &waiting);  // SIGCHLD ends it too
    if (ready > 0 && (life.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) return false;
    if (ready > 0) return false;
  }
}

[[noreturn]] void Supervise(const Prepared& server, const Prepared* remover, int life_fd,
                            long stop_millis) {
  setsid();  // so that Ctrl-C in our terminal stops us first, and the server afterwards
  if (life_fd != kLifeFd) dup2(life_fd, kLifeFd);
  CloseFrom(kLifeFd + 1);
  fcntl(kLifeFd, F_SETFD, FD_CLOEXEC);
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
  RedirectTo("/dev/null", O_WRONLY);

  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  signal(SIGCHLD, NoAction);
  sigset_t blocked, waiting;
  sigemptyset(&waiting);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGCHLD);
  sigprocmask(SIG_SETMASK, &blocked, nullptr);

  const pid_t self = getpid();
  const pid_t child = fork();
  if (child < 0) _exit(kServerEnded);
  if (child == 0) Become(server, SIGINT, self);

  int status = kServerEnded;
  if (!WaitForEnd(child, waiting)) {
    status = kServerStopped;
    kill(child, SIGINT);
    if (!EndsWithin(child, stop_millis)) {
      status = kServerKilled;
      kill(child, SIGQUIT);
      if (!EndsWithin(child, 5000)) {
        kill(child, SIGKILL);
        EndsWithin(child, 5000);
      }
    }
  }
  if (remover != nullptr) {
    const pid_t removing = fork();
    if (removing == 0) Become(*remover, 0, self);
    if (removing > 0) waitpid(removing, nullptr, 0);
  }
  _exit(status);
}

}  // namespace

absl::StatusOr<int> RunProgram(const Program& program, absl::Duration timeout) {
  const Prepared prepared(program);
  const pid_t self = getpid();
  const pid_t child = fork();
  if (child < 0) return absl::InternalError(absl::StrCat("fork: ", strerror(errno)));
  if (child == 0) Become(prepared, 0, self);
  const absl::Time deadline = SystemClock().Now() + timeout;
  while (true) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (ended < 0 && errno != EINTR) {
      return absl::InternalError("the child was not ours to wait for");
    }
    if (SystemClock().Now() > deadline) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      return absl::DeadlineExceededError(absl::StrCat(program.argv[0], " did not end in time"));
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
}

absl::StatusOr<pid_t> StartSupervised(const SupervisorPlan& plan) {
  const Prepared server(plan.server);
  Program remove;
  remove.argv = {"/bin/rm", "-rf", "--"};
  remove.argv.insert(remove.argv.end(), plan.remove_when_stopped.begin(),
                     plan.remove_when_stopped.end());
  const Prepared remover(remove);
  const pid_t child = fork();
  if (child < 0) return absl::InternalError(absl::StrCat("fork: ", strerror(errno)));
  if (child == 0) {
    Supervise(server, plan.remove_when_stopped.empty() ? nullptr : &remover, plan.life_fd,
              static_cast<long>(absl::ToInt64Milliseconds(plan.stop_timeout)));
  }
  return child;
}

}  // namespace rochdale::pg
