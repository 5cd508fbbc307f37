// Proofs: receipts (tlog-proof files) and bare Merkle proofs. What verifies is true of a tree that
// the target knows in full; what parses is written the same again.
//
// The first byte says what the rest is: 0 a receipt, 1 an inclusion proof (index u64, size u64,
// leaf 32 bytes, hashes), 2 a consistency proof (first u64, second u64, first root, hashes), 3 a
// frontier.
#include "libs/crypto/canonical.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tlog_proof.h"
#include "tests/fuzz/target.h"

using namespace rochdale::crypto;  // NOLINT: a program of its own

namespace {

constexpr uint64_t kSize = 37;
const char kOrigin[] = "fuzz.example/log";
KeyPair LogKey() { return KeyPair::FromSeed({1, 2, 3}); }
std::string EntryAt(uint64_t index) { return "entry " + std::to_string(index); }

// By the definition of RFC 9162 2.1.1, without the code under test but its two hashes.
Digest Root(uint64_t begin, uint64_t end) {
  if (end - begin == 1) return LeafHash(EntryAt(begin));
  uint64_t left = 1;
  while (left * 2 < end - begin) left *= 2;
  return NodeHash(Root(begin, begin + left), Root(begin + left, end));
}
const std::vector<Digest>& Roots() {
  static const std::vector<Digest> roots = [] {
    std::vector<Digest> all = {EmptyRoot()};
    for (uint64_t size = 1; size <= kSize; ++size) all.push_back(Root(0, size));
    return all;
  }();
  return roots;
}

std::vector<Digest> Hashes(CanonicalReader& reader) {
  std::vector<Digest> hashes;
  while (reader.remaining() >= 32 && hashes.size() < 200) {
    hashes.push_back(Digest::FromBytes(reader.Raw(32)).value());
  }
  return hashes;
}

void TryReceipt(absl::string_view text) {
  const absl::StatusOr<TlogProof> proof = TlogProof::Parse(text);
  if (!proof.ok()) return;
  FUZZ_CHECK(proof->ToText() == text);
  const NoteKey log{kOrigin, NoteAlgorithm::kEd25519, LogKey().public_key()};
  for (const uint64_t index : {uint64_t{0}, uint64_t{20}, kSize - 1}) {
    if (!VerifyTlogProof(*proof, EntryAt(index), log).ok()) continue;
    FUZZ_CHECK(proof->index == index);
  }
  FUZZ_CHECK(!VerifyTlogProof(*proof, "an entry that never was", log).ok());
}

void TryInclusion(CanonicalReader& reader) {
  const uint64_t index = reader.U64(), size = reader.U64();
  const auto leaf = Digest::FromBytes(reader.Raw(32));
  if (!leaf.ok()) return;
  const std::vector<Digest> hashes = Hashes(reader);
  // A root says nothing about another size: that is what the signed head is for.
  const Digest& root = Roots()[size <= kSize ? size : 0];
  if (!VerifyInclusion(index, size, *leaf, hashes, root).ok()) return;
  FUZZ_CHECK(size <= kSize && index < size);
  FUZZ_CHECK(*leaf == LeafHash(EntryAt(index)));
}

void TryConsistency(CanonicalReader& reader) {
  const uint64_t first = reader.U64(), second = reader.U64();
  const auto root = Digest::FromBytes(reader.Raw(32));
  if (!root.ok()) return;
  const std::vector<Digest> hashes = Hashes(reader);
  const Digest& later = Roots()[second <= kSize ? second : 0];
  if (!VerifyConsistency(first, second, *root, later, hashes).ok()) return;
  FUZZ_CHECK(first >= 1 && first <= second && second <= kSize);
  FUZZ_CHECK(*root == Roots()[first]);
}

NodeReader Nodes() {
  return [](int level, uint64_t index) -> absl::StatusOr<Digest> {
    return Root(index << level, (index + 1) << level);
  };
}

std::string Joined(const std::vector<Digest>& hashes) {
  std::string bytes;
  for (const Digest& hash : hashes) bytes += std::string(hash.AsBytes());
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  CanonicalReader reader(rest);
  switch (data[0]) {
    case 0: TryReceipt(rest); break;
    case 1: TryInclusion(reader); break;
    case 2: TryConsistency(reader); break;
    case 3:
      if (const auto frontier = Frontier::Parse(rest); frontier.ok()) {
        FUZZ_CHECK(frontier->Serialise() == rest);
        (void)frontier->Root();
      }
      break;
  }
  return 0;
}

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds;
  const Note head = SignCheckpoint({kOrigin, kSize, Roots()[kSize]}, LogKey()).value();
  for (const uint64_t index : {uint64_t{0}, uint64_t{20}, kSize - 1}) {
    TlogProof proof{index, InclusionProof(index, kSize, Nodes()).value(), FormatNote(head), ""};
    seeds.push_back(std::string(1, '\0') + proof.ToText());
    seeds.push_back(std::move(CanonicalWriter().U8(1).U64(index).U64(kSize)
                                  .Raw(LeafHash(EntryAt(index)).AsBytes())
                                  .Raw(Joined(proof.hashes))).Take());
  }
  for (const uint64_t first : {1, 4, 17, 32, 37}) {
    seeds.push_back(std::move(CanonicalWriter().U8(2).U64(first).U64(kSize)
                                  .Raw(Roots()[first].AsBytes())
                                  .Raw(Joined(ConsistencyProof(first, kSize, Nodes()).value())))
                        .Take());
  }
  Frontier frontier;
  for (uint64_t i = 0; i < kSize; ++i) frontier.Append(LeafHash(EntryAt(i)));
  seeds.push_back(std::string(1, '\3') + frontier.Serialise());
  return seeds;
}
