// Plays histories, explains the replies by the auditor, and makes histories that fail short.
#include <algorithm>
#include <iostream>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/ledger/simulation.h"
#include "tests/integration/ledger/simulation_stage.h"

namespace rochdale::ledger::testing {
namespace {

constexpr int kHeadEvery = 15;        // steps

// What the auditor says that a step is answered.
struct Expected {
  std::string reason = "OK";
  std::vector<v1::TransferOutcome> outcomes;
  std::vector<int64_t> indexes;
};

Expected Apply(Auditor& auditor, const Stage& stage, const Step& step) {
  Expected expected;
  switch (step.kind) {
    case Step::kOpen:
      if (!auditor.Open(step.accounts)) expected.reason = "ALREADY_EXISTS";
      break;
    case Step::kPost:
      if (step.asker.kind != Asker::kService && auditor.KnowsTooLittle()) {
        expected.reason = "AUTHORITY_STALE";
        auditor.CountStale();
      } else {
        expected.outcomes = auditor.Post(step.asker, step.transfers);
      }
      break;
    case Step::kChange: expected.reason = auditor.Change(step.asker, step.change); break;
    case Step::kFacts:
    case Step::kEvents: {
      std::vector<std::pair<std::string, std::string>> entries;
      std::vector<const Fact*> fresh;
      for (const Fact& fact : step.facts) {
        if (!auditor.Knows(fact.event)) fresh.push_back(&fact);
        entries.emplace_back(fact.event, stage.BytesOf(fact));
      }
      for (const auto& event : step.events) {
        entries.emplace_back(event.first, stage.BytesOf(event));
      }
      const auto indexes = auditor.Append(entries);
      if (!indexes.has_value()) {
        expected.reason = "REQUEST_ID_REUSED";
        break;
      }
      expected.indexes = *indexes;
      for (const Fact* fact : fresh) auditor.Learn(*fact);
      break;
    }
    case Step::kClock: break;
  }
  return expected;
}

// Empty: the answer is the expected one.
std::string Difference(const Step& step, const Expected& expected, const Answer& answer,
                       const Auditor& auditor) {
  const std::string reason = answer.status.ok() ? "OK" : ReasonOf(answer.status);
  if (reason != expected.reason) {
    return absl::StrCat("answered ", answer.status.ToString(), ", expected ", expected.reason);
  }
  if (reason != "OK") return "";
  if (answer.outcomes.size() != expected.outcomes.size()) return "another number of outcomes";
  for (size_t i = 0; i < expected.outcomes.size(); ++i) {
    v1::TransferOutcome is = answer.outcomes[i];
    const std::string message = is.message();
    is.clear_message();
    if (is.SerializeAsString() != expected.outcomes[i].SerializeAsString()) {
      return absl::StrCat("transfer ", i, ": ", step.transfers[i].ShortDebugString(),
                          "\n  answered ", is.ShortDebugString(), " (", message,
                          ")\n  expected ", expected.outcomes[i].ShortDebugString());
    }
  }
  if (answer.indexes != expected.indexes) {
    return absl::StrCat("entries stand at ", answer.indexes.empty() ? -1 : answer.indexes[0],
                        "..., expected ", expected.indexes.empty() ? -1 : expected.indexes[0]);
  }
  if (step.kind == Step::kChange) {
    const Auditor::Account& account = *auditor.FindAccount(step.change.account_id());
    const v1::Account& is = answer.accounts.at(0);
    if (is.status() != account.status || is.version() != account.version ||
        (!is.unlimited() && is.floor_micro() != account.floor)) {
      return absl::StrCat("the account is ", is.ShortDebugString());
    }
  }
  return "";
}

// One group of calls that ran at the same time, what each was answered at once (if it was), and
// then, one after the other, what those without an answer were answered when they were made again.
class Explanation {
 public:
  Explanation(Auditor& auditor, const Stage& stage, const std::vector<const Step*>& steps,
              const std::vector<Answer>& at_once, const std::vector<Answer>& later)
      : auditor_(auditor), stage_(stage), steps_(steps), at_once_(at_once), later_(later),
        done_(steps.size(), false) {}

  // Finds an order, and which of the lost calls had been carried out, that explain every answer;
  // the auditor is left there. Empty: found; otherwise the difference that the first try met.
  std::string Find() {
    if (Search()) return "";
    return first_difference_;
  }

 private:
  bool Search() {
    // Nothing more was carried out at once: do the later answers fit?
    const size_t mark = auditor_.Mark();
    bool all_known_done = true;
    for (size_t i = 0; i < steps_.size(); ++i) all_known_done &= done_[i] || !at_once_[i].known();
    if (all_known_done && Later(0)) return true;
    auditor_.GoBack(mark);
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (done_[i]) continue;
      const Expected expected = Apply(auditor_, stage_, *steps_[i]);
      done_[i] = true;
      if ((!at_once_[i].known() || Fits(i, expected, at_once_[i])) && Search()) return true;
      done_[i] = false;
      auditor_.GoBack(mark);
    }
    return false;
  }

  bool Later(size_t i) {
    for (; i < steps_.size(); ++i) {
      if (at_once_[i].known()) continue;
      if (Fits(i, Apply(auditor_, stage_, *steps_[i]), later_[i])) continue;
      // Made again more than once: an earlier repetition may have been the one.
      if (!Fits(i, Apply(auditor_, stage_, *steps_[i]), later_[i])) return false;
    }
    return true;
  }

  bool Fits(size_t i, const Expected& expected, const Answer& answer) {
    const std::string difference = Difference(*steps_[i], expected, answer, auditor_);
    if (!difference.empty() && first_difference_.empty()) first_difference_ = difference;
    return difference.empty();
  }

  Auditor& auditor_;
  const Stage& stage_;
  const std::vector<const Step*>& steps_;
  const std::vector<Answer>& at_once_;
  const std::vector<Answer>& later_;
  std::vector<bool> done_;
  std::string first_difference_;
};

class Player {
 public:
  Player(const History& history, Auditor::Fault planted)
      : history_(history), stage_(history), auditor_(stage_.log_size()) {
    auditor_.Plant(planted);
    auditor_.AdvanceTo(stage_.NowUs());
    auditor_.Hear(stage_.NowUs());
  }

  Verdict Run() {
    Verdict verdict;
    size_t at = 0;
    while (at < history_.steps.size() && verdict.difference.empty()) {
      if (history_.steps[at].kind == Step::kClock) {
        MoveClock(history_.steps[at++]);
        continue;
      }
      std::vector<const Step*> group = {&history_.steps[at++]};
      while (at < history_.steps.size() && history_.steps[at].together &&
             history_.steps[at].kind != Step::kClock) {
        group.push_back(&history_.steps[at++]);
      }
      verdict.difference = PlayGroup(group);
      if (absl::StrContains(verdict.difference, "INTERNAL")) {
        absl::StrAppend(&verdict.difference, "\n", stage_.Faults());
      }
      if (at % kHeadEvery == 0) stage_.LookAtHead();
    }
    verdict.steps_done = at;
    if (verdict.difference.empty()) verdict.difference = Anchor();
    if (verdict.difference.empty()) {
      verdict.difference = AuditAtTheEnd(stage_, history_, auditor_);
    }
    verdict.results = auditor_.counts();
    verdict.stale = auditor_.stale();
    verdict.log_size = auditor_.log_size();
    verdict.faults = stage_.faults();
    return verdict;
  }

 private:
  // The ledger's time does not go back; an entry says where it stands before the clock does.
  void MoveClock(const Step& step) {
    if (step.seconds < 0) {
      if (std::string difference = Anchor(); !difference.empty()) {
        throw std::runtime_error(difference);
      }
    }
    stage_.clock().Advance(absl::Seconds(step.seconds));
    if (step.seconds < 0 || step.silent) return;
    auditor_.AdvanceTo(stage_.NowUs());
    auditor_.Hear(stage_.NowUs());
    stage_.Heartbeat();
  }

  std::string Anchor() {
    Step anchor;
    anchor.kind = Step::kEvents;
    anchor.events.emplace_back(absl::StrCat("01890000-0000-7000-9000-", absl::Hex(
                                                ++anchors_, absl::kZeroPad12)), 0);
    return PlayGroup({&anchor});
  }

  std::string PlayGroup(const std::vector<const Step*>& group) {
    auditor_.AdvanceTo(stage_.NowUs());
    auditor_.Forget();
    const std::vector<Answer> at_once = stage_.PlayOnce(group);
    std::vector<Answer> later(group.size());
    int attempts = 0;
    for (size_t i = 0; i < group.size(); ++i) {
      if (at_once[i].known()) continue;
      later[i] = stage_.PlayAgain(*group[i], attempts);
      if (!later[i].known()) {
        return absl::StrCat("no answer: ", later[i].status.ToString());
      }
    }
    return Explanation(auditor_, stage_, group, at_once, later).Find();
  }

  const History& history_;
  Stage stage_;
  Auditor auditor_;
  int anchors_ = 0;
};

// The steps of `whole` without those from `begin` to `end`.
History Without(const History& whole, size_t begin, size_t end) {
  History part = whole;
  part.steps.erase(part.steps.begin() + static_cast<ptrdiff_t>(begin),
                   part.steps.begin() + static_cast<ptrdiff_t>(std::min(end, whole.steps.size())));
  return part;
}

class Shrinker {
 public:
  Shrinker(History failing, int runs, absl::Duration time, Auditor::Fault planted)
      : best_(std::move(failing)), runs_(runs), until_(absl::Now() + time), planted_(planted) {}

  History Run() {
    // Nothing after the step that failed matters, unless it was the audit at the end.
    const Verdict first = Play(best_, planted_);
    if (first.difference.empty()) return best_;  // it does not fail again: the seed says all
    Try(Without(best_, first.steps_done, best_.steps.size()));
    bool shorter = true;
    while (shorter && Left()) {
      shorter = false;
      for (size_t size = std::max<size_t>(1, best_.steps.size() / 2); Left(); size /= 2) {
        for (size_t at = 0; at < best_.steps.size() && Left();) {
          if (Try(Without(best_, at, at + size))) {
            shorter = true;
          } else {
            at += size;
          }
        }
        if (size <= 1) break;
      }
      shorter |= ShrinkItems(&Step::transfers);
      shorter |= ShrinkItems(&Step::accounts);
      shorter |= ShrinkItems(&Step::facts);
      shorter |= ShrinkItems(&Step::events);
      shorter |= Simplify();
    }
    return best_;
  }

 private:
  bool Left() const { return runs_ > 0 && absl::Now() < until_; }

  bool Try(const History& candidate) {
    if (!Left()) return false;
    --runs_;
    if (Play(candidate, planted_).difference.empty()) return false;
    best_ = candidate;
    return true;
  }

  // Items of each step, halves first.
  template <typename Item>
  bool ShrinkItems(std::vector<Item> Step::*items) {
    bool shorter = false;
    for (size_t at = 0; at < best_.steps.size(); ++at) {
      for (size_t size = (best_.steps[at].*items).size() / 2; size >= 1 && Left(); size /= 2) {
        for (size_t from = 0; from < (best_.steps[at].*items).size() && Left();) {
          if ((best_.steps[at].*items).size() <= size) break;
          History candidate = best_;
          std::vector<Item>& list = candidate.steps[at].*items;
          list.erase(list.begin() + static_cast<ptrdiff_t>(from),
                     list.begin() + static_cast<ptrdiff_t>(std::min(from + size, list.size())));
          if (Try(candidate)) {
            shorter = true;
          } else {
            from += size;
          }
        }
      }
    }
    return shorter;
  }

  // Without faults and without anything at the same time, where it fails so too.
  bool Simplify() {
    bool simpler = false;
    for (size_t at = 0; at < best_.steps.size() && Left(); ++at) {
      if (best_.steps[at].fault != Step::kNone) {
        History candidate = best_;
        candidate.steps[at].fault = Step::kNone;
        candidate.steps[at].after = 0;
        simpler |= Try(candidate);
      }
      if (best_.steps[at].together) {
        History candidate = best_;
        candidate.steps[at].together = false;
        simpler |= Try(candidate);
      }
    }
    return simpler;
  }

  History best_;
  int runs_;
  const absl::Time until_;
  const Auditor::Fault planted_;
};

}  // namespace

Verdict Play(const History& history, Auditor::Fault planted) {
  try {
    return Player(history, planted).Run();
  } catch (const std::exception& error) {
    Verdict verdict;
    verdict.difference = absl::StrCat("it came to a halt: ", error.what());
    return verdict;
  }
}

History Shrink(const History& failing, int runs, absl::Duration time, Auditor::Fault planted) {
  return Shrinker(failing, runs, time, planted).Run();
}

}  // namespace rochdale::ledger::testing
