// A target with a fault: an input that begins with "magic" and is longer than 6 bytes ends it.
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  FUZZ_CHECK(input.compare(0, 5, "magic") != 0 || size <= 6);
  return 0;
}

std::vector<std::string> FuzzSeeds() { return {"magi", "tragic", "c"}; }
