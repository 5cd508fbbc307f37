// Rounds and credits: what the log says of a round, its evidence, the draw of its rows, its credits
// and, from the blobs, everything evaluated again.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>

#include "libs/base/ids.h"
#include "services/attribution/evidence.h"
#include "services/verify/bundle.h"
#include "services/verify/documents.h"
#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

using Rounds = std::map<RoundId, attribution::Evidence>;

inline constexpr int64_t kEveryRound = std::numeric_limits<int64_t>::max();

// DATA_LOSS unless this is a pool of so many rows that the cooperative sealed.
absl::Status CheckPool(const Log& log, const CooperativeId& cooperative,
                       const crypto::Digest& split_seed, const crypto::Digest& pool,
                       int64_t pool_rows);

// Checks "rounds" (evidence, log and lineage agree), "draw" (rows follow from committed seeds) and
// "estimates" (weights and credits follow from earlier credits, samples and v(S)). Gives the
// evidence that could be read. `documents` may be empty: then reported samples are not looked at.
Rounds CheckRounds(const Bundle& bundle, const Log& log, const Documents& documents,
                   const CooperativeId& cooperative, Report& report);

// Check "credits": credits/ and CREDIT_ASSIGNED agree with the rounds.
void CheckCredits(const Bundle& bundle, const Log& log, const CooperativeId& cooperative,
                  const Rounds& rounds, Report& report);

// Check "recomputation": evaluates the last `count` rounds with credits again, or the one with this
// update. A round whose blobs are not there cannot be, and fails the check. A module is a program
// of the cooperative's: without `run_modules` its losses are taken as they were recorded, which the
// check says, and everything else follows from them; with it, it runs in a process of its own
// (libs/learning/module_evaluator.h) and every loss has to be within its tolerance.
void CheckRecomputation(const Bundle& bundle, const Rounds& rounds, int64_t count,
                        const std::optional<UpdateId>& only, bool run_modules, Report& report);

}  // namespace rochdale::verify
