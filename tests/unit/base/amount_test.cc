#include "libs/base/amount.h"

#include <limits>
#include <random>

#include <catch2/catch.hpp>

namespace rochdale {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

TEST_CASE("sums and differences are exact or refused") {
  CHECK(*CheckedAdd(kMax - 1, 1) == kMax);
  CHECK(*CheckedAdd(kMin, kMax) == -1);
  CHECK(*CheckedSub(-1, kMax) == kMin);
  CHECK(*CheckedSub(0, kMax) == -kMax);
  for (const auto& refused : {CheckedAdd(kMax, 1), CheckedAdd(kMin, -1), CheckedSub(0, kMin),
                              CheckedSub(kMin, 1)}) {
    CHECK(refused.status().code() == absl::StatusCode::kOutOfRange);
  }
}

TEST_CASE("a share is the floor of the product over the sum") {
  CHECK(*MulDivFloor(10, 1, 3) == 3);
  CHECK(*MulDivFloor(0, kMax, 1) == 0);
  CHECK(*MulDivFloor(kMax, kMax, kMax) == kMax);  // the product needs 126 bits
  CHECK(*MulDivFloor(kMax, kMax - 1, kMax) == kMax - 1);
  CHECK(MulDivFloor(kMax, 2, 1).status().code() == absl::StatusCode::kOutOfRange);
  CHECK(MulDivFloor(kMax, kMax, 1).status().code() == absl::StatusCode::kOutOfRange);
  for (const auto& refused : {MulDivFloor(-1, 1, 1), MulDivFloor(1, -1, 1), MulDivFloor(1, 1, 0),
                              MulDivFloor(1, 1, -1)}) {
    CHECK(refused.status().code() == absl::StatusCode::kInvalidArgument);
  }
}

TEST_CASE("integer roots bracket their argument, up to 128 bits") {
  const uint32_t seed = 3;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::vector<absl::uint128> samples = {0, 1, 2, 3, 4, 15, 16, 17, absl::Uint128Max(),
                                        absl::Uint128Max() - 1, absl::uint128(1) << 126};
  for (int i = 0; i < 2000; ++i) {
    samples.push_back(absl::MakeUint128(random(), random()) >> (random() % 128));
  }
  for (const absl::uint128 n : samples) {
    const absl::uint128 root = IntegerSqrtFloor(n);
    REQUIRE(root <= absl::Uint128High64(absl::Uint128Max()));
    REQUIRE(root * root <= n);
    if (root < absl::uint128(~uint64_t{0})) REQUIRE((root + 1) * (root + 1) > n);
    const absl::uint128 ceiling = IntegerSqrtCeil(n);
    REQUIRE(ceiling == (root * root == n ? root : root + 1));
  }
}

}  // namespace
}  // namespace rochdale
