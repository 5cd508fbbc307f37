// How services of a deployment know one another, as configuration says it: flags that every
// process has, and what follows from them for its server and its own calls.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "libs/config/flags.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/server.h"

namespace rochdale::service {

struct ServiceIdentityConfig {
  std::string identity = "token";  // "token", "both" or "certificate": rpc::ServiceIdentity
  std::string client_ca;           // roots of callers' certificates
  std::string trust_domain = "rochdale";
};

// --service-identity, --tls-client-ca and --trust-domain.
void AddServiceIdentityFlags(config::Flags& flags, ServiceIdentityConfig& config);

// For the server of `self` (empty: it has no replicas that forward calls to it).
// INVALID_ARGUMENT: certificates without TLS, without a client CA, or with a bad trust domain.
absl::StatusOr<rpc::AuthenticatorOptions> IdentityOptions(const ServiceIdentityConfig& config,
                                                          bool plaintext,
                                                          const std::string& self);

// Whether a service's calls carry its token: not where certificates alone count.
inline bool CallsWithTokens(const ServiceIdentityConfig& config) {
  return config.identity != "certificate";
}

}  // namespace rochdale::service
