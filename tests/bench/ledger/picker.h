// Which accounts a workload moves between.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace rochdale::bench {

enum class Spread { kUniform, kZipf, kTenHot };

const char* NameOf(Spread spread);

// Pairs of different accounts 0 .. n-1. Thread-safe to read; the generator is the caller's.
class Picker {
 public:
  Picker(Spread spread, int accounts);
  Spread spread() const { return spread_; }
  std::pair<int, int> Pair(std::mt19937_64& random) const;

 private:
  int One(std::mt19937_64& random) const;

  const Spread spread_;
  const int accounts_;
  // Of Zipf's law with exponent 1.0, by Walker's alias method; ranks are scattered over the
  // accounts, so that hot ones are not neighbours.
  std::vector<uint32_t> keep_;  // of 2^32
  std::vector<int32_t> alias_, account_of_rank_;
};

}  // namespace rochdale::bench
