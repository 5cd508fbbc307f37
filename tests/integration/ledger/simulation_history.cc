// Histories from seeds.
#include <algorithm>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "libs/base/ids.h"
#include "tests/integration/ledger/simulation.h"

namespace rochdale::ledger::testing {
namespace {

constexpr int64_t kFarUs = int64_t{4'000'000'000} * 1'000'000;
constexpr char kAuthorisation[] = "01890000-0000-7000-8000-0000000000aa";

class Maker {
 public:
  Maker(uint64_t seed) : random_(seed) { history_.seed = seed; }

  History Make(int64_t operations) {
    MakeCast();
    while (made_ < operations) {
      Step step = Next();
      step.together = !history_.steps.empty() && step.kind != Step::kClock &&
                      history_.steps.back().kind != Step::kClock && Chance(8) &&
                      TogetherSoFar() < 3;
      // Faults of every kind, each a few dozen times in 10,000 operations.
      if (step.kind != Step::kClock && Chance(3)) {
        step.fault = static_cast<Step::Fault>(1 + Below(6));
        step.after = 1 + Below(Chance(50) ? 12 : 40);
        if (step.together) step.fault = Step::kNone;  // the first of a group has the group's
      }
      made_ += std::max(1, step.operations());
      history_.steps.push_back(std::move(step));
    }
    return std::move(history_);
  }

 private:
  int Below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  bool Chance(int percent) { return Below(100) < percent; }
  template <typename List>
  const auto& OneOf(const List& list) {
    return list[Below(static_cast<int>(std::size(list)))];
  }
  std::string NewId() { return ids_.New(absl::FromUnixSeconds(1'700'000'000)).ToString(); }
  int TogetherSoFar() const {
    int count = 0;
    for (auto s = history_.steps.rbegin(); s != history_.steps.rend() && s->together; ++s) ++count;
    return count;
  }

  struct Known {
    std::string id, asset, owner;
    bool system = false;
  };

  Step OpenStep(std::vector<v1::Account> accounts) {
    Step step;
    step.kind = Step::kOpen;
    step.accounts = std::move(accounts);
    return step;
  }

  v1::Account NewAccount(v1::AccountType type, const std::string& owner, const std::string& asset,
                         bool unlimited = false, int64_t floor = 0) {
    v1::Account account;
    account.set_account_id(NewId());
    account.set_owner_id(owner);
    account.set_type(type);
    account.set_asset(asset);
    account.set_unlimited(unlimited);
    account.set_floor_micro(floor);
    known_.push_back({account.account_id(), asset, owner, type == v1::ACCOUNT_TYPE_SYSTEM});
    opened_.push_back(account);
    return account;
  }

  Fact Attestation(const std::string& person, int level, int64_t expires_us) {
    Fact fact;
    fact.kind = Fact::kKyc;
    fact.event = NewId();
    fact.principal = person;
    fact.level = level;
    fact.expires_us = expires_us;
    return fact;
  }

  // Mostly far away, else within some hours of the history's clock.
  int64_t Expiry() {
    if (Chance(70)) return kFarUs;
    return kStartUs + (elapsed_s_ + 1 + Below(20'000)) * 1'000'000;
  }

  Fact NewLimit() {
    Fact fact;
    fact.kind = Fact::kLimit;
    fact.event = NewId();
    fact.level = 1 + Below(2);
    fact.value = Chance(10) ? "plenty" : std::to_string(1 + Below(200'000'000));
    return fact;
  }

  Fact NewMandate(size_t agent) {
    Fact fact;
    fact.kind = Fact::kMandate;
    fact.event = NewId();
    fact.mandate = NewId();
    fact.agent = history_.agents[agent].first;
    fact.principal = history_.agents[agent].second;
    fact.expires_us = Expiry();
    fact.budget_day = Chance(50) ? 5'000 : 1'000'000;
    fact.budget_total = Chance(50) ? 8'000 : 100'000'000;
    if (Chance(30)) fact.counterparties = {OneOf(known_).id, OneOf(known_).id};
    mandates_.push_back(fact);
    return fact;
  }

  void MakeCast() {
    history_.cooperative = NewId();
    for (int i = 0; i < 6; ++i) history_.people.push_back(NewId());
    for (int i = 0; i < 3; ++i) history_.agents.emplace_back(NewId(), history_.people[i]);
    const std::string& coop = history_.cooperative;
    std::vector<v1::Account> accounts = {
        NewAccount(v1::ACCOUNT_TYPE_SYSTEM, coop, "token", true),
        NewAccount(v1::ACCOUNT_TYPE_SYSTEM, coop, "gpu-second", true)};
    for (int i = 0; i < 4; ++i) {
      const int64_t floor = i == 0 ? -500 : 0;
      accounts.push_back(NewAccount(v1::ACCOUNT_TYPE_SYSTEM, coop, "token", false, floor));
    }
    accounts.push_back(NewAccount(v1::ACCOUNT_TYPE_SYSTEM, coop, "gpu-second"));
    for (const std::string& person : history_.people) {
      accounts.push_back(NewAccount(v1::ACCOUNT_TYPE_PERSON, person, "token"));
      accounts.push_back(NewAccount(v1::ACCOUNT_TYPE_ENTERPRISE, person, "token"));
    }
    accounts.push_back(NewAccount(v1::ACCOUNT_TYPE_PERSON, history_.people[0], "gpu-second"));
    history_.steps.push_back(OpenStep(accounts));
    // The last person is never attested; the one before may move 100 tokens a day.
    Step facts;
    facts.kind = Step::kFacts;
    for (size_t i = 0; i + 1 < history_.people.size(); ++i) {
      facts.facts.push_back(Attestation(history_.people[i], i == 4 ? 1 : i == 3 ? 2 : 3, kFarUs));
    }
    for (size_t i = 0; i < 2; ++i) facts.facts.push_back(NewMandate(i));
    history_.steps.push_back(facts);
  }

  Step Next() {
    const int dice = Below(1000);
    if (dice < 40) return MoreAccounts();
    if (dice < 75) return Change();
    if (dice < 120) return Facts();
    if (dice < 160) return Events();
    if (dice < 240) return Clock();
    return Post();
  }

  Step MoreAccounts() {
    std::vector<v1::Account> accounts;
    for (int i = 1 + Below(4); i > 0; --i) {
      if (Chance(20)) {
        accounts.push_back(OneOf(opened_));
        if (Chance(40)) accounts.back().set_label("another");
      } else if (Chance(50)) {
        accounts.push_back(NewAccount(v1::ACCOUNT_TYPE_PERSON, OneOf(history_.people), "token",
                                      false, Chance(20) ? -Below(300) : 0));
      } else {
        accounts.push_back(NewAccount(v1::ACCOUNT_TYPE_SYSTEM, history_.cooperative, "token"));
      }
    }
    return OpenStep(accounts);
  }

  Step Change() {
    Step step;
    step.kind = Step::kChange;
    // The first accounts stay as they are, or nothing would move after a while.
    const Known& account = known_[std::min<size_t>(
        4 + Below(static_cast<int>(known_.size())), known_.size() - 1)];
    step.change.set_account_id(account.id);
    if (!account.system && Chance(30)) {
      step.asker = {Asker::kPerson, Chance(80) ? account.owner : OneOf(history_.people), ""};
      step.change.set_status(Chance(50) ? v1::ACCOUNT_STATUS_CLOSING : v1::ACCOUNT_STATUS_CLOSED);
      return step;
    }
    if (Chance(70)) {
      step.change.set_status(Chance(55) ? v1::ACCOUNT_STATUS_OPEN
                                        : static_cast<v1::AccountStatus>(2 + Below(3)));
    }
    if (Chance(40)) {
      step.change.set_set_floor(true);
      step.change.set_floor_micro(Below(800) - 500);
    }
    if (step.change.status() == 0 && !step.change.set_floor()) {
      step.change.set_status(v1::ACCOUNT_STATUS_OPEN);
    }
    return step;
  }

  Step Facts() {
    Step step;
    step.kind = Step::kFacts;
    for (int i = 1 + Below(2); i > 0; --i) {
      Fact fact;
      fact.event = NewId();
      fact.agent = OneOf(history_.agents).first;
      switch (Below(7)) {
        case 0: case 1:
          fact = Attestation(history_.people[Below(5)], 1 + Below(3), Expiry());
          break;
        case 6: fact = NewLimit(); break;
        case 2: fact = NewMandate(static_cast<size_t>(Below(3))); break;
        case 3:
          fact.kind = Fact::kRevoke;
          fact.mandate = OneOf(mandates_).mandate;
          break;
        case 4: fact.kind = Chance(40) ? Fact::kPause : Fact::kResume; break;
        case 5: fact.kind = Fact::kResume; break;
      }
      step.facts.push_back(fact);
    }
    return step;
  }

  Step Events() {
    Step step;
    step.kind = Step::kEvents;
    for (int i = 1 + Below(5); i > 0; --i) {
      if (!events_.empty() && Chance(25)) {
        step.events.emplace_back(OneOf(events_).first, Chance(70) ? 0 : 1);
      } else {
        step.events.emplace_back(NewId(), 0);
        events_.push_back(step.events.back());
      }
    }
    // Transfers and events have ids of their own: one may be both.
    if (!transfers_.empty() && Chance(10)) {
      step.events.emplace_back(OneOf(transfers_).second.transfer_id(), 0);
    }
    return step;
  }

  Step Clock() {
    Step step;
    step.kind = Step::kClock;
    step.seconds = Chance(15)   ? -(1 + Below(3'600))
                   : Chance(10) ? 86'400
                   : Chance(50) ? 1 + Below(20)
                                : 1 + Below(400);
    step.silent = step.seconds > 0 && Chance(12);
    elapsed_s_ = std::max<int64_t>(0, elapsed_s_ + step.seconds);
    return step;
  }

  std::string TokenAccount() {
    for (int i = 0; i < 20; ++i) {
      const Known& known = OneOf(known_);
      if (known.asset == "token") return known.id;
    }
    return known_[0].id;
  }

  const Known& AccountOf(const std::string& person) {
    for (int i = 0; i < 60; ++i) {
      const Known& known = OneOf(known_);
      if (!known.system && known.owner == person) return known;
    }
    return known_[2];
  }

  int64_t Amount(const Asker& asker) {
    if (asker.kind == Asker::kPerson && Chance(8)) return int64_t{1'000'000} * (1 + Below(60));
    return 1 + Below(Chance(20) ? 2'000 : 100);
  }

  v1::Transfer NewTransfer(const Asker& asker) {
    static constexpr v1::TransferKind kServices[] = {
        v1::TRANSFER_KIND_REWARD, v1::TRANSFER_KIND_FEE,      v1::TRANSFER_KIND_ESCROW,
        v1::TRANSFER_KIND_REFUND, v1::TRANSFER_KIND_EMISSION, v1::TRANSFER_KIND_REVENUE};
    static constexpr v1::TransferKind kPeople[] = {v1::TRANSFER_KIND_TRADE,
                                                   v1::TRANSFER_KIND_SPEND, v1::TRANSFER_KIND_FEE,
                                                   v1::TRANSFER_KIND_BURN};
    v1::Transfer transfer;
    transfer.set_transfer_id(NewId());
    transfer.set_credit_account_id(TokenAccount());
    transfer.set_amount_micro(Amount(asker));
    if (asker.kind == Asker::kService) {
      transfer.set_kind(OneOf(kServices));
      // The unlimited account pays often, so that there is money; sometimes a lot.
      transfer.set_debit_account_id(Chance(45) ? known_[0].id : known_[2 + Below(4)].id);
      if (Chance(10)) {
        transfer.set_debit_account_id(known_[0].id);
        transfer.set_amount_micro(int64_t{1'000'000} * (1 + Below(200)));
      }
      if (Chance(3)) {
        transfer.set_debit_account_id(known_[1].id);
        transfer.set_credit_account_id(known_[6].id);
      }
    } else {
      transfer.set_kind(OneOf(kPeople));
      transfer.set_debit_account_id(AccountOf(asker.principal).id);
    }
    if (Chance(10)) transfer.set_code(static_cast<uint32_t>(Below(65'536)));
    if (Chance(10)) transfer.set_reference(absl::StrCat("for ", Below(10)));
    Spoil(transfer);
    return transfer;
  }

  // What should not be, now and then.
  void Spoil(v1::Transfer& transfer) {
    switch (Below(120)) {
      case 0: transfer.set_debit_account_id(NewId()); break;
      case 1: transfer.set_credit_account_id(NewId()); break;
      case 2: transfer.set_credit_account_id(transfer.debit_account_id()); break;
      case 3: transfer.set_credit_account_id(known_[6].id); break;
      case 4: transfer.set_debit_account_id(OneOf(known_).id); break;
      case 5: transfer.set_kind(v1::TRANSFER_KIND_MINT); break;
      case 6: transfer.set_amount_micro(std::numeric_limits<int64_t>::max() - Below(10)); break;
    }
  }

  v1::Transfer EndOfHold() {
    // Mostly one of the last.
    const int kept = static_cast<int>(holds_.size());
    const int back = Below(Chance(70) ? std::min(20, kept) : kept);
    const v1::Transfer& hold = holds_[static_cast<size_t>(kept - 1 - back)];
    v1::Transfer transfer;
    transfer.set_transfer_id(NewId());
    transfer.set_pending_id(Chance(96) ? hold.transfer_id()
                            : Chance(50) && !transfers_.empty()
                                ? OneOf(transfers_).second.transfer_id()
                                : NewId());
    transfer.set_phase(Chance(65) ? v1::TRANSFER_PHASE_POST : v1::TRANSFER_PHASE_VOID);
    if (transfer.phase() == v1::TRANSFER_PHASE_POST && Chance(60)) {
      transfer.set_amount_micro(std::max<int64_t>(1, hold.amount_micro() - Below(40) + 2));
    }
    if (Chance(15)) {
      transfer.set_debit_account_id(hold.debit_account_id());
      transfer.set_credit_account_id(Chance(80) ? hold.credit_account_id() : known_[2].id);
      transfer.set_kind(hold.kind());
    }
    return transfer;
  }

  v1::Transfer Correction() {
    const v1::Transfer& wrong = OneOf(transfers_).second;
    v1::Transfer transfer;
    transfer.set_transfer_id(NewId());
    transfer.set_debit_account_id(wrong.credit_account_id());
    transfer.set_credit_account_id(wrong.debit_account_id());
    transfer.set_kind(v1::TRANSFER_KIND_REFUND);
    transfer.set_amount_micro(Chance(60) ? std::max<int64_t>(1, wrong.amount_micro())
                                         : 1 + Below(100));
    transfer.set_corrects(Chance(97) ? wrong.transfer_id() : NewId());
    if (transfer.debit_account_id().empty()) transfer.set_debit_account_id(known_[3].id);
    if (transfer.credit_account_id().empty()) transfer.set_credit_account_id(known_[0].id);
    return transfer;
  }

  Step Post() {
    Step step;
    step.kind = Step::kPost;
    const int dice = Below(100);
    if (dice < 14) {
      step.asker = {Asker::kPerson, OneOf(history_.people), ""};
    } else if (dice < 21) {
      const auto& [agent, principal] = OneOf(history_.agents);
      step.asker = {Asker::kAgent, principal, agent};
    }
    int count = 1 + Below(Chance(50) ? 6 : 250);
    if (step.asker.kind == Asker::kService && Chance(4)) count = 2'000;
    if (step.asker.kind != Asker::kService) count = std::min(count, 60);
    int chain = 0;
    for (int i = 0; i < count; ++i) {
      v1::Transfer transfer = Pick(step);
      if (chain == 0 && Chance(4)) chain = 1 + Below(4);
      // Repeated ones stay as they were, or they would all be different.
      if (chain > 0 && !repeated_) {
        transfer.set_linked(true);
        --chain;
      }
      // All but one chain in a hundred end before the call does.
      if (i + 1 == count && !repeated_ && Chance(99)) transfer.set_linked(false);
      if (step.asker.kind == Asker::kService) {
        transfer.mutable_authorised_by()->set_event_id(kAuthorisation);
      } else {
        transfer.clear_authorised_by();
      }
      if (!repeated_) Remember(step.asker, transfer);
      step.transfers.push_back(std::move(transfer));
    }
    return step;
  }

  v1::Transfer Pick(const Step& step) {
    repeated_ = true;
    const int dice = Below(100);
    if (dice < 3 && !step.transfers.empty()) return OneOf(step.transfers);
    if (dice < 10 && !transfers_.empty()) {
      const auto& [asker, transfer] = OneOf(transfers_);
      if (asker.kind == step.asker.kind && asker.principal == step.asker.principal) return transfer;
    }
    if (dice < 13 && !transfers_.empty()) {
      v1::Transfer transfer = OneOf(transfers_).second;
      switch (Below(4)) {
        case 0: transfer.set_amount_micro(1 + Below(200)); break;
        case 1: transfer.set_code(7); break;
        case 2: transfer.set_reference("changed"); break;
        case 3: transfer.set_kind(v1::TRANSFER_KIND_FEE); break;
      }
      if (transfer.phase() == v1::TRANSFER_PHASE_VOID) transfer.clear_amount_micro();
      return transfer;
    }
    repeated_ = false;
    if (dice < 24 && !holds_.empty()) return EndOfHold();
    if (dice < 30 && !transfers_.empty()) return Correction();
    v1::Transfer transfer = NewTransfer(step.asker);
    if (dice < 44) {
      transfer.set_phase(v1::TRANSFER_PHASE_PENDING);
      transfer.set_timeout_s(1 + Below(Chance(30) ? 86'400 : 300));
    }
    if (Chance(8)) transfer.set_balancing(true);
    return transfer;
  }

  void Remember(const Asker& asker, const v1::Transfer& transfer) {
    constexpr size_t kKept = 400;
    auto keep = [&](auto& list, auto value) {
      if (list.size() < kKept) {
        list.push_back(std::move(value));
      } else {
        list[random_() % kKept] = std::move(value);
      }
    };
    keep(transfers_, std::make_pair(asker, transfer));
    if (transfer.phase() == v1::TRANSFER_PHASE_PENDING) keep(holds_, transfer);
  }

  std::mt19937_64 random_;
  SeededIdSource ids_{random_()};
  History history_;
  int64_t made_ = 0;
  int64_t elapsed_s_ = 0;  // of the history's clock
  bool repeated_ = false;
  std::vector<Known> known_;
  std::vector<v1::Account> opened_;
  std::vector<Fact> mandates_;
  std::vector<std::pair<std::string, int>> events_;
  std::vector<std::pair<Asker, v1::Transfer>> transfers_;
  std::vector<v1::Transfer> holds_;
};

}  // namespace

int Step::operations() const {
  switch (kind) {
    case kOpen: return static_cast<int>(accounts.size());
    case kPost: return static_cast<int>(transfers.size());
    case kFacts: return static_cast<int>(facts.size());
    case kEvents: return static_cast<int>(events.size());
    default: return 1;
  }
}

int64_t History::operations() const {
  int64_t sum = 0;
  for (const Step& step : steps) sum += step.operations();
  return sum;
}

History MakeHistory(uint64_t seed, int64_t operations) { return Maker(seed).Make(operations); }

}  // namespace rochdale::ledger::testing
