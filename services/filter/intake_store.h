// Profiles, probes, uploads, rounds and updates in the database.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/filter/domain.h"

namespace rochdale::pg {
class Transaction;
}

namespace rochdale::filter {

// STALE_VERSION unless `version` is one more than the newest.
absl::Status InsertProfile(pg::Transaction& tx, const CooperativeId& cooperative,
                           const PrincipalId& principal, int64_t version,
                           const crypto::Digest& document, const crypto::Salt& salt,
                           absl::Time now, const EventId& event);
// `version` 0: the newest.
absl::StatusOr<std::optional<StoredProfile>> FindProfile(pg::Transaction& tx,
                                                         const CooperativeId& cooperative,
                                                         const PrincipalId& principal,
                                                         int64_t version = 0);

// ALREADY_EXISTS where the id is taken.
absl::Status InsertProbe(pg::Transaction& tx, const Probe& probe);
absl::StatusOr<std::optional<Probe>> FindProbe(pg::Transaction& tx, const ProbeId& id);
absl::StatusOr<std::vector<Probe>> FindProbesByData(pg::Transaction& tx,
                                                    const crypto::Digest& data);
// Probes of the cooperative, by id after `after`: its own and `viewer`'s, or all where `all`.
absl::StatusOr<std::vector<Probe>> ListProbes(pg::Transaction& tx,
                                              const CooperativeId& cooperative,
                                              const PrincipalId& viewer, bool all,
                                              const std::string& after, int limit);

absl::StatusOr<bool> HasUpload(pg::Transaction& tx, const std::string& owner, int purpose,
                               const crypto::Digest& digest);
absl::Status RecordUpload(pg::Transaction& tx, const std::string& owner, int purpose,
                          const crypto::Digest& digest, int64_t size_bytes, absl::Time now);
// Whether this owner uploaded it for any purpose.
absl::StatusOr<bool> OwnsBlob(pg::Transaction& tx, const std::string& owner,
                              const crypto::Digest& digest);

// False where the round exists already.
absl::StatusOr<bool> InsertRound(pg::Transaction& tx, const Round& round,
                                 const std::vector<ProbeGradient>& gradients);
absl::StatusOr<std::optional<Round>> FindRound(pg::Transaction& tx, const RoundId& id);
// Holds the round until the transaction ends: commitments are numbered one after the other.
absl::StatusOr<std::optional<Round>> FindRoundForUpdate(pg::Transaction& tx, const RoundId& id);
absl::StatusOr<std::vector<Round>> FindRecentRounds(pg::Transaction& tx, const Round& round,
                                                    int64_t rounds_back);
absl::StatusOr<std::vector<ProbeGradient>> ListGradients(pg::Transaction& tx, const RoundId& round);
absl::Status SetIntake(pg::Transaction& tx, const RoundId& id, IntakeState state,
                       absl::Time deadline);
absl::Status SetCommitments(pg::Transaction& tx, const RoundId& id, int64_t commitments);
absl::Status SetScreened(pg::Transaction& tx, const RoundId& id, int64_t lineages);
absl::Status SetDecided(pg::Transaction& tx, const RoundId& id);

// UPDATE_EXISTS where the principal has one in the round; ALREADY_EXISTS where the id is taken.
absl::Status InsertUpdate(pg::Transaction& tx, const Update& update);
absl::StatusOr<std::optional<Update>> FindUpdate(pg::Transaction& tx, const UpdateId& id);
absl::StatusOr<std::optional<Update>> FindUpdateForUpdate(pg::Transaction& tx, const UpdateId& id);
absl::StatusOr<std::vector<Update>> FindByEffective(pg::Transaction& tx,
                                                    const crypto::Digest& effective);
// By commitment number after `after`.
absl::StatusOr<std::vector<Update>> ListUpdates(pg::Transaction& tx, const RoundId& round,
                                                int64_t after, int limit);
absl::Status SetUpdateState(pg::Transaction& tx, const UpdateId& id, UpdateState state,
                            const std::string& reason);
// What screening found: effective digest, lineage, facts.
absl::Status SetScreening(pg::Transaction& tx, const Update& update);
absl::Status SetDecisionEvent(pg::Transaction& tx, const UpdateId& id, const EventId& event);

absl::Status InsertDecision(pg::Transaction& tx, const StoredDecision& decision);
absl::StatusOr<std::optional<StoredDecision>> FindDecision(pg::Transaction& tx,
                                                           const UpdateId& id);

}  // namespace rochdale::filter
