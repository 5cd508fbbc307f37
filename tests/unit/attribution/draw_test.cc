#include "services/attribution/draw.h"

#include <catch2/catch.hpp>

namespace rochdale::attribution {
namespace {

crypto::Digest Counting() {
  crypto::Digest seed;
  for (size_t i = 0; i < seed.bytes.size(); ++i) seed.bytes[i] = static_cast<uint8_t>(i);
  return seed;
}

// Computed apart, from the text of draw.h alone (hashlib and sorted).
TEST_CASE("rows follow from the seeds as documented") {
  const std::vector<int64_t> visible = VisibleRows(Counting(), 20, 6);
  CHECK(visible == std::vector<int64_t>{1, 2, 3, 5, 12, 18});
  CHECK(DrawSettlementRows(Counting(), 20, visible, {3, 7}, 5) ==
        std::vector<int64_t>{0, 6, 8, 13, 14});
}

TEST_CASE("a draw holds settlement rows that are not retired, each once") {
  for (uint8_t s = 0; s < 50; ++s) {
    INFO("seed " << int{s});
    crypto::Digest seed = crypto::Sha256(std::string(1, static_cast<char>(s)));
    const std::vector<int64_t> visible = VisibleRows(seed, 100, s);
    CHECK(visible.size() == s);
    std::set<int64_t> retired;
    for (int64_t row = 0; row < 100; row += 7) retired.insert(row);
    const std::vector<int64_t> drawn = DrawSettlementRows(seed, 100, visible, retired, 40);
    const std::set<int64_t> once(drawn.begin(), drawn.end());
    CHECK(once.size() == drawn.size());
    CHECK(std::is_sorted(drawn.begin(), drawn.end()));
    for (const int64_t row : drawn) {
      CHECK_FALSE(retired.contains(row));
      CHECK_FALSE(std::binary_search(visible.begin(), visible.end(), row));
    }
  }
}

TEST_CASE("a draw takes what is left and no more") {
  const std::vector<int64_t> visible = VisibleRows(Counting(), 10, 4);
  CHECK(DrawSettlementRows(Counting(), 10, visible, {}, 1'000).size() == 6);
  std::set<int64_t> all;
  for (int64_t row = 0; row < 10; ++row) all.insert(row);
  CHECK(DrawSettlementRows(Counting(), 10, visible, all, 5).empty());
  CHECK(DrawSettlementRows(Counting(), 10, visible, {}, 0).empty());
}

TEST_CASE("visible rows are a floored part") {
  CHECK(VisibleRowCount(10, 2'000) == 2);
  CHECK(VisibleRowCount(9, 2'000) == 1);
  CHECK(VisibleRowCount(1'000'000, 10'000) == 1'000'000);
  CHECK(VisibleRowCount(7, 0) == 0);
}

TEST_CASE("the pool's root changes with any row, label or cut") {
  const std::vector<uint8_t> inputs = {1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> labels = {0, 1, 2};
  const learning::Rows rows{inputs, labels, 2};
  const crypto::Digest root = PoolRoot(rows, {1});
  CHECK(PoolRoot(rows, {1}) == root);
  CHECK(PoolRoot(rows, {2}) != root);
  CHECK(PoolRoot(rows, {}) != root);
  const std::vector<int32_t> other_labels = {0, 1, 1};
  CHECK(PoolRoot({inputs, other_labels, 2}, {1}) != root);
  const std::vector<uint8_t> other_inputs = {1, 2, 3, 4, 5, 7};
  CHECK(PoolRoot({other_inputs, labels, 2}, {1}) != root);
}

}  // namespace
}  // namespace rochdale::attribution
