// The driver finds a planted crash, shows the input, and that input crashes again.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"

namespace {

struct Ended {
  bool well = false;
  std::string said;
};

Ended Run(const std::string& command) {
  FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  Ended ended;
  char buffer[4096];
  while (const size_t size = ::fread(buffer, 1, sizeof buffer, pipe)) {
    ended.said.append(buffer, size);
  }
  ended.well = ::pclose(pipe) == 0;
  return ended;
}

TEST_CASE("a planted crash is found and its input shown", "[fuzz]") {
  char pattern[] = "/tmp/rochdale-fuzz-XXXXXX";
  REQUIRE(::mkdtemp(pattern) != nullptr);
  const std::string folder = pattern;
  const std::string at = "cd " + folder + " && " ROCHDALE_FUZZ_DIR "/";
  const Ended found = Run(at + "fuzz_planted --iterations 1000000 --seed 7");
  CHECK_FALSE(found.well);
  const std::string marker = "(hexadecimal):\n";
  REQUIRE(absl::StrContains(found.said, marker));
  const size_t begin = found.said.find(marker) + marker.size();
  const std::string hex = found.said.substr(begin, found.said.find('\n', begin) - begin);
  CHECK(absl::StartsWith(absl::HexStringToBytes(hex), "magic"));
  // What it left can be tried again, and crashes again; another input does not.
  CHECK_FALSE(Run(at + "fuzz_planted crash-fuzz_planted").well);
  CHECK(Run("cd " + folder + " && printf magi > fine && " ROCHDALE_FUZZ_DIR "/fuzz_planted fine")
            .well);
  std::filesystem::remove_all(folder);
}

}  // namespace
