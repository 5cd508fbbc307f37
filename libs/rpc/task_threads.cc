#include "libs/rpc/task_threads.h"

#include <utility>

namespace rochdale::rpc {

TaskThreads::~TaskThreads() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

void TaskThreads::Run(std::function<void()> task) {
  std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  if (threads_.empty()) {
    for (int i = 0; i < threads_max_; ++i) threads_.emplace_back([this] { Loop(); });
  }
  if (idle_ == 0) return;  // whoever ends its task looks again
  --idle_;
  changed_.notify_one();
}

void TaskThreads::Loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (!stopping_ && tasks_.empty()) {
      ++idle_;
      changed_.wait(lock);
    }
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it held goes without the lock
    lock.lock();
  }
}

}  // namespace rochdale::rpc
