// Time is an argument: nothing in the project reads the wall clock but SystemClock.
#pragma once

#include <cstdint>
#include <mutex>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace rochdale {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

class SystemClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

// For tests: stands still until it is moved (in either direction).
class ManualClock final : public Clock {
 public:
  explicit ManualClock(absl::Time start) : now_(start) {}
  absl::Time Now() const override;
  void Advance(absl::Duration by);

 private:
  mutable std::mutex mutex_;
  absl::Time now_;
};

// Microseconds since 1970-01-01 UTC: how an instant is stored, logged and sent.
int64_t ToUnixMicros(absl::Time time);
absl::Time FromUnixMicros(int64_t micros);

}  // namespace rochdale
