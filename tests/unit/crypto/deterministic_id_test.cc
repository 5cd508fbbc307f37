#include "libs/crypto/deterministic_id.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

namespace rochdale::crypto {
namespace {

TEST_CASE("A deterministic id is a UUID of version 8 over length-prefixed parts") {
  const Digest digest = Sha256(std::string("ROCHDALEid1\0\0\0\x01" "d\0\0\0\x02" "ab", 22));
  Uuid expected = *Uuid::FromBytes(digest.AsBytes().substr(0, 16));
  expected.bytes[6] = static_cast<uint8_t>((expected.bytes[6] & 0x0f) | 0x80);
  expected.bytes[8] = static_cast<uint8_t>((expected.bytes[8] & 0x3f) | 0x80);
  CHECK(DeterministicId("d", "ab") == expected);
  CHECK(DeterministicId("d", "ab").ToString()[14] == '8');
}

TEST_CASE("Different parts give different ids") {
  const AccountId account{{{1, 2, 3}}};
  const std::string raw(account.value.AsBytes());
  std::set<Uuid> ids = {
      DeterministicId("d"),           DeterministicId("d", ""),      DeterministicId("d", "", ""),
      DeterministicId("d", "a"),      DeterministicId("e", "a"),     DeterministicId("d", "a", "b"),
      DeterministicId("d", "ab"),     DeterministicId("d", "b", "a"), DeterministicId("da"),
      DeterministicId("d", account),  DeterministicId("d", 1),       DeterministicId("d", 2),
      DeterministicId("d", account, 1),
  };
  CHECK(ids.size() == 13);
  CHECK(DeterministicId("d", account) == DeterministicId("d", raw));
  CHECK(DeterministicId("d", uint64_t{7}) == DeterministicId("d", 7));
  CHECK(DeterministicId("d", int64_t{-1}) == DeterministicId("d", std::string(8, '\xff')));
  // Stored ids must not change with a later version of this code.
  CHECK(DeterministicId("payout/transfer", account, 1).ToString() ==
        "7384411b-8e3e-8d7e-a55b-17703687d499");
}

TEST_CASE("An id beside another keeps the bytes that order it by time") {
  const Uuid near = *Uuid::Parse("0192f3a4-b5c6-7d7e-8f90-a1b2c3d4e5f6");
  const Uuid id = DeterministicIdBeside("d", near);
  CHECK(id.AsBytes().substr(0, 5) == near.AsBytes().substr(0, 5));
  CHECK(id.AsBytes().substr(5) == DeterministicId("d", near).AsBytes().substr(5));
  // The rest of `near` counts only through the hash.
  Uuid other = near;
  other.bytes[15] ^= 1;
  CHECK(DeterministicIdBeside("d", other) != id);
  CHECK(DeterministicIdBeside("e", near) != id);
}

}  // namespace
}  // namespace rochdale::crypto
