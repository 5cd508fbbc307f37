#include "services/filter/direction.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "libs/base/errors.h"
#include "libs/tensor/grid.h"

namespace rochdale::filter {
namespace {

using Vector = std::vector<double>;

double Dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t e = 0; e < a.size(); ++e) sum += a[e] * b[e];
  return sum;
}

struct Problem {
  Vector d;
  std::vector<Vector> g;
  std::vector<int64_t> eps_micro;

  double Norm() const { return std::sqrt(Dot(d, d)); }
  double Bound(size_t k) const {
    return static_cast<double>(eps_micro[k]) / 1e6 * Norm() * std::sqrt(Dot(g[k], g[k]));
  }
  absl::StatusOr<Projection> Solve() const {
    std::vector<DirectionConstraint> constraints;
    std::vector<double> gram;
    for (size_t k = 0; k < g.size(); ++k) {
      constraints.push_back({eps_micro[k], Dot(d, g[k])});
      for (const Vector& other : g) gram.push_back(Dot(g[k], other));
    }
    return Project(Norm(), constraints, gram);
  }
  Vector Apply(const std::vector<double>& lambdas) const {
    Vector x = d;
    for (size_t k = 0; k < g.size(); ++k) {
      for (size_t e = 0; e < x.size(); ++e) x[e] -= lambdas[k] * g[k][e];
    }
    return x;
  }
};

TEST_CASE("What conforms is left alone", "[filter][direction]") {
  const Problem problem{{1, -1, 0}, {{0, 1, 0}, {0, 0, 5}}, {0, 0}};
  const auto projection = problem.Solve();
  REQUIRE(projection.ok());
  CHECK_FALSE(projection->changed);
  CHECK(projection->kept == 1.0);
  CHECK(projection->lambdas == std::vector<double>{0, 0});
}

TEST_CASE("One violated constraint gives the formula", "[filter][direction]") {
  Problem problem{{3, 4}, {{0, 2}}, {0}};
  auto projection = problem.Solve();
  REQUIRE(projection.ok());
  CHECK(projection->lambdas[0] == Approx(2.0).epsilon(1e-12));  // <d,g>/|g|^2 = 8/4
  CHECK(projection->kept == Approx(0.6));
  problem.eps_micro = {200'000};  // b = 0.2 * 5 * 2 = 2
  projection = problem.Solve();
  REQUIRE(projection.ok());
  CHECK(projection->lambdas[0] == Approx(1.5).epsilon(1e-12));
}

TEST_CASE("Degenerate constraints", "[filter][direction]") {
  // Twice the same, a dependent one, a zero gradient, and one against another.
  const Problem problem{{1, 1, 1},
                        {{1, 0, 0}, {1, 0, 0}, {1, 1, 0}, {0, 0, 0}, {-1, 0, 0}},
                        {0, 0, 0, 0, 0}};
  const auto projection = problem.Solve();
  REQUIRE(projection.ok());
  const Vector x = problem.Apply(projection->lambdas);
  CHECK(x[0] == Approx(0).margin(1e-9));
  CHECK(x[1] == Approx(0).margin(1e-9));
  CHECK(x[2] == 1.0);

  const Problem zero{{0, 0}, {{1, 0}}, {0}};
  REQUIRE(zero.Solve().ok());
  CHECK_FALSE(zero.Solve()->changed);
  CHECK(Project(1, {}, {}).ok());
}

TEST_CASE("Bad figures of a projection are refused", "[filter][direction]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<DirectionConstraint> one{{0, 1}};
  CHECK_FALSE(Project(1, one, {}).ok());
  CHECK_FALSE(Project(1, {{-1, 1}}, {1.0}).ok());
  CHECK_FALSE(Project(1, {{1'000'001, 1}}, {1.0}).ok());
  CHECK(ReasonOf(Project(nan, one, {1.0}).status()) == "TENSOR_NOT_FINITE");
  CHECK(ReasonOf(Project(-1, one, {1.0}).status()) == "TENSOR_NOT_FINITE");
  CHECK(ReasonOf(Project(1, one, {nan}).status()) == "TENSOR_NOT_FINITE");
  CHECK(ReasonOf(Project(1, one, {-1.0}).status()) == "TENSOR_NOT_FINITE");
  CHECK(ReasonOf(Project(1, {{0, nan}}, {1.0}).status()) == "TENSOR_NOT_FINITE");
  const std::vector<DirectionConstraint> many(kDirectionConstraintsMax + 1);
  CHECK_FALSE(Project(1, many, std::vector<double>(many.size() * many.size())).ok());
}

// The closest point of a convex set: feasible, pushed by active constraints only, with
// non-negative weights. Random gradients share a direction, as probes of one model do.
TEST_CASE("A projection is feasible and the closest", "[filter][direction][property]") {
  const uint64_t seed = 31337;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  int changed = 0;
  for (int round = 0; round < 1000; ++round) {
    CAPTURE(round);
    const size_t dimensions = 2 + random() % 60;
    const size_t count = 1 + random() % (round % 50 == 0 ? kDirectionConstraintsMax : 24);
    const double shared = std::vector<double>{0.5, 5, 50, 1000}[round % 4];  // nearly parallel
    const auto draw = [&] {
      Vector values(dimensions);
      for (double& value : values) value = normal(random);
      return values;
    };
    Problem problem;
    const Vector common = draw();
    problem.d = draw();
    for (size_t k = 0; k < count; ++k) {
      Vector g = draw();
      const double scale = std::pow(10.0, static_cast<double>(random() % 5) - 2);
      for (size_t e = 0; e < dimensions; ++e) g[e] = scale * (g[e] + shared * common[e]);
      problem.g.push_back(g);
      problem.eps_micro.push_back(static_cast<int64_t>(random() % 3) * 100'000);
    }
    const auto projection = problem.Solve();
    REQUIRE(projection.ok());
    changed += projection->changed ? 1 : 0;
    const Vector x = problem.Apply(projection->lambdas);
    for (size_t k = 0; k < count; ++k) {
      const double unit = problem.Norm() * std::sqrt(Dot(problem.g[k], problem.g[k]));
      const double over = (Dot(x, problem.g[k]) - problem.Bound(k)) / unit;
      REQUIRE(projection->lambdas[k] >= 0);
      REQUIRE(over < 1e-8);
      if (projection->lambdas[k] > 0) REQUIRE(std::abs(over) < 1e-8);
    }
    REQUIRE(projection->kept == Approx(std::sqrt(Dot(x, x)) / problem.Norm()).margin(1e-7));
    REQUIRE(projection->lambdas == problem.Solve()->lambdas);  // the same bits again
  }
  CHECK(changed > 500);
}

TEST_CASE("The effective update is rounded once", "[filter][direction]") {
  const std::vector<float> delta{1.0f, -0.5f, 0.25f, 20.0f};
  const std::vector<float> g1{0, 1, 0, 0};
  const std::vector<float> g2{1, 1, 0, 0};
  std::vector<int32_t> effective(4);
  const std::vector<absl::Span<const float>> gradients{g1, g2};
  REQUIRE(ApplyProjection(delta, 0.5, std::vector<double>{0.25, 0}, gradients,
                          absl::MakeSpan(effective)).ok());
  CHECK(effective == std::vector<int32_t>{1 << 19, -(1 << 19), 1 << 17, tensor::kGridUnitsMax});
  // Half to even, after everything else.
  const std::vector<float> half{std::ldexp(1.0f, -21), 3 * std::ldexp(1.0f, -21)};
  std::vector<int32_t> rounded(2);
  REQUIRE(ApplyProjection(half, 1.0, {}, {}, absl::MakeSpan(rounded)).ok());
  CHECK(rounded == std::vector<int32_t>{0, 2});
  const absl::Span<int32_t> out = absl::MakeSpan(effective);
  const std::vector<double> one{1};
  const std::vector<absl::Span<const float>> wrong{half};
  CHECK_FALSE(ApplyProjection(half, 1.0, {}, {}, out).ok());
  CHECK_FALSE(ApplyProjection(delta, 1.0, one, {}, out).ok());
  CHECK_FALSE(ApplyProjection(delta, 1.0, one, wrong, out).ok());
}

TEST_CASE("A projected and rounded update holds within the slack",
          "[filter][direction][property]") {
  const uint64_t seed = 5;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 1e-3f);
  constexpr size_t kElements = 20'000;
  for (int round = 0; round < 10; ++round) {
    std::vector<float> delta(kElements), gradient(kElements);
    for (size_t e = 0; e < kElements; ++e) {
      gradient[e] = normal(random);
      delta[e] = normal(random) + 0.5f * gradient[e];
    }
    double dd = 0, dg = 0, gg = 0;
    for (size_t e = 0; e < kElements; ++e) {
      dd += double{delta[e]} * delta[e];
      dg += double{delta[e]} * gradient[e];
      gg += double{gradient[e]} * gradient[e];
    }
    const auto projection = Project(std::sqrt(dd), {{200'000, dg}}, {gg});
    REQUIRE(projection.ok());
    REQUIRE(projection->changed);
    std::vector<int32_t> effective(kElements);
    REQUIRE(ApplyProjection(delta, 1, projection->lambdas, {absl::Span<const float>(gradient)},
                            absl::MakeSpan(effective)).ok());
    double dot = 0;
    for (size_t e = 0; e < kElements; ++e) dot += tensor::FromGrid(effective[e]) * gradient[e];
    const double slack = DirectionSlack(std::sqrt(dd), std::sqrt(gg), kElements);
    CHECK(DirectionMicro(dot - slack, std::sqrt(dd), std::sqrt(gg)) <= 200'000);
    CHECK(DirectionMicro(dot + slack, std::sqrt(dd), std::sqrt(gg)) >= 200'000);
  }
}

TEST_CASE("A direction is rounded up to millionths", "[filter][direction]") {
  CHECK(DirectionMicro(1, 2, 1) == 500'000);
  CHECK(DirectionMicro(-1, 2, 1) == -500'000);
  CHECK(DirectionMicro(1e-9, 1, 1) == 1);
  CHECK(DirectionMicro(5, 0, 1) == 0);
  CHECK(DirectionMicro(5, 1, 0) == 0);
  CHECK(DirectionMicro(1e300, 1e-300, 1) == int64_t{1'000'000'000'000'000});
}

}  // namespace
}  // namespace rochdale::filter
