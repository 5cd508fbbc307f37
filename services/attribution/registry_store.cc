#include "services/attribution/registry_store.h"

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::attribution {
namespace {

absl::StatusOr<ModelRecord> ModelOf(const pg::Row& row) {
  ModelRecord model;
  model.cooperative = row.Get<CooperativeId>("cooperative_id");
  model.model = row.Get<ModelId>("model_id");
  ASSIGN_OR_RETURN(model.spec, learning::ParseModelSpec(row.Get<std::string>("spec")));
  model.init_seed = row.Get<int64_t>("init_seed");
  model.document = row.Get<crypto::Digest>("document_sha256");
  model.event = row.Get<EventId>("event_id");
  model.best = row.Get<crypto::Digest>("best_sha256");
  model.created_us = row.Get<int64_t>("created_us");
  return model;
}

CheckpointRecord CheckpointOf(const pg::Row& row) {
  CheckpointRecord checkpoint;
  checkpoint.cooperative = row.Get<CooperativeId>("cooperative_id");
  checkpoint.version = row.Get<int64_t>("version");
  checkpoint.sha256 = row.Get<crypto::Digest>("sha256");
  checkpoint.parent = row.Get<std::optional<crypto::Digest>>("parent_sha256");
  checkpoint.round = row.Get<std::optional<RoundId>>("round_id");
  checkpoint.event = row.Get<EventId>("event_id");
  checkpoint.made_us = row.Get<int64_t>("made_us");
  return checkpoint;
}

std::optional<CheckpointRecord> MaybeCheckpoint(const std::optional<pg::Row>& row) {
  if (!row) return std::nullopt;
  return CheckpointOf(*row);
}

}  // namespace

constexpr char kInsertModel[] =
    "INSERT INTO models (cooperative_id, model_id, spec, init_seed, document_sha256, event_id, "
    "best_sha256, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
    "ON CONFLICT (cooperative_id) DO NOTHING";
absl::Status InsertModel(pg::Transaction& tx, const ModelRecord& model) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertModel, model.cooperative, model.model,
                                   learning::ModelSpecToJson(model.spec), model.init_seed,
                                   model.document, model.event, model.best, model.created_us));
  if (inserted == 1) return absl::OkStatus();
  return Error("ALREADY_EXISTS", "the cooperative has a model already");
}

constexpr char kFindModel[] = "SELECT * FROM models WHERE cooperative_id = $1";
absl::StatusOr<std::optional<ModelRecord>> FindModel(pg::Transaction& tx,
                                                     const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindModel, cooperative));
  if (!row) return std::nullopt;
  ASSIGN_OR_RETURN(ModelRecord model, ModelOf(*row));
  return model;
}

constexpr char kSetBest[] = "UPDATE models SET best_sha256 = $2 WHERE cooperative_id = $1";
absl::Status SetBestCheckpoint(pg::Transaction& tx, const CooperativeId& cooperative,
                               const crypto::Digest& best) {
  return tx.Exec(kSetBest, cooperative, best).status();
}

constexpr char kInsertModule[] =
    "INSERT INTO modules (cooperative_id, sha256, withdraws, document_sha256, event_id, "
    "recorded_us) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (document_sha256) DO NOTHING";
absl::Status InsertModule(pg::Transaction& tx, const ModuleRecord& module) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertModule, module.cooperative, module.sha256,
                                   module.withdraws, module.document, module.event,
                                   module.recorded_us));
  if (inserted == 1) return absl::OkStatus();
  return Error("ALREADY_EXISTS", "this registration was carried out before");
}

constexpr char kIsRegistered[] =
    "SELECT withdraws FROM modules WHERE sha256 = $2 AND cooperative_id = $1 "
    "ORDER BY number DESC LIMIT 1";
absl::StatusOr<bool> IsRegistered(pg::Transaction& tx, const CooperativeId& cooperative,
                                  const crypto::Digest& module) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kIsRegistered, cooperative, module));
  return row && !row->Get<bool>(0);
}

constexpr char kModuleOwner[] =
    "SELECT cooperative_id FROM modules WHERE sha256 = $1 AND NOT withdraws "
    "ORDER BY number DESC LIMIT 1";
absl::StatusOr<std::optional<CooperativeId>> FindModuleOwner(pg::Transaction& tx,
                                                             const crypto::Digest& module) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kModuleOwner, module));
  if (!row) return std::nullopt;
  return row->Get<CooperativeId>(0);
}

constexpr char kInsertCheckpoint[] =
    "INSERT INTO checkpoints (cooperative_id, version, sha256, parent_sha256, round_id, event_id, "
    "made_us) VALUES ($1, $2, $3, $4, $5, $6, $7)";
absl::Status InsertCheckpoint(pg::Transaction& tx, const CheckpointRecord& checkpoint) {
  return tx
      .Exec(kInsertCheckpoint, checkpoint.cooperative, checkpoint.version, checkpoint.sha256,
            checkpoint.parent, checkpoint.round, checkpoint.event, checkpoint.made_us)
      .status();
}

constexpr char kNewestCheckpoint[] =
    "SELECT * FROM checkpoints WHERE cooperative_id = $1 ORDER BY version DESC LIMIT 1";
absl::StatusOr<std::optional<CheckpointRecord>> FindNewestCheckpoint(
    pg::Transaction& tx, const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kNewestCheckpoint, cooperative));
  return MaybeCheckpoint(row);
}

constexpr char kCheckpointByDigest[] =
    "SELECT * FROM checkpoints WHERE sha256 = $1 AND ($2::uuid IS NULL OR cooperative_id = $2) "
    "ORDER BY version DESC LIMIT 1";
absl::StatusOr<std::optional<CheckpointRecord>> FindCheckpoint(pg::Transaction& tx,
                                                               const CooperativeId& cooperative,
                                                               const crypto::Digest& sha256) {
  std::optional<CooperativeId> of;
  if (!cooperative.IsZero()) of = cooperative;
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kCheckpointByDigest, sha256, of));
  return MaybeCheckpoint(row);
}

constexpr char kListCheckpoints[] =
    "SELECT * FROM checkpoints WHERE cooperative_id = $1 AND version > $2 "
    "ORDER BY version LIMIT $3";
absl::StatusOr<std::vector<CheckpointRecord>> ListCheckpoints(pg::Transaction& tx,
                                                              const CooperativeId& cooperative,
                                                              int64_t after_version, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows,
                   tx.Exec(kListCheckpoints, cooperative, after_version, limit));
  std::vector<CheckpointRecord> checkpoints;
  for (const pg::Row& row : rows) checkpoints.push_back(CheckpointOf(row));
  return checkpoints;
}

constexpr char kInsertPool[] =
    "INSERT INTO validation_pools (cooperative_id, sha256, row_count, visible_rows, split_seed, "
    "document_sha256, event_id, sealed_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
    "ON CONFLICT (cooperative_id) DO NOTHING";
absl::Status InsertPool(pg::Transaction& tx, const PoolRecord& pool) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertPool, pool.cooperative, pool.sha256, pool.rows,
                                   pool.visible_rows, pool.split_seed, pool.document, pool.event,
                                   pool.sealed_us));
  if (inserted == 1) return absl::OkStatus();
  return Error("ALREADY_EXISTS", "the cooperative has a sealed validation pool already");
}

constexpr char kFindPool[] = "SELECT * FROM validation_pools WHERE cooperative_id = $1";
absl::StatusOr<std::optional<PoolRecord>> FindPool(pg::Transaction& tx,
                                                   const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindPool, cooperative));
  if (!row) return std::nullopt;
  PoolRecord pool;
  pool.cooperative = cooperative;
  pool.sha256 = row->Get<crypto::Digest>("sha256");
  pool.rows = row->Get<int64_t>("row_count");
  pool.visible_rows = row->Get<int64_t>("visible_rows");
  pool.split_seed = row->Get<crypto::Digest>("split_seed");
  pool.document = row->Get<crypto::Digest>("document_sha256");
  pool.event = row->Get<EventId>("event_id");
  pool.sealed_us = row->Get<int64_t>("sealed_us");
  return pool;
}

constexpr char kInsertPlan[] =
    "INSERT INTO plans (plan_id, cooperative_id, first_number, last_number, scenario, "
    "document_sha256, started_us) VALUES ($1, $2, $3, $4, $5, $6, $7) "
    "ON CONFLICT (document_sha256) DO NOTHING";
absl::Status InsertPlan(pg::Transaction& tx, const PlanRecord& plan) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertPlan, plan.plan, plan.cooperative, plan.first_number,
                                   plan.last_number, plan.scenario, plan.document,
                                   plan.started_us));
  if (inserted == 1) return absl::OkStatus();
  return Error("ALREADY_EXISTS", "this plan was started before; sign a new one");
}

constexpr char kFindPlan[] = "SELECT * FROM plans WHERE plan_id = $1";
absl::StatusOr<std::optional<PlanRecord>> FindPlan(pg::Transaction& tx, const PlanId& plan) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kFindPlan, plan));
  if (!row) return std::nullopt;
  PlanRecord record;
  record.plan = plan;
  record.cooperative = row->Get<CooperativeId>("cooperative_id");
  record.first_number = row->Get<int64_t>("first_number");
  record.last_number = row->Get<int64_t>("last_number");
  record.scenario = row->Get<std::string>("scenario");
  record.document = row->Get<crypto::Digest>("document_sha256");
  record.started_us = row->Get<int64_t>("started_us");
  return record;
}

constexpr char kRecordUpload[] =
    "INSERT INTO uploads (owner, purpose, sha256, size_bytes, made_us) "
    "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
absl::Status RecordUpload(pg::Transaction& tx, absl::string_view owner, int purpose,
                          const crypto::Digest& sha256, int64_t size_bytes, int64_t now_us) {
  return tx.Exec(kRecordUpload, owner, purpose, sha256, size_bytes, now_us).status();
}

constexpr char kHasUpload[] =
    "SELECT 1 FROM uploads WHERE owner = $1 AND purpose = $2 AND sha256 = $3";
absl::StatusOr<bool> HasUpload(pg::Transaction& tx, absl::string_view owner, int purpose,
                               const crypto::Digest& sha256) {
  ASSIGN_OR_RETURN(const auto row, tx.ExecOptional(kHasUpload, owner, purpose, sha256));
  return row.has_value();
}

}  // namespace rochdale::attribution
