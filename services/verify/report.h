// What a verification found: named checks, each with what it looked at or what is wrong.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rochdale::verify {

// One check. It holds unless something failed.
class Check {
 public:
  explicit Check(absl::string_view name) : name_(name) {}

  // `where` names the file (or the log entry), `what` says what is wrong with it.
  void Fail(absl::string_view where, absl::string_view what);
  // Fails where `status` is not OK. Returns whether it was.
  bool Need(const absl::Status& status, absl::string_view where);
  // Fails where `holds` is false. Returns it.
  bool Need(bool holds, absl::string_view where, absl::string_view what);
  // What was looked at, shown where the check holds.
  void Say(absl::string_view summary) { summary_ = std::string(summary); }

  const std::string& name() const { return name_; }
  bool ok() const { return failures_ == 0; }
  // The summary, or the first problems and how many more there are.
  std::string Detail() const;

 private:
  std::string name_;
  std::string summary_;
  std::vector<std::string> problems_;  // the first ones
  int64_t failures_ = 0;
};

class Report {
 public:
  // A further check; stays where it is.
  Check& Begin(absl::string_view name);

  bool ok() const;
  const std::deque<Check>& checks() const { return checks_; }
  // {"checks":[{"detail","name","ok"},...],"ok":bool,"self_consistent_only":bool}
  std::string ToJson(bool self_consistent_only) const;
  // A line per check and one that sums up.
  std::string ToText() const;

 private:
  std::deque<Check> checks_;
};

}  // namespace rochdale::verify
