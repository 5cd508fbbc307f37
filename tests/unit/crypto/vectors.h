// Where the public test vectors are, if they are.
#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace rochdale::crypto {

// The folder that ROCHDALE_VECTORS names, or empty (with a clear warning) where it is not set.
inline std::string VectorsFolder(const std::string& what) {
  const char* folder = std::getenv("ROCHDALE_VECTORS");
  if (folder == nullptr || *folder == '\0') {
    WARN("ROCHDALE_VECTORS is not set: the public vectors of " << what << " were NOT tried");
    return "";
  }
  return folder;
}

// Fails the test where the file is not readable JSON: a folder that is named must be complete.
inline nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  INFO("reading " << path);
  REQUIRE(file.good());
  nlohmann::json json = nlohmann::json::parse(file, nullptr, false);
  REQUIRE_FALSE(json.is_discarded());
  return json;
}

}  // namespace rochdale::crypto
