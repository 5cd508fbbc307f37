// The process that runs a module: rochdale-module-evaluator. Link rochdale_learning_torch.
#pragma once

#include <cstdint>

namespace rochdale::learning {

// Shuts this process in (module_sandbox.h) and answers the messages of module_wire.h on the socket
// until its other end has gone. Returns the program's exit status.
int ServeModule(int socket, int64_t memory_bytes);

}  // namespace rochdale::learning
