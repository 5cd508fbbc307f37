#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <thread>

#include "absl/time/clock.h"
#include "libs/rpc/server.h"

namespace rochdale::rpc {

StopSignals::StopSignals() {
  sigemptyset(&set_);
  sigaddset(&set_, SIGTERM);
  sigaddset(&set_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  // A peer that went away is an error of the write, never the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
}

bool StopSignals::Wait(absl::Duration timeout) {
  if (timeout == absl::InfiniteDuration()) {
    int signal = 0;
    return sigwait(&set_, &signal) == 0;
  }
  const absl::Time until = absl::Now() + timeout;
  for (;;) {
    const timespec left = absl::ToTimespec(std::max(until - absl::Now(), absl::ZeroDuration()));
    if (sigtimedwait(&set_, nullptr, &left) >= 0) return true;
    if (errno != EINTR) return false;
  }
}

void StopWithin(absl::Duration limit, const std::function<void()>& stop) {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::thread watchdog([&] {
    std::unique_lock lock(mutex);
    if (changed.wait_for(lock, absl::ToChronoMilliseconds(limit), [&] { return done; })) return;
    std::fprintf(stderr,
                 "{\"level\":\"ERROR\",\"message\":\"the stop took too long; the process "
                 "ends\"}\n");
    _exit(70);
  });
  stop();
  {
    std::lock_guard lock(mutex);
    done = true;
  }
  changed.notify_all();
  watchdog.join();
}

}  // namespace rochdale::rpc
