#include "libs/learning/shapley.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/learning/wide.h"

namespace rochdale::learning {
namespace {

int64_t Binomial(int n, int k) {
  int64_t value = 1;
  for (int i = 1; i <= k; ++i) value = value * (n - k + i) / i;
  return value;
}

int64_t CommonDenominator(int n) {
  int64_t lcm = 1;
  for (int k = 0; k < n; ++k) lcm = std::lcm(lcm, Binomial(n - 1, k));
  return lcm;
}

// The smallest s with s^2 scale^2 rows^2 (rows - 1) >= rows sum x^2 - (sum x)^2.
int64_t StandardError(const Wide& sum_of_squares, unsigned __int128 sum_magnitude, int64_t scale,
                      int64_t rows) {
  const Wide spread =
      sum_of_squares * static_cast<uint64_t>(rows) - Wide(sum_magnitude) * Wide(sum_magnitude);
  Wide unit = Wide(static_cast<uint64_t>(scale)) * static_cast<uint64_t>(scale);
  unit = unit * static_cast<uint64_t>(rows) * static_cast<uint64_t>(rows);
  unit = unit * static_cast<uint64_t>(rows - 1);
  // |x| < 2^62 and scale >= 1, so the mean's error is below 2^62.
  return static_cast<int64_t>(SmallestWhere(uint64_t{1} << 62, [&](uint64_t s) {
    return unit * s * s >= spread;
  }));
}

}  // namespace

int64_t Estimate::Mean() const {
  const __int128 divisor = static_cast<__int128>(scale) * rows;
  __int128 quotient = static_cast<__int128>(total) / divisor;
  if (static_cast<__int128>(total) % divisor < 0) --quotient;
  return static_cast<int64_t>(quotient);
}

int64_t ShapleyScale(int n) { return n * CommonDenominator(n); }

std::vector<int64_t> ShapleyPerRow(int n, int64_t rows, absl::Span<const int64_t> losses) {
  std::vector<int64_t> weights(n);  // of a coalition of k others, in units of 1 / scale
  for (int k = 0; k < n; ++k) weights[k] = CommonDenominator(n) / Binomial(n - 1, k);
  std::vector<int64_t> values(n * rows);
  for (int i = 0; i < n; ++i) {
    int64_t* phi = values.data() + i * rows;
    for (uint64_t mask = 0; mask < uint64_t{1} << n; ++mask) {
      if (mask >> i & 1) continue;
      const int64_t weight = weights[__builtin_popcountll(mask)];
      const int64_t* before = losses.data() + mask * rows;
      const int64_t* after = losses.data() + (mask | uint64_t{1} << i) * rows;
      for (int64_t r = 0; r < rows; ++r) phi[r] += weight * (before[r] - after[r]);
    }
  }
  return values;
}

Estimate EstimateMean(absl::Span<const int64_t> x, int64_t scale) {
  Estimate estimate;
  estimate.scale = scale;
  estimate.rows = static_cast<int64_t>(x.size());
  __int128 sum = 0;
  Wide sum_of_squares;
  for (int64_t value : x) {
    sum += value;
    const uint64_t magnitude = value < 0 ? -static_cast<uint64_t>(value) : value;
    sum_of_squares += static_cast<unsigned __int128>(magnitude) * magnitude;
  }
  estimate.total = sum;
  estimate.standard_error =
      StandardError(sum_of_squares, sum < 0 ? -sum : sum, scale, estimate.rows);
  return estimate;
}

Estimate EstimateDifference(absl::Span<const int64_t> before, absl::Span<const int64_t> after) {
  std::vector<int64_t> difference(before.size());
  for (size_t r = 0; r < before.size(); ++r) difference[r] = before[r] - after[r];
  return EstimateMean(difference, 1);
}

absl::StatusOr<GameEstimates> EstimateGame(int n, int64_t rows, absl::Span<const int64_t> losses) {
  if (n < 1 || n > kExactShapleyMax || rows < 2) {
    return Error("BAD_REQUEST", absl::StrCat("a game needs 1 to ", kExactShapleyMax,
                                             " contributors and at least 2 rows"));
  }
  const uint64_t all = (uint64_t{1} << n) - 1;
  if (losses.size() != (all + 1) * rows) {
    return Error("BAD_REQUEST", "a game needs the losses of every coalition on every row");
  }
  for (int64_t loss : losses) {
    if (loss < 0 || loss > kLossNanonatsMax) return Error("BAD_REQUEST", "a loss is out of bounds");
  }
  auto coalition = [&](uint64_t mask) { return losses.subspan(mask * rows, rows); };
  const std::vector<int64_t> shapley = ShapleyPerRow(n, rows, losses);
  GameEstimates estimates;
  for (int i = 0; i < n; ++i) {
    const uint64_t bit = uint64_t{1} << i;
    estimates.shapley.push_back(EstimateMean(
        absl::MakeConstSpan(shapley).subspan(i * rows, rows), ShapleyScale(n)));
    estimates.solo.push_back(EstimateDifference(coalition(0), coalition(bit)));
    estimates.leave_one_out.push_back(EstimateDifference(coalition(all & ~bit), coalition(all)));
    std::vector<int64_t> banzhaf(rows);
    for (uint64_t mask = 0; mask <= all; ++mask) {
      const int64_t sign = mask & bit ? -1 : 1;
      const int64_t* loss = coalition(mask).data();
      for (int64_t r = 0; r < rows; ++r) banzhaf[r] += sign * loss[r];
    }
    estimates.banzhaf.push_back(EstimateMean(banzhaf, int64_t{1} << (n - 1)));
  }
  return estimates;
}

}  // namespace rochdale::learning
