#include "libs/base/clock.h"

namespace rochdale {

absl::Time ManualClock::Now() const {
  std::lock_guard lock(mutex_);
  return now_;
}

void ManualClock::Advance(absl::Duration by) {
  std::lock_guard lock(mutex_);
  now_ += by;
}

}  // namespace rochdale
