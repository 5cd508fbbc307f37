// Parameters that packs and profiles may tighten and never loosen.
//
// A parameter declares in which direction it tightens; its effective value is a fold over the
// values of all scopes that starts at the floor. The fold does not depend on the order of the
// others, and a value that would loosen changes nothing. Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "absl/types/span.h"

namespace rochdale::filter {

enum class Tightens : uint8_t {
  kMin,            // the smaller value is stricter: a maximum, an eps
  kMax,            // the larger value is stricter: a minimum
};

enum class TagsTighten : uint8_t {
  kUnion,          // more is stricter: required or forbidden tags
  kIntersection,   // less is stricter: allowed tags
};

using Tags = std::set<std::string>;

int64_t Tighten(Tightens direction, int64_t floor, absl::Span<const int64_t> others);
Tags Tighten(TagsTighten direction, const Tags& floor, absl::Span<const Tags> others);

// Whether `value` is at least as strict as `than`.
bool IsAtLeastAsStrict(Tightens direction, int64_t value, int64_t than);
bool IsAtLeastAsStrict(TagsTighten direction, const Tags& value, const Tags& than);

}  // namespace rochdale::filter
