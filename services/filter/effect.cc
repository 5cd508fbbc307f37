#include "services/filter/effect.h"

#include <algorithm>

#include "absl/numeric/int128.h"

namespace rochdale::filter {
namespace {

constexpr int64_t kBasisPoints = 10'000;
constexpr int64_t kMicroPerOne = 1'000'000;

absl::int128 FloorDiv(absl::int128 a, absl::int128 b) {
  const absl::int128 quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

int64_t Bounded(absl::int128 value) {
  return static_cast<int64_t>(
      std::clamp(value, absl::int128{-kNanoNatsMax}, absl::int128{kNanoNatsMax}));
}

int64_t LowerMedian(std::vector<int64_t> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

absl::Status NoRows() { return absl::InvalidArgumentError("a probe loss over no rows"); }

}  // namespace

absl::StatusOr<int64_t> LossRise(const ProbeLoss& loss) {
  if (loss.rows < 1) return NoRows();
  const absl::int128 rise = absl::int128{loss.with_sum} - loss.base_sum;
  return Bounded(-FloorDiv(-rise, loss.rows));
}

absl::StatusOr<int64_t> GapRise(absl::Span<const ProbeLoss> groups) {
  if (groups.size() < 2) return absl::InvalidArgumentError("group harm needs two groups");
  std::vector<absl::int128> base, with;
  for (const ProbeLoss& group : groups) {
    if (group.rows < 1) return NoRows();
    base.push_back(FloorDiv(group.base_sum, group.rows));
    with.push_back(FloorDiv(group.with_sum, group.rows));
  }
  const auto gap = [](const std::vector<absl::int128>& means) {
    const auto [low, high] = std::minmax_element(means.begin(), means.end());
    return *high - *low;
  };
  return Bounded(gap(with) - gap(base));
}

RoundEffect EffectOfRound(absl::Span<const int64_t> rises) {
  RoundEffect effect;
  effect.median = LowerMedian({rises.begin(), rises.end()});
  std::vector<int64_t> distances;
  for (const int64_t rise : rises) {
    const absl::int128 distance = absl::int128{rise} - effect.median;
    distances.push_back(Bounded(distance < 0 ? -distance : distance));
  }
  effect.deviation = LowerMedian(std::move(distances));
  return effect;
}

int64_t ReviewThreshold(const RoundEffect& round, int64_t eps_nanonats) {
  const absl::int128 margin =
      std::max(absl::int128{4} * round.deviation, absl::int128{eps_nanonats});
  return Bounded(margin + round.median);
}

absl::StatusOr<int64_t> FitMicro(absl::Span<const Criterion> criteria,
                                 absl::Span<const ProbeLoss> losses) {
  if (criteria.empty() || criteria.size() != losses.size()) {
    return absl::InvalidArgumentError("fit needs one loss per criterion");
  }
  absl::int128 weighted = 0;
  int64_t weights = 0;
  for (size_t k = 0; k < criteria.size(); ++k) {
    const Criterion& criterion = criteria[k];
    if (criterion.weight_bp < 1 || criterion.weight_bp > kBasisPoints ||
        criterion.scale_nanonats < 1) {
      return absl::InvalidArgumentError("weight and scale of a criterion must be positive");
    }
    if (losses[k].rows < 1) return NoRows();
    const absl::int128 gain = absl::int128{losses[k].base_sum} - losses[k].with_sum;
    const absl::int128 unit = absl::int128{losses[k].rows} * criterion.scale_nanonats;
    const absl::int128 term = std::clamp(FloorDiv(gain * kMicroPerOne, unit),
                                         absl::int128{-kMicroPerOne}, absl::int128{kMicroPerOne});
    weighted += term * criterion.weight_bp;
    weights += criterion.weight_bp;
  }
  if (weights != kBasisPoints) {
    return absl::InvalidArgumentError("the weights of a scenario must sum to 10,000");
  }
  return static_cast<int64_t>(FloorDiv(weighted, kBasisPoints));
}

}  // namespace rochdale::filter
