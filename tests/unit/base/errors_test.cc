#include "libs/base/errors.h"

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

namespace rochdale {
namespace {

// The page as it should be, from the list in the code.
std::string ErrorsPage() {
  std::string page =
      "# Error reasons\n\n"
      "Every error of every service is a `google.rpc.Status` with one `ErrorInfo` whose\n"
      "domain is `rochdale` and whose reason is one of these. Reasons are stable: programs\n"
      "may rely on them.\n"
      "The list is made from `libs/base/errors.cc`.\n\n"
      "| reason | gRPC code | meaning |\n|---|---|---|\n";
  for (const ReasonInfo& info : Reasons()) {
    absl::StrAppend(&page, "| `", info.reason, "` | ", absl::StatusCodeToString(info.code), " | ",
                    info.meaning, " |\n");
  }
  return page;
}

TEST_CASE("docs/errors.md is the list of reasons") {
  const std::string path = ROCHDALE_SOURCE_DIR "/docs/errors.md";
  // ROCHDALE_WRITE_GOLDEN=1 build/release/tests/base_test "docs/errors.md*" writes it.
  if (std::getenv("ROCHDALE_WRITE_GOLDEN") != nullptr) std::ofstream(path) << ErrorsPage();
  std::ifstream file(path);
  std::stringstream page;
  page << file.rdbuf();
  INFO("write it anew: ROCHDALE_WRITE_GOLDEN=1 build/release/tests/base_test \"docs/errors.md*\"");
  CHECK(page.str() == ErrorsPage());
}

TEST_CASE("reasons are unique upper-case words with one sentence each") {
  std::set<std::string> seen;
  for (const ReasonInfo& info : Reasons()) {
    CAPTURE(std::string(info.reason));
    CHECK(seen.insert(std::string(info.reason)).second);
    for (char c : info.reason) CHECK((std::isupper(c) || std::isdigit(c) || c == '_'));
    CHECK(info.code != absl::StatusCode::kOk);
    CHECK(info.meaning.size() > 20);
    CHECK(info.meaning.back() == '.');
    CHECK(info.meaning.find('|') == absl::string_view::npos);
  }
}

TEST_CASE("an error carries its reason and the reason's code") {
  const absl::Status status = Error("UPLOAD_OFFSET", "stands at 7");
  CHECK(status.code() == absl::StatusCode::kOutOfRange);
  CHECK(status.message() == "stands at 7");
  CHECK(ReasonOf(status) == "UPLOAD_OFFSET");
  CHECK_FALSE(RetryAfterOf(status).has_value());
  CHECK(FieldViolationsOf(status).empty());
  CHECK(ReasonOf(absl::InternalError("x")) == "");
  CHECK(ReasonOf(absl::OkStatus()) == "");
}

TEST_CASE("a retryable error says when") {
  const absl::Status status = RetryableError("OVERLOADED", "busy", absl::Milliseconds(1500));
  CHECK(ReasonOf(status) == "OVERLOADED");
  CHECK(RetryAfterOf(status) == absl::Milliseconds(1500));
}

TEST_CASE("all bad fields come back, whatever characters a client put in") {
  FieldErrors errors;
  CHECK(errors.ToStatus().ok());
  errors.Add("name", "must not be empty");
  errors.Add("a:1\n2:b", "7:colons | and\nnewlines");
  errors.Add("", "");
  const absl::Status status = errors.ToStatus();
  CHECK(ReasonOf(status) == "BAD_REQUEST");
  const std::vector<FieldViolation> violations = FieldViolationsOf(status);
  REQUIRE(violations.size() == 3);
  CHECK(violations[0].field == "name");
  CHECK(violations[1].field == "a:1\n2:b");
  CHECK(violations[1].description == "7:colons | and\nnewlines");
  CHECK(violations[2].field == "");
  CHECK_THAT(std::string(status.message()), Catch::Contains("name: must not be empty"));
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return Error("BAD_REQUEST", "odd");
  return n / 2;
}

absl::StatusOr<int> Quarter(int n) {
  ASSIGN_OR_RETURN(const int half, Half(n));
  ASSIGN_OR_RETURN(int quarter, Half(half));
  RETURN_IF_ERROR(Half(2 * quarter).status());
  return quarter;
}

TEST_CASE("the status macros pass values on and errors out") {
  CHECK(*Quarter(8) == 2);
  CHECK(ReasonOf(Quarter(6).status()) == "BAD_REQUEST");
  CHECK(ReasonOf(Quarter(7).status()) == "BAD_REQUEST");
}

}  // namespace
}  // namespace rochdale
