#include "services/ledger/audit_tree.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

namespace rochdale::ledger {

using crypto::Digest;

namespace {

// Bits that are tried one by one to find the one that was changed.
constexpr size_t kMendBitsMax = 2'000'000;

std::string EntriesBelow(int level, int64_t position) {
  const int64_t width = int64_t{1} << (kTileHeight * level);
  if (width == 1) return absl::StrCat("entry ", position);
  return absl::StrCat("entries ", position * width, " to ", (position + 1) * width - 1);
}

}  // namespace

absl::Status AuditTree::Add(const std::optional<std::string>& leaf) {
  levels_[0].push_back(leaf ? crypto::LeafHash(*leaf) : Digest{});
  tail_.push_back(leaf);
  ++size_;
  return levels_[0].size() == static_cast<size_t>(kTileWidth) ? Settle(0) : absl::OkStatus();
}

absl::Status AuditTree::Settle(int level) {
  std::vector<Digest>& ours = levels_[level];
  const int64_t index = (size_ >> (kTileHeight * (level + 1))) - 1;
  const std::string name = absl::StrCat("tiles, level ", level, " index ", index);
  ASSIGN_OR_RETURN(const std::optional<Tile> stored, read_(level, index));
  Digest root = PerfectRoot(ours);
  if (!stored) {
    problem_(absl::StrCat(name, ": it is missing"));
  } else if (stored->hashes == ours) {
    if (stored->root != root) problem_(absl::StrCat(name, ": its root is not that of its hashes"));
  } else if (PerfectRoot(stored->hashes) == stored->root) {
    // The tile agrees with itself: what lies below it was changed.
    for (size_t i = 0; i < ours.size(); ++i) {
      const int64_t position = index * kTileWidth + static_cast<int64_t>(i);
      if (ours[i] == stored->hashes[i]) continue;
      problem_(level == 0 ? absl::StrCat("leaf_chunks: entry ", position,
                                         " is not the one that was logged")
                          : absl::StrCat(name, ": hash ", i, " is not that of ",
                                         EntriesBelow(level, position)));
    }
    // Of higher levels, what was built from the leaves below counts, which were settled before.
    if (level == 0) {
      ours = stored->hashes;
      root = stored->root;
    }
  } else {
    for (size_t i = 0; i < ours.size(); ++i) {
      const int64_t position = index * kTileWidth + static_cast<int64_t>(i);
      if (ours[i] == stored->hashes[i]) continue;
      problem_(stored->root == root
                   ? absl::StrCat(name, ": hash ", i, " is not that of ",
                                  EntriesBelow(level, position))
                   : absl::StrCat(name, ": neither its hash ", i, " nor ",
                                  EntriesBelow(level, position), " lead to its root"));
    }
  }
  if (level == 0) {
    Follow(ours);
    tail_.clear();
  }
  ours.clear();
  levels_[level + 1].push_back(root);
  return levels_[level + 1].size() == static_cast<size_t>(kTileWidth) ? Settle(level + 1)
                                                                      : absl::OkStatus();
}

void AuditTree::Follow(const std::vector<Digest>& hashes) {
  for (const Digest& hash : hashes) {
    followed_.Append(hash);
    while (next_watched_ < watched_.size() &&
           watched_[next_watched_] <= static_cast<int64_t>(followed_.size())) {
      roots_.emplace_back(watched_[next_watched_++], followed_.Root());
    }
  }
}

std::optional<Digest> AuditTree::RootAt(int64_t size) const {
  const auto found = std::lower_bound(roots_.begin(), roots_.end(), size,
                                      [](const auto& root, int64_t s) { return root.first < s; });
  if (found == roots_.end() || found->first != size) return std::nullopt;
  return found->second;
}

absl::Status AuditTree::Finish(const std::string& frontier, const Digest& root) {
  const auto stored = crypto::Frontier::Parse(frontier);
  std::vector<Digest> subtrees;  // of the stored frontier, largest first
  for (size_t at = 8; stored.ok() && at + 32 <= frontier.size(); at += 32) {
    subtrees.push_back(*Digest::FromBytes(absl::string_view(frontier).substr(at, 32)));
  }
  const bool usable = stored.ok() && stored->size() == static_cast<uint64_t>(size_);
  if (!usable) {
    problem_(absl::StrCat("tree_state: its frontier is not one of ", size_, " entries"));
  } else if (stored->Root() == root) {
    // It leads to the root that was written beside it, so it counts.
    LocateInTail(subtrees);
  }
  Follow(levels_[0]);
  if (followed_.Root() != root) {
    problem_(usable && stored->Root() == followed_.Root()
                 ? "tree_state: its root is not that of its frontier"
                 : "tree_state: the entries have another root");
  } else if (usable && stored->Root() != root) {
    problem_("tree_state: its frontier is not that of the entries");
  }
  return absl::OkStatus();
}

void AuditTree::LocateInTail(const std::vector<Digest>& stored) {
  // The frontier's subtrees within the last tile of leaves are its last ones.
  const auto count = static_cast<int64_t>(levels_[0].size());
  int64_t first = 0;
  int within = 0;
  for (int bit = 0; bit < kTileHeight; ++bit) within += static_cast<int>(count >> bit & 1);
  size_t at = stored.size() - static_cast<size_t>(within);
  for (int height = kTileHeight - 1; height >= 0; --height) {
    const int64_t width = int64_t{1} << height;
    if ((count & width) == 0) continue;
    const auto begin = levels_[0].begin() + first;
    const Digest& wanted = stored[at++];
    if (PerfectRoot({begin, begin + width}) != wanted) {
      const int64_t from = size_ - count + first;
      if (!MendOneBit(first, width, wanted)) {
        problem_(absl::StrCat("leaf_chunks: of the entries ", from, " to ", from + width - 1,
                              " some are not those that were logged"));
      }
    }
    first += width;
  }
}

// The newest entries have no stored hashes of their own. One changed bit among them is found by
// trying: the one that, changed back, leads to the stored subtree.
bool AuditTree::MendOneBit(int64_t first, int64_t count, const Digest& wanted) {
  size_t bits = 0;
  for (int64_t i = first; i < first + count; ++i) {
    if (!tail_[i]) return false;
    bits += 8 * tail_[i]->size();
  }
  if (bits > kMendBitsMax) return false;
  for (int64_t i = first; i < first + count; ++i) {
    std::string leaf = *tail_[i];
    std::vector<Digest> hashes(levels_[0].begin() + first, levels_[0].begin() + first + count);
    // What the leaf's hash must be: only its path is computed anew for each bit.
    std::vector<std::pair<Digest, bool>> path;  // sibling, and whether it is the left one
    std::vector<Digest> level = hashes;
    for (int64_t at = i - first; level.size() > 1; at /= 2) {
      path.emplace_back(level[at ^ 1], (at & 1) != 0);
      for (size_t n = 0; n < level.size() / 2; ++n) {
        level[n] = crypto::NodeHash(level[2 * n], level[2 * n + 1]);
      }
      level.resize(level.size() / 2);
    }
    for (size_t bit = 0; bit < 8 * leaf.size(); ++bit) {
      leaf[bit / 8] = static_cast<char>(leaf[bit / 8] ^ 1 << bit % 8);
      const Digest mended = crypto::LeafHash(leaf);
      Digest hash = mended;
      for (const auto& [sibling, left] : path) {
        hash = left ? crypto::NodeHash(sibling, hash) : crypto::NodeHash(hash, sibling);
      }
      if (hash == wanted) {
        problem_(absl::StrCat("leaf_chunks: entry ", size_ - levels_[0].size() + i,
                              " is not the one that was logged: bit ", bit % 8, " of its byte ",
                              bit / 8, " was changed"));
        levels_[0][i] = mended;
        return true;
      }
      leaf[bit / 8] = static_cast<char>(leaf[bit / 8] ^ 1 << bit % 8);
    }
  }
  return false;
}

}  // namespace rochdale::ledger
