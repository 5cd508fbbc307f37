// Epochs: whose credits they cover, the shares recomputed, and that every share was paid once.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"
#include "services/verify/documents.h"
#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// A statement of the log, with what was found to belong to it.
struct IssuedStatement {
  const crypto::Entry* entry = nullptr;
  PrincipalId principal;
  AccountId account;
  int64_t credit = 0;                    // nano-nats
  int64_t payment = 0;                   // micro-tokens
  int64_t cumulative = 0;                // of the pool, this epoch included
  int64_t position = 0;                  // by principal id
  std::vector<EventId> credits;
  const crypto::Entry* paid = nullptr;   // its TRANSFER_POSTED
};

struct ClosedEpoch {
  const crypto::Entry* closed = nullptr;
  const crypto::Entry* settled = nullptr;        // null where it carried over
  Uuid pool;
  int64_t number = 0;
  std::vector<IssuedStatement> statements;       // by principal id
  crypto::Digest root;                           // of the distribution
};

using Epochs = std::map<EpochId, ClosedEpoch>;

// Checks "epochs" (statements sum up to their epoch and are its exact shares, credits counted once
// and all of them) and "payments" (one reward per share, and no other). Of every pool of the log.
Epochs CheckEpochs(const Log& log, const Documents& documents, Report& report);

// payments[i] = floor(revenue * credits[i] / sum), what is left over by one to the largest
// remainders, ties to the lower account. docs/evidence.md, section 8. Pure.
std::vector<int64_t> LargestRemainderShares(int64_t revenue, const std::vector<int64_t>& credits,
                                            const std::vector<AccountId>& accounts);

}  // namespace rochdale::verify
