#include "tests/support/cooperative/fashion.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <random>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

namespace rochdale::simulated {
namespace {

constexpr int64_t kImagesHead = 16, kLabelsHead = 8;  // of the IDX files
constexpr int kDrawsMax = 100'000;

absl::StatusOr<std::vector<uint8_t>> Unzipped(const std::string& path, int64_t head) {
  gzFile file = ::gzopen(path.c_str(), "rb");
  if (file == nullptr) return absl::NotFoundError(absl::StrCat("cannot open ", path));
  std::vector<uint8_t> bytes;
  std::array<uint8_t, 1 << 16> chunk;
  int taken;
  while ((taken = ::gzread(file, chunk.data(), chunk.size())) > 0) {
    bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + taken);
  }
  const bool whole = taken == 0 && ::gzclose(file) == Z_OK;
  if (!whole || static_cast<int64_t>(bytes.size()) < head) {
    return absl::DataLossError(absl::StrCat(path, " is no whole gzip file"));
  }
  bytes.erase(bytes.begin(), bytes.begin() + head);
  return bytes;
}

using Counts = std::vector<std::array<int64_t, kClasses>>;  // by agent

// How many rows of each class every agent gets.
Counts DrawCounts(const std::array<int64_t, kClasses>& available, const Dealing& dealing,
                  std::mt19937_64& random) {
  std::gamma_distribution<double> gamma(dealing.dirichlet > 0 ? dealing.dirichlet : 1.0);
  Counts counts(dealing.agents);
  for (int draw = 0; draw < kDrawsMax; ++draw) {
    for (int c = 0; c < kClasses; ++c) {
      std::vector<double> shares(dealing.agents);
      double sum = 0;
      for (double& share : shares) sum += share = dealing.dirichlet > 0 ? gamma(random) : 1.0;
      for (int i = 0; i < dealing.agents; ++i) {
        counts[i][c] = static_cast<int64_t>(shares[i] / sum * available[c]);
        if (dealing.lone_agent >= 0 && c == dealing.lone_class) {
          counts[i][c] = i == dealing.lone_agent ? available[c] / dealing.agents : 0;
        }
      }
    }
    const auto too_few = [&](const std::array<int64_t, kClasses>& one) {
      int64_t rows = 0;
      for (const int64_t n : one) rows += n;
      return rows * 4 * dealing.agents < dealing.shard_rows;
    };
    if (std::none_of(counts.begin(), counts.end(), too_few)) break;
  }
  return counts;
}

}  // namespace

absl::StatusOr<learning::Dataset> LoadFashion(const std::string& part, const std::string& folder) {
  const std::string stem = absl::StrCat(folder, "/", part);
  learning::Dataset data;
  data.dimension = kPixels;
  ASSIGN_OR_RETURN(data.inputs, Unzipped(stem + "-images-idx3-ubyte.gz", kImagesHead));
  ASSIGN_OR_RETURN(const auto labels, Unzipped(stem + "-labels-idx1-ubyte.gz", kLabelsHead));
  data.labels.assign(labels.begin(), labels.end());
  if (data.inputs.size() != labels.size() * kPixels) {
    return absl::DataLossError(absl::StrCat(stem, ": as many images as labels were expected"));
  }
  return data;
}

Dealt Deal(const learning::Dataset& rows, const Dealing& dealing, uint64_t seed) {
  std::mt19937_64 random(seed * 1'000 + 1);
  std::vector<int64_t> order(rows.count());
  for (int64_t i = 0; i < rows.count(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  auto next = order.begin();
  const auto take = [&](int64_t count) {
    const auto from = next;
    next += std::min<int64_t>(count, order.end() - next);
    return learning::TakeRows(rows, std::vector<int64_t>(from, next));
  };
  Dealt dealt;
  dealt.pool = take(dealing.pool_rows);
  dealt.spare = take(dealing.spare_rows);
  std::array<std::vector<int64_t>, kClasses> by_class;
  const auto end = next + std::min<int64_t>(dealing.shard_rows, order.end() - next);
  for (; next != end; ++next) by_class[rows.labels[*next]].push_back(*next);
  std::array<int64_t, kClasses> available;
  for (int c = 0; c < kClasses; ++c) available[c] = static_cast<int64_t>(by_class[c].size());
  const Counts counts = DrawCounts(available, dealing, random);
  std::array<int64_t, kClasses> dealt_out{};
  for (int i = 0; i < dealing.agents; ++i) {
    std::vector<int64_t> shard;
    for (int c = 0; c < kClasses; ++c) {
      const auto from = by_class[c].begin() + dealt_out[c];
      shard.insert(shard.end(), from, from + counts[i][c]);
      dealt_out[c] += counts[i][c];
    }
    std::shuffle(shard.begin(), shard.end(), random);
    dealt.shards.push_back(learning::TakeRows(rows, shard));
  }
  return dealt;
}

learning::Dataset Flipped(learning::Dataset rows) {
  for (int32_t& label : rows.labels) label = kClasses - 1 - label;
  return rows;
}

learning::Dataset Joined(const learning::Dataset& a, const learning::Dataset& b) {
  learning::Dataset both = a;
  both.inputs.insert(both.inputs.end(), b.inputs.begin(), b.inputs.end());
  both.labels.insert(both.labels.end(), b.labels.begin(), b.labels.end());
  return both;
}

std::vector<learning::Dataset> Parted(const learning::Dataset& rows, int parts) {
  std::vector<learning::Dataset> out;
  for (int part = 0; part < parts; ++part) {
    std::vector<int64_t> mine;
    for (int64_t i = part; i < rows.count(); i += parts) mine.push_back(i);
    out.push_back(learning::TakeRows(rows, mine));
  }
  return out;
}

}  // namespace rochdale::simulated
