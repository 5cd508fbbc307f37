#include <catch2/catch.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/verify/bundle.h"
#include "services/verify/json.h"
#include "services/verify/proto_json.h"
#include "services/verify/report.h"

namespace rochdale::verify {
namespace {

std::string Nested(int levels) {
  std::string text;
  for (int i = 0; i < levels; ++i) text += "{\"a\":";
  text += "1";
  for (int i = 0; i < levels; ++i) text += "}";
  return text;
}

}  // namespace

TEST_CASE("Only one reading of a JSON file is accepted", "[verify]") {
  CHECK(ParseObject(R"({"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]})").ok());
  CHECK(ParseObject(Nested(64)).ok());
  for (const std::string& text :
       {std::string(), std::string("1"), std::string("[1]"), std::string("{\"a\":1"),
        std::string("{\"a\":1}x"), std::string(R"({"a":1,"a":1})"),
        std::string(R"({"b":{"a":1,"a":2}})"), std::string(R"({"b":[{"a":1,"\u0061":2}]})"),
        std::string(R"({"a":18446744073709551616})"), std::string(R"({"a":-9223372036854775809})"),
        std::string("{\"a\":\"\xff\"}"), std::string("{\"a\":NaN}"), Nested(65), Nested(100'000),
        std::string(100'000, '['), std::string("{\"a\":1}\0", 8)}) {
    INFO(text.substr(0, 60));
    CHECK_FALSE(ParseObject(text).ok());
  }
}

TEST_CASE("Canonical JSON has one spelling", "[verify]") {
  CHECK(ParseCanonicalObject(R"({"a":1,"b":"\u001f\n","c":0.5})").ok());
  for (const char* text : {R"({"b":1,"a":1})", R"({ "a":1})", R"({"a":1.50})", R"({"a":1}
)",
                           R"({"a":"\u0041"})", R"({"a":1e3})", R"({"a":-0})"}) {
    INFO(text);
    CHECK_FALSE(ParseCanonicalObject(text).ok());
  }
}

TEST_CASE("Members say which one is wrong", "[verify]") {
  const auto json = *ParseObject(
      R"({"n":-3,"big":9223372036854775808,"t":"x","o":{},"l":[],"d":"-12","b":true})");
  Members good(json);
  CHECK(good.Int("n") == -3);
  CHECK(good.Text("t") == "x");
  CHECK(good.DecimalText("d") == -12);
  CHECK(good.Bool("b"));
  good.Object("o");
  good.Array("l");
  CHECK(good.status().ok());
  CHECK_FALSE(good.Done().ok());  // nobody asked for "big"
  Members bad(json);
  CHECK(bad.Int("big") == 0);
  bad.Int("nothing");
  CHECK(bad.status().message() == "big is missing or malformed");
  for (const char* text : {"", "-", "+1", "01", "-0", "1 ", "9223372036854775808", "1e3"}) {
    INFO(text);
    CHECK_FALSE(ParseDecimal(text).ok());
  }
  CHECK(*ParseDecimal("-9223372036854775808") == std::numeric_limits<int64_t>::min());
}

TEST_CASE("Proto JSON is read under both names and with defaults", "[verify]") {
  const auto json = *ParseObject(
      R"({"amountMicro":"12","debit_account_id":"x","paid":true,"entry":{"eventId":"e"},"n":7})");
  CHECK(ProtoInt(json, "amount_micro") == 12);
  CHECK(ProtoText(json, "debit_account_id") == "x");
  CHECK(ProtoInt(json, "n") == 7);
  CHECK(ProtoBool(json, "paid"));
  CHECK(ProtoText(ProtoMessage(json, "entry"), "event_id") == "e");
  CHECK(ProtoInt(json, "absent") == 0);
  CHECK(ProtoList(json, "entry").empty());
  CHECK(ProtoText(nlohmann::json(3), "x").empty());
}

TEST_CASE("Only plain paths name files of a bundle", "[verify]") {
  for (const char* path : {"manifest.json", "log/tile/0/x001/067.p/3", "blobs/a-b_c.D"}) {
    CHECK(IsBundlePath(path));
  }
  for (const std::string& path :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("../a"), std::string("a/../b"), std::string("a/./b"), std::string("a b"),
        std::string("a\\b"), std::string("a\0b", 3), std::string("\xc3\xa9"),
        std::string(101, 'a'), std::string("a/b/c/d/e/f/g/h/i")}) {
    INFO(path);
    CHECK_FALSE(IsBundlePath(path));
  }
}

TEST_CASE("A report shows problems without their control characters", "[verify]") {
  Report report;
  CHECK_FALSE(report.ok());  // nothing was checked
  Check& good = report.Begin("good");
  good.Say("3 things");
  CHECK(report.ok());
  Check& bad = report.Begin("bad");
  for (int i = 0; i < 25; ++i) bad.Fail("file\x1b[31m", absl::StrCat("problem ", i));
  CHECK_FALSE(report.ok());
  CHECK(bad.Detail().find('\x1b') == std::string::npos);
  CHECK(bad.Detail().find("and 5 more") != std::string::npos);
  CHECK(good.Detail() == "3 things");
  CHECK(nlohmann::json::parse(report.ToJson(true))["self_consistent_only"] == true);
}

}  // namespace rochdale::verify
