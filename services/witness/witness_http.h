// A witness over HTTP.
//
//   POST /add-checkpoint                    c2sp.org/tlog-witness: 200 and the cosignature's line;
//                                           400, 403, 404, 409 (and the size that is remembered),
//                                           422 as it says; 500 where the disk fails
//   GET  /last-checkpoint/<SHA-256 of the origin, hexadecimal>
//                                           ours: the remembered note with both signatures; 404
//                                           where there is none
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "libs/http/server.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "services/witness/witness.h"

namespace rochdale::witness {

http::Response AnswerWitnessRequest(Witness& witness, const http::Request& request);

// Serves until it goes. Everything given outlives it. UNAVAILABLE where the port is taken.
absl::StatusOr<std::unique_ptr<http::Server>> ServeWitness(const http::Endpoint& endpoint,
                                                           Witness& witness,
                                                           const obs::Logger& logger,
                                                           obs::Metrics& metrics);

}  // namespace rochdale::witness
