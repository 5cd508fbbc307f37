// Rpcs about A/B tests of checkpoints.
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/pg/database.h"
#include "libs/pg/documents.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/paging.h"
#include "libs/service/mutation.h"
#include "services/attribution/attribution_service.h"
#include "services/attribution/comparison_store.h"
#include "services/attribution/convert.h"
#include "services/attribution/entries.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/rules.h"

namespace rochdale::attribution {
namespace {

constexpr int64_t kVisibleRowsMin = 2;  // a standard error needs two

absl::Status RequireCheckpoint(pg::Transaction& tx, const CooperativeId& cooperative,
                               const crypto::Digest& sha256) {
  ASSIGN_OR_RETURN(const auto found, FindCheckpoint(tx, cooperative, sha256));
  if (found) return absl::OkStatus();
  return Error("NOT_FOUND", "the lineage has no such checkpoint");
}

}  // namespace

grpc::Status AttributionService::CompareCheckpoints(grpc::ServerContext* context,
                                                    const v1::CompareCheckpointsRequest* request,
                                                    v1::CompareCheckpointsResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const WantedComparison wanted, ParseComparison(request->comparison()));
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, parts_.governance());
    RETURN_IF_ERROR(governance->RequireFounder(wanted.cooperative, wanted.document.public_key));
    ASSIGN_OR_RETURN(const config::ParameterSet parameters,
                     governance->Parameters(wanted.cooperative));
    ComparisonRecord comparison;
    comparison.document = crypto::DocumentDigest(wanted.document);
    comparison.comparison =
        ComparisonId{crypto::DeterministicId("attribution/comparison", comparison.document)};
    comparison.cooperative = wanted.cooperative;
    comparison.a = wanted.a;
    comparison.b = wanted.b;
    comparison.seed_sha256 =
        crypto::Sha256(parts_.secrets.ComparisonSeed(comparison.comparison).AsBytes());
    comparison.parameters = ParametersToText(parameters);
    comparison.created_us = ToUnixMicros(call.now);
    RETURN_IF_ERROR(service::Mutate(
        parts_.env.db, call, *request, response, [&](pg::Transaction& tx) -> absl::Status {
          ASSIGN_OR_RETURN(const auto model, FindModel(tx, wanted.cooperative));
          if (!model) return Error("NOT_FOUND", "the cooperative has no model");
          RETURN_IF_ERROR(RequireCheckpoint(tx, wanted.cooperative, wanted.a));
          RETURN_IF_ERROR(RequireCheckpoint(tx, wanted.cooperative, wanted.b));
          ASSIGN_OR_RETURN(const auto pool, FindPool(tx, wanted.cooperative));
          if (!pool || pool->visible_rows < kVisibleRowsMin) {
            return Error("VALIDATION_POOL_EMPTY", "a test needs visible validation rows");
          }
          RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
          RETURN_IF_ERROR(InsertComparison(tx, comparison));
          RETURN_IF_ERROR(
              LogComparisonStarted(tx, comparison, *model, wanted.document, call.now));
          ToProto(comparison, std::nullopt, *response->mutable_comparison());
          return absl::OkStatus();
        }));
    parts_.changes.Notify();
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::GetComparison(grpc::ServerContext* context,
                                               const v1::GetComparisonRequest* request,
                                               v1::GetComparisonResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const ComparisonId id,
                     ParseField<ComparisonId>(request->comparison_id(), "comparison_id"));
    std::optional<ComparisonRecord> found;
    std::optional<std::string> evidence;
    RETURN_IF_ERROR(
        parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
          ASSIGN_OR_RETURN(found, FindComparison(tx, id));
          ASSIGN_OR_RETURN(evidence, FindComparisonEvidence(tx, id));
          return absl::OkStatus();
        }));
    if (!found) return Error("NOT_FOUND", "no such test");
    RETURN_IF_ERROR(RequireInsider(call, found->cooperative));
    ToProto(*found, parts_.secrets.ComparisonSeed(id), *response->mutable_comparison());
    if (evidence) response->set_evidence(*evidence);
    return absl::OkStatus();
  });
}

grpc::Status AttributionService::ListComparisons(grpc::ServerContext* context,
                                                 const v1::ListComparisonsRequest* request,
                                                 v1::ListComparisonsResponse* response) {
  return rpc::Handle(context, parts_.env.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId cooperative,
                     ParseField<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    RETURN_IF_ERROR(RequireInsider(call, cooperative));
    const std::string binding = absl::StrCat("ListComparisons/", cooperative.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    ComparisonId after;
    if (!page.first()) {
      const auto parsed = ComparisonId::Parse(page.after[0]);
      if (!parsed.ok()) return Error("PAGE_TOKEN_INVALID", "the page token is malformed");
      after = *parsed;
    }
    ASSIGN_OR_RETURN(const auto found,
                     parts_.env.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return attribution::ListComparisons(tx, cooperative, after, page.size + 1);
                     }));
    for (const ComparisonRecord& comparison : found) {
      if (response->comparisons_size() == page.size) {
        response->set_next_page_token(rpc::MakePageToken(
            binding, {response->comparisons(page.size - 1).comparison_id()}));
        break;
      }
      ToProto(comparison, parts_.secrets.ComparisonSeed(comparison.comparison),
              *response->add_comparisons());
    }
    return absl::OkStatus();
  });
}

}  // namespace rochdale::attribution
