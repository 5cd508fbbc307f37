#include "libs/crypto/merkle.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "libs/base/errors.h"
#include "libs/crypto/base64.h"
#include "tests/unit/crypto/vectors.h"

namespace rochdale::crypto {
namespace {

// The definitions of RFC 9162 2.1.1, on a list of leaf hashes: slow and plain.
Digest SlowRoot(const std::vector<Digest>& leaves, size_t begin, size_t end) {
  if (begin == end) return Sha256("");
  if (end - begin == 1) return leaves[begin];
  size_t k = 1;
  while (2 * k < end - begin) k *= 2;
  return NodeHash(SlowRoot(leaves, begin, begin + k), SlowRoot(leaves, begin + k, end));
}

struct Tree {
  std::vector<Digest> leaves;
  std::map<std::pair<int, uint64_t>, Digest> nodes;
  std::vector<Digest> roots{EmptyRoot()};  // by size
  Frontier frontier;

  explicit Tree(size_t size) {
    for (size_t i = 0; i < size; ++i) {
      leaves.push_back(LeafHash("leaf " + std::to_string(i)));
      frontier.Append(leaves.back(), [&](int level, uint64_t index, const Digest& hash) {
        REQUIRE(nodes.emplace(std::make_pair(level, index), hash).second);  // told once
      });
      roots.push_back(frontier.Root());
    }
  }
  // Knows only nodes that are complete in a tree of `size` leaves.
  NodeReader Reader(uint64_t size) const {
    return [this, size](int level, uint64_t index) -> absl::StatusOr<Digest> {
      const auto found = nodes.find({level, index});
      if (found == nodes.end() || (index + 1) << level > size) {
        return absl::NotFoundError("read beyond the tree");
      }
      return found->second;
    };
  }
};

constexpr size_t kSizes = 130;

TEST_CASE("The tree has the hashes of RFC 6962") {
  // The eight leaves of the reference implementation's tests, and the roots of their prefixes.
  const std::vector<std::string> entries = {
      "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
      "606162636465666768696a6b6c6d6e6f"};
  const std::vector<std::string> roots = {
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
      "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
      "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
      "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
      "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
      "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
  Frontier frontier;
  for (size_t i = 0; i <= entries.size(); ++i) {
    CHECK(frontier.size() == i);
    CHECK(frontier.Root().ToString() == roots[i]);
    if (i < entries.size()) frontier.Append(LeafHash(*HexDecode(entries[i])));
  }
  CHECK(LeafHash("") == Sha256(std::string(1, '\0')));
  CHECK(LeafHash("abc") == Sha256(std::string("\0abc", 4)));
  CHECK(NodeHash(Sha256("a"), Sha256("b")) ==
        Sha256("\x01" + std::string(Sha256("a").AsBytes()) + std::string(Sha256("b").AsBytes())));
}

TEST_CASE("Roots, frontiers and ranges agree with the definition") {
  const Tree tree(kSizes);
  Frontier plain;
  for (size_t size = 0; size <= kSizes; ++size) {
    REQUIRE(tree.roots[size] == SlowRoot(tree.leaves, 0, size));
    REQUIRE(*TreeRoot(size, tree.Reader(size)) == tree.roots[size]);
    const Frontier read = *Frontier::Read(size, tree.Reader(size));
    REQUIRE(read == plain);
    REQUIRE(read.Root() == tree.roots[size]);
    const Frontier parsed = *Frontier::Parse(read.Serialise());
    REQUIRE(parsed == plain);
    REQUIRE(parsed.Root() == tree.roots[size]);
    if (size < kSizes) plain.Append(tree.leaves[size]);
  }
  for (size_t begin = 0; begin <= 64; ++begin) {
    for (size_t end = begin + 1; end <= 64; ++end) {
      size_t width = 1;
      while (width < end - begin) width *= 2;
      const auto root = RangeRoot(begin, end, tree.Reader(64));
      REQUIRE(root.ok() == (begin % width == 0));
      if (root.ok()) REQUIRE(*root == SlowRoot(tree.leaves, begin, end));
    }
  }
  CHECK_FALSE(RangeRoot(2, 1, tree.Reader(64)).ok());
  CHECK_FALSE(TreeRoot(kTreeMaxSize, tree.Reader(64)).ok());
}

TEST_CASE("A frontier is read strictly") {
  const Tree tree(13);
  const std::string bytes = tree.frontier.Serialise();
  CHECK(bytes.size() == 8 + 3 * 32);
  for (size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(Frontier::Parse(bytes.substr(0, size)).ok());
  }
  CHECK_FALSE(Frontier::Parse(bytes + "x").ok());
  CHECK_FALSE(Frontier::Parse(std::string(8, '\xff') + std::string(64 * 32, 'x')).ok());
  CHECK(Frontier::Parse(std::string(8, '\0'))->Root() == EmptyRoot());
}

TEST_CASE("Inclusion proofs of every leaf in every size verify, and only there") {
  const Tree tree(kSizes);
  for (size_t size = 1; size <= kSizes; ++size) {
    for (size_t index = 0; index < size; ++index) {
      const auto proof = InclusionProof(index, size, tree.Reader(size));
      REQUIRE(proof.ok());
      const auto verify = [&](uint64_t i, uint64_t n, const Digest& leaf, const auto& path,
                              const Digest& root) {
        return VerifyInclusion(i, n, leaf, path, root).ok();
      };
      const Digest& leaf = tree.leaves[index];
      const Digest& root = tree.roots[size];
      REQUIRE(verify(index, size, leaf, *proof, root));
      REQUIRE_FALSE(verify(index, size, NodeHash(leaf, leaf), *proof, root));
      REQUIRE_FALSE(verify(index, size, leaf, *proof, tree.roots[size - 1]));
      REQUIRE_FALSE(verify(index + 1, size, leaf, *proof, root));
      REQUIRE_FALSE(verify(size, size, leaf, *proof, root));
      std::vector<Digest> changed = *proof;
      changed.push_back(leaf);
      REQUIRE_FALSE(verify(index, size, leaf, changed, root));
      changed = *proof;
      if (changed.empty()) continue;
      changed.pop_back();
      REQUIRE_FALSE(verify(index, size, leaf, changed, root));
      for (size_t i = 0; i < proof->size(); ++i) {
        changed = *proof;
        changed[i].bytes[i % 32] ^= 0x10;
        REQUIRE_FALSE(verify(index, size, leaf, changed, root));
      }
    }
  }
}

TEST_CASE("Consistency proofs between all sizes verify, and only there") {
  const Tree tree(kSizes);
  for (size_t second = 1; second <= kSizes; ++second) {
    for (size_t first = 1; first <= second; ++first) {
      const auto proof = ConsistencyProof(first, second, tree.Reader(second));
      REQUIRE(proof.ok());
      const auto verify = [&](uint64_t m, uint64_t n, const Digest& old_root,
                              const Digest& new_root, const auto& path) {
        return VerifyConsistency(m, n, old_root, new_root, path).ok();
      };
      const Digest& a = tree.roots[first];
      const Digest& b = tree.roots[second];
      REQUIRE(verify(first, second, a, b, *proof));
      REQUIRE_FALSE(verify(first, second, tree.roots[first - 1], b, *proof));
      REQUIRE_FALSE(verify(first, second, a, tree.roots[second - 1], *proof));
      REQUIRE_FALSE(verify(0, second, a, b, *proof));
      std::vector<Digest> changed = *proof;
      changed.push_back(a);
      REQUIRE_FALSE(verify(first, second, a, b, changed));
      if (first == second) continue;
      REQUIRE_FALSE(verify(second, first, b, a, *proof));
      REQUIRE_FALSE(verify(first, second, b, a, *proof));
      changed.pop_back();
      changed.pop_back();
      REQUIRE_FALSE(verify(first, second, a, b, changed));
      for (size_t i = 0; i < proof->size(); ++i) {
        changed = *proof;
        changed[i].bytes[i % 32] ^= 0x10;
        REQUIRE_FALSE(verify(first, second, a, b, changed));
      }
    }
  }
}

TEST_CASE("Proofs beyond the tree are refused") {
  const Tree tree(5);
  const NodeReader read = tree.Reader(5);
  CHECK(ReasonOf(InclusionProof(5, 5, read).status()) == "LOG_SIZE_UNKNOWN");
  CHECK(ReasonOf(InclusionProof(0, 0, read).status()) == "LOG_SIZE_UNKNOWN");
  CHECK(ReasonOf(InclusionProof(0, ~uint64_t{0}, read).status()) == "LOG_SIZE_UNKNOWN");
  CHECK(ReasonOf(ConsistencyProof(0, 5, read).status()) == "LOG_SIZE_UNKNOWN");
  CHECK(ReasonOf(ConsistencyProof(5, 4, read).status()) == "LOG_SIZE_UNKNOWN");
  CHECK(absl::IsNotFound(InclusionProof(0, 6, read).status()));  // the reader's own error
  CHECK_FALSE(VerifyInclusion(0, 0, EmptyRoot(), {}, EmptyRoot()).ok());
  CHECK_FALSE(VerifyConsistency(0, 0, EmptyRoot(), EmptyRoot(), {}).ok());
  CHECK_FALSE(VerifyConsistency(0, 5, EmptyRoot(), tree.roots[5], {}).ok());
}

// Hashes that fit each other but not the sizes: only the count of levels gives these away.
TEST_CASE("A proof for one size does not serve another") {
  const Tree tree(8);
  const auto leaf = [&](int i) { return tree.leaves[static_cast<size_t>(i)]; };
  // The proof of leaf 0 of 4, said to be in a tree of 8 that has the root of 4.
  const std::vector<Digest> of_four = *InclusionProof(0, 4, tree.Reader(4));
  REQUIRE(VerifyInclusion(0, 4, leaf(0), of_four, tree.roots[4]).ok());
  CHECK_FALSE(VerifyInclusion(0, 8, leaf(0), of_four, tree.roots[4]).ok());
  CHECK_FALSE(VerifyInclusion(0, 3, leaf(0), {leaf(1)}, tree.roots[2]).ok());
  // One hash more than the tree has levels, and the root that it would give.
  CHECK_FALSE(VerifyInclusion(0, 1, leaf(0), {leaf(1)}, NodeHash(leaf(1), leaf(0))).ok());
  std::vector<Digest> longer = of_four;
  longer.push_back(leaf(7));
  CHECK_FALSE(VerifyInclusion(0, 4, leaf(0), longer, NodeHash(leaf(7), tree.roots[4])).ok());

  const std::vector<Digest> three_four = *ConsistencyProof(3, 4, tree.Reader(4));
  REQUIRE(VerifyConsistency(3, 4, tree.roots[3], tree.roots[4], three_four).ok());
  CHECK_FALSE(VerifyConsistency(3, 8, tree.roots[3], tree.roots[4], three_four).ok());
  longer = three_four;
  longer.push_back(leaf(7));
  CHECK_FALSE(VerifyConsistency(3, 4, NodeHash(leaf(7), tree.roots[3]),
                                NodeHash(leaf(7), tree.roots[4]), longer).ok());
}

TEST_CASE("Random trees of many sizes") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 engine(seed);
  const Tree tree(5'000);
  for (int round = 0; round < 500; ++round) {
    const uint64_t second = 1 + engine() % 5'000, first = 1 + engine() % second;
    const uint64_t index = engine() % second;
    REQUIRE(VerifyInclusion(index, second, tree.leaves[index],
                            *InclusionProof(index, second, tree.Reader(second)),
                            tree.roots[second]).ok());
    REQUIRE(VerifyConsistency(first, second, tree.roots[first], tree.roots[second],
                              *ConsistencyProof(first, second, tree.Reader(second))).ok());
  }
}

// A hash of the vectors. Some cases have values of other lengths on purpose; our types cannot hold
// those, so another hash stands for each: equal values stay equal, wrong ones stay wrong. An empty
// value equals nothing, itself included.
Digest HashOf(const nlohmann::json& value) {
  const auto raw = Base64Decode(Base64::kStandard, value.is_null() ? "" : value.get<std::string>());
  REQUIRE(raw.ok());
  static int empties = 0;
  if (raw->empty()) return Sha256("empty value " + std::to_string(++empties));
  const auto digest = Digest::FromBytes(*raw);
  return digest.ok() ? *digest : Sha256(*raw);
}

std::vector<Digest> ProofOf(const nlohmann::json& value) {
  std::vector<Digest> proof;
  if (value.is_null()) return proof;
  for (const auto& item : value) proof.push_back(HashOf(item));
  return proof;
}

TEST_CASE("Merkle proofs agree with the public vectors") {
  const std::string folder = VectorsFolder("Merkle proofs");
  if (folder.empty()) return;
  size_t inclusion = 0, consistency = 0, accepted = 0;
  for (const auto& item :
       std::filesystem::recursive_directory_iterator(folder + "/rfc6962/inclusion")) {
    if (!item.is_regular_file()) continue;
    const nlohmann::json test = ReadJson(item.path().string());
    INFO(item.path().string() << ": " << test["desc"]);
    const std::vector<Digest> proof = ProofOf(test["proof"]);
    const Digest leaf = HashOf(test["leafHash"]), root = HashOf(test["root"]);
    const bool ok = VerifyInclusion(test["leafIdx"], test["treeSize"], leaf, proof, root).ok();
    CHECK(ok == !test["wantErr"].get<bool>());
    accepted += ok;
    ++inclusion;
  }
  for (const auto& item :
       std::filesystem::recursive_directory_iterator(folder + "/rfc6962/consistency")) {
    if (!item.is_regular_file()) continue;
    const nlohmann::json test = ReadJson(item.path().string());
    INFO(item.path().string() << ": " << test["desc"]);
    const std::vector<Digest> proof = ProofOf(test["proof"]);
    const Digest first = HashOf(test["root1"]), second = HashOf(test["root2"]);
    const bool ok = VerifyConsistency(test["size1"], test["size2"], first, second, proof).ok();
    // A first size of 0 proves nothing, whatever laxer verifiers say.
    CHECK(ok == (!test["wantErr"].get<bool>() && test["size1"] != 0));
    accepted += ok;
    ++consistency;
  }
  CHECK(inclusion > 50);
  CHECK(consistency > 50);
  CHECK(accepted > 5);
}

// Not a bound that a busy machine could break: a figure to read, and a check for a blunder of 20x.
TEST_CASE("A leaf hash takes about a microsecond") {
  const std::string entry(300, 'e');
  double best_us = 1e9;
  for (int round = 0; round < 20; ++round) {
    const auto start = std::chrono::steady_clock::now();
    uint8_t sink = 0;
    for (int i = 0; i < 2'000; ++i) sink ^= LeafHash(entry).bytes[0];
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    best_us = std::min(best_us, took.count() / 2'000 + (sink == 77 ? 1e-9 : 0));
  }
  std::printf("LeafHash of 300 bytes: %.3f us\n", best_us);
  CHECK(best_us < 20);
}

}  // namespace
}  // namespace rochdale::crypto
