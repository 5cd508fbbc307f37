#include "libs/learning/grid.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "libs/base/errors.h"

namespace rochdale::learning {
namespace {

constexpr float kUnit = 0x1p-20f;

TEST_CASE("reals go to the nearest grid point, ties to even") {
  const std::vector<float> values{0.0f,         1.0f,          0.5f * kUnit,  1.5f * kUnit,
                                  2.5f * kUnit, -0.5f * kUnit, -1.5f * kUnit, 0.51f * kUnit};
  CHECK(GridFromF32(values).value() == GridVector{0, 1 << 20, 0, 2, 2, 0, -2, 1});
}

TEST_CASE("reals beyond the grid saturate, and NaN and infinity are refused") {
  CHECK(GridFromF32({8.0f, -8.0f, 1e30f, -7.9999999f}).value() ==
        GridVector{kGridMax, -kGridMax, kGridMax, -kGridMax});
  CHECK(GridFromF64({1e300, -1e300}).value() == GridVector{kGridMax, -kGridMax});
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    CHECK(ReasonOf(GridFromF32({1.0f, bad}).status()) == "TENSOR_NOT_FINITE");
  }
}

TEST_CASE("every grid value is an exact f32") {
  for (const int32_t units : {0, 1, -1, kGridMax, -kGridMax, kGridMax - 1, 12'345'67}) {
    const std::vector<float> values = F32FromGrid({units});
    CHECK(std::ldexp(double{values[0]}, 20) == units);
    CHECK(GridFromF32(values).value() == GridVector{units});
    CHECK(OnGrid(values));
  }
  CHECK_FALSE(OnGrid({0x1p-21f}));
  CHECK_FALSE(OnGrid({8.0f}));
  CHECK_FALSE(OnGrid({std::numeric_limits<float>::quiet_NaN()}));
}

TEST_CASE("division rounds half to even for either sign") {
  struct { int64_t numerator, denominator, expected; } rows[] = {
      {5, 2, 2},   {7, 2, 4},    {-5, 2, -2}, {-7, 2, -4}, {1, 3, 0},    {2, 3, 1},
      {-2, 3, -1}, {-1, 3, 0},   {0, 7, 0},   {9, 1, 9},   {-9, 1, -9},  {3, 6, 0},
      {9, 6, 2},   {15, 6, 2},   {21, 6, 4},  {-9, 6, -2}, {-15, 6, -2},
  };
  for (const auto& row : rows) {
    INFO(row.numerator << " / " << row.denominator);
    CHECK(DivideHalfEven(row.numerator, row.denominator) == row.expected);
  }
}

TEST_CASE("weights divide exactly") {
  CHECK(WeightUpdate({10, -10, 15, 3, kGridMax}, 1, 10) == GridVector{1, -1, 2, 0, 838'861});
  CHECK(WeightUpdate({kGridMax, -kGridMax}, 1, 1) == GridVector{kGridMax, -kGridMax});
  CHECK(WeightUpdate({kGridMax}, int64_t{1} << 32, int64_t{1} << 32) == GridVector{kGridMax});
  CHECK(WeightUpdate({5}, 0, 3) == GridVector{0});
}

TEST_CASE("updates are summed first and saturate once") {
  const GridVector base{kGridMax, 5, -kGridMax}, up{10, 1, 0}, down{-20, 2, -1};
  const std::vector<GridSpan> updates{up, down};
  CHECK(ApplyUpdates(base, updates, 0) == base);
  CHECK(ApplyUpdates(base, updates, 1) == GridVector{kGridMax, 6, -kGridMax});
  CHECK(ApplyUpdates(base, updates, 2) == GridVector{kGridMax - 20, 7, -kGridMax});
  CHECK(ApplyUpdates(base, updates, 3) == GridVector{kGridMax - 10, 8, -kGridMax});
}

TEST_CASE("norms are exact") {
  CHECK(SquaredNorm({3, -4}) == 25);
  const GridVector large(200'000, -kGridMax);
  const unsigned __int128 square = int64_t{kGridMax} * kGridMax;
  CHECK((SquaredNorm(large) == square * 200'000));
  CHECK(ReasonOf(CheckOnGridBounds({0, kGridMax + 1})) == "TENSOR_NOT_FINITE");
  CHECK(ReasonOf(CheckOnGridBounds({std::numeric_limits<int32_t>::min()})) == "TENSOR_NOT_FINITE");
  CHECK(CheckOnGridBounds({kGridMax, -kGridMax}).ok());
}

}  // namespace
}  // namespace rochdale::learning
