#include "services/attribution/comparison.h"

#include <algorithm>
#include <utility>

#include "libs/learning/shapley.h"

namespace rochdale::attribution {

std::vector<int64_t> ComparisonOrder(const crypto::Digest& seed, std::vector<int64_t> visible) {
  return OrderedRows("ROCHDALEab1", seed.AsBytes(), std::move(visible));
}

int64_t RowsOfNextLook(const ComparisonRule& rule, int64_t available, int64_t rows) {
  const int64_t most = std::min(rule.rows_max, available);
  return std::min(rows == 0 ? rule.rows_min : 2 * rows, most);
}

int LooksOf(const ComparisonRule& rule, int64_t available) {
  int looks = 0;
  for (int64_t rows = 0; looks < kLooksMax;) {
    const int64_t next = RowsOfNextLook(rule, available, rows);
    if (next == rows) break;
    rows = next;
    ++looks;
  }
  return std::max(looks, 1);
}

Look TakeLook(const ComparisonRule& rule, int64_t available, absl::Span<const int64_t> losses_a,
              absl::Span<const int64_t> losses_b) {
  const learning::Estimate estimate = learning::EstimateDifference(losses_b, losses_a);
  Look look;
  look.rows = estimate.rows;
  look.difference = estimate.Mean();
  look.standard_error = estimate.standard_error;
  const __int128 total = static_cast<__int128>(estimate.total) * 100;
  const __int128 width =
      static_cast<__int128>(StoppingZ(rule.error_micro, LooksOf(rule, available))) *
      estimate.standard_error * estimate.rows;
  const __int128 margin = static_cast<__int128>(rule.margin_nanonats) * 100 * estimate.rows;
  if (total - width > 0) {
    look.verdict = Verdict::kABetter;
  } else if (total + width < 0) {
    look.verdict = Verdict::kBBetter;
  } else if ((total < 0 ? -total : total) + width <= margin) {
    look.verdict = Verdict::kEqual;
  } else if (RowsOfNextLook(rule, available, look.rows) == look.rows) {
    look.verdict = Verdict::kUndecided;
  }
  return look;
}

}  // namespace rochdale::attribution
