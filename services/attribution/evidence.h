// The evidence of a closed round: everything an auditor needs to recompute its credits, as one
// canonical JSON document (keys sorted, no spaces, integers beyond 2^53 as decimal strings). Its
// SHA-256 is in the log (EVIDENCE_MADE, CREDIT_ASSIGNED). docs/evidence.md describes the bytes.
//
//   {"aggregation":{"rule":word,"shares":[n,...],"trim_bp":n},"base_sha256":hex,
//    "best_loss_sum":"..","best_sha256":hex,"coalition_loss_sums":["..",...],"cooperative_id":uuid,
//    "credit_rule":{"estimator":word,"preset":word,
//                   "sampling":{"error_max_nanonats":n,"pairs":n,"pairs_max":n,"pairs_min":n},
//                   "z_bound_micro":n,"z_gate_micro":n},
//    "credits":[{"credit_nanonats":n,"estimate_nanonats":n,"harmful":bool,
//                "leave_one_out_nanonats":n,"solo_nanonats":n,"standard_error_nanonats":n,
//                "update_id":uuid},...],
//    "applied_mask":"..","format":1,"lineages":n,"losses_root":hex,"losses_sha256":hex,
//    "masks":["..",...],
//    "model":{"kind":word,"layer_sizes":[n,...]},"next_sha256":hex,"number":n,
//    "pool_rows":n,"pool_sha256":hex,"retired_rounds":[uuid,...],"round_id":uuid,"rows":[n,...],
//    "rows_sha256":hex,"seed":hex,"seed_sha256":hex,"split_seed":hex,
//    "updates":[{"effective_sha256":hex,"principal_id":uuid,"update_id":uuid},...],
//    "values":{"bounds":[{"eps_nanonats":n,"probe_id":uuid,"rows":n},...],
//              "loss_sums":[["..",...],...],"masks":["..",...]},"visible_rows":n}
//   updates and credits are in bit order; masks is absent where all 2^k coalitions were evaluated
//   (then coalition_loss_sums[mask]), else coalition_loss_sums[i] belongs to masks[i]. applied_mask
//   is a decimal string. aggregation is absent for the mean; sampling where none is (game.h);
//   losses_sha256 where the model is exact: there, losses can be had again from everything else;
//   values where nothing was tested (aggregate_values.h).
// No gRPC, no database, no torch: the service writes it, the offline verifier links it.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/aggregation.h"
#include "libs/learning/evaluator.h"
#include "libs/learning/model.h"
#include "services/attribution/aggregate_values.h"
#include "services/attribution/game.h"

namespace rochdale::attribution {

struct EvidenceUpdate {
  UpdateId update;
  PrincipalId principal;
  crypto::Digest effective;  // blob: safetensors I32, units of 2^-20

  bool operator==(const EvidenceUpdate&) const = default;
};

struct EvidenceCredit {
  UpdateId update;
  int64_t credit = 0;  // nano-nats per row
  int64_t estimate = 0;
  int64_t standard_error = 0;
  int64_t solo = 0;
  int64_t leave_one_out = 0;
  bool harmful = false;

  bool operator==(const EvidenceCredit&) const = default;
};

struct Evidence {
  RoundId round;
  CooperativeId cooperative;
  int64_t number = 0;
  learning::ModelSpec model;
  crypto::Digest base;  // blobs: safetensors F32 on the grid
  crypto::Digest next;
  crypto::Digest best;
  int64_t lineages = 0;  // n
  learning::Aggregation aggregation;
  std::vector<EvidenceUpdate> updates;
  // How the rows were drawn (draw.h).
  crypto::Digest seed;         // 32 bytes, not a digest of anything
  crypto::Digest seed_sha256;  // committed to when the round opened
  crypto::Digest pool;
  crypto::Digest split_seed;
  int64_t pool_rows = 0;
  int64_t visible_rows = 0;
  std::vector<RoundId> retired_rounds;  // whose rows were no longer drawn
  std::vector<int64_t> rows;
  crypto::Digest rows_sha256;  // blob: these rows as a dataset; published once retired
  GameRule rule;
  int pairs = 0;  // of permutations, where Shapley is sampled
  std::vector<uint64_t> masks;  // that were evaluated, increasing
  std::vector<absl::int128> coalition_loss_sums;
  absl::int128 best_loss_sum = 0;
  crypto::Digest losses_root;
  // Blob, where the model is not exact: EncodeLosses of the losses in the order of the root. The
  // round's credits follow from these; another evaluation is near them.
  crypto::Digest losses_sha256;
  uint64_t applied_mask = 0;
  AggregateValues values;
  std::vector<EvidenceCredit> credits;
};

// What the test of values took from what the gate left: neither applied nor harmful.
uint64_t RefusedMask(const Evidence& evidence);

std::string EvidenceToJson(const Evidence& evidence);

// BAD_REQUEST for anything but the bytes that EvidenceToJson gives for some evidence.
absl::StatusOr<Evidence> ParseEvidence(absl::string_view json);

// The bytes of a blob by digest (verified by the caller's store), or why they are not there.
using BlobSource = absl::FunctionRef<absl::StatusOr<std::string>(const crypto::Digest&)>;

// Evaluates everything again from the blobs (base, best, effective updates, rows) and says what
// does not follow: the first difference, by the name of its field. OK where the seed opens its
// commitment, every sum, the root, gate, credits and the next checkpoint are the same integers.
// Where the model is a module, that is so of the losses in the blob, and each of them is held
// against what `modules` evaluates: within the tolerance of its model. Without `modules` no module
// is run and nothing is said of where the losses come from.
// Errors of `blobs` come back as they are (a blob that was deleted is not a false credit).
// Does not check how the rows were drawn: see CheckDraw.
absl::Status CheckRecomputation(const Evidence& evidence, BlobSource blobs,
                                learning::Evaluator* modules = nullptr);

// DIGEST_MISMATCH unless `evidence.rows` follows from the seeds and the rows of the retired rounds
// (the union of `rows` in the evidence of evidence.retired_rounds). `count_max`: rows per round.
absl::Status CheckDraw(const Evidence& evidence, const std::set<int64_t>& retired_rows,
                       int64_t count_max);

}  // namespace rochdale::attribution
