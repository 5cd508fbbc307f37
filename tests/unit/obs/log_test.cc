#include "libs/obs/log.h"

#include <catch2/catch.hpp>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

namespace rochdale::obs {
namespace {

struct Captured {
  ManualClock clock{absl::FromUnixMicros(1'700'000'000'123'456)};
  std::vector<std::string> lines;
  Logger logger{"ledger", LogLevel::kInfo, clock,
                [this](const std::string& line) { lines.push_back(line); }};
};

TEST_CASE("a line has fixed fields, then its own in order", "[obs]") {
  Captured c;
  c.logger.Warning("full", Fields().Text("b", "x").Int("a", -5).Bool("z", true).Number("n", 0.25));
  REQUIRE(c.lines.size() == 1);
  CHECK(c.lines[0] ==
        R"({"time":"2023-11-14T22:13:20.123456Z","level":"WARNING","service":"ledger",)"
        R"("message":"full","b":"x","a":-5,"z":true,"n":0.25})");
}

TEST_CASE("levels below the lowest are dropped", "[obs]") {
  Captured c;
  c.logger.Debug("no");
  c.logger.Info("yes");
  REQUIRE(c.lines.size() == 1);
  CHECK(nlohmann::json::parse(c.lines[0])["message"] == "yes");
}

TEST_CASE("hostile text stays inside its string", "[obs]") {
  struct Row {
    std::string text, read_back;
  };
  const std::vector<Row> rows = {
      {"\",\"level\":\"x", "\",\"level\":\"x"},
      {"a\nb\r\tc", "a\nb\r\tc"},
      {std::string("nul\0byte", 8), std::string("nul\0byte", 8)},
      {"back\\slash", "back\\slash"},
      {"\x7f", "\x7f"},
      {"gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F"},
      {"\xF0\x9F\x8C\xB1", "\xF0\x9F\x8C\xB1"},
      {"bad\xFF", "bad\xEF\xBF\xBD"},
      {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},                          // overlong
      {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},          // surrogate
      {"cut\xE2\x82", "cut\xEF\xBF\xBD\xEF\xBF\xBD"},                    // ends early
      {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},  // > U+10FFFF
  };
  for (const Row& row : rows) {
    Captured c;
    c.logger.Info(row.text, Fields().Text("t", row.text));
    REQUIRE(c.lines.size() == 1);
    CHECK(c.lines[0].find('\n') == std::string::npos);
    const auto json = nlohmann::json::parse(c.lines[0]);
    CHECK(json["t"] == row.read_back);
    CHECK(json["message"] == row.read_back);
    CHECK(json["level"] == "INFO");
  }
}

TEST_CASE("random bytes always give one valid line", "[obs]") {
  const uint64_t seed = 20'251;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 2'000; ++i) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random());
    Captured c;
    c.logger.Info("x", Fields().Text("t", text));
    REQUIRE(nlohmann::json::accept(c.lines.at(0)));
  }
}

TEST_CASE("long text is cut at a character, numbers that are none become null", "[obs]") {
  Captured c;
  std::string text(1'023, 'a');
  text += "\xE2\x82\xAC and more";
  c.logger.Info("x", Fields()
                         .Text("t", text)
                         .Number("inf", std::numeric_limits<double>::infinity())
                         .Int("low", std::numeric_limits<int64_t>::min()));
  const auto json = nlohmann::json::parse(c.lines.at(0));
  CHECK(json["t"] == std::string(1'023, 'a') + "...");
  CHECK(json["inf"].is_null());
  CHECK(json["low"] == std::numeric_limits<int64_t>::min());
}

}  // namespace
}  // namespace rochdale::obs
