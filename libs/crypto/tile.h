// C2SP tlog-tiles (c2sp.org/tlog-tiles): the static files in which a log is published.
//
// A hash tile at (level, index) holds up to 256 hashes: the tree's nodes at tree level 8 * level
// from node 256 * index on. An entry bundle holds the entries of the level-0 tile of its index.
// Everything here is pure; where files are is the caller's business.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

inline constexpr int kTileHeight = 8;
inline constexpr uint32_t kTileWidth = 1 << kTileHeight;
inline constexpr int kTileMaxLevel = 7;  // of a tree smaller than kTreeMaxSize

struct Tile {
  bool entries = false;         // an entry bundle; `level` is 0
  int level = 0;                // 0 to kTileMaxLevel
  uint64_t index = 0;           // within its level
  uint32_t width = kTileWidth;  // 1 to 256; less than 256: a partial tile

  // "tile/<L>/<N>[.p/<W>]" or "tile/entries/<N>[.p/<W>]", N in groups of three digits, all but
  // the last with an x: "tile/0/x001/x234/067.p/8".
  std::string Path() const;
  // INVALID_ARGUMENT for anything but the one spelling of a tile's path.
  static absl::StatusOr<Tile> Parse(absl::string_view path);
  auto operator<=>(const Tile&) const = default;
};

// How many items the tile at (level, index) has in a tree of `size` leaves; 0: it is beyond it.
uint32_t TileWidthAt(uint64_t size, int level, uint64_t index);

// Every tile of a tree of `size` leaves, full and partial, bundles included, in path order of
// (entries, level, index). There are about size / 128 of them.
std::vector<Tile> TilesOf(uint64_t size);
// Those that a reader of the tree of size `from` does not have yet: for incremental publishing.
std::vector<Tile> NewTiles(uint64_t from, uint64_t size);

// The bytes of a hash tile. Errors of the reader are passed on.
absl::StatusOr<std::string> HashTileBytes(const Tile& tile, const NodeReader& read);
// INVALID_ARGUMENT unless `bytes` are exactly the tile's width in hashes.
absl::StatusOr<std::vector<Digest>> ParseHashTile(const Tile& tile, absl::string_view bytes);

// Entries of at most 65,535 bytes, each with its length as u16. INVALID_ARGUMENT for a longer one
// or more than 256.
absl::StatusOr<std::string> EntryBundleBytes(absl::Span<const std::string> entries);
// INVALID_ARGUMENT unless `bytes` are exactly the tile's width in entries.
absl::StatusOr<std::vector<std::string>> ParseEntryBundle(const Tile& tile,
                                                          absl::string_view bytes);

// The content of a file by its path below the log's folder; NOT_FOUND where there is none.
using TileFetch = std::function<absl::StatusOr<std::string>(const std::string& path)>;

// Reads a published tree of `size` leaves: nodes for proofs, entries. Keeps the last 64 tiles it
// read. Hashes are as trustworthy as the files: compare TreeRoot with a signed root first. Where a
// partial tile is gone, the full one is tried. One thread at a time.
class TileReader {
 public:
  TileReader(uint64_t size, TileFetch fetch);

  uint64_t size() const { return size_; }
  absl::StatusOr<Digest> Node(int level, uint64_t index);
  // Calls Node; must not outlive this.
  NodeReader Nodes();
  // Entries of the bundle at `index`, each checked against its leaf hash. DATA_LOSS if one differs.
  absl::StatusOr<std::vector<std::string>> Bundle(uint64_t index);

 private:
  struct Cached {
    std::vector<Digest> hashes;
    std::list<Tile>::iterator age;
  };
  // Of the tree of size_; empty where the tile is beyond it.
  uint32_t WidthOf(int level, uint64_t index) const;
  absl::StatusOr<std::string> Fetch(const Tile& tile, size_t bytes_per_item);
  absl::StatusOr<const std::vector<Digest>*> HashTile(int level, uint64_t index);

  uint64_t size_;
  TileFetch fetch_;
  std::map<Tile, Cached> tiles_;
  std::list<Tile> ages_;  // most recently used first
};

}  // namespace rochdale::crypto
