// Tiles of C2SP tlog-tiles: paths, hash tiles and entry bundles. The input is a path, a zero byte
// and the file's bytes: one spelling each, and a reader never shows an entry that is not in the
// tree.
#include "libs/crypto/tile.h"

#include "tests/fuzz/target.h"

using namespace rochdale::crypto;  // NOLINT: a program of its own

namespace {

constexpr uint64_t kSize = 300;
std::string EntryAt(uint64_t index) { return "entry " + std::to_string(index); }

Digest Root(uint64_t begin, uint64_t end) {
  if (end - begin == 1) return LeafHash(EntryAt(begin));
  uint64_t left = 1;
  while (left * 2 < end - begin) left *= 2;
  return NodeHash(Root(begin, begin + left), Root(begin + left, end));
}

std::string FileOf(const Tile& tile) {
  if (!tile.entries) {
    return HashTileBytes(tile, [](int level, uint64_t index) -> absl::StatusOr<Digest> {
             return Root(index << level, (index + 1) << level);
           }).value();
  }
  std::vector<std::string> entries;
  for (uint32_t i = 0; i < tile.width; ++i) entries.push_back(EntryAt(tile.index * 256 + i));
  return EntryBundleBytes(entries).value();
}

const std::map<std::string, std::string>& Published() {
  static const std::map<std::string, std::string> files = [] {
    std::map<std::string, std::string> all;
    for (const Tile& tile : TilesOf(kSize)) all[tile.Path()] = FileOf(tile);
    return all;
  }();
  return files;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  if (zero == absl::string_view::npos) return 0;
  const absl::string_view path = input.substr(0, zero), bytes = input.substr(zero + 1);
  const absl::StatusOr<Tile> tile = Tile::Parse(path);
  if (!tile.ok()) return 0;
  FUZZ_CHECK(tile->Path() == path);
  if (tile->entries) {
    const auto entries = ParseEntryBundle(*tile, bytes);
    if (entries.ok()) FUZZ_CHECK(EntryBundleBytes(*entries).value() == bytes);
  } else {
    const auto hashes = ParseHashTile(*tile, bytes);
    if (hashes.ok()) FUZZ_CHECK(hashes->size() == tile->width);
  }
  // The published log with this one file in place of its own.
  TileReader reader(kSize, [&](const std::string& wanted) -> absl::StatusOr<std::string> {
    if (wanted == path) return std::string(bytes);
    const auto found = Published().find(wanted);
    if (found == Published().end()) return absl::NotFoundError(wanted);
    return found->second;
  });
  const auto root = TreeRoot(kSize, reader.Nodes());
  if (!root.ok() || *root != Root(0, kSize)) return 0;  // a reader compares it with the signed one
  for (const uint64_t index : {0, 1}) {
    const auto bundle = reader.Bundle(index);
    for (size_t i = 0; bundle.ok() && i < bundle->size(); ++i) {
      FUZZ_CHECK((*bundle)[i] == EntryAt(index * 256 + i));
    }
  }
  return 0;
}

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds;
  for (const auto& [path, bytes] : Published()) seeds.push_back(path + '\0' + bytes);
  for (const char* path :
       {"tile/0/x001/x234/067", "tile/7/000.p/1", "tile/entries/x001/000.p/255"}) {
    seeds.push_back(std::string(path) + '\0' + std::string(32, 'h'));
  }
  return seeds;
}
