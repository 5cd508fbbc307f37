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

// In order of precedence.
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
};

struct Account {
  AccountId id;
  Uuid owner;  // a principal, or the cooperative of a system account
  AccountType type = AccountType::kPerson;
  std::string asset;
  std::optional<int64_t> floor = 0;  // micro-units; nothing: unlimited
  std::string label;
  AccountStatus status = AccountStatus::kOpen;
  int64_t balance = 0;  // micro-units
  int64_t held = 0;     // micro-units, >= 0
  int64_t opened_us = 0;
  int64_t opened_index = 0;  // of its ACCOUNT_OPENED entry
};

// As asked for.
struct Transfer {
  TransferId id;
  AccountId debit;
  AccountId credit;
  int64_t amount = 0;  // micro-units, > 0
  TransferKind kind = TransferKind::kTrade;
  int32_t code = 0;  // 0 to 65,535
  std::string reference;
  EventId authorised_by;  // zero where the writer sets it
};

struct PostedTransfer {
  Transfer transfer;
  int64_t debit_balance = 0;  // after it
  int64_t credit_balance = 0;
  int64_t posted_us = 0;
  int64_t log_index = 0;
};

struct Outcome {
  TransferId id;
  TransferResult result = TransferResult::kPosted;
  std::string message;  // empty on success
  int64_t debit_balance = 0;
  int64_t credit_balance = 0;
  int64_t log_index = 0;
};

// Who asks: a service, or a principal.
struct Caller {
  bool is_service = false;
  std::string service;    // where it is one
  PrincipalId principal;  // zero where it is a service
  AgentId agent;          // where the principal's agent asks
};

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
