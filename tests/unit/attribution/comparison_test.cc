#include "services/attribution/comparison.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "services/attribution/comparison_evidence.h"

namespace rochdale::attribution {
namespace {

struct Rows {
  std::vector<int64_t> a, b;
};

// Losses of b are those of a, worse by `worse` on the mean, with noise of its own.
Rows MakeRows(int64_t rows, int64_t worse, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> noise(0, 100'000'000);
  Rows made;
  for (int64_t r = 0; r < rows; ++r) {
    const auto loss = static_cast<int64_t>(1'000'000'000 + noise(random));
    made.a.push_back(loss);
    made.b.push_back(loss + worse + static_cast<int64_t>(noise(random) / 10));
  }
  return made;
}

// The whole test, as the service takes its looks.
Look Run(const ComparisonRule& rule, const Rows& rows) {
  const auto available = static_cast<int64_t>(rows.a.size());
  int64_t seen = 0;
  for (int i = 0; i < kLooksMax; ++i) {
    seen = RowsOfNextLook(rule, available, seen);
    const Look look = TakeLook(rule, available, absl::MakeConstSpan(rows.a).subspan(0, seen),
                               absl::MakeConstSpan(rows.b).subspan(0, seen));
    if (look.verdict != Verdict::kNone) return look;
  }
  FAIL("a test without an end");
  return {};
}

TEST_CASE("rows are looked at in an order that the seed alone determines") {
  const crypto::Digest seed = crypto::Sha256("seed");
  const std::vector<int64_t> visible{3, 9, 11, 40, 41, 42};
  std::vector<int64_t> order = ComparisonOrder(seed, visible);
  CHECK(order == ComparisonOrder(seed, visible));
  CHECK(order != ComparisonOrder(crypto::Sha256("other"), visible));
  // From the text alone: printf "ROCHDALEab1" | seed | u32 r, sorted by digest.
  std::vector<std::pair<std::string, int64_t>> expected;
  for (const int64_t row : visible) {
    std::string bytes = "ROCHDALEab1" + std::string(seed.AsBytes());
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(row >> shift));
    expected.emplace_back(crypto::Sha256(bytes).ToString(), row);
  }
  std::sort(expected.begin(), expected.end());
  for (size_t i = 0; i < order.size(); ++i) CHECK(order[i] == expected[i].second);
  std::sort(order.begin(), order.end());
  CHECK(order == visible);
}

TEST_CASE("looks double until the rows are used up") {
  const ComparisonRule rule{100, 1'000, 10'000, 0};
  CHECK(RowsOfNextLook(rule, 5'000, 0) == 100);
  CHECK(RowsOfNextLook(rule, 5'000, 100) == 200);
  CHECK(RowsOfNextLook(rule, 5'000, 800) == 1'000);
  CHECK(RowsOfNextLook(rule, 5'000, 1'000) == 1'000);
  CHECK(RowsOfNextLook(rule, 300, 200) == 300);
  CHECK(RowsOfNextLook(rule, 60, 0) == 60);
  CHECK(LooksOf(rule, 5'000) == 5);  // 100, 200, 400, 800, 1,000
  CHECK(LooksOf(rule, 300) == 3);
  CHECK(LooksOf(rule, 100) == 1);
  CHECK(LooksOf(rule, 60) == 1);
  CHECK(LooksOf({30, 50'000, 10'000, 0}, 50'000) == 12);
  CHECK(LooksOf({500, 100, 10'000, 0}, 5'000) == 1);
}

TEST_CASE("every look spends its part of the error") {
  // Quantiles of the normal distribution from a table.
  CHECK(StoppingZ(50'000, 1) == 196);
  CHECK(StoppingZ(10'000, 1) == 258);
  CHECK(StoppingZ(10'000, 5) == 310);   // 0.002 on both sides: 3.0902
  CHECK(StoppingZ(10'000, 10) == 330);  // 0.001: 3.2905
  CHECK(StoppingZ(1, 20) == 546);       // 5e-8: 5.4513
  CHECK(StoppingZ(1'000'000, 1) == 0);
  for (int looks = 1; looks < kLooksMax; ++looks) {
    CHECK(StoppingZ(10'000, looks) <= StoppingZ(10'000, looks + 1));
  }
}

TEST_CASE("no bound lies where a C library's last bits could move it") {
  double nearest = 1;
  for (int z = 1; z <= 1'000; ++z) {
    const double tail = std::erfc(z / 100.0 / std::sqrt(2.0)) * 1e6;
    for (int looks = 1; looks <= kLooksMax; ++looks) {
      if (tail * looks > 0.5) {
        nearest = std::min(nearest, std::abs(tail * looks - std::round(tail * looks)));
      }
    }
  }
  CHECK(nearest > 1e-5);
}

TEST_CASE("the better one wins as soon as the rows say so, whichever it is") {
  const ComparisonRule rule{100, 6'400, 10'000, 0};
  const Rows far = MakeRows(6'400, 20'000'000, 1);
  Look look = Run(rule, far);
  CHECK(look.verdict == Verdict::kABetter);
  CHECK(look.rows == 100);
  CHECK(std::abs(look.difference - 20'000'000) < 4 * look.standard_error);
  look = Run(rule, {far.b, far.a});
  CHECK(look.verdict == Verdict::kBBetter);
  CHECK(look.difference < 0);
  // A small difference takes more rows.
  look = Run(rule, MakeRows(6'400, 1'000'000, 2));
  CHECK(look.verdict == Verdict::kABetter);
  CHECK(look.rows > 100);
}

TEST_CASE("equals are called equal within the margin, or undecided") {
  ComparisonRule rule{100, 1'600, 10'000, 0};
  const Rows rows = MakeRows(1'600, 0, 3);
  CHECK(Run(rule, {rows.a, rows.a}).verdict == Verdict::kEqual);  // not a nano-nat apart
  const Look open = Run(rule, rows);
  CHECK(open.verdict == Verdict::kUndecided);
  CHECK(open.rows == 1'600);
  rule.margin_nanonats = 50'000'000;
  const Look equal = Run(rule, rows);
  CHECK(equal.verdict == Verdict::kEqual);
  CHECK(equal.rows == 100);
}

TEST_CASE("over all its looks a test errs no more often than its rule says") {
  // Losses of equals are as skewed as real ones: a few rows differ much.
  const ComparisonRule rule{30, 3'840, 100'000, 0};  // eight looks, one in ten
  std::mt19937 random(7);
  std::exponential_distribution<double> tail(1);
  std::bernoulli_distribution sign(0.5);
  int winners = 0, at_fixed_z = 0;
  constexpr int kTests = 600;
  for (int test = 0; test < kTests; ++test) {
    Rows rows;
    for (int r = 0; r < 3'840; ++r) {
      const double size = tail(random);
      rows.a.push_back(1'000'000'000);
      rows.b.push_back(1'000'000'000 +
                       static_cast<int64_t>((sign(random) ? 1e6 : -1e6) * size * size));
    }
    const Verdict verdict = Run(rule, rows).verdict;
    winners += verdict == Verdict::kABetter || verdict == Verdict::kBBetter;
    // What looking eight times costs where every look is taken for the only one.
    for (int64_t seen = 30; seen <= 3'840; seen *= 2) {
      const Look look = TakeLook({seen, seen, 100'000, 0}, seen,
                                 absl::MakeConstSpan(rows.a).subspan(0, seen),
                                 absl::MakeConstSpan(rows.b).subspan(0, seen));
      if (look.verdict == Verdict::kABetter || look.verdict == Verdict::kBBetter) {
        ++at_fixed_z;
        break;
      }
    }
  }
  CHECK(winners <= kTests / 10);
  CHECK(at_fixed_z > kTests / 5);
}

TEST_CASE("bounds hold to the unit") {
  // Differences 0 and 2,000,000 in turn: mean 1,000,000, a known standard error.
  Rows rows;
  for (int r = 0; r < 100; ++r) {
    rows.a.push_back(1'000'000'000);
    rows.b.push_back(1'000'000'000 + (r % 2) * 2'000'000);
  }
  ComparisonRule rule{100, 100, 50'000, 0};  // one look: z = 1.96
  const auto verdict = [&] { return TakeLook(rule, 200, rows.a, rows.b).verdict; };
  Look look = TakeLook(rule, 200, rows.a, rows.b);
  CHECK(look.difference == 1'000'000);
  CHECK(look.standard_error == 100'504);  // ceil(10^6 / sqrt(99))
  CHECK(look.verdict == Verdict::kABetter);
  // A nano-nat more or less in the mean, around the bound 1.96 * 100,504 = 196,987.84.
  for (int64_t& loss : rows.b) loss -= 1'000'000 - 196'988;
  CHECK(verdict() == Verdict::kABetter);
  for (int64_t& loss : rows.b) loss -= 1;
  CHECK(verdict() == Verdict::kUndecided);
  rule.margin_nanonats = 196'987 + 196'987;
  CHECK(verdict() == Verdict::kUndecided);
  rule.margin_nanonats += 1;
  CHECK(verdict() == Verdict::kEqual);
  rule.rows_max = 200;  // another look follows
  rule.margin_nanonats = 0;
  CHECK(verdict() == Verdict::kNone);
}

ComparisonEvidence SomeEvidence(int64_t worse) {
  ComparisonEvidence evidence;
  evidence.comparison = ComparisonId::Parse("00000000-0000-4000-8000-000000000001").value();
  evidence.a = crypto::Sha256("a");
  evidence.b = crypto::Sha256("b");
  evidence.rule = {30, 240, 10'000, 0};
  evidence.seed = crypto::Sha256("seed");
  evidence.seed_sha256 = crypto::Sha256(evidence.seed.AsBytes());
  evidence.pool_rows = 1'000;
  evidence.visible_rows = 200;
  const Rows rows = MakeRows(200, worse, 5);
  evidence.look = Run(evidence.rule, rows);
  evidence.losses_a.assign(rows.a.begin(), rows.a.begin() + evidence.look.rows);
  evidence.losses_b.assign(rows.b.begin(), rows.b.begin() + evidence.look.rows);
  return evidence;
}

TEST_CASE("evidence of a test has one form, and says where its rule ends it") {
  for (const int64_t worse : {0, 6'000'000, 20'000'000}) {
    const ComparisonEvidence evidence = SomeEvidence(worse);
    const std::string json = ComparisonEvidenceToJson(evidence);
    CHECK(ParseComparisonEvidence(json).value() == evidence);
    CHECK(CheckComparison(evidence).ok());
    for (const std::string bad : {json + " ", json.substr(1), std::string("{}"), std::string()}) {
      CHECK_FALSE(ParseComparisonEvidence(bad).ok());
    }
    const auto differs = [&](auto change) {
      ComparisonEvidence other = evidence;
      change(other);
      return !CheckComparison(other).ok();
    };
    CHECK(differs([](auto& e) { e.seed.bytes[0] ^= 1; }));
    CHECK(differs([](auto& e) { e.look.difference += 1; }));
    CHECK(differs([](auto& e) { e.look.standard_error += 1; }));
    CHECK(differs([](auto& e) { e.look.rows += 1; }));
    CHECK(differs([](auto& e) { e.look.verdict = Verdict::kEqual; }));
    CHECK(differs([](auto& e) { e.losses_a.pop_back(), e.losses_b.pop_back(); }));
    CHECK(differs([](auto& e) { e.losses_a.pop_back(); }));
    CHECK(differs([](auto& e) { e.losses_a[3] += 1'000; }));
    // It went on after the look that ends it, for a verdict that it likes better.
    if (evidence.look.rows == 200) continue;
    const Rows rows = MakeRows(200, worse, 5);
    CHECK(differs([&](auto& e) {
      e.losses_a = rows.a, e.losses_b = rows.b;
      e.look = TakeLook(e.rule, 200, e.losses_a, e.losses_b);
    }));
  }
  CHECK(SomeEvidence(20'000'000).look.rows == 30);
  CHECK(SomeEvidence(0).look.rows == 200);
  ComparisonEvidence evidence = SomeEvidence(0);
  evidence.losses_a[0] = -1;
  CHECK_FALSE(ParseComparisonEvidence(ComparisonEvidenceToJson(evidence)).ok());
  evidence = SomeEvidence(0);
  evidence.rule.error_micro = 0;
  CHECK_FALSE(ParseComparisonEvidence(ComparisonEvidenceToJson(evidence)).ok());
}

}  // namespace
}  // namespace rochdale::attribution
