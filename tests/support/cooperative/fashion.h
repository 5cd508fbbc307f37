// Fashion-MNIST, dealt out: a sealed validation pool, rows for spare, and a shard for every agent.
// Everything follows from the seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/learning/dataset.h"

namespace rochdale::simulated {

inline constexpr int kClasses = 10;
inline constexpr int kPixels = 784;
inline constexpr char kFashionFolder[] = "/usr/share/datasets/fashion-mnist";

// part: "train" (60,000 rows) or "t10k" (10,000 rows). NOT_FOUND or DATA_LOSS where the files are
// not there or are no such files.
absl::StatusOr<learning::Dataset> LoadFashion(const std::string& part,
                                              const std::string& folder = kFashionFolder);

struct Dealing {
  int agents = 6;
  int64_t pool_rows = 10'000;
  int64_t spare_rows = 2'000;      // as the training rows are distributed
  int64_t shard_rows = 12'000;     // of all agents together
  double dirichlet = 0.5;          // 0: IID, shards of one size
  int lone_agent = -1;             // holds all of lone_class; nobody else has any
  int lone_class = 0;
};

struct Dealt {
  learning::Dataset pool;
  learning::Dataset spare;
  std::vector<learning::Dataset> shards;
};

// Each class is divided by proportions drawn from a symmetric Dirichlet distribution, drawn again
// until every agent has at least a quarter of the mean shard.
Dealt Deal(const learning::Dataset& rows, const Dealing& dealing, uint64_t seed);

// Labels 0 .. 9 as 9 .. 0.
learning::Dataset Flipped(learning::Dataset rows);
// All rows of a, then all of b.
learning::Dataset Joined(const learning::Dataset& a, const learning::Dataset& b);
// `parts` shards of nearly one size, row i in part i mod parts.
std::vector<learning::Dataset> Parted(const learning::Dataset& rows, int parts);

}  // namespace rochdale::simulated
