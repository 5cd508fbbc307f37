#include "libs/rpc/auth.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/jwt.h"
#include "libs/rpc/access.h"

namespace rochdale::rpc {
namespace {

constexpr size_t kRunTokenMax = 1'024;

absl::Status Refused(absl::string_view why) {
  return Error("UNAUTHENTICATED", absl::StrCat("the token is not valid: ", why));
}

Identity OfService(absl::string_view name) {
  Identity identity;
  identity.kind = IdentityKind::kService;
  identity.service = std::string(name);
  return identity;
}

// One of the five. The operator and the witness may stand outside of the deployment, with a key.
bool CallsOthers(absl::string_view service) {
  return service != "operator" && service != "witness";
}

crypto::TokenSubject SubjectOf(const RegisteredKey& key) {
  switch (key.kind) {
    case IdentityKind::kPrincipal: return crypto::TokenSubject::Of(key.principal);
    case IdentityKind::kAgent: return crypto::TokenSubject::Of(key.agent);
    default: return crypto::TokenSubject::OfService(key.service);
  }
}

}  // namespace

absl::StatusOr<std::optional<RegisteredKey>> ConfiguredKeys::Lookup(const crypto::PublicKey& key) {
  if (const auto at = services_.find(key); at != services_.end()) {
    RegisteredKey registered;
    registered.kind = IdentityKind::kService;
    registered.service = at->second;
    return registered;
  }
  if (next_ == nullptr) return std::nullopt;
  ASSIGN_OR_RETURN(std::optional<RegisteredKey> found, next_->Lookup(key));
  // Only configuration makes a service: a registry that says so is wrong.
  if (found.has_value() && found->kind != IdentityKind::kPrincipal &&
      found->kind != IdentityKind::kAgent) {
    return std::nullopt;
  }
  return found;
}

CachedKeyDirectory::CachedKeyDirectory(KeyDirectory& source, const Clock& clock,
                                       KeyCacheOptions options)
    : source_(source), clock_(clock), options_(options) {}

absl::StatusOr<std::optional<RegisteredKey>> CachedKeyDirectory::Lookup(
    const crypto::PublicKey& key) {
  const absl::Time now = clock_.Now();
  uint64_t generation;
  {
    std::lock_guard lock(mutex_);
    generation = generation_;
    const auto at = entries_.find(key);
    if (at != entries_.end()) {
      if (now < at->second->until) {
        recent_.splice(recent_.begin(), recent_, at->second);
        return at->second->answer;
      }
      recent_.erase(at->second);
      entries_.erase(at);
    }
  }
  // Without the lock: a slow directory must not hold up those whose answer is known.
  ASSIGN_OR_RETURN(std::optional<RegisteredKey> answer, source_.Lookup(key));
  std::lock_guard lock(mutex_);
  // An answer from before a Forget may be the one to forget.
  if (generation != generation_ || entries_.contains(key)) return answer;
  recent_.push_front(
      {key, answer, now + (answer.has_value() ? options_.ttl_known : options_.ttl_unknown)});
  entries_[key] = recent_.begin();
  while (entries_.size() > options_.entries_max) {
    entries_.erase(recent_.back().key);
    recent_.pop_back();
  }
  return answer;
}

void CachedKeyDirectory::Forget(const crypto::PublicKey& key) {
  std::lock_guard lock(mutex_);
  ++generation_;
  const auto at = entries_.find(key);
  if (at == entries_.end()) return;
  recent_.erase(at->second);
  entries_.erase(at);
}

size_t CachedKeyDirectory::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

absl::StatusOr<Identity> Authenticator::Authenticate(const Credentials& shown,
                                                     absl::Time now) const {
  std::optional<std::string> certified;
  if (options_.services != ServiceIdentity::kToken) {
    certified = ServiceOfSpiffeId(shown.peer.spiffe_id, options_.trust_domain);
  }
  const bool replica = certified.has_value() && *certified == options_.self;
  if (shown.authorization.empty()) {
    if (shown.on_behalf_of == kNobody) return Identity{};
    if (!shown.on_behalf_of.empty()) {
      if (!replica || !IsServiceName(shown.on_behalf_of)) {
        return Error("UNAUTHENTICATED", "only replicas of this service forward calls to it");
      }
      return OfService(shown.on_behalf_of);
    }
    return certified.has_value() ? OfService(*certified) : Identity{};
  }
  ASSIGN_OR_RETURN(Identity identity, FromToken(shown.authorization, now));
  if (options_.services == ServiceIdentity::kCertificate && shown.peer.tls && !replica &&
      identity.kind == IdentityKind::kService && CallsOthers(identity.service) &&
      certified != identity.service) {
    return Error("UNAUTHENTICATED", "a service shows its certificate here");
  }
  return identity;
}

absl::StatusOr<Identity> Authenticator::FromToken(absl::string_view authorization,
                                                  absl::Time now) const {
  if (absl::ConsumePrefix(&authorization, "Bearer ")) return FromJwt(authorization, now);
  if (absl::ConsumePrefix(&authorization, "Run ")) return FromRunToken(authorization, now);
  return Refused("authorization is neither Bearer nor Run");
}

absl::StatusOr<Identity> Authenticator::FromJwt(absl::string_view token, absl::Time now) const {
  ASSIGN_OR_RETURN(const crypto::ParsedToken parsed, crypto::ParseToken(token));
  // What costs the directory nothing comes first.
  RETURN_IF_ERROR(crypto::VerifyTokenSignature(parsed, parsed.key));
  RETURN_IF_ERROR(crypto::CheckTokenTimes(parsed.claims, now));
  const int64_t age_s = parsed.claims.expires_at_s - parsed.claims.issued_at_s;
  if (absl::Seconds(age_s) > options_.token_age_max) return Refused("it lives too long");

  const auto registered = keys_.Lookup(parsed.key);
  if (!registered.ok()) {
    return RetryableError("UNAVAILABLE", "the registry of keys cannot answer",
                          RetryAfterOf(registered.status()).value_or(absl::Seconds(1)));
  }
  if (!registered->has_value()) return Refused("its key is not registered");
  const RegisteredKey& key = **registered;
  if (parsed.claims.subject != SubjectOf(key)) return Refused("its subject is not the key's");
  Identity identity;
  identity.kind = key.kind;
  identity.principal = key.principal;
  identity.agent = key.agent;
  identity.service = key.service;
  identity.public_key = parsed.key;
  identity.until = absl::FromUnixSeconds(parsed.claims.expires_at_s);
  return identity;
}

absl::StatusOr<Identity> Authenticator::FromRunToken(absl::string_view token,
                                                     absl::Time now) const {
  if (workers_ == nullptr) return Refused("run tokens are not taken here");
  if (token.empty() || token.size() > kRunTokenMax) return Refused("not a run token");
  const auto worker = workers_->Verify(token, now);
  if (!worker.ok()) {
    return RetryableError("UNAVAILABLE", "run tokens cannot be checked now", absl::Seconds(1));
  }
  if (!worker->has_value()) return Refused("the run token is not valid (any more)");
  Identity identity;
  identity.kind = IdentityKind::kWorker;
  identity.run = (*worker)->run;
  identity.worker = (*worker)->worker;
  return identity;
}

}  // namespace rochdale::rpc
