#include "tests/bench/ledger/picker.h"

#include <algorithm>
#include <numeric>

namespace rochdale::bench {
namespace {

constexpr int kHot = 10;

int Below(std::mt19937_64& random, int n) {
  return static_cast<int>((random() >> 32) * static_cast<uint64_t>(n) >> 32);
}

}  // namespace

const char* NameOf(Spread spread) {
  switch (spread) {
    case Spread::kUniform: return "uniform";
    case Spread::kZipf: return "Zipf 1.0";
    case Spread::kTenHot: return "ten hot";
  }
  return "";
}

Picker::Picker(Spread spread, int accounts) : spread_(spread), accounts_(accounts) {
  if (spread != Spread::kZipf) return;
  const size_t n = static_cast<size_t>(accounts);
  std::vector<double> weight(n);
  for (size_t i = 0; i < n; ++i) weight[i] = 1.0 / static_cast<double>(i + 1);
  const double scale = static_cast<double>(n) / std::accumulate(weight.begin(), weight.end(), 0.0);
  for (double& one : weight) one *= scale;
  keep_.assign(n, UINT32_MAX);
  alias_.resize(n);
  std::iota(alias_.begin(), alias_.end(), 0);
  std::vector<size_t> small, large;
  for (size_t i = 0; i < n; ++i) (weight[i] < 1 ? small : large).push_back(i);
  while (!small.empty() && !large.empty()) {
    const size_t poor = small.back(), rich = large.back();
    small.pop_back();
    keep_[poor] = static_cast<uint32_t>(weight[poor] * UINT32_MAX);
    alias_[poor] = static_cast<int32_t>(rich);
    weight[rich] -= 1 - weight[poor];
    if (weight[rich] < 1) {
      large.pop_back();
      small.push_back(rich);
    }
  }
  account_of_rank_.resize(n);
  std::iota(account_of_rank_.begin(), account_of_rank_.end(), 0);
  std::mt19937_64 random(1);
  std::shuffle(account_of_rank_.begin(), account_of_rank_.end(), random);
}

int Picker::One(std::mt19937_64& random) const {
  if (spread_ == Spread::kTenHot) return Below(random, std::min(kHot, accounts_));
  if (spread_ == Spread::kUniform) return Below(random, accounts_);
  const size_t column = static_cast<size_t>(Below(random, accounts_));
  const bool keep = static_cast<uint32_t>(random()) <= keep_[column];
  return account_of_rank_[keep ? column : static_cast<size_t>(alias_[column])];
}

std::pair<int, int> Picker::Pair(std::mt19937_64& random) const {
  const int debit = One(random);
  int credit = debit;
  while (credit == debit) credit = One(random);
  return {debit, credit};
}

}  // namespace rochdale::bench
