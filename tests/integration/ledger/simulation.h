// Random histories of a ledger, played on real replicas over a real PostgreSQL, each reply compared
// with what an independent auditor says.
//
// A history is a list of steps made from a seed. Steps do not depend on replies, so any part of a
// history is a history too: that is how one that fails is made short.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/integration/ledger/auditor.h"

namespace rochdale::ledger::testing {

// When every history begins.
inline constexpr int64_t kStartUs = int64_t{1'800'000'000} * 1'000'000;

struct Step {
  enum Kind { kOpen, kPost, kChange, kFacts, kEvents, kClock };
  // What goes wrong while the step's call is under way.
  enum Fault {
    kNone,
    kCrash,         // the writer dies when so many messages (`after`) have gone to the database
    kCrashCommit,   // it dies with its COMMIT made and nobody told
    kCrashUnmade,   // it dies with its COMMIT not sent
    kCut,           // a connection breaks when so many messages have gone
    kLostAnswer,    // the answer to COMMIT is lost, the writer lives
    kHandOver,      // the writer is stopped in good order
  };

  Kind kind = kPost;
  Asker asker;
  std::vector<v1::Account> accounts;     // kOpen
  std::vector<v1::Transfer> transfers;   // kPost
  v1::ChangeAccountRequest change;       // kChange
  std::vector<Fact> facts;               // kFacts
  std::vector<std::pair<std::string, int>> events;  // kEvents: event id and variant of the content
  int64_t seconds = 0;                   // kClock: forwards or backwards
  bool silent = false;                   // kClock: without a word of governance's at its end
  Fault fault = kNone;
  int after = 0;
  bool together = false;  // its call is made at the same time as that of the step before

  int operations() const;
};

struct History {
  uint64_t seed = 0;
  // Who takes part, from the start: not steps, so that they are there in every part of the history.
  std::string cooperative;
  std::vector<std::string> people;
  std::vector<std::pair<std::string, std::string>> agents;  // and their principals
  std::vector<Step> steps;

  int64_t operations() const;
};

History MakeHistory(uint64_t seed, int64_t operations);
// A line for each step and transfer.
std::string ToText(const History& history);

struct Verdict {
  // Empty: everything agreed.
  std::string difference;
  size_t steps_done = 0;
  // For the report.
  std::map<v1::TransferResult, int64_t> results;
  int64_t log_size = 0;
  int64_t stale = 0;  // calls refused with AUTHORITY_STALE
  int faults = 0;
};

Verdict Play(const History& history, Auditor::Fault planted = Auditor::Fault::kNone);

// The shortest history that still fails which can be found within `runs` plays and `time`.
History Shrink(const History& failing, int runs, absl::Duration time,
               Auditor::Fault planted = Auditor::Fault::kNone);

}  // namespace rochdale::ledger::testing
