// Cases of the ledger's semantics, written as tables of lines and played on a real replica.
//
//   Scene scene;
//   scene.Play(R"(
//     payout: fill  supply->ann 100              = POSTED
//     ann:    hold1 ann->bob 60 hold:30          = POSTED
//     ann:    t1    ann->bob 50                  = INSUFFICIENT_FUNDS
//     balance ann 100 held 60
//     clock 31
//     ann:    t2    ann->bob 50                  = POSTED amount 50 debit 50 credit 50
//   )");
//
// A line of a transfer: who asks, a name for its id, accounts, amount, words, and its result, with
// amount and balances of the outcome where they matter. A line that begins with "+" belongs to the
// same call as the one before it. Words: hold:SECONDS post:NAME void:NAME linked balancing
// corrects:NAME kind:KIND code:N ref:TEXT id:NAME (another transfer's id).
// Other lines: balance ACCOUNT N [held N] | clock SECONDS | status ACCOUNT STATUS |
// floor ACCOUNT N | kyc PERSON LEVEL | mandate NAME AGENT DAY TOTAL [ACCOUNT...] | revoke NAME |
// pause AGENT | resume AGENT.
//
// There are: accounts of the system (supply, mint and gpusupply, unlimited; pool, fund, brim and
// gpupool); ann, ann2 and anngpu of Ann (KYC level 3), bob of Bob (level 1), eve of Eve (level 0);
// aide, an agent of Ann, and bot, an agent of Bob. Other names stand for accounts that are not.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/ledger/replica.h"

namespace rochdale::ledger::testing {

class Scene {
 public:
  Scene();
  // Fails the test at the first line that is not as it says.
  void Play(const std::string& lines);

  static std::string IdOf(const std::string& name);
  v1::TransferOutcome OutcomeOf(const std::string& name) const { return outcomes_.at(name); }
  v1::Account AccountOf(const std::string& name);
  crypto::Entry EntryAt(int64_t index);
  std::vector<v1::TransferOutcome> Post(const std::string& who,
                                        const std::vector<v1::Transfer>& transfers);
  // As the line says, but for its expectation.
  v1::Transfer TransferOf(const std::string& who, const std::string& line) const;
  int64_t LogSize();

  ManualClock clock;
  TestDatabase database;
  Cast cast;
  TempDir dir;
  std::unique_ptr<Replica> replica;

 private:
  void Setup();
  void PlayCall(const std::vector<std::string>& lines);
  void PlayOther(const std::string& line);
  void Append(const std::string& service, const std::string& bytes);
  void Heartbeat();
  std::string NewId() { return ids_.New(clock.Now()).ToString(); }

  RandomIdSource ids_;
  std::map<std::string, v1::TransferOutcome> outcomes_;
};

}  // namespace rochdale::ledger::testing
