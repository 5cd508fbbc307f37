#include "services/verify/tree.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/crypto/entry.h"

namespace rochdale::verify {

using crypto::Digest;
using crypto::kTileHeight;
using crypto::kTileWidth;

namespace {

constexpr uint64_t kTileBytesMax = kTileWidth * (crypto::kEntryMaxBytes + 2);

using Hashes = std::vector<Digest>;

// The root of a perfect subtree from its hashes, 2^k of them.
Digest PerfectRoot(Hashes hashes) {
  for (size_t count = hashes.size(); count > 1; count /= 2) {
    for (size_t i = 0; i < count / 2; ++i) {
      hashes[i] = crypto::NodeHash(hashes[2 * i], hashes[2 * i + 1]);
    }
  }
  return hashes[0];
}

// Hashes of one tile level as the entries give them; nothing below what could not be read.
using Rebuilt = std::vector<std::vector<std::optional<Digest>>>;

std::string EntriesBelow(int level, uint64_t position, uint64_t size) {
  const uint64_t first = position << (kTileHeight * level);
  const uint64_t last = std::min(((position + 1) << (kTileHeight * level)), size) - 1;
  if (first == last) return absl::StrCat("entry ", first);
  return absl::StrCat("entries ", first, " to ", last);
}

// The entries of a bundle file as far as they can be told apart.
std::vector<std::string> ReadAsFarAsItGoes(absl::string_view bytes) {
  std::vector<std::string> entries;
  while (bytes.size() >= 2 && entries.size() < kTileWidth) {
    const size_t length = static_cast<uint8_t>(bytes[0]) * 256u + static_cast<uint8_t>(bytes[1]);
    if (length > bytes.size() - 2) break;
    entries.emplace_back(bytes.substr(2, length));
    bytes.remove_prefix(2 + length);
  }
  return entries;
}

}  // namespace

crypto::NodeReader Tree::Nodes() const {
  return [this](int level, uint64_t index) -> absl::StatusOr<Digest> {
    const int tile_level = level / kTileHeight;
    const uint64_t width = uint64_t{1} << (level % kTileHeight);
    const uint64_t from = index * width % kTileWidth;
    const auto found = tiles_.find({tile_level, index * width / kTileWidth});
    if (found == tiles_.end() || from + width > found->second.size()) {
      return absl::OutOfRangeError("the node is not known");
    }
    const auto begin = found->second.begin() + static_cast<ptrdiff_t>(from);
    return PerfectRoot({begin, begin + static_cast<ptrdiff_t>(width)});
  };
}

// One check of one tree, from the top down.
class TreeCheck {
 public:
  TreeCheck(const Bundle& bundle, const TreePlace& place, const crypto::Checkpoint& checkpoint,
            Check& check)
      : bundle_(bundle), place_(place), checkpoint_(checkpoint), check_(check) {
    tree_.size_ = checkpoint.size;
  }

  Tree Run() {
    // Before lists of a hostile size are made.
    names_ = bundle_.NamesIn(absl::StrCat(place_.base, "tile"));
    if (!check_.Need(checkpoint_.size / kTileWidth <= names_.size(), PathOf("checkpoint"),
                     absl::StrCat("the tiles of ", checkpoint_.size, " entries are not there"))) {
      return std::move(tree_);
    }
    uint64_t bytes = 0;
    for (const std::string& name : names_) {
      bytes += bundle_.files().at(PathOf(absl::StrCat("tile/", name))).size;
    }
    if (!check_.Need(checkpoint_.size <= bytes / sizeof(Digest::bytes), PathOf("checkpoint"),
                     absl::StrCat("the hashes of ", checkpoint_.size, " entries are not there"))) {
      return std::move(tree_);
    }
    tiles_ = crypto::TilesOf(checkpoint_.size);
    ReadAll();
    Rebuild();
    CheckEdge();
    for (int level = crypto::kTileMaxLevel - 1; level >= 0; --level) CheckFull(level);
    CheckEntries();
    CheckSurplus();
    return std::move(tree_);
  }

 private:
  std::string PathOf(absl::string_view name) const { return absl::StrCat(place_.base, name); }

  // The tile's file, or that of a larger tree which begins with it.
  std::optional<std::string> FileOf(const crypto::Tile& tile) const {
    crypto::Tile there = tile;
    std::string path = PathOf(there.Path());
    if (bundle_.Has(path) || !place_.earlier_tiles || tile.width == kTileWidth) {
      return bundle_.Has(path) ? std::optional(path) : std::nullopt;
    }
    there.width = kTileWidth;
    path = PathOf(there.Path());
    return bundle_.Has(path) ? std::optional(path) : std::nullopt;
  }

  void ReadAll() {
    for (const crypto::Tile& tile : tiles_) {
      const std::optional<std::string> path = FileOf(tile);
      if (!path) {
        check_.Fail(PathOf(tile.Path()), "it is missing");
        continue;
      }
      const auto bytes = bundle_.Read(*path, kTileBytesMax);
      if (!check_.Need(bytes.status(), *path)) continue;
      if (tile.entries) {
        bundles_[tile.index] = {*path, *bytes};
        continue;
      }
      crypto::Tile whole = tile;
      if (*path != PathOf(tile.Path())) whole.width = kTileWidth;
      auto hashes = crypto::ParseHashTile(whole, *bytes);
      if (!check_.Need(hashes.status(), *path)) continue;
      hashes->resize(tile.width);
      files_[{tile.level, tile.index}] = *std::move(hashes);
    }
  }

  // Leaf hashes of the entries, and every full tile's root above them.
  void Rebuild() {
    rebuilt_.resize(crypto::kTileMaxLevel + 1);
    rebuilt_[0].resize(checkpoint_.size);
    for (const crypto::Tile& tile : tiles_) {
      if (!tile.entries) continue;
      const auto found = bundles_.find(tile.index);
      if (found == bundles_.end()) continue;
      const std::string bytes = std::exchange(found->second.second, "");
      std::vector<std::string> entries = ReadAsFarAsItGoes(bytes);
      const bool exact =
          found->second.first == PathOf(tile.Path())
              ? crypto::ParseEntryBundle(tile, bytes).ok()
              : entries.size() >= tile.width;
      if (!exact) unparsed_.insert(tile.index);
      entries.resize(std::min<size_t>(entries.size(), tile.width));
      const bool in_order = tree_.leaves_.size() == tile.index * kTileWidth;
      for (size_t i = 0; i < entries.size(); ++i) {
        rebuilt_[0][tile.index * kTileWidth + i] = crypto::LeafHash(entries[i]);
        if (in_order) tree_.leaves_.push_back(std::move(entries[i]));
      }
    }
    for (int level = 1; level <= crypto::kTileMaxLevel; ++level) {
      for (uint64_t i = 0; i < checkpoint_.size >> (kTileHeight * level); ++i) {
        const std::optional<Hashes> below = RebuiltTile(level - 1, i, kTileWidth);
        rebuilt_[level].push_back(below ? std::optional(PerfectRoot(*below)) : std::nullopt);
      }
    }
  }

  std::optional<Hashes> RebuiltTile(int level, uint64_t index, uint32_t width) const {
    Hashes hashes;
    for (uint64_t i = index * kTileWidth; i < index * kTileWidth + width; ++i) {
      if (i >= rebuilt_[level].size() || !rebuilt_[level][i]) return std::nullopt;
      hashes.push_back(*rebuilt_[level][i]);
    }
    return hashes;
  }

  // The partial tiles alone make the root: each from its file or from the entries, whichever leads
  // there together with the others.
  void CheckEdge() {
    std::vector<crypto::Tile> edge;
    for (const crypto::Tile& tile : tiles_) {
      if (!tile.entries && tile.width < kTileWidth) edge.push_back(tile);
    }
    for (uint32_t mask = 0; mask < 1u << edge.size(); ++mask) {
      bool known = true;
      for (size_t i = 0; i < edge.size() && known; ++i) {
        known = Choose(edge[i], (mask >> i & 1) != 0);
      }
      if (!known) continue;
      const auto root = crypto::TreeRoot(checkpoint_.size, tree_.Nodes());
      if (!root.ok() || *root != checkpoint_.root) continue;
      for (size_t i = 0; i < edge.size(); ++i) {
        if (mask >> i & 1) NameWrongHashes(edge[i]);
      }
      return;
    }
    for (const crypto::Tile& tile : edge) tree_.tiles_.erase({tile.level, tile.index});
    check_.Fail(PathOf("tile"),
                absl::StrCat("neither the hashes nor the entries have the root that ",
                             PathOf("checkpoint"), " signs"));
  }

  // Takes the tile's hashes from its file or from the entries; false where there are none.
  bool Choose(const crypto::Tile& tile, bool from_entries) {
    const std::pair key(tile.level, tile.index);
    if (from_entries) {
      std::optional<Hashes> hashes = RebuiltTile(tile.level, tile.index, tile.width);
      if (!hashes) return false;
      tree_.tiles_[key] = *std::move(hashes);
      return true;
    }
    const auto found = files_.find(key);
    if (found == files_.end()) return false;
    tree_.tiles_[key] = found->second;
    return true;
  }

  // Of a tile whose file is wrong and whose hashes are known nevertheless.
  void NameWrongHashes(const crypto::Tile& tile) {
    const auto file = files_.find({tile.level, tile.index});
    if (file == files_.end()) return;  // missing, which was said
    const Hashes& right = tree_.tiles_.at({tile.level, tile.index});
    for (size_t i = 0; i < right.size(); ++i) {
      if (file->second[i] == right[i]) continue;
      check_.Fail(PathOf(tile.Path()),
                  absl::StrCat("hash ", i, " is not that of ",
                               EntriesBelow(tile.level, tile.index * kTileWidth + i,
                                            checkpoint_.size)));
    }
  }

  void CheckFull(int level) {
    for (const crypto::Tile& tile : tiles_) {
      if (tile.entries || tile.level != level || tile.width < kTileWidth) continue;
      const std::pair key(level, tile.index);
      const auto above = tree_.Nodes()(kTileHeight * (level + 1), tile.index);
      const auto file = files_.find(key);
      if (above.ok() && file != files_.end() && PerfectRoot(file->second) == *above) {
        tree_.tiles_[key] = file->second;
        continue;
      }
      std::optional<Hashes> below = RebuiltTile(level, tile.index, kTileWidth);
      if (above.ok() && below && PerfectRoot(*below) == *above) {
        tree_.tiles_[key] = *std::move(below);
        NameWrongHashes(tile);
        continue;
      }
      check_.Fail(PathOf(tile.Path()),
                  absl::StrCat("neither its hashes nor the ",
                               EntriesBelow(level + 1, tile.index, checkpoint_.size),
                               " lead to the signed root"));
    }
  }

  void CheckEntries() {
    for (const auto& [index, file] : bundles_) {
      const uint64_t first = index * kTileWidth;
      const uint64_t end = std::min<uint64_t>(first + kTileWidth, checkpoint_.size);
      bool named = false;
      const auto known = tree_.tiles_.find({0, index});
      for (uint64_t i = first; i < end && known != tree_.tiles_.end(); ++i) {
        const std::optional<Digest>& rebuilt = rebuilt_[0][i];
        if (rebuilt && *rebuilt == known->second[i - first]) continue;
        check_.Fail(file.first, absl::StrCat("entry ", i, " is not the one that was logged"));
        named = true;
        // What follows a wrong length is out of step.
        if (unparsed_.contains(index)) break;
      }
      check_.Need(named || !unparsed_.contains(index), file.first,
                  absl::StrCat("it does not hold ", end - first, " entries and nothing else"));
    }
  }

  // Tiles that the tree of this size does not have.
  void CheckSurplus() {
    std::set<std::string> wanted;
    for (const crypto::Tile& tile : tiles_) {
      if (const auto path = FileOf(tile)) wanted.insert(*path);
    }
    for (const std::string& name : names_) {
      const std::string path = PathOf(absl::StrCat("tile/", name));
      if (wanted.contains(path)) continue;
      const auto tile = crypto::Tile::Parse(absl::StrCat("tile/", name));
      if (!place_.earlier_tiles || !tile.ok() || !IsEarlier(*tile)) {
        check_.Fail(path, "no tile of this tree is called so");
        continue;
      }
      const auto bytes = bundle_.Read(path, kTileBytesMax);
      if (!check_.Need(bytes.status(), path)) continue;
      check_.Need(BeginsAs(*tile, *bytes), path, "it is not how the tile began");
    }
  }

  bool IsEarlier(const crypto::Tile& tile) const {
    const uint64_t end = (tile.index * kTileWidth + tile.width) << (kTileHeight * tile.level);
    return tile.index < checkpoint_.size && end <= checkpoint_.size;
  }

  bool BeginsAs(const crypto::Tile& tile, const std::string& bytes) const {
    if (!tile.entries) {
      const auto hashes = crypto::ParseHashTile(tile, bytes);
      const auto known = tree_.tiles_.find({tile.level, tile.index});
      return hashes.ok() && known != tree_.tiles_.end() &&
             hashes->size() <= known->second.size() &&
             std::equal(hashes->begin(), hashes->end(), known->second.begin());
    }
    const auto entries = crypto::ParseEntryBundle(tile, bytes);
    const uint64_t first = tile.index * kTileWidth;
    return entries.ok() && first + entries->size() <= tree_.leaves_.size() &&
           std::equal(entries->begin(), entries->end(),
                      tree_.leaves_.begin() + static_cast<ptrdiff_t>(first));
  }

  const Bundle& bundle_;
  const TreePlace& place_;
  const crypto::Checkpoint& checkpoint_;
  Check& check_;
  Tree tree_;
  std::vector<std::string> names_;
  std::vector<crypto::Tile> tiles_;
  std::map<std::pair<int, uint64_t>, Hashes> files_;  // of hashes, as they are
  // Of entries: path and bytes, until they are parted, by index.
  std::map<uint64_t, std::pair<std::string, std::string>> bundles_;
  std::set<uint64_t> unparsed_;
  Rebuilt rebuilt_;
};

Tree CheckTree(const Bundle& bundle, const TreePlace& place, const crypto::Checkpoint& checkpoint,
               Check& check) {
  return TreeCheck(bundle, place, checkpoint, check).Run();
}

}  // namespace rochdale::verify
