#include <catch2/catch.hpp>
#include <limits>
#include <numeric>
#include <random>

#include "services/verify/epochs.h"

namespace rochdale::verify {
namespace {

AccountId Account(uint8_t last) {
  AccountId id;
  id.value.bytes[15] = last;
  return id;
}

}  // namespace

TEST_CASE("Shares by largest remainder", "[verify]") {
  const std::vector<AccountId> three = {Account(1), Account(2), Account(3)};
  CHECK(LargestRemainderShares(1'000'000, {92, 75, 48}, three) ==
        std::vector<int64_t>{427'907, 348'837, 223'256});
  // Ties go to the lower account, whatever the order.
  CHECK(LargestRemainderShares(10, {1, 1, 1}, {Account(9), Account(2), Account(3)}) ==
        std::vector<int64_t>{3, 4, 3});
  CHECK(LargestRemainderShares(5, {0, 0, 0}, three) == std::vector<int64_t>{0, 0, 0});
  CHECK(LargestRemainderShares(0, {1, 2, 3}, three) == std::vector<int64_t>{0, 0, 0});
  CHECK(LargestRemainderShares(7, {}, {}).empty());
  const int64_t largest = std::numeric_limits<int64_t>::max();
  CHECK(LargestRemainderShares(largest, {largest, largest}, {Account(1), Account(2)}) ==
        std::vector<int64_t>{largest / 2 + 1, largest / 2});
}

TEST_CASE("Shares sum up to the revenue and nobody without credit has one", "[verify]") {
  const uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  for (int i = 0; i < 300; ++i) {
    std::vector<int64_t> credits;
    std::vector<AccountId> accounts;
    const size_t count = 1 + engine() % 40;
    for (size_t k = 0; k < count; ++k) {
      const int shift = static_cast<int>(1 + engine() % 50);
      credits.push_back(engine() % 3 == 0 ? 0 : static_cast<int64_t>(engine() >> shift));
      accounts.push_back(Account(static_cast<uint8_t>(engine() % 100)));
    }
    const auto revenue = static_cast<int64_t>(engine() >> (1 + engine() % 60));
    const std::vector<int64_t> shares = LargestRemainderShares(revenue, credits, accounts);
    absl::int128 sum = 0;
    bool any = false;
    for (size_t k = 0; k < count; ++k) {
      sum += shares[k];
      any = any || credits[k] > 0;
      CHECK((credits[k] > 0 || shares[k] == 0));
    }
    CHECK(sum == (any ? revenue : 0));
  }
}

}  // namespace rochdale::verify
