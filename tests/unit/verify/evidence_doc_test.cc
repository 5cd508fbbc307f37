// docs/evidence.md: its tables are those of the code, and what it quotes stands there so.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "libs/crypto/entry_kinds.h"

namespace rochdale::verify {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string TypeName(crypto::FieldType type) {
  switch (type) {
    case crypto::FieldType::kU64: return "u64";
    case crypto::FieldType::kI64: return "i64";
    case crypto::FieldType::kBytes: return "bytes";
    case crypto::FieldType::kText: return "text";
  }
  return "?";
}

std::string TagsTable() {
  std::string table = "| tag | name | type | size | meaning |\n|---|---|---|---|---|\n";
  for (const crypto::TagInfo& info : crypto::Tags()) {
    absl::StrAppend(&table, "| ", info.tag, " | `", info.name, "` | ", TypeName(info.type), " | ",
                    info.size == 0 ? std::string() : absl::StrCat(info.size), " | ", info.meaning,
                    " |\n");
  }
  return table;
}

template <typename List>
std::string Names(const List& tags) {
  std::vector<std::string> names;
  for (const uint16_t tag : tags) {
    if (tag != 0) names.push_back(absl::StrCat("`", crypto::FindTag(tag)->name, "`"));
  }
  return absl::StrJoin(names, ", ");
}

std::string KindsTable() {
  std::string table =
      "| kind | name | service, link | subject | document | required | optional |\n"
      "|---|---|---|---|---|---|---|\n";
  for (const crypto::KindInfo& info : crypto::Kinds()) {
    const char* document = info.document == crypto::DocumentRule::kRequired  ? "signed"
                           : info.document == crypto::DocumentRule::kPrivate ? "private"
                                                                             : "may be signed";
    absl::StrAppend(&table, "| ", info.number, " | ", info.name, " | ",
                    static_cast<int>(info.service), ", ", static_cast<int>(info.link), " | ",
                    info.subject, " | ", document, " | ", Names(info.required), " | ",
                    Names(info.optional), " |\n");
  }
  return table;
}

// The page with the text between its two markers replaced.
std::string WithSection(const std::string& page, const std::string& name,
                        const std::string& content) {
  const size_t mark = page.find(absl::StrCat("<!-- ", name, ":"));
  REQUIRE(mark != std::string::npos);
  const size_t begin = page.find('\n', mark) + 1;
  const size_t end = page.find(absl::StrCat("<!-- end of ", name, " -->"), begin);
  REQUIRE(end != std::string::npos);
  return absl::StrCat(page.substr(0, begin), content, page.substr(end));
}

// The first comment of a header, without its slashes.
std::string CommentOf(const std::string& header) {
  std::string comment;
  for (absl::string_view line : absl::StrSplit(header, '\n')) {
    if (!absl::ConsumePrefix(&line, "//")) break;
    absl::ConsumePrefix(&line, " ");
    absl::StrAppend(&comment, line, "\n");
  }
  return comment;
}

TEST_CASE("docs/evidence.md has the tables of entries", "[verify]") {
  const std::string path = ROCHDALE_SOURCE_DIR "/docs/evidence.md";
  const std::string page = ReadFile(path);
  std::string wanted = WithSection(page, "tags", TagsTable());
  wanted = WithSection(wanted, "kinds", KindsTable());
  if (std::getenv("ROCHDALE_WRITE_GOLDEN") != nullptr) std::ofstream(path) << wanted;
  INFO("write it anew: scripts/generate-docs");
  CHECK(ReadFile(path) == wanted);
}

TEST_CASE("docs/evidence.md quotes the arithmetic as it stands in the code", "[verify]") {
  const std::string page = ReadFile(ROCHDALE_SOURCE_DIR "/docs/evidence.md");
  const std::string math =
      CommentOf(ReadFile(ROCHDALE_SOURCE_DIR "/libs/learning/exact_math.h"));
  REQUIRE(math.size() > 1'000);
  CHECK(page.find(absl::StrCat("```\n", math, "```\n")) != std::string::npos);
  for (const char* text : {"ROCHDALEsplit1", "ROCHDALEdraw1", "ROCHDALEcommit1", "ROCHDALEid1",
                           "ROCHDALEv1", "rochdale evidence bundle v1", "filter-rules/1"}) {
    INFO(text);
    CHECK(page.find(text) != std::string::npos);
  }
}

}  // namespace
}  // namespace rochdale::verify
