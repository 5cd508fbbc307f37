#include "services/attribution/early.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

namespace rochdale::attribution {
namespace {

constexpr int64_t kNat = 1'000'000'000;

// What a rule says of a probe's differences, looked at in their order: the look that decided and
// what its rows say.
struct Verdict {
  int64_t rows = 0;
  bool exceeds = false;
};
Verdict VerdictOf(const EarlyRule& rule, int64_t bound, absl::Span<const int64_t> differences) {
  const auto looks = EarlyLooks(rule, static_cast<int64_t>(differences.size()));
  for (const int64_t rows : looks) {
    const auto seen = differences.subspan(0, rows);
    const bool last = rows == looks.back();
    if (!last && !LookDecides(rule, static_cast<int>(looks.size()) - 1, bound, seen)) continue;
    __int128 sum = 0;
    for (const int64_t one : seen) sum += one;
    return {rows, sum > static_cast<__int128>(bound) * rows};
  }
  FAIL("no look decided");
  return {};
}

std::vector<int64_t> Differences(int64_t rows, std::mt19937& random,
                                 const std::function<double(std::mt19937&)>& nats) {
  std::vector<int64_t> made(rows);
  for (int64_t& one : made) one = std::llround(nats(random) * kNat);
  return made;
}

TEST_CASE("rows come in an order that seed and probe determine") {
  const crypto::Digest seed = crypto::Sha256("seed"), probe = crypto::Sha256("probe");
  const std::vector<int64_t> order = EarlyOrder(seed, probe, 300);
  CHECK(order == EarlyOrder(seed, probe, 300));
  CHECK(order != EarlyOrder(crypto::Sha256("other"), probe, 300));
  CHECK(order != EarlyOrder(seed, crypto::Sha256("other"), 300));
  // From the text alone.
  std::vector<std::pair<std::string, int64_t>> expected;
  for (int64_t row = 0; row < 300; ++row) {
    std::string bytes = "ROCHDALEearly1" + std::string(seed.AsBytes());
    bytes += std::string(probe.AsBytes());
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(row >> shift));
    expected.emplace_back(crypto::Sha256(bytes).ToString(), row);
  }
  std::sort(expected.begin(), expected.end());
  for (size_t i = 0; i < order.size(); ++i) REQUIRE(order[i] == expected[i].second);
}

TEST_CASE("looks double while they spare half of the rows") {
  using Rows = std::vector<int64_t>;
  const EarlyRule rule{10, 1'000};
  CHECK(EarlyLooks(rule, 1) == Rows{1});
  CHECK(EarlyLooks(rule, 1'999) == Rows{1'999});
  CHECK(EarlyLooks(rule, 2'000) == Rows{1'000, 2'000});
  CHECK(EarlyLooks(rule, 3'999) == Rows{1'000, 3'999});
  CHECK(EarlyLooks(rule, 4'000) == Rows{1'000, 2'000, 4'000});
  CHECK(EarlyLooks({10, 250}, 1'000'000).size() == 12);
  CHECK(EarlyLooks({10, 1}, 1'000'000).size() == 20);
  CHECK(EarlyLooks({0, 1'000}, 4'000) == Rows{4'000});  // 0: nothing stops early
}

TEST_CASE("what is clear is decided at the first look, what is not at the last") {
  const EarlyRule rule{10, 1'000};
  std::mt19937 random(5);
  std::normal_distribution<double> noise(0, 0.3);
  const auto around = [&](double mean) {
    return Differences(4'000, random, [&, mean](auto& r) { return mean + noise(r); });
  };
  const int64_t bound = kNat / 50;
  const Verdict breaks = VerdictOf(rule, bound, around(0.5));
  CHECK(breaks.rows == 1'000);
  CHECK(breaks.exceeds);
  const Verdict harmless = VerdictOf(rule, bound, around(-0.1));
  CHECK(harmless.rows == 1'000);
  CHECK_FALSE(harmless.exceeds);
  const Verdict near = VerdictOf(rule, bound, around(0.02));
  CHECK(near.rows == 4'000);
  // An update that leaves a probe alone neither exceeds a bound nor needs another look; nor does
  // one that is at its bound on every row, and one nano-nat more exceeds it.
  CHECK(VerdictOf(rule, 0, std::vector<int64_t>(4'000, 0)).rows == 1'000);
  const Verdict at = VerdictOf(rule, bound, std::vector<int64_t>(4'000, bound));
  CHECK(at.rows == 1'000);
  CHECK_FALSE(at.exceeds);
  CHECK(VerdictOf(rule, bound, std::vector<int64_t>(4'000, bound + 1)).exceeds);
  CHECK(VerdictOf({0, 1'000}, bound, around(0.5)).rows == 4'000);
}

TEST_CASE("the width is what the text says") {
  // K = 1 and error 1 %: z = 2.58. 1,000 differences of 0 and 2,000 in turn: s = 31.6386.. -> 32.
  std::vector<int64_t> differences(1'000);
  for (size_t i = 0; i < differences.size(); i += 2) differences[i] = 2'000;
  const EarlyRule rule{10'000, 1'000};
  const __int128 width = __int128{300} * 258 * 32 * 1'000 + __int128{258} * 258 * 2'000;
  // 30000 (D - B R), D = 10^6, R = 1000: decided where it is above the width.
  const auto excess = [](int64_t bound) {
    return __int128{30'000} * (1'000'000 - __int128{bound} * 1'000);
  };
  int64_t bound = 1'000;
  while (excess(bound) <= width) --bound;
  CHECK(LookDecides(rule, 1, bound, differences));
  CHECK_FALSE(LookDecides(rule, 1, bound + 1, differences));
  bound = 1'000;
  while (excess(bound) > -width) ++bound;
  CHECK(LookDecides(rule, 1, bound, differences));
  CHECK_FALSE(LookDecides(rule, 1, bound - 1, differences));
}

TEST_CASE("an early verdict is that of all rows, but for the stated rate") {
  std::normal_distribution<double> normal(0, 0.3);
  std::exponential_distribution<double> exponential(5);
  std::lognormal_distribution<double> lognormal(-3, 1.5);
  std::student_t_distribution<double> heavy(3);
  const std::vector<std::pair<const char*, std::function<double(std::mt19937&)>>> populations = {
      {"normal", [&](auto& r) { return normal(r); }},
      {"exponential", [&](auto& r) { return exponential(r); }},
      {"falling exponential", [&](auto& r) { return -exponential(r); }},
      {"lognormal", [&](auto& r) { return lognormal(r); }},
      {"heavy tails", [&](auto& r) { return heavy(r) / 10; }},
      {"one row in a hundred",
       [&](auto& r) { return (r() % 100 == 0 ? 1.0 : 0.0) + normal(r) / 100; }}};
  constexpr int kTrials = 600;
  const EarlyRule rule{10'000, 1'000};  // 1 %
  for (const auto& [name, nats] : populations) {
    CAPTURE(name);
    std::mt19937 random(20);
    int early = 0, wrong = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      const std::vector<int64_t> differences = Differences(4'000, random, nats);
      const __int128 sum = std::accumulate(differences.begin(), differences.end(), __int128{0});
      // The hardest bound: where the verdict on all rows hangs on a thread.
      const int64_t bound = static_cast<int64_t>(sum / 4'000) + (trial % 2 == 0 ? 1 : -1);
      const Verdict found = VerdictOf(rule, bound, differences);
      early += found.rows < 4'000;
      wrong += found.exceeds != (sum > static_cast<__int128>(bound) * 4'000);
    }
    CHECK(wrong <= kTrials / 100);
    CHECK(early <= 2 * kTrials / 100);  // hardly any stops at all
  }
}

TEST_CASE("the largest losses do not overflow") {
  constexpr int64_t kMost = int64_t{1} << 49;
  const EarlyRule rule{1, 250};
  std::vector<int64_t> differences(500'000, kMost);
  for (size_t i = 0; i < differences.size(); i += 2) differences[i] = -kMost;
  CHECK_FALSE(LookDecides(rule, 11, 0, differences));  // on the bound, whatever the width
  CHECK(LookDecides(rule, 11, int64_t{1} << 60, differences));
  CHECK(LookDecides(rule, 11, -(int64_t{1} << 60), differences));
  std::fill(differences.begin(), differences.end(), kMost);
  CHECK(LookDecides(rule, 11, kMost - 1, differences));
  CHECK(LookDecides(rule, 11, kMost, differences));
  CHECK(VerdictOf(rule, kMost - 1, differences).exceeds);
  CHECK_FALSE(VerdictOf(rule, kMost, differences).exceeds);
}

}  // namespace
}  // namespace rochdale::attribution
