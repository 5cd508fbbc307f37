#include "libs/crypto/merkle.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"

namespace rochdale::crypto {
namespace {

// RFC 9162: the largest power of two smaller than n, n > 1.
uint64_t SplitPoint(uint64_t n) { return std::bit_floor(n - 1); }

absl::Status SizeUnknown(absl::string_view what) { return Error("LOG_SIZE_UNKNOWN", what); }
absl::Status NotProven(absl::string_view what) { return absl::DataLossError(what); }

// RangeRoot for a range that is known to be aligned.
absl::StatusOr<Digest> AlignedRoot(uint64_t begin, uint64_t end, const NodeReader& read) {
  const uint64_t n = end - begin;
  if (std::has_single_bit(n)) {
    const int level = std::countr_zero(n);
    return read(level, begin >> level);
  }
  const uint64_t middle = begin + SplitPoint(n);
  ASSIGN_OR_RETURN(const Digest left, AlignedRoot(begin, middle, read));
  ASSIGN_OR_RETURN(const Digest right, AlignedRoot(middle, end, read));
  return NodeHash(left, right);
}

// PATH(index, D[begin:end]), deepest hash first.
absl::Status AppendPath(uint64_t index, uint64_t begin, uint64_t end, const NodeReader& read,
                        std::vector<Digest>& path) {
  if (end - begin == 1) return absl::OkStatus();
  const uint64_t middle = begin + SplitPoint(end - begin);
  const bool left = index < middle;
  RETURN_IF_ERROR(left ? AppendPath(index, begin, middle, read, path)
                       : AppendPath(index, middle, end, read, path));
  ASSIGN_OR_RETURN(const Digest sibling,
                   left ? AlignedRoot(middle, end, read) : AlignedRoot(begin, middle, read));
  path.push_back(sibling);
  return absl::OkStatus();
}

// SUBPROOF(first, D[begin:end], known), deepest hash first; `first` counts from 0, not from begin.
absl::Status AppendSubproof(uint64_t first, uint64_t begin, uint64_t end, bool known,
                            const NodeReader& read, std::vector<Digest>& path) {
  if (first == end) {
    if (known) return absl::OkStatus();  // the verifier has it: it is the first root
    ASSIGN_OR_RETURN(const Digest root, AlignedRoot(begin, end, read));
    path.push_back(root);
    return absl::OkStatus();
  }
  const uint64_t middle = begin + SplitPoint(end - begin);
  const bool left = first <= middle;
  RETURN_IF_ERROR(left ? AppendSubproof(first, begin, middle, known, read, path)
                       : AppendSubproof(first, middle, end, false, read, path));
  ASSIGN_OR_RETURN(const Digest sibling,
                   left ? AlignedRoot(middle, end, read) : AlignedRoot(begin, middle, read));
  path.push_back(sibling);
  return absl::OkStatus();
}

}  // namespace

Digest LeafHash(absl::string_view entry) {
  return Sha256Of3(absl::string_view("\x00", 1), entry, {});
}

Digest NodeHash(const Digest& left, const Digest& right) {
  return Sha256Of3("\x01", left.AsBytes(), right.AsBytes());
}

Digest EmptyRoot() { return Sha256(""); }

Digest Frontier::Root() const {
  if (size_ == 0) return EmptyRoot();
  int level = std::countr_zero(size_);
  Digest root = subtree_[level];
  for (++level; level < static_cast<int>(subtree_.size()); ++level) {
    if (size_ >> level & 1) root = NodeHash(subtree_[level], root);
  }
  return root;
}

void Frontier::Append(const Digest& leaf_hash) {
  Digest hash = leaf_hash;
  int level = 0;
  for (; size_ >> level & 1; ++level) hash = NodeHash(subtree_[level], hash);
  subtree_[level] = hash;
  ++size_;
}

void Frontier::Append(const Digest& leaf_hash, const NodeSink& sink) {
  Digest hash = leaf_hash;
  int level = 0;
  sink(0, size_, hash);
  while (size_ >> level & 1) {
    hash = NodeHash(subtree_[level], hash);
    ++level;
    sink(level, size_ >> level, hash);
  }
  subtree_[level] = hash;
  ++size_;
}

std::string Frontier::Serialise() const {
  CanonicalWriter out(8 + 32 * std::popcount(size_));
  out.U64(size_);
  for (int level = 62; level >= 0; --level) {
    if (size_ >> level & 1) out.Raw(subtree_[level].AsBytes());
  }
  return std::move(out).Take();
}

absl::StatusOr<Frontier> Frontier::Parse(absl::string_view bytes) {
  CanonicalReader reader(bytes);
  Frontier frontier;
  frontier.size_ = reader.U64();
  if (frontier.size_ >= kTreeMaxSize) return absl::InvalidArgumentError("a tree that large is not");
  for (int level = 62; level >= 0; --level) {
    if ((frontier.size_ >> level & 1) == 0) continue;
    const auto hash = Digest::FromBytes(reader.Raw(32));
    if (!hash.ok()) return absl::InvalidArgumentError("a frontier is cut off");
    frontier.subtree_[level] = *hash;
  }
  if (!reader.Finished()) return absl::InvalidArgumentError("a frontier has a wrong length");
  return frontier;
}

absl::StatusOr<Frontier> Frontier::Read(uint64_t size, const NodeReader& read) {
  if (size >= kTreeMaxSize) return SizeUnknown("the tree size is too large");
  Frontier frontier;
  frontier.size_ = size;
  for (int level = 0; level <= 62; ++level) {
    // The subtree of this level ends where the smaller ones begin.
    if (size >> level & 1) {
      ASSIGN_OR_RETURN(frontier.subtree_[level], read(level, (size >> level) - 1));
    }
  }
  return frontier;
}

bool Frontier::operator==(const Frontier& other) const {
  return size_ == other.size_ && Serialise() == other.Serialise();
}

absl::StatusOr<Digest> RangeRoot(uint64_t begin, uint64_t end, const NodeReader& read) {
  if (begin > end || end >= kTreeMaxSize) {
    return absl::InvalidArgumentError("not a range of leaves");
  }
  if (begin == end) return EmptyRoot();
  if (begin % std::bit_ceil(end - begin) != 0) {
    return absl::InvalidArgumentError("the range is not a subtree: its beginning is not aligned");
  }
  return AlignedRoot(begin, end, read);
}

absl::StatusOr<Digest> TreeRoot(uint64_t size, const NodeReader& read) {
  return RangeRoot(0, size, read);
}

absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size,
                                                   const NodeReader& read) {
  if (size >= kTreeMaxSize || index >= size) {
    return SizeUnknown(absl::StrCat("no leaf ", index, " in a tree of size ", size));
  }
  std::vector<Digest> path;
  RETURN_IF_ERROR(AppendPath(index, 0, size, read, path));
  return path;
}

absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t first, uint64_t second,
                                                     const NodeReader& read) {
  if (first == 0 || first > second || second >= kTreeMaxSize) {
    return SizeUnknown(absl::StrCat("no consistency proof from ", first, " to ", second));
  }
  std::vector<Digest> path;
  RETURN_IF_ERROR(AppendSubproof(first, 0, second, true, read, path));
  return path;
}

absl::Status VerifyInclusion(uint64_t index, uint64_t size, const Digest& leaf_hash,
                             const std::vector<Digest>& proof, const Digest& root) {
  if (index >= size) return NotProven("the leaf lies beyond the tree");
  uint64_t fn = index, sn = size - 1;
  Digest hash = leaf_hash;
  for (const Digest& sibling : proof) {
    if (sn == 0) return NotProven("the inclusion proof is too long");
    if ((fn & 1) || fn == sn) {
      hash = NodeHash(sibling, hash);
      for (; !(fn & 1) && fn != 0; fn >>= 1) sn >>= 1;
    } else {
      hash = NodeHash(hash, sibling);
    }
    fn >>= 1;
    sn >>= 1;
  }
  if (sn != 0) return NotProven("the inclusion proof is too short");
  if (hash != root) return NotProven("the inclusion proof leads to another root");
  return absl::OkStatus();
}

absl::Status VerifyConsistency(uint64_t first, uint64_t second, const Digest& first_root,
                               const Digest& second_root, const std::vector<Digest>& proof) {
  if (first == 0) return NotProven("a first size of 0 proves nothing");
  if (first > second) return NotProven("the first tree is larger than the second");
  if (first == second) {
    if (!proof.empty()) return NotProven("a consistency proof of equal sizes is empty");
    if (first_root != second_root) return NotProven("two roots for one size");
    return absl::OkStatus();
  }
  if (proof.empty()) return NotProven("the consistency proof is empty");
  // Where the first size is a power of two its root is the first hash, and is left out.
  const bool implied = std::has_single_bit(first);
  uint64_t fn = first - 1, sn = second - 1;
  for (; fn & 1; fn >>= 1) sn >>= 1;
  Digest fr = implied ? first_root : proof[0], sr = fr;
  for (size_t i = implied ? 0 : 1; i < proof.size(); ++i) {
    if (sn == 0) return NotProven("the consistency proof is too long");
    if ((fn & 1) || fn == sn) {
      fr = NodeHash(proof[i], fr);
      sr = NodeHash(proof[i], sr);
      for (; !(fn & 1) && fn != 0; fn >>= 1) sn >>= 1;
    } else {
      sr = NodeHash(sr, proof[i]);
    }
    fn >>= 1;
    sn >>= 1;
  }
  if (sn != 0) return NotProven("the consistency proof is too short");
  if (fr != first_root) return NotProven("the consistency proof does not give the first root");
  if (sr != second_root) return NotProven("the consistency proof does not give the second root");
  return absl::OkStatus();
}

}  // namespace rochdale::crypto
