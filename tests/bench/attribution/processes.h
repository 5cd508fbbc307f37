// Work on processes of one thread each, as workers are.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace rochdale::bench {

int Cores();

// Forks `processes` children, which each call work(i) once to warm up; then the seconds from the
// moment they all may start until the last has done work(i) again.
double ParallelSeconds(int processes, const std::function<void(int)>& work);

// A program that answers a line on its standard output for every line on its standard input.
class Peer {
 public:
  explicit Peer(const std::vector<std::string>& command);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // Empty where it has ended.
  std::string Ask(const std::string& line);

 private:
  pid_t pid_ = -1;
  FILE* to_ = nullptr;
  FILE* from_ = nullptr;
};

}  // namespace rochdale::bench
