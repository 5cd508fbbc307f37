// Which account may be opened or changed and which transfer is posted: pure functions on values.
//
// The result of a transfer is the first that applies in the order that TransferResult has in
// ledger.proto. What concerns ids and chains is batch.cc's; the rest is DecideTransfer's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "services/ledger/authority.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

// Whether `caller` may open this account: a service any; a principal one of its own, not a system
// account, with floor 0. PERMISSION_DENIED.
absl::Status MayOpen(const Caller& caller, const Account& account);

// Whether `caller` may bring the account to `status`, which is another one than it has.
// PERMISSION_DENIED, ACCOUNT_TRANSITION_INVALID.
absl::Status MayChangeStatus(const Caller& caller, const Account& account, AccountStatus status);

// What a repetition of an account asks for otherwise ("asset, floor"); empty: the same account.
std::string DifferenceOf(const Account& existing, const Account& wanted);

// What differs from the transfer that was posted under the same id; empty: the same. The
// authorisation counts only where the caller names it (a service). `hold`: the one that `posted`
// ended, or null.
std::string DifferenceOf(const PostedTransfer& posted, const Transfer& wanted, const Hold* hold,
                         const Caller& caller);

// All that a decision looks at.
struct Facts {
  int64_t now_us = 0;
  const Account* debit = nullptr;   // null: there is none
  const Account* credit = nullptr;  // null: there is none
  const Hold* hold = nullptr;       // of kPost and kVoid: the one named; null: there is none
  bool pending_is_other = false;    // something else has the id that `pending` names
  const PostedTransfer* corrected = nullptr;  // null: no posted transfer has the id
  int64_t corrected_already = 0;              // of it, micro-units
  const Authority* authority = nullptr;
  // What a principal or a mandate spent of an asset, on today's UTC day or kAllDays.
  absl::FunctionRef<int64_t(const Uuid& key, const std::string& asset, bool in_all)> spent;
};

struct Decision {
  TransferResult result = TransferResult::kPosted;
  std::string message;  // empty on success
  int64_t amount = 0;   // that moves, is set aside, or is freed; on success
  const SpendMandate* mandate = nullptr;  // under which an agent asks; lives as long as the facts
  bool counts_as_outflow = false;         // against the limit of the caller's principal
};

// `transfer`: of kPost and kVoid with accounts, kind and amount as they were given, perhaps none.
Decision DecideTransfer(const Transfer& transfer, const Caller& caller, const Facts& facts);

// Whether the reason may pass, so that the id must be burned: a late retry of a transfer that its
// sender took for failed must never move value.
bool IsPassing(TransferResult result);

// The name of a result in ledger.proto, without its prefix.
const char* NameOf(TransferResult result);

}  // namespace rochdale::ledger
