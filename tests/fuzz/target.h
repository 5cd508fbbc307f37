// What a fuzz target is: one input, and the inputs to begin with.
//
// A target ends the process (FUZZ_CHECK) where a property does not hold; whatever runs it then
// shows the input. It reads nothing but its input, so that the same bytes always do the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// Valid and nearly valid inputs, from which mutations start.
std::vector<std::string> FuzzSeeds();

#define FUZZ_CHECK(holds)                                                              \
  do {                                                                                 \
    if (!(holds)) {                                                                    \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds);  \
      std::abort();                                                                    \
    }                                                                                  \
  } while (false)
