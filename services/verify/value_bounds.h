// The bounds that a round's step as a whole was held to, against the floor that founders signed.
#pragma once

#include "absl/status/status.h"
#include "services/attribution/evidence.h"
#include "services/verify/documents.h"
#include "services/verify/lineages.h"
#include "services/verify/log.h"

namespace rochdale::verify {

// docs/evidence.md, section 6.1: where the gate left anybody, `values` has exactly the probes that
// VALUE_EFFECT rules of the Genesis bound, by what these say. OK where the Genesis is not there.
// DATA_LOSS else.
absl::Status CheckValueBounds(const Log& log, const Documents& documents,
                              const Decisions& decisions, const attribution::Evidence& evidence);

}  // namespace rochdale::verify
