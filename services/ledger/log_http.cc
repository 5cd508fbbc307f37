#include "services/ledger/log_http.h"

#include <limits>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/crypto/note.h"

namespace rochdale::ledger {
namespace {

constexpr absl::Duration kReadTimeMax = absl::Seconds(5);
constexpr int kThreads = 4;  // reads of the database at a time
constexpr int kConnectionsMax = 256;
constexpr int kConnectionsOfPeerMax = 64;
constexpr char kReceiptFolder[] = "/receipt/";

http::Response Refused(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return {400, absl::StrCat(status.message(), "\n")};
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
      return {404, absl::StrCat(status.message(), "\n")};
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
      return {503, "the log cannot be read now; try again\n"};
    default:
      return {500, "the log cannot be read\n"};
  }
}

http::Response AnswerCheckpoint(const PublishedLog& log, absl::Time deadline) {
  const auto head = log.Head(deadline);
  if (!head.ok()) return Refused(head.status());
  if (!head->has_value()) return {404, "no tree head was signed yet\n"};
  return {200, (*head)->note, http::kTextType, http::kAskAgain};
}

http::Response AnswerTile(const PublishedLog& log, absl::string_view path, absl::Time deadline) {
  const auto tile = crypto::Tile::Parse(path.substr(1));
  if (!tile.ok()) return Refused(tile.status());
  auto bytes = log.TileFile(*tile, deadline);
  if (!bytes.ok()) return Refused(bytes.status());
  return {200, *std::move(bytes), http::kBytesType, http::kForEver};
}

http::Response AnswerReceipt(const PublishedLog& log, absl::string_view name,
                             absl::Time deadline) {
  EntryName wanted;
  if (const auto event = Uuid::Parse(name); event.ok() && !event->IsZero()) {
    wanted.event_id = {*event};
  } else {
    const auto index = crypto::ParseStrictDecimal(name);
    if (!index.ok() || *index > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return {400, "a receipt is of an event id (UUID) or an index\n"};
    }
    wanted.index = static_cast<int64_t>(*index);
  }
  auto receipt = log.ReceiptOf(wanted, deadline);
  if (!receipt.ok()) return Refused(receipt.status());
  return {200, std::move(receipt->text), http::kTextType, http::kAskAgain};
}

const char* WhatOf(absl::string_view path) {
  if (path == "/checkpoint") return "checkpoint";
  if (absl::StartsWith(path, "/tile/entries/")) return "entries";
  if (absl::StartsWith(path, "/tile/")) return "tile";
  return absl::StartsWith(path, kReceiptFolder) ? "receipt" : "other";
}

}  // namespace

http::Response AnswerLogRequest(const PublishedLog& log, absl::string_view path) {
  const absl::Time deadline = absl::Now() + kReadTimeMax;
  if (path == "/checkpoint") return AnswerCheckpoint(log, deadline);
  if (absl::StartsWith(path, "/tile/")) return AnswerTile(log, path, deadline);
  if (absl::ConsumePrefix(&path, kReceiptFolder)) return AnswerReceipt(log, path, deadline);
  return {404, "nothing here; see /checkpoint, /tile/, /receipt/\n"};
}

absl::StatusOr<std::unique_ptr<http::Server>> ServeLog(const http::Endpoint& endpoint,
                                                       const PublishedLog& log,
                                                       obs::Metrics& metrics) {
  const obs::CounterFamily requests =
      metrics.Counters("rochdale_ledger_log_http_requests_total",
                       "Requests for the log over HTTP, by what was asked for and status code.",
                       {"what", "code"});
  http::ServerOptions options;
  options.endpoint = endpoint;
  options.threads = kThreads;
  options.connections_max = kConnectionsMax;
  options.connections_of_peer_max = kConnectionsOfPeerMax;
  options.any_origin = true;
  return http::Server::Start(options, [&log, requests](const http::Request& request) {
    http::Response response = AnswerLogRequest(log, request.path);
    requests.With({WhatOf(request.path), absl::StrCat(response.code)}).Add();
    return response;
  });
}

}  // namespace rochdale::ledger
