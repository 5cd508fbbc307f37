// What a ledger is, without batches, databases or logs: an auditor that is told the requests in
// their order and says what each must be answered, by the comments of ledger.proto alone. It shares
// no code with the ledger; a difference between the two is a mistake of one of them.
//
// Everything it changes can be taken back (Mark, GoBack), so that a reader of replies who does not
// know the order of the requests, or whether one was carried out before its answer was lost, can
// try each possibility.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "rochdale/ledger/v1/ledger.pb.h"

namespace rochdale::ledger::testing {

// Who asks.
struct Asker {
  enum Kind { kService, kPerson, kAgent } kind = kService;
  std::string principal;  // kPerson, kAgent
  std::string agent;      // kAgent
};

// What an entry of governance says, as far as the ledger minds.
struct Fact {
  enum Kind { kKyc, kMandate, kRevoke, kPause, kResume, kLimit } kind = kKyc;
  std::string event;      // its event id
  std::string principal;  // kKyc, kMandate
  std::string agent;      // kMandate, kPause, kResume
  std::string mandate;    // kMandate, kRevoke
  int level = 0;          // kKyc, kLimit
  std::string value;      // kLimit: of what a level may send a day, as text
  int64_t expires_us = 0;  // kKyc, kMandate
  int64_t budget_day = 0, budget_total = 0;   // kMandate
  std::vector<std::string> counterparties;    // kMandate; empty: any
};

class Auditor {
 public:
  using Result = v1::TransferResult;

  struct Account {
    v1::Account opened;  // as asked for
    v1::AccountStatus status = v1::ACCOUNT_STATUS_OPEN;
    int64_t floor = 0;
    int64_t version = 1;
    int64_t debits = 0, credits = 0, held = 0;
    int64_t moves = 0;  // transfers that moved value
    int64_t balance() const { return credits - debits; }
  };
  struct Posted {
    v1::Transfer asked;
    Asker by;
    std::string debit, credit;  // resolved
    v1::TransferKind kind = v1::TRANSFER_KIND_UNSPECIFIED;
    v1::TransferOutcome outcome;  // of the first time
    int64_t corrected = 0;
    // Of a hold.
    v1::HoldState state = v1::HOLD_STATE_UNSPECIFIED;
    int64_t expires_us = 0;
    int64_t moved = 0;    // of it
    int64_t day = 0;      // on which it counts
    bool outflow = false;  // counts against its owner's limit of the day
    std::string mandate;  // under which it was asked for
  };

  // `log_size`: entries that were there before.
  explicit Auditor(int64_t log_size) : log_size_(log_size) {}

  // The time of the next batch; the ledger's time never goes back. Holds that are due expire.
  void AdvanceTo(int64_t now_us);

  // Governance says that everything until then is known. Its clock may be behind the ledger's time,
  // which never goes back.
  void Hear(int64_t until_us) { heard_us_ = std::max(heard_us_, until_us); }
  // Whether that is too long ago for anybody but a service to move value.
  bool KnowsTooLittle() const;
  void CountStale() { ++stale_; }
  int64_t stale() const { return stale_; }  // not taken back

  // The transfers of one call, in order. Messages are left empty.
  std::vector<v1::TransferOutcome> Post(const Asker& asker,
                                        const std::vector<v1::Transfer>& transfers);
  // Accounts are opened, all or none; false: ALREADY_EXISTS.
  bool Open(const std::vector<v1::Account>& accounts);
  // "OK" or the reason.
  std::string Change(const Asker& asker, const v1::ChangeAccountRequest& request);
  // Entries of any service, by event id and bytes; the indexes, or nothing: REQUEST_ID_REUSED.
  std::optional<std::vector<int64_t>> Append(
      const std::vector<std::pair<std::string, std::string>>& entries);
  // The effect of an entry that was just appended for the first time.
  void Learn(const Fact& fact);
  bool Knows(const std::string& event) const { return events_.Find(event) != nullptr; }

  size_t Mark() const { return journal_.size(); }
  void GoBack(size_t mark);
  // What came before can no longer be taken back.
  void Forget() { journal_.clear(); }

  int64_t log_size() const { return log_size_; }
  int64_t now_us() const { return now_us_; }
  const Account* FindAccount(const std::string& id) const { return accounts_.Find(id); }
  const Posted* FindPosted(const std::string& id) const { return posted_.Find(id); }
  const std::unordered_map<std::string, Account>& accounts() const { return accounts_.all(); }
  const std::unordered_map<std::string, Posted>& posted() const { return posted_.all(); }
  // Transfers of each result so far, for the report; not taken back.
  const std::map<Result, int64_t>& counts() const { return counts_; }

  // For tests of the simulation itself: a fault of the auditor that it must find.
  enum class Fault { kNone, kHoldsForgotten, kBurnForgotten };
  void Plant(Fault fault) { fault_ = fault; }

 private:
  using Undo = std::function<void()>;

  // A map whose changes are written down.
  template <typename Value>
  class Table {
   public:
    explicit Table(std::vector<Undo>& journal) : journal_(journal) {}
    const Value* Find(const std::string& key) const {
      const auto found = map_.find(key);
      return found == map_.end() ? nullptr : &found->second;
    }
    // To be changed; made if missing.
    Value& Edit(const std::string& key) {
      const auto found = map_.find(key);
      if (found == map_.end()) {
        journal_.push_back([this, key] { map_.erase(key); });
      } else {
        journal_.push_back([this, key, old = found->second] { map_[key] = old; });
      }
      return map_[key];
    }
    const std::unordered_map<std::string, Value>& all() const { return map_; }

   private:
    std::vector<Undo>& journal_;
    std::unordered_map<std::string, Value> map_;
  };

  struct Event {
    int64_t index = 0;
    std::string bytes;  // empty: the ledger's own
  };
  struct Kyc {
    int level = 0;
    int64_t expires_us = 0;
  };
  struct Mandate {
    Fact granted;
    bool revoked = false;
  };
  // A transfer on its way: with accounts, kind and amount resolved.
  struct Trying {
    const v1::Transfer* asked = nullptr;
    std::string debit, credit;
    v1::TransferKind kind = v1::TRANSFER_KIND_UNSPECIFIED;
    int64_t amount = 0;
    const Posted* hold = nullptr;
    bool outflow = false;
    std::vector<std::string> mandates;  // that allow it, but for their budgets
    std::string mandate;
  };

  v1::TransferOutcome One(const Asker& asker, const v1::Transfer& transfer, bool open_chain);
  void Chain(const Asker& asker, const v1::Transfer* first, size_t count, bool open,
             std::vector<v1::TransferOutcome>& outcomes);
  // What an id that was used before is answered; nothing: it was not.
  std::optional<v1::TransferOutcome> Repeated(const Asker& asker, const v1::Transfer& transfer);
  bool Same(const Posted& posted, const Asker& asker, const v1::Transfer& transfer) const;
  Result Decide(const Asker& asker, Trying& trying) const;
  Result DecidePending(Trying& trying) const;
  Result DecideAuthority(const Asker& asker, Trying& trying) const;
  Result DecideHold(const Trying& trying) const;
  Result DecideCorrection(const Trying& trying) const;
  Result DecideMoney(const Asker& asker, Trying& trying) const;
  v1::TransferOutcome Do(const Asker& asker, const Trying& trying);
  void EndHold(const std::string& id, v1::HoldState state, int64_t moved);
  void Spend(const std::string& who, const std::string& asset, int64_t day, int64_t amount);
  int64_t Spent(const std::string& who, const std::string& asset, int64_t day) const;
  int64_t TakeIndex();
  int64_t LimitOf(int level) const;
  static bool Burns(Result result);

  std::vector<Undo> journal_;
  Table<Account> accounts_{journal_};
  Table<Posted> posted_{journal_};
  Table<bool> burned_{journal_};
  Table<Event> events_{journal_};
  Table<Kyc> kyc_{journal_};
  Table<Mandate> mandates_{journal_};
  Table<std::vector<std::string>> mandates_of_{journal_};  // by agent
  Table<bool> paused_{journal_};
  Table<int64_t> spent_{journal_};
  Table<int64_t> limits_{journal_};  // by KYC level, where one was governed
  std::set<std::pair<int64_t, std::string>> open_holds_;  // by expiry
  int64_t log_size_ = 0;
  int64_t now_us_ = 0;
  int64_t heard_us_ = 0;
  int64_t stale_ = 0;
  std::map<Result, int64_t> counts_;
  Fault fault_ = Fault::kNone;
};

}  // namespace rochdale::ledger::testing
