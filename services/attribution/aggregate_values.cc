#include "services/attribution/aggregate_values.h"

#include <optional>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::attribution {
namespace {

absl::Status Misfit() {
  return Error("BAD_REQUEST", "the coalitions are not those that the test of values evaluates");
}

// By how much the mean of bound b at this place of the list rises beyond it, rounded up.
absl::int128 Excess(const AggregateValues& values, size_t b, size_t at) {
  const absl::int128 rise = values.loss_sums[b][at] - values.loss_sums[b][0];
  const absl::int128 rows = values.bounds[b].rows;
  const absl::int128 mean = rise > 0 ? (rise + rows - 1) / rows : rise / rows;
  return mean - values.bounds[b].eps_nanonats;
}

// Of the coalition at this place; nothing where it keeps every bound.
std::optional<size_t> WorstBound(const AggregateValues& values, size_t at) {
  std::optional<size_t> worst;
  for (size_t b = 0; b < values.bounds.size(); ++b) {
    const absl::int128 excess = Excess(values, b, at);
    if (excess > 0 && (!worst || excess > Excess(values, *worst, at))) worst = b;
  }
  return worst;
}

std::vector<uint64_t> EachLeftOut(uint64_t mask) {
  std::vector<uint64_t> all;
  for (int i = 0; i < 64; ++i) {
    if (mask >> i & 1) all.push_back(mask & ~(uint64_t{1} << i));
  }
  return all;
}

}  // namespace

absl::StatusOr<ValuesStep> NextValuesStep(uint64_t gate, const AggregateValues& values) {
  const std::vector<uint64_t>& masks = values.masks;
  if (values.loss_sums.size() != values.bounds.size()) return Misfit();
  for (size_t b = 0; b < values.bounds.size(); ++b) {
    if (values.loss_sums[b].size() != masks.size()) return Misfit();
    if (values.bounds[b].rows < 1 && !masks.empty()) return Misfit();
  }
  ValuesStep step;
  step.kept = gate;
  if (masks.empty()) {
    step.wanted = {0, gate};
    return step;
  }
  if (masks.size() < 2 || masks[0] != 0 || masks[1] != gate) return Misfit();
  size_t at = 1, seen = 2;  // where S stands, and how many coalitions belong to what was looked at
  while (true) {
    const std::optional<size_t> worst = WorstBound(values, at);
    if (!worst) {
      if (masks.size() != seen) return Misfit();
      step.ended = true;
      return step;
    }
    const std::vector<uint64_t> next = EachLeftOut(step.kept);
    if (masks.size() == seen) {
      step.wanted = next;
      return step;
    }
    if (masks.size() < seen + next.size()) return Misfit();
    size_t best = seen;
    for (size_t i = 0; i < next.size(); ++i) {
      if (masks[seen + i] != next[i]) return Misfit();
      // Of equals the later one stays in `best`: the coalition without the highest bit.
      const std::vector<absl::int128>& sums = values.loss_sums[*worst];
      if (sums[seen + i] <= sums[best]) best = seen + i;
    }
    at = best;
    step.kept = masks[best];
    seen += next.size();
  }
}

absl::StatusOr<uint64_t> KeptByValues(uint64_t gate, const AggregateValues& values) {
  if (values.bounds.empty() || gate == 0) return gate;
  ASSIGN_OR_RETURN(const ValuesStep step, NextValuesStep(gate, values));
  if (!step.ended) return Error("DIGEST_MISMATCH", "the test of values does not end");
  return step.kept;
}

}  // namespace rochdale::attribution
