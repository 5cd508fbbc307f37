#include "services/filter/clipping.h"

#include <catch2/catch.hpp>
#include <limits>
#include <random>

namespace rochdale::filter {
namespace {

using absl::uint128;
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

TEST_CASE("The lower median is one of the values", "[filter][clipping]") {
  CHECK(LowerMedian({}) == 0);
  CHECK(LowerMedian({7}) == 7);
  CHECK(LowerMedian({9, 4}) == 4);
  CHECK(LowerMedian({9, 1, 4}) == 4);
  CHECK(LowerMedian({9, 1, 4, 16}) == 4);
  CHECK(LowerMedian({5, 5, 5, 1}) == 5);
}

TEST_CASE("An update at or below the bound is not touched", "[filter][clipping]") {
  const uint128 median = uint128{1} << 61;
  CHECK(ClipScale(median, median, kMicro) == 1.0);
  CHECK(ClipScale(median - 1, median, kMicro) == 1.0);
  CHECK(ClipScale(median * 4, median, kMicro) == 0.5);
  CHECK(ClipScale(median * 4, median, 2 * kMicro) == 1.0);
  CHECK(ClipScale(median * 4, median, kMicro / 2) == 0.25);
  CHECK(ClipScale(median, median, 0) == 0.0);
  CHECK(ClipScale(median, median, -5) == 0.0);
  CHECK(ClipScale(0, median, kMicro) == 1.0);
  CHECK(ClipScale(0, 0, kMicro) == 1.0);
  CHECK(ClipScale(1, 0, kMicro) == 0.0);
}

TEST_CASE("The ratio of norms is rounded up", "[filter][clipping]") {
  CHECK(NormRatioMicro(0, 0) == 0);
  CHECK(NormRatioMicro(0, 5) == 0);
  CHECK(NormRatioMicro(1, 0) == kLargest);
  CHECK(NormRatioMicro(100, 100) == kMicro);
  CHECK(NormRatioMicro(1600, 100) == 4 * kMicro);
  CHECK(NormRatioMicro(1601, 100) == 4'001'250);   // 4.00124981...
  CHECK(NormRatioMicro(1, uint128{1} << 86) == 1);  // above 0 is above 0
  CHECK(NormRatioMicro(uint128{1} << 86, 1) == int64_t{1'000'000} << 43);
  CHECK(NormRatioMicro(uint128{1} << 87, 1) == kLargest);
}

TEST_CASE("The ratio exceeds k exactly if the norm does", "[filter][clipping][property]") {
  const uint64_t seed = 20240811;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20'000; ++i) {
    const uint128 median = (random() >> (random() % 60)) + 1;
    const uint128 norm = random() >> (random() % 60);
    const int64_t k = static_cast<int64_t>(random() % 8'000'000);
    // norm / median > (k / 10^6)^2 without rounding.
    const bool exceeds = norm * uint128{1'000'000'000'000} >
                         median * uint128{static_cast<uint64_t>(k)} * static_cast<uint64_t>(k);
    REQUIRE((NormRatioMicro(norm, median) > k) == exceeds);
  }
}

TEST_CASE("A norm is in the units of the parameters", "[filter][clipping]") {
  CHECK(NormOf(0) == 0.0);
  CHECK(NormOf(uint128{1} << 40) == 1.0);
  CHECK(NormOf(uint128{9} << 40) == 3.0);
}

}  // namespace
}  // namespace rochdale::filter
