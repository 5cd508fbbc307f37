#include "libs/crypto/tile.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/note.h"

namespace rochdale::crypto {
namespace {

constexpr size_t kTilesKept = 64;

absl::Status Malformed(absl::string_view what) { return absl::InvalidArgumentError(what); }

// "x001/x234/067"
std::string IndexPath(uint64_t index) {
  std::string path = absl::StrFormat("%03d", index % 1000);
  while (index >= 1000) {
    index /= 1000;
    path = absl::StrFormat("x%03d/%s", index % 1000, path);
  }
  return path;
}

// The tiles of one level that a tree of `size` has and one of `from` has not.
void AppendLevel(bool entries, int level, uint64_t from, uint64_t size, std::vector<Tile>& tiles) {
  for (uint64_t index = (from >> (kTileHeight * level)) / kTileWidth;; ++index) {
    const uint32_t width = TileWidthAt(size, level, index);
    if (width == 0) return;
    if (TileWidthAt(from, level, index) != width) tiles.push_back({entries, level, index, width});
    if (width < kTileWidth) return;
  }
}

}  // namespace

uint32_t TileWidthAt(uint64_t size, int level, uint64_t index) {
  const uint64_t nodes = size >> (kTileHeight * level);
  const uint64_t full = nodes / kTileWidth;
  if (index < full) return kTileWidth;
  return index == full ? static_cast<uint32_t>(nodes % kTileWidth) : 0;
}

std::string Tile::Path() const {
  const std::string folder = entries ? "entries" : absl::StrCat(level);
  const std::string partial = width < kTileWidth ? absl::StrCat(".p/", width) : "";
  return absl::StrCat("tile/", folder, "/", IndexPath(index), partial);
}

absl::StatusOr<Tile> Tile::Parse(absl::string_view path) {
  const absl::Status refused = Malformed("not the path of a tile");
  const std::string whole(path);
  Tile tile;
  if (path.size() > 64 || !absl::ConsumePrefix(&path, "tile/")) return refused;
  if (absl::ConsumePrefix(&path, "entries/")) {
    tile.entries = true;
  } else {
    if (path.size() < 2 || path[0] < '0' || path[0] > '0' + kTileMaxLevel || path[1] != '/') {
      return refused;
    }
    tile.level = path[0] - '0';
    path.remove_prefix(2);
  }
  const size_t partial = path.find(".p/");
  if (partial != path.npos) {
    const auto width = ParseStrictDecimal(path.substr(partial + 3));
    if (!width.ok() || *width < 1 || *width >= kTileWidth) return refused;
    tile.width = static_cast<uint32_t>(*width);
    path = path.substr(0, partial);
  }
  for (const char c : path) {
    if (c == 'x' || c == '/') continue;
    if (c < '0' || c > '9' || tile.index >= kTreeMaxSize / 10) return refused;
    tile.index = tile.index * 10 + static_cast<uint64_t>(c - '0');
  }
  // Whatever was read loosely above: there is one spelling.
  if (tile.Path() != whole) return refused;
  return tile;
}

std::vector<Tile> TilesOf(uint64_t size) { return NewTiles(0, size); }

std::vector<Tile> NewTiles(uint64_t from, uint64_t size) {
  std::vector<Tile> tiles;
  if (size >= kTreeMaxSize || from >= size) return tiles;
  for (int level = 0; level <= kTileMaxLevel; ++level) {
    AppendLevel(false, level, from, size, tiles);
  }
  AppendLevel(true, 0, from, size, tiles);
  return tiles;
}

absl::StatusOr<std::string> HashTileBytes(const Tile& tile, const NodeReader& read) {
  if (tile.entries || tile.level < 0 || tile.level > kTileMaxLevel || tile.width < 1 ||
      tile.width > kTileWidth) {
    return Malformed("not a hash tile");
  }
  std::string bytes;
  bytes.reserve(tile.width * 32);
  for (uint32_t i = 0; i < tile.width; ++i) {
    ASSIGN_OR_RETURN(const Digest hash,
                     read(tile.level * kTileHeight, tile.index * kTileWidth + i));
    bytes.append(hash.AsBytes().data(), 32);
  }
  return bytes;
}

absl::StatusOr<std::vector<Digest>> ParseHashTile(const Tile& tile, absl::string_view bytes) {
  if (bytes.size() != size_t{tile.width} * 32) {
    return Malformed(absl::StrCat(tile.Path(), " has not ", tile.width, " hashes"));
  }
  std::vector<Digest> hashes(tile.width);
  for (uint32_t i = 0; i < tile.width; ++i) {
    std::copy_n(bytes.begin() + i * 32, 32, hashes[i].bytes.begin());
  }
  return hashes;
}

absl::StatusOr<std::string> EntryBundleBytes(absl::Span<const std::string> entries) {
  if (entries.size() > kTileWidth) return Malformed("a bundle has at most 256 entries");
  CanonicalWriter out;
  for (const std::string& entry : entries) {
    if (entry.size() > 0xffff) return Malformed("an entry has at most 65,535 bytes");
    out.Prefixed16(entry);
  }
  return std::move(out).Take();
}

absl::StatusOr<std::vector<std::string>> ParseEntryBundle(const Tile& tile,
                                                          absl::string_view bytes) {
  CanonicalReader reader(bytes);
  std::vector<std::string> entries;
  entries.reserve(tile.width);
  for (uint32_t i = 0; i < tile.width && reader.ok(); ++i) {
    entries.emplace_back(reader.Prefixed16());
  }
  if (!reader.Finished()) {
    return Malformed(absl::StrCat(tile.Path(), " has not ", tile.width, " entries"));
  }
  return entries;
}

TileReader::TileReader(uint64_t size, TileFetch fetch)
    : size_(std::min(size, kTreeMaxSize - 1)), fetch_(std::move(fetch)) {}

uint32_t TileReader::WidthOf(int level, uint64_t index) const {
  return TileWidthAt(size_, level, index);
}

absl::StatusOr<std::string> TileReader::Fetch(const Tile& tile, size_t bytes_per_item) {
  absl::StatusOr<std::string> bytes = fetch_(tile.Path());
  if (bytes.ok() || !absl::IsNotFound(bytes.status()) || tile.width == kTileWidth) return bytes;
  Tile full = tile;
  full.width = kTileWidth;
  ASSIGN_OR_RETURN(std::string whole, fetch_(full.Path()));
  if (bytes_per_item != 0) return whole.substr(0, tile.width * bytes_per_item);
  ASSIGN_OR_RETURN(std::vector<std::string> entries, ParseEntryBundle(full, whole));
  entries.resize(tile.width);
  return EntryBundleBytes(entries);
}

absl::StatusOr<const std::vector<Digest>*> TileReader::HashTile(int level, uint64_t index) {
  const Tile tile{false, level, index, WidthOf(level, index)};
  if (tile.width == 0) return absl::OutOfRangeError("the node lies beyond the tree");
  auto found = tiles_.find(tile);
  if (found != tiles_.end()) {
    ages_.splice(ages_.begin(), ages_, found->second.age);
    return &found->second.hashes;
  }
  ASSIGN_OR_RETURN(const std::string bytes, Fetch(tile, 32));
  ASSIGN_OR_RETURN(std::vector<Digest> hashes, ParseHashTile(tile, bytes));
  if (tiles_.size() == kTilesKept) {
    tiles_.erase(ages_.back());
    ages_.pop_back();
  }
  ages_.push_front(tile);
  found = tiles_.emplace(tile, Cached{std::move(hashes), ages_.begin()}).first;
  return &found->second.hashes;
}

absl::StatusOr<Digest> TileReader::Node(int level, uint64_t index) {
  if (level < 0 || level > 61 || index >= (size_ >> level)) {
    return absl::OutOfRangeError("the node lies beyond the tree");
  }
  const int tile_level = level / kTileHeight, height = level % kTileHeight;
  const uint64_t first = index << height;  // in hashes of the tile's level
  ASSIGN_OR_RETURN(const std::vector<Digest>* tile, HashTile(tile_level, first / kTileWidth));
  const auto begin = tile->begin() + static_cast<long>(first % kTileWidth);
  std::vector<Digest> hashes(begin, begin + (1 << height));
  for (size_t n = hashes.size(); n > 1; n /= 2) {
    for (size_t i = 0; i < n / 2; ++i) hashes[i] = NodeHash(hashes[2 * i], hashes[2 * i + 1]);
  }
  return hashes[0];
}

NodeReader TileReader::Nodes() {
  return [this](int level, uint64_t index) { return Node(level, index); };
}

absl::StatusOr<std::vector<std::string>> TileReader::Bundle(uint64_t index) {
  const Tile tile{true, 0, index, WidthOf(0, index)};
  if (tile.width == 0) return absl::OutOfRangeError("the bundle lies beyond the tree");
  ASSIGN_OR_RETURN(const std::string bytes, Fetch(tile, 0));
  ASSIGN_OR_RETURN(std::vector<std::string> entries, ParseEntryBundle(tile, bytes));
  ASSIGN_OR_RETURN(const std::vector<Digest>* hashes, HashTile(0, index));
  for (size_t i = 0; i < entries.size(); ++i) {
    if (LeafHash(entries[i]) != (*hashes)[i]) {
      return absl::DataLossError(
          absl::StrCat("entry ", index * kTileWidth + i, " is not the one of its leaf hash"));
    }
  }
  return entries;
}

}  // namespace rochdale::crypto
