#include "libs/rpc/peer.h"

#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/rpc/access.h"

namespace rochdale::rpc {
namespace {

constexpr char kTransport[] = "transport_security_type";
// gRPC sets it only where the certificate has exactly one URI and that is a well-formed SPIFFE id.
constexpr char kSpiffeId[] = "peer_spiffe_id";

constexpr absl::string_view kScheme = "spiffe://";
constexpr absl::string_view kPath = "/service/";

std::string Property(const grpc::AuthContext& context, const char* name) {
  const std::vector<grpc::string_ref> values = context.FindPropertyValues(name);
  return values.size() == 1 ? std::string(values[0].data(), values[0].size()) : "";
}

}  // namespace

Peer PeerOf(const grpc::ServerContextBase& context) {
  Peer peer;
  const std::shared_ptr<const grpc::AuthContext> proven = context.auth_context();
  if (proven == nullptr) return peer;
  const std::string transport = Property(*proven, kTransport);
  peer.tls = transport == "tls" || transport == "ssl";
  if (peer.tls && proven->IsPeerAuthenticated()) peer.spiffe_id = Property(*proven, kSpiffeId);
  return peer;
}

absl::Status CheckTrustDomain(absl::string_view trust_domain) {
  const bool good = !trust_domain.empty() && trust_domain.size() <= 255 &&
                    std::all_of(trust_domain.begin(), trust_domain.end(), [](char c) {
                      return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' ||
                             c == '-' || c == '_';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError("a trust domain is 1 to 255 of a-z 0-9 . - _");
}

std::string ServiceSpiffeId(absl::string_view trust_domain, absl::string_view service) {
  return absl::StrCat(kScheme, trust_domain, kPath, service);
}

std::optional<std::string> ServiceOfSpiffeId(absl::string_view spiffe_id,
                                             absl::string_view trust_domain) {
  if (trust_domain.empty() || !absl::ConsumePrefix(&spiffe_id, kScheme) ||
      !absl::ConsumePrefix(&spiffe_id, trust_domain) || !absl::ConsumePrefix(&spiffe_id, kPath) ||
      !IsServiceName(spiffe_id)) {
    return std::nullopt;
  }
  return std::string(spiffe_id);
}

}  // namespace rochdale::rpc
