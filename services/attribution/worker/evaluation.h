// What a worker computes: the losses of one shard, from blobs by digest. No gRPC.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/learning/aggregation.h"
#include "libs/learning/dataset.h"
#include "libs/learning/evaluator.h"
#include "libs/learning/grid.h"
#include "services/attribution/run_spec.h"

namespace rochdale::attribution {

// Where a shard left the exact evaluator's range.
struct RangeFailure {
  int64_t candidate = 0;           // index in the part
  std::optional<UpdateId> update;  // of the largest norm in that coalition
  std::string layer;
};

struct ShardLosses {
  std::vector<int64_t> losses;          // candidate by candidate, row by row
  std::optional<RangeFailure> failure;  // then losses are empty
};

// Keeps what shards of one run share in memory (base, updates, the data set used last).
// Not thread-safe.
class RunEvaluation {
 public:
  using Blobs = std::function<absl::StatusOr<std::string>(const crypto::Digest&)>;
  // `evaluator` outlives this.
  RunEvaluation(RunSpec spec, Blobs blobs, learning::Evaluator& evaluator)
      : spec_(std::move(spec)), blobs_(std::move(blobs)), evaluator_(evaluator) {}

  // BAD_REQUEST where the shard is not of this run; errors of blobs and of their contents.
  absl::StatusOr<ShardLosses> Evaluate(const ShardRange& shard);

 private:
  absl::Status CheckShard(const ShardRange& shard) const;
  absl::Status LoadBase();
  absl::StatusOr<learning::GridSpan> Update(int index);
  absl::StatusOr<learning::Aggregator*> AggregatorOf(const RunPart& part);
  absl::StatusOr<learning::Rows> RowsOf(const RunPart& part);
  absl::StatusOr<ShardLosses> EvaluateMasks(const RunPart& part, const ShardRange& shard,
                                            learning::Rows rows);
  absl::StatusOr<ShardLosses> EvaluateCheckpoints(const RunPart& part, const ShardRange& shard,
                                                  learning::Rows rows);

  const RunSpec spec_;
  const Blobs blobs_;
  learning::Evaluator& evaluator_;
  learning::GridVector base_;
  std::map<int, learning::GridVector> updates_;  // prepared for the run's aggregation
  // Coalitions of the part used last.
  std::optional<learning::Aggregator> aggregator_;
  const RunPart* aggregator_of_ = nullptr;
  std::optional<crypto::Digest> rows_of_;
  learning::Dataset rows_;
};

}  // namespace rochdale::attribution
