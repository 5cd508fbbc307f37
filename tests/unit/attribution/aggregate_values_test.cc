#include "services/attribution/aggregate_values.h"

#include <catch2/catch.hpp>
#include <functional>

#include "libs/base/errors.h"

namespace rochdale::attribution {
namespace {

ProbeBound BoundOf(int64_t rows, int64_t eps) { return {{}, rows, eps}; }

using Sums = std::function<absl::int128(size_t bound, uint64_t mask)>;

// The whole test; `values` is what it evaluated.
uint64_t Run(uint64_t gate, std::vector<ProbeBound> bounds, const Sums& sums,
             AggregateValues& values) {
  values = {std::move(bounds), {}, {}};
  values.loss_sums.resize(values.bounds.size());
  for (int stage = 0; stage < 65; ++stage) {
    const ValuesStep step = NextValuesStep(gate, values).value();
    if (step.ended) return step.kept;
    for (const uint64_t mask : step.wanted) {
      values.masks.push_back(mask);
      for (size_t b = 0; b < values.bounds.size(); ++b) {
        values.loss_sums[b].push_back(sums(b, mask));
      }
    }
  }
  FAIL("a test without end");
  return 0;
}

// Update i adds rises[i] to the sum of each bound.
Sums Additive(std::vector<int64_t> rises) {
  return [rises](size_t, uint64_t mask) {
    absl::int128 sum = 1'000'000;
    for (size_t i = 0; i < rises.size(); ++i) sum += mask >> i & 1 ? rises[i] : 0;
    return sum;
  };
}

TEST_CASE("what keeps every bound is tested once") {
  AggregateValues values{{BoundOf(0, 5)}, {}, {{}}};  // how many rows there are is not known yet
  CHECK(NextValuesStep(0b11, values).value().wanted == std::vector<uint64_t>{0, 0b11});
  CHECK(Run(0b111, {BoundOf(10, 60)}, Additive({200, 300, 100}), values) == 0b111);
  CHECK(values.masks == std::vector<uint64_t>{0, 0b111});
  // 600 over 10 rows is 60 a row; one nano-nat more in the sum is above it.
  CHECK(Run(0b111, {BoundOf(10, 60)}, Additive({200, 300, 101}), values) != 0b111);
  // Falling losses keep a bound of nothing.
  CHECK(Run(0b11, {BoundOf(7, 0)}, Additive({-5, 5}), values) == 0b11);
}

TEST_CASE("the updates that add most go, one by one, until the rest keeps the bound") {
  AggregateValues values;
  CHECK(Run(0b1111, {BoundOf(10, 35)}, Additive({200, 300, 100, 250}), values) == 0b0101);
  CHECK(values.masks == std::vector<uint64_t>{0, 0b1111, 0b1110, 0b1101, 0b1011, 0b0111,  //
                                              0b1100, 0b1001, 0b0101});
  // Updates that the gate left out are none of it.
  CHECK(Run(0b1001, {BoundOf(10, 24)}, Additive({200, 300, 100, 250}), values) == 0b0001);
  // Of equals the latest commitment goes.
  CHECK(Run(0b111, {BoundOf(1, 200)}, Additive({100, 100, 100}), values) == 0b011);
  // Nobody keeps every bound.
  CHECK(Run(0b111, {BoundOf(1, 0)}, Additive({1, 1, 1}), values) == 0);
  CHECK(Run(~uint64_t{0} >> 1, {BoundOf(1, 0)}, [](size_t, uint64_t mask) {
          return absl::int128(mask == 0 ? 0 : 1);
        }, values) == 0);
}

TEST_CASE("the bound that is broken most decides who goes") {
  // Update 0 harms the first probe, update 1 the second, which is over its bound by more a row.
  const Sums sums = [](size_t bound, uint64_t mask) {
    return absl::int128(bound == 0 ? (mask & 1 ? 1'000 : 0) : (mask & 2 ? 90 : 0));
  };
  AggregateValues values;
  CHECK(Run(0b11, {BoundOf(100, 5), BoundOf(1, 50)}, sums, values) == 0);
  CHECK(values.masks == std::vector<uint64_t>{0, 0b11, 0b10, 0b01, 0b00});
  CHECK(Run(0b11, {BoundOf(100, 5), BoundOf(1, 90)}, sums, values) == 0b10);
  CHECK(Run(0b11, {BoundOf(100, 10), BoundOf(1, 50)}, sums, values) == 0b01);
}

TEST_CASE("other coalitions than the test evaluates are refused") {
  AggregateValues values;
  Run(0b1111, {BoundOf(10, 35)}, Additive({200, 300, 100, 250}), values);
  const auto refused = [&](const std::function<void(AggregateValues&)>& change) {
    AggregateValues other = values;
    change(other);
    const auto step = NextValuesStep(0b1111, other);
    return !step.ok() && ReasonOf(step.status()) == "BAD_REQUEST";
  };
  CHECK_FALSE(refused([](AggregateValues&) {}));
  CHECK(refused([](AggregateValues& v) { std::swap(v.masks[2], v.masks[3]); }));
  CHECK(refused([](AggregateValues& v) { v.masks[1] = 0b111; }));
  CHECK(refused([](AggregateValues& v) { v.masks[0] = 1; }));
  CHECK(refused([](AggregateValues& v) { v.masks.pop_back(), v.loss_sums[0].pop_back(); }));
  CHECK(refused([](AggregateValues& v) { v.masks.push_back(0), v.loss_sums[0].push_back(0); }));
  CHECK(refused([](AggregateValues& v) { v.loss_sums[0].pop_back(); }));
  CHECK(refused([](AggregateValues& v) { v.loss_sums.clear(); }));
  CHECK(refused([](AggregateValues& v) { v.bounds[0].rows = 0; }));
  // A stage that another sum leads elsewhere.
  CHECK(refused([](AggregateValues& v) { v.loss_sums[0][2] = 0; }));
}

}  // namespace
}  // namespace rochdale::attribution
