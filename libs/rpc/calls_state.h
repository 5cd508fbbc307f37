// What Calls keeps, for handle.cc and open_call.cc alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "libs/obs/metrics.h"
#include "libs/rpc/access.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/open_call.h"
#include "libs/rpc/task_threads.h"

namespace rochdale::rpc {

struct Calls::Method {
  std::string path;
  MethodInfo info;
  bool known = false;
  obs::Counter started;

  bool streams() const { return info.type != MethodType::kUnary; }
};

struct Calls::Record {
  absl::Time started = absl::Now();
  std::string error_id;  // where an INTERNAL was made
  std::string detail;    // for the log alone
};

struct Calls::State {
  obs::CounterFamily started, handled;
  obs::HistogramFamily seconds;
  obs::GaugeFamily running;
  std::atomic<int> unary{0}, streams{0}, open{0};
  std::mutex mutex;
  std::unordered_map<std::string, std::unique_ptr<Method>> methods;  // entries never leave
  std::map<const OpenCall*, std::weak_ptr<OpenCall>> open_calls;
  std::unordered_map<std::string, int> open_of_person;
  // Last: their tasks use the above.
  TaskThreads patient{std::max(4, static_cast<int>(std::thread::hardware_concurrency()))};
  TaskThreads prompt{std::max(2, static_cast<int>(std::thread::hardware_concurrency() / 2))};

  void EndAll(const absl::Status& why) {
    std::vector<std::weak_ptr<OpenCall>> calls;
    {
      std::lock_guard lock(mutex);
      for (const auto& [_, call] : open_calls) calls.push_back(call);
    }
    for (const std::weak_ptr<OpenCall>& call : calls) {
      if (const auto alive = call.lock()) alive->End(why);
    }
  }
};

}  // namespace rochdale::rpc
