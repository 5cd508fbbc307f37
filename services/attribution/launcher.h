// Who starts workers for a run. Two launchers: processes on this machine, and (in a cluster) Jobs.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/ids.h"

namespace rochdale::obs {
class Logger;
}

namespace rochdale::attribution {

// Thread-safe.
class WorkerLauncher {
 public:
  virtual ~WorkerLauncher() = default;
  // Workers shall work on the run until Stop. Repeating it has no effect while they do.
  virtual void Start(const RunId& run, const std::string& run_token) = 0;
  // They need not any more; those that do not leave by themselves are ended soon.
  virtual void Stop(const RunId& run) = 0;
};

struct LocalProcessOptions {
  std::string program;                     // rochdale-attribution-worker
  std::function<std::string()> endpoint;   // host:port of WorkerService
  bool plaintext = true;
  std::string ca_file;
  std::string server_name;
  std::string cache_dir;                   // of blobs, shared by the workers of this launcher
  std::string device = "cpu";              // where they evaluate
  int processes = 1;                       // per run
  int restarts_max = 16;                   // of processes that failed, per run
};

// Forks and executes the worker program. Workers get the run token by their environment, one BLAS
// thread each, and die with this process (PR_SET_PDEATHSIG). One that fails is replaced while the
// run lasts. Every process is reaped.
class LocalProcessLauncher final : public WorkerLauncher {
 public:
  LocalProcessLauncher(LocalProcessOptions options, const obs::Logger& logger);
  // Kills and reaps every worker.
  ~LocalProcessLauncher() override;

  void Start(const RunId& run, const std::string& run_token) override;
  void Stop(const RunId& run) override;

  // Of a run's workers now: for tests.
  std::vector<pid_t> Processes(const RunId& run) const;

 private:
  struct Work {
    std::string token;
    int started = 0;    // successful exits included
    int failures = 0;
    bool stopping = false;
    int ticks_stopping = 0;
    std::vector<pid_t> processes;
  };

  // All children are forked by this thread, since PR_SET_PDEATHSIG is about the forking thread.
  void Loop();
  void Tend(const RunId& run, Work& work);
  void Reap(const RunId& run, Work& work);
  pid_t Fork(const RunId& run, const std::string& token);

  const LocalProcessOptions options_;
  const obs::Logger& logger_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::map<RunId, Work> work_;
  std::thread thread_;
};

}  // namespace rochdale::attribution
