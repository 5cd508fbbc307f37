// Money: every account and transfer of the log posted again, from leaves alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "libs/base/ids.h"
#include "services/verify/documents.h"
#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// The numbers of rochdale.ledger.v1.TransferKind that are looked at here.
inline constexpr uint64_t kRewardKind = 3;
inline constexpr uint64_t kMintKind = 12;
inline constexpr uint64_t kLastTransferKind = 13;

struct ReplayedAccount {
  std::string asset;
  int64_t floor = 0;   // micro-units; the smallest integer: unlimited
  uint64_t status = 1; // of rochdale.ledger.v1.AccountStatus
  uint64_t type = 0;   // of rochdale.ledger.v1.AccountType
  Uuid owner;          // the principal; zero for a system account
  int64_t balance = 0; // micro-units
};

using Accounts = std::map<Uuid, ReplayedAccount>;

// Check "transfers": each posted once, between open accounts of one asset, never below a floor, as
// its order says where that document is there; and debits equal credits. Gives the balances.
Accounts CheckTransfers(const Log& log, const Documents& documents, Report& report);

}  // namespace rochdale::verify
