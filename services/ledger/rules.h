// Which account may be opened and which transfer is posted: pure functions on values.
//
// The result of a transfer is the first of these that applies (the order of TransferResult):
//   EXISTS, EXISTS_DIFFERENT    the id was posted before              CompareRepeated
//   ID_ALREADY_FAILED           the id failed before                  (batch.cc)
//   SAME_ACCOUNT, DEBIT_ACCOUNT_NOT_FOUND, CREDIT_ACCOUNT_NOT_FOUND, ASSET_MISMATCH,
//   NOT_AUTHORISED, DEBIT_ACCOUNT_NOT_OPEN, CREDIT_ACCOUNT_NOT_OPEN, INSUFFICIENT_FUNDS,
//   OVERFLOW                                                          DecideTransfer
#pragma once

#include <string>

#include "absl/status/status.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

// Whether `caller` may open this account: a service any; a principal one of its own, not a system
// account, with floor 0. PERMISSION_DENIED.
absl::Status MayOpen(const Caller& caller, const Account& account);

// What a repetition of an account asks for otherwise ("asset, floor"); empty: the same account.
std::string DifferenceOf(const Account& existing, const Account& wanted);

// What differs from the transfer that was posted under the same id; empty: the same. The
// authorisation counts only where the caller names it (a service).
std::string DifferenceOf(const Transfer& posted, const Transfer& wanted, const Caller& caller);

struct Decision {
  TransferResult result = TransferResult::kPosted;
  std::string message;  // empty on success
};

// `debit` and `credit`: null where there is no such account. Balances count with open holds.
// A service may debit system accounts only; a principal only its own, for kinds that are not the
// services' (reward, release, emission, slash, mint).
Decision DecideTransfer(const Transfer& transfer, const Account* debit, const Account* credit,
                        const Caller& caller);

// Whether the reason may pass, so that the id must be burned: a late retry of a transfer that its
// sender took for failed must never move value.
bool IsPassing(TransferResult result);

}  // namespace rochdale::ledger
