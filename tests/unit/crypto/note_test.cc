#include "libs/crypto/note.h"

#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "libs/crypto/base64.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tlog_proof.h"

namespace rochdale::crypto {
namespace {

const KeyPair kLogKey = KeyPair::FromSeed({1});
const KeyPair kWitnessKey = KeyPair::FromSeed({2});
constexpr char kOrigin[] = "rochdale.example/log";
constexpr char kWitness[] = "witness.example";

NoteKey LogKey() { return {kOrigin, NoteAlgorithm::kEd25519, kLogKey.public_key()}; }
NoteKey WitnessKey() { return {kWitness, NoteAlgorithm::kCosignatureV1, kWitnessKey.public_key()}; }

Note SampleNote() {
  Note note = *SignCheckpoint({kOrigin, 42, Sha256("root")}, kLogKey);
  note.signatures.push_back(*CosignNote(kWitness, kWitnessKey, note.text, 1'700'000'000));
  return note;
}

std::string Replace(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST_CASE("Notes of the reference implementation verify") {
  // The example of golang.org/x/mod/sumdb/note.
  const NoteKey key =
      *NoteKey::Parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
  const std::string text =
      "If you think cryptography is the answer to your problem,\n"
      "then you don't know what your problem is.\n";
  const std::string bytes =
      text +
      "\n\xe2\x80\x94 PeterNeumann "
      "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBw"
      "JnAM=\n";
  const Note note = *ParseNote(bytes);
  CHECK(note.text == text);
  CHECK(VerifyNote(note, key).ok());
  CHECK(FormatNote(note) == bytes);
  const std::string seed =
      Base64Decode(Base64::kStandard, "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")->substr(1);
  const KeyPair signer = *KeyPair::FromSeedBytes(seed);
  CHECK(FormatNote({text, {*SignNote("PeterNeumann", signer, text)}}) == bytes);
}

TEST_CASE("Verifier keys have one text form") {
  for (const NoteKey& key : {LogKey(), WitnessKey()}) {
    const std::string text = key.ToString();
    CHECK(*NoteKey::Parse(text) == key);
    CHECK_FALSE(NoteKey::Parse(text + "A").ok());
    CHECK_FALSE(NoteKey::Parse("x" + text).ok());  // the id no longer follows
    CHECK_FALSE(NoteKey::Parse(Replace(text, "+", " +")).ok());
    CHECK_FALSE(NoteKey::Parse(text.substr(0, text.rfind('+'))).ok());
    CHECK_FALSE(NoteKey::Parse(text.substr(text.find('+'))).ok());
  }
  CHECK(LogKey().Id() != NoteKey{kOrigin, NoteAlgorithm::kCosignatureV1, LogKey().key}.Id());
  CHECK_FALSE(NoteKey::Parse("").ok());
  CHECK_FALSE(NoteKey::Parse("a+b+c").ok());
  for (const char* name : {"", "a b", "a+b", "a\nb", "a\tb", "\xc2\xa0", "a\xe3\x80\x80", "\xff"}) {
    CHECK_FALSE(IsNoteName(name));
  }
  CHECK(IsNoteName("example.com/\xc3\xa9"));
}

TEST_CASE("A checkpoint is signed, cosigned and opened") {
  const Note note = SampleNote();
  const std::string bytes = FormatNote(note);
  CHECK(*ParseNote(bytes) == note);
  const auto opened = OpenCheckpoint(bytes, LogKey());
  REQUIRE(opened.ok());
  CHECK(*opened == Checkpoint{kOrigin, 42, Sha256("root")});
  CHECK(*VerifyCosignature(note, WitnessKey()) == 1'700'000'000);
  // Keys are not interchangeable.
  CHECK_FALSE(VerifyNote(note, WitnessKey()).ok());
  CHECK_FALSE(VerifyCosignature(note, LogKey()).ok());
  CHECK_FALSE(VerifyNote(note, {kOrigin, NoteAlgorithm::kEd25519, kWitnessKey.public_key()}).ok());
  CHECK_FALSE(VerifyNote(note, {"other", NoteAlgorithm::kEd25519, kLogKey.public_key()}).ok());
  CHECK_FALSE(VerifyNote(note, {kOrigin, NoteAlgorithm::kCosignatureV1, LogKey().key}).ok());
  // The time is signed.
  Note moved = note;
  moved.signatures[1].bytes[7] ^= 1;
  CHECK_FALSE(VerifyCosignature(moved, WitnessKey()).ok());
  // A log that signs for another origin.
  const std::string other_text = Checkpoint{"other.example", 1, Sha256("x")}.ToText();
  const Note other{other_text, {*SignNote(kOrigin, kLogKey, other_text)}};
  CHECK(VerifyNote(other, LogKey()).ok());
  CHECK_FALSE(OpenCheckpoint(FormatNote(other), LogKey()).ok());
}

TEST_CASE("Unknown signatures are ignored, doubled ones are not") {
  Note note = SampleNote();
  note.signatures.push_back(*SignNote("stranger.example", KeyPair::FromSeed({7}), note.text));
  note.signatures.push_back(note.signatures.back());
  note.signatures.push_back({kOrigin, 12345, "another key of the same name"});
  CHECK(VerifyNote(note, LogKey()).ok());
  CHECK(VerifyNote(*ParseNote(FormatNote(note)), LogKey()).ok());
  note.signatures.push_back(note.signatures.front());
  CHECK_FALSE(VerifyNote(note, LogKey()).ok());
}

TEST_CASE("Malformed notes are refused") {
  const std::string good = FormatNote(SampleNote());
  const std::string dash = "\xe2\x80\x94 ";
  const std::vector<std::string> bad = {
      "", "\n", "\n\n", "text\n", "text\n\n", good.substr(0, good.size() - 1), good + "\n",
      good + "x\n", good + dash + "x\n", good + dash + "x \n", good + dash + "x AAAAAA==\n",
      good + dash + " AAAAAAA=\n", good + dash + "a+b AAAAAAA=\n", good + dash + "x AAAAAAA\n",
      good + dash + "x  AAAAAAA=\n", good + dash + "x AAAAAAA= \n", Replace(good, "\n", "\r\n"),
      Replace(good, "42", "4\x01"), Replace(good, "rochdale", "\xff"), "- x AAAAAAA=\n",
      dash + "x AAAAAAA=\n", std::string(kNoteMaxBytes, '\n') + good};
  for (const std::string& bytes : bad) {
    INFO(bytes.substr(0, 200));
    CHECK_FALSE(ParseNote(bytes).ok());
  }
  std::string many = good;
  for (size_t i = 2; i < kNoteMaxSignatures; ++i) many += dash + "x AAAAAAA=\n";
  CHECK(ParseNote(many).ok());
  CHECK_FALSE(ParseNote(many + dash + "x AAAAAAA=\n").ok());
  // Empty lines in the text belong to it: the last one separates.
  const std::string text = "a\n\nb\n\n";
  const Note note{text, {*SignNote(kOrigin, kLogKey, text)}};
  CHECK(ParseNote(FormatNote(note))->text == text);
  CHECK_FALSE(SignNote(kOrigin, kLogKey, "no newline").ok());
  CHECK_FALSE(SignNote("a b", kLogKey, "text\n").ok());
  CHECK_FALSE(CosignNote(kWitness, kWitnessKey, "text\n", -1).ok());
}

TEST_CASE("A checkpoint has one text form") {
  const Checkpoint checkpoint{kOrigin, 0, EmptyRoot()};
  const std::string text = checkpoint.ToText();
  CHECK(text == "rochdale.example/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
  CHECK(*Checkpoint::Parse(text) == checkpoint);
  const std::vector<std::string> bad = {
      "", "a\n1\n", text + "extension\n", text + "\n", text.substr(0, text.size() - 1),
      Replace(text, "\n0\n", "\n00\n"), Replace(text, "\n0\n", "\n+0\n"),
      Replace(text, "\n0\n", "\n-1\n"), Replace(text, "\n0\n", "\n 1\n"),
      Replace(text, "\n0\n", "\n\n"), Replace(text, "\n0\n", "\n18446744073709551616\n"),
      Replace(text, "\n0\n", "\n0x1\n"), Replace(text, kOrigin, ""), Replace(text, "uFU=", "uFV="),
      Replace(text, "47DE", ""), Replace(text, "=", "")};
  for (const std::string& bytes : bad) {
    INFO(bytes);
    CHECK_FALSE(Checkpoint::Parse(bytes).ok());
  }
  CHECK(Checkpoint::Parse(Replace(text, "\n0\n", "\n18446744073709551615\n"))->size ==
        ~uint64_t{0});
}

TEST_CASE("No mutated checkpoint opens as another one") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 engine(seed);
  const std::string good = FormatNote(SampleNote());
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(engine);
  };
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;
    for (size_t edits = 1 + below(3); edits > 0 && !bytes.empty(); --edits) {
      const size_t at = below(bytes.size());
      switch (below(4)) {
        case 0: bytes[at] = static_cast<char>(below(256)); break;
        case 1: bytes.erase(at, 1 + below(4)); break;
        case 2: bytes.insert(at, 1, "\n+ 0A="[below(6)]); break;
        case 3: bytes.insert(at, good.substr(below(good.size()), 20)); break;
      }
    }
    const auto parsed = ParseNote(bytes);
    if (parsed.ok()) REQUIRE(FormatNote(*parsed) == bytes);
    const auto opened = OpenCheckpoint(bytes, LogKey());
    if (opened.ok()) REQUIRE(*opened == Checkpoint{kOrigin, 42, Sha256("root")});
  }
}

TEST_CASE("A receipt proves its entry and no other") {
  std::vector<Digest> leaves;
  Frontier frontier;
  std::map<std::pair<int, uint64_t>, Digest> nodes;
  for (int i = 0; i < 11; ++i) {
    frontier.Append(LeafHash("entry " + std::to_string(i)),
                    [&](int level, uint64_t index, const Digest& hash) {
                      nodes[{level, index}] = hash;
                    });
  }
  const NodeReader read = [&](int level, uint64_t index) -> absl::StatusOr<Digest> {
    return nodes.at({level, index});
  };
  const std::string checkpoint =
      FormatNote(*SignCheckpoint({kOrigin, 11, frontier.Root()}, kLogKey));
  for (uint64_t index = 0; index < 11; ++index) {
    TlogProof proof{index, *InclusionProof(index, 11, read), checkpoint, ""};
    const std::string entry = "entry " + std::to_string(index);
    const TlogProof parsed = *TlogProof::Parse(proof.ToText());
    CHECK(parsed == proof);
    CHECK(VerifyTlogProof(parsed, entry, LogKey())->size == 11);
    CHECK_FALSE(VerifyTlogProof(parsed, entry + "x", LogKey()).ok());
    CHECK_FALSE(VerifyTlogProof(parsed, entry, WitnessKey()).ok());
    proof.index = (index + 1) % 11;
    CHECK_FALSE(VerifyTlogProof(proof, entry, LogKey()).ok());
  }
  TlogProof proof{0, {Sha256("a")}, "checkpoint\n", "extra \xff"};
  const std::string text = proof.ToText();
  CHECK(text == "c2sp.org/tlog-proof@v1\nextra ZXh0cmEg/w==\nindex 0\n"
                "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=\n\ncheckpoint\n");
  CHECK(*TlogProof::Parse(text) == proof);
  for (const std::string& bad :
       {std::string(), text.substr(1), Replace(text, "@v1", "@v2"), Replace(text, "ZXh0", "ZX-0"),
        Replace(text, "extra ZXh0cmEg/w==", "extra "), Replace(text, "index 0", "index 00"),
        Replace(text, "index 0", "index"), Replace(text, "\n\n", "\n"), Replace(text, "ypeB", ""),
        Replace(text, "index 0\n", ""), Replace(text, "\n", "\r\n")}) {
    INFO(bad);
    CHECK_FALSE(TlogProof::Parse(bad).ok());
  }
  std::string long_proof = "c2sp.org/tlog-proof@v1\nindex 0\n";
  for (int i = 0; i < 65; ++i) long_proof += "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=\n";
  CHECK_FALSE(TlogProof::Parse(long_proof + "\n").ok());
}

}  // namespace
}  // namespace rochdale::crypto
