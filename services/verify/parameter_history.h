// What a governed parameter was when something happened, by the log.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "services/verify/log.h"

namespace rochdale::verify {

// By how much the clocks of services may differ, and what one knows of another may be old.
inline constexpr int64_t kClockSlackUs = 60'000'000;

// What a cooperative's parameter may have been from one time to another, in microseconds: one
// value, but where it was changed about then. `initial`: before its first PARAMETER_CHANGED.
std::set<std::string> ValuesOf(const Log& log, const CooperativeId& cooperative,
                               absl::string_view parameter, absl::string_view initial,
                               int64_t from_us, int64_t to_us);

}  // namespace rochdale::verify
