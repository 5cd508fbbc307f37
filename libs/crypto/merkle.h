// The Merkle tree of RFC 6962 and RFC 9162: SHA-256, leaf prefix 0x00, node prefix 0x01.
//
// A node is named by (level, index): the root of the perfect subtree over the leaves
// [index << level, (index + 1) << level). Such a node never changes once its leaves are there.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

// Trees hold fewer leaves than this; larger sizes are refused wherever they come in.
inline constexpr uint64_t kTreeMaxSize = uint64_t{1} << 62;

Digest LeafHash(absl::string_view entry);
Digest NodeHash(const Digest& left, const Digest& right);
Digest EmptyRoot();  // SHA-256 of nothing

// Reads the hash of a perfect subtree that is complete in the tree asked about.
using NodeReader = std::function<absl::StatusOr<Digest>(int level, uint64_t index)>;
// Told of every perfect subtree that an append completes, leaves first.
using NodeSink = std::function<void(int level, uint64_t index, const Digest& hash)>;

// The right edge of a tree: all that is needed to append and to give the root. Append costs one
// node hash on average. Not thread-safe; copies are independent (a batch works on a copy).
class Frontier {
 public:
  uint64_t size() const { return size_; }
  Digest Root() const;
  void Append(const Digest& leaf_hash);
  void Append(const Digest& leaf_hash, const NodeSink& sink);

  // u64 size, then the perfect subtrees of that size, largest first; at most 2,000 bytes.
  std::string Serialise() const;
  // INVALID_ARGUMENT for anything that Serialise did not write.
  static absl::StatusOr<Frontier> Parse(absl::string_view bytes);
  // The frontier of the tree's first `size` leaves, at most 62 reads.
  static absl::StatusOr<Frontier> Read(uint64_t size, const NodeReader& read);

  bool operator==(const Frontier&) const;

 private:
  uint64_t size_ = 0;
  std::array<Digest, 63> subtree_{};  // [level], meaningful where size_ has that bit
};

// The root over the leaves [begin, end), with no more reads than the range has perfect subtrees.
// INVALID_ARGUMENT unless `begin` is a multiple of the smallest power of two >= end - begin, which
// is so for every subtree of RFC 9162.
absl::StatusOr<Digest> RangeRoot(uint64_t begin, uint64_t end, const NodeReader& read);
absl::StatusOr<Digest> TreeRoot(uint64_t size, const NodeReader& read);

// Proofs, RFC 9162 2.1.3.1 and 2.1.4.1. LOG_SIZE_UNKNOWN unless index < size, or
// 0 < first <= second. Errors of the reader are passed on.
absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size,
                                                   const NodeReader& read);
absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t first, uint64_t second,
                                                     const NodeReader& read);

// Verification, RFC 9162 2.1.3.2 and 2.1.4.2, strict: DATA_LOSS unless the proof is exactly right.
// A first size of 0 proves nothing and is refused; equal sizes need equal roots and no hashes.
absl::Status VerifyInclusion(uint64_t index, uint64_t size, const Digest& leaf_hash,
                             const std::vector<Digest>& proof, const Digest& root);
absl::Status VerifyConsistency(uint64_t first, uint64_t second, const Digest& first_root,
                               const Digest& second_root, const std::vector<Digest>& proof);

}  // namespace rochdale::crypto
