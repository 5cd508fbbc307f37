// The modules that make_modules.py wrote while the tests were built.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include "libs/learning/model.h"

namespace rochdale::test {

struct MadeModule {
  learning::ModelSpec spec;
  std::string bytes;
};

// "right": tests/support/torchscript/make_modules.py says what there is.
inline MadeModule ReadModule(const std::string& name) {
  const auto read = [&](const char* ending) {
    std::ifstream in(std::string(ROCHDALE_TEST_MODULES) + "/" + name + ending, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  return {learning::ParseModelSpec(read(".json")).value(), read(".pt")};
}

}  // namespace rochdale::test
