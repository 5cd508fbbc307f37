#include "libs/service/service_identity.h"

#include "libs/base/status_macros.h"
#include "libs/rpc/peer.h"

namespace rochdale::service {

void AddServiceIdentityFlags(config::Flags& flags, ServiceIdentityConfig& config) {
  flags.Choice("service-identity",
               "how services show who they are: by tokens, by certificates (mutual TLS), or, while "
               "a deployment changes over, by both",
               {"token", "both", "certificate"}, &config.identity);
  flags.Text("tls-client-ca",
             "PEM roots that callers' certificates chain to; empty: callers show none",
             &config.client_ca);
  flags.Text("trust-domain",
             "of services' certificates, whose URI is spiffe://<trust domain>/service/<name>",
             &config.trust_domain);
}

absl::StatusOr<rpc::AuthenticatorOptions> IdentityOptions(const ServiceIdentityConfig& config,
                                                          bool plaintext,
                                                          const std::string& self) {
  rpc::AuthenticatorOptions options;
  if (config.identity == "token") return options;
  if (plaintext) {
    return absl::InvalidArgumentError("--service-identity by certificates needs TLS");
  }
  if (config.client_ca.empty()) {
    return absl::InvalidArgumentError("--service-identity by certificates needs --tls-client-ca");
  }
  RETURN_IF_ERROR(rpc::CheckTrustDomain(config.trust_domain));
  options.services = config.identity == "both" ? rpc::ServiceIdentity::kBoth
                                               : rpc::ServiceIdentity::kCertificate;
  options.trust_domain = config.trust_domain;
  options.self = self;
  return options;
}

}  // namespace rochdale::service
