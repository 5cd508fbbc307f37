// Histories as text, for whoever has to understand one that fails.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/integration/ledger/simulation.h"

namespace rochdale::ledger::testing {
namespace {

std::string NameOf(const Asker& asker) {
  if (asker.kind == Asker::kService) return "service";
  if (asker.kind == Asker::kPerson) return absl::StrCat("principal ", asker.principal);
  return absl::StrCat("agent ", asker.agent, " of ", asker.principal);
}

std::string ToText(const Fact& fact) {
  static constexpr const char* kNames[] = {"kyc", "mandate", "revoke", "pause", "resume"};
  return absl::StrCat(kNames[fact.kind], " event=", fact.event, " principal=", fact.principal,
                      " agent=", fact.agent, " mandate=", fact.mandate, " level=", fact.level,
                      " day=", fact.budget_day, " total=", fact.budget_total, " may_pay=",
                      absl::StrJoin(fact.counterparties, ","));
}

}  // namespace

std::string ToText(const History& history) {
  static constexpr const char* kKinds[] = {"open", "post", "change", "facts", "events", "clock"};
  static constexpr const char* kFaults[] = {"", " crash", " crash after commit",
                                            " crash before commit", " cut", " lost answer",
                                            " hand over"};
  std::string text;
  for (const Step& step : history.steps) {
    absl::StrAppend(&text, step.together ? "& " : "", kKinds[step.kind], " by ",
                    NameOf(step.asker), kFaults[step.fault],
                    step.after > 0 ? absl::StrCat(" at message ", step.after) : "",
                    step.kind == Step::kClock ? absl::StrCat(" ", step.seconds, " s") : "",
                    step.silent ? " unheard" : "", "\n");
    for (const v1::Account& a : step.accounts) {
      absl::StrAppend(&text, "    ", a.ShortDebugString(), "\n");
    }
    for (const v1::Transfer& t : step.transfers) {
      absl::StrAppend(&text, "    ", t.ShortDebugString(), "\n");
    }
    if (step.kind == Step::kChange) {
      absl::StrAppend(&text, "    ", step.change.ShortDebugString(), "\n");
    }
    for (const Fact& fact : step.facts) absl::StrAppend(&text, "    ", ToText(fact), "\n");
    for (const auto& [id, variant] : step.events) {
      absl::StrAppend(&text, "    event ", id, " variant ", variant, "\n");
    }
  }
  return text;
}

}  // namespace rochdale::ledger::testing
