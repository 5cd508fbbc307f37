// Measuring a round's updates on probes, stage by stage: which rows of which probe come next, and
// what was found so far. Pure: the same losses give the same stages and measurements, so that a
// process that dies at any instant goes on where it was.
//
// The first stage has every pair of an update and a probe: on all rows, or, where the filter says
// that its verdict hangs on a bound alone, on those of the first look (early.h). Each further stage
// has the pairs that are undecided, on the rows that their next look adds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/crypto/sha256.h"
#include "services/attribution/early.h"
#include "services/attribution/looks.h"
#include "services/attribution/records.h"

namespace rochdale::attribution {

inline constexpr size_t kUpdatesPerPart = 63;
inline constexpr int kMeasureStagesMax = kLooksMax;

// A probe's losses with an update applied alone at its weight.
struct Measurement {
  UpdateId update;
  ProbeId probe;
  int64_t base_loss_sum = 0;  // nano-nats, over `rows`; at most 2^63 - 1
  int64_t loss_sum = 0;
  int64_t rows = 0;
  int64_t of_rows = 0;        // of the probe: more than `rows` where measuring stopped early

  bool early() const { return rows < of_rows; }
};

class Measuring {
 public:
  // `needed` in any order; measurements come in this order.
  Measuring(const EarlyRule& rule, const std::vector<NeededProbe>& needed);

  // One part of a stage's run: candidates are the base, then each pair's update alone.
  struct Part {
    crypto::Digest data;        // of the probe
    // Rows `begin` to `end` in the order of looks; `end` 0: all rows, as they lie in the file.
    int64_t begin = 0, end = 0;
    int64_t of_rows = 0;        // of the probe, where `end` is not 0
    std::vector<size_t> pairs;  // indices in `needed`, at most kUpdatesPerPart
  };
  // Parts of the next stage; none when everything is measured.
  std::vector<Part> NextParts() const;

  // What the next stage found: losses[p][c * rows + r] of part p, candidate c, and the spec of its
  // run. INTERNAL where they are not of these parts.
  absl::Status Add(const std::vector<std::vector<int64_t>>& losses, absl::string_view spec);

  std::vector<Measurement> measurements() const;
  // SHA-256 over SHA-256(spec) of every stage in order, then of every measurement in order:
  // update id 16 | probe id 16 | i64 base_loss_sum | i64 loss_sum | i64 rows | i64 of_rows.
  crypto::Digest EvidenceDigest() const;

 private:
  struct Pair {
    NeededProbe needed;
    std::vector<int64_t> looks;        // rows of each; one entry: in full at once
    size_t taken = 0;
    bool decided = false;
    __int128 base_sum = 0, sum = 0;
    int64_t rows = 0;
    std::vector<int64_t> differences;  // with the update less without, in order; of raced pairs

    bool raced() const { return looks.size() > 1; }
  };
  void Take(Pair& pair, absl::Span<const int64_t> base, absl::Span<const int64_t> with);

  const EarlyRule rule_;
  std::vector<Pair> pairs_;
  std::vector<crypto::Digest> specs_;
};

}  // namespace rochdale::attribution
