#include "services/verify/estimates.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/learning/wide.h"

namespace rochdale::verify {
namespace {

using absl::int128;
using attribution::Estimator;
using attribution::Evidence;
using learning::Wide;

constexpr int kAllCoalitionsMax = 10;

absl::Status Differs(absl::string_view field, const UpdateId& update) {
  return absl::DataLossError(
      absl::StrCat(field, " of ", update.ToString(), " does not follow from the sums of losses"));
}

int128 FloorDivide(int128 a, int128 b) {  // b > 0
  const int128 quotient = a / b;
  return a % b < 0 ? quotient - 1 : quotient;
}

int64_t Binomial(int n, int k) {
  int64_t value = 1;
  for (int i = 1; i <= k; ++i) value = value * (n - k + i) / i;
  return value;
}

// An estimate's sum over the rows, in units of 1 / scale.
struct Total {
  int128 sum = 0;
  int64_t scale = 1;
};

// The sum of losses of a coalition; missing coalitions were excluded before.
class Losses {
 public:
  explicit Losses(const Evidence& evidence) : evidence_(evidence) {}

  bool Has(uint64_t mask) const {
    return std::binary_search(evidence_.masks.begin(), evidence_.masks.end(), mask);
  }
  int128 At(uint64_t mask) const {
    const auto at = std::lower_bound(evidence_.masks.begin(), evidence_.masks.end(), mask);
    return evidence_.coalition_loss_sums[at - evidence_.masks.begin()];
  }

 private:
  const Evidence& evidence_;
};

// sum over permutations of what i takes away where it joins, in units of 1 / permutations.
Total Sampled(const Losses& losses, const std::vector<std::vector<int>>& permutations, int i) {
  Total total{0, static_cast<int64_t>(permutations.size())};
  for (const std::vector<int>& order : permutations) {
    uint64_t before = 0;
    for (const int joined : order) {
      if (joined == i) break;
      before |= uint64_t{1} << joined;
    }
    total.sum += losses.At(before) - losses.At(before | uint64_t{1} << i);
  }
  return total;
}

// sum over S without i of |S|! (k-1-|S|)! / k! (L(S) - L(S+i)), in units of 1 / (k lcm C(k-1, .)).
Total Shapley(const Losses& losses, int k, int i) {
  int64_t lcm = 1;
  for (int size = 0; size < k; ++size) lcm = std::lcm(lcm, Binomial(k - 1, size));
  Total total{0, k * lcm};
  for (uint64_t mask = 0; mask < uint64_t{1} << k; ++mask) {
    if (mask >> i & 1) continue;
    const int64_t weight = lcm / Binomial(k - 1, __builtin_popcountll(mask));
    total.sum += (losses.At(mask) - losses.At(mask | uint64_t{1} << i)) * weight;
  }
  return total;
}

Total Banzhaf(const Losses& losses, int k, int i) {
  Total total{0, int64_t{1} << (k - 1)};
  for (uint64_t mask = 0; mask < uint64_t{1} << k; ++mask) {
    if (mask >> i & 1) continue;
    total.sum += losses.At(mask) - losses.At(mask | uint64_t{1} << i);
  }
  return total;
}

std::vector<std::vector<int>> PermutationsOf(const Evidence& evidence) {
  return attribution::RoundPermutations(static_cast<int>(evidence.updates.size()), evidence.seed,
                                        evidence.pairs);
}

bool IsSampled(const Evidence& evidence) {
  return attribution::IsSampled(evidence.rule, static_cast<int>(evidence.updates.size()));
}

// Sampling went on while it had to, and no further; every error covers that over permutations.
absl::Status CheckSampling(const Evidence& evidence) {
  const std::vector<std::vector<int>> permutations = PermutationsOf(evidence);
  const int64_t rows = static_cast<int64_t>(evidence.rows.size());
  ASSIGN_OR_RETURN(
      const int suffice,
      learning::PairsThatSuffice(evidence.rule.sampling, permutations, evidence.masks, rows,
                                 evidence.coalition_loss_sums));
  if (suffice != evidence.pairs) {
    return absl::DataLossError("sampling does not end with so many pairs of permutations");
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> errors,
                   learning::PermutationErrors(permutations, evidence.masks, rows,
                                               evidence.coalition_loss_sums));
  for (size_t i = 0; i < evidence.credits.size(); ++i) {
    if (evidence.credits[i].standard_error < errors[i]) {
      return Differs("standard_error_nanonats", evidence.credits[i].update);
    }
  }
  return absl::OkStatus();
}

struct Estimates {
  std::vector<Total> paid;
  std::vector<int64_t> solo, leave_one_out;  // means, floored
};

absl::StatusOr<Estimates> EstimatesOf(const Evidence& evidence) {
  const Losses losses(evidence);
  const int k = static_cast<int>(evidence.updates.size());
  const uint64_t whole = (uint64_t{1} << k) - 1;
  const int64_t rows = static_cast<int64_t>(evidence.rows.size());
  const Estimator estimator =
      attribution::PaidEstimator(evidence.rule.preset, evidence.rule.estimator, k);
  const bool sampled = IsSampled(evidence);
  const std::vector<std::vector<int>> permutations =
      sampled ? PermutationsOf(evidence) : std::vector<std::vector<int>>();
  Estimates out;
  for (int i = 0; i < k; ++i) {
    const uint64_t bit = uint64_t{1} << i;
    for (const uint64_t mask : {uint64_t{0}, bit, whole, whole & ~bit}) {
      if (!losses.Has(mask)) {
        return absl::DataLossError(absl::StrCat("coalition ", mask, " was not evaluated"));
      }
    }
    const Total solo{losses.At(0) - losses.At(bit), 1};
    const Total left_out{losses.At(whole & ~bit) - losses.At(whole), 1};
    out.solo.push_back(static_cast<int64_t>(FloorDivide(solo.sum, rows)));
    out.leave_one_out.push_back(static_cast<int64_t>(FloorDivide(left_out.sum, rows)));
    switch (estimator) {
      case Estimator::kSolo: out.paid.push_back(solo); break;
      case Estimator::kLeaveOneOut: out.paid.push_back(left_out); break;
      case Estimator::kShapley:
        out.paid.push_back(sampled ? Sampled(losses, permutations, i) : Shapley(losses, k, i));
        break;
      case Estimator::kBanzhaf: out.paid.push_back(Banzhaf(losses, k, i)); break;
    }
  }
  return out;
}

// Less than the deadband of a model that is not exact, up or down: counts as 0.
Total Counted(const Evidence& evidence, Total total) {
  const int128 deadband = int128(evidence.model.torchscript.deadband_nanonats) * total.scale *
                          static_cast<int64_t>(evidence.rows.size());
  if (total.sum < deadband && -total.sum < deadband) total.sum = 0;
  return total;
}

// 100 (mean + z s) in units of 1 / (scale rows).
int128 Shifted(const Total& total, int64_t error, int64_t rows, int64_t z_hundredths) {
  return total.sum * 100 + int128(error) * total.scale * rows * z_hundredths;
}

// floor(c min(C, G) / (C 100 scale rows)).
int64_t Scaled(int128 bounded, int128 sum, int128 gain, int64_t scale, int64_t rows) {
  const auto wide = [](int128 value) {
    return Wide(static_cast<unsigned __int128>(absl::uint128(value)));
  };
  const Wide numerator = wide(bounded) * wide(std::min(sum, gain));
  const Wide denominator = wide(sum) * wide(int128(100) * scale * rows);
  return static_cast<int64_t>(learning::SmallestWhere(uint64_t{1} << 62, [&](uint64_t q) {
    return denominator * (q + 1) > numerator;
  }));
}

absl::Status CheckCredits(const Evidence& evidence, const Estimates& estimates) {
  const int64_t rows = static_cast<int64_t>(evidence.rows.size());
  const int64_t z_bound = evidence.rule.z_bound_micro / 10'000;
  const Losses losses(evidence);
  if (!losses.Has(evidence.applied_mask)) {
    return absl::DataLossError("the applied coalition was not evaluated");
  }
  const uint64_t refused = attribution::RefusedMask(evidence);
  std::vector<int128> bounded;
  int128 sum = 0;
  for (size_t i = 0; i < evidence.credits.size(); ++i) {
    const attribution::EvidenceCredit& credit = evidence.credits[i];
    const int128 lower =
        Shifted(Counted(evidence, estimates.paid[i]), credit.standard_error, rows, -z_bound);
    const bool left_out = credit.harmful || (refused >> i & 1) != 0;
    bounded.push_back(left_out ? int128(0) : std::max(lower, int128(0)));
    sum += bounded.back();
  }
  const int64_t scale = estimates.paid[0].scale;
  const int128 improved = evidence.best_loss_sum - losses.At(evidence.applied_mask);
  const int64_t deadband = evidence.model.torchscript.deadband_nanonats;
  const int128 gain =
      improved < int128(deadband) * rows ? int128(0) : std::max(improved * 100 * scale, int128(0));
  for (size_t i = 0; i < evidence.credits.size(); ++i) {
    const attribution::EvidenceCredit& credit = evidence.credits[i];
    // A mean of at least the deadband stays one when it is floored.
    int64_t expected = estimates.solo[i] < deadband ? 0 : std::max<int64_t>(estimates.solo[i], 0);
    if (evidence.rule.preset == learning::CreditPreset::kHardened) {
      expected = sum == 0 ? 0 : Scaled(bounded[i], sum, gain, scale, rows);
    }
    if ((refused >> i & 1) != 0) expected = 0;
    if (credit.credit != expected) return Differs("credit_nanonats", credit.update);
  }
  return absl::OkStatus();
}

// What was applied is what the gate left, less what the test of values refused.
absl::Status CheckValues(const Evidence& evidence, uint64_t gate) {
  ASSIGN_OR_RETURN(const uint64_t kept, attribution::KeptByValues(gate, evidence.values));
  if (kept == evidence.applied_mask) return absl::OkStatus();
  return absl::DataLossError("applied_mask is not what gate and test of values leave");
}

// All coalitions up to 10 updates; above, none, all, each alone, all but each, those of sampled
// permutations, and what is applied.
std::vector<uint64_t> MasksOf(const Evidence& evidence) {
  const int k = static_cast<int>(evidence.updates.size());
  const uint64_t whole = (uint64_t{1} << k) - 1;
  std::set<uint64_t> masks = {0, whole};
  if (k <= kAllCoalitionsMax) {
    for (uint64_t mask = 0; mask <= whole; ++mask) masks.insert(mask);
  } else {
    masks.insert(evidence.applied_mask);
    for (int i = 0; i < k; ++i) {
      masks.insert(uint64_t{1} << i);
      masks.insert(whole & ~(uint64_t{1} << i));
    }
    if (IsSampled(evidence)) {
      const std::vector<uint64_t> sampled = learning::CoalitionsOf(PermutationsOf(evidence));
      masks.insert(sampled.begin(), sampled.end());
    }
  }
  return {masks.begin(), masks.end()};
}

absl::Status CheckBounds(const Evidence& evidence) {
  constexpr int64_t kLossMax = int64_t{1} << 49;
  const int64_t rows = static_cast<int64_t>(evidence.rows.size());
  if (rows < 2) return absl::DataLossError("a game needs two rows");
  const int128 largest = int128(kLossMax) * rows;
  const auto fits = [&](int128 sum) { return sum >= 0 && sum <= largest; };
  if (!std::all_of(evidence.coalition_loss_sums.begin(), evidence.coalition_loss_sums.end(),
                   fits) ||
      !fits(evidence.best_loss_sum)) {
    return absl::DataLossError("a sum of losses is out of bounds");
  }
  if (evidence.masks != MasksOf(evidence)) {
    return absl::DataLossError("masks are not the coalitions that such a game has");
  }
  for (size_t i = 0; i < evidence.credits.size(); ++i) {
    const attribution::EvidenceCredit& credit = evidence.credits[i];
    if (credit.update != evidence.updates[i].update || credit.standard_error < 0 ||
        credit.standard_error > kLossMax) {
      return Differs("credit", credit.update);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckEstimates(const Evidence& evidence) {
  RETURN_IF_ERROR(CheckBounds(evidence));
  if (IsSampled(evidence)) RETURN_IF_ERROR(CheckSampling(evidence));
  ASSIGN_OR_RETURN(const Estimates estimates, EstimatesOf(evidence));
  const int64_t rows = static_cast<int64_t>(evidence.rows.size());
  const int64_t z_gate = evidence.rule.z_gate_micro / 10'000;
  const bool hardened = evidence.rule.preset == learning::CreditPreset::kHardened;
  uint64_t gate = 0;
  for (size_t i = 0; i < evidence.credits.size(); ++i) {
    const attribution::EvidenceCredit& credit = evidence.credits[i];
    const Total& paid = estimates.paid[i];
    const int128 mean = FloorDivide(paid.sum, int128(paid.scale) * rows);
    if (mean != credit.estimate) return Differs("estimate_nanonats", credit.update);
    if (estimates.solo[i] != credit.solo) return Differs("solo_nanonats", credit.update);
    if (estimates.leave_one_out[i] != credit.leave_one_out) {
      return Differs("leave_one_out_nanonats", credit.update);
    }
    const bool harmful = hardened && Shifted(Counted(evidence, paid), credit.standard_error, rows,
                                             z_gate) < 0;
    if (harmful != credit.harmful) return Differs("harmful", credit.update);
    if (!harmful) gate |= uint64_t{1} << i;
  }
  RETURN_IF_ERROR(CheckValues(evidence, gate));
  return CheckCredits(evidence, estimates);
}

}  // namespace rochdale::verify
