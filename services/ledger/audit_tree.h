// The Merkle tree built again from leaves, and held against what the database keeps of it: where
// the two differ, the tile or the entry is named.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/crypto/merkle.h"
#include "services/ledger/tree.h"

namespace rochdale::ledger {

// What went wrong, in words that name the place.
using Problem = std::function<void(const std::string& what)>;

// Takes the leaves in order. A full tile is held against its row; what its row and its root agree
// on counts, so that one changed leaf does not make everything after it look wrong.
class AuditTree {
 public:
  // The stored tile, or nothing.
  using ReadTile = std::function<absl::StatusOr<std::optional<Tile>>(int level, int64_t index)>;
  // Told of the true root at every size of the tile that was just settled, when it is asked for.
  AuditTree(ReadTile read, Problem problem) : read_(std::move(read)), problem_(std::move(problem)) {
    levels_.resize(kTileLevels);
  }

  // `leaf`: the bytes that are stored; nothing where they cannot be told apart.
  absl::Status Add(const std::optional<std::string>& leaf);
  // After the last leaf: against the state that the writer left. `frontier`: as it is stored.
  absl::Status Finish(const std::string& frontier, const crypto::Digest& root);
  // Sizes (ascending) whose roots shall be remembered; before the first leaf.
  void Watch(std::vector<int64_t> sizes) { watched_ = std::move(sizes); }
  // The root at a watched size; nothing where it is beyond the tree.
  std::optional<crypto::Digest> RootAt(int64_t size) const;

  int64_t size() const { return size_; }

 private:
  absl::Status Settle(int level);
  void Follow(const std::vector<crypto::Digest>& hashes);
  // Of the last, partial tile of leaves: which entries differ from the stored frontier.
  void LocateInTail(const std::vector<crypto::Digest>& stored);
  bool MendOneBit(int64_t first, int64_t count, const crypto::Digest& wanted);

  const ReadTile read_;
  const Problem problem_;
  int64_t size_ = 0;
  std::vector<std::vector<crypto::Digest>> levels_;  // hashes of the tile that grows, by level
  std::vector<std::optional<std::string>> tail_;     // leaves of the tile that grows
  crypto::Frontier followed_;                        // of settled leaves
  std::vector<int64_t> watched_;
  size_t next_watched_ = 0;
  std::vector<std::pair<int64_t, crypto::Digest>> roots_;
};

}  // namespace rochdale::ledger
