#include "services/attribution/early.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/learning/shapley.h"
#include "services/attribution/looks.h"

namespace rochdale::attribution {

std::vector<int64_t> EarlyOrder(const crypto::Digest& seed, const crypto::Digest& probe_data,
                                int64_t rows) {
  std::vector<int64_t> all(rows);
  std::iota(all.begin(), all.end(), int64_t{0});
  return OrderedRows("ROCHDALEearly1", absl::StrCat(seed.AsBytes(), probe_data.AsBytes()),
                     std::move(all));
}

std::vector<int64_t> EarlyLooks(const EarlyRule& rule, int64_t rows) {
  std::vector<int64_t> looks;
  if (rule.error_micro > 0 && rule.rows_min > 0) {
    for (int64_t at = rule.rows_min; at <= rows / 2 && looks.size() + 1 < kLooksMax; at *= 2) {
      looks.push_back(at);
    }
  }
  looks.push_back(rows);
  return looks;
}

bool LookDecides(const EarlyRule& rule, int looks, int64_t bound_nanonats,
                 absl::Span<const int64_t> differences) {
  const learning::Estimate estimate = learning::EstimateMean(differences, 1);
  const auto [least, most] = std::minmax_element(differences.begin(), differences.end());
  // With |D|, B R < 2^80, z <= 1000, s and w <= 2^50: all below 2^96.
  const __int128 z = StoppingZ(rule.error_micro, looks);
  const __int128 excess = 30'000 * (static_cast<__int128>(estimate.total) -
                                    static_cast<__int128>(bound_nanonats) * estimate.rows);
  const __int128 width = 300 * z * estimate.standard_error * estimate.rows +
                         z * z * (static_cast<__int128>(*most) - *least);
  return excess > width || excess <= -width;
}

}  // namespace rochdale::attribution
