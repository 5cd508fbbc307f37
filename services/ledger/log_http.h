// The log over HTTP, for everybody: C2SP tlog-tiles (c2sp.org/tlog-tiles), which existing tools
// read, and receipts (c2sp.org/tlog-proof).
//
//   GET /checkpoint                        the newest signed tree head
//   GET /tile/<L>/<N>[.p/<W>]              hash tiles
//   GET /tile/entries/<N>[.p/<W>]          entry bundles
//   GET /receipt/<event id or index>       an entry with its proof; ours, not of tlog-tiles
//
// Tiles never change and may be kept for ever; checkpoint and receipts are asked for again.
// Anything else is 404, a malformed name 400; 503 where the database does not answer in time.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/http/server.h"
#include "libs/obs/metrics.h"
#include "services/ledger/published_log.h"

namespace rochdale::ledger {

// The answer to GET `path` (as sent, without a query).
http::Response AnswerLogRequest(const PublishedLog& log, absl::string_view path);

// Serves until it goes. `log` and `metrics` outlive it. UNAVAILABLE where the port is taken.
absl::StatusOr<std::unique_ptr<http::Server>> ServeLog(const http::Endpoint& endpoint,
                                                       const PublishedLog& log,
                                                       obs::Metrics& metrics);

}  // namespace rochdale::ledger
