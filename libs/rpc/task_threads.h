// A few threads that run tasks in order of arrival.
//
// Whoever gives tasks bounds how many wait. Tasks throw nothing. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace rochdale::rpc {

class TaskThreads {
 public:
  // The threads are started with the first task.
  explicit TaskThreads(int threads) : threads_max_(threads) {}
  ~TaskThreads();  // runs what waits, then ends
  TaskThreads(const TaskThreads&) = delete;
  TaskThreads& operator=(const TaskThreads&) = delete;

  void Run(std::function<void()> task);

 private:
  void Loop();

  const int threads_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  int idle_ = 0;  // threads that wait for a task and were not called yet
  std::vector<std::thread> threads_;
};

}  // namespace rochdale::rpc
