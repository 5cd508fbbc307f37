#include "libs/rpc/tls.h"

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/server.h"

namespace rochdale::rpc {
namespace {

namespace experimental = grpc::experimental;

// The watcher below would wait in silence for a file that never comes.
absl::Status RequireReadable(const std::string& path) {
  if (!path.empty() && access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("TLS needs a file that cannot be read: ", path.empty() ? "(no path)" : path));
}

std::shared_ptr<experimental::CertificateProviderInterface> Watch(const std::string& key,
                                                                  const std::string& certificate,
                                                                  const std::string& roots,
                                                                  absl::Duration reload) {
  const int64_t seconds = std::max<int64_t>(1, absl::ToInt64Seconds(reload));
  return std::make_shared<experimental::FileWatcherCertificateProvider>(
      key, certificate, roots, static_cast<unsigned>(seconds));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerTls(const TlsFiles& files) {
  RETURN_IF_ERROR(RequireReadable(files.certificate));
  RETURN_IF_ERROR(RequireReadable(files.key));
  if (!files.client_ca.empty()) RETURN_IF_ERROR(RequireReadable(files.client_ca));
  if (files.client_ca.empty() && files.require_client) {
    return absl::InvalidArgumentError("certificates of clients need the client CA's file");
  }
  experimental::TlsServerCredentialsOptions tls(
      Watch(files.key, files.certificate, files.client_ca, files.reload));
  tls.watch_identity_key_cert_pairs();
  if (files.client_ca.empty()) {
    tls.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    tls.watch_root_certs();
    tls.set_cert_request_type(files.require_client
                                  ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                  : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return experimental::TlsServerCredentials(tls);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelTls(
    const ChannelOptions& options) {
  RETURN_IF_ERROR(RequireReadable(options.ca_file));
  const bool mutual = !options.certificate_file.empty() || !options.key_file.empty();
  if (mutual) {
    RETURN_IF_ERROR(RequireReadable(options.certificate_file));
    RETURN_IF_ERROR(RequireReadable(options.key_file));
  }
  experimental::TlsChannelCredentialsOptions tls;
  tls.set_certificate_provider(
      Watch(options.key_file, options.certificate_file, options.ca_file, options.reload));
  tls.watch_root_certs();
  if (mutual) tls.watch_identity_key_cert_pairs();
  return experimental::TlsCredentials(tls);
}

}  // namespace rochdale::rpc
