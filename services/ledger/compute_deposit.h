// Deposits of metered compute time: which transfers pay it.
//
// A transfer's id follows from the metering entry, so that it is paid once, and from the number of
// attempts before it that failed for ever (a burned id never succeeds): a fund that was empty at
// first leaves nobody unpaid.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/pg/transaction.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

inline constexpr int kComputeDepositsMax = 1'000;

struct ComputeDeposit {
  EventId metered;   // the COMPUTE_METERED entry
  AccountId credit;  // of its provider
};

struct ComputeDeposits {
  AccountId fund;
  std::vector<ComputeDeposit> deposits;
};

TransferId ComputeDepositId(const EventId& metered, int attempt);

// micro-tokens for `gpu_micros` at `rate_micro` micro-tokens a second, rounded down. ENTRY_INVALID
// where that is less than one micro-token, or does not fit into 64 bits.
absl::StatusOr<int64_t> ComputePay(uint64_t gpu_micros, int64_t rate_micro);

// One transfer for each deposit, in order, at the rate that is governed now; one that was paid
// already is as it was paid. Nothing is written.
//   ACCOUNT_NOT_FOUND  the fund, or an account to be paid
//   BAD_REQUEST        the fund is no system account of tokens with a floor: nothing is minted
//   NOT_FOUND          an entry is not in the log (yet)
//   ENTRY_INVALID      an entry is of another kind, or the account is not of its provider
absl::StatusOr<std::vector<Transfer>> PlanComputeDeposits(pg::Transaction& tx,
                                                          const ComputeDeposits& wanted);

}  // namespace rochdale::ledger
