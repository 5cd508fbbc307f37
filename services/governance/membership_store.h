// Memberships and mandates.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/governance/domain.h"

namespace rochdale::pg {
class Transaction;
}

namespace rochdale::governance {

// Locks the membership (or its absence within the cooperative) until the transaction ends, so that
// two steps at once follow one another.
absl::StatusOr<std::optional<Member>> FindMemberForUpdate(pg::Transaction& tx,
                                                          const CooperativeId& cooperative,
                                                          const PrincipalId& principal);
absl::StatusOr<std::optional<Member>> FindMember(pg::Transaction& tx,
                                                 const CooperativeId& cooperative,
                                                 const PrincipalId& principal);
absl::Status PutMember(pg::Transaction& tx, const Member& member);
// By principal id, after `after` (empty: from the start). `state` kNone: all. The stored state is
// compared, CONSENT_OUTDATED selects MEMBERs whose consent is older than `rules_version`.
absl::StatusOr<std::vector<Member>> ListMembers(pg::Transaction& tx,
                                                const CooperativeId& cooperative,
                                                MembershipState state, int64_t rules_version,
                                                const std::string& after, int limit);

// Replaces the agent's standing mandate in the cooperative, if any, at `mandate`'s own time.
// ALREADY_EXISTS where the id is taken.
absl::Status PutMandate(pg::Transaction& tx, const Mandate& mandate, absl::Time now);
absl::StatusOr<std::optional<Mandate>> FindMandate(pg::Transaction& tx, const MandateId& id);
// The standing mandate of an agent in a cooperative.
absl::StatusOr<std::optional<Mandate>> FindStandingMandate(pg::Transaction& tx,
                                                           const CooperativeId& cooperative,
                                                           const AgentId& agent);
// False where it was revoked or replaced before.
absl::StatusOr<bool> RevokeMandate(pg::Transaction& tx, const MandateId& id, absl::Time now);
// By id, after `after`. `agent` zero: all agents. `in_force`: standing, within its time at `now`,
// agent not paused, member with current consent.
absl::StatusOr<std::vector<Mandate>> ListMandates(pg::Transaction& tx,
                                                  const CooperativeId& cooperative,
                                                  const AgentId& agent, bool in_force,
                                                  absl::Time now, const std::string& after,
                                                  int limit);

}  // namespace rochdale::governance
