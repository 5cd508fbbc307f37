#include "libs/base/ids.h"

#include <set>

#include <catch2/catch.hpp>

#include "absl/strings/ascii.h"

namespace rochdale {
namespace {

constexpr char kText[] = "01890a5d-ac96-774b-bcce-b302099a8057";

TEST_CASE("an id has one text form and reads upper case, too") {
  const auto id = Uuid::Parse(kText);
  REQUIRE(id.ok());
  CHECK(id->ToString() == kText);
  CHECK(id->bytes[0] == 0x01);
  CHECK(id->bytes[15] == 0x57);
  CHECK(*Uuid::Parse("01890A5D-AC96-774B-BCCE-B302099A8057") == *id);
  CHECK(*Uuid::FromBytes(id->AsBytes()) == *id);
  CHECK_FALSE(id->IsZero());
  CHECK(Uuid{}.IsZero());
  CHECK(Uuid{}.ToString() == "00000000-0000-0000-0000-000000000000");
}

TEST_CASE("anything but the text form is refused") {
  for (const char* text :
       {"", "01890a5d-ac96-774b-bcce-b302099a805", "01890a5d-ac96-774b-bcce-b302099a80577",
        "01890a5dac96774bbcceb302099a8057", "01890a5d-ac96-774b-bcce-b302099a805g",
        "01890a5d_ac96-774b-bcce-b302099a8057", "01890a5-dac96-774b-bcce-b302099a8057",
        "{1890a5d-ac96-774b-bcce-b302099a805}", " 1890a5d-ac96-774b-bcce-b302099a8057",
        "01890a5d-ac96-774b-bcce-b302099a80-7", "------------------------------------"}) {
    CAPTURE(text);
    CHECK(Uuid::Parse(text).status().code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK_FALSE(Uuid::Parse(std::string(kText) + std::string(1, '\0')).ok());
  CHECK_FALSE(Uuid::FromBytes("short").ok());
  CHECK_FALSE(Uuid::FromBytes(std::string(17, 'x')).ok());
}

TEST_CASE("new ids are of version 7 and sort by their instant") {
  SeededIdSource source(7);
  const absl::Time start = absl::FromUnixMillis(1'700'000'000'000);
  Uuid previous;
  for (int i = 0; i < 100; ++i) {
    const Uuid id = source.New(start + absl::Milliseconds(i));
    CHECK(id > previous);
    CHECK((id.bytes[6] >> 4) == 7);
    CHECK((id.bytes[8] >> 6) == 2);
    previous = id;
  }
  // Before 1970 counts as 1970: no negative number wraps into the far future.
  CHECK(source.New(absl::FromUnixSeconds(-5)).bytes[0] == 0);
}

TEST_CASE("the same seed gives the same ids, chance gives others") {
  const absl::Time now = absl::FromUnixSeconds(1);
  SeededIdSource a(1), b(1), c(2);
  const Uuid first = a.New(now);
  CHECK(first == b.New(now));
  CHECK(first != c.New(now));
  RandomIdSource random;
  std::set<Uuid> seen;
  for (int i = 0; i < 1000; ++i) CHECK(seen.insert(random.New(now)).second);
}

TEST_CASE("every character of an id counts") {
  for (size_t at = 0; at < 36; ++at) {
    const bool dash = at == 8 || at == 13 || at == 18 || at == 23;
    for (int c = 0; c < 256; ++c) {
      std::string text = kText;
      text[at] = static_cast<char>(c);
      const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      const auto id = Uuid::Parse(text);
      if (id.ok() != (dash ? c == '-' : hex)) FAIL(at << " " << c);
      if (id.ok() && id->ToString() != absl::AsciiStrToLower(text)) FAIL(at << " " << c);
    }
  }
}

TEST_CASE("ids of different things are different types") {
  STATIC_REQUIRE_FALSE(std::is_convertible_v<AccountId, TransferId>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<Uuid, AccountId>);
  CHECK(AccountId::Parse(kText)->ToString() == kText);
  CHECK_FALSE(AccountId::Parse("x").ok());
}

}  // namespace
}  // namespace rochdale
