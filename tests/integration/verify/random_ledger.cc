#include "tests/integration/verify/random_ledger.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tile.h"

namespace rochdale::verify {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

namespace {

constexpr char kOrigin[] = "random.example.org/log";
constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kBegin = 1'760'000'000'000'000;
constexpr uint64_t kMint = 12;

crypto::KeyPair KeyOf(const std::string& name) {
  return crypto::KeyPair::FromSeed(crypto::Sha256(absl::StrCat("key of ", name)).bytes);
}

EventId EventOf(const Uuid& transfer) {
  return {crypto::DeterministicIdBeside("ledger/transfer-posted", transfer)};
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::cerr << "random ledger: " << value.status() << "\n";
  std::abort();
}

}  // namespace

RandomLedger::RandomLedger(uint64_t seed, int operations, Lie lie)
    : engine_(seed), lie_(lie), log_key_(KeyOf("log")), founder_(KeyOf("founder")) {
  time_us_ = kBegin;
  origin_ = kOrigin;
  Begin();
  for (int i = 0; i < operations && (lie == Lie::kNone || lied_at_ < 0); ++i) Operate();
}

crypto::NoteKey RandomLedger::origin() const {
  return {origin_, crypto::NoteAlgorithm::kEd25519, log_key_.public_key()};
}

std::map<std::string, RandomLedger::Totals> RandomLedger::totals() const {
  std::map<std::string, Totals> totals;
  for (const Account& account : accounts_) totals[account.id.ToString()] = account.totals;
  return totals;
}

Uuid RandomLedger::NewId() {
  return crypto::DeterministicId("random-ledger", absl::StrCat(engine_()));
}

bool RandomLedger::Tell(Lie lie) {
  if (lie_ != lie || lied_at_ >= 0 || leaves_.size() < 40) return false;
  lied_at_ = static_cast<int64_t>(leaves_.size());
  return true;
}

void RandomLedger::Append(crypto::EntryBuilder& builder) {
  leaves_.push_back(Must(builder.BuildBytes()));
}

crypto::SignedDocument RandomLedger::Order(const crypto::KeyPair& key) {
  return Must(crypto::SignDocument(key, "rochdale.ledger.v1.TransferOrder", "{}"));
}

void RandomLedger::Begin() {
  const absl::Time now = absl::FromUnixMicros(time_us_);
  crypto::EntryBuilder started(kind::kLogStarted, {NewId()}, now);
  Append(started.Bytes(tag::kRegisteredKey, log_key_.public_key().AsBytes())
             .Text(tag::kOrigin, kOrigin));
  cooperative_ = {NewId()};
  founded_ = {NewId()};
  crypto::EntryBuilder founded(kind::kCooperativeFounded, founded_, now);
  Append(founded.Cooperative(cooperative_).Subject(cooperative_).U64(tag::kRulesVersion, 1)
             .Document(Must(crypto::SignDocument(founder_, "rochdale.governance.v1.Genesis",
                                                 "{}"))));
  for (size_t i = 0; i < 4; ++i) {
    const std::string name = absl::StrCat("person ", i);
    Person person{NewId(), NewId(), KeyOf(name), KeyOf(absl::StrCat("agent of ", name)),
                  {NewId()}};
    crypto::EntryBuilder registered(kind::kPrincipalRegistered, person.registered, now);
    Append(registered.Subject(person.principal)
               .Bytes(tag::kRegisteredKey, person.key.public_key().AsBytes())
               .U64(tag::kPrincipalType, 1)
               .Document(Must(crypto::SignDocument(
                   person.key, "rochdale.governance.v1.PrincipalRegistration", "{}"))));
    crypto::EntryBuilder agent(kind::kAgentRegistered, {NewId()}, now);
    Append(agent.Subject(person.agent).AuthorisedBy(person.registered)
               .Id(tag::kPrincipal, person.principal)
               .Bytes(tag::kRegisteredKey, person.agent_key.public_key().AsBytes())
               .Document(Must(crypto::SignDocument(
                   person.key, "rochdale.governance.v1.AgentRegistration", "{}"))));
    people_.push_back(person);
    Attest(i, 3, 2 * time_us_);
  }
  SetLimit(1, 900);
  SetLimit(2, 2'500);
  for (const char* asset : {"token", "gpu-second"}) {
    const size_t supply = accounts_.size();
    OpenAccount(true, 0, asset, std::numeric_limits<int64_t>::min());
    OpenAccount(true, 0, asset, 0);
    OpenAccount(true, 0, asset, -5'000);
    for (size_t i = 0; i < people_.size(); ++i) OpenAccount(false, i, asset, i == 3 ? -100 : 0);
    for (size_t to = supply + 1; to < accounts_.size(); ++to) {
      Post(supply, to, 100 + static_cast<int64_t>(Below(2'000)), {.kind = kMint});
    }
  }
  for (size_t i = 0; i < people_.size(); ++i) Grant(i);
}

void RandomLedger::OpenAccount(bool system, size_t owner, const std::string& asset,
                               int64_t floor) {
  Account account{NewId(), owner, system, asset, floor};
  account.totals.asset = asset;
  crypto::EntryBuilder opened(kind::kAccountOpened, {NewId()}, absl::FromUnixMicros(time_us_));
  opened.Subject(account.id).AuthorisedBy(system ? founded_ : people_[owner].registered)
      .U64(tag::kAccountType, system ? 4 : 1).Text(tag::kAsset, asset).I64(tag::kFloor, floor);
  if (!system) opened.Id(tag::kPrincipal, people_[owner].principal);
  Append(opened);
  accounts_.push_back(account);
}

Uuid RandomLedger::Post(size_t debit, size_t credit, int64_t amount, const Form& form) {
  const Uuid id = form.id.IsZero() ? NewId() : form.id;
  const int64_t time = Tell(Lie::kTimeGoesBack) ? kBegin - 1 : time_us_;
  crypto::EntryBuilder posted(kind::kTransferPosted, EventOf(Tell(Lie::kOtherEvent) ? NewId() : id),
                              absl::FromUnixMicros(time));
  posted.Subject(id).Id(tag::kDebitAccount, accounts_[debit].id)
      .Id(tag::kCreditAccount, accounts_[credit].id)
      .U64(tag::kAmount, static_cast<uint64_t>(amount)).U64(tag::kTransferKind, form.kind);
  const bool moves = form.phase == 0 || form.phase == 2;
  posted.I64(tag::kDebitBalance, accounts_[debit].balance() - (moves ? amount : 0) +
                                     (Tell(Lie::kWrongBalance) ? 1 : 0))
      .I64(tag::kCreditBalance, accounts_[credit].balance() + (moves ? amount : 0));
  if (form.phase != 0) posted.U64(tag::kPhase, form.phase);
  if (form.expires != 0) posted.I64(tag::kExpiresUs, form.expires);
  if (form.requested != 0) {
    posted.U64(tag::kRequestedAmount, static_cast<uint64_t>(form.requested));
  }
  if (!form.pending.IsZero()) posted.Id(tag::kPendingTransfer, form.pending);
  if (!form.corrects.IsZero()) posted.Id(tag::kCorrects, form.corrects);
  if (form.linked) posted.U64(tag::kLinked, 1);
  if (Below(3) == 0) posted.U64(tag::kCode, 1 + Below(65'535));
  if (Below(3) == 0) posted.Bytes(tag::kReference, absl::StrCat("number ", leaves_.size()));
  // Who asks: a service for the system's accounts, else the owner or its agent.
  const bool receiver = form.phase == 3 && Below(2) == 0;
  const size_t payer = receiver ? credit : debit;
  const bool ends_hold = form.phase > 1;
  size_t spender = kNone, mandate = kNone;
  if (accounts_[payer].system) {
    posted.AuthorisedBy(founded_);
  } else {
    const size_t owner = accounts_[payer].owner;
    const bool strange = !receiver && Tell(Lie::kStrangersOrder);
    const Person& person = people_[strange ? (owner + 1) % people_.size() : owner];
    posted.Id(tag::kPrincipal, person.principal);
    mandate = form.mandate;
    if (mandate == kNone && !receiver && !strange && !form.by_owner && Below(2) == 0) {
      mandate = MandateFor(debit, credit, amount, ends_hold);
    }
    if (mandate != kNone) {
      const Mandate& under = mandates_[mandate];
      Uuid id = under.id;
      if (form.mandate == kNone && Tell(Lie::kStrangersMandate)) {
        for (const Mandate& other : mandates_) {
          if (other.person != under.person) id = other.id;
        }
      }
      posted.Id(tag::kAgent, person.agent).Document(Order(person.agent_key)).Id(tag::kMandate, id)
          .AuthorisedBy(under.granted);
    } else {
      posted.Document(Order(person.key))
          .AuthorisedBy(Tell(Lie::kOtherAuthor) ? founded_ : person.registered);
    }
    if (!ends_hold && (accounts_[credit].system || accounts_[credit].owner != owner)) {
      spender = owner;
    }
  }
  Append(posted);
  const bool holds = form.phase == 1;
  if (holds) accounts_[debit].totals.held += amount;
  if (!holds && form.phase != 3) {
    accounts_[debit].totals.debits += amount;
    accounts_[credit].totals.credits += amount;
  }
  if (form.phase != 3) {
    (holds ? holds_ : posted_)
        .push_back({id, debit, credit, amount, 0, form.expires, form.kind, holds ? 1u : 0u,
                    !form.corrects.IsZero(), time, spender, mandate});
  }
  if (!ends_hold) Spend(spender, mandate, accounts_[debit].totals.asset, time, amount);
  return id;
}

bool RandomLedger::MayPay(size_t account) const {
  const uint64_t status = accounts_[account].status;
  return (status == 1 || status == 3) &&
         accounts_[account].floor != std::numeric_limits<int64_t>::min();
}

size_t RandomLedger::AnyAccount() { return Below(accounts_.size()); }

size_t RandomLedger::Counterparty(size_t from) {
  for (int i = 0; i < 40; ++i) {
    const size_t to = AnyAccount();
    if (to != from && accounts_[to].asset == accounts_[from].asset && accounts_[to].status == 1) {
      return to;
    }
  }
  return from;
}

void RandomLedger::Operate() {
  time_us_ += static_cast<int64_t>(Below(10) == 0 ? Below(7'200) * kSecond : Below(3) * 1'000);
  switch (Below(13)) {
    case 0: case 1: case 2: case 3: return Transfer();
    case 4: case 5: return Hold();
    case 6: case 7: return EndHold();
    case 8: return Chain();
    case 9: return Correct();
    case 10: return Change();
    case 11: return Govern();
    default: return Expire();
  }
}

void RandomLedger::Transfer() {
  const size_t from = AnyAccount(), to = Counterparty(from);
  Account& payer = accounts_[from];
  if (to == from) return;
  if (payer.status == 2 && Sendable(from, to) > 0 && Tell(Lie::kMovesFromFrozen)) {
    Post(from, to, 1, {});
    return;
  }
  if (!MayPay(from)) {
    if (payer.floor == std::numeric_limits<int64_t>::min() && Tell(Lie::kMintsLater)) {
      Post(from, to, 5, {.kind = 9});
    }
    return;
  }
  if (LieAboutPaying(from, to)) return;
  const int64_t free = payer.free(), most = Sendable(from, to);
  if (most < 1) return;
  const auto amount = static_cast<int64_t>(1 + Below(static_cast<uint64_t>(most)));
  for (size_t other = 0; other < accounts_.size(); ++other) {
    const Account& a = accounts_[other];
    if (other == from) continue;
    if (a.status == 3 && a.asset == payer.asset && Tell(Lie::kPaysClosing)) {
      Post(from, other, 1, {});
      return;
    }
    if (a.status == 1 && a.asset != payer.asset && Tell(Lie::kMixesAssets)) {
      Post(from, other, 1, {});
      return;
    }
  }
  if (free == most && Tell(Lie::kOverdraft)) {
    Post(from, to, free + 1, {});
  } else if (!posted_.empty() && Tell(Lie::kRepeatsTransfer)) {
    Post(from, to, 1, {.id = posted_.back().id});
  } else if (Below(3) == 0) {
    const auto asked = static_cast<int64_t>(1 + Below(2 * static_cast<uint64_t>(free)));
    const int64_t moved = std::min(asked, free);
    if (moved > most) return;
    const bool lies = moved > 1 && Tell(Lie::kBalancesTooLittle);
    Post(from, to, moved - (lies ? 1 : 0), {.kind = 4, .requested = asked});
  } else {
    Post(from, to, amount, {.kind = 2 + 2 * Below(2)});
  }
}

void RandomLedger::Hold() {
  const size_t from = AnyAccount(), to = Counterparty(from);
  if (to == from || !MayPay(from) || Sendable(from, to) < 1) return;
  const auto amount =
      static_cast<int64_t>(1 + Below(static_cast<uint64_t>(Sendable(from, to))));
  const int64_t lasts = static_cast<int64_t>(1 + Below(20'000)) * kSecond;
  const bool lies = Tell(Lie::kHoldsTooLong);
  Post(from, to, amount,
       {.kind = 6, .phase = 1,
        .expires = time_us_ + (lies ? 31'536'001 * kSecond : lasts)});
}

void RandomLedger::EndHold() {
  for (Posted& hold : holds_) {
    if (hold.state == 4 && MayPay(hold.debit) && accounts_[hold.credit].status == 1 &&
        Tell(Lie::kPostsLate)) {
      Post(hold.debit, hold.credit, 1, {.kind = hold.kind, .phase = 2, .pending = hold.id});
      return;
    }
    if (hold.state == 2 && Tell(Lie::kPostsTwice)) {
      Post(hold.debit, hold.credit, 1, {.kind = hold.kind, .phase = 2, .pending = hold.id});
      return;
    }
  }
  for (size_t i = 0; i < holds_.size(); ++i) {
    Posted& hold = holds_[i];
    if (hold.state != 1 || Below(2) == 0) continue;
    const bool moves = MayPay(hold.debit) && accounts_[hold.credit].status == 1;
    const bool voids = !moves || Below(3) == 0;
    int64_t amount = voids ? hold.amount
                           : static_cast<int64_t>(1 + Below(static_cast<uint64_t>(hold.amount)));
    if (voids && Tell(Lie::kVoidsAnotherAmount)) ++amount;
    if (!voids && Tell(Lie::kPostsTooMuch)) amount = hold.amount + 1;
    size_t debit = hold.debit;
    if (Tell(Lie::kOtherAccounts)) {
      do debit = AnyAccount();
      while (debit == hold.debit || debit == hold.credit);
    }
    hold.state = voids ? 3 : 2;
    accounts_[hold.debit].totals.held -= hold.amount;
    Spend(hold.spender, hold.mandate, accounts_[hold.debit].totals.asset, hold.opened,
          (voids ? 0 : amount) - hold.amount);
    Post(debit, hold.credit, amount,
         {.kind = hold.kind, .phase = voids ? 3u : 2u, .pending = hold.id});
    return;
  }
}

void RandomLedger::Chain() {
  const size_t a = AnyAccount(), b = Counterparty(a);
  if (a == b || !MayPay(a) || Sendable(a, b) < 1) return;
  // There and back: the second rests on what the first brought.
  const int64_t amount = Sendable(a, b);
  const bool back = MayPay(b) && accounts_[a].status == 1 && accounts_[b].free() + amount >= 1 &&
                    LimitLeft(b, a) >= 1;
  if (!back) return;
  Post(a, b, amount, {.linked = true});
  if (Tell(Lie::kBreaksChain)) {
    OpenAccount(true, 0, "token", 0);
    return;
  }
  Post(b, a, Sendable(b, a), {});
}

void RandomLedger::Correct() {
  if (posted_.empty()) return;
  const size_t i = Below(posted_.size());
  const Posted of = posted_[i];
  if (!MayPay(of.credit) || accounts_[of.debit].status != 1) return;
  const int64_t free = Sendable(of.credit, of.debit);
  if (of.correction) {
    if (free > 0 && Tell(Lie::kCorrectsCorrection)) {
      Post(of.credit, of.debit, 1, {.kind = 8, .corrects = of.id});
    }
    return;
  }
  const int64_t left = of.amount - of.corrected;
  if (free > left && Tell(Lie::kCorrectsTooMuch)) {
    Post(of.credit, of.debit, left + 1, {.kind = 8, .corrects = of.id});
    return;
  }
  if (left > 0 && MayPay(of.debit) && Sendable(of.debit, of.credit) > 0 &&
      accounts_[of.credit].status == 1 && Tell(Lie::kCorrectsTheSameWay)) {
    Post(of.debit, of.credit, 1, {.kind = 8, .corrects = of.id});
    return;
  }
  const int64_t most = std::min(left, free);
  if (most < 1) return;
  const auto amount = static_cast<int64_t>(1 + Below(static_cast<uint64_t>(most)));
  posted_[i].corrected += amount;
  Post(of.credit, of.debit, amount, {.kind = 8, .corrects = of.id});
}

void RandomLedger::Change() {
  Account& account = accounts_[AnyAccount()];
  if (account.status == 4 || account.floor == std::numeric_limits<int64_t>::min()) return;
  const bool empty = account.totals.credits == account.totals.debits && account.totals.held == 0;
  const uint64_t before = account.status;
  uint64_t status = before;
  switch (before) {
    case 1: status = Below(20) == 0 ? 3 : Below(4) == 0 ? 2 : 1; break;
    case 2: status = Below(4) == 0 ? 3 : 1; break;
    default: status = empty ? 4 : 1;
  }
  if (account.status == 3 && !empty && Tell(Lie::kClosesFull)) status = 4;
  const bool thaws = account.status == 2 && status == 1 && !account.system &&
                     Tell(Lie::kOwnerThaws);
  account.version += Tell(Lie::kSkipsVersion) ? 2 : 1;
  account.status = status;
  crypto::EntryBuilder changed(kind::kAccountChanged, {NewId()}, absl::FromUnixMicros(time_us_));
  // Its owner may close an account; the rest is governance's.
  const Person& owner = people_[account.owner];
  const bool closes = (before == 1 && status == 3) || (before == 3 && status == 4);
  const bool owned = !account.system && ((closes && Below(2) == 0) || thaws);
  changed.Subject(account.id).U64(tag::kVersion, account.version).U64(tag::kStatus, status)
      .AuthorisedBy(owned ? owner.registered : founded_);
  if (owned) {
    changed.Document(Must(crypto::SignDocument(owner.key, "rochdale.ledger.v1.AccountOrder",
                                               "{}")));
  }
  if (!owned && Below(4) == 0 && !account.system) {
    account.floor = -static_cast<int64_t>(Below(300));
    changed.I64(tag::kFloor, account.floor);
  }
  Append(changed);
}

void RandomLedger::Expire() {
  for (Posted& hold : holds_) {
    if (hold.state != 1) continue;
    if (hold.expires > time_us_ && !Tell(Lie::kExpiresEarly)) continue;
    hold.state = 4;
    accounts_[hold.debit].totals.held -= hold.amount;
    Spend(hold.spender, hold.mandate, accounts_[hold.debit].totals.asset, hold.opened,
          -hold.amount);
    crypto::EntryBuilder expired(kind::kHoldExpired, {NewId()}, absl::FromUnixMicros(time_us_));
    Append(expired.Subject(hold.id).AuthorisedBy(EventOf(hold.id))
               .Id(tag::kDebitAccount, accounts_[hold.debit].id)
               .Id(tag::kCreditAccount, accounts_[hold.credit].id)
               .U64(tag::kAmount, static_cast<uint64_t>(hold.amount)));
    return;
  }
}

void RandomLedger::Govern() {
  const size_t i = Below(people_.size());
  Person& person = people_[i];
  const auto entry = [&](uint16_t kind, const Uuid& subject) {
    crypto::EntryBuilder builder(kind, {NewId()}, absl::FromUnixMicros(time_us_));
    builder.Subject(subject).AuthorisedBy(person.registered);
    return builder;
  };
  switch (Below(8)) {
    case 0: case 1:
      return Attest(i, Below(12) == 0 ? 0 : 1 + Below(3),
                    time_us_ + static_cast<int64_t>(Below(60'000)) * kSecond);
    case 2: case 3: return Grant(i);
    case 4: {
      const uint64_t level = 1 + Below(2);
      return SetLimit(level, static_cast<int64_t>(level * (200 + Below(1'500))));
    }
    case 5: {
      for (Mandate& mandate : mandates_) {
        if (mandate.person != i || mandate.revoked || Below(2) == 0) continue;
        mandate.revoked = true;
        crypto::EntryBuilder revoked = entry(kind::kMandateRevoked, mandate.id);
        Append(revoked.Document(Must(crypto::SignDocument(
            person.key, "rochdale.governance.v1.MandateRevocation", "{}"))));
      }
      return;
    }
    case 6: {
      person.paused = !person.paused;
      crypto::EntryBuilder changed =
          entry(person.paused ? kind::kAgentPaused : kind::kAgentResumed, person.agent);
      if (person.paused) {
        changed.Text(tag::kReason, "AGENT_PAUSED");
      } else {
        changed.Document(Must(crypto::SignDocument(person.key, "test", "{}")));
      }
      return Append(changed);
    }
    default: {
      person.left = !person.left;
      crypto::EntryBuilder changed = entry(
          person.left ? kind::kMembershipLeft : kind::kMembershipConsented, person.principal);
      if (!person.left) changed.U64(tag::kRulesVersion, 1);
      Append(changed.Cooperative(cooperative_).Document(Must(crypto::SignDocument(
          person.key,
          person.left ? "rochdale.governance.v1.MembershipWithdrawal"
                      : "rochdale.governance.v1.RuleConsent",
          "{}"))));
    }
  }
}

void RandomLedger::Attest(size_t person, uint64_t level, int64_t until) {
  people_[person].level = level;
  people_[person].level_until = until;
  crypto::EntryBuilder attested(kind::kKycAttested, {NewId()}, absl::FromUnixMicros(time_us_));
  Append(attested.Subject(people_[person].principal).AuthorisedBy(founded_)
             .U64(tag::kKycLevel, level).I64(tag::kExpiresUs, until)
             .Document(Must(crypto::SignDocument(
                 founder_, "rochdale.governance.v1.KycAttestation", "{}"))));
}

void RandomLedger::Grant(size_t person) {
  const Person& by = people_[person];
  for (Mandate& earlier : mandates_) {
    if (earlier.person == person && !earlier.revoked) earlier.revoked = earlier.replaced = true;
  }
  Mandate mandate{NewId(), {NewId()}, person};
  mandate.to_spend = Below(6) != 0;
  mandate.from = time_us_ + (Below(4) == 0 ? static_cast<int64_t>(Below(20'000)) * kSecond : 0);
  mandate.until = mandate.from + static_cast<int64_t>(1 + Below(80'000)) * kSecond;
  mandate.day = static_cast<int64_t>(100 + Below(1'500));
  mandate.total = static_cast<int64_t>(100 + Below(2'500));
  std::string only;
  for (size_t i = 0; Below(2) == 0 && i < 3; ++i) {
    mandate.only.push_back(AnyAccount());
    absl::StrAppend(&only, accounts_[mandate.only.back()].id.AsBytes());
  }
  crypto::EntryBuilder granted(kind::kMandateGranted, mandate.granted,
                               absl::FromUnixMicros(time_us_));
  granted.Subject(mandate.id).Cooperative(cooperative_).AuthorisedBy(by.registered)
      .Id(tag::kPrincipal, by.principal).Id(tag::kAgent, by.agent)
      .U64(tag::kActions, mandate.to_spend ? 1 << 2 | 1 << 1 : 1 << 1)
      .I64(tag::kNotBeforeUs, mandate.from).I64(tag::kExpiresUs, mandate.until)
      .U64(tag::kBudgetPerDay, static_cast<uint64_t>(mandate.day))
      .U64(tag::kBudgetTotal, static_cast<uint64_t>(mandate.total))
      .Document(Must(crypto::SignDocument(by.key, "rochdale.governance.v1.Mandate", "{}")));
  if (!only.empty()) granted.Bytes(tag::kCounterparties, only);
  Append(granted);
  mandates_.push_back(std::move(mandate));
}

void RandomLedger::SetLimit(uint64_t level, int64_t limit) {
  limits_[level] = limit;
  crypto::EntryBuilder changed(kind::kParameterChanged, {NewId()},
                               absl::FromUnixMicros(time_us_));
  Append(changed.Subject(cooperative_).Cooperative(cooperative_).AuthorisedBy(founded_)
             .U64(tag::kVersion, leaves_.size())
             .Text(tag::kParameter, absl::StrCat("ledger.kyc_l", level, "_daily_micro"))
             .Text(tag::kValue, absl::StrCat(limit))
             .Document(Must(crypto::SignDocument(
                 founder_, "rochdale.governance.v1.ParameterChange", "{}"))));
}

int64_t& RandomLedger::Spent(const Uuid& key, const std::string& asset, int64_t time,
                             bool in_all) {
  return spent_[{key, asset, in_all ? -1 : time / (86'400 * kSecond)}];
}

void RandomLedger::Spend(size_t person, size_t mandate, const std::string& asset, int64_t time,
                         int64_t amount) {
  if (person != kNone) Spent(people_[person].principal, asset, time, false) += amount;
  if (mandate == kNone) return;
  Spent(mandates_[mandate].id, asset, time, false) += amount;
  Spent(mandates_[mandate].id, asset, time, true) += amount;
}

uint64_t RandomLedger::LevelOf(const Person& person) const {
  return time_us_ < person.level_until ? person.level : 0;
}

int64_t RandomLedger::LimitLeft(size_t from, size_t to) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const Account& payer = accounts_[from];
  if (payer.system) return kMost;
  const Person& person = people_[payer.owner];
  const uint64_t level = LevelOf(person);
  if (level == 0) return 0;
  const bool own = !accounts_[to].system && accounts_[to].owner == payer.owner;
  if (own || level == 3) return kMost;
  return limits_[level] - Spent(person.principal, payer.totals.asset, time_us_, false);
}

int64_t RandomLedger::Sendable(size_t from, size_t to) {
  return std::min(accounts_[from].free(), LimitLeft(from, to));
}

bool RandomLedger::InForce(const Mandate& mandate, size_t to) const {
  const Person& person = people_[mandate.person];
  const bool named = mandate.only.empty() || std::find(mandate.only.begin(), mandate.only.end(),
                                                       to) != mandate.only.end();
  return mandate.to_spend && !mandate.revoked && !person.left && !person.paused && named &&
         mandate.from <= time_us_ && time_us_ < mandate.until;
}

int64_t RandomLedger::BudgetLeft(const Mandate& mandate) {
  return std::min(mandate.day - Spent(mandate.id, "token", time_us_, false),
                  mandate.total - Spent(mandate.id, "token", time_us_, true));
}

size_t RandomLedger::MandateFor(size_t from, size_t to, int64_t amount, bool ends_hold) {
  if (accounts_[from].totals.asset != "token") return kNone;
  for (size_t i = 0; i < mandates_.size(); ++i) {
    if (mandates_[i].person == accounts_[from].owner && InForce(mandates_[i], to) &&
        (ends_hold || amount <= BudgetLeft(mandates_[i]))) {
      return i;
    }
  }
  return kNone;
}

bool RandomLedger::LieAboutPaying(size_t from, size_t to) {
  const Account& payer = accounts_[from];
  if (payer.system || payer.free() < 1) return false;
  const Person& person = people_[payer.owner];
  const int64_t left = LimitLeft(from, to);
  const auto tell = [&](Lie lie, int64_t amount, uint64_t kind) {
    if (!Tell(lie)) return false;
    Post(from, to, amount, {.kind = kind, .by_owner = true});
    return true;
  };
  if (left < payer.free() && left >= 0 && LevelOf(person) > 0 &&
      tell(Lie::kOverLimit, left + 1, 2)) {
    return true;
  }
  if (LevelOf(person) == 0 &&
      tell(person.level == 0 ? Lie::kLevelZero : Lie::kLevelExpired, 1, 2)) {
    return true;
  }
  const int64_t most = Sendable(from, to);
  if (most < 1) return false;
  if (tell(Lie::kServiceKind, 1, 7)) return true;
  for (size_t i = 0; i < mandates_.size(); ++i) {
    if (mandates_[i].person == payer.owner && LieUnderMandate(i, from, to, most)) return true;
  }
  return false;
}

// Only one thing is ever wrong with it.
bool RandomLedger::LieUnderMandate(size_t i, size_t from, size_t to, int64_t most) {
  Mandate mandate = mandates_[i];
  const auto tell = [&](Lie lie, int64_t amount) {
    if (!Tell(lie)) return false;
    Post(from, to, amount, {.mandate = i});
    return true;
  };
  const bool compute = accounts_[from].totals.asset != "token";
  const int64_t day = mandate.day - Spent(mandate.id, "token", time_us_, false);
  const int64_t total = mandate.total - Spent(mandate.id, "token", time_us_, true);
  const bool in_force = InForce(mandate, to);
  if (in_force && compute) return tell(Lie::kMandateForCompute, 1);
  if (compute) return false;
  if (in_force && day < total && day < most && day >= 0) {
    return tell(Lie::kOverDayBudget, day + 1);
  }
  if (in_force && total < day && total < most && total >= 0) {
    return tell(Lie::kOverTotalBudget, total + 1);
  }
  if (in_force || BudgetLeft(mandate) < 1) return false;
  // Which single thing keeps it from being in force?
  Person& person = people_[mandate.person];
  const auto only = [&](auto& value, auto other) {
    const auto kept = value;
    value = other;
    const bool alone = InForce(mandate, to);
    value = kept;
    return alone;
  };
  if (only(mandate.revoked, false)) {
    return tell(mandate.replaced ? Lie::kMandateReplaced : Lie::kMandateRevoked, 1);
  }
  if (time_us_ < mandate.from && only(mandate.from, time_us_)) {
    return tell(Lie::kMandateEarly, 1);
  }
  if (time_us_ >= mandate.until && only(mandate.until, time_us_ + 1)) {
    return tell(Lie::kMandateExpired, 1);
  }
  if (only(mandate.to_spend, true)) return tell(Lie::kMandateNotToSpend, 1);
  if (only(person.left, false)) return tell(Lie::kMandateOfLeaver, 1);
  if (only(person.paused, false)) return tell(Lie::kPausedAgent, 1);
  if (only(mandate.only, std::vector<size_t>{})) return tell(Lie::kMandateForOthers, 1);
  return false;
}

const char* RuleOf(Lie lie) {
  switch (lie) {
    case Lie::kOverdraft: return "floor";
    case Lie::kMovesFromFrozen:
    case Lie::kPaysClosing: return "account-status";
    case Lie::kStrangersOrder: return "owner";
    case Lie::kStrangersMandate:
    case Lie::kMandateNotToSpend: return "mandate";
    case Lie::kOverLimit: return "kyc-limit";
    case Lie::kLevelZero:
    case Lie::kLevelExpired: return "kyc-level";
    case Lie::kOverDayBudget: return "mandate-budget-day";
    case Lie::kOverTotalBudget: return "mandate-budget-total";
    case Lie::kMandateRevoked:
    case Lie::kMandateReplaced:
    case Lie::kMandateOfLeaver: return "mandate-ended";
    case Lie::kMandateEarly:
    case Lie::kMandateExpired: return "mandate-window";
    case Lie::kMandateForOthers: return "mandate-counterparty";
    case Lie::kMandateForCompute: return "mandate-asset";
    case Lie::kPausedAgent: return "agent-paused";
    case Lie::kServiceKind: return "service-kind";
    case Lie::kOtherAuthor: return "allowed-by";
    case Lie::kOwnerThaws: return "account-order";
    default: return "";
  }
}

void RandomLedger::Restart(size_t kept) {
  leaves_.resize(kept);
  crypto::Frontier tree;
  for (const std::string& leaf : leaves_) tree.Append(crypto::LeafHash(leaf));
  crypto::Digest root = tree.Root();
  if (misstatement_ == Misstatement::kRoot) root.bytes[5] ^= 1;
  const std::string previous = misstatement_ == Misstatement::kOrigin ? "other/log" : origin_;
  origin_ += "-2";
  const crypto::KeyPair& signer =
      misstatement_ == Misstatement::kSigner ? people_[0].key : founder_;
  const auto statement =
      Must(crypto::SignDocument(signer, "rochdale.ledger.v1.LogRestart", "{}"));
  crypto::EntryBuilder started(kind::kLogStarted, {NewId()}, absl::FromUnixMicros(2 * kBegin));
  started.Bytes(tag::kRegisteredKey, log_key_.public_key().AsBytes()).Text(tag::kOrigin, origin_)
      .Text(tag::kPreviousOrigin, previous)
      .U64(tag::kPreviousSize, kept + (misstatement_ == Misstatement::kSize ? 1 : 0))
      .Digest(tag::kPreviousRoot, root).Document(statement);
  if (misstatement_ != Misstatement::kUnsigned) {
    started.Bytes(tag::kOperatorSignature,
                  Must(crypto::SignDocument(log_key_, statement.type, "{}")).signature.AsBytes());
  }
  leaves_.insert(leaves_.begin(), Must(started.BuildBytes()));
}

std::map<std::string, std::string> RandomLedger::Files() const {
  std::vector<std::vector<crypto::Digest>> nodes(40);
  crypto::Frontier tree;
  for (const std::string& leaf : leaves_) {
    tree.Append(crypto::LeafHash(leaf), [&](int level, uint64_t, const crypto::Digest& hash) {
      nodes[level].push_back(hash);
    });
  }
  const crypto::NodeReader read = [&](int level, uint64_t index) -> absl::StatusOr<crypto::Digest> {
    return nodes.at(level).at(index);
  };
  std::map<std::string, std::string> files;
  for (const crypto::Tile& tile : crypto::TilesOf(leaves_.size())) {
    files[tile.Path()] =
        tile.entries ? Must(crypto::EntryBundleBytes(absl::MakeConstSpan(leaves_).subspan(
                           tile.index * crypto::kTileWidth, tile.width)))
                     : Must(crypto::HashTileBytes(tile, read));
  }
  for (const size_t size : {leaves_.size() / 2, leaves_.size()}) {
    const crypto::Checkpoint checkpoint{origin_, size, Must(crypto::TreeRoot(size, read))};
    const std::string note =
        crypto::FormatNote(Must(crypto::SignCheckpoint(checkpoint, log_key_)));
    files[absl::StrCat("checkpoints/", size)] = note;
    files["checkpoint"] = note;
  }
  files["origin.vkey"] = origin().ToString() + "\n";
  return files;
}

void RandomLedger::Write(const std::string& folder) const {
  for (const auto& [path, bytes] : Files()) {
    const std::filesystem::path target = std::filesystem::path(folder) / path;
    std::filesystem::create_directories(target.parent_path());
    std::ofstream(target, std::ios::binary) << bytes;
  }
}

}  // namespace rochdale::verify
