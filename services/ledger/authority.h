// What the ledger knows of authority: KYC levels, mandates to spend, pauses, memberships that
// ended, and the governed parameters whose names begin with "ledger.".
//
// All of it is owned by governance. The ledger keeps a projection, computed from governance's
// entries as the writer appends them and saved in the same transaction: a function of the log. The
// network's trust root is its first cooperative: only its parameters count here.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/config/parameters.h"
#include "libs/pg/transaction.h"
#include "services/ledger/log_store.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

struct KnownPrincipal {
  EventId registered_by;
  int kyc_level = 0;
  int64_t kyc_expires_us = 0;

  // 0 once the attestation has expired.
  int LevelAt(int64_t now_us) const { return now_us < kyc_expires_us ? kyc_level : 0; }
};

// A mandate to spend that was not revoked, in a cooperative that its principal did not leave.
struct SpendMandate {
  MandateId id;
  EventId event_id;
  PrincipalId principal;
  int64_t not_before_us = 0;
  int64_t expires_us = 0;
  int64_t budget_day = 0;    // micro-tokens
  int64_t budget_total = 0;  // micro-tokens
  std::vector<AccountId> counterparties;  // empty: anybody

  bool InForceAt(int64_t now_us) const { return not_before_us <= now_us && now_us < expires_us; }
  bool MayPay(const AccountId& account) const;
};

struct Authority {
  int64_t complete_until_us = 0;  // 0: governance was never heard of
  CooperativeId network;          // the first cooperative; zero: none yet
  config::ParameterSet parameters;
  IdMap<PrincipalId, KnownPrincipal> principals;
  std::set<AgentId> paused;
  IdMap<AgentId, std::vector<SpendMandate>> mandates;  // in the order of their ids

  // Nothing where the level has no limit; micro-units of any asset a UTC day.
  std::optional<int64_t> DailyLimit(int kyc_level) const;
};

// Of these, all that is known; the general part always.
absl::StatusOr<Authority> FindAuthority(pg::Transaction& tx,
                                        const std::vector<PrincipalId>& principals,
                                        const std::vector<AgentId>& agents);

// True where the entry changes the projection.
bool BearsOnAuthority(const LogEntry& entry);
// Applies governance's entries, in order of the log.
absl::Status ApplyAuthority(pg::Transaction& tx, const std::vector<LogEntry>& entries);
// Notes that everything that governance committed until then has been applied; never goes back.
absl::Status SaveCompleteUntil(pg::Transaction& tx, int64_t complete_until_us);

}  // namespace rochdale::ledger
