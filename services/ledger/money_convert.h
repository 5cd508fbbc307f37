// Between the protos and the ledger's own types, as convert.h: changes of accounts, balances,
// holds, deposits of compute time, conversions.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/rpc/call.h"
#include "rochdale/ledger/v1/ledger.pb.h"
#include "services/ledger/batch.h"
#include "services/ledger/compute_deposit.h"
#include "services/ledger/conversion.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

// Of a service: what the fields say; of a person: an AccountOrder that it signed itself, not older
// than 15 minutes. The event id follows from the caller and the request's id.
// DOCUMENT_INVALID, SIGNATURE_INVALID.
absl::StatusOr<ChangeAccount> ParseChangeAccount(const v1::ChangeAccountRequest& request,
                                                 const rpc::Identity& identity, absl::Time now);
absl::StatusOr<ComputeDeposits> ParseComputeDeposits(const v1::DepositComputeTimeRequest& request);
// The ConversionOrder that the caller signed. DOCUMENT_INVALID, SIGNATURE_INVALID.
absl::StatusOr<Conversion> ParseConversion(const v1::ConvertRequest& request,
                                           const rpc::Identity& identity, absl::Time now);

// An instant and the one from which movements count.
struct BalancePeriod {
  AccountId account;
  int64_t at_us = 0;     // the end of time where the request names none
  int64_t since_us = 0;  // 0: the account's opening
};
absl::StatusOr<BalancePeriod> ParseBalancePeriod(const v1::GetBalanceRequest& request);

void ToProto(const BalanceAt& balance, v1::Balance& out);
// `posted`: the PENDING transfer.
void ToProto(const Hold& hold, const PostedTransfer& posted, v1::Hold& out);

}  // namespace rochdale::ledger
