// A worker of one run: claims shards, evaluates them, delivers the losses, until the run has ended.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/config/flags.h"
#include "libs/learning/evaluator.h"

namespace grpc {
class Channel;
}

namespace rochdale::attribution {

struct WorkerOptions {
  std::string run;            // UUID
  config::Secret run_token;
  std::string cache_dir;
  uint64_t cache_bytes_max = uint64_t{4} << 30;
  // The server may restart: so long a worker goes on trying to reach it.
  absl::Duration reconnect_max = absl::Minutes(2);
  absl::Duration idle_min = absl::Milliseconds(10);   // between claims where nothing is to be done
  absl::Duration idle_max = absl::Milliseconds(500);
};

// OK once the run has ended (also where it had ended before). Anything else is a failure of this
// worker; its shard, if it had one, is given back or its lease runs out.
absl::Status RunWorker(std::shared_ptr<grpc::Channel> channel, learning::Evaluator& evaluator,
                       const WorkerOptions& options);

}  // namespace rochdale::attribution
