// What a process gives up before it runs somebody's module.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace rochdale::learning {

// For the calling process and for ever: it ends with its parent; at most `memory_bytes` of its own
// memory, no file written, no core; and system calls that open files or sockets, connect, start
// programs or processes, trace or signal others fail with EPERM (seccomp; threads can be started).
// DEVICE_UNFIT where the machine cannot promise that.
absl::Status ShutIn(int64_t memory_bytes);

}  // namespace rochdale::learning
