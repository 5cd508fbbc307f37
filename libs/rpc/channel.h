// Calls to other services: channels, the caller's own credentials, deadlines, bounded retries.
//
//   rpc::Outgoing out(clock, std::move(credentials));
//   v1::LedgerService::Stub ledger(channel);
//   v1::AppendEntriesResponse response;
//   RETURN_IF_ERROR(out.Invoke(ledger, &v1::LedgerService::Stub::AppendEntries, request, &response,
//                              {.deadline = call.deadline, .trace_id = call.trace_id}));
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <mutex>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/jwt.h"

namespace grpc {
class Channel;
}

namespace rochdale::rpc {

struct Call;

struct ChannelOptions {
  bool plaintext = false;           // loopback addresses only
  std::string ca_file;              // roots that the server's certificate must chain to
  std::string certificate_file;     // of this client, for mTLS; empty: none
  std::string key_file;
  std::string server_name;          // where it is not the address's host; empty: it is
  absl::Duration reload = absl::Seconds(60);  // how often the files are looked at; 1 s at least
};

// To "host:port". Keepalive and round robin over all addresses of a name; 4 MiB messages.
// INVALID_ARGUMENT: plaintext to another host, or a file that cannot be read.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const ChannelOptions& options);

// Signs the tokens of one caller with its own key. A token is used for half of its life.
// Thread-safe.
//   rpc::TokenSource tokens(crypto::TokenSubject::OfService("filter"), key, clock, ids);
class TokenSource {
 public:
  // `lifetime`: 2 s to 15 minutes.
  TokenSource(crypto::TokenSubject subject, crypto::KeyPair key, const Clock& clock, IdSource& ids,
              absl::Duration lifetime = absl::Minutes(10));
  // "Bearer ...": the value of the metadata key "authorization".
  std::string Authorization();

 private:
  const crypto::TokenSubject subject_;
  const crypto::KeyPair key_;
  const Clock& clock_;
  IdSource& ids_;
  const absl::Duration lifetime_;
  std::mutex mutex_;
  std::string value_;
  absl::Time made_at_, renew_at_;
};

struct CallOptions {
  absl::Time deadline = absl::InfiniteFuture();  // system clock; at most now + timeout
  absl::Duration timeout = absl::Seconds(10);
  std::string trace_id;                          // handed on; empty: a new one
  bool idempotent = true;  // may be repeated: reads, and mutations with their request_id
};

inline constexpr int kAttemptsMax = 4;

// Thread-safe.
class Outgoing {
 public:
  // `tokens` null: anonymous, or known by the channel's certificate.
  Outgoing(IdSource& ids, TokenSource* tokens) : ids_(ids), tokens_(tokens) {}

  // One unary rpc. The error is the server's, reason and all (status.h). UNAVAILABLE of an
  // idempotent call is tried again, at most kAttemptsMax times in all within the deadline, after
  // the server's RetryInfo or 50 ms doubled each time, with jitter.
  template <typename Stub, typename Base, typename Request, typename Response>
  absl::Status Invoke(Stub& stub,
                      grpc::Status (Base::*method)(grpc::ClientContext*, const Request&, Response*),
                      const Request& request, Response* response,
                      const CallOptions& options = {}) const {
    return Attempts(options, [&](grpc::ClientContext& context) {
      response->Clear();
      return (stub.*method)(&context, request, response);
    });
  }

  // For streams: sets deadline, token and trace of a fresh context; no retries.
  void Prepare(grpc::ClientContext& context, const CallOptions& options) const;

  // For a call that this replica forwards to another of its own service: deadline and trace of
  // `call`, and its caller instead of this service. The caller's token goes along; a caller that
  // showed a certificate is named (kOnBehalfOf), which the other replica believes because of the
  // certificate of this channel.
  void PrepareForward(grpc::ClientContext& context, const Call& call) const;

 private:
  void AddTrace(grpc::ClientContext& context, const std::string& trace_id) const;
  absl::Status Attempts(const CallOptions& options,
                        absl::FunctionRef<grpc::Status(grpc::ClientContext&)> attempt) const;

  IdSource& ids_;
  TokenSource* const tokens_;
};

}  // namespace rochdale::rpc
