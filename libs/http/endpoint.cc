#include "libs/http/endpoint.h"

#include <arpa/inet.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace rochdale::http {

std::string Endpoint::ToString() const {
  return absl::StrContains(address, ':') ? absl::StrCat("[", address, "]:", port)
                                         : absl::StrCat(address, ":", port);
}

absl::StatusOr<Endpoint> Endpoint::Parse(absl::string_view text) {
  const absl::Status refused = absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not an IP address and port, such as 127.0.0.1:7444"));
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return refused;
  absl::string_view host = text.substr(0, colon);
  const absl::string_view port = text.substr(colon + 1);
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  Endpoint endpoint;
  endpoint.address = std::string(host);
  unsigned char parsed[16];
  if (inet_pton(bracketed ? AF_INET6 : AF_INET, endpoint.address.c_str(), parsed) != 1 ||
      !absl::SimpleAtoi(port, &endpoint.port) || endpoint.port < 0 || endpoint.port > 65'535 ||
      absl::StrCat(endpoint.port) != port) {
    return refused;
  }
  return endpoint;
}

}  // namespace rochdale::http
