#include "libs/base/clock.h"

#include <catch2/catch.hpp>

namespace rochdale {
namespace {

TEST_CASE("a manual clock stands still until it is moved") {
  ManualClock clock(absl::FromUnixMicros(1'000'000));
  CHECK(absl::ToUnixMicros(clock.Now()) == 1'000'000);
  clock.Advance(absl::Microseconds(1));
  CHECK(absl::ToUnixMicros(clock.Now()) == 1'000'001);
  clock.Advance(-absl::Seconds(2));
  CHECK(absl::ToUnixMicros(clock.Now()) == -999'999);
}

TEST_CASE("microseconds round-trip, and finer time is cut towards the past") {
  for (int64_t micros : {int64_t{0}, int64_t{-1}, int64_t{1'700'000'000'123'456}}) {
    CHECK(absl::ToUnixMicros(absl::FromUnixMicros(micros)) == micros);
  }
  CHECK(absl::ToUnixMicros(absl::FromUnixMicros(5) + absl::Nanoseconds(999)) == 5);
  CHECK(absl::ToUnixMicros(absl::FromUnixMicros(-5) + absl::Nanoseconds(999)) == -5);
}

}  // namespace
}  // namespace rochdale
