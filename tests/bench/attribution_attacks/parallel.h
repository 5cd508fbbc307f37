// Work spread over the cores: histories are independent of each other.
#pragma once

#include <functional>
#include <vector>

namespace rochdale::bench {

// Runs every job once, as many at a time as there are cores; each writes to a place of its own.
// An exception of a job ends the program.
void InParallel(const std::vector<std::function<void()>>& jobs);

}  // namespace rochdale::bench
