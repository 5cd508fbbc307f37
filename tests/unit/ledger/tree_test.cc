#include "services/ledger/tree.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "libs/crypto/merkle.h"

namespace rochdale::ledger {
namespace {

using crypto::Digest;

Digest Leaf(int64_t index) { return crypto::LeafHash(std::to_string(index)); }

TEST_CASE("the end of the tree has the root of its leaves and makes every full tile once",
          "[ledger]") {
  TreeEnd end;
  crypto::Frontier frontier;
  std::vector<Tile> tiles;
  constexpr int64_t kLeaves = 256 * 256 + 300;
  std::vector<Digest> roots;  // of full tiles of level 0
  for (int64_t i = 0; i < kLeaves; ++i) {
    end.Append(Leaf(i), tiles);
    frontier.Append(Leaf(i));
    if (i % 977 == 0 || i % 256 == 255) REQUIRE(end.Root() == frontier.Root());
  }
  REQUIRE(end.size() == kLeaves);
  REQUIRE(tiles.size() == 257 + 1);
  int64_t next[2] = {0, 0};
  for (const Tile& tile : tiles) {
    REQUIRE(tile.level < 2);
    REQUIRE(tile.index == next[tile.level]++);
    REQUIRE(tile.hashes.size() == static_cast<size_t>(kTileWidth));
    REQUIRE(PerfectRoot(tile.hashes) == tile.root);
    if (tile.level == 0) {
      REQUIRE(tile.hashes[3] == Leaf(tile.index * kTileWidth + 3));
      roots.push_back(tile.root);
    } else {
      REQUIRE(tile.hashes == std::vector<Digest>(roots.begin(), roots.begin() + 256));
    }
  }
}

TEST_CASE("an end restored from its tiles goes on as the original", "[ledger]") {
  for (const int64_t size : {0, 1, 2, 255, 256, 257, 511, 512, 1000, 65'535, 65'536, 65'800}) {
    CAPTURE(size);
    TreeEnd end;
    std::vector<Tile> tiles;
    for (int64_t i = 0; i < size; ++i) end.Append(Leaf(i), tiles);
    std::vector<std::vector<Digest>> partial(kTileLevels);
    for (int64_t i = size / 256 * 256; i < size; ++i) partial[0].push_back(Leaf(i));
    for (const Tile& tile : tiles) {
      const int64_t above = size >> (8 * (tile.level + 1));
      if (tile.index >= above / 256 * 256) partial[tile.level + 1].push_back(tile.root);
    }
    absl::StatusOr<TreeEnd> restored = TreeEnd::Restore(size, partial);
    REQUIRE(restored.ok());
    REQUIRE(restored->size() == size);
    REQUIRE(restored->Root() == end.Root());
    REQUIRE(restored->frontier() == end.frontier());
    for (int64_t i = size; i < size + 300; ++i) {
      std::vector<Tile> a, b;
      end.Append(Leaf(i), a);
      restored->Append(Leaf(i), b);
      REQUIRE(a.size() == b.size());
      for (size_t j = 0; j < a.size(); ++j) REQUIRE(a[j].hashes == b[j].hashes);
    }
    REQUIRE(restored->Root() == end.Root());
  }
}

TEST_CASE("an end that lacks hashes is not restored", "[ledger]") {
  std::vector<std::vector<Digest>> partial(kTileLevels);
  CHECK(absl::IsDataLoss(TreeEnd::Restore(1, partial).status()));
  partial[0].push_back(Leaf(0));
  CHECK(TreeEnd::Restore(1, partial).ok());
  CHECK(absl::IsDataLoss(TreeEnd::Restore(256, partial).status()));
  CHECK(absl::IsDataLoss(TreeEnd::Restore(0, partial).status()));
  CHECK(absl::IsDataLoss(TreeEnd::Restore(0, {}).status()));
}

}  // namespace
}  // namespace rochdale::ledger
