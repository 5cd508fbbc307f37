// What the ledger keeps and decides about, as values.
//
// Enumerators have the numbers of the protos (convert.cc checks that), which are also those in the
// database and in log entries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"
#include "libs/crypto/signed_document.h"

namespace rochdale::ledger {

inline constexpr int kItemsMax = 8'190;      // of one call, and of one transaction of the writer
inline constexpr int kAppendMax = 1'000;     // entries of one AppendEntries
inline constexpr size_t kReferenceMax = 64;  // characters

enum class AccountType { kPerson = 1, kEnterprise = 2, kAgent = 3, kSystem = 4 };
enum class AccountStatus { kOpen = 1, kFrozen = 2, kClosing = 3, kClosed = 4 };

enum class TransferKind {
  kDeposit = 1,
  kTrade = 2,
  kReward = 3,
  kSpend = 4,
  kFee = 5,
  kEscrow = 6,
  kRelease = 7,
  kRefund = 8,
  kEmission = 9,
  kSlash = 10,
  kBurn = 11,
  kMint = 12,
  kRevenue = 13,
};

enum class TransferPhase { kSingle = 0, kPending = 1, kPost = 2, kVoid = 3 };
enum class HoldState { kOpen = 1, kPosted = 2, kVoided = 3, kExpired = 4 };

// The order of precedence is in ledger.proto.
enum class TransferResult {
  kPosted = 1,
  kExists = 2,
  kExistsDifferent = 3,
  kIdAlreadyFailed = 4,
  kSameAccount = 5,
  kDebitAccountNotFound = 6,
  kCreditAccountNotFound = 7,
  kAssetMismatch = 8,
  kNotAuthorised = 9,
  kDebitAccountNotOpen = 10,
  kCreditAccountNotOpen = 11,
  kInsufficientFunds = 12,
  kOverflow = 13,
  kLinkedFailed = 14,
  kLinkedChainOpen = 15,
  kPendingNotFound = 16,
  kPendingNotAHold = 17,
  kPendingDiffers = 18,
  kPendingAlreadyPosted = 19,
  kPendingAlreadyVoided = 20,
  kPendingExpired = 21,
  kPendingAmountExceeded = 22,
  kKycLevelTooLow = 23,
  kLimitExceeded = 24,
  kMandateExceeded = 25,
  kAgentPaused = 26,
  kCorrectedNotFound = 27,
  kCorrectionNotAllowed = 28,
  kCorrectionExceeds = 29,
};
inline constexpr int kTransferResults = 30;  // numbers below this

struct Account {
  AccountId id;
  Uuid owner;  // a principal, or the cooperative of a system account
  AccountType type = AccountType::kPerson;
  std::string asset;
  std::optional<int64_t> floor = 0;  // micro-units; nothing: unlimited
  std::string label;
  AccountStatus status = AccountStatus::kOpen;
  int64_t version = 1;  // counts changes of status and floor
  int64_t opened_us = 0;
  int64_t opened_index = 0;  // of its ACCOUNT_OPENED entry
  // Running totals, micro-units: all that was ever taken from it and given to it, >= 0.
  int64_t debits = 0;
  int64_t credits = 0;
  int64_t held = 0;         // sum of open holds on the debit side, >= 0
  int64_t transfers = 0;    // that moved value
  int64_t last_index = -1;  // of the last entry that changed these; -1: none did

  int64_t balance() const { return credits - debits; }
};

// What an account held at an instant.
struct BalanceAt {
  int64_t debits = 0;
  int64_t credits = 0;
  int64_t held = 0;
  int64_t transfers = 0;
  int64_t log_index = -1;

  int64_t balance() const { return credits - debits; }
};

// As asked for.
struct Transfer {
  TransferId id;
  EventId event_id;  // PostedEvent(id), or zero: computed when it is needed
  AccountId debit;
  AccountId credit;
  int64_t amount = 0;  // micro-units, > 0
  TransferKind kind = TransferKind::kTrade;
  int32_t code = 0;  // 0 to 65,535
  std::string reference;
  EventId authorised_by;  // zero where the writer sets it
  TransferPhase phase = TransferPhase::kSingle;
  TransferId pending;     // kPost, kVoid: the hold
  int32_t timeout_s = 0;  // kPending
  bool linked = false;
  bool balancing = false;
  TransferId corrects;  // zero: none
};

// As it stands in the log. Accounts, kind and amount are resolved: what moved or was set aside.
struct PostedTransfer {
  Transfer transfer;
  int64_t requested = 0;   // of a balancing one, what was asked for
  int64_t expires_us = 0;  // of a hold
  MandateId mandate;       // where an agent asked
  int64_t debit_balance = 0;  // after it
  int64_t credit_balance = 0;
  int64_t posted_us = 0;
  int64_t log_index = 0;
};

struct Outcome {
  TransferId id;
  TransferResult result = TransferResult::kPosted;
  std::string message;  // empty on success
  int64_t amount = 0;   // that moved or was set aside
  int64_t debit_balance = 0;
  int64_t credit_balance = 0;
  int64_t log_index = 0;
};

struct Hold {
  TransferId id;
  AccountId debit;
  AccountId credit;
  int64_t amount = 0;
  TransferKind kind = TransferKind::kTrade;
  int64_t opened_us = 0;
  int64_t expires_us = 0;
  HoldState state = HoldState::kOpen;
  int64_t posted = 0;   // of it, micro-units
  PrincipalId owner;    // whose limit of the day it counts against; zero: nobody's
  MandateId mandate;    // whose budget it counts against; zero: none
};

// Who asks: a service, or a principal.
struct Caller {
  bool is_service = false;
  std::string service;    // where it is one
  PrincipalId principal;  // zero where it is a service
  AgentId agent;          // where the principal's agent asks
  // The ledger itself made the transfers, of a conversion that the principal signed: they may take
  // from exchange accounts.
  bool converts = false;
};

// Label of the system accounts through which assets are exchanged, before the asset.
inline constexpr char kExchangeLabel[] = "exchange.";

// One leaf of the log, in its place.
struct LogEntry {
  int64_t index = 0;
  EventId event_id;
  uint16_t kind = 0;
  Uuid subject;
  std::string leaf;
  crypto::Digest leaf_hash;
};

struct TreeHead {
  int64_t size = 0;
  crypto::Digest root;
  std::string note;  // empty where no signed head has this size
  int64_t signed_us = 0;
};

}  // namespace rochdale::ledger
