#include "libs/learning/credit_rule.h"

#include <algorithm>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/wide.h"

namespace rochdale::learning {
namespace {

// 100 (mean + z s) in units of 1 / (scale rows): an integer. z may be negative.
__int128 Shifted(const Estimate& estimate, int z_hundredths) {
  const __int128 error = static_cast<__int128>(estimate.standard_error) * estimate.scale;
  return static_cast<__int128>(estimate.total) * 100 + error * estimate.rows * z_hundredths;
}

__int128 Sum(absl::Span<const int64_t> values) {
  __int128 sum = 0;
  for (int64_t value : values) sum += value;
  return sum;
}

// floor(a * b / (c * d)), which is at most 2^62; c * d > 0.
int64_t FloorRatio(__int128 a, __int128 b, __int128 c, __int128 d) {
  const Wide numerator = Wide(a) * Wide(b);
  const Wide denominator = Wide(c) * Wide(d);
  const uint64_t above = SmallestWhere(uint64_t{1} << 62, [&](uint64_t q) {
    return denominator * (q + 1) > numerator;
  });
  return static_cast<int64_t>(above);
}

}  // namespace

bool SignificantlyNegative(const Estimate& estimate, int z_hundredths) {
  return Shifted(estimate, z_hundredths) < 0;
}

std::vector<bool> GateHarmful(const CreditRule& rule, absl::Span<const Estimate> payment) {
  std::vector<bool> harmful(payment.size(), false);
  if (rule.preset == CreditPreset::kLiteral) return harmful;
  for (size_t i = 0; i < payment.size(); ++i) {
    harmful[i] = SignificantlyNegative(payment[i], rule.z_gate_hundredths);
  }
  return harmful;
}

std::vector<int64_t> HardenedCredits(const CreditRule& rule, absl::Span<const Estimate> payment,
                                     const std::vector<bool>& harmful,
                                     absl::Span<const int64_t> best,
                                     absl::Span<const int64_t> applied, int64_t* lambda_ppb) {
  std::vector<__int128> bounded(payment.size());
  __int128 sum = 0;
  for (size_t i = 0; i < payment.size(); ++i) {
    if (!harmful[i]) {
      bounded[i] = std::max<__int128>(Shifted(payment[i], -rule.z_bound_hundredths), 0);
    }
    sum += bounded[i];
  }
  std::vector<int64_t> credits(payment.size(), 0);
  if (lambda_ppb != nullptr) *lambda_ppb = 0;
  if (sum == 0) return credits;
  const int64_t scale = payment[0].scale;
  const __int128 gain = std::max<__int128>((Sum(best) - Sum(applied)) * 100 * scale, 0);
  const __int128 paid = std::min(sum, gain);
  for (size_t i = 0; i < payment.size(); ++i) {
    credits[i] = FloorRatio(bounded[i], paid, sum,
                            static_cast<__int128>(100) * scale * payment[i].rows);
  }
  if (lambda_ppb != nullptr) *lambda_ppb = FloorRatio(paid, 1'000'000'000, sum, 1);
  return credits;
}

absl::StatusOr<RoundCredits> CreditRound(const CreditRule& rule, int n, int64_t rows,
                                         absl::Span<const int64_t> losses,
                                         absl::Span<const int64_t> best,
                                         GameEstimates* estimates) {
  ASSIGN_OR_RETURN(GameEstimates game, EstimateGame(n, rows, losses));
  auto coalition = [&](uint64_t mask) { return losses.subspan(mask * rows, rows); };
  if (best.empty()) best = coalition(0);
  if (static_cast<int64_t>(best.size()) != rows) {
    return Error("BAD_REQUEST", "the best checkpoint needs a loss on every row");
  }
  RoundCredits round;
  round.harmful = GateHarmful(rule, game.shapley);
  for (int i = 0; i < n; ++i) {
    if (!round.harmful[i]) round.applied_mask |= uint64_t{1} << i;
  }
  const auto applied = coalition(round.applied_mask);
  round.improvement = EstimateDifference(coalition(0), applied);
  if (rule.preset == CreditPreset::kLiteral) {
    for (const Estimate& solo : game.solo) {
      round.credits.push_back(std::max<int64_t>(solo.Mean(), 0));
    }
    round.lambda_ppb = 1'000'000'000;
  } else {
    round.credits = HardenedCredits(rule, game.shapley, round.harmful, best, applied,
                                    &round.lambda_ppb);
  }
  for (int i = 0; i < n; ++i) {
    round.audit_exception.push_back(
        round.credits[i] > 0 &&
        SignificantlyNegative(game.leave_one_out[i], rule.z_gate_hundredths));
  }
  if (estimates != nullptr) *estimates = std::move(game);
  return round;
}

}  // namespace rochdale::learning
