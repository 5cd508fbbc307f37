// An account as the log gives it, and the numbers of the enums of rochdale.ledger.v1 that replay
// looks at.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "libs/base/ids.h"

namespace rochdale::replay {

inline constexpr uint64_t kOpen = 1, kFrozen = 2, kClosing = 3, kClosed = 4;  // AccountStatus
inline constexpr uint64_t kSystemType = 4;                                    // AccountType
inline constexpr uint64_t kRewardKind = 3, kMintKind = 12, kLastKind = 13;    // TransferKind
inline constexpr uint64_t kAtOnce = 0, kPending = 1, kPost = 2, kVoid = 3;    // TransferPhase

struct Account {
  Uuid id;
  Uuid owner;  // the principal, or the cooperative of a system account
  uint64_t type = 0;
  std::string asset;
  std::optional<int64_t> floor;  // micro-units; nothing: unlimited
  uint64_t status = kOpen;
  int64_t version = 1;
  int64_t opened_us = 0;
  int64_t opened_index = 0;  // of its ACCOUNT_OPENED
  // Running totals, micro-units.
  int64_t debits = 0;
  int64_t credits = 0;
  int64_t held = 0;
  int64_t transfers = 0;    // that moved value
  int64_t last_index = -1;  // of the last entry that changed the totals; -1: none did

  int64_t balance() const { return credits - debits; }
  bool operator==(const Account&) const = default;
};

}  // namespace rochdale::replay
