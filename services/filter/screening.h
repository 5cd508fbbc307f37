// Screening a round: from the submitted updates to effective ones, with everything that was
// measured on the way. No database, no network: blobs in, blobs out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/blob/blob_store.h"
#include "services/filter/composition.h"
#include "services/filter/domain.h"

namespace rochdale::filter {

// Whose a principal is, as governance says.
struct Ownership {
  std::vector<crypto::Digest> owners;     // increasing; none: nobody attested any
  std::optional<EventId> attestation;     // the entry that named them last
};

struct ScreeningInput {
  std::vector<Update> received;           // of this round, by commitment number
  std::vector<absl::Status> authority;    // of each, asked again now
  std::vector<Ownership> ownership;       // of each
  bool unattested_together = false;       // lineage.unattested
  std::vector<RuleSet> profiles;          // of each
  std::vector<Update> recent;             // revealed in the rounds before, any state
  std::vector<ProbeGradient> gradients;   // of the cooperative's probes at the base
  std::string manifest;                   // canonical text
  RuleSet floor;
  int64_t clip_micro = 1'000'000;
  OriginalityLimits originality;
};

struct Screened {
  Update update;              // with effective digest, lineage and facts
  bool denied = false;        // refused already, nothing needs to be measured
  std::vector<Uuid> probes;   // whose losses are needed to decide
  std::map<Uuid, int64_t> early_bounds;  // of these, as the rules alone have it
};

struct ScreeningOutput {
  std::vector<Screened> updates;  // in the order of the input
  int64_t lineages = 0;           // n
};

// Reads the deltas and gradients from `store` and puts the effective updates there. Deterministic:
// the same input gives the same output, so it may be repeated. NOT_FOUND where a blob is missing.
absl::StatusOr<ScreeningOutput> Screen(const ScreeningInput& input, blob::BlobStore& store);

// What is wrong with the bytes of a delta for this manifest: TENSOR_MALFORMED, TENSOR_MISMATCH or
// TENSOR_NOT_FINITE (NaN, infinity, or a value beyond the grid).
absl::Status CheckDelta(absl::Span<const uint8_t> file, const std::string& manifest);

// Facts of an update as stored JSON, without losses. INTERNAL where they do not parse.
absl::StatusOr<Facts> FactsFromJson(const std::string& json);
// The ownership that screening went by, from the same JSON. INTERNAL where it does not parse.
absl::StatusOr<Ownership> OwnershipFromJson(const std::string& json);

}  // namespace rochdale::filter
