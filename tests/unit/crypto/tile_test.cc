#include "libs/crypto/tile.h"

#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace rochdale::crypto {
namespace {

std::string EntryAt(uint64_t index) { return "entry " + std::to_string(index); }

// A published log, file by file, as the ledger would write it.
struct Published {
  Frontier frontier;
  std::map<std::pair<int, uint64_t>, Digest> nodes;
  std::map<std::string, std::string> files;
  std::map<uint64_t, Digest> roots;

  void GrowTo(uint64_t size) {
    const uint64_t from = frontier.size();
    while (frontier.size() < size) {
      frontier.Append(LeafHash(EntryAt(frontier.size())),
                      [&](int level, uint64_t index, const Digest& hash) {
                        nodes[{level, index}] = hash;
                      });
    }
    roots[size] = frontier.Root();
    const NodeReader read = [&](int level, uint64_t index) -> absl::StatusOr<Digest> {
      return nodes.at({level, index});
    };
    for (const Tile& tile : NewTiles(from, size)) {
      std::string bytes;
      if (tile.entries) {
        std::vector<std::string> entries;
        for (uint32_t i = 0; i < tile.width; ++i) {
          entries.push_back(EntryAt(tile.index * kTileWidth + i));
        }
        bytes = *EntryBundleBytes(entries);
      } else {
        bytes = *HashTileBytes(tile, read);
      }
      REQUIRE(files.emplace(tile.Path(), bytes).second);  // no file is written twice
    }
  }
  TileFetch Fetch() const {
    return [this](const std::string& path) -> absl::StatusOr<std::string> {
      const auto found = files.find(path);
      if (found == files.end()) return absl::NotFoundError(path);
      return found->second;
    };
  }
};

TEST_CASE("Paths are those of the specification") {
  const std::pair<Tile, const char*> rows[] = {
      {{false, 0, 0, 256}, "tile/0/000"},
      {{false, 0, 1, 255}, "tile/0/001.p/255"},
      {{false, 1, 999, 256}, "tile/1/999"},
      {{false, 2, 1000, 1}, "tile/2/x001/000.p/1"},
      {{false, 0, 1'234'067, 256}, "tile/0/x001/x234/067"},
      {{true, 0, 1'234'067, 8}, "tile/entries/x001/x234/067.p/8"},
      {{true, 0, 5, 256}, "tile/entries/005"},
      {{false, 7, 0, 63}, "tile/7/000.p/63"},
  };
  for (const auto& [tile, path] : rows) {
    CHECK(tile.Path() == path);
    REQUIRE(Tile::Parse(path).ok());
    CHECK(*Tile::Parse(path) == tile);
  }
  for (const char* bad :
       {"", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000",
        "tile/0/x000/000", "tile/0/001/000", "tile/0/x001", "tile/0/x1/000", "tile/0/x001/x000",
        "tile/00/000", "tile/8/000", "tile/-1/000", "/tile/0/000", "tile/0/000/", "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p", "tile/0/000.p/1/2",
        "tile/0/../000", "tile/0//000", "tile/entries/0/000", "tile/Entries/000", "tile/0/x00x/000",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999", "checkpoint"}) {
    INFO(bad);
    CHECK_FALSE(Tile::Parse(bad).ok());
  }
}

TEST_CASE("A tree of 70,000 leaves has the tiles that the specification counts") {
  std::map<std::tuple<bool, int, uint32_t>, int> count;
  for (const Tile& tile : TilesOf(70'000)) ++count[{tile.entries, tile.level, tile.width}];
  const std::map<std::tuple<bool, int, uint32_t>, int> expected = {
      {{false, 0, 256}, 273}, {{false, 0, 112}, 1}, {{false, 1, 256}, 1}, {{false, 1, 17}, 1},
      {{false, 2, 1}, 1},     {{true, 0, 256}, 273}, {{true, 0, 112}, 1}};
  CHECK(count == expected);
  CHECK(TilesOf(0).empty());
  const std::vector<Tile> full = {{false, 0, 0, 256}, {false, 1, 0, 1}, {true, 0, 0, 256}};
  CHECK(TilesOf(256) == full);
}

TEST_CASE("New tiles are exactly those that were not there") {
  std::mt19937 engine(5);
  for (int round = 0; round < 300; ++round) {
    const uint64_t to = engine() % 140'000, from = to == 0 ? 0 : engine() % to;
    const std::vector<Tile> before = TilesOf(from), after = TilesOf(to);
    std::set<Tile> missing(after.begin(), after.end());
    for (const Tile& tile : before) missing.erase(tile);
    const std::vector<Tile> fresh = NewTiles(from, to);
    REQUIRE(std::set<Tile>(fresh.begin(), fresh.end()) == missing);
  }
  CHECK(NewTiles(5, 5).empty());
  CHECK(NewTiles(6, 5).empty());
}

TEST_CASE("What is published gives roots, proofs and entries") {
  Published log;
  const std::vector<uint64_t> sizes = {1, 2, 255, 256, 257, 511, 512, 700, 65'536, 66'000};
  for (const uint64_t size : sizes) log.GrowTo(size);
  std::mt19937 engine(7);
  for (const uint64_t size : sizes) {
    INFO("size " << size);
    TileReader reader(size, log.Fetch());
    REQUIRE(*TreeRoot(size, reader.Nodes()) == log.roots[size]);
    for (int i = 0; i < 20; ++i) {
      const uint64_t index = engine() % size;
      const auto proof = InclusionProof(index, size, reader.Nodes());
      REQUIRE(proof.ok());
      REQUIRE(VerifyInclusion(index, size, LeafHash(EntryAt(index)), *proof, log.roots[size]).ok());
      const auto bundle = reader.Bundle(index / 256);
      REQUIRE(bundle.ok());
      REQUIRE((*bundle)[index % 256] == EntryAt(index));
    }
    for (const uint64_t first : sizes) {
      if (first > size) break;
      const auto proof = ConsistencyProof(first, size, reader.Nodes());
      REQUIRE(proof.ok());
      REQUIRE(VerifyConsistency(first, size, log.roots[first], log.roots[size], *proof).ok());
    }
    CHECK_FALSE(reader.Node(0, size).ok());
    CHECK_FALSE(reader.Node(-1, 0).ok());
    CHECK_FALSE(reader.Node(62, 0).ok());
    CHECK_FALSE(reader.Bundle((size + 255) / 256).ok());
  }
}

TEST_CASE("Where a partial tile is gone the full one serves") {
  Published log;
  log.GrowTo(300);
  log.GrowTo(600);
  log.files.erase("tile/0/001.p/44");
  log.files.erase("tile/entries/001.p/44");
  TileReader reader(300, log.Fetch());
  CHECK(*TreeRoot(300, reader.Nodes()) == log.roots[300]);
  CHECK(reader.Bundle(1)->size() == 44);
  log.files.erase("tile/0/001");
  CHECK(absl::IsNotFound(TreeRoot(300, TileReader(300, log.Fetch()).Nodes()).status()));
}

TEST_CASE("A changed file is found") {
  Published log;
  log.GrowTo(600);
  for (const auto& [path, bytes] : log.files) {
    Published changed = log;
    changed.files[path][bytes.size() / 2] ^= 1;
    TileReader reader(600, changed.Fetch());
    const auto root = TreeRoot(600, reader.Nodes());
    bool found = !root.ok() || *root != log.roots[600];
    // A level-0 tile that is not on the root's path is found by its bundle.
    for (uint64_t bundle = 0; bundle < 3; ++bundle) found |= !reader.Bundle(bundle).ok();
    INFO(path);
    CHECK(found);
    changed.files[path] = bytes.substr(1);  // and one that is cut
    TileReader cut(600, changed.Fetch());
    bool refused = !TreeRoot(600, cut.Nodes()).ok();
    for (uint64_t bundle = 0; bundle < 3; ++bundle) refused |= !cut.Bundle(bundle).ok();
    CHECK(refused);
  }
}

TEST_CASE("Bundles and tiles are read strictly") {
  const std::vector<std::string> entries = {"", "a", std::string(65'535, 'x')};
  const std::string bytes = *EntryBundleBytes(entries);
  CHECK(bytes.substr(0, 5) == std::string("\0\0\0\x01" "a", 5));
  const Tile tile{true, 0, 0, 3};
  CHECK(*ParseEntryBundle(tile, bytes) == entries);
  CHECK_FALSE(ParseEntryBundle({true, 0, 0, 2}, bytes).ok());
  CHECK_FALSE(ParseEntryBundle({true, 0, 0, 4}, bytes).ok());
  CHECK_FALSE(ParseEntryBundle(tile, bytes + "x").ok());
  CHECK_FALSE(ParseEntryBundle(tile, bytes.substr(0, bytes.size() - 1)).ok());
  CHECK_FALSE(EntryBundleBytes({std::string(65'536, 'x')}).ok());
  CHECK_FALSE(EntryBundleBytes(std::vector<std::string>(257)).ok());
  CHECK_FALSE(ParseHashTile({false, 0, 0, 2}, std::string(63, 'x')).ok());
  CHECK_FALSE(ParseHashTile({false, 0, 0, 2}, std::string(65, 'x')).ok());
  CHECK(ParseHashTile({false, 0, 0, 2}, std::string(64, 'x'))->size() == 2);
}

}  // namespace
}  // namespace rochdale::crypto
