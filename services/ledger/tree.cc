#include "services/ledger/tree.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

namespace rochdale::ledger {

using crypto::Digest;

Digest PerfectRoot(std::vector<Digest> hashes) {
  while (hashes.size() > 1) {
    for (size_t i = 0; i < hashes.size() / 2; ++i) {
      hashes[i] = crypto::NodeHash(hashes[2 * i], hashes[2 * i + 1]);
    }
    hashes.resize(hashes.size() / 2);
  }
  return hashes[0];
}

absl::StatusOr<TreeEnd> TreeEnd::Restore(int64_t size,
                                         std::vector<std::vector<Digest>> partial) {
  for (int level = 0; level < kTileLevels; ++level) {
    const int64_t count = size >> (kTileHeight * level) & (kTileWidth - 1);
    if (static_cast<int>(partial.size()) != kTileLevels ||
        static_cast<int64_t>(partial[level].size()) != count) {
      return absl::DataLossError(
          absl::StrCat("a log of ", size, " entries lacks hashes of tile level ", level));
    }
  }
  TreeEnd end;
  ASSIGN_OR_RETURN(
      end.frontier_,
      crypto::Frontier::Read(size, [&](int level, uint64_t index) -> absl::StatusOr<Digest> {
        // Within the partial tile, since the subtrees of a frontier are the tree's right edge.
        const std::vector<Digest>& hashes = partial[level / kTileHeight];
        const uint64_t width = uint64_t{1} << (level % kTileHeight);
        const auto from = hashes.begin() + (index * width) % kTileWidth;
        return PerfectRoot({from, from + width});
      }));
  end.partial_ = std::move(partial);
  return end;
}

void TreeEnd::Append(const Digest& leaf_hash, std::vector<Tile>& full) {
  frontier_.Append(leaf_hash, [&](int level, uint64_t index, const Digest& hash) {
    if (level % kTileHeight != 0) return;
    const int tile_level = level / kTileHeight;
    if (tile_level > 0) {
      std::vector<Digest>& below = partial_[tile_level - 1];
      full.push_back({tile_level - 1, static_cast<int64_t>(index), std::move(below), hash});
      below.clear();
    }
    partial_[tile_level].push_back(hash);
  });
}

}  // namespace rochdale::ledger
