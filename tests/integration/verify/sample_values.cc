// The test of values in the sample's rounds, and lies about it.
#include <algorithm>
#include <map>

#include "libs/learning/dataset.h"
#include "services/attribution/aggregate_values.h"
#include "tests/integration/verify/sample_cooperative.h"

namespace rochdale::verify {

// On rows of two probes, the first with false labels, so that training raises its loss: somebody is
// refused for it in the second round.
attribution::AggregateValues SampleCooperative::TestValues(
    uint64_t gate,
    absl::FunctionRef<std::vector<int64_t>(const std::vector<uint64_t>&, learning::Rows)> losses) {
  attribution::AggregateValues values;
  if (gate == 0) return values;
  std::map<attribution::ProbeId, learning::Dataset> probes;
  learning::Dataset rows =
      learning::TakeRows(pool_rows_, absl::MakeConstSpan(visible_).subspan(0, 8));
  probes[LearntProbe()] = rows;
  for (auto& label : rows.labels) label = (label + 1) % 4;
  probes[FalseProbe()] = std::move(rows);
  for (const auto& [id, probe] : probes) {
    values.bounds.push_back(
        {id, probe.count(), id == FalseProbe() ? kFalseEpsNanonats : kGovernedEpsNanonats});
  }
  values.loss_sums.resize(probes.size());
  while (true) {
    const attribution::ValuesStep step = attribution::NextValuesStep(gate, values).value();
    if (step.ended) return values;
    values.masks.insert(values.masks.end(), step.wanted.begin(), step.wanted.end());
    size_t b = 0;
    for (const auto& [id, probe] : probes) {
      const std::vector<int64_t> found = losses(step.wanted, probe);
      for (size_t m = 0; m < step.wanted.size(); ++m) {
        values.loss_sums[b].push_back(attribution::LossSum(
            absl::MakeConstSpan(found).subspan(m * probe.count(), probe.count())));
      }
      ++b;
    }
  }
}

void SampleCooperative::LieAboutValues(uint64_t gate, uint64_t& applied,
                                       attribution::AggregateValues& values) {
  const auto of_false = std::find_if(values.bounds.begin(), values.bounds.end(),
                                     [&](const auto& b) { return b.probe == FalseProbe(); });
  const size_t b = of_false - values.bounds.begin();
  const auto end_at_once = [&] {  // as if the bound had been kept
    applied = gate;
    values.masks.resize(2);
    for (auto& sums : values.loss_sums) sums.resize(2);
  };
  switch (fault_) {
    case Fault::kOtherRefusal:
      applied = gate & ~applied;
      break;
    case Fault::kValuesDropped:
      values = {};
      break;
    case Fault::kValuesNeverTested:
      values = {};
      applied = gate;
      break;
    case Fault::kBoundDropped:
      end_at_once();
      values.bounds.erase(of_false);
      values.loss_sums.erase(values.loss_sums.begin() + static_cast<ptrdiff_t>(b));
      break;
    case Fault::kBoundLifted:
      end_at_once();
      of_false->eps_nanonats = int64_t{1} << 40;
      break;
    case Fault::kOtherValueSums:
      values.loss_sums[b][1] = values.loss_sums[b][0];
      break;
    case Fault::kRefusedIsKept:
      applied = gate;
      break;
    default:
      break;
  }
}

}  // namespace rochdale::verify
