// The log of a random ledger: accounts of two assets, transfers of every form, holds, chains,
// corrections, changes of accounts, and what governance allows meanwhile; as a tlog-tiles tree. It
// is written by keeping the balances in the plainest way, so that those who rebuild them have
// something to be held against; and it can tell one lie, which they have to find.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/note.h"

namespace rochdale::verify {

enum class Lie {
  kNone,
  kOverdraft,           // one micro-unit more than the account has, its holds aside
  kPostsTooMuch,        // more than the hold set aside
  kPostsTwice,          // a hold that was posted
  kPostsLate,           // a hold that has expired
  kVoidsAnotherAmount,  // than the hold's
  kOtherAccounts,       // than the hold's
  kExpiresEarly,        // a hold that is still in force
  kHoldsTooLong,        // more than a year
  kBalancesTooLittle,   // less than there is
  kCorrectsTooMuch,     // more than what is corrected
  kCorrectsCorrection,  // a correction of a correction
  kCorrectsTheSameWay,  // debit and credit as before
  kBreaksChain,         // a linked transfer without the next
  kSkipsVersion,        // of an account
  kClosesFull,          // an account with something in it
  kMovesFromFrozen,     // an account that is frozen
  kPaysClosing,         // an account that may receive no more
  kMixesAssets,         // between accounts of two assets
  kMintsLater,          // out of the supply, by a service
  kTimeGoesBack,        // in the ledger's own entries
  kRepeatsTransfer,     // an id that was posted
  kStrangersOrder,      // signed by somebody else than the owner
  kOtherEvent,          // an event id that is not the transfer's
  kWrongBalance,        // a balance that is one off
  kStrangersMandate,    // under a mandate that somebody else granted
  kOverLimit,           // one micro-unit more than a KYC level may send on the day
  kLevelZero,           // sent at KYC level 0
  kLevelExpired,        // sent after the attestation expired
  kOverDayBudget,       // one micro-unit more than the mandate's budget of the day
  kOverTotalBudget,     // than its budget in all
  kMandateRevoked,      // under a mandate that was revoked
  kMandateReplaced,     // under one in whose place another was granted
  kMandateEarly,        // before the mandate is in force
  kMandateExpired,      // at the instant it ends
  kMandateNotToSpend,   // a mandate that does not allow spending
  kMandateOfLeaver,     // of a principal who left the cooperative
  kMandateForOthers,    // to an account that the mandate does not name
  kMandateForCompute,   // of an asset other than tokens
  kPausedAgent,         // by an agent that is paused
  kServiceKind,         // a person's transfer of a kind that services alone post
  kOtherAuthor,         // allowed by something else than the mandate or registration
  kOwnerThaws,          // an owner opens its frozen account
  kEnd,
};

// The rule of docs/evidence.md that a lie breaks; "" where it has no name.
const char* RuleOf(Lie lie);

class RandomLedger {
 public:
  struct Totals {
    std::string asset;
    int64_t debits = 0, credits = 0, held = 0;
    bool operator==(const Totals&) const = default;
  };

  // About `operations` transfers and changes. The same arguments give the same log.
  RandomLedger(uint64_t seed, int operations, Lie lie = Lie::kNone);

  const std::vector<std::string>& leaves() const { return leaves_; }
  crypto::NoteKey origin() const;
  // By account id, as text.
  std::map<std::string, Totals> totals() const;
  // Index of the entry that lies; -1 where no lie was told.
  int64_t lied_at() const { return lied_at_; }
  // The log as it goes on after it was restored to its first `kept` entries: under another origin,
  // with a statement first.
  void Restart(size_t kept);
  // Of the statement: what it must not have.
  enum class Misstatement { kNone, kRoot, kOrigin, kSize, kSigner, kUnsigned };
  void Misstate(Misstatement how) { misstatement_ = how; }
  // Every file of the tree by path: "checkpoint", "tile/...", "checkpoints/<size>", "origin.vkey".
  std::map<std::string, std::string> Files() const;
  void Write(const std::string& folder) const;

 private:
  struct Account {
    Uuid id;
    size_t owner = 0;  // in people_; of a system account none
    bool system = false;
    std::string asset;
    int64_t floor = 0;
    uint64_t status = 1, version = 1;
    Totals totals;
    int64_t balance() const { return totals.credits - totals.debits; }
    int64_t free() const { return balance() - totals.held - floor; }
  };
  struct Person {
    Uuid principal, agent;
    crypto::KeyPair key, agent_key;
    EventId registered;
    uint64_t level = 0;
    int64_t level_until = 0;
    bool paused = false, left = false;
  };
  struct Mandate {
    Uuid id;
    EventId granted;
    size_t person = 0;
    bool to_spend = true, revoked = false, replaced = false;
    int64_t from = 0, until = 0, day = 0, total = 0;
    std::vector<size_t> only;  // accounts; none: any
  };
  static constexpr size_t kNone = ~size_t{0};
  struct Posted {
    Uuid id;
    size_t debit = 0, credit = 0;
    int64_t amount = 0, corrected = 0, expires = 0;
    uint64_t kind = 0;
    uint64_t state = 0;  // of a hold; 0: it moved value
    bool correction = false;
    int64_t opened = 0;
    size_t spender = kNone, mandate = kNone;  // in people_, in mandates_
  };
  // What an entry says besides its accounts and amount.
  struct Form {
    uint64_t kind = 2, phase = 0;
    int64_t expires = 0, requested = 0;
    Uuid pending, corrects;
    bool linked = false;
    Uuid id;  // zero: a new one
    size_t mandate = kNone;  // under which an agent asks; none: whoever may
    bool by_owner = false;   // the owner itself asks
  };

  uint64_t Below(uint64_t end) { return engine_() % end; }
  Uuid NewId();
  // True once: this is where the lie is told.
  bool Tell(Lie lie);
  void Append(crypto::EntryBuilder& builder);
  void Begin();
  void OpenAccount(bool system, size_t owner, const std::string& asset, int64_t floor);
  Uuid Post(size_t debit, size_t credit, int64_t amount, const Form& form);
  crypto::SignedDocument Order(const crypto::KeyPair& key);
  size_t AnyAccount();
  // Another one that may receive from it; the same where there is none.
  size_t Counterparty(size_t from);
  bool MayPay(size_t account) const;
  void Operate();
  void Transfer();
  void Hold();
  void EndHold();
  void Chain();
  void Correct();
  void Change();
  void Expire();
  void Govern();
  void Attest(size_t person, uint64_t level, int64_t until);
  void Grant(size_t person);
  void SetLimit(uint64_t level, int64_t limit);
  // Whether a lie about who may pay was told instead of a transfer.
  bool LieAboutPaying(size_t from, size_t to);
  bool LieUnderMandate(size_t mandate, size_t from, size_t to, int64_t amount);

  int64_t& Spent(const Uuid& key, const std::string& asset, int64_t time, bool in_all);
  void Spend(size_t person, size_t mandate, const std::string& asset, int64_t time,
             int64_t amount);
  uint64_t LevelOf(const Person& person) const;
  // What this account can send to that one now, within floor, holds and limit; 0: nothing.
  int64_t Sendable(size_t from, size_t to);
  // The same, within the limit of its owner's KYC level alone.
  int64_t LimitLeft(size_t from, size_t to);
  // Whether the agent may act under the mandate, its budgets aside.
  bool InForce(const Mandate& mandate, size_t to) const;
  // The least of what is left of its budgets.
  int64_t BudgetLeft(const Mandate& mandate);
  size_t MandateFor(size_t from, size_t to, int64_t amount, bool ends_hold);

  std::mt19937_64 engine_;
  Lie lie_;
  int64_t lied_at_ = -1;
  crypto::KeyPair log_key_, founder_;
  EventId founded_;
  CooperativeId cooperative_;
  int64_t limits_[3] = {0, 0, 0};  // of KYC levels 1 and 2
  std::map<std::tuple<Uuid, std::string, int64_t>, int64_t> spent_;  // day -1: in all
  std::vector<Mandate> mandates_;
  std::vector<Person> people_;
  std::vector<Account> accounts_;
  std::vector<Posted> posted_;  // that moved value
  std::vector<Posted> holds_;
  std::vector<std::string> leaves_;
  std::string origin_;
  Misstatement misstatement_ = Misstatement::kNone;
  int64_t time_us_ = 0;
};

}  // namespace rochdale::verify
