// 20,000 seeded operations against a model of a few lines: opens, transfers, repetitions with the
// same and with other content, empty accounts, appended entries, and restarts in between.
#include <catch2/catch.hpp>
#include <iostream>
#include <map>
#include <random>
#include <set>

#include "libs/crypto/entry_kinds.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

// What a ledger is, without batches, databases or logs.
class Model {
 public:
  void Open(const std::string& id, bool unlimited) {
    if (accounts_.emplace(id, Account{0, unlimited}).second) ++entries_;
  }
  v1::TransferResult Post(const v1::Transfer& t) {
    const auto known = posted_.find(t.transfer_id());
    if (known != posted_.end()) {
      return known->second == Content(t) ? v1::TRANSFER_RESULT_EXISTS
                                         : v1::TRANSFER_RESULT_EXISTS_DIFFERENT;
    }
    if (burned_.contains(t.transfer_id())) return v1::TRANSFER_RESULT_ID_ALREADY_FAILED;
    const v1::TransferResult result = Try(t);
    if (result == v1::TRANSFER_RESULT_POSTED) {
      posted_[t.transfer_id()] = Content(t);
      ++entries_;
    } else if (result != v1::TRANSFER_RESULT_SAME_ACCOUNT) {
      burned_.insert(t.transfer_id());
    }
    return result;
  }
  void Append(const std::string& leaf) { entries_ += leaves_.insert(leaf).second; }

  struct Account {
    int64_t balance;
    bool unlimited;
  };
  const std::map<std::string, Account>& accounts() const { return accounts_; }
  int64_t entries() const { return entries_; }

 private:
  static std::string Content(const v1::Transfer& t) {
    return t.debit_account_id() + t.credit_account_id() + std::to_string(t.amount_micro());
  }
  v1::TransferResult Try(const v1::Transfer& t) {
    if (t.debit_account_id() == t.credit_account_id()) return v1::TRANSFER_RESULT_SAME_ACCOUNT;
    const auto debit = accounts_.find(t.debit_account_id());
    if (debit == accounts_.end()) return v1::TRANSFER_RESULT_DEBIT_ACCOUNT_NOT_FOUND;
    const auto credit = accounts_.find(t.credit_account_id());
    if (credit == accounts_.end()) return v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_FOUND;
    if (!debit->second.unlimited && debit->second.balance < t.amount_micro()) {
      return v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS;
    }
    debit->second.balance -= t.amount_micro();
    credit->second.balance += t.amount_micro();
    return v1::TRANSFER_RESULT_POSTED;
  }

  std::map<std::string, Account> accounts_;
  std::map<std::string, std::string> posted_;
  std::set<std::string> burned_, leaves_;
  int64_t entries_ = 1;  // LOG_STARTED
};

class Simulation {
 public:
  Simulation(TestDatabase& database, uint64_t seed)
      : database_(database), random_(seed), ledger_(New()) {}

  void Run(int operations) {
    Open(true);
    while (operations > 0) {
      const int dice = Below(100);
      if (dice < 4) {
        Open(false);
        --operations;
      } else if (dice < 14) {
        Append();
        --operations;
      } else if (dice == 99) {
        ledger_.reset();
        ledger_ = New();
      } else {
        const int count = 1 + Below(dice < 60 ? 5 : 200);
        Post(count);
        operations -= count;
      }
    }
    CheckEverything();
  }

 private:
  std::unique_ptr<Ledger> New() {
    return std::make_unique<Ledger>(database_, LedgerSetup{dir_.path(), true});
  }
  int Below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  Client Payout() { return ledger_->As("payout"); }

  void Open(bool unlimited) {
    const std::string id = ids_.New(ledger_->clock.Now()).ToString();
    const auto request = OpeningOf(*ledger_, id, id, v1::ACCOUNT_TYPE_SYSTEM, unlimited);
    for (int i = 0; i <= Below(2); ++i) {
      REQUIRE(Payout().Call(&Stub::OpenAccounts, request).ok());
      model_.Open(id, unlimited);
    }
    accounts_.push_back(id);
  }

  v1::Transfer NewTransfer() {
    const auto account = [&] {
      return Below(40) == 0 ? ids_.New(ledger_->clock.Now()).ToString()
                            : accounts_[Below(static_cast<int>(accounts_.size()))];
    };
    // The unlimited account pays often, so that there is money.
    v1::Transfer transfer = TransferOf(*ledger_, Below(3) == 0 ? accounts_[0] : account(),
                                       account(), 1 + Below(50));
    transfer.set_transfer_id(ids_.New(ledger_->clock.Now()).ToString());
    return transfer;
  }

  void Post(int count) {
    std::vector<v1::Transfer> transfers;
    for (int i = 0; i < count; ++i) {
      const int dice = Below(10);
      if (dice == 0 && !history_.empty()) {
        transfers.push_back(history_[Below(static_cast<int>(history_.size()))]);
      } else if (dice == 1 && !history_.empty()) {
        transfers.push_back(history_[Below(static_cast<int>(history_.size()))]);
        transfers.back().set_amount_micro(1 + Below(50));
      } else if (dice == 2 && !transfers.empty()) {
        transfers.push_back(transfers[Below(static_cast<int>(transfers.size()))]);
      } else {
        transfers.push_back(NewTransfer());
        history_.push_back(transfers.back());
      }
    }
    const auto request = PostingOf(*ledger_, transfers);
    // Some calls are made twice, as after an answer that was lost.
    for (int i = 0; i <= (Below(10) == 0 ? 1 : 0); ++i) {
      const auto response = Payout().Call(&Stub::PostTransfers, request);
      REQUIRE(response.ok());
      for (int j = 0; j < request.transfers_size(); ++j) {
        const v1::TransferResult expected = model_.Post(request.transfers(j));
        CAPTURE(j, request.transfers(j).ShortDebugString());
        REQUIRE(response->outcomes(j).result() == expected);
      }
    }
  }

  void Append() {
    if (leaves_.empty() || Below(3) != 0) {
      leaves_.push_back(EntryOf(*ledger_, crypto::kind::kUpdateExpired,
                                ids_.New(ledger_->clock.Now()), ids_.New(ledger_->clock.Now())));
    }
    v1::AppendEntriesRequest request;
    request.set_request_id(ledger_->NewId());
    request.add_entries(leaves_[Below(static_cast<int>(leaves_.size()))]);
    REQUIRE(ledger_->As("filter").Call(&Stub::AppendEntries, request).ok());
    model_.Append(request.entries(0));
  }

  void CheckEverything() {
    Client payout = Payout();
    int64_t sum = 0;
    for (const auto& [id, account] : model_.accounts()) {
      v1::GetAccountRequest get;
      get.set_account_id(id);
      REQUIRE(payout.Ok(&Stub::GetAccount, get).account().balance_micro() == account.balance);
      sum += account.balance;
    }
    CHECK(sum == 0);
    v1::GetEntryRequest last;
    last.set_log_index(model_.entries() - 1);
    CHECK(payout.Reason(&Stub::GetEntry, last) == "OK");
    last.set_log_index(model_.entries());
    CHECK(payout.Reason(&Stub::GetEntry, last) == "LOG_SIZE_UNKNOWN");
  }

  TestDatabase& database_;
  TempDir dir_;
  std::mt19937_64 random_;
  SeededIdSource ids_{random_()};
  std::unique_ptr<Ledger> ledger_;
  Model model_;
  std::vector<std::string> accounts_, leaves_;
  std::vector<v1::Transfer> history_;
};

TEST_CASE("20,000 operations agree with the model", "[ledger]") {
  const char* given = std::getenv("ROCHDALE_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
  std::cout << "ledger simulation: ROCHDALE_TEST_SEED=" << seed << std::endl;
  TestDatabase database({Migrations()});
  Simulation(database, seed).Run(20'000);
}

}  // namespace
}  // namespace rochdale::ledger::testing
