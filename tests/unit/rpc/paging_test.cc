#include "libs/rpc/paging.h"

#include <catch2/catch.hpp>
#include <random>

#include "libs/base/errors.h"

namespace rochdale::rpc {
namespace {

TEST_CASE("page sizes", "[rpc]") {
  struct Row {
    int asked, given;
  };
  for (const Row& row : {Row{0, 50}, {1, 1}, {999, 999}, {1'000, 1'000}, {1'001, 1'000},
                         {2'147'483'647, 1'000}}) {
    INFO(row.asked);
    const auto page = ParsePage(row.asked, "", "List", 1);
    REQUIRE(page.ok());
    CHECK(page->size == row.given);
    CHECK(page->first());
  }
  const auto negative = ParsePage(-1, "", "List", 1);
  CHECK(ReasonOf(negative.status()) == "BAD_REQUEST");
  CHECK(FieldViolationsOf(negative.status()).at(0).field == "page_size");
}

TEST_CASE("a token gives its keys back", "[rpc]") {
  const std::vector<std::vector<std::string>> cases = {
      {"a"}, {""}, {"", ""}, {"x", std::string("\0\xff:", 3)}, {std::string(1'000, 'k')}};
  for (const auto& keys : cases) {
    const std::string token = MakePageToken("List/1", keys);
    const auto page = ParsePage(0, token, "List/1", keys.size());
    REQUIRE(page.ok());
    CHECK(page->after == keys);
  }
}

TEST_CASE("a token belongs to its method, arguments and number of keys", "[rpc]") {
  const std::string token = MakePageToken("ListTransfers/acc1", {"7", "id"});
  CHECK(ParsePage(0, token, "ListTransfers/acc1", 2).ok());
  CHECK(ReasonOf(ParsePage(0, token, "ListTransfers/acc2", 2).status()) == "PAGE_TOKEN_INVALID");
  CHECK(ReasonOf(ParsePage(0, token, "ListAccounts/acc1", 2).status()) == "PAGE_TOKEN_INVALID");
  CHECK(ReasonOf(ParsePage(0, token, "ListTransfers/acc1", 1).status()) == "PAGE_TOKEN_INVALID");
  CHECK(ReasonOf(ParsePage(0, token, "", 2).status()) == "PAGE_TOKEN_INVALID");
}

TEST_CASE("any change of a token is refused", "[rpc]") {
  const uint64_t seed = 5;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const std::string token = MakePageToken("List", {"abc", "def"});
  for (size_t i = 0; i < token.size(); ++i) {
    for (const char c : {'A', 'b', '9', '-', '_', '=', ' ', '\0', '+'}) {
      std::string changed = token;
      if (changed[i] == c) continue;
      changed[i] = c;
      INFO(i << " " << c);
      CHECK(ReasonOf(ParsePage(0, changed, "List", 2).status()) == "PAGE_TOKEN_INVALID");
    }
  }
  for (const std::string& bad :
       {token + "=", token + " ", " " + token, token + token, token.substr(1),
        token.substr(0, token.size() - 1), std::string(5'000, 'A'), std::string("A")}) {
    CHECK(ReasonOf(ParsePage(0, bad, "List", 2).status()) == "PAGE_TOKEN_INVALID");
  }
  for (int i = 0; i < 2'000; ++i) {
    std::string noise(1 + random() % 60, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    CHECK_FALSE(ParsePage(0, noise, "List", 2).ok());
  }
}

}  // namespace
}  // namespace rochdale::rpc
