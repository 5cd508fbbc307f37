#include "libs/tensor/grid.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

namespace rochdale::tensor {
namespace {

constexpr double kUnit = 1.0 / (1 << 20);

TEST_CASE("rounding to the grid is half to even and saturates") {
  struct Case {
    double value;
    int32_t units;
  };
  const Case cases[] = {
      {0, 0},
      {-0.0, 0},
      {0.5 * kUnit, 0},
      {1.5 * kUnit, 2},
      {2.5 * kUnit, 2},
      {-0.5 * kUnit, 0},
      {-1.5 * kUnit, -2},
      {-2.5 * kUnit, -2},
      {std::nextafter(0.5 * kUnit, 1.0), 1},
      {1.0, 1 << 20},
      {8 - kUnit, kGridUnitsMax},
      {8 - 0.5 * kUnit, kGridUnitsMax},
      {8.0, kGridUnitsMax},
      {-8.0, -kGridUnitsMax},
      {1e300, kGridUnitsMax},
      {-std::numeric_limits<double>::infinity(), -kGridUnitsMax},
      {std::numeric_limits<double>::quiet_NaN(), 0},
      {std::numeric_limits<double>::denorm_min(), 0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.value);
    CHECK(RoundToGrid(c.value) == c.units);
  }
}

TEST_CASE("rounding agrees with nearbyint on random values") {
  const uint64_t seed = 11;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> values(-9, 9);
  for (int i = 0; i < 100000; ++i) {
    const double value = values(random);
    const double expected = std::clamp<double>(std::nearbyint(value * (1 << 20)), -kGridUnitsMax,
                                               kGridUnitsMax);
    REQUIRE(RoundToGrid(value) == static_cast<int32_t>(expected));
  }
}

TEST_CASE("every grid value survives F32 and back") {
  std::vector<int32_t> units;
  for (int32_t u = -kGridUnitsMax; u <= kGridUnitsMax - 997; u += 997) units.push_back(u);
  units.push_back(kGridUnitsMax);
  std::vector<float> values(units.size());
  FromGrid(units, absl::MakeSpan(values));
  std::vector<int32_t> back(units.size());
  RoundToGrid(absl::MakeConstSpan(values), absl::MakeSpan(back));
  CHECK(back == units);
}

}  // namespace
}  // namespace rochdale::tensor
