#include "tests/integration/ledger/auditor.h"

#include <algorithm>

namespace rochdale::ledger::testing {
namespace {

constexpr int64_t kDayUs = int64_t{86'400} * 1'000'000;
constexpr int64_t kInAll = -1;

v1::TransferOutcome OutcomeOf(const std::string& id, v1::TransferResult result) {
  v1::TransferOutcome outcome;
  outcome.set_transfer_id(id);
  outcome.set_result(result);
  return outcome;
}

bool EndsAHold(const v1::Transfer& transfer) {
  return transfer.phase() == v1::TRANSFER_PHASE_POST || transfer.phase() == v1::TRANSFER_PHASE_VOID;
}

bool BelongsTo(const v1::Account& account, const std::string& principal) {
  return account.type() != v1::ACCOUNT_TYPE_SYSTEM && account.owner_id() == principal;
}

}  // namespace

void Auditor::GoBack(size_t mark) {
  while (journal_.size() > mark) {
    const Undo undo = std::move(journal_.back());
    journal_.pop_back();
    undo();
  }
}

int64_t Auditor::TakeIndex() {
  journal_.push_back([this] { --log_size_; });
  return log_size_++;
}

void Auditor::AdvanceTo(int64_t now_us) {
  journal_.push_back([this, old = now_us_] { now_us_ = old; });
  now_us_ = std::max(now_us_, now_us);
  while (!open_holds_.empty() && open_holds_.begin()->first <= now_us_) {
    const std::string id = open_holds_.begin()->second;
    EndHold(id, v1::HOLD_STATE_EXPIRED, 0);
    TakeIndex();  // HOLD_EXPIRED
  }
}

bool Auditor::Open(const std::vector<v1::Account>& accounts) {
  const size_t mark = Mark();
  for (const v1::Account& wanted : accounts) {
    if (const Account* known = accounts_.Find(wanted.account_id()); known != nullptr) {
      const v1::Account& is = known->opened;
      if (is.owner_id() == wanted.owner_id() && is.type() == wanted.type() &&
          is.asset() == wanted.asset() && is.unlimited() == wanted.unlimited() &&
          is.label() == wanted.label() &&
          (is.unlimited() || known->floor == wanted.floor_micro())) {
        continue;
      }
      GoBack(mark);
      return false;
    }
    Account& account = accounts_.Edit(wanted.account_id());
    account.opened = wanted;
    account.floor = wanted.floor_micro();
    TakeIndex();
  }
  return true;
}

std::string Auditor::Change(const Asker& asker, const v1::ChangeAccountRequest& request) {
  const Account* account = accounts_.Find(request.account_id());
  if (account == nullptr) return "ACCOUNT_NOT_FOUND";
  const bool is_service = asker.kind == Asker::kService;
  const v1::AccountStatus from = account->status;
  const v1::AccountStatus to =
      request.status() == v1::ACCOUNT_STATUS_UNSPECIFIED ? from : request.status();
  if (from != to) {
    const bool owners = (from == v1::ACCOUNT_STATUS_OPEN && to == v1::ACCOUNT_STATUS_CLOSING) ||
                        (from == v1::ACCOUNT_STATUS_CLOSING && to == v1::ACCOUNT_STATUS_CLOSED);
    if (!is_service && (!owners || !BelongsTo(account->opened, asker.principal))) {
      return "PERMISSION_DENIED";
    }
    // Nothing comes back from CLOSED, and only CLOSING leads there.
    if (from == v1::ACCOUNT_STATUS_CLOSED ||
        (to == v1::ACCOUNT_STATUS_CLOSED && from != v1::ACCOUNT_STATUS_CLOSING) ||
        (to == v1::ACCOUNT_STATUS_CLOSED && (account->balance() != 0 || account->held != 0))) {
      return "ACCOUNT_TRANSITION_INVALID";
    }
  }
  if (from == to && !(request.set_floor() && request.floor_micro() != account->floor)) return "OK";
  Account& changed = accounts_.Edit(request.account_id());
  changed.status = to;
  if (request.set_floor()) changed.floor = request.floor_micro();
  ++changed.version;
  TakeIndex();
  return "OK";
}

std::optional<std::vector<int64_t>> Auditor::Append(
    const std::vector<std::pair<std::string, std::string>>& entries) {
  const size_t mark = Mark();
  std::vector<int64_t> indexes;
  for (const auto& [id, bytes] : entries) {
    const Event* known = events_.Find(id);
    if (known != nullptr && known->bytes != bytes) {
      GoBack(mark);
      return std::nullopt;
    }
    if (known == nullptr) events_.Edit(id) = {TakeIndex(), bytes};
    indexes.push_back(events_.Find(id)->index);
  }
  return indexes;
}

void Auditor::Learn(const Fact& fact) {
  switch (fact.kind) {
    case Fact::kKyc: kyc_.Edit(fact.principal) = {fact.level, fact.expires_us}; break;
    case Fact::kMandate:
      // The agent's earlier mandate in its cooperative (there is one) ends with the new one.
      if (const auto* earlier = mandates_of_.Find(fact.agent); earlier != nullptr) {
        for (const std::string& id : std::vector<std::string>(*earlier)) {
          mandates_.Edit(id).revoked = true;
        }
      }
      mandates_.Edit(fact.mandate).granted = fact;
      mandates_of_.Edit(fact.agent).push_back(fact.mandate);
      break;
    case Fact::kRevoke:
      if (mandates_.Find(fact.mandate) != nullptr) mandates_.Edit(fact.mandate).revoked = true;
      break;
    case Fact::kLimit: {
      // Text that is no amount within its bounds leaves the default.
      const bool number = fact.value.find_first_not_of("0123456789") == std::string::npos &&
                          fact.value.size() <= 15;
      limits_.Edit(std::to_string(fact.level)) = number ? std::stoll(fact.value) : -1;
      break;
    }
    case Fact::kPause: paused_.Edit(fact.agent) = true; break;
    case Fact::kResume: paused_.Edit(fact.agent) = false; break;
  }
}

std::vector<v1::TransferOutcome> Auditor::Post(const Asker& asker,
                                               const std::vector<v1::Transfer>& transfers) {
  std::vector<v1::TransferOutcome> outcomes;
  outcomes.reserve(transfers.size());
  for (size_t begin = 0; begin < transfers.size();) {
    size_t end = begin;
    while (end < transfers.size() && transfers[end].linked()) ++end;
    const bool open = end == transfers.size();
    if (!open) ++end;
    Chain(asker, &transfers[begin], end - begin, open, outcomes);
    begin = end;
  }
  for (const v1::TransferOutcome& outcome : outcomes) ++counts_[outcome.result()];
  return outcomes;
}

void Auditor::Chain(const Asker& asker, const v1::Transfer* first, size_t count, bool open,
                    std::vector<v1::TransferOutcome>& outcomes) {
  const size_t mark = Mark();
  const size_t begin = outcomes.size();
  size_t failed = count, existed = 0;
  for (size_t i = 0; i < count && failed == count; ++i) {
    outcomes.push_back(One(asker, first[i], open && i + 1 == count));
    const Result result = outcomes.back().result();
    if (result == v1::TRANSFER_RESULT_EXISTS) ++existed;
    if (result != v1::TRANSFER_RESULT_POSTED && result != v1::TRANSFER_RESULT_EXISTS) failed = i;
  }
  const bool mixed = failed == count && existed > 0 && existed < count;
  if (failed == count && !mixed) return;
  GoBack(mark);
  outcomes.resize(begin + std::min(failed + 1, count));
  for (size_t i = begin; i < outcomes.size(); ++i) {
    const std::string& id = first[i - begin].transfer_id();
    // A repetition within the chain repeats what did not happen.
    const bool undone = outcomes[i].result() == v1::TRANSFER_RESULT_EXISTS &&
                        posted_.Find(id) == nullptr;
    if (outcomes[i].result() == v1::TRANSFER_RESULT_POSTED || undone) {
      outcomes[i] = OutcomeOf(id, v1::TRANSFER_RESULT_LINKED_FAILED);
    }
  }
  while (outcomes.size() < begin + count) {
    outcomes.push_back(OutcomeOf(first[outcomes.size() - begin].transfer_id(),
                                 v1::TRANSFER_RESULT_LINKED_FAILED));
  }
  if (failed < count && Burns(outcomes[begin + failed].result()) &&
      fault_ != Fault::kBurnForgotten) {
    burned_.Edit(first[failed].transfer_id()) = true;
  }
}

v1::TransferOutcome Auditor::One(const Asker& asker, const v1::Transfer& transfer,
                                 bool open_chain) {
  if (auto repeated = Repeated(asker, transfer); repeated.has_value()) return *repeated;
  if (open_chain) {
    return OutcomeOf(transfer.transfer_id(), v1::TRANSFER_RESULT_LINKED_CHAIN_OPEN);
  }
  Trying trying;
  trying.asked = &transfer;
  trying.debit = transfer.debit_account_id();
  trying.credit = transfer.credit_account_id();
  trying.kind = transfer.kind();
  trying.amount = transfer.amount_micro();
  const Result result = Decide(asker, trying);
  if (result == v1::TRANSFER_RESULT_POSTED) return Do(asker, trying);
  return OutcomeOf(transfer.transfer_id(), result);
}

std::optional<v1::TransferOutcome> Auditor::Repeated(const Asker& asker,
                                                     const v1::Transfer& transfer) {
  const std::string& id = transfer.transfer_id();
  if (const Posted* posted = posted_.Find(id); posted != nullptr) {
    if (!Same(*posted, asker, transfer)) {
      return OutcomeOf(id, v1::TRANSFER_RESULT_EXISTS_DIFFERENT);
    }
    v1::TransferOutcome outcome = posted->outcome;
    outcome.set_result(v1::TRANSFER_RESULT_EXISTS);
    return outcome;
  }
  if (burned_.Find(id) != nullptr) return OutcomeOf(id, v1::TRANSFER_RESULT_ID_ALREADY_FAILED);
  return std::nullopt;
}

// The content is what was asked for: of a balancing transfer the amount that was asked for. The
// authorisation is a service's to name.
bool Auditor::Same(const Posted& posted, const Asker& asker, const v1::Transfer& transfer) const {
  const v1::Transfer& was = posted.asked;
  // What a step of two leaves out is the hold's.
  const bool ends = EndsAHold(transfer);
  const auto same_account = [&](const std::string& is, const std::string& wanted) {
    return is == wanted || (ends && wanted.empty());
  };
  int64_t amount = transfer.amount_micro();
  if (ends && amount == 0 && posted_.Find(transfer.pending_id()) != nullptr) {
    amount = posted_.Find(transfer.pending_id())->outcome.amount_micro();
  }
  const int64_t was_amount = was.balancing() ? was.amount_micro() : posted.outcome.amount_micro();
  return same_account(posted.debit, transfer.debit_account_id()) &&
         same_account(posted.credit, transfer.credit_account_id()) && was_amount == amount &&
         (posted.kind == transfer.kind() || (ends && transfer.kind() == 0)) &&
         was.code() == transfer.code() && was.reference() == transfer.reference() &&
         was.phase() == transfer.phase() && was.pending_id() == transfer.pending_id() &&
         was.timeout_s() == transfer.timeout_s() && was.linked() == transfer.linked() &&
         was.balancing() == transfer.balancing() && was.corrects() == transfer.corrects() &&
         (asker.kind != Asker::kService ||
          was.authorised_by().event_id() == transfer.authorised_by().event_id());
}

int64_t Auditor::Spent(const std::string& who, const std::string& asset, int64_t day) const {
  const int64_t* spent = spent_.Find(who + "|" + asset + "|" + std::to_string(day));
  return spent == nullptr ? 0 : *spent;
}

void Auditor::Spend(const std::string& who, const std::string& asset, int64_t day,
                    int64_t amount) {
  spent_.Edit(who + "|" + asset + "|" + std::to_string(day)) += amount;
}

v1::TransferOutcome Auditor::Do(const Asker& asker, const Trying& trying) {
  const v1::Transfer& asked = *trying.asked;
  const bool sets_aside = asked.phase() == v1::TRANSFER_PHASE_PENDING;
  const bool moves = !sets_aside && asked.phase() != v1::TRANSFER_PHASE_VOID;
  const int64_t day = now_us_ / kDayUs;
  Posted posted;
  posted.asked = asked;
  posted.by = asker;
  posted.debit = trying.debit;
  posted.credit = trying.credit;
  posted.kind = trying.kind;
  posted.mandate = trying.mandate;
  posted.day = day;
  posted.outflow = trying.outflow;
  if (trying.hold != nullptr) {
    EndHold(asked.pending_id(), moves ? v1::HOLD_STATE_POSTED : v1::HOLD_STATE_VOIDED,
            moves ? trying.amount : 0);
  } else if (asker.kind != Asker::kService) {
    const std::string asset = accounts_.Find(trying.debit)->opened.asset();
    if (trying.outflow) Spend(asker.principal, asset, day, trying.amount);
    if (!trying.mandate.empty()) {
      Spend(trying.mandate, "token", day, trying.amount);
      Spend(trying.mandate, "token", kInAll, trying.amount);
    }
  }
  Account& debit = accounts_.Edit(trying.debit);
  Account& credit = accounts_.Edit(trying.credit);
  if (sets_aside) {
    debit.held += trying.amount;
    posted.state = v1::HOLD_STATE_OPEN;
    posted.expires_us = now_us_ + int64_t{asked.timeout_s()} * 1'000'000;
    const auto open = std::make_pair(posted.expires_us, asked.transfer_id());
    open_holds_.insert(open);
    journal_.push_back([this, open] { open_holds_.erase(open); });
  }
  if (moves) {
    debit.debits += trying.amount;
    credit.credits += trying.amount;
    ++debit.moves;
    ++credit.moves;
  }
  if (!asked.corrects().empty()) posted_.Edit(asked.corrects()).corrected += trying.amount;
  posted.outcome = OutcomeOf(asked.transfer_id(), v1::TRANSFER_RESULT_POSTED);
  posted.outcome.set_amount_micro(trying.amount);
  posted.outcome.set_debit_balance_micro(debit.balance());
  posted.outcome.set_credit_balance_micro(credit.balance());
  posted.outcome.set_log_index(TakeIndex());
  posted_.Edit(asked.transfer_id()) = posted;
  return posted.outcome;
}

// What is not moved no longer counts against the limits of the day on which it was set aside.
void Auditor::EndHold(const std::string& id, v1::HoldState state, int64_t moved) {
  Posted& hold = posted_.Edit(id);
  hold.state = state;
  hold.moved = moved;
  const auto open = std::make_pair(hold.expires_us, id);
  open_holds_.erase(open);
  journal_.push_back([this, open] { open_holds_.insert(open); });
  const int64_t amount = hold.outcome.amount_micro();
  Account& debit = accounts_.Edit(hold.debit);
  debit.held -= amount;
  if (hold.by.kind != Asker::kService) {
    if (hold.outflow) {
      Spend(hold.by.principal, debit.opened.asset(), hold.day, moved - amount);
    }
    if (!hold.mandate.empty()) {
      Spend(hold.mandate, "token", hold.day, moved - amount);
      Spend(hold.mandate, "token", kInAll, moved - amount);
    }
  }
}

}  // namespace rochdale::ledger::testing
