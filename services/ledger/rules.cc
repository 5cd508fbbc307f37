#include "services/ledger/rules.h"

#include <limits>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/amount.h"
#include "libs/base/errors.h"

namespace rochdale::ledger {
namespace {

using Result = TransferResult;

bool IsServiceKind(TransferKind kind) {
  switch (kind) {
    case TransferKind::kReward:
    case TransferKind::kRelease:
    case TransferKind::kEmission:
    case TransferKind::kSlash:
    case TransferKind::kMint:
      return true;
    default:
      return false;
  }
}

const char* WordOf(AccountStatus status) {
  switch (status) {
    case AccountStatus::kOpen: return "open";
    case AccountStatus::kFrozen: return "frozen";
    case AccountStatus::kClosing: return "closing";
    case AccountStatus::kClosed: return "closed";
  }
  return "in no known state";
}

// A transfer on its way through the rules, which look at it in order of precedence.
class Deciding {
 public:
  Deciding(const Transfer& transfer, const Caller& caller, const Facts& facts)
      : transfer_(transfer), caller_(caller), facts_(facts) {}

  Decision Run() {
    const bool ok = CheckHoldExists() && CheckAccountsExist() && CheckAuthorised() &&
                    CheckHoldOpen() && CheckCorrection() && CheckOpen() && CheckFunds() &&
                    CheckLimit() && CheckBudget() && CheckSums();
    if (!ok) decision_.amount = 0;
    return std::move(decision_);
  }

 private:
  bool Refuse(Result result, std::string message) {
    decision_.result = result;
    decision_.message = std::move(message);
    return false;
  }

  bool EndsHold() const {
    return transfer_.phase == TransferPhase::kPost || transfer_.phase == TransferPhase::kVoid;
  }
  bool Voids() const { return transfer_.phase == TransferPhase::kVoid; }
  bool Corrects() const { return !transfer_.corrects.IsZero(); }
  // As resolved: a hold says what a step that ends it leaves out.
  TransferKind kind() const { return EndsHold() ? facts_.hold->kind : transfer_.kind; }
  AccountId credit_id() const { return EndsHold() ? facts_.hold->credit : transfer_.credit; }

  bool CheckHoldExists() {
    if (!transfer_.debit.IsZero() && transfer_.debit == transfer_.credit) {
      return Refuse(Result::kSameAccount, "debit and credit account are the same");
    }
    if (!EndsHold()) return true;
    const Hold* hold = facts_.hold;
    if (hold == nullptr) {
      return facts_.pending_is_other
                 ? Refuse(Result::kPendingNotAHold, "what pending_id names is not a hold")
                 : Refuse(Result::kPendingNotFound, "there is no such hold");
    }
    std::vector<const char*> differs;
    if (!transfer_.debit.IsZero() && transfer_.debit != hold->debit) {
      differs.push_back("debit_account_id");
    }
    if (!transfer_.credit.IsZero() && transfer_.credit != hold->credit) {
      differs.push_back("credit_account_id");
    }
    if (transfer_.kind != TransferKind{} && transfer_.kind != hold->kind) {
      differs.push_back("kind");
    }
    if (Voids() && transfer_.amount != 0 && transfer_.amount != hold->amount) {
      differs.push_back("amount_micro");
    }
    if (differs.empty()) return true;
    return Refuse(Result::kPendingDiffers,
                  absl::StrCat("the hold has another ", absl::StrJoin(differs, ", ")));
  }

  bool CheckAccountsExist() {
    if (facts_.debit == nullptr) {
      return Refuse(Result::kDebitAccountNotFound, "there is no such debit account");
    }
    if (facts_.credit == nullptr) {
      return Refuse(Result::kCreditAccountNotFound, "there is no such credit account");
    }
    if (facts_.debit->asset != facts_.credit->asset) {
      return Refuse(Result::kAssetMismatch,
                    absl::StrCat(facts_.debit->asset, " is not ", facts_.credit->asset));
    }
    return true;
  }

  bool Owns(const Account& account) const {
    if (caller_.is_service) return account.type == AccountType::kSystem;
    return !caller_.principal.IsZero() && account.type != AccountType::kSystem &&
           account.owner == caller_.principal.value;
  }

  bool Exchanges(const Account& account) const {
    return caller_.converts && account.type == AccountType::kSystem &&
           account.label == absl::StrCat(kExchangeLabel, account.asset);
  }

  bool CheckAuthorised() {
    const Account& debit = *facts_.debit;
    if (Exchanges(debit) && Owns(*facts_.credit)) return true;
    if (Voids() && caller_.agent.IsZero() && Owns(*facts_.credit)) return true;
    if (!Owns(debit)) {
      return Refuse(Result::kNotAuthorised, caller_.is_service
                                                ? "a service debits system accounts only"
                                                : "the debit account is not the signer's");
    }
    if (!caller_.is_service && IsServiceKind(kind())) {
      return Refuse(Result::kNotAuthorised, "transfers of this kind are posted by services only");
    }
    return caller_.agent.IsZero() || CheckMandates();
  }

  bool CheckMandates() {
    if (facts_.debit->asset != "token") {
      return Refuse(Result::kNotAuthorised, "a mandate to spend is for tokens only");
    }
    const auto found = facts_.authority->mandates.find(caller_.agent);
    if (found != facts_.authority->mandates.end()) {
      for (const SpendMandate& mandate : found->second) {
        if (mandate.principal == caller_.principal && mandate.InForceAt(facts_.now_us) &&
            mandate.MayPay(credit_id())) {
          mandates_.push_back(&mandate);
        }
      }
    }
    if (mandates_.empty()) {
      return Refuse(Result::kNotAuthorised, "the agent has no mandate to pay this account");
    }
    decision_.mandate = mandates_.front();
    if (!facts_.authority->paused.contains(caller_.agent)) return true;
    return Refuse(Result::kAgentPaused, "the agent is paused");
  }

  bool CheckHoldOpen() {
    decision_.amount = transfer_.amount;
    if (!EndsHold()) return true;
    switch (facts_.hold->state) {
      case HoldState::kOpen: break;
      case HoldState::kPosted: return Refuse(Result::kPendingAlreadyPosted, "it was posted");
      case HoldState::kVoided: return Refuse(Result::kPendingAlreadyVoided, "it was voided");
      case HoldState::kExpired: return Refuse(Result::kPendingExpired, "it has expired");
    }
    if (transfer_.amount > facts_.hold->amount) {
      return Refuse(Result::kPendingAmountExceeded,
                    absl::StrCat("the hold has set aside ", facts_.hold->amount));
    }
    if (Voids() || transfer_.amount == 0) decision_.amount = facts_.hold->amount;
    return true;
  }

  bool CheckCorrection() {
    if (!Corrects()) return true;
    const PostedTransfer* corrected = facts_.corrected;
    if (corrected == nullptr) {
      return Refuse(Result::kCorrectedNotFound, "no posted transfer has the id in corrects");
    }
    const Transfer& first = corrected->transfer;
    if (!first.corrects.IsZero()) {
      return Refuse(Result::kCorrectionNotAllowed, "a correction cannot be corrected");
    }
    if (first.phase == TransferPhase::kPending || first.phase == TransferPhase::kVoid) {
      return Refuse(Result::kCorrectionNotAllowed, "it did not move value");
    }
    if (first.debit != transfer_.credit || first.credit != transfer_.debit) {
      return Refuse(Result::kCorrectionNotAllowed,
                    "the accounts are not those of the corrected transfer the other way round");
    }
    const absl::int128 all = absl::int128(facts_.corrected_already) + transfer_.amount;
    if (all <= first.amount) return true;
    return Refuse(Result::kCorrectionExceeds,
                  absl::StrCat("of ", first.amount, ", ", facts_.corrected_already,
                               " is corrected already"));
  }

  bool CheckOpen() {
    if (Voids()) return true;
    const AccountStatus debit = facts_.debit->status, credit = facts_.credit->status;
    if (debit != AccountStatus::kOpen && debit != AccountStatus::kClosing) {
      return Refuse(Result::kDebitAccountNotOpen,
                    absl::StrCat("the debit account is ", WordOf(debit)));
    }
    if (credit != AccountStatus::kOpen) {
      return Refuse(Result::kCreditAccountNotOpen,
                    absl::StrCat("the credit account is ", WordOf(credit)));
    }
    return true;
  }

  bool CheckFunds() {
    const Account& debit = *facts_.debit;
    if (EndsHold() || !debit.floor.has_value()) return true;
    const absl::int128 free = absl::int128(debit.balance()) - debit.held - *debit.floor;
    if (transfer_.balancing && free > 0 && free < decision_.amount) {
      decision_.amount = static_cast<int64_t>(free);
    }
    if (free >= decision_.amount) return true;
    return Refuse(Result::kInsufficientFunds,
                  absl::StrCat("the balance ", debit.balance(), ", ", debit.held,
                               " of it held, would fall below the floor ", *debit.floor));
  }

  bool CheckLimit() {
    if (caller_.is_service || EndsHold()) return true;
    const auto known = facts_.authority->principals.find(caller_.principal);
    const int level = known == facts_.authority->principals.end()
                          ? 0
                          : known->second.LevelAt(facts_.now_us);
    if (level == 0) {
      return Refuse(Result::kKycLevelTooLow, "KYC level 0 may receive, not send");
    }
    // From one's own account to one's own is no outflow.
    if (Owns(*facts_.credit)) return true;
    decision_.counts_as_outflow = true;
    const std::optional<int64_t> limit = facts_.authority->DailyLimit(level);
    if (!limit.has_value()) return true;
    const int64_t spent = facts_.spent(caller_.principal.value, facts_.debit->asset, false);
    if (absl::int128(spent) + decision_.amount <= *limit) return true;
    return Refuse(Result::kLimitExceeded,
                  absl::StrCat("KYC level ", level, " may send ", *limit, " a day, and ", spent,
                               " is sent or held already"));
  }

  bool CheckBudget() {
    if (mandates_.empty() || EndsHold()) return true;
    const std::string& asset = facts_.debit->asset;
    for (const SpendMandate* mandate : mandates_) {
      const absl::int128 amount = decision_.amount;
      if (amount + facts_.spent(mandate->id.value, asset, false) <= mandate->budget_day &&
          amount + facts_.spent(mandate->id.value, asset, true) <= mandate->budget_total) {
        decision_.mandate = mandate;
        return true;
      }
    }
    return Refuse(Result::kMandateExceeded, "no mandate has so much left of its budget");
  }

  bool CheckSums() {
    if (Voids()) return true;
    const Account& debit = *facts_.debit;
    const bool fits = transfer_.phase == TransferPhase::kPending
                          ? CheckedAdd(debit.held, decision_.amount).ok()
                          : CheckedAdd(debit.debits, decision_.amount).ok() &&
                                CheckedAdd(facts_.credit->credits, decision_.amount).ok();
    return fits || Refuse(Result::kOverflow, "a lifetime total would exceed 64 bits");
  }

  const Transfer& transfer_;
  const Caller& caller_;
  const Facts& facts_;
  std::vector<const SpendMandate*> mandates_;  // that allow it, but for their budgets
  Decision decision_;
};

}  // namespace

absl::Status MayOpen(const Caller& caller, const Account& account) {
  if (caller.is_service) return absl::OkStatus();
  if (account.type == AccountType::kSystem || !account.floor.has_value()) {
    return Error("PERMISSION_DENIED", "only a service opens system or unlimited accounts");
  }
  if (account.owner != caller.principal.value) {
    return Error("PERMISSION_DENIED", "a principal opens accounts for itself only");
  }
  if (*account.floor != 0) {
    return Error("PERMISSION_DENIED", "only a service opens an account with a floor");
  }
  return absl::OkStatus();
}

absl::Status MayChangeStatus(const Caller& caller, const Account& account, AccountStatus status) {
  using Status = AccountStatus;
  const Status from = account.status;
  if (!caller.is_service) {
    if (account.type == AccountType::kSystem || account.owner != caller.principal.value ||
        !caller.agent.IsZero()) {
      return Error("PERMISSION_DENIED", "only its owner or governance changes an account");
    }
    const bool own = (from == Status::kOpen && status == Status::kClosing) ||
                     (from == Status::kClosing && status == Status::kClosed);
    if (!own) {
      return Error("PERMISSION_DENIED",
                   absl::StrCat("its owner does not bring an account from ", WordOf(from), " to ",
                                WordOf(status)));
    }
  }
  const bool possible =
      (from == Status::kOpen && (status == Status::kFrozen || status == Status::kClosing)) ||
      (from == Status::kFrozen && (status == Status::kOpen || status == Status::kClosing)) ||
      (from == Status::kClosing && status != Status::kClosing);
  if (!possible) {
    return Error("ACCOUNT_TRANSITION_INVALID",
                 absl::StrCat("an account goes not from ", WordOf(from), " to ", WordOf(status)));
  }
  if (status == Status::kClosed && (account.balance() != 0 || account.held != 0)) {
    return Error("ACCOUNT_TRANSITION_INVALID",
                 absl::StrCat("the account still has ", account.balance(), ", ", account.held,
                              " of it held"));
  }
  return absl::OkStatus();
}

std::string DifferenceOf(const Account& existing, const Account& wanted) {
  std::vector<absl::string_view> differs;
  if (existing.owner != wanted.owner) differs.push_back("owner_id");
  if (existing.type != wanted.type) differs.push_back("type");
  if (existing.asset != wanted.asset) differs.push_back("asset");
  if (existing.floor != wanted.floor) differs.push_back("floor_micro");
  if (existing.label != wanted.label) differs.push_back("label");
  return absl::StrJoin(differs, ", ");
}

std::string DifferenceOf(const PostedTransfer& posted, const Transfer& wanted, const Hold* hold,
                         const Caller& caller) {
  const Transfer& first = posted.transfer;
  // What a step that ends a hold may leave out.
  const bool ends = wanted.phase == TransferPhase::kPost || wanted.phase == TransferPhase::kVoid;
  int64_t amount = posted.requested != 0 ? posted.requested : first.amount;
  if (ends && wanted.amount == 0 && hold != nullptr && first.amount == hold->amount) amount = 0;
  std::vector<absl::string_view> differs;
  if (first.debit != wanted.debit && !(ends && wanted.debit.IsZero())) {
    differs.push_back("debit_account_id");
  }
  if (first.credit != wanted.credit && !(ends && wanted.credit.IsZero())) {
    differs.push_back("credit_account_id");
  }
  if (amount != wanted.amount) differs.push_back("amount_micro");
  if (first.kind != wanted.kind && !(ends && wanted.kind == TransferKind{})) {
    differs.push_back("kind");
  }
  if (first.code != wanted.code) differs.push_back("code");
  if (first.reference != wanted.reference) differs.push_back("reference");
  if (first.phase != wanted.phase) differs.push_back("phase");
  if (first.pending != wanted.pending) differs.push_back("pending_id");
  if (first.timeout_s != wanted.timeout_s) differs.push_back("timeout_s");
  if (first.linked != wanted.linked) differs.push_back("linked");
  if (first.balancing != wanted.balancing) differs.push_back("balancing");
  if (first.corrects != wanted.corrects) differs.push_back("corrects");
  if (caller.is_service && first.authorised_by != wanted.authorised_by) {
    differs.push_back("authorised_by");
  }
  return absl::StrJoin(differs, ", ");
}

Decision DecideTransfer(const Transfer& transfer, const Caller& caller, const Facts& facts) {
  return Deciding(transfer, caller, facts).Run();
}

bool IsPassing(TransferResult result) {
  switch (result) {
    case Result::kDebitAccountNotFound:
    case Result::kCreditAccountNotFound:
    case Result::kDebitAccountNotOpen:
    case Result::kCreditAccountNotOpen:
    case Result::kInsufficientFunds:
    case Result::kOverflow:
    case Result::kPendingNotFound:
    case Result::kKycLevelTooLow:
    case Result::kLimitExceeded:
    case Result::kMandateExceeded:
    case Result::kAgentPaused:
    case Result::kCorrectedNotFound:
    case Result::kCorrectionExceeds:
      return true;
    default:
      return false;
  }
}

const char* NameOf(TransferResult result) {
  static constexpr const char* kNames[] = {"UNSPECIFIED",
                                           "POSTED",
                                           "EXISTS",
                                           "EXISTS_DIFFERENT",
                                           "ID_ALREADY_FAILED",
                                           "SAME_ACCOUNT",
                                           "DEBIT_ACCOUNT_NOT_FOUND",
                                           "CREDIT_ACCOUNT_NOT_FOUND",
                                           "ASSET_MISMATCH",
                                           "NOT_AUTHORISED",
                                           "DEBIT_ACCOUNT_NOT_OPEN",
                                           "CREDIT_ACCOUNT_NOT_OPEN",
                                           "INSUFFICIENT_FUNDS",
                                           "OVERFLOW",
                                           "LINKED_FAILED",
                                           "LINKED_CHAIN_OPEN",
                                           "PENDING_NOT_FOUND",
                                           "PENDING_NOT_A_HOLD",
                                           "PENDING_DIFFERS",
                                           "PENDING_ALREADY_POSTED",
                                           "PENDING_ALREADY_VOIDED",
                                           "PENDING_EXPIRED",
                                           "PENDING_AMOUNT_EXCEEDED",
                                           "KYC_LEVEL_TOO_LOW",
                                           "LIMIT_EXCEEDED",
                                           "MANDATE_EXCEEDED",
                                           "AGENT_PAUSED",
                                           "CORRECTED_NOT_FOUND",
                                           "CORRECTION_NOT_ALLOWED",
                                           "CORRECTION_EXCEEDS"};
  static_assert(std::size(kNames) == kTransferResults);
  return kNames[static_cast<int>(result)];
}

}  // namespace rochdale::ledger
