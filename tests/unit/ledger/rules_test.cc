#include "services/ledger/rules.h"

#include <catch2/catch.hpp>
#include <limits>
#include <string>
#include <vector>

#include "libs/base/errors.h"

namespace rochdale::ledger {
namespace {

using Result = TransferResult;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

Uuid Numbered(uint8_t n) {
  Uuid id;
  id.bytes[15] = n;
  return id;
}

const PrincipalId kAnn{Numbered(101)};
const PrincipalId kBob{Numbered(102)};

Caller Person(PrincipalId id) { return {false, "", id, {}}; }
Caller Service() { return {true, "payout", {}, {}}; }

void SetBalance(Account& account, int64_t balance) {
  account.credits = balance > 0 ? balance : 0;
  account.debits = balance < 0 ? -balance : 0;
}

Account AccountOf(uint8_t n, Uuid owner, int64_t balance) {
  Account account;
  account.id = {Numbered(n)};
  account.owner = owner;
  account.asset = "token";
  SetBalance(account, balance);
  return account;
}

// Both persons have the level without a limit.
Decision Decide(const Transfer& transfer, const Account* debit, const Account* credit,
                const Caller& caller) {
  Authority authority;
  authority.principals[kAnn] = {{Numbered(230)}, 3, kMax};
  authority.principals[kBob] = {{Numbered(231)}, 3, kMax};
  const auto nothing = [](const Uuid&, const std::string&, bool) { return int64_t{0}; };
  Facts facts{.spent = nothing};
  facts.now_us = 1'700'000'000'000'000;
  facts.debit = debit;
  facts.credit = credit;
  facts.authority = &authority;
  return DecideTransfer(transfer, caller, facts);
}

// One defect of a transfer from Ann's account 1 to Bob's account 2, which is in order without it.
struct Defect {
  Result result;
  void (*apply)(Transfer&, Account& debit, Account& credit, bool& has_debit, bool& has_credit);
};

// In order of precedence.
const std::vector<Defect> kDefects = {
    {Result::kSameAccount,
     [](Transfer& t, Account&, Account&, bool&, bool&) { t.credit = t.debit; }},
    {Result::kDebitAccountNotFound,
     [](Transfer&, Account&, Account&, bool& debit, bool&) { debit = false; }},
    {Result::kCreditAccountNotFound,
     [](Transfer&, Account&, Account&, bool&, bool& credit) { credit = false; }},
    {Result::kAssetMismatch,
     [](Transfer&, Account&, Account& credit, bool&, bool&) { credit.asset = "gpu-second"; }},
    {Result::kNotAuthorised,
     [](Transfer&, Account& debit, Account&, bool&, bool&) { debit.owner = kBob.value; }},
    {Result::kDebitAccountNotOpen,
     [](Transfer&, Account& debit, Account&, bool&, bool&) {
       debit.status = AccountStatus::kFrozen;
     }},
    {Result::kCreditAccountNotOpen,
     [](Transfer&, Account&, Account& credit, bool&, bool&) {
       credit.status = AccountStatus::kClosing;
     }},
    {Result::kInsufficientFunds,
     [](Transfer& t, Account& debit, Account&, bool&, bool&) { SetBalance(debit, t.amount - 1); }},
    {Result::kOverflow,
     [](Transfer&, Account&, Account& credit, bool&, bool&) { credit.credits = kMax; }},
};

TEST_CASE("every set of defects gives the first result of the documented order", "[ledger]") {
  for (unsigned mask = 0; mask < 1u << kDefects.size(); ++mask) {
    Transfer transfer;
    transfer.id = {Numbered(9)};
    transfer.debit = {Numbered(1)};
    transfer.credit = {Numbered(2)};
    transfer.amount = 50;
    Account debit = AccountOf(1, kAnn.value, 100), credit = AccountOf(2, kBob.value, 0);
    bool has_debit = true, has_credit = true;
    Result expected = Result::kPosted;
    for (size_t i = kDefects.size(); i-- > 0;) {
      if ((mask >> i & 1) == 0) continue;
      kDefects[i].apply(transfer, debit, credit, has_debit, has_credit);
      expected = kDefects[i].result;
    }
    const Decision decision = Decide(transfer, has_debit ? &debit : nullptr,
                                     has_credit ? &credit : nullptr, Person(kAnn));
    CAPTURE(mask, decision.message);
    REQUIRE(decision.result == expected);
    REQUIRE(decision.message.empty() == (expected == Result::kPosted));
  }
}

TEST_CASE("funds are counted with holds, floors and at the ends of 64 bits", "[ledger]") {
  struct Row {
    const char* name;
    int64_t balance, held;
    std::optional<int64_t> floor;
    int64_t amount;
    Result result;
  };
  const Row rows[] = {
      {"the whole balance", 100, 0, 0, 100, Result::kPosted},
      {"one more", 100, 0, 0, 101, Result::kInsufficientFunds},
      {"beside a hold", 100, 40, 0, 60, Result::kPosted},
      {"a hold is not money", 100, 40, 0, 61, Result::kInsufficientFunds},
      {"down to a credit line", 0, 0, -500, 500, Result::kPosted},
      {"beyond a credit line", 0, 0, -500, 501, Result::kInsufficientFunds},
      {"above a least balance", 100, 0, 30, 70, Result::kPosted},
      {"into a least balance", 100, 0, 30, 71, Result::kInsufficientFunds},
      {"unlimited", 0, 0, std::nullopt, kMax, Result::kPosted},
      {"unlimited, below 64 bits", -2, 0, std::nullopt, kMax, Result::kOverflow},
      {"all holds and all money", kMax, kMax, 0, 1, Result::kInsufficientFunds},
      {"difference beyond 64 bits", -1, kMax, kMin, kMax, Result::kInsufficientFunds},
      {"to the end of the lifetime total", 1 - kMax, 0, kMin, 1, Result::kPosted},
      {"beyond it", -kMax, 0, kMin, 1, Result::kOverflow},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    Account debit = AccountOf(1, kAnn.value, row.balance), credit = AccountOf(2, kBob.value, 0);
    debit.held = row.held;
    debit.floor = row.floor;
    Transfer transfer;
    transfer.debit = debit.id;
    transfer.credit = credit.id;
    transfer.amount = row.amount;
    CHECK(Decide(transfer, &debit, &credit, Person(kAnn)).result == row.result);
  }
}

TEST_CASE("who may debit what", "[ledger]") {
  struct Row {
    const char* name;
    Caller caller;
    AccountType type;
    PrincipalId owner;
    TransferKind kind;
    bool allowed;
  };
  const Row rows[] = {
      {"own account", Person(kAnn), AccountType::kPerson, kAnn, TransferKind::kRevenue, true},
      {"another's account", Person(kAnn), AccountType::kPerson, kBob, TransferKind::kRevenue,
       false},
      {"a system account", Person(kAnn), AccountType::kSystem, kAnn, TransferKind::kSpend, false},
      {"a service's kind", Person(kAnn), AccountType::kPerson, kAnn, TransferKind::kMint, false},
      {"nobody", Person({}), AccountType::kPerson, {}, TransferKind::kSpend, false},
      {"service, system", Service(), AccountType::kSystem, kAnn, TransferKind::kReward, true},
      {"service, person", Service(), AccountType::kPerson, kAnn, TransferKind::kReward, false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    Account debit = AccountOf(1, row.owner.value, 100), credit = AccountOf(2, kBob.value, 0);
    debit.type = row.type;
    Transfer transfer;
    transfer.debit = debit.id;
    transfer.credit = credit.id;
    transfer.amount = 1;
    transfer.kind = row.kind;
    const Result result = Decide(transfer, &debit, &credit, row.caller).result;
    CHECK(result == (row.allowed ? Result::kPosted : Result::kNotAuthorised));
  }
}

TEST_CASE("closing accounts send, closed and frozen ones do not", "[ledger]") {
  for (const AccountStatus status : {AccountStatus::kOpen, AccountStatus::kFrozen,
                                     AccountStatus::kClosing, AccountStatus::kClosed}) {
    Account debit = AccountOf(1, kAnn.value, 100), credit = AccountOf(2, kBob.value, 100);
    debit.status = status;
    Transfer transfer;
    transfer.debit = debit.id;
    transfer.credit = credit.id;
    transfer.amount = 1;
    const bool sends = status == AccountStatus::kOpen || status == AccountStatus::kClosing;
    CHECK(Decide(transfer, &debit, &credit, Person(kAnn)).result ==
          (sends ? Result::kPosted : Result::kDebitAccountNotOpen));
  }
}

TEST_CASE("a difference names its fields", "[ledger]") {
  PostedTransfer posted;
  posted.transfer.amount = 5;
  posted.transfer.authorised_by = {Numbered(7)};
  Transfer wanted = posted.transfer;
  CHECK(DifferenceOf(posted, wanted, nullptr, Service()).empty());
  wanted.amount = 6;
  wanted.code = 1;
  wanted.reference = "x";
  wanted.linked = true;
  CHECK(DifferenceOf(posted, wanted, nullptr, Service()) ==
        "amount_micro, code, reference, linked");
  wanted = posted.transfer;
  wanted.authorised_by = {};
  CHECK(DifferenceOf(posted, wanted, nullptr, Service()) == "authorised_by");
  CHECK(DifferenceOf(posted, wanted, nullptr, Person(kAnn)).empty());  // the writer set it

  // A balancing one is compared by what was asked for.
  posted.transfer.balancing = wanted.balancing = true;
  posted.requested = 9;
  CHECK(DifferenceOf(posted, wanted, nullptr, Person(kAnn)) == "amount_micro");
  wanted.amount = 9;
  CHECK(DifferenceOf(posted, wanted, nullptr, Person(kAnn)).empty());

  const Account account = AccountOf(1, kAnn.value, 7);
  Account other = account;
  other.credits = 0;  // not what is asked for
  CHECK(DifferenceOf(account, other).empty());
  other.floor = std::nullopt;
  other.label = "x";
  CHECK(DifferenceOf(account, other) == "floor_micro, label");
}

TEST_CASE("who may open what", "[ledger]") {
  Account account = AccountOf(1, kAnn.value, 0);
  CHECK(MayOpen(Person(kAnn), account).ok());
  CHECK(ReasonOf(MayOpen(Person(kBob), account)) == "PERMISSION_DENIED");
  account.floor = -1;
  CHECK(ReasonOf(MayOpen(Person(kAnn), account)) == "PERMISSION_DENIED");
  account.floor = std::nullopt;
  CHECK(ReasonOf(MayOpen(Person(kAnn), account)) == "PERMISSION_DENIED");
  CHECK(MayOpen(Service(), account).ok());
  account.floor = 0;
  account.type = AccountType::kSystem;
  CHECK(ReasonOf(MayOpen(Person(kAnn), account)) == "PERMISSION_DENIED");
  CHECK(MayOpen(Service(), account).ok());
}

}  // namespace
}  // namespace rochdale::ledger
