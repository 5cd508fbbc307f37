// Models, checkpoints, validation pools and training plans in the database.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/crypto/signed_document.h"
#include "libs/pg/transaction.h"
#include "services/attribution/records.h"

namespace rochdale::attribution {

// ALREADY_EXISTS: the cooperative has a model.
absl::Status InsertModel(pg::Transaction& tx, const ModelRecord& model);
absl::StatusOr<std::optional<ModelRecord>> FindModel(pg::Transaction& tx,
                                                     const CooperativeId& cooperative);
absl::Status SetBestCheckpoint(pg::Transaction& tx, const CooperativeId& cooperative,
                               const crypto::Digest& best);

// ALREADY_EXISTS: the document was carried out before.
absl::Status InsertModule(pg::Transaction& tx, const ModuleRecord& module);
// Whether the last word about the digest is not that it is withdrawn.
absl::StatusOr<bool> IsRegistered(pg::Transaction& tx, const CooperativeId& cooperative,
                                  const crypto::Digest& module);
// A cooperative that registered a module of this digest at some time.
absl::StatusOr<std::optional<CooperativeId>> FindModuleOwner(pg::Transaction& tx,
                                                             const crypto::Digest& module);

absl::Status InsertCheckpoint(pg::Transaction& tx, const CheckpointRecord& checkpoint);
// The newest of the cooperative.
absl::StatusOr<std::optional<CheckpointRecord>> FindNewestCheckpoint(
    pg::Transaction& tx, const CooperativeId& cooperative);
// By digest: the newest such; the cooperative may be zero (any).
absl::StatusOr<std::optional<CheckpointRecord>> FindCheckpoint(pg::Transaction& tx,
                                                               const CooperativeId& cooperative,
                                                               const crypto::Digest& sha256);
absl::StatusOr<std::vector<CheckpointRecord>> ListCheckpoints(pg::Transaction& tx,
                                                              const CooperativeId& cooperative,
                                                              int64_t after_version, int limit);

absl::Status InsertPool(pg::Transaction& tx, const PoolRecord& pool);
absl::StatusOr<std::optional<PoolRecord>> FindPool(pg::Transaction& tx,
                                                   const CooperativeId& cooperative);

absl::Status InsertPlan(pg::Transaction& tx, const PlanRecord& plan);
absl::StatusOr<std::optional<PlanRecord>> FindPlan(pg::Transaction& tx, const PlanId& plan);

// Complete uploads. Recording again is OK.
absl::Status RecordUpload(pg::Transaction& tx, absl::string_view owner, int purpose,
                          const crypto::Digest& sha256, int64_t size_bytes, int64_t now_us);
absl::StatusOr<bool> HasUpload(pg::Transaction& tx, absl::string_view owner, int purpose,
                               const crypto::Digest& sha256);

}  // namespace rochdale::attribution
