// What payout reads from the other services to close an epoch.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/crypto/ed25519.h"
#include "libs/service/module.h"
#include "services/payout/domain.h"

namespace rochdale::payout {

// A member's part in an epoch's rounds.
struct Contribution {
  PrincipalId principal;
  int64_t credit = 0;  // nano-nats
  std::vector<StatementLine> lines;
};

struct EpochFacts {
  std::vector<Uuid> rounds;                 // ids, by number
  std::vector<Contribution> contributions;  // by principal id
};

// Thread-safe.
class Sources {
 public:
  explicit Sources(const service::Environment& env);
  ~Sources();

  // PERMISSION_DENIED where the key is not a founder's.
  absl::Status RequireFounder(const CooperativeId& cooperative, const crypto::PublicKey& key);

  // Everyone who had an update in the rounds first..last, with what became of it.
  // ROUNDS_UNSETTLED where one of them is missing or not CLOSED or ABANDONED; INTERNAL where a
  // credit is for an update that is refused or unknown (I1).
  absl::StatusOr<EpochFacts> ReadRounds(const CooperativeId& cooperative, int64_t first,
                                        int64_t last);

  // What the account holds, less holds, micro-tokens.
  absl::StatusOr<MicroTokens> Balance(const AccountId& account);
  // payout.reserve_bp of the cooperative.
  absl::StatusOr<int64_t> ReserveBasisPoints(const CooperativeId& cooperative);

  // Puts before the governors that payments of the epoch are refused; once per epoch.
  absl::Status ReportRefusals(const Epoch& epoch, const Pool& pool, const TransferId& first);

  // Tells attribution and filter that the epoch's rounds are settled. Idempotent.
  absl::Status AnnounceSettlement(const Epoch& epoch, const EventId& settlement);

 private:
  struct Stubs;
  absl::StatusOr<Stubs*> Ready();

  const service::Environment& env_;
  std::mutex mutex_;
  std::unique_ptr<Stubs> stubs_;
};

}  // namespace rochdale::payout
