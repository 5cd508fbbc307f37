// The log's Merkle tree as it is kept: tiles of 256 hashes (C2SP tlog-tiles). The tree itself is
// libs/crypto/merkle.h's; what is read and written is log_store.h's.
//
// Tile level t holds the roots of perfect subtrees of 256^t leaves, 256 to a tile, so that any
// node is computed from one tile.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/crypto/merkle.h"

namespace rochdale::ledger {

inline constexpr int kTileHeight = 8;
inline constexpr int64_t kTileWidth = 256;
inline constexpr int kTileLevels = 8;  // 256^8 leaves: beyond kTreeMaxSize

// A full tile.
struct Tile {
  int level = 0;
  int64_t index = 0;
  std::vector<crypto::Digest> hashes;  // kTileWidth of them
  crypto::Digest root;                 // of all of them: one hash of the level above
};

// The root of a perfect subtree from its 2^k hashes.
crypto::Digest PerfectRoot(std::vector<crypto::Digest> hashes);

// The growing end of the tree. A value: copy it, append, and keep the copy once it is committed.
class TreeEnd {
 public:
  // The empty tree.
  TreeEnd() : partial_(kTileLevels) {}
  // `partial`: for each tile level the hashes beyond its last full tile. DATA_LOSS where their
  // numbers are not those of a tree of `size` leaves.
  static absl::StatusOr<TreeEnd> Restore(int64_t size,
                                         std::vector<std::vector<crypto::Digest>> partial);

  // Adds a leaf; tiles that become full go to `full`.
  void Append(const crypto::Digest& leaf_hash, std::vector<Tile>& full);

  int64_t size() const { return static_cast<int64_t>(frontier_.size()); }
  const crypto::Frontier& frontier() const { return frontier_; }
  crypto::Digest Root() const { return frontier_.Root(); }

 private:
  crypto::Frontier frontier_;
  std::vector<std::vector<crypto::Digest>> partial_;  // by tile level
};

}  // namespace rochdale::ledger
