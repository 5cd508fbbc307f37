// What is allowed at a place of the log: registrations, KYC levels, mandates, pauses, memberships
// that ended, and the network's parameters of the ledger, from governance's entries before it
// (docs/evidence.md, section 7.4). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/entry.h"

namespace rochdale::replay {

struct Principal {
  Uuid registered_by;  // event id of its first PRINCIPAL_REGISTERED
  int64_t kyc_level = 0;
  int64_t kyc_expires_us = 0;
  Uuid kyc_event;  // zero: never attested

  // 0 once the attestation has expired.
  int64_t LevelAt(int64_t time_us) const { return time_us < kyc_expires_us ? kyc_level : 0; }
};

struct Mandate {
  Uuid event, cooperative, principal, agent;
  int64_t actions = 0;  // bits 1 << number of the action
  int64_t not_before_us = 0, expires_us = 0;
  int64_t budget_day = 0, budget_total = 0;  // micro-units
  std::string counterparties;                // 16 bytes each; none: anybody
  bool revoked = false;                      // or replaced by another

  bool MayPay(const Uuid& account) const;
};

// A value and the entry that set it.
struct Parameter {
  std::string value;
  int64_t log_index = 0;
};

class Authority {
 public:
  // The entry at `index`; what does not bear on authority passes. DATA_LOSS where it cannot be
  // applied; nothing is changed then.
  absl::Status Apply(const crypto::Entry& entry, int64_t index);

  // Zero: no cooperative was founded yet.
  const Uuid& network() const { return network_; }
  // Null where there is none.
  const Principal* FindPrincipal(const Uuid& id) const;
  const Mandate* FindMandate(const Uuid& id) const;
  bool IsPaused(const Uuid& agent) const { return paused_.contains(agent); }
  bool HasLeft(const Uuid& cooperative, const Uuid& principal) const {
    return left_.contains({cooperative, principal});
  }
  // What one may send on a UTC day, micro-units of any asset; nothing: no limit.
  std::optional<int64_t> DailyLimit(int64_t kyc_level) const;

  const absl::flat_hash_map<Uuid, Principal>& principals() const { return principals_; }
  const absl::flat_hash_map<Uuid, Mandate>& mandates() const { return mandates_; }
  // By agent; and by cooperative and principal: the entry since which it is so.
  const absl::flat_hash_map<Uuid, int64_t>& paused() const { return paused_; }
  const std::map<std::pair<Uuid, Uuid>, int64_t>& left() const { return left_; }
  // Of the network, whose names begin with "ledger.".
  const std::map<std::string, Parameter, std::less<>>& parameters() const { return parameters_; }

 private:
  absl::Status Grant(const crypto::Entry& entry);
  void SetParameter(const crypto::Entry& entry, int64_t index);
  int64_t Amount(absl::string_view parameter, int64_t otherwise) const;

  Uuid network_;
  absl::flat_hash_map<Uuid, Principal> principals_;
  absl::flat_hash_map<Uuid, Mandate> mandates_;
  std::map<std::pair<Uuid, Uuid>, Uuid> current_;  // mandate by agent and cooperative
  absl::flat_hash_map<Uuid, int64_t> paused_;
  std::map<std::pair<Uuid, Uuid>, int64_t> left_;
  std::map<std::string, Parameter, std::less<>> parameters_;
};

}  // namespace rochdale::replay
