#include "tests/bench/attribution/processes.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <chrono>
#include <cstdlib>

namespace rochdale::bench {
namespace {

void Fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct Pipe {
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0) Fail("pipe");
  }
  int ends[2];
};

}  // namespace

int Cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

double ParallelSeconds(int processes, const std::function<void(int)>& work) {
  Pipe ready, go, done;
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) {
    const pid_t pid = fork();
    if (pid < 0) Fail("fork");
    if (pid > 0) {
      children.push_back(pid);
      continue;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(go.ends[1]);
    work(i);
    char byte = 0;
    const bool ran = write(ready.ends[1], &byte, 1) == 1 && read(go.ends[0], &byte, 1) == 1;
    if (ran) work(i);
    _exit(ran && write(done.ends[1], &byte, 1) == 1 ? 0 : 1);
  }
  char byte = 0;
  for (int i = 0; i < processes; ++i) {
    if (read(ready.ends[0], &byte, 1) != 1) Fail("a child");
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<char> bytes(processes);
  if (write(go.ends[1], bytes.data(), bytes.size()) != processes) Fail("write");
  for (int i = 0; i < processes; ++i) {
    if (read(done.ends[0], &byte, 1) != 1) Fail("a child");
  }
  const auto end = std::chrono::steady_clock::now();
  for (const pid_t child : children) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) Fail("a child");
  }
  for (Pipe* pipe : {&ready, &go, &done}) {
    close(pipe->ends[0]);
    close(pipe->ends[1]);
  }
  return std::chrono::duration<double>(end - begin).count();
}

Peer::Peer(const std::vector<std::string>& command) {
  Pipe in, out;
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) Fail("fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in.ends[0], 0);
    dup2(out.ends[1], 1);
    for (Pipe* pipe : {&in, &out}) {
      close(pipe->ends[0]);
      close(pipe->ends[1]);
    }
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  close(in.ends[0]);
  close(out.ends[1]);
  to_ = fdopen(in.ends[1], "w");
  from_ = fdopen(out.ends[0], "r");
}

Peer::~Peer() {
  std::fclose(to_);
  std::fclose(from_);
  waitpid(pid_, nullptr, 0);
}

std::string Peer::Ask(const std::string& line) {
  std::fputs((line + "\n").c_str(), to_);
  std::fflush(to_);
  char answer[4096];
  if (std::fgets(answer, sizeof(answer), from_) == nullptr) return "";
  std::string text(answer);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

}  // namespace rochdale::bench
