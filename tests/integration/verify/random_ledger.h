// The log of a random ledger: accounts of two assets, transfers of every form, holds, chains,
// corrections, changes of accounts; as a tlog-tiles tree. It is written by keeping the balances in
// the plainest way, so that those who rebuild them have something to be held against; and it can
// tell one lie, which they have to find.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
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
  kEnd,
};

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
    Uuid principal, agent, mandate;
    crypto::KeyPair key, agent_key;
    EventId registered;
  };
  struct Posted {
    Uuid id;
    size_t debit = 0, credit = 0;
    int64_t amount = 0, corrected = 0, expires = 0;
    uint64_t kind = 0;
    uint64_t state = 0;  // of a hold; 0: it moved value
    bool correction = false;
  };
  // What an entry says besides its accounts and amount.
  struct Form {
    uint64_t kind = 2, phase = 0;
    int64_t expires = 0, requested = 0;
    Uuid pending, corrects;
    bool linked = false;
    Uuid id;  // zero: a new one
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

  std::mt19937_64 engine_;
  Lie lie_;
  int64_t lied_at_ = -1;
  crypto::KeyPair log_key_, founder_;
  EventId founded_;
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
