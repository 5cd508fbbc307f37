// The tlog-tiles files of a log, each hash and each entry held against the signed root, so that a
// changed bit is found and named: its file, and the entry that it is about.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/note.h"
#include "libs/crypto/tile.h"
#include "services/verify/bundle.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// Where a log's files are, and which there may be.
struct TreePlace {
  std::string base = "log/";  // before "checkpoint" and "tile/..."; empty for a tree by itself
  // Whether partial tiles of earlier sizes, which a publisher leaves lying, may be there too.
  bool earlier_tiles = false;
};

// A tree as it was read.
class Tree {
 public:
  uint64_t size() const { return size_; }
  // The entries' bytes in order; fewer than size() where files could not be read.
  const std::vector<std::string>& leaves() const { return leaves_; }
  // The same, which this then has no longer.
  std::vector<std::string> TakeLeaves() { return std::move(leaves_); }
  // Nodes by the hashes that lead to the signed root. Must not outlive this.
  crypto::NodeReader Nodes() const;

 private:
  friend class TreeCheck;
  uint64_t size_ = 0;
  std::vector<std::string> leaves_;
  std::map<std::pair<int, uint64_t>, std::vector<crypto::Digest>> tiles_;  // by level and index
};

// Fails `check` for every file that is missing, surplus or not as the root of `checkpoint` says:
// names the tile and the entries below a wrong hash, the bundle and the index of a wrong entry.
// A file of hashes is judged by what lies above it, or, where it is wrong, by the entries below.
Tree CheckTree(const Bundle& bundle, const TreePlace& place, const crypto::Checkpoint& checkpoint,
               Check& check);

}  // namespace rochdale::verify
