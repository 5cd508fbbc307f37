#include "libs/crypto/add_checkpoint.h"

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"

namespace rochdale::crypto {
namespace {

constexpr char kHash[] = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";

TEST_CASE("a request to a witness is read as it was written", "[crypto]") {
  const std::string text = absl::StrCat("old 20852014\n", kHash, kHash, "\nexample\n1\nroot\n");
  const auto request = AddCheckpoint::Parse(text);
  REQUIRE(request.ok());
  CHECK(request->old_size == 20'852'014);
  CHECK(request->proof.size() == 2);
  CHECK(request->checkpoint == "example\n1\nroot\n");
  CHECK(request->ToText() == text);
  CHECK(AddCheckpoint{0, {}, "x"}.ToText() == "old 0\n\nx");
}

TEST_CASE("malformed requests to a witness are refused", "[crypto]") {
  std::string long_proof = "old 1\n";
  for (int i = 0; i < 63; ++i) long_proof += kHash;
  CHECK(AddCheckpoint::Parse(long_proof + "\nx\n").ok());
  for (const std::string& text :
       {std::string(), std::string("old 1"), std::string("old 1\n"), std::string("old 1\n\n"),
        std::string("old\n\nx\n"), std::string("old 01\n\nx\n"), std::string("old -1\n\nx\n"),
        std::string("old  1\n\nx\n"), std::string("new 1\n\nx\n"), std::string("old 1 \n\nx\n"),
        std::string("old 18446744073709551616\n\nx\n"), std::string("old 1\r\n\r\nx\n"),
        std::string("old 1\nshort\n\nx\n"), std::string("old 1\nAAAA\n\nx\n"),
        absl::StrCat("old 1\n", kHash), long_proof + kHash + "\nx\n"}) {
    CAPTURE(text);
    CHECK(AddCheckpoint::Parse(text).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace rochdale::crypto
