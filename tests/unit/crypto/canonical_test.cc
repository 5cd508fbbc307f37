#include "libs/crypto/canonical.h"

#include <catch2/catch.hpp>
#include <limits>
#include <string>
#include <vector>

namespace rochdale::crypto {
namespace {

TEST_CASE("Integers are big-endian and strings carry their length") {
  CanonicalWriter writer;
  writer.U8(1).U16(0x0203).U32(0x04050607).U64(0x08090a0b0c0d0e0f).I64(-2).Raw("r");
  writer.Prefixed16("ab").Prefixed32("c");
  const std::string expected(
      "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
      "\xff\xff\xff\xff\xff\xff\xff\xfer\x00\x02"
      "ab\x00\x00\x00\x01"
      "c",
      33);
  CHECK(writer.bytes() == expected);
  CanonicalReader reader(writer.bytes());
  CHECK(reader.U8() == 1);
  CHECK(reader.U16() == 0x0203);
  CHECK(reader.U32() == 0x04050607);
  CHECK(reader.U64() == 0x08090a0b0c0d0e0f);
  CHECK(reader.I64() == -2);
  CHECK(reader.Raw(1) == "r");
  CHECK(reader.Prefixed16() == "ab");
  CHECK_FALSE(reader.Finished());
  CHECK(reader.Prefixed32() == "c");
  CHECK(reader.Finished());
}

TEST_CASE("A reader that ran past the end stays failed") {
  CanonicalReader reader(absl::string_view("\x00\x01\x02", 3));
  CHECK(reader.U16() == 1);
  CHECK(reader.U16() == 0);
  CHECK_FALSE(reader.ok());
  CHECK(reader.U8() == 0);  // the byte that was left is not given out
  CHECK(reader.Raw(0).empty());
  CHECK_FALSE(reader.ok());
  CHECK_FALSE(reader.Finished());
  CanonicalReader length(absl::string_view("\xff\xff\xff\xff", 4));
  CHECK(length.Prefixed32().empty());
  CHECK_FALSE(length.ok());
  CanonicalReader huge("abc");
  CHECK(huge.Raw(std::numeric_limits<size_t>::max()).empty());
  CHECK_FALSE(huge.ok());
}

TEST_CASE("UTF-8 is accepted exactly where it is well formed") {
  for (const char* good : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xc3\xa9z"}) {
    CHECK(IsValidUtf8(good));
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf",
                          "\xed\xa0\x80", "\xe1\x80", "\xe1\x80\x41", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf0\x90\x80", "\xff",
                          "a\xc3"}) {
    CHECK_FALSE(IsValidUtf8(bad));
  }
  CHECK(IsValidUtf8(absl::string_view("\0", 1)));
}

}  // namespace
}  // namespace rochdale::crypto
