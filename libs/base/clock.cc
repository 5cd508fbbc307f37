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

int64_t ToUnixMicros(absl::Time time) { return absl::ToUnixMicros(time); }
absl::Time FromUnixMicros(int64_t micros) { return absl::FromUnixMicros(micros); }

}  // namespace rochdale
