#include "services/attribution/comparison_steps.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/learning/dataset.h"
#include "libs/obs/log.h"
#include "libs/pg/database.h"
#include "services/attribution/comparison_store.h"
#include "services/attribution/draw.h"
#include "services/attribution/engine_writes.h"
#include "services/attribution/entries.h"
#include "services/attribution/registry_store.h"
#include "services/attribution/rules.h"
#include "services/attribution/run_store.h"

namespace rochdale::attribution {
namespace {

constexpr absl::Duration kReadTimeout = absl::Seconds(10);
constexpr absl::Duration kComparisonMax = absl::Hours(24);
constexpr int kRunningMax = 1'000;

RunId RunOfLook(const ComparisonRecord& comparison, int look) {
  return RunId{crypto::DeterministicId("attribution/comparison-run", comparison.comparison, look)};
}

}  // namespace

ComparisonRule ComparisonRuleOf(const config::ParameterSet& parameters) {
  ComparisonRule rule;
  rule.rows_min = parameters.Int("comparison.rows_min");
  rule.rows_max = parameters.Int("comparison.rows_max");
  rule.error_micro = parameters.Micro("comparison.error_micro");
  rule.margin_nanonats = parameters.Int("comparison.margin_nanonats");
  return rule;
}

absl::StatusOr<int> ComparisonSteps::AdvanceAll() {
  ASSIGN_OR_RETURN(const std::vector<ComparisonRecord> running,
                   parts_.env.db.Transact(kReadTimeout, [](pg::Transaction& tx) {
                     return ListRunningComparisons(tx, kRunningMax);
                   }));
  for (const ComparisonRecord& comparison : running) {
    absl::Status status = Advance(comparison);
    const absl::Time limit = absl::FromUnixMicros(comparison.created_us) + kComparisonMax;
    if (parts_.env.clock.Now() >= limit) {
      status = End(comparison, nullptr, "DEADLINE");
    }
    if (status.ok()) continue;
    parts_.env.logger.Warning("a step of an A/B test failed",
                              obs::Fields()
                                  .Text("comparison", comparison.comparison.ToString())
                                  .Text("cause", status.ToString()));
  }
  return static_cast<int>(running.size());
}

absl::Status ComparisonSteps::Advance(const ComparisonRecord& comparison) {
  // While a look is evaluated, the losses of those before it need not be read again.
  for (int look = 0; look < kLooksMax; ++look) {
    ASSIGN_OR_RETURN(const auto run, FindLook(comparison, look));
    if (!run) break;
    if (run->state != RunState::kRunning) continue;
    SeeToWorkers(parts_, launcher_, *run);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const config::ParameterSet parameters,
                   ParametersFromText(comparison.parameters));
  ASSIGN_OR_RETURN(const auto pool,
                   parts_.env.db.Transact(kReadTimeout, [&](pg::Transaction& tx) {
                     return FindPool(tx, comparison.cooperative);
                   }));
  if (!pool) return absl::InternalError("a test without a validation pool");
  ComparisonEvidence evidence;
  evidence.comparison = comparison.comparison;
  evidence.cooperative = comparison.cooperative;
  evidence.a = comparison.a;
  evidence.b = comparison.b;
  evidence.rule = ComparisonRuleOf(parameters);
  evidence.seed = parts_.secrets.ComparisonSeed(comparison.comparison);
  evidence.seed_sha256 = comparison.seed_sha256;
  evidence.pool = pool->sha256;
  evidence.split_seed = pool->split_seed;
  evidence.pool_rows = pool->rows;
  evidence.visible_rows = pool->visible_rows;
  int64_t rows = 0;
  for (int look = 0; look < kLooksMax; ++look) {
    const int64_t next = RowsOfNextLook(evidence.rule, pool->visible_rows, rows);
    ASSIGN_OR_RETURN(const RunRecord run,
                     EnsureRun(comparison, look, [&] {
                       return SpecOf(comparison, *pool, rows, next - rows);
                     }));
    if (run.state == RunState::kRunning) return absl::OkStatus();
    if (run.state != RunState::kDone) {
      return End(comparison, nullptr, run.reason.empty() ? "RUN_FAILED" : run.reason);
    }
    RETURN_IF_ERROR(Add(run, evidence));
    rows = next;
    evidence.look =
        TakeLook(evidence.rule, pool->visible_rows, evidence.losses_a, evidence.losses_b);
    if (evidence.look.verdict != Verdict::kNone) return End(comparison, &evidence, "");
  }
  return absl::InternalError("an A/B test took more looks than there are");
}

absl::StatusOr<RunSpec> ComparisonSteps::SpecOf(const ComparisonRecord& comparison,
                                                const PoolRecord& pool, int64_t begin,
                                                int64_t rows) {
  ASSIGN_OR_RETURN(const auto model,
                   parts_.env.db.Transact(kReadTimeout, [&](pg::Transaction& tx) {
                     return FindModel(tx, comparison.cooperative);
                   }));
  if (!model) return absl::InternalError("a test without a model");
  const std::vector<int64_t> order =
      ComparisonOrder(parts_.secrets.ComparisonSeed(comparison.comparison),
                      VisibleRows(pool.split_seed, pool.rows, pool.visible_rows));
  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts_.blobs());
  ASSIGN_OR_RETURN(const blob::MappedBlob file, blobs->Get(pool.sha256));
  ASSIGN_OR_RETURN(const learning::Dataset all, learning::ParseDataset(file.text(), model->spec));
  const std::vector<int64_t> wanted(order.begin() + begin, order.begin() + begin + rows);
  RunSpec spec;
  spec.model = model->spec;
  spec.base = comparison.a;
  RunPart part;
  ASSIGN_OR_RETURN(part.data,
                   blobs->Put(learning::SerializeDataset(learning::TakeRows(all, wanted))));
  part.rows = rows;
  part.checkpoints = {comparison.a, comparison.b};
  spec.parts.push_back(std::move(part));
  return spec;
}

absl::StatusOr<std::optional<RunRecord>> ComparisonSteps::FindLook(
    const ComparisonRecord& comparison, int look) {
  return parts_.env.db.Transact(kReadTimeout, [&](pg::Transaction& tx) {
    return FindRun(tx, RunOfLook(comparison, look));
  });
}

absl::StatusOr<RunRecord> ComparisonSteps::EnsureRun(
    const ComparisonRecord& comparison, int look,
    absl::FunctionRef<absl::StatusOr<RunSpec>()> make) {
  ASSIGN_OR_RETURN(auto run, FindLook(comparison, look));
  if (!run) {
    ASSIGN_OR_RETURN(const config::ParameterSet parameters,
                     ParametersFromText(comparison.parameters));
    ASSIGN_OR_RETURN(RunSpec spec, make());
    RunRecord record;
    record.run = RunOfLook(comparison, look);
    record.comparison = comparison.comparison;
    record.purpose = RunPurpose::kCompare;
    RETURN_IF_ERROR(MakeRun(parts_, epoch_, std::move(record), std::move(spec), parameters));
    ASSIGN_OR_RETURN(run, FindLook(comparison, look));
    if (!run) return absl::InternalError("a run vanished");
  }
  SeeToWorkers(parts_, launcher_, *run);
  return *run;
}

absl::Status ComparisonSteps::Add(const RunRecord& run, ComparisonEvidence& evidence) {
  ASSIGN_OR_RETURN(const RunSpec spec, ParseRunSpec(run.spec));
  ASSIGN_OR_RETURN(const auto results,
                   parts_.env.db.Transact(kReadTimeout, [&](pg::Transaction& tx) {
                     return ListResults(tx, run.run);
                   }));
  ASSIGN_OR_RETURN(const auto parts, AssembleLosses(spec, results));
  const auto all = absl::MakeConstSpan(parts.at(0));
  const size_t rows = all.size() / 2;
  evidence.losses_a.insert(evidence.losses_a.end(), all.begin(), all.begin() + rows);
  evidence.losses_b.insert(evidence.losses_b.end(), all.begin() + rows, all.end());
  return absl::OkStatus();
}

absl::Status ComparisonSteps::End(ComparisonRecord comparison, const ComparisonEvidence* evidence,
                                  absl::string_view reason) {
  const absl::Time now = parts_.env.clock.Now();
  comparison.state = evidence != nullptr ? ComparisonState::kDone : ComparisonState::kFailed;
  comparison.reason = std::string(reason);
  comparison.ended_us = ToUnixMicros(now);
  std::optional<std::string> body;
  if (evidence != nullptr) {
    comparison.look = evidence->look;
    body = ComparisonEvidenceToJson(*evidence);
    comparison.evidence_sha256 = crypto::Sha256(*body);
  }
  return EngineWrite(parts_, epoch_, [&](pg::Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const bool ended, EndComparison(tx, comparison, body));
    if (!ended) return absl::OkStatus();
    return LogComparisonEnded(tx, comparison,
                              parts_.secrets.ComparisonSeed(comparison.comparison), now);
  });
}

}  // namespace rochdale::attribution
