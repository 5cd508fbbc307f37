// Where histories are played: a database, two replicas of the ledger, a clock, and calls that are
// made, lost and made again.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libs/crypto/entry_builder.h"
#include "tests/integration/ledger/replica.h"
#include "tests/integration/ledger/simulation.h"

namespace rochdale::ledger::testing {

// What came back of a step's call.
struct Answer {
  absl::Status status = absl::UnavailableError("not called");
  std::vector<v1::TransferOutcome> outcomes;
  std::vector<v1::Account> accounts;
  std::vector<int64_t> indexes;

  // False: it is not known whether the step was carried out.
  bool known() const;
};

class Stage {
 public:
  explicit Stage(const History& history);
  ~Stage();

  // The entries of the log before the first step: its start, the cooperative, its people.
  int64_t log_size() const { return log_size_; }
  ManualClock& clock() { return clock_; }
  int64_t NowUs() const { return absl::ToUnixMicros(clock_.Now()); }
  int faults() const { return faults_; }
  TestDatabase& database() { return *database_; }
  // Makes the calls of these steps at the same time, once each, with the fault of the first.
  std::vector<Answer> PlayOnce(const std::vector<const Step*>& steps);
  // Calls until there is an answer; gives it up after a minute. `attempts` counts those without.
  Answer PlayAgain(const Step& step, int& attempts);
  // Governance says that the ledger knows everything until now.
  void Heartbeat();
  // The canonical bytes of an entry, always the same for the same arguments.
  std::string BytesOf(const Fact& fact) const;
  std::string BytesOf(const std::pair<std::string, int>& event) const;

  // The replica that writes; waits until there is one.
  std::shared_ptr<Replica> Writer();
  // What the replicas that are alive logged of faults.
  std::string Faults() const;
  // A signed tree head as a client sees it now; remembered for the end.
  void LookAtHead();
  const std::vector<v1::TreeHead>& heads() const { return heads_; }

 private:
  struct Running;  // a call in a thread of its own

  Answer Send(Replica& replica, const Step& step);
  void Arm(Replica& replica, const Step& step);
  void Bury(size_t slot, std::vector<std::unique_ptr<Running>> calls);
  void Setup(const History& history);
  std::shared_ptr<Replica> NewReplica(size_t slot);
  std::string EntryBytes(uint16_t kind, const std::string& event, const std::string& subject,
                         const std::function<void(crypto::EntryBuilder&)>& fill) const;

  ManualClock clock_;
  Cast cast_;
  std::string cooperative_;
  std::unique_ptr<TestDatabase> database_;
  TempDir dirs_[2];
  std::shared_ptr<Replica> replicas_[2];
  std::vector<std::thread> graves_;
  RandomIdSource ids_;
  int64_t log_size_ = 0;
  int faults_ = 0;
  std::vector<v1::TreeHead> heads_;
};

// Compares what the ledger shows of itself with the auditor at the end of a history: accounts,
// holds, the log, its heads, and what the log replays to. Empty: nothing differs.
std::string AuditAtTheEnd(Stage& stage, const History& history, const Auditor& auditor);

}  // namespace rochdale::ledger::testing
