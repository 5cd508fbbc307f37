#include "libs/tensor/screen.h"

#include <cmath>
#include <limits>
#include <random>

#include <catch2/catch.hpp>

#include "libs/tensor/grid.h"
#include "libs/tensor/screen_kernel.h"

namespace rochdale::tensor {
namespace {

using Spans = std::vector<absl::Span<const float>>;

std::vector<float> RandomVector(size_t size, uint64_t seed, float scale = 0.1f) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(size);
  for (float& value : values) value = normal(random);
  return values;
}

// The order that the header documents, written as plainly as possible.
double DocumentedDot(const std::vector<float>& a, const std::vector<float>& b) {
  double total = 0;
  const size_t chunk_size = kScreenBlock * kScreenChunkBlocks;
  for (size_t chunk = 0; chunk < a.size(); chunk += chunk_size) {
    double chunk_sum = 0;
    for (size_t block = chunk; block < std::min(a.size(), chunk + chunk_size);
         block += kScreenBlock) {
      double lanes[16] = {};
      for (size_t i = block; i < std::min(a.size(), block + kScreenBlock); ++i) {
        lanes[(i - block) % 16] += double{a[i]} * double{b[i]};
      }
      for (int half : {8, 4, 2, 1}) {
        for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
      }
      chunk_sum += lanes[0];
    }
    total += chunk_sum;
  }
  return total;
}

absl::uint128 PlainSquares(absl::Span<const float> values) {
  absl::uint128 sum = 0;
  for (float value : values) {
    const int64_t units = RoundToGrid(double{value});
    sum += static_cast<uint64_t>(units * units);
  }
  return sum;
}

TEST_CASE("a screening pass gives the documented numbers, whatever the length") {
  const size_t chunk = kScreenBlock * kScreenChunkBlocks;
  for (size_t size : {size_t{1}, size_t{15}, size_t{16}, size_t{17}, kScreenBlock - 1,
                      kScreenBlock, kScreenBlock + 1, 5 * kScreenBlock + 333, chunk + 7}) {
    CAPTURE(size);
    const std::vector<float> delta = RandomVector(size, 1);
    const std::vector<float> g1 = RandomVector(size, 2), g2 = RandomVector(size, 3, 50.0f);
    const Spans probes = {g1, g2};
    const auto result = ScreenPass(delta, probes, {});
    REQUIRE(result.ok());
    CHECK(result->finite);
    CHECK(result->beyond_grid == 0);
    CHECK(result->norm.sum_squares == PlainSquares(delta));
    float largest = 0;
    for (float value : delta) largest = std::max(largest, std::abs(value));
    CHECK(result->norm.max_abs == largest);
    REQUIRE(result->dots.size() == 2);
    CHECK(result->dots[0] == DocumentedDot(delta, g1));  // bit for bit
    CHECK(result->dots[1] == DocumentedDot(delta, g2));
    CHECK(*Dot(delta, g1) == result->dots[0]);
  }
}

TEST_CASE("norms of slices are exact and add up, however slices and blocks fall") {
  const std::vector<float> delta = RandomVector(3 * kScreenBlock + 100, 5);
  const std::vector<std::vector<uint64_t>> tables = {
      {delta.size()},
      {1, 1, 1, delta.size() - 3},
      {kScreenBlock, kScreenBlock, kScreenBlock, 100},
      {kScreenBlock - 1, 2, 2 * kScreenBlock, 99},
      {10, 3 * kScreenBlock, 90},
  };
  for (const auto& counts : tables) {
    std::vector<FlatSlice> slices;
    uint64_t offset = 0;
    for (uint64_t count : counts) {
      slices.push_back({"t", offset, count});
      offset += count;
    }
    const auto result = ScreenPass(delta, {}, slices);
    REQUIRE(result.ok());
    absl::uint128 sum = 0;
    for (size_t i = 0; i < slices.size(); ++i) {
      const auto part = absl::MakeConstSpan(delta).subspan(slices[i].offset, slices[i].count);
      CHECK(result->slices[i].sum_squares == PlainSquares(part));
      float largest = 0;
      for (float value : part) largest = std::max(largest, std::abs(value));
      CHECK(result->slices[i].max_abs == largest);
      sum += result->slices[i].sum_squares;
    }
    CHECK(sum == result->norm.sum_squares);
  }
}

TEST_CASE("one value that is not finite is found wherever it stands") {
  const std::vector<float> clean = RandomVector(kScreenBlock * 2 + 50, 7);
  const std::vector<float> probe = RandomVector(clean.size(), 8);
  for (float bad : {std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity(),
                    std::numeric_limits<float>::quiet_NaN(),
                    -std::numeric_limits<float>::quiet_NaN()}) {
    for (size_t at : {size_t{0}, size_t{15}, kScreenBlock - 1, kScreenBlock, clean.size() - 1}) {
      std::vector<float> delta = clean;
      delta[at] = bad;
      CAPTURE(at, bad);
      const auto result = ScreenPass(delta, Spans{probe}, {});
      REQUIRE(result.ok());
      CHECK_FALSE(result->finite);
      CHECK(result->dots == std::vector<double>{0});
      CHECK(result->norm.sum_squares == 0);
    }
  }
}

TEST_CASE("values beyond the grid are counted and saturate in the norm") {
  std::vector<float> delta(100, 0.0f);
  delta[3] = 8.0f;
  delta[50] = -1e30f;
  delta[60] = std::nextafter(8.0f, 0.0f);  // 8 - 2^-21 rounds up to 8
  delta[61] = 8.0f - 1.0f / (1 << 20);     // the largest grid value
  const auto result = ScreenPass(delta, {}, std::vector<FlatSlice>{{"a", 0, 40}, {"b", 40, 60}});
  REQUIRE(result.ok());
  CHECK(result->finite);
  CHECK(result->beyond_grid == 3);
  const absl::uint128 most = absl::uint128(kGridUnitsMax) * kGridUnitsMax;
  CHECK(result->norm.sum_squares == most * 4);
  CHECK(result->slices[0].sum_squares == most);
  CHECK(result->slices[1].max_abs == 1e30f);
}

TEST_CASE("the norm is exact where 64 bits overflow") {
  const std::vector<float> delta(300'000, -(8.0f - 1.0f / (1 << 20)));
  const auto result = ScreenPass(delta, {}, {});
  REQUIRE(result.ok());
  CHECK(result->beyond_grid == 0);
  CHECK(result->norm.sum_squares ==
        absl::uint128(kGridUnitsMax) * kGridUnitsMax * delta.size());
}

TEST_CASE("the number of threads changes no bit") {
  const size_t size = 3 * kScreenBlock * kScreenChunkBlocks + 4321;
  const std::vector<float> delta = RandomVector(size, 21), probe = RandomVector(size, 22);
  const size_t half = size / 2 + 1;
  const std::vector<FlatSlice> slices = {{"a", 0, half}, {"b", half, size - half}};
  const auto one = ScreenPass(delta, Spans{probe}, slices, 1);
  for (int threads : {2, 3, 8}) {
    const auto many = ScreenPass(delta, Spans{probe}, slices, threads);
    REQUIRE(many.ok());
    CHECK(many->dots == one->dots);
    CHECK(many->norm.sum_squares == one->norm.sum_squares);
    CHECK(many->slices[1].sum_squares == one->slices[1].sum_squares);
  }
  CHECK(*Gram(Spans{delta, probe}, 1) == *Gram(Spans{delta, probe}, 3));
}

TEST_CASE("all instruction sets give the same bits") {
  std::vector<float> values = RandomVector(kScreenBlock, 31, 2.0f);
  values[5] = 0.5f / (1 << 20);   // ties
  values[6] = -1.5f / (1 << 20);
  for (float& value : values) value = std::clamp(value, -7.9f, 7.9f);
  const std::vector<float> probe = RandomVector(kScreenBlock, 32, 1e-3f);
  const ScreenKernel& portable = SupportedKernels().back();
  CHECK(portable.name == "portable");
  for (const ScreenKernel& kernel : SupportedKernels()) {
    CAPTURE(std::string(kernel.name));
    for (size_t count : {size_t{16}, size_t{160}, kScreenBlock}) {
      std::vector<double> wide(count), expected_wide(count), wide_probe(count);
      const BlockFront expected = portable.front(values.data(), count, expected_wide.data());
      const BlockFront front = kernel.front(values.data(), count, wide.data());
      CHECK(front.max_bits == expected.max_bits);
      CHECK(front.sum_squares == expected.sum_squares);
      CHECK(absl::uint128(front.sum_squares) ==
            PlainSquares(absl::MakeConstSpan(values).subspan(0, count)));
      CHECK(wide == expected_wide);
      const double dot = portable.dot(wide.data(), probe.data(), count);
      CHECK(kernel.dot(wide.data(), probe.data(), count) == dot);
      kernel.widen(probe.data(), count, wide_probe.data());
      CHECK(kernel.dot_wide(wide.data(), wide_probe.data(), count) == dot);
    }
  }
}

TEST_CASE("the Gram matrix is symmetric and equals the dots") {
  const size_t size = 2 * kScreenBlock + 77;
  const std::vector<float> a = RandomVector(size, 41), b = RandomVector(size, 42),
                           c = RandomVector(size, 43);
  const auto gram = Gram(Spans{a, b, c});
  REQUIRE(gram.ok());
  REQUIRE(gram->size() == 9);
  CHECK((*gram)[0] == DocumentedDot(a, a));
  CHECK((*gram)[1] == DocumentedDot(a, b));
  CHECK((*gram)[3] == (*gram)[1]);
  CHECK((*gram)[5] == DocumentedDot(b, c));
  CHECK(Gram({})->empty());
}

TEST_CASE("arguments that do not fit together are refused") {
  const std::vector<float> delta(10), shorter(9);
  using Slices = std::vector<FlatSlice>;
  CHECK_FALSE(ScreenPass(delta, Spans{shorter}, {}).ok());
  CHECK_FALSE(ScreenPass(delta, {}, Slices{{"a", 0, 9}}).ok());
  CHECK_FALSE(ScreenPass(delta, {}, Slices{{"a", 0, 11}}).ok());
  CHECK_FALSE(ScreenPass(delta, {}, Slices{{"a", 1, 9}}).ok());
  CHECK_FALSE(ScreenPass(delta, {}, Slices{{"a", 0, 5}, {"b", 4, 6}}).ok());
  CHECK_FALSE(Gram(Spans{delta, shorter}).ok());
  CHECK_FALSE(Dot(delta, shorter).ok());
  const auto nothing = ScreenPass({}, {}, {});
  REQUIRE(nothing.ok());
  CHECK(nothing->finite);
}

}  // namespace
}  // namespace rochdale::tensor
