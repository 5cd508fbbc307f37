// What payout keeps, as values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/base/amount.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"

namespace rochdale::payout {

// The same numbers as rochdale.payout.v1.EpochState.
enum class EpochState { kSettling = 1, kSettled = 2, kCarriedOver = 3 };

struct Pool {
  PoolId id;
  CooperativeId cooperative;
  AccountId account;
  absl::Time created;
  EventId event;
  int64_t epochs = 0;
};

struct Epoch {
  EpochId id;
  PoolId pool;
  int64_t number = 0;
  EpochState state = EpochState::kSettling;
  int64_t first_round = 0;
  int64_t last_round = 0;
  MicroTokens revenue = 0;
  int64_t credit_sum = 0;  // nano-nats
  int64_t recipients = 0;
  absl::Time closed;
  absl::Time settled = absl::UnixEpoch();
  EventId closed_event;
  std::optional<EventId> settled_event;
  crypto::Digest distribution_root;
  std::vector<Uuid> rounds;
  MicroTokens paid = 0;  // sum over paid statements; computed when read
};

struct StatementLine {
  int64_t round_number = 0;
  UpdateId update;
  std::string outcome;  // APPLIED, NOT_APPLIED, REJECTED, EXPIRED
  std::string reason;
  int64_t credit = 0;   // nano-nats, as are the next two
  int64_t estimate = 0;
  int64_t standard_error = 0;
  std::optional<EventId> credit_event;
  std::optional<EventId> decision_event;
  int64_t tolerance = 0;  // nano-nats; 0 where the model is exact, as is the next
  int64_t deadband = 0;
};

struct Statement {
  EpochId epoch;
  PrincipalId principal;
  int64_t position = 0;
  int64_t credit = 0;  // nano-nats
  MicroTokens payment = 0;
  MicroTokens cumulative = 0;  // of this pool, this epoch included
  AccountId account;
  int attempt = 1;
  bool paid = false;
  EventId event;
  std::vector<StatementLine> lines;
};

// The account into which a principal is paid, and the transfer that pays it: ids that follow from
// what they are for, so that settling again makes the same ones.
AccountId PaymentAccount(const PrincipalId& principal);
TransferId PaymentTransfer(const EpochId& epoch, const PrincipalId& principal, int attempt);

}  // namespace rochdale::payout
