// A run as workers evaluate it: shards as the run engine cuts them, claimed one after the other by
// processes of one thread each.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "services/attribution/run_spec.h"
#include "tests/bench/attribution/games.h"

namespace rochdale::bench {

class WorkerRun {
 public:
  explicit WorkerRun(const Game& game);
  // From the first claim to the last result.
  double Seconds(int processes) const;

 private:
  std::map<std::string, std::string> blobs_;  // by digest
  attribution::RunSpec spec_;
  std::vector<attribution::ShardRange> shards_;
};

}  // namespace rochdale::bench
