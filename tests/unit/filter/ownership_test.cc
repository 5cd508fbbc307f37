#include "services/filter/ownership.h"

#include <catch2/catch.hpp>
#include <random>
#include <set>
#include <string>

namespace rochdale::filter {
namespace {

Uuid Named(size_t number) {
  Uuid id;
  id.bytes[15] = static_cast<uint8_t>(number);
  return id;
}

Owned Of(size_t principal, const std::string& owners) {
  Owned owned{Named(principal), {}};
  for (const char owner : owners) owned.owners.push_back(crypto::Sha256(std::string(1, owner)));
  return owned;
}

TEST_CASE("Groups are the connected components of shared owners", "[filter][ownership]") {
  struct Case {
    const char* name;
    std::vector<std::string> owners;  // of each, a letter an owner
    bool together;
    std::vector<size_t> first;
  };
  const Case cases[] = {
      {"nobody", {}, true, {}},
      {"all different", {"a", "b", "c"}, false, {0, 1, 2}},
      {"the same", {"a", "a", "a"}, false, {0, 0, 0}},
      {"one of several", {"ab", "c", "bd"}, false, {0, 1, 0}},
      {"through another", {"a", "b", "ab"}, false, {0, 0, 0}},
      {"a chain, backwards", {"cd", "x", "bc", "ab", "a"}, false, {0, 1, 0, 0, 0}},
      {"unattested apart", {"", "a", ""}, false, {0, 1, 2}},
      {"unattested together", {"", "a", ""}, true, {0, 1, 0}},
      {"attested and alone", {"a", "", "b"}, true, {0, 1, 2}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    std::vector<Owned> current;
    for (size_t i = 0; i < c.owners.size(); ++i) current.push_back(Of(i, c.owners[i]));
    const OwnerGroups groups(current, c.together);
    for (size_t i = 0; i < current.size(); ++i) {
      CAPTURE(i);
      CHECK(groups.FirstOf(i) == c.first[i]);
      CHECK(groups.LineageOf(current[i]) == Named(c.first[i]));
    }
  }
}

TEST_CASE("Updates of other rounds find their group", "[filter][ownership]") {
  const std::vector<Owned> current = {Of(1, "a"), Of(2, "ab"), Of(3, "c"), Of(4, "")};
  const OwnerGroups groups(current, true), apart(current, false);
  CHECK(groups.LineageOf(Of(2, "z")) == Named(1));   // the same principal, whoever owned it then
  CHECK(groups.LineageOf(Of(9, "zb")) == Named(1));
  CHECK(groups.LineageOf(Of(9, "z")) == Named(9));
  CHECK(groups.LineageOf(Of(9, "")) == Named(4));
  CHECK(apart.LineageOf(Of(9, "")) == Named(9));
  CHECK(groups.LineageOfPrincipal(Named(2)) == Named(1));
  CHECK(groups.LineageOfPrincipal(Named(9)) == Named(9));
}

TEST_CASE("Groups are those that spreading marks finds, in any order", "[filter][ownership]") {
  std::mt19937 random(20240907);
  for (int trial = 0; trial < 300; ++trial) {
    const size_t count = random() % 20 + 1;
    std::vector<std::string> owners(count);
    std::vector<Owned> current;
    for (size_t i = 0; i < count; ++i) {
      for (size_t k = random() % 3; k-- > 0;) {
        const char owner = static_cast<char>('a' + random() % 12);
        if (owners[i].find(owner) == std::string::npos) owners[i] += owner;
      }
      current.push_back(Of(i, owners[i]));
    }
    const bool together = random() % 2 == 0;
    std::vector<size_t> mark(count);
    for (size_t i = 0; i < count; ++i) mark[i] = i;
    for (size_t step = 0; step < count; ++step) {
      for (size_t i = 0; i < count; ++i) {
        for (size_t j = 0; j < count; ++j) {
          const bool tied = owners[i].empty() && owners[j].empty()
                                ? together || i == j
                                : owners[i].find_first_of(owners[j]) != std::string::npos;
          if (tied) mark[i] = std::min(mark[i], mark[j]);
        }
      }
    }
    const OwnerGroups groups(current, together);
    for (size_t i = 0; i < count; ++i) {
      CAPTURE(trial, i);
      CHECK(groups.FirstOf(i) == mark[i]);
    }
  }
}

}  // namespace
}  // namespace rochdale::filter
