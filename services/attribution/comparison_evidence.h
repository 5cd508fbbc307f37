// The evidence of an A/B test that is done: every loss that it looked at and the rule that ended
// it, as one canonical JSON document (keys sorted, no spaces). Its SHA-256 is in the log
// (COMPARISON_ENDED). docs/evidence.md describes the bytes.
//
//   {"a_sha256":hex,"b_sha256":hex,"comparison_id":uuid,"cooperative_id":uuid,
//    "difference_nanonats":n,"format":1,"losses_a":[n,...],"losses_b":[n,...],"pool_rows":n,
//    "pool_sha256":hex,
//    "rule":{"error_micro":n,"margin_nanonats":n,"rows_max":n,"rows_min":n},
//    "seed":hex,"seed_sha256":hex,"split_seed":hex,"standard_error_nanonats":n,"verdict":word,
//    "visible_rows":n}
//   losses are nano-nats of the first rows in the order of the test; verdict is one of a_better,
//   b_better, equal, undecided.
// No gRPC, no database, no torch: the service writes it, the offline verifier links it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"
#include "services/attribution/comparison.h"

namespace rochdale::attribution {

using ComparisonId = Id<struct ComparisonTag>;

struct ComparisonEvidence {
  ComparisonId comparison;
  CooperativeId cooperative;
  crypto::Digest a;
  crypto::Digest b;
  ComparisonRule rule;
  crypto::Digest seed;         // 32 bytes, not a digest of anything
  crypto::Digest seed_sha256;  // committed to when the test started
  crypto::Digest pool;
  crypto::Digest split_seed;
  int64_t pool_rows = 0;
  int64_t visible_rows = 0;
  std::vector<int64_t> losses_a;
  std::vector<int64_t> losses_b;
  Look look;  // the one that ended the test

  bool operator==(const ComparisonEvidence&) const = default;
};

std::string ComparisonEvidenceToJson(const ComparisonEvidence& evidence);

// BAD_REQUEST for anything but the bytes that ComparisonEvidenceToJson gives for some evidence
// within bounds.
absl::StatusOr<ComparisonEvidence> ParseComparisonEvidence(absl::string_view json);

// DIGEST_MISMATCH unless the seed opens its commitment, no look before the last one ends the test,
// and the last one does, with this verdict and these figures.
absl::Status CheckComparison(const ComparisonEvidence& evidence);

}  // namespace rochdale::attribution
