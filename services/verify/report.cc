#include "services/verify/report.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

namespace rochdale::verify {
namespace {

constexpr size_t kProblemsShown = 20;
constexpr size_t kProblemChars = 400;

// Names and messages may come from a hostile file: nothing of it reaches a terminal as it is.
std::string Printable(absl::string_view text) {
  std::string out(text.substr(0, kProblemChars));
  for (char& c : out) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return out;
}

}  // namespace

void Check::Fail(absl::string_view where, absl::string_view what) {
  ++failures_;
  if (problems_.size() < kProblemsShown) {
    problems_.push_back(absl::StrCat(Printable(where), ": ", Printable(what)));
  }
}

bool Check::Need(const absl::Status& status, absl::string_view where) {
  if (!status.ok()) Fail(where, status.message());
  return status.ok();
}

bool Check::Need(bool holds, absl::string_view where, absl::string_view what) {
  if (!holds) Fail(where, what);
  return holds;
}

std::string Check::Detail() const {
  if (ok()) return summary_;
  std::string detail = absl::StrJoin(problems_, "; ");
  const int64_t more = failures_ - static_cast<int64_t>(problems_.size());
  if (more > 0) absl::StrAppend(&detail, "; and ", more, " more");
  return detail;
}

Check& Report::Begin(absl::string_view name) { return checks_.emplace_back(name); }

bool Report::ok() const {
  return !checks_.empty() &&
         std::all_of(checks_.begin(), checks_.end(), [](const Check& c) { return c.ok(); });
}

std::string Report::ToJson(bool self_consistent_only) const {
  nlohmann::json json = {{"ok", ok()},
                         {"self_consistent_only", self_consistent_only},
                         {"checks", nlohmann::json::array()}};
  for (const Check& check : checks_) {
    json["checks"].push_back(
        {{"name", check.name()}, {"ok", check.ok()}, {"detail", check.Detail()}});
  }
  return json.dump();
}

std::string Report::ToText() const {
  std::string text;
  int64_t failed = 0;
  for (const Check& check : checks_) {
    failed += check.ok() ? 0 : 1;
    absl::StrAppend(&text, check.ok() ? "ok    " : "FAIL  ", check.name(), ": ", check.Detail(),
                    "\n");
  }
  absl::StrAppend(&text, checks_.size(), " checks, ", failed, " failed\n");
  return text;
}

}  // namespace rochdale::verify
