#include "libs/pg/value.h"

#include <catch2/catch.hpp>
#include <limits>
#include <random>

#include "libs/base/clock.h"
#include "libs/crypto/sha256.h"
#include "libs/pg/rows.h"

namespace rochdale::pg {
namespace {

TEST_CASE("parameters have the text form that PostgreSQL reads") {
  CHECK(Value(std::numeric_limits<int64_t>::min()).text() == "-9223372036854775808");
  CHECK(Value(std::numeric_limits<uint64_t>::max()).text() == "18446744073709551615");
  CHECK(Value(true).text() == "t");
  CHECK(Value(false).text() == "f");
  CHECK(Value("text").text() == "text");
  CHECK(Value(absl::string_view("a\0b", 3)).text() == std::string("a\0b", 3));
  CHECK(Value(Bytes{absl::string_view("\x00\xff\x10", 3)}).text() == "\\x00ff10");
  CHECK(Value(Bytes{""}).text() == "\\x");
  CHECK(Value(absl::FromUnixMicros(-1)).text() == "-1");
  CHECK(Value(0.1).text() == "0.10000000000000001");
  CHECK(Value(std::numeric_limits<double>::infinity()).text() == "Infinity");
  CHECK(Value(std::nullopt).is_null());
  CHECK(Value(std::optional<int64_t>()).is_null());
  CHECK(Value(std::optional<int64_t>(7)).text() == "7");
  const Uuid id = *Uuid::Parse("0190a5b4-0000-7000-8000-0123456789ab");
  CHECK(Value(id).text() == "0190a5b4-0000-7000-8000-0123456789ab");
  CHECK(Value(AccountId{id}).text() == Value(id).text());
  CHECK(Value(crypto::Sha256("")).text() ==
        "\\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_CASE("array elements are quoted where they must be") {
  CHECK(Value(std::vector<int64_t>{}).text() == "{}");
  CHECK(Value(std::vector<int64_t>{1, -2}).text() == "{1,-2}");
  CHECK(Value(std::vector<bool>{true, false}).text() == "{t,f}");
  CHECK(Value(std::vector<std::string>{"a", "", "null", "NULL", "b,c", "d\"e", "f\\g", "{h}"})
            .text() == R"({a,"","null","NULL","b,c","d\"e","f\\g","{h}"})");
  CHECK(Value(std::vector<Bytes>{{"a"}, {""}}).text() == R"({"\\x61","\\x"})");
  CHECK(Value(std::vector<std::optional<int64_t>>{1, std::nullopt}).text() == "{1,NULL}");
}

TEST_CASE("any array of texts reads back as it was") {
  const uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const std::string alphabet = "aN{}\",\\ \t\n0-";
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> texts(random() % 5);
    for (std::string& text : texts) {
      for (size_t i = random() % 6; i > 0; --i) text += alphabet[random() % alphabet.size()];
    }
    std::vector<std::string> back;
    REQUIRE(SplitArray(Value(texts).text(), &back));
    REQUIRE(back == texts);
  }
}

TEST_CASE("malformed arrays and bytes are refused") {
  std::vector<std::string> elements;
  for (const char* text : {"", "{", "}", "1,2", "{1", "{1,}", "{,1}", "{\"a}", "{\"a\"b}", "{\"a\\",
                           "{\"a\\\"}", "{NULL}", "{{1},{2}}", "{1}x"}) {
    INFO(text);
    CHECK_FALSE(SplitArray(text, &elements));
  }
  std::string bytes;
  for (const char* text : {"", "\\", "x00", "\\x0", "\\x0g", "\\y00", "00"}) {
    INFO(text);
    CHECK_FALSE(DecodeBytes(text, &bytes));
  }
  CHECK(DecodeBytes("\\x00FF", &bytes));
  CHECK(bytes == std::string("\x00\xff", 2));
}

TEST_CASE("numbers are read whole and within range") {
  int64_t wide = 0;
  int32_t narrow = 0;
  uint64_t natural = 0;
  bool truth = false;
  CHECK(Decode("-9223372036854775808", &wide));
  CHECK(wide == std::numeric_limits<int64_t>::min());
  CHECK_FALSE(Decode("9223372036854775808", &wide));
  CHECK_FALSE(Decode("1x", &wide));
  CHECK_FALSE(Decode("", &wide));
  CHECK_FALSE(Decode("2147483648", &narrow));
  CHECK_FALSE(Decode("-1", &natural));
  CHECK_FALSE(Decode("true", &truth));
  std::vector<int64_t> values;
  CHECK(Decode("{3,1,2}", &values));
  CHECK(values == std::vector<int64_t>{3, 1, 2});
  CHECK_FALSE(Decode("{3,x}", &values));
  crypto::Digest digest;
  CHECK_FALSE(Decode("\\x00", &digest));  // not 32 bytes
}

}  // namespace
}  // namespace rochdale::pg
