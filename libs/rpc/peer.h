// Who is at the other end of a call's connection, as its certificate proves.
//
// A service's certificate names it by one URI: spiffe://<trust domain>/service/<name>. DNS names in
// it are for those who call the service, and name no caller: a host may serve more than one.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace grpc {
class ServerContextBase;
}

namespace rochdale::rpc {

struct Peer {
  bool tls = false;       // false: plain loopback, or a call within the process
  std::string spiffe_id;  // of a client certificate that chains to the client CA; empty: none
};

// The certificate was verified in the handshake; one that does not hold never gets this far.
Peer PeerOf(const grpc::ServerContextBase& context);

// INVALID_ARGUMENT: not 1 to 255 of a-z 0-9 . - _
absl::Status CheckTrustDomain(absl::string_view trust_domain);

// "spiffe://rochdale/service/filter"
std::string ServiceSpiffeId(absl::string_view trust_domain, absl::string_view service);

// The service that the id names within the trust domain, one of those that have a role ("filter",
// ..., "operator", "witness"); nullopt for any other id.
std::optional<std::string> ServiceOfSpiffeId(absl::string_view spiffe_id,
                                             absl::string_view trust_domain);

}  // namespace rochdale::rpc
