#include "services/filter/tightening.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

namespace rochdale::filter {
namespace {

TEST_CASE("A parameter is folded from the floor", "[filter][tightening]") {
  CHECK(Tighten(Tightens::kMin, 4, {}) == 4);
  CHECK(Tighten(Tightens::kMin, 4, {9, 3, 5}) == 3);
  CHECK(Tighten(Tightens::kMin, 4, {9}) == 4);  // loosening changes nothing
  CHECK(Tighten(Tightens::kMax, 4, {9, 3}) == 9);
  CHECK(Tighten(Tightens::kMax, 4, {-9}) == 4);
}

TEST_CASE("Tags are folded from the floor", "[filter][tightening]") {
  const Tags floor{"a", "b"};
  const std::vector<Tags> others{{"b", "c"}, {"b"}};
  CHECK(Tighten(TagsTighten::kUnion, floor, others) == Tags{"a", "b", "c"});
  CHECK(Tighten(TagsTighten::kIntersection, floor, others) == Tags{"b"});
  CHECK(Tighten(TagsTighten::kIntersection, floor, {}) == floor);
  CHECK(Tighten(TagsTighten::kIntersection, {}, others).empty());
}

TEST_CASE("No scope loosens, and their order does not matter", "[filter][tightening][property]") {
  const uint64_t seed = 77123;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const auto tags = [&] {
    Tags drawn;
    for (const char* tag : {"a", "b", "c", "d", "e"}) {
      if (random() % 2 == 0) drawn.insert(tag);
    }
    return drawn;
  };
  for (int i = 0; i < 5'000; ++i) {
    std::vector<int64_t> values;
    std::vector<Tags> sets;
    for (uint64_t n = random() % 5; n > 0; --n) {
      values.push_back(static_cast<int64_t>(random() % 200) - 100);
      sets.push_back(tags());
    }
    const int64_t floor = static_cast<int64_t>(random() % 200) - 100;
    const Tags floor_tags = tags();
    auto shuffled = values;
    auto shuffled_sets = sets;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    std::shuffle(shuffled_sets.begin(), shuffled_sets.end(), random);
    for (const Tightens direction : {Tightens::kMin, Tightens::kMax}) {
      const int64_t folded = Tighten(direction, floor, values);
      REQUIRE(IsAtLeastAsStrict(direction, folded, floor));
      for (const int64_t value : values) REQUIRE(IsAtLeastAsStrict(direction, folded, value));
      REQUIRE(folded == Tighten(direction, floor, shuffled));
      REQUIRE(folded == Tighten(direction, folded, values));
    }
    for (const TagsTighten direction : {TagsTighten::kUnion, TagsTighten::kIntersection}) {
      const Tags folded = Tighten(direction, floor_tags, sets);
      REQUIRE(IsAtLeastAsStrict(direction, folded, floor_tags));
      for (const Tags& set : sets) REQUIRE(IsAtLeastAsStrict(direction, folded, set));
      REQUIRE(folded == Tighten(direction, floor_tags, shuffled_sets));
    }
  }
}

}  // namespace
}  // namespace rochdale::filter
