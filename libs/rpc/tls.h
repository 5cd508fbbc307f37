// TLS credentials from PEM files that are read again when they change (within TlsFiles::reload), so
// that renewed certificates need no restart. A connection keeps the certificates it began with.
#pragma once

#include <memory>

#include "absl/status/statusor.h"

namespace grpc {
class ChannelCredentials;
class ServerCredentials;
}  // namespace grpc

namespace rochdale::rpc {

struct ChannelOptions;
struct TlsFiles;

// INVALID_ARGUMENT where a file that is needed cannot be read.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerTls(const TlsFiles& files);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelTls(const ChannelOptions& options);

}  // namespace rochdale::rpc
