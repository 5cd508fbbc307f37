#include "services/filter/tightening.h"

#include <algorithm>
#include <iterator>

namespace rochdale::filter {

int64_t Tighten(Tightens direction, int64_t floor, absl::Span<const int64_t> others) {
  int64_t value = floor;
  for (const int64_t other : others) {
    value = direction == Tightens::kMin ? std::min(value, other) : std::max(value, other);
  }
  return value;
}

Tags Tighten(TagsTighten direction, const Tags& floor, absl::Span<const Tags> others) {
  Tags value = floor;
  for (const Tags& other : others) {
    if (direction == TagsTighten::kUnion) {
      value.insert(other.begin(), other.end());
      continue;
    }
    Tags both;
    std::set_intersection(value.begin(), value.end(), other.begin(), other.end(),
                          std::inserter(both, both.end()));
    value = std::move(both);
  }
  return value;
}

bool IsAtLeastAsStrict(Tightens direction, int64_t value, int64_t than) {
  return direction == Tightens::kMin ? value <= than : value >= than;
}

bool IsAtLeastAsStrict(TagsTighten direction, const Tags& value, const Tags& than) {
  return direction == TagsTighten::kUnion
             ? std::includes(value.begin(), value.end(), than.begin(), than.end())
             : std::includes(than.begin(), than.end(), value.begin(), value.end());
}

}  // namespace rochdale::filter
