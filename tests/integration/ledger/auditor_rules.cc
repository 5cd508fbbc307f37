// What each transfer is answered: the order of results of ledger.proto, written once more.
#include <algorithm>
#include <limits>

#include "tests/integration/ledger/auditor.h"

namespace rochdale::ledger::testing {
namespace {

constexpr int64_t kDayUs = int64_t{86'400} * 1'000'000;
constexpr int64_t kInAll = -1;
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
// The defaults of ledger.kyc_l1_daily_micro and ledger.kyc_l2_daily_micro: 100 and 10,000 tokens.
constexpr int64_t kDailyL1 = 100'000'000, kDailyL2 = 10'000'000'000;

// The default of ledger.authority_age_max_ms.
constexpr int64_t kKnownFor = int64_t{60} * 1'000'000;

bool IsServiceKind(v1::TransferKind kind) {
  return kind == v1::TRANSFER_KIND_REWARD || kind == v1::TRANSFER_KIND_RELEASE ||
         kind == v1::TRANSFER_KIND_EMISSION || kind == v1::TRANSFER_KIND_SLASH ||
         kind == v1::TRANSFER_KIND_MINT;
}

bool EndsAHold(const v1::Transfer& transfer) {
  return transfer.phase() == v1::TRANSFER_PHASE_POST || transfer.phase() == v1::TRANSFER_PHASE_VOID;
}

bool BelongsTo(const v1::Account& account, const std::string& principal) {
  return account.type() != v1::ACCOUNT_TYPE_SYSTEM && account.owner_id() == principal;
}

}  // namespace

Auditor::Result Auditor::Decide(const Asker& asker, Trying& trying) const {
  const v1::Transfer& asked = *trying.asked;
  if (!trying.debit.empty() && trying.debit == trying.credit) {
    return v1::TRANSFER_RESULT_SAME_ACCOUNT;
  }
  Result result = v1::TRANSFER_RESULT_POSTED;
  const auto next = [&](Result decided) {
    result = decided;
    return result != v1::TRANSFER_RESULT_POSTED;
  };
  if (EndsAHold(asked) && next(DecidePending(trying))) return result;
  const Account* debit = accounts_.Find(trying.debit);
  if (debit == nullptr) return v1::TRANSFER_RESULT_DEBIT_ACCOUNT_NOT_FOUND;
  const Account* credit = accounts_.Find(trying.credit);
  if (credit == nullptr) return v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_FOUND;
  if (debit->opened.asset() != credit->opened.asset()) return v1::TRANSFER_RESULT_ASSET_MISMATCH;
  if (next(DecideAuthority(asker, trying))) return result;
  if (trying.hold != nullptr && next(DecideHold(trying))) return result;
  if (!asked.corrects().empty() && next(DecideCorrection(trying))) return result;
  if (asked.phase() == v1::TRANSFER_PHASE_VOID) return v1::TRANSFER_RESULT_POSTED;
  if (debit->status == v1::ACCOUNT_STATUS_FROZEN || debit->status == v1::ACCOUNT_STATUS_CLOSED) {
    return v1::TRANSFER_RESULT_DEBIT_ACCOUNT_NOT_OPEN;
  }
  if (credit->status != v1::ACCOUNT_STATUS_OPEN) {
    return v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_OPEN;
  }
  return DecideMoney(asker, trying);
}

Auditor::Result Auditor::DecidePending(Trying& trying) const {
  const v1::Transfer& asked = *trying.asked;
  const Posted* named = posted_.Find(asked.pending_id());
  if (named == nullptr) return v1::TRANSFER_RESULT_PENDING_NOT_FOUND;
  if (named->state == v1::HOLD_STATE_UNSPECIFIED) return v1::TRANSFER_RESULT_PENDING_NOT_A_HOLD;
  if ((!trying.debit.empty() && trying.debit != named->debit) ||
      (!trying.credit.empty() && trying.credit != named->credit) ||
      (trying.kind != v1::TRANSFER_KIND_UNSPECIFIED && trying.kind != named->kind)) {
    return v1::TRANSFER_RESULT_PENDING_DIFFERS;
  }
  trying.hold = named;
  trying.debit = named->debit;
  trying.credit = named->credit;
  trying.kind = named->kind;
  if (trying.amount == 0) trying.amount = named->outcome.amount_micro();
  return v1::TRANSFER_RESULT_POSTED;
}

Auditor::Result Auditor::DecideAuthority(const Asker& asker, Trying& trying) const {
  const v1::Account& debit = accounts_.Find(trying.debit)->opened;
  const v1::Account& credit = accounts_.Find(trying.credit)->opened;
  const bool voids = trying.asked->phase() == v1::TRANSFER_PHASE_VOID;
  if (asker.kind == Asker::kService) {
    const bool may = debit.type() == v1::ACCOUNT_TYPE_SYSTEM ||
                     (voids && credit.type() == v1::ACCOUNT_TYPE_SYSTEM);
    return may ? v1::TRANSFER_RESULT_POSTED : v1::TRANSFER_RESULT_NOT_AUTHORISED;
  }
  if (voids && asker.kind == Asker::kPerson && BelongsTo(credit, asker.principal)) {
    return v1::TRANSFER_RESULT_POSTED;
  }
  if (!BelongsTo(debit, asker.principal)) return v1::TRANSFER_RESULT_NOT_AUTHORISED;
  if (IsServiceKind(trying.kind) && !voids) return v1::TRANSFER_RESULT_NOT_AUTHORISED;
  if (asker.kind == Asker::kPerson) return v1::TRANSFER_RESULT_POSTED;
  if (debit.asset() != "token") return v1::TRANSFER_RESULT_NOT_AUTHORISED;
  if (const auto* all = mandates_of_.Find(asker.agent); all != nullptr) {
    std::vector<std::string> sorted = *all;
    std::sort(sorted.begin(), sorted.end());
    for (const std::string& id : sorted) {
      const Mandate& mandate = *mandates_.Find(id);
      const std::vector<std::string>& named = mandate.granted.counterparties;
      if (mandate.revoked || now_us_ >= mandate.granted.expires_us) continue;
      if (!named.empty() && std::find(named.begin(), named.end(), trying.credit) == named.end()) {
        continue;
      }
      trying.mandates.push_back(id);
    }
  }
  if (trying.mandates.empty()) return v1::TRANSFER_RESULT_NOT_AUTHORISED;
  trying.mandate = trying.mandates.front();
  const bool* paused = paused_.Find(asker.agent);
  return paused != nullptr && *paused ? v1::TRANSFER_RESULT_AGENT_PAUSED
                                      : v1::TRANSFER_RESULT_POSTED;
}

Auditor::Result Auditor::DecideHold(const Trying& trying) const {
  switch (trying.hold->state) {
    case v1::HOLD_STATE_POSTED: return v1::TRANSFER_RESULT_PENDING_ALREADY_POSTED;
    case v1::HOLD_STATE_VOIDED: return v1::TRANSFER_RESULT_PENDING_ALREADY_VOIDED;
    case v1::HOLD_STATE_EXPIRED: return v1::TRANSFER_RESULT_PENDING_EXPIRED;
    default: break;
  }
  return trying.amount > trying.hold->outcome.amount_micro()
             ? v1::TRANSFER_RESULT_PENDING_AMOUNT_EXCEEDED
             : v1::TRANSFER_RESULT_POSTED;
}

Auditor::Result Auditor::DecideCorrection(const Trying& trying) const {
  const Posted* wrong = posted_.Find(trying.asked->corrects());
  if (wrong == nullptr) return v1::TRANSFER_RESULT_CORRECTED_NOT_FOUND;
  const bool moved = wrong->asked.phase() == v1::TRANSFER_PHASE_UNSPECIFIED ||
                     wrong->asked.phase() == v1::TRANSFER_PHASE_POST;
  if (!moved || !wrong->asked.corrects().empty() || wrong->debit != trying.credit ||
      wrong->credit != trying.debit) {
    return v1::TRANSFER_RESULT_CORRECTION_NOT_ALLOWED;
  }
  return trying.amount > wrong->outcome.amount_micro() - wrong->corrected
             ? v1::TRANSFER_RESULT_CORRECTION_EXCEEDS
             : v1::TRANSFER_RESULT_POSTED;
}

Auditor::Result Auditor::DecideMoney(const Asker& asker, Trying& trying) const {
  const Account& debit = *accounts_.Find(trying.debit);
  const Account& credit = *accounts_.Find(trying.credit);
  const int64_t day = now_us_ / kDayUs;
  if (trying.hold == nullptr) {
    const __int128 free = __int128{debit.balance()} - debit.floor -
                          (fault_ == Fault::kHoldsForgotten ? 0 : debit.held);
    if (!debit.opened.unlimited()) {
      if (trying.asked->balancing() && free > 0 && free < trying.amount) {
        trying.amount = static_cast<int64_t>(free);
      }
      if (free < trying.amount) return v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS;
    }
    if (asker.kind != Asker::kService) {
      const Kyc* kyc = kyc_.Find(asker.principal);
      const int level = kyc == nullptr || now_us_ >= kyc->expires_us ? 0 : kyc->level;
      if (level == 0) return v1::TRANSFER_RESULT_KYC_LEVEL_TOO_LOW;
      // From one's own account to one's own is no outflow.
      trying.outflow = !BelongsTo(credit.opened, asker.principal);
      const int64_t limit = LimitOf(level);
      if (level < 3 && trying.outflow &&
          __int128{Spent(asker.principal, debit.opened.asset(), day)} + trying.amount > limit) {
        return v1::TRANSFER_RESULT_LIMIT_EXCEEDED;
      }
    }
    // Of several mandates the first with so much left.
    trying.mandate.clear();
    for (const std::string& id : trying.mandates) {
      const Fact& granted = mandates_.Find(id)->granted;
      if (__int128{Spent(id, "token", day)} + trying.amount <= granted.budget_day &&
          __int128{Spent(id, "token", kInAll)} + trying.amount <= granted.budget_total) {
        trying.mandate = id;
        break;
      }
    }
    if (!trying.mandates.empty() && trying.mandate.empty()) {
      return v1::TRANSFER_RESULT_MANDATE_EXCEEDED;
    }
  }
  // A hold moves nothing yet.
  if (trying.asked->phase() == v1::TRANSFER_PHASE_PENDING) {
    return trying.amount > kMax - debit.held ? v1::TRANSFER_RESULT_OVERFLOW
                                             : v1::TRANSFER_RESULT_POSTED;
  }
  if (trying.amount > kMax - debit.debits || trying.amount > kMax - credit.credits) {
    return v1::TRANSFER_RESULT_OVERFLOW;
  }
  return v1::TRANSFER_RESULT_POSTED;
}

int64_t Auditor::LimitOf(int level) const {
  const int64_t* governed = limits_.Find(std::to_string(level));
  if (governed != nullptr && *governed >= 0) return *governed;
  return level == 1 ? kDailyL1 : level == 2 ? kDailyL2 : kMax;
}

bool Auditor::KnowsTooLittle() const { return now_us_ - heard_us_ > kKnownFor; }

bool Auditor::Burns(Result result) {
  switch (result) {
    case v1::TRANSFER_RESULT_DEBIT_ACCOUNT_NOT_FOUND:
    case v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_FOUND:
    case v1::TRANSFER_RESULT_DEBIT_ACCOUNT_NOT_OPEN:
    case v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_OPEN:
    case v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS:
    case v1::TRANSFER_RESULT_OVERFLOW:
    case v1::TRANSFER_RESULT_PENDING_NOT_FOUND:
    case v1::TRANSFER_RESULT_KYC_LEVEL_TOO_LOW:
    case v1::TRANSFER_RESULT_LIMIT_EXCEEDED:
    case v1::TRANSFER_RESULT_MANDATE_EXCEEDED:
    case v1::TRANSFER_RESULT_AGENT_PAUSED:
    case v1::TRANSFER_RESULT_CORRECTED_NOT_FOUND:
    case v1::TRANSFER_RESULT_CORRECTION_EXCEEDS:
      return true;
    default:
      return false;
  }
}

}  // namespace rochdale::ledger::testing
