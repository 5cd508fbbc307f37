#include "libs/base/durable_file.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace rochdale {
namespace {

TEST_CASE("a durable file is replaced whole, and read whole", "[base]") {
  std::string folder = "/tmp/durable-file-test-XXXXXX";
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  const std::string path = folder + "/file";
  REQUIRE(ReadWhole(path, 10).ok());
  CHECK_FALSE(ReadWhole(path, 10)->has_value());
  REQUIRE(WriteDurably(path, std::string(10'000, 'a')).ok());
  CHECK(ReadWhole(path, 10'000).value() == std::string(10'000, 'a'));
  CHECK(absl::IsUnavailable(ReadWhole(path, 9'999).status()));
  REQUIRE(WriteDurably(path, "b").ok());
  CHECK(ReadWhole(path, 1).value() == "b");
  // What a crash left beside it does no harm.
  std::ofstream(path + ".next") << "half";
  CHECK(ReadWhole(path, 1).value() == "b");
  REQUIRE(WriteDurably(path, "").ok());
  CHECK(ReadWhole(path, 1).value() == "");
  CHECK_FALSE(std::filesystem::exists(path + ".next"));
  CHECK(absl::IsUnavailable(WriteDurably(folder + "/none/file", "x")));
  CHECK(absl::IsUnavailable(WriteDurably(folder, "x")));  // a folder cannot be replaced by a file
  CHECK(absl::IsUnavailable(ReadWhole(folder, 10).status()));
  std::filesystem::remove_all(folder);
  std::filesystem::remove(folder + ".next");
}

}  // namespace
}  // namespace rochdale
