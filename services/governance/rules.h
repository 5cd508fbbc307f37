// Who may do what: pure functions on stored facts and an instant.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/config/parameters.h"
#include "services/governance/domain.h"

namespace rochdale::governance {

// The member's state as others see it: MEMBER with an old consent is CONSENT_OUTDATED.
MembershipState EffectiveState(const Member& member, int64_t current_rules_version);

// What is known about an agent that wants to act; absent parts do not exist.
struct AuthorityFacts {
  std::optional<Agent> agent;
  std::optional<Member> member;    // of the agent's principal
  std::optional<Mandate> mandate;  // the agent's newest one in the cooperative
  int64_t rules_version = 0;
};

struct Authority {
  bool allowed = false;
  std::string reason;  // empty where allowed; of libs/base/errors.cc
};

// Precedence: NOT_FOUND, AGENT_PAUSED, NOT_A_MEMBER, CONSENT_OUTDATED, MANDATE_MISSING,
// MANDATE_EXPIRED. A mandate holds from not_before (inclusive) to expires (exclusive).
Authority CheckAuthority(const AuthorityFacts& facts, int action, absl::Time now);

// The level in force: what was attested until it expires (exclusive), 0 from then on.
int KycLevelAt(const Kyc& kyc, absl::Time now);

// KYC_ATTESTATION_STALE unless `wanted` was signed after what was attested last: so an old document
// that anybody holds cannot bring back the level it gave.
absl::Status MayAttest(const Kyc& last, const Kyc& wanted);

// BAD_REQUEST where a mandate is longer or may be handed on further than the cooperative allows
// (mandate.max_duration_ms, mandate.max_delegation_depth).
absl::Status CheckMandateLimits(const Mandate& mandate, const config::ParameterSet& parameters);

// Membership steps; MEMBERSHIP_STATE where the step does not follow. Asking again after leaving is
// allowed.
absl::Status MayRequest(const std::optional<Member>& member);
absl::Status MayApprove(const std::optional<Member>& member);
absl::Status MayConsent(const std::optional<Member>& member, int64_t consented_version,
                        int64_t current_version);
absl::Status MayLeave(const std::optional<Member>& member);

}  // namespace rochdale::governance
