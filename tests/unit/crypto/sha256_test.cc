#include "libs/crypto/sha256.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace rochdale::crypto {
namespace {

TEST_CASE("SHA-256 has the values of FIPS 180-4") {
  struct Row {
    std::string data;
    std::string digest;
  };
  const std::vector<Row> rows = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {std::string(1'000'000, 'a'),
       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const Row& row : rows) {
    CHECK(Sha256(row.data).ToString() == row.digest);
    Sha256Hasher hasher;
    for (size_t at = 0; at < row.data.size(); at += 4097) {
      hasher.Update(absl::string_view(row.data).substr(at, 4097));
    }
    CHECK(hasher.Finish().ToString() == row.digest);
    CHECK(hasher.Update(row.data).Finish().ToString() == row.digest);  // starts afresh
  }
  CHECK(Sha256Of3("a", "", "bc") == Sha256("abc"));
}

TEST_CASE("HMAC-SHA-256 has the values of RFC 4231") {
  CHECK(HmacSha256(std::string(20, '\x0b'), "Hi There").ToString() ==
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK(HmacSha256("Jefe", "what do ya want for nothing?").ToString() ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(HmacSha256(std::string(131, '\xaa'),
                   "Test Using Larger Than Block-Size Key - Hash Key First")
            .ToString() == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  CHECK(HmacSha256("", "").ToString() ==
        "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
  CHECK(HmacSha256(absl::string_view(), absl::string_view()) == HmacSha256("", ""));
}

TEST_CASE("A digest has one text form") {
  const Digest digest = Sha256("abc");
  CHECK(*Digest::Parse(digest.ToString()) == digest);
  CHECK(*Digest::FromBytes(digest.AsBytes()) == digest);
  std::string upper = digest.ToString();
  upper[0] = 'B';
  CHECK_FALSE(Digest::Parse(upper).ok());
  CHECK_FALSE(Digest::Parse(digest.ToString().substr(1)).ok());
  CHECK_FALSE(Digest::Parse(digest.ToString() + "00").ok());
  CHECK_FALSE(Digest::Parse("").ok());
  CHECK_FALSE(Digest::FromBytes("abc").ok());
  CHECK(Digest{}.IsZero());
  CHECK_FALSE(digest.IsZero());
  CHECK_FALSE(HexDecode("abc").ok());
  CHECK(*HexDecode("00ff") == std::string("\x00\xff", 2));
}

TEST_CASE("Threads hash independently") {
  std::vector<std::thread> threads;
  std::array<int, 4> wrong{};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &wrong] {
      const std::string data(100 + t, static_cast<char>('a' + t));
      Sha256Hasher reference;
      const Digest expected = reference.Update(data).Finish();
      for (int i = 0; i < 2000; ++i) wrong[t] += Sha256(data) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::array<int, 4>{});
}

}  // namespace
}  // namespace rochdale::crypto
