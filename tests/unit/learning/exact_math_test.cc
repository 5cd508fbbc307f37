#include "libs/learning/exact_math.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

namespace rochdale::learning {
namespace {

constexpr long double kErrorMax = 2.3e-16L;

long double RelativeError(double value, long double expected) {
  return std::abs((static_cast<long double>(value) - expected) / expected);
}

TEST_CASE("exp is within 2.3e-16 of the truth") {
  std::mt19937_64 engine(1);
  long double worst = 0;
  for (int i = 0; i < 400'000; ++i) {
    const double scale = i % 4 == 0 ? 700 : i % 4 == 1 ? 20 : i % 4 == 2 ? 1 : 1e-6;
    const double x = -scale * std::ldexp(static_cast<double>(engine() >> 11), -53);
    worst = std::max(worst, RelativeError(ExactExp(x), std::exp(static_cast<long double>(x))));
  }
  INFO("worst " << static_cast<double>(worst));
  CHECK(worst < kErrorMax);
  CHECK(ExactExp(0.0) == 1.0);
  CHECK(ExactExp(-0.0) == 1.0);
  CHECK(ExactExp(-700.0) > 0.0);
  CHECK(ExactExp(std::nextafter(-700.0, -1000.0)) == 0.0);
  CHECK(ExactExp(-500'000.0) == 0.0);
}

TEST_CASE("log is within 2.3e-16 of the truth") {
  std::mt19937_64 engine(2);
  long double worst = 0;
  for (int i = 0; i < 400'000; ++i) {
    const double unit = std::ldexp(static_cast<double>(engine() >> 11), -53);
    const double s = i % 4 == 0   ? 1 + unit * 1023
                     : i % 4 == 1 ? 1 + unit * 9
                     : i % 4 == 2 ? 1 + unit
                                  : 1 + std::ldexp(unit, -static_cast<int>(engine() % 40));
    if (s == 1) continue;
    worst = std::max(worst, RelativeError(ExactLog(s), std::log(static_cast<long double>(s))));
  }
  INFO("worst " << static_cast<double>(worst));
  CHECK(worst < kErrorMax);
  CHECK(ExactLog(1.0) == 0.0);
  CHECK(RelativeError(ExactLog(std::nextafter(1.0, 2.0)), 0x1p-52L) < kErrorMax);
}

// The vectorised rows against the same steps one at a time.
TEST_CASE("cross-entropy is the documented sequence of operations, for any stride and count") {
  std::mt19937_64 engine(3);
  for (const int rows : {1, 7, 63, 64, 65, 200}) {
    const int classes = 2 + static_cast<int>(engine() % 12);
    const int stride = rows + static_cast<int>(engine() % 3);
    std::vector<double> logits(classes * stride);
    std::vector<int32_t> labels(rows);
    const int64_t spread = rows % 2 ? int64_t{1} << 52 : int64_t{1} << 39;  // 2^16 or 8
    for (double& z : logits) {
      z = std::ldexp(static_cast<double>(static_cast<int64_t>(engine() % (2 * spread)) - spread),
                     -36);
    }
    for (int32_t& label : labels) label = static_cast<int32_t>(engine() % classes);
    std::vector<int64_t> expected(rows), losses(rows);
    for (int r = 0; r < rows; ++r) {
      double top = logits[r];
      for (int j = 1; j < classes; ++j) top = std::max(top, logits[j * stride + r]);
      double sum = 0;
      for (int j = 0; j < classes; ++j) sum = sum + ExactExp(logits[j * stride + r] - top);
      const double loss = ExactLog(sum) - (logits[labels[r] * stride + r] - top);
      expected[r] = std::llrint(loss * 1e9);
    }
    CrossEntropyNanonats(logits.data(), stride, classes, labels.data(), rows, losses.data());
    CHECK(losses == expected);
  }
}

TEST_CASE("losses are those of the formula") {
  double logits[] = {1.0, 0.0, 2.0, 0.0};  // two classes, two rows
  const int32_t labels[] = {0, 1};
  int64_t losses[2];
  CrossEntropyNanonats(logits, 2, 2, labels, 2, losses);
  CHECK(losses[0] == 1'313'261'688);  // log(1 + e)
  CHECK(losses[1] == 693'147'181);    // log 2
}

}  // namespace
}  // namespace rochdale::learning
