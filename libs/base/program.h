// What starting another program takes.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rochdale {

// "<directory of the running program>/<name>"; the name alone where /proc does not say.
std::string ProgramBesideThis(absl::string_view name);

// argv or envp: pointers to `texts`, which outlive them, and a null.
std::vector<char*> ArgumentPointers(std::vector<std::string>& texts);

}  // namespace rochdale
