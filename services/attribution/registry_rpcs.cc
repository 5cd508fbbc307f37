// Rpcs about models, checkpoints, validation pools and training plans.
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/learning/dataset.h"
#include "libs/pg/database.h"
#include "libs/pg/documents.h"
#include "libs/rpc/document.h"
#include "libs/rpc/fields.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/paging.h"
#include "libs/service/mutation.h"
#include "services/attribution/attribution_service.h"
#include "services/attribution/convert.h"
#include "services/attribution/draw.h"
#include "services/attribution/entries.h"
#include "services/attribution/parameters_file.h"
#include "services/attribution/registered_modules.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/round_opening.h"
#include "services/attribution/round_store.h"

namespace rochdale::attribution {
namespace {

absl::StatusOr<ModelRecord> NeedModel(pg::Transaction& tx, const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const auto model, FindModel(tx, cooperative));
  if (!model) return Error("NOT_FOUND", "the cooperative has no model");
  return *model;
}

// What a pool's sealing needs besides the transaction: its rows, cut into visible and settlement.
struct SealedPool {
  PoolRecord record;
  crypto::Digest root;
};

absl::StatusOr<SealedPool> CutPool(Parts& parts, const ModelRecord& model,
                                   const WantedPool& wanted, absl::Time now) {
  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts.blobs());
  ASSIGN_OR_RETURN(const blob::MappedBlob blob, blobs->Get(wanted.data));
  ASSIGN_OR_RETURN(const learning::Dataset rows, learning::ParseDataset(blob.text(), model.spec));
  ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts.governance());
  ASSIGN_OR_RETURN(const config::ParameterSet parameters,
                   governance->Parameters(wanted.cooperative));
  SealedPool sealed;
  PoolRecord& pool = sealed.record;
  pool.cooperative = wanted.cooperative;
  pool.sha256 = wanted.data;
  pool.rows = rows.count();
  pool.visible_rows =
      VisibleRowCount(pool.rows, parameters.BasisPoints("validation.visible_fraction_bp"));
  if (pool.rows - pool.visible_rows < 2) {
    return Error("PROBE_INVALID", "the pool leaves fewer than two rows to settle on");
  }
  pool.split_seed = parts.secrets.SplitSeed(wanted.cooperative, wanted.data);
  pool.document = crypto::DocumentDigest(wanted.document);
  pool.event = EventOf("POOL", wanted.cooperative.value);
  pool.sealed_us = ToUnixMicros(now);
  sealed.root = PoolRoot(rows, VisibleRows(pool.split_seed, pool.rows, pool.visible_rows));
  return sealed;
}

// What a model starts from. A module is looked at here, once, before anything depends on it.
absl::StatusOr<learning::GridVector> FirstParameters(Parts& parts, const WantedModel& wanted,
                                                     absl::Time deadline) {
  if (wanted.spec.exact()) {
    return learning::InitialParameters(wanted.spec, absl::StrCat(wanted.init_seed));
  }
  RETURN_IF_ERROR(parts.env.db.Transact(deadline, [&](pg::Transaction& tx) {
    return RequireRegistered(tx, wanted.cooperative, wanted.spec);
  }));
  ASSIGN_OR_RETURN(const auto process, StartModule(parts, wanted.spec));
  RETURN_IF_ERROR(process->CheckPerSample());
  return process->initial();
}

}  // namespace

grpc::Status AttributionService::RegisterModule(grpc::ServerContext* context,
                                                const v1::RegisterModuleRequest* request,
                                                v1::RegisterModuleResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedModule wanted, ParseModuleRegistration(request->registration()));
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
    RETURN_IF_ERROR(governance->RequireFounder(wanted.cooperative, wanted.document.public_key));
    ModuleRecord module;
    module.cooperative = wanted.cooperative;
    module.sha256 = wanted.module;
    module.withdraws = wanted.withdraws;
    module.document = crypto::DocumentDigest(wanted.document);
    module.event = EventId{crypto::DeterministicId("attribution/module", module.document)};
    module.recorded_us = ToUnixMicros(call.now);
    const ModelId model{crypto::DeterministicId("attribution/model", wanted.cooperative)};
    return service::Mutate(
        parts_.env.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          if (wanted.withdraws) {
            ASSIGN_OR_RETURN(const bool registered,
                             IsRegistered(tx, wanted.cooperative, wanted.module));
            if (!registered) return Error("NOT_FOUND", "the module is not registered");
          } else {
            ASSIGN_OR_RETURN(const bool uploaded,
                             HasUpload(tx, call.identity.ToString(),
                                       common_v1::BLOB_PURPOSE_MODULE, wanted.module));
            if (!uploaded) return Error("UPLOAD_INCOMPLETE", "upload the module first");
          }
          RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
          RETURN_IF_ERROR(InsertModule(tx, module));
          RETURN_IF_ERROR(LogModule(tx, module, model, wanted.document, call.now));
          response->mutable_entry()->set_event_id(module.event.ToString());
          return absl::OkStatus();
        });
  });
}

grpc::Status AttributionService::CreateModel(grpc::ServerContext* context,
                                             const v1::CreateModelRequest* request,
                                             v1::CreateModelResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedModel wanted, ParseModelRegistration(request->registration()));
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
    RETURN_IF_ERROR(governance->RequireFounder(wanted.cooperative, wanted.document.public_key));
    ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
    ASSIGN_OR_RETURN(const learning::GridVector parameters,
                     FirstParameters(parts_, wanted, call.deadline));
    ASSIGN_OR_RETURN(const crypto::Digest sha256,
                     blobs->Put(SerializeCheckpoint(parameters, wanted.spec)));
    ModelRecord model;
    model.cooperative = wanted.cooperative;
    model.model = ModelId{crypto::DeterministicId("attribution/model", wanted.cooperative)};
    model.spec = wanted.spec;
    model.init_seed = wanted.init_seed;
    model.document = crypto::DocumentDigest(wanted.document);
    model.event = EventOf("MODEL", model.model.value);
    model.best = sha256;
    model.created_us = ToUnixMicros(call.now);
    CheckpointRecord checkpoint;
    checkpoint.cooperative = wanted.cooperative;
    checkpoint.sha256 = sha256;
    checkpoint.event = EventOf("CHECKPOINT", model.model.value);
    checkpoint.made_us = model.created_us;
    return service::Mutate(
        parts_.env.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          RETURN_IF_ERROR(RequireRegistered(tx, wanted.cooperative, wanted.spec));
          RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
          RETURN_IF_ERROR(InsertModel(tx, model));
          RETURN_IF_ERROR(InsertCheckpoint(tx, checkpoint));
          RETURN_IF_ERROR(LogModelCreated(tx, model, sha256, wanted.document, call.now));
          RETURN_IF_ERROR(LogCheckpointMade(tx, checkpoint, model, model.event, call.now));
          ToProto(model, *response->mutable_model());
          ToProto(checkpoint, *response->mutable_checkpoint());
          return absl::OkStatus();
        });
  });
}

grpc::Status AttributionService::GetModel(grpc::ServerContext* context,
                                          const v1::GetModelRequest* request,
                                          v1::GetModelResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId cooperative,
                     ParseField<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    ASSIGN_OR_RETURN(const ModelRecord model,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return NeedModel(tx, cooperative);
                     }));
    ToProto(model, *response->mutable_model());
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::SealValidationPool(grpc::ServerContext* context,
                                                    const v1::SealValidationPoolRequest* request,
                                                    v1::SealValidationPoolResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedPool wanted, ParsePoolSealing(request->sealing()));
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
    RETURN_IF_ERROR(governance->RequireFounder(wanted.cooperative, wanted.document.public_key));
    ASSIGN_OR_RETURN(const ModelRecord model,
                     parts_.env.db.Transact(
                         call.deadline, [&](pg::Transaction& tx) -> absl::StatusOr<ModelRecord> {
                           ASSIGN_OR_RETURN(
                               const bool uploaded,
                               HasUpload(tx, call.identity.ToString(),
                                         common_v1::BLOB_PURPOSE_VALIDATION, wanted.data));
                           if (!uploaded) {
                             return Error("UPLOAD_INCOMPLETE", "upload the rows first");
                           }
                           return NeedModel(tx, wanted.cooperative);
                         }));
    ASSIGN_OR_RETURN(const SealedPool sealed, CutPool(parts_, model, wanted, call.now));
    return service::Mutate(
        parts_.env.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
          RETURN_IF_ERROR(InsertPool(tx, sealed.record));
          RETURN_IF_ERROR(
              LogPoolSealed(tx, sealed.record, model, sealed.root, wanted.document, call.now));
          response->set_rows(sealed.record.rows);
          response->set_visible_rows(sealed.record.visible_rows);
          response->mutable_entry()->set_event_id(sealed.record.event.ToString());
          return absl::OkStatus();
        });
  });
}

grpc::Status AttributionService::StartTraining(grpc::ServerContext* context,
                                               const v1::StartTrainingRequest* request,
                                               v1::StartTrainingResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedPlan wanted, ParseTrainingPlan(request->plan()));
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
    RETURN_IF_ERROR(governance->RequireFounder(wanted.cooperative, wanted.document.public_key));
    RETURN_IF_ERROR(service::Mutate(
        parts_.env.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          ASSIGN_OR_RETURN(const ModelRecord model, NeedModel(tx, wanted.cooperative));
          RETURN_IF_ERROR(RequireRegistered(tx, wanted.cooperative, model.spec));
          ASSIGN_OR_RETURN(const auto pool, FindPool(tx, wanted.cooperative));
          if (!pool) return Error("VALIDATION_POOL_EMPTY", "seal a validation pool first");
          ASSIGN_OR_RETURN(const auto active, FindActiveRound(tx, wanted.cooperative));
          if (active) return Error("ROUND_STATE", "a round of the cooperative is under way");
          RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
          ASSIGN_OR_RETURN(const int64_t last, LastRoundNumber(tx, wanted.cooperative));
          PlanRecord plan;
          plan.document = crypto::DocumentDigest(wanted.document);
          plan.plan = PlanId{crypto::DeterministicId("attribution/plan", plan.document)};
          plan.cooperative = wanted.cooperative;
          plan.first_number = last + 1;
          plan.last_number = last + wanted.rounds;
          plan.scenario = wanted.scenario;
          plan.started_us = ToUnixMicros(call.now);
          RETURN_IF_ERROR(InsertPlan(tx, plan));
          ASSIGN_OR_RETURN(const RoundRecord round,
                           InsertNextRound(tx, parts_.secrets, plan, last + 1, call.now));
          ToProto(round, ToUnixMicros(call.now), *response->mutable_round());
          return absl::OkStatus();
        }));
    parts_.changes.Notify();
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::RollBackCheckpoint(grpc::ServerContext* context,
                                                    const v1::RollBackCheckpointRequest* request,
                                                    v1::RollBackCheckpointResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedRollback wanted, ParseRollback(request->rollback()));
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
    RETURN_IF_ERROR(governance->RequireFounder(wanted.cooperative, wanted.document.public_key));
    const crypto::Digest document = crypto::DocumentDigest(wanted.document);
    RETURN_IF_ERROR(service::Mutate(
        parts_.env.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          ASSIGN_OR_RETURN(const ModelRecord model, NeedModel(tx, wanted.cooperative));
          ASSIGN_OR_RETURN(const auto known, pg::FindDocument(tx, document));
          if (known) return Error("ALREADY_EXISTS", "this rollback was carried out before");
          ASSIGN_OR_RETURN(const auto newest, FindNewestCheckpoint(tx, wanted.cooperative));
          if (!newest || newest->sha256 != wanted.newest) {
            return Error("STALE_VERSION", "the newest checkpoint is another one by now");
          }
          ASSIGN_OR_RETURN(const auto earlier,
                           FindCheckpoint(tx, wanted.cooperative, wanted.checkpoint));
          if (!earlier) return Error("NOT_FOUND", "the lineage has no such checkpoint");
          CheckpointRecord checkpoint;
          checkpoint.cooperative = wanted.cooperative;
          checkpoint.version = newest->version + 1;
          checkpoint.sha256 = wanted.checkpoint;
          checkpoint.parent = newest->sha256;
          checkpoint.event = EventId{crypto::DeterministicId("attribution/rollback", document)};
          checkpoint.made_us = ToUnixMicros(call.now);
          RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
          // A round that makes its checkpoint at this moment takes the version first, or fails.
          RETURN_IF_ERROR(InsertCheckpoint(tx, checkpoint));
          RETURN_IF_ERROR(LogRolledBack(tx, checkpoint, model, wanted.document, call.now));
          ToProto(checkpoint, *response->mutable_checkpoint());
          return absl::OkStatus();
        }));
    parts_.changes.Notify();
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::GetCheckpoint(grpc::ServerContext* context,
                                               const v1::GetCheckpointRequest* request,
                                               v1::GetCheckpointResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const auto sha256, ParseOptional<crypto::Digest>(request->sha256(), "sha256"));
    ASSIGN_OR_RETURN(const auto cooperative,
                     ParseOptional<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    if (!sha256 && !cooperative) return Error("BAD_REQUEST", "name a digest or a cooperative");
    ASSIGN_OR_RETURN(const auto checkpoint,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return sha256 ? FindCheckpoint(tx, cooperative.value_or(CooperativeId{}),
                                                      *sha256)
                                     : FindNewestCheckpoint(tx, *cooperative);
                     }));
    if (!checkpoint) return Error("NOT_FOUND", "no such checkpoint");
    ToProto(*checkpoint, *response->mutable_checkpoint());
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::ListCheckpoints(grpc::ServerContext* context,
                                                 const v1::ListCheckpointsRequest* request,
                                                 v1::ListCheckpointsResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId cooperative,
                     ParseField<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    const std::string binding = absl::StrCat("ListCheckpoints/", cooperative.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    int64_t after = -1;
    if (!page.first() && !absl::SimpleAtoi(page.after[0], &after)) {
      return Error("PAGE_TOKEN_INVALID", "the page token is malformed");
    }
    ASSIGN_OR_RETURN(const auto found,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return attribution::ListCheckpoints(tx, cooperative, after, page.size + 1);
                     }));
    for (const CheckpointRecord& checkpoint : found) {
      if (response->checkpoints_size() == page.size) {
        response->set_next_page_token(rpc::MakePageToken(
            binding, {absl::StrCat(response->checkpoints(page.size - 1).version())}));
        break;
      }
      ToProto(checkpoint, *response->add_checkpoints());
    }
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::GetDocument(grpc::ServerContext* context,
                                             const v1::GetDocumentRequest* request,
                                             v1::GetDocumentResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    FieldErrors errors;
    const crypto::Digest digest =
        rpc::TakeDigest(request->document_sha256(), "document_sha256", errors);
    RETURN_IF_ERROR(errors.ToStatus());
    ASSIGN_OR_RETURN(const std::optional<crypto::SignedDocument> found,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return pg::FindDocument(tx, digest);
                     }));
    if (!found) return Error("NOT_FOUND", "no such document");
    rpc::ToProto(*found, *response->mutable_document());
    return absl::OkStatus();
  });
}

}  // namespace rochdale::attribution
