#include "tests/bench/attribution_attacks/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>

namespace rochdale::bench {

void InParallel(const std::vector<std::function<void()>>& jobs) {
  std::atomic<size_t> next{0};
  std::vector<std::jthread> workers;
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  for (unsigned worker = 0; worker < cores; ++worker) {
    workers.emplace_back([&] {
      for (size_t job; (job = next++) < jobs.size();) jobs[job]();
    });
  }
}

}  // namespace rochdale::bench
