#include "libs/crypto/ed25519.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "libs/crypto/sha256.h"
#include "tests/unit/crypto/vectors.h"

namespace rochdale::crypto {
namespace {

KeyPair KeyOf(absl::string_view seed_hex) { return *KeyPair::FromSeedBytes(*HexDecode(seed_hex)); }

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "rochdale-keys-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

void WriteFile(const std::string& path, const std::string& content, mode_t mode) {
  std::ofstream(path) << content;
  REQUIRE(chmod(path.c_str(), mode) == 0);
}

TEST_CASE("Ed25519 has the values of RFC 8032") {
  struct Row {
    const char *seed, *key, *message, *signature;
  };
  const std::vector<Row> rows = {
      {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
       "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
       "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
       "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
      {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
       "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
       "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
       "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
      {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
       "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
       "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
       "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
  };
  for (const Row& row : rows) {
    const KeyPair key = KeyOf(row.seed);
    const std::string message = *HexDecode(row.message);
    CHECK(key.public_key().ToString() == row.key);
    CHECK(key.SeedHex() == row.seed);
    const Signature signature = key.Sign(message);
    CHECK(HexEncode(signature.AsBytes()) == row.signature);
    CHECK(Verify(key.public_key(), message, signature));
    CHECK_FALSE(Verify(key.public_key(), message + "x", signature));
    for (size_t bit = 0; bit < 512; bit += 7) {
      Signature broken = signature;
      broken.bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
      CHECK_FALSE(Verify(key.public_key(), message, broken));
    }
  }
}

TEST_CASE("Verification is strict about keys and scalars") {
  // With a small-order key, R = identity and S = 0 satisfy the bare equation for every message.
  Signature identity;
  identity.bytes[0] = 1;
  PublicKey small_order;
  small_order.bytes[0] = 1;
  CHECK_FALSE(Verify(small_order, "any", identity));
  CHECK_FALSE(Verify(PublicKey{}, "any", identity));
  // S + L is the same scalar: malleable unless S < L is asked.
  const KeyPair key = KeyOf(std::string(64, '7'));
  Signature signature = key.Sign("m");
  const std::string order = *HexDecode(
      "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  int carry = 0;
  for (int i = 0; i < 32; ++i) {
    const int sum = signature.bytes[32 + i] + static_cast<uint8_t>(order[i]) + carry;
    signature.bytes[32 + i] = static_cast<uint8_t>(sum);
    carry = sum >> 8;
  }
  REQUIRE(carry == 0);
  CHECK_FALSE(Verify(key.public_key(), "m", signature));
}

TEST_CASE("Ed25519 agrees with Wycheproof") {
  const std::string folder = VectorsFolder("Wycheproof Ed25519");
  if (folder.empty()) return;
  const nlohmann::json file = ReadJson(folder + "/ed25519/ed25519_test.json");
  size_t tried = 0;
  for (const auto& group : file["testGroups"]) {
    const auto key = PublicKey::Parse(group["publicKey"]["pk"].get<std::string>());
    REQUIRE(key.ok());
    for (const auto& test : group["tests"]) {
      const auto raw = HexDecode(test["sig"].get<std::string>());
      const auto signature = Signature::FromBytes(raw.ok() ? *raw : "");
      const std::string message = *HexDecode(test["msg"].get<std::string>());
      INFO("tcId " << test["tcId"] << " " << test["comment"]);
      const bool verified = signature.ok() && Verify(*key, message, *signature);
      CHECK(verified == (test["result"] == "valid"));
      ++tried;
    }
  }
  CHECK(tried == file["numberOfTests"].get<size_t>());
}

TEST_CASE("Keys are generated from the bytes that are injected") {
  std::mt19937 engine(11);
  const RandomBytes seeded = [&](uint8_t* out, size_t size) {
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(engine());
  };
  const KeyPair first = KeyPair::Generate(seeded), second = KeyPair::Generate(seeded);
  CHECK(first.public_key() != second.public_key());
  engine.seed(11);
  CHECK(KeyPair::Generate(seeded).public_key() == first.public_key());
  CHECK(KeyPair::Generate(SystemRandomBytes()).public_key() !=
        KeyPair::Generate(SystemRandomBytes()).public_key());
  CHECK_FALSE(KeyPair::FromSeedBytes("short").ok());
  CHECK(*PublicKey::Parse(first.public_key().ToString()) == first.public_key());
  CHECK_FALSE(PublicKey::Parse(std::string(64, 'A')).ok());
  CHECK_FALSE(PublicKey::Parse("00").ok());
  CHECK_FALSE(PublicKey::FromBytes(std::string(33, 'a')).ok());
  CHECK_FALSE(Signature::FromBytes(std::string(63, 'a')).ok());
}

TEST_CASE("Key files are private and never overwritten") {
  const TemporaryFolder folder;
  const KeyPair key = KeyOf(std::string(64, '3'));
  const std::string path = folder.File("agent.key");
  CHECK(absl::IsNotFound(LoadKeyFile(path).status()));
  REQUIRE(WriteKeyFile(path, key).ok());
  struct stat info;
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  CHECK(LoadKeyFile(path)->public_key() == key.public_key());
  CHECK(absl::IsAlreadyExists(WriteKeyFile(path, KeyOf(std::string(64, '4')))));
  CHECK(LoadKeyFile(path)->public_key() == key.public_key());
  for (const mode_t mode : {0640, 0604, 0620, 0666, 0610}) {
    REQUIRE(chmod(path.c_str(), mode) == 0);
    CHECK(absl::IsPermissionDenied(LoadKeyFile(path).status()));
  }
  REQUIRE(chmod(path.c_str(), 0400) == 0);
  CHECK(LoadKeyFile(path).ok());
}

TEST_CASE("Malformed key files are refused without quoting them") {
  const TemporaryFolder folder;
  const std::string seed(64, '3');
  const std::vector<std::string> contents = {
      "", "\n", seed.substr(1), seed + "3", seed + "\n\n", seed + " ", " " + seed.substr(1),
      std::string(63, '3') + "g", std::string(64, 'A'), std::string(1000, '3')};
  for (size_t i = 0; i < contents.size(); ++i) {
    const std::string path = folder.File("bad" + std::to_string(i));
    WriteFile(path, contents[i], 0600);
    const auto key = LoadKeyFile(path);
    CHECK(absl::IsInvalidArgument(key.status()));
    CHECK(std::string(key.status().message()).find("3333") == std::string::npos);
  }
  CHECK_FALSE(LoadKeyFile(folder.File("")).ok());  // a directory
  REQUIRE(mkfifo(folder.File("pipe").c_str(), 0600) == 0);
  CHECK_FALSE(LoadKeyFile(folder.File("pipe")).ok());
}

}  // namespace
}  // namespace rochdale::crypto
