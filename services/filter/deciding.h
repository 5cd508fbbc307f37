// Deciding a round: recorded facts and measured losses in, decisions out. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/crypto/commitment.h"
#include "services/filter/composition.h"
#include "services/filter/convert.h"
#include "services/filter/domain.h"

namespace rochdale::filter {

struct DecidingInput {
  std::vector<Update> updates;           // in SCREENING, with facts
  std::vector<RuleSet> profiles;         // of each
  RuleSet floor;
  std::vector<Measurement> measurements;
  int64_t rules_version = 0;
  std::string evidence_sha256;           // of the measuring run, hexadecimal
};

struct Decided {
  Decision decision;
  UpdateState state = UpdateState::kRejected;
  std::string reason;                    // of a refusal
  int64_t fit_micro = 0;
};

// One decision per update, in order. A repetition gives the same ones.
absl::StatusOr<std::vector<Decided>> DecideAll(const DecidingInput& input);

// What the log commits to: canonical JSON (keys sorted, no spaces). Values of the principal's own
// rules stand there as commitments: "measured" and "threshold" are replaced by
// "measured_commitment" and "threshold_commitment" = Commitment(salt, name "/" probe "/" field "/"
// decimal value), hexadecimal.
std::string DecisionBody(const Update& update, const Decided& decided, const DecidingInput& input,
                         const crypto::Salt& salt);

}  // namespace rochdale::filter
