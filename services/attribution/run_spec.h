// What a run evaluates: candidates on rows, everything named by digest. Workers get it as JSON.
//
//   {"base_sha256":hex,"format":1,"lineages":n,"model":{"kind":word,"layer_sizes":[n,...]},
//    "parts":[{"checkpoints":[hex,...],"data_sha256":hex,"masks":["..",...],"rows":n,
//              "updates":[i,...]},...],
//    "aggregation":{"rule":word,"shares":[n,...],"trim_bp":n},
//    "run_id":uuid,"updates":[{"effective_sha256":hex,"update_id":uuid},...]}
// Candidates of a part: first the masks (bit j = update updates[j] of the part, itself an index in
// the run's updates; the candidate is theta of that coalition, libs/learning/aggregation.h), then
// the checkpoints. aggregation is absent for the mean. Rows: all rows of the data set, in order.
// A model that is a TorchScript module says how it is evaluated and how far losses may be apart.
// Pure; shared by the service and the worker.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/aggregation.h"
#include "libs/learning/model.h"

namespace rochdale::attribution {

inline constexpr int64_t kShardResultBytesMax = 3'670'016;  // 3.5 MiB
inline constexpr int64_t kLossMax = int64_t{1} << 49;       // nano-nats of one row

struct RunUpdate {
  UpdateId update;
  crypto::Digest effective;

  bool operator==(const RunUpdate&) const = default;
};

struct RunPart {
  crypto::Digest data;
  int64_t rows = 0;
  std::vector<int> updates;         // indices in RunSpec::updates, at most 63
  std::vector<uint64_t> masks;      // over `updates`
  std::vector<crypto::Digest> checkpoints;

  int64_t candidates() const { return static_cast<int64_t>(masks.size() + checkpoints.size()); }
  bool operator==(const RunPart&) const = default;
};

struct RunSpec {
  RunId run;
  learning::ModelSpec model;
  crypto::Digest base;
  int64_t lineages = 1;
  learning::Aggregation aggregation;
  std::vector<RunUpdate> updates;
  std::vector<RunPart> parts;

  bool operator==(const RunSpec&) const = default;
};

std::string RunSpecToJson(const RunSpec& spec);
// BAD_REQUEST for anything that is not a spec within bounds.
absl::StatusOr<RunSpec> ParseRunSpec(absl::string_view json);

// Every blob that a worker of this run needs, without repeats.
std::vector<crypto::Digest> RunBlobs(const RunSpec& spec);

// A piece of a run.
struct ShardRange {
  int part = 0;
  int64_t row_begin = 0, row_end = 0;
  int64_t candidate_begin = 0, candidate_end = 0;

  int64_t losses() const { return (row_end - row_begin) * (candidate_end - candidate_begin); }
  bool operator==(const ShardRange&) const = default;
};

// Covers every (part, row, candidate) once. A part is cut into row blocks first (about eight, since
// candidates share work on a row), of at most rows_max rows and candidates_max candidates, each
// result at most kShardResultBytesMax.
std::vector<ShardRange> PlanShards(const RunSpec& spec, int64_t rows_max, int64_t candidates_max);

// Losses on the wire: 8-byte little-endian signed integers. Decode: BAD_REQUEST for another size
// than `count` or a loss outside 0 .. kLossMax.
std::string EncodeLosses(absl::Span<const int64_t> losses);
absl::StatusOr<std::vector<int64_t>> DecodeLosses(absl::string_view bytes, int64_t count);

}  // namespace rochdale::attribution
