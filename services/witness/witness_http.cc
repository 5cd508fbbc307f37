#include "services/witness/witness_http.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/crypto/add_checkpoint.h"

namespace rochdale::witness {
namespace {

// An old size, 63 hashes, and a note with room for signatures that are not ours.
constexpr size_t kRequestBytesMax = 64 << 10;
constexpr int kConnectionsMax = 64;
constexpr int kConnectionsOfPeerMax = 16;

http::Response ToResponse(Answer answer) {
  const auto say = [&answer](int code) {
    return http::Response{code, absl::StrCat(answer.text, "\n")};
  };
  switch (answer.verdict) {
    case Verdict::kCosigned: return {200, std::move(answer.text)};
    case Verdict::kMalformed: return say(400);
    case Verdict::kNotSigned: return say(403);
    case Verdict::kUnknownLog: return say(404);
    case Verdict::kOtherSize:
      return {409, absl::StrCat(answer.known_size, "\n"), crypto::kTlogSizeType};
    case Verdict::kInconsistent: return say(422);
    case Verdict::kNotRemembered: return say(500);
  }
  return {500, "no answer\n"};
}

}  // namespace

http::Response AnswerWitnessRequest(Witness& witness, const http::Request& request) {
  absl::string_view path = request.path;
  if (path == "/add-checkpoint") {
    if (request.method != http::Method::kPost) return {405, "only POST\n"};
    return ToResponse(witness.Add(request.body));
  }
  if (request.method != http::Method::kGet) return {405, "only GET\n"};
  if (absl::ConsumePrefix(&path, "/last-checkpoint/")) {
    if (auto note = witness.Last(path)) return {200, *std::move(note)};
    return {404, "no checkpoint of such a log was cosigned here\n"};
  }
  return {404, "nothing here; see c2sp.org/tlog-witness\n"};
}

absl::StatusOr<std::unique_ptr<http::Server>> ServeWitness(const http::Endpoint& endpoint,
                                                           Witness& witness,
                                                           const obs::Logger& logger,
                                                           obs::Metrics& metrics) {
  const obs::CounterFamily requests = metrics.Counters(
      "rochdale_witness_requests_total", "Requests to the witness, by status code.", {"code"});
  http::ServerOptions options;
  options.endpoint = endpoint;
  options.connections_max = kConnectionsMax;
  options.connections_of_peer_max = kConnectionsOfPeerMax;
  options.body_bytes_max = kRequestBytesMax;
  return http::Server::Start(
      options, [&witness, &logger, requests](const http::Request& request) {
        http::Response response = AnswerWitnessRequest(witness, request);
        requests.With({absl::StrCat(response.code)}).Add();
        if (response.code == 422) {
          // Signed by the log, and not what it signed before: somebody should look.
          logger.Error("a log showed another history", obs::Fields().Text("request", request.body));
        } else if (response.code == 500) {
          logger.Error("no checkpoint can be remembered",
                       obs::Fields().Text("error", response.body));
        }
        return response;
      });
}

}  // namespace rochdale::witness
