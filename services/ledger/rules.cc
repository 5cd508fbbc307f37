#include "services/ledger/rules.h"

#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/amount.h"
#include "libs/base/errors.h"

namespace rochdale::ledger {
namespace {

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

// Empty: authorised.
std::string WhyNotAuthorised(const Transfer& transfer, const Account& debit,
                             const Caller& caller) {
  if (caller.is_service) {
    if (debit.type == AccountType::kSystem) return "";
    return "a service debits system accounts only";
  }
  if (caller.principal.IsZero() || debit.owner != caller.principal.value ||
      debit.type == AccountType::kSystem) {
    return "the debit account is not the signer's";
  }
  if (IsServiceKind(transfer.kind)) return "transfers of this kind are posted by services only";
  return "";
}

std::string StatusWord(AccountStatus status) {
  switch (status) {
    case AccountStatus::kOpen: return "open";
    case AccountStatus::kFrozen: return "frozen";
    case AccountStatus::kClosing: return "closing";
    case AccountStatus::kClosed: return "closed";
  }
  return "in no known state";
}

// Empty: the money is there.
std::string WhyNoFunds(const Transfer& transfer, const Account& debit) {
  if (!debit.floor.has_value()) return "";
  const absl::int128 after =
      absl::int128(debit.balance) - debit.held - absl::int128(transfer.amount);
  if (after >= absl::int128(*debit.floor)) return "";
  return absl::StrCat("the balance ", debit.balance, ", ", debit.held,
                      " of it held, would fall below the floor ", *debit.floor);
}

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

std::string DifferenceOf(const Account& existing, const Account& wanted) {
  std::vector<absl::string_view> differs;
  if (existing.owner != wanted.owner) differs.push_back("owner_id");
  if (existing.type != wanted.type) differs.push_back("type");
  if (existing.asset != wanted.asset) differs.push_back("asset");
  if (existing.floor != wanted.floor) differs.push_back("floor_micro");
  if (existing.label != wanted.label) differs.push_back("label");
  return absl::StrJoin(differs, ", ");
}

std::string DifferenceOf(const Transfer& posted, const Transfer& wanted, const Caller& caller) {
  std::vector<absl::string_view> differs;
  if (posted.debit != wanted.debit) differs.push_back("debit_account_id");
  if (posted.credit != wanted.credit) differs.push_back("credit_account_id");
  if (posted.amount != wanted.amount) differs.push_back("amount_micro");
  if (posted.kind != wanted.kind) differs.push_back("kind");
  if (posted.code != wanted.code) differs.push_back("code");
  if (posted.reference != wanted.reference) differs.push_back("reference");
  if (caller.is_service && posted.authorised_by != wanted.authorised_by) {
    differs.push_back("authorised_by");
  }
  return absl::StrJoin(differs, ", ");
}

Decision DecideTransfer(const Transfer& transfer, const Account* debit, const Account* credit,
                        const Caller& caller) {
  using Result = TransferResult;
  if (transfer.debit == transfer.credit) {
    return {Result::kSameAccount, "debit and credit account are the same"};
  }
  if (debit == nullptr) return {Result::kDebitAccountNotFound, "there is no such debit account"};
  if (credit == nullptr) return {Result::kCreditAccountNotFound, "there is no such credit account"};
  if (debit->asset != credit->asset) {
    return {Result::kAssetMismatch, absl::StrCat(debit->asset, " is not ", credit->asset)};
  }
  if (std::string why = WhyNotAuthorised(transfer, *debit, caller); !why.empty()) {
    return {Result::kNotAuthorised, std::move(why)};
  }
  if (debit->status != AccountStatus::kOpen && debit->status != AccountStatus::kClosing) {
    return {Result::kDebitAccountNotOpen,
            absl::StrCat("the debit account is ", StatusWord(debit->status))};
  }
  if (credit->status != AccountStatus::kOpen) {
    return {Result::kCreditAccountNotOpen,
            absl::StrCat("the credit account is ", StatusWord(credit->status))};
  }
  if (std::string why = WhyNoFunds(transfer, *debit); !why.empty()) {
    return {Result::kInsufficientFunds, std::move(why)};
  }
  if (!CheckedSub(debit->balance, transfer.amount).ok() ||
      !CheckedAdd(credit->balance, transfer.amount).ok()) {
    return {Result::kOverflow, "a balance would exceed 64 bits"};
  }
  return {};
}

bool IsPassing(TransferResult result) {
  switch (result) {
    case TransferResult::kDebitAccountNotFound:
    case TransferResult::kCreditAccountNotFound:
    case TransferResult::kDebitAccountNotOpen:
    case TransferResult::kCreditAccountNotOpen:
    case TransferResult::kInsufficientFunds:
    case TransferResult::kOverflow:
      return true;
    default:
      return false;
  }
}

}  // namespace rochdale::ledger
