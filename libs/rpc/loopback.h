// Where plain text may go: never past this machine.
#pragma once

#include "absl/strings/string_view.h"

namespace rochdale::rpc {

// "127.0.0.1" (or any 127.x.y.z), "::1", "[::1]", "localhost", with or without ":port"; or a unix
// socket ("unix:...").
bool IsLoopback(absl::string_view address);

}  // namespace rochdale::rpc
