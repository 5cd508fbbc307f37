// Verdicts form a lattice; several are combined by their join and never by anything else, so a
// further rule can only make a decision stricter. Pure values.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace rochdale::filter {

// From weakest to strongest; the numbers are those of the wire.
enum class Verdict : uint8_t {
  kAllow = 1,
  kProject = 2,  // the conforming part may pass
  kOblige = 3,   // may pass with a duty that is checked later
  kReview = 4,   // a person decides
  kDeny = 5,
};

// Whose rule it is; the numbers are those of the wire.
enum class Scope : uint8_t { kFloor = 1, kPack = 2, kPrincipal = 3 };

constexpr Verdict Join(Verdict a, Verdict b) { return std::max(a, b); }

// What a rule that errs, lacks data or exceeds its budget says: nothing is skipped.
constexpr Verdict OnError(Scope scope) {
  return scope == Scope::kFloor ? Verdict::kDeny : Verdict::kReview;
}

absl::string_view VerdictName(Verdict verdict);  // "ALLOW", ...
absl::string_view ScopeName(Scope scope);        // "FLOOR", ...

}  // namespace rochdale::filter
