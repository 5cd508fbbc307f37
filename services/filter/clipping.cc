#include "services/filter/clipping.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "libs/base/amount.h"

namespace rochdale::filter {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
// Below this, times 10^12 fits 128 bits.
constexpr absl::uint128 kSquaredMax = absl::uint128{1} << 87;

}  // namespace

absl::uint128 LowerMedian(std::vector<absl::uint128> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double ClipScale(absl::uint128 norm_squared, absl::uint128 median_squared, int64_t clip_micro) {
  if (norm_squared == 0) return 1.0;
  const double clip = static_cast<double>(std::max<int64_t>(clip_micro, 0)) / kMicro;
  const double ratio = static_cast<double>(median_squared) / static_cast<double>(norm_squared);
  return std::min(1.0, clip * std::sqrt(ratio));
}

int64_t NormRatioMicro(absl::uint128 norm_squared, absl::uint128 median_squared) {
  if (norm_squared == 0) return 0;
  if (median_squared == 0 || norm_squared >= kSquaredMax) return kLargest;
  // The smallest r with r^2 * median >= norm * 10^12.
  const absl::uint128 scaled = norm_squared * absl::uint128{1'000'000'000'000};
  const absl::uint128 quotient = (scaled - 1) / median_squared + 1;
  const absl::uint128 root = IntegerSqrtCeil(quotient);
  return root > absl::uint128{static_cast<uint64_t>(kLargest)} ? kLargest
                                                               : static_cast<int64_t>(root);
}

double NormOf(absl::uint128 norm_squared) {
  return std::sqrt(static_cast<double>(norm_squared)) / (1 << 20);
}

}  // namespace rochdale::filter
