#include "libs/rpc/channel.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/call.h"
#include "libs/rpc/loopback.h"
#include "libs/rpc/status.h"
#include "libs/rpc/tls.h"

namespace rochdale::rpc {
namespace {

constexpr int kMessageBytesMax = (4 << 20) + (64 << 10);
constexpr absl::Duration kBackoff = absl::Milliseconds(50);
constexpr absl::Duration kBackoffMax = absl::Seconds(2);

grpc::ChannelArguments Arguments(const ChannelOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetLoadBalancingPolicyName("round_robin");
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  arguments.SetMaxSendMessageSize(kMessageBytesMax);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  // Retries are ours (Outgoing), and no name server may configure calls.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  // Addresses are ours as well: no proxy of the environment in between.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  return arguments;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const ChannelOptions& options) {
  if (options.plaintext) {
    if (!IsLoopback(address)) {
      return absl::InvalidArgumentError(
          absl::StrCat("plain text is for loopback only, not for ", address));
    }
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                     Arguments(options));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   ChannelTls(options));
  return grpc::CreateCustomChannel(address, credentials, Arguments(options));
}

TokenSource::TokenSource(crypto::TokenSubject subject, crypto::KeyPair key, const Clock& clock,
                         IdSource& ids, absl::Duration lifetime)
    : subject_(std::move(subject)), key_(std::move(key)), clock_(clock), ids_(ids),
      lifetime_(lifetime) {}

std::string TokenSource::Authorization() {
  std::lock_guard lock(mutex_);
  const absl::Time now = clock_.Now();
  // `made_at_` as well: a clock that was set back must not leave a token from the future in use.
  if (!value_.empty() && now < renew_at_ && now >= made_at_) return value_;
  crypto::TokenClaims claims;
  claims.subject = subject_;
  claims.issued_at_s = absl::ToUnixSeconds(now);
  claims.expires_at_s = claims.issued_at_s + absl::ToInt64Seconds(lifetime_);
  claims.token_id = ids_.New(now).ToString();
  const auto token = crypto::SignToken(key_, claims);
  // Claims made here are well formed unless the lifetime was not; the call then says so itself.
  value_ = token.ok() ? absl::StrCat("Bearer ", *token) : std::string("Bearer none");
  made_at_ = now;
  renew_at_ = now + lifetime_ / 2;
  return value_;
}

void Outgoing::AddTrace(grpc::ClientContext& context, const std::string& trace_id) const {
  const Uuid span = ids_.New(absl::Now());
  const std::string trace = trace_id.size() == 32
                                ? trace_id
                                : absl::StrReplaceAll(span.ToString(), {{"-", ""}});
  context.AddMetadata("traceparent",
                      absl::StrCat("00-", trace, "-",
                                   absl::BytesToHexString(span.AsBytes().substr(8)), "-01"));
}

void Outgoing::Prepare(grpc::ClientContext& context, const CallOptions& options) const {
  const absl::Time now = absl::Now();
  context.set_deadline(absl::ToChronoTime(std::min(options.deadline, now + options.timeout)));
  if (tokens_ != nullptr) context.AddMetadata("authorization", tokens_->Authorization());
  AddTrace(context, options.trace_id);
}

void Outgoing::PrepareForward(grpc::ClientContext& context, const Call& call) const {
  context.set_deadline(absl::ToChronoTime(call.deadline));
  const auto& metadata = call.context->client_metadata();
  if (const auto token = metadata.find("authorization"); token != metadata.end()) {
    context.AddMetadata("authorization", std::string(token->second.data(), token->second.size()));
  } else {
    const bool service = call.identity.kind == IdentityKind::kService;
    context.AddMetadata(kOnBehalfOf, service ? call.identity.service : kNobody);
  }
  AddTrace(context, call.trace_id);
}

absl::Status Outgoing::Attempts(
    const CallOptions& options,
    absl::FunctionRef<grpc::Status(grpc::ClientContext&)> attempt) const {
  const absl::Time start = absl::Now();
  CallOptions bounded = options;
  bounded.deadline = std::min(options.deadline, start + options.timeout);
  absl::Duration backoff = kBackoff;
  for (int i = 1;; ++i) {
    grpc::ClientContext context;
    Prepare(context, bounded);
    absl::Status status = FromAnswer(attempt(context));
    if (status.ok() || status.code() != absl::StatusCode::kUnavailable) return status;
    if (!options.idempotent || i == kAttemptsMax) return status;
    absl::Duration wait = std::min(RetryAfterOf(status).value_or(backoff), kBackoffMax);
    backoff *= 2;
    // Half to all of it again, so that callers that failed together do not return together.
    wait *= 1.0 + ids_.New(start).bytes[15] / 512.0;
    if (absl::Now() + wait >= bounded.deadline) return status;
    absl::SleepFor(wait);
  }
}

}  // namespace rochdale::rpc
