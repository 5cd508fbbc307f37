#include "libs/crypto/base64.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>

namespace rochdale::crypto {
namespace {

TEST_CASE("Base64 has the values of RFC 4648") {
  const std::pair<const char*, const char*> rows[] = {
      {"", ""},          {"f", "Zg=="},         {"fo", "Zm8="},        {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : rows) {
    CHECK(Base64Encode(Base64::kStandard, bytes) == text);
    CHECK(*Base64Decode(Base64::kStandard, text) == bytes);
    const std::string unpadded = std::string(text).substr(0, std::string(text).find('='));
    CHECK(Base64Encode(Base64::kUrl, bytes) == unpadded);
    CHECK(*Base64Decode(Base64::kUrl, unpadded) == bytes);
  }
  CHECK(Base64Encode(Base64::kStandard, "\xfb\xff") == "+/8=");
  CHECK(Base64Encode(Base64::kUrl, "\xfb\xff") == "-_8");
}

TEST_CASE("Base64 has one spelling per value") {
  for (const char* bad : {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z", "Zg==Zg==", "=", "====",
                          "Zm9v\n", " Zm9v", "Zm-v", "Zm_v", "Zm9vY===", "Zm9vYg==\n"}) {
    INFO(bad);
    CHECK_FALSE(Base64Decode(Base64::kStandard, bad).ok());
  }
  for (const char* bad : {"Zg==", "Zm8=", "Z", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm9v ", "Zm9vY"}) {
    INFO(bad);
    CHECK_FALSE(Base64Decode(Base64::kUrl, bad).ok());
  }
  std::mt19937 engine(3);
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (size_t n = engine() % 9; n > 0; --n) text += "AQgw0/+_-=Zz9"[engine() % 13];
    for (const Base64 form : {Base64::kStandard, Base64::kUrl}) {
      const auto bytes = Base64Decode(form, text);
      if (bytes.ok()) REQUIRE(Base64Encode(form, *bytes) == text);
    }
  }
}

}  // namespace
}  // namespace rochdale::crypto
