#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/config/parameters.h"

namespace rochdale::config {
namespace {

std::string ParametersPage() {
  std::string page =
      "# Governed parameters\n\n"
      "Every number of policy. A change is signed by the founders of the cooperative; services\n"
      "read the values through governance.\n"
      "Tightening says which way is stricter: a narrower scope may only go that way. Units stand\n"
      "last in the name: `_ms` milliseconds, `_bp` basis points, `_micro` millionths, `_nanonats`\n"
      "nano-nats, `_bytes` bytes. Made by `scripts/generate-docs` from "
      "`libs/config/parameters.cc`.\n\n"
      "| name | default | bounds | scope | tightening | meaning |\n|---|---|---|---|---|---|\n";
  for (const ParameterInfo& info : Parameters()) {
    const std::string bounds = info.type == ParameterType::kText
                                   ? absl::StrJoin(info.choices, ", ")
                               : info.type == ParameterType::kBool
                                   ? std::string("true, false")
                                   : absl::StrCat(info.min, " to ", info.max);
    absl::StrAppend(&page, "| `", info.name, "` | ", DefaultText(info), " | ", bounds, " | ",
                    ParameterScopeName(info.scope), " | ", TighteningName(info.tightening), " | ",
                    info.help, " |\n");
  }
  return page;
}

TEST_CASE("docs/parameters.md is the table of parameters", "[config]") {
  const std::string path = ROCHDALE_SOURCE_DIR "/docs/parameters.md";
  if (std::getenv("ROCHDALE_WRITE_GOLDEN") != nullptr) std::ofstream(path) << ParametersPage();
  std::ifstream file(path);
  std::stringstream committed;
  committed << file.rdbuf();
  INFO("write it anew: scripts/generate-docs");
  CHECK(committed.str() == ParametersPage());
}

}  // namespace
}  // namespace rochdale::config
