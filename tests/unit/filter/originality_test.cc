#include "services/filter/originality.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "libs/base/errors.h"

namespace rochdale::filter {
namespace {

constexpr size_t kDimensions = 1500;
using Vector = std::vector<double>;

Uuid Named(uint8_t number) {
  Uuid id;
  id.bytes[15] = number;
  return id;
}

// Updates of a round as gradient descent makes them: a common part, and an own one.
class Makers {
 public:
  Makers(uint64_t seed, double common) : random_(seed), common_(common) { shared_ = Noise(); }

  Vector Noise() {
    Vector values(kDimensions);
    for (double& value : values) value = normal_(random_);
    return Unit(values);
  }
  Vector Honest() {
    return Mix({{std::sqrt(common_), shared_}, {std::sqrt(1 - common_), Noise()}});
  }
  Vector Copy(const Vector& of, double noise) { return Mix({{1.0, of}, {noise, Noise()}}); }
  // Another round: the common part turns by half.
  void Turn() { shared_ = Unit(Mix({{1.0, shared_}, {1.0, Noise()}})); }

  static Vector Mix(const std::vector<std::pair<double, Vector>>& parts) {
    Vector sum(kDimensions, 0.0);
    for (const auto& [weight, part] : parts) {
      for (size_t e = 0; e < kDimensions; ++e) sum[e] += weight * part[e];
    }
    return sum;
  }
  static Vector Unit(Vector values) {
    double square = 0;
    for (const double value : values) square += value * value;
    for (double& value : values) value /= std::sqrt(square);
    return values;
  }

 private:
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
  double common_;
  Vector shared_;
};

struct Round {
  std::vector<OriginalityEntry> entries;
  std::vector<Vector> updates;

  void Add(uint8_t lineage, Vector update, bool current = true) {
    entries.push_back({Named(lineage), current, entries.size() + 1});
    updates.push_back(std::move(update));
  }
  std::vector<double> Gram() const {
    std::vector<double> gram;
    for (const Vector& a : updates) {
      for (const Vector& b : updates) {
        double dot = 0;
        for (size_t e = 0; e < a.size(); ++e) dot += a[e] * b[e];
        gram.push_back(dot);
      }
    }
    return gram;
  }
  std::vector<OriginalityResult> Judge() const {
    auto results = Originality(entries, Gram(), {});
    REQUIRE(results.ok());
    return *results;
  }
};

TEST_CASE("Honest updates are original, copies are not", "[filter][originality]") {
  const uint64_t seed = 42;
  INFO("seed " << seed);
  for (const double common : {0.1, 0.5, 0.8}) {
    for (const double noise : {0.0, 0.01, 0.05, 0.1, 0.2}) {
      CAPTURE(common, noise);
      Makers make(seed, common);
      Round round;
      for (uint8_t i = 1; i <= 6; ++i) round.Add(i, make.Honest());
      round.Add(7, make.Copy(round.updates[2], noise));
      round.Add(8, make.Honest());
      const auto results = round.Judge();
      for (const size_t honest : {0, 1, 2, 3, 4, 5, 7}) {
        CAPTURE(honest, results[honest].r1_micro, results[honest].ev_micro);
        CHECK(results[honest].original);
        CHECK(results[honest].lineage == round.entries[honest].lineage);
      }
      CAPTURE(results[6].r1_micro, results[6].ev_micro);
      CHECK_FALSE(results[6].original);
      CHECK(results[6].partner == 2u);
      CHECK(results[6].lineage == Named(3));
      CHECK(CountLineages(round.entries, results) == 7);
    }
  }
}

TEST_CASE("A mixture of earlier updates is found", "[filter][originality]") {
  Makers make(7, 0.5);
  Round round;
  for (uint8_t i = 1; i <= 6; ++i) round.Add(i, make.Honest());
  const Vector mixture = Makers::Mix({{0.5, round.updates[0]},
                                      {0.3, round.updates[1]},
                                      {0.2, round.updates[2]},
                                      {0.3, round.updates[3]}});
  round.Add(7, make.Copy(mixture, 0.1));
  const auto results = round.Judge();
  CHECK(results[6].ev_micro > 950'000);
  CHECK_FALSE(results[6].original);
  CHECK(results[5].original);
}

TEST_CASE("The earlier commitment is the original, whatever the order given",
          "[filter][originality]") {
  Makers make(9, 0.5);
  Round round;
  for (uint8_t i = 1; i <= 5; ++i) round.Add(i, make.Honest());
  round.Add(6, make.Copy(round.updates[0], 0.05));
  round.entries[0].log_index = 1'000;  // revealed first, committed last
  const auto results = round.Judge();
  CHECK_FALSE(results[0].original);
  CHECK(results[0].lineage == Named(6));
  CHECK(results[5].original);
}

TEST_CASE("Copies of copies and several copies belong to one lineage", "[filter][originality]") {
  Makers make(11, 0.5);
  Round round;
  for (uint8_t i = 1; i <= 5; ++i) round.Add(i, make.Honest());
  round.Add(6, make.Copy(round.updates[1], 0.05));
  round.Add(7, make.Copy(round.updates[5], 0.05));
  round.Add(8, make.Copy(round.updates[1], 0.2));
  const auto results = round.Judge();
  for (const size_t copy : {5, 6, 7}) {
    CHECK_FALSE(results[copy].original);
    CHECK(results[copy].lineage == Named(2));
  }
  CHECK(CountLineages(round.entries, results) == 5);
}

TEST_CASE("A copy of a recent round is found, and does not count against its original",
          "[filter][originality]") {
  Makers make(13, 0.4);
  Round round;
  std::vector<Vector> before;
  for (uint8_t i = 1; i <= 5; ++i) before.push_back(make.Honest());
  for (uint8_t i = 1; i <= 5; ++i) round.Add(i, before[i - 1], false);
  // Principal 6 copied principal 2 in that round: since then the copy is of lineage 2.
  const Vector copied = make.Copy(before[1], 0.05);
  round.Add(2, copied, false);
  make.Turn();
  // Principal 2 stays close to what it did before; nobody else is.
  round.Add(2, make.Copy(before[1], 0.3));
  for (uint8_t i = 3; i <= 5; ++i) round.Add(i, make.Honest());
  round.Add(6, make.Copy(before[2], 0.1));
  const auto results = round.Judge();
  CHECK(results[6].original);
  CHECK_FALSE(results[10].original);
  CHECK(results[10].lineage == Named(3));

  // With the copy booked under the copier's own name the original would be refused.
  round.entries[5].lineage = Named(6);
  CHECK_FALSE(round.Judge()[6].original);
}

TEST_CASE("Whoever an owner's earliest is tied to, the later ones follow",
          "[filter][originality]") {
  Makers make(5, 0.3);
  Round round;
  for (uint8_t i = 1; i <= 4; ++i) round.Add(i, make.Honest());
  round.Add(5, round.updates[1]);  // a copy of 2, and the earliest of an owner
  round.Add(5, make.Honest());     // the owner's later one
  round.entries[5].stands_for = 4;
  const auto results = round.Judge();
  CHECK_FALSE(results[4].original);
  CHECK(results[5].original);
  CHECK(results[4].lineage == Named(2));
  CHECK(results[5].lineage == Named(2));
  CHECK(CountLineages(round.entries, results) == 4);
  for (const size_t wrong : {5, 6}) {  // itself; none
    round.entries[5].stands_for = wrong;
    CHECK_FALSE(Originality(round.entries, round.Gram(), {}).ok());
  }
}

TEST_CASE("Nobody is compared with the own lineage", "[filter][originality]") {
  Makers make(15, 0.4);
  Round round;
  round.Add(1, make.Honest(), false);
  for (uint8_t i = 2; i <= 4; ++i) round.Add(i, make.Honest());
  round.Add(1, round.updates[0]);
  const auto results = round.Judge();
  CHECK(results[4].original);
  CHECK(results[4].r1_micro < 100'000);
}

TEST_CASE("A long vector does not frame anyone", "[filter][originality]") {
  Makers make(17, 0.85);  // cosine .85: plain squared cosine .72 is above the bound
  Round round;
  for (uint8_t i = 1; i <= 6; ++i) round.Add(i, make.Honest());
  Vector huge = make.Noise();
  for (double& value : huge) value *= 1e6;
  round.Add(7, huge);
  for (const OriginalityResult& result : round.Judge()) {
    CAPTURE(result.r1_micro);
    CHECK(result.original);
  }
}

TEST_CASE("Small and degenerate rounds", "[filter][originality]") {
  Makers make(19, 0.3);
  Round round;
  round.Add(1, make.Honest());
  CHECK(round.Judge()[0].original);  // alone
  CHECK(round.Judge()[0].r1_micro == 0);
  round.Add(2, make.Copy(round.updates[0], 0.1));
  auto results = round.Judge();  // two only: squared cosine
  CHECK(results[0].original);
  CHECK(results[1].r1_micro == Approx(1e6 / 1.01).epsilon(0.01));
  CHECK_FALSE(results[1].original);
  round.Add(3, Vector(kDimensions, 0.0));  // no direction at all
  results = round.Judge();
  CHECK(results[2].r1_micro == 0);
  CHECK(results[2].ev_micro == 0);
  CHECK_FALSE(results[1].original);

  const auto none = Originality({}, {}, {});
  REQUIRE(none.ok());
  CHECK(none->empty());
  CHECK(CountLineages({}, *none) == 0);
}

TEST_CASE("Identical updates of many principals are all tied to the first",
          "[filter][originality]") {
  Makers make(21, 0.3);
  Round round;
  const Vector one = make.Honest();
  for (uint8_t i = 1; i <= 12; ++i) round.Add(i, one);
  const auto results = round.Judge();
  CHECK(results[0].original);
  for (size_t i = 1; i < 12; ++i) {
    CHECK(results[i].ev_micro == 1'000'000);
    CHECK(results[i].lineage == Named(1));
  }
  CHECK(CountLineages(round.entries, results) == 1);
}

// Not run by default: prints what a round costs.
TEST_CASE("Cost of a round", "[.][bench]") {
  for (const size_t agents : {50, 100, 200}) {
    const size_t count = 3 * agents;
    std::vector<OriginalityEntry> entries;
    std::vector<double> gram(count * count, 0.4);
    for (size_t i = 0; i < count; ++i) {
      Uuid lineage;
      lineage.bytes[14] = static_cast<uint8_t>(i % agents / 256);
      lineage.bytes[15] = static_cast<uint8_t>(i % agents % 256);
      entries.push_back({lineage, i >= 2 * agents, i});
      gram[i * count + i] = 1;
    }
    const auto start = std::chrono::steady_clock::now();
    REQUIRE(Originality(entries, gram, {}).ok());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    WARN(agents << " agents: " << seconds.count() << " s");
  }
}

TEST_CASE("Bad figures of a round are refused", "[filter][originality]") {
  const std::vector<OriginalityEntry> two{{Named(1), true, 1}, {Named(2), true, 2}};
  CHECK_FALSE(Originality(two, std::vector<double>{1, 0, 0}, {}).ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double bad : {nan, infinity, -infinity}) {
    const auto result = Originality(two, std::vector<double>{1, bad, bad, 1}, {});
    CHECK(ReasonOf(result.status()) == "TENSOR_NOT_FINITE");
  }
  CHECK_FALSE(Originality(two, std::vector<double>{-1, 0, 0, 1}, {}).ok());
  const std::vector<OriginalityEntry> same{{Named(1), true, 1}, {Named(2), true, 1}};
  CHECK_FALSE(Originality(same, std::vector<double>{1, 0, 0, 1}, {}).ok());
}

// The definitions, worked out on the vectors themselves instead of the Gram matrix.
struct Naive {
  static double Dot(const Vector& a, const Vector& b) {
    double sum = 0;
    for (size_t e = 0; e < a.size(); ++e) sum += a[e] * b[e];
    return sum;
  }
  static Vector Without(const Vector& a, const Vector& direction) {
    return Makers::Mix({{1.0, a}, {-Dot(a, direction) / Dot(direction, direction), direction}});
  }
  static double R1(const Round& round, size_t i, size_t j) {
    Vector mean(kDimensions, 0.0);
    for (size_t k = 0; k < round.updates.size(); ++k) {
      if (k == i || k == j || round.entries[k].lineage == round.entries[i].lineage) continue;
      mean = Makers::Mix({{1.0, mean}, {1.0, Makers::Unit(round.updates[k])}});
    }
    const Vector a = Without(Makers::Unit(round.updates[i]), mean);
    const Vector b = Without(Makers::Unit(round.updates[j]), mean);
    return Dot(a, b) * Dot(a, b) / (Dot(a, a) * Dot(b, b));
  }
  static double Ev(const Round& round, size_t i) {
    std::vector<Vector> basis;  // Gram-Schmidt, twice for accuracy
    Vector left = Makers::Unit(round.updates[i]);
    for (size_t j = 0; j < i; ++j) {
      if (round.entries[j].lineage == round.entries[i].lineage) continue;
      Vector direction = Makers::Unit(round.updates[j]);
      for (int pass = 0; pass < 2; ++pass) {
        for (const Vector& other : basis) direction = Without(direction, other);
      }
      basis.push_back(direction);
      left = Without(left, direction);
    }
    return 1 - Dot(left, left);
  }
};

TEST_CASE("R1 and EV are what their definitions say", "[filter][originality]") {
  Makers make(23, 0.5);
  Round round;
  for (uint8_t i = 1; i <= 4; ++i) round.Add(i, make.Honest(), false);
  for (uint8_t i = 1; i <= 4; ++i) round.Add(i, make.Copy(make.Honest(), 0.4 * i));
  round.Add(5, make.Copy(round.updates[5], 0.7));
  const auto results = round.Judge();
  for (size_t i = 4; i < results.size(); ++i) {
    CAPTURE(i);
    double r1 = 0;
    for (size_t j = 0; j < i; ++j) {
      if (round.entries[j].lineage == round.entries[i].lineage) continue;
      r1 = std::max(r1, Naive::R1(round, i, j));
    }
    CHECK(static_cast<double>(results[i].r1_micro) == Approx(1e6 * r1).margin(1.5));
    const double ev = Naive::Ev(round, i);
    CHECK(static_cast<double>(results[i].ev_micro) == Approx(1e6 * ev).margin(1.5));
  }
}

TEST_CASE("No honest update of many random rounds is refused, no copy passes",
          "[filter][originality][property]") {
  int honest_refused = 0;
  int copies_passed = 0;
  for (uint64_t seed = 100; seed < 130; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    Makers make(seed, 0.05 + 0.8 * static_cast<double>(random() % 1000) / 1000);
    Round round;
    const uint8_t parties = 5 + random() % 10;
    for (int past = 0; past < 2; ++past) {
      for (uint8_t i = 0; i < parties; ++i) round.Add(i, make.Honest(), false);
      make.Turn();
    }
    std::set<size_t> copies;
    for (uint8_t i = 0; i < parties; ++i) {
      if (i > 2 && random() % 4 == 0) {
        copies.insert(round.updates.size());
        const size_t others = round.updates.size() - i;
        const double noise = 0.01 * static_cast<double>(1 + random() % 20);
        round.Add(100 + i, make.Copy(round.updates[random() % others], noise));
      } else {
        round.Add(i, make.Honest());
      }
    }
    const auto results = round.Judge();
    for (size_t i = 2u * parties; i < results.size(); ++i) {
      if (copies.contains(i)) copies_passed += results[i].original ? 1 : 0;
      else honest_refused += results[i].original ? 0 : 1;
    }
  }
  CHECK(honest_refused == 0);
  CHECK(copies_passed == 0);
}

}  // namespace
}  // namespace rochdale::filter
