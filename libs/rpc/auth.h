// Tokens and certificates -> identities.
//
// `authorization: Bearer <JWT>`: signed (EdDSA) by the key of a principal, an agent or a service;
// audience "rochdale", at most 15 minutes long, 30 s of leeway. The key directory says whose key it
// is, and the token's subject must name the same.
// `authorization: Run <token>`: a worker; the token is checked by the attribution service's own
// verifier.
// No `authorization`, over a connection whose certificate names a service (peer.h): that service.
// `rochdale-on-behalf-of: <service>` over a connection of this service's own replicas: the service
// that called the replica, which forwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/clock.h"
#include "libs/crypto/ed25519.h"
#include "libs/rpc/call.h"
#include "libs/rpc/peer.h"

namespace rochdale::rpc {

// Whose key it is.
struct RegisteredKey {
  IdentityKind kind = IdentityKind::kPrincipal;  // kPrincipal, kAgent or kService
  PrincipalId principal;                         // kAgent: its principal
  AgentId agent;
  std::string service;
};

// Thread-safe. Governance owns the registry; others ask it (and wrap that in a cache).
class KeyDirectory {
 public:
  virtual ~KeyDirectory() = default;
  // nullopt: no such key, or revoked. A status: the directory cannot answer (the call fails as
  // UNAVAILABLE; it is never taken for "no such key").
  virtual absl::StatusOr<std::optional<RegisteredKey>> Lookup(const crypto::PublicKey& key) = 0;
};

// The keys of services (and "operator", "witness") that configuration names; any other key is
// asked of `next` (may be null: none). A configured key can never be another's in `next`.
class ConfiguredKeys final : public KeyDirectory {
 public:
  ConfiguredKeys(std::map<crypto::PublicKey, std::string> services, KeyDirectory* next)
      : services_(std::move(services)), next_(next) {}
  absl::StatusOr<std::optional<RegisteredKey>> Lookup(const crypto::PublicKey& key) override;

 private:
  const std::map<crypto::PublicKey, std::string> services_;
  KeyDirectory* const next_;
};

struct KeyCacheOptions {
  size_t entries_max = 100'000;
  absl::Duration ttl_known = absl::Seconds(15);   // so long a revoked key may still be accepted
  absl::Duration ttl_unknown = absl::Seconds(1);  // so long a new key may still be refused
};

// Remembers answers of `source`, the least recently used one leaves first. Failures are not
// remembered.
class CachedKeyDirectory final : public KeyDirectory {
 public:
  CachedKeyDirectory(KeyDirectory& source, const Clock& clock, KeyCacheOptions options = {});
  absl::StatusOr<std::optional<RegisteredKey>> Lookup(const crypto::PublicKey& key) override;
  // After a change of the key that this process made or heard of.
  void Forget(const crypto::PublicKey& key);
  size_t size() const;

 private:
  struct Entry {
    crypto::PublicKey key;
    std::optional<RegisteredKey> answer;
    absl::Time until;
  };
  KeyDirectory& source_;
  const Clock& clock_;
  const KeyCacheOptions options_;
  mutable std::mutex mutex_;
  uint64_t generation_ = 0;   // of Forget
  std::list<Entry> recent_;  // front: used last
  std::map<crypto::PublicKey, std::list<Entry>::iterator> entries_;
};

// What a valid run token proves.
struct WorkerToken {
  RunId run;
  std::string worker;  // name of the session; empty for the run token itself
};

// Thread-safe. Of the attribution service.
class RunTokenVerifier {
 public:
  virtual ~RunTokenVerifier() = default;
  // nullopt: not valid (any more). A status: cannot answer.
  virtual absl::StatusOr<std::optional<WorkerToken>> Verify(absl::string_view token,
                                                            absl::Time now) = 0;
};

// How services show who they are.
enum class ServiceIdentity {
  kToken,        // by tokens; certificates name nobody
  kBoth,         // by either: while a deployment changes from one to the other
  // By certificates. The five services' tokens count only where no certificate could be shown:
  // within the process and on plain loopback; and where a replica of this service forwards them.
  kCertificate,
};

struct AuthenticatorOptions {
  absl::Duration token_age_max = absl::Minutes(15);  // the bound of the wire format
  ServiceIdentity services = ServiceIdentity::kToken;
  std::string trust_domain;  // of certificates; needed beyond kToken
  std::string self;          // this service, whose replicas forward calls; empty: none do
};

// What a call shows of its caller.
struct Credentials {
  std::string authorization;  // the value of that metadata key; empty: none
  std::string on_behalf_of;   // the value of kOnBehalfOf; empty: none
  Peer peer;
};

// Metadata key of a call that a replica forwards and that has no token: the service whose
// certificate the replica saw, or kNobody, lest the replica's own certificate count instead.
inline constexpr char kOnBehalfOf[] = "rochdale-on-behalf-of";
inline constexpr char kNobody[] = "anonymous";

// Thread-safe. `workers` may be null: run tokens are refused then.
class Authenticator {
 public:
  Authenticator(KeyDirectory& keys, RunTokenVerifier* workers, AuthenticatorOptions options = {})
      : keys_(keys), workers_(workers), options_(std::move(options)) {}

  // A token decides wherever there is one, else the certificate; with neither: anonymous.
  // UNAUTHENTICATED (malformed, unknown key, wrong signature, subject or audience; a service's
  // token where a certificate is asked for; on behalf of another without being a replica),
  // TOKEN_EXPIRED, UNAVAILABLE.
  absl::StatusOr<Identity> Authenticate(const Credentials& shown, absl::Time now) const;

 private:
  absl::StatusOr<Identity> FromToken(absl::string_view authorization, absl::Time now) const;
  absl::StatusOr<Identity> FromJwt(absl::string_view token, absl::Time now) const;
  absl::StatusOr<Identity> FromRunToken(absl::string_view token, absl::Time now) const;

  KeyDirectory& keys_;
  RunTokenVerifier* const workers_;
  const AuthenticatorOptions options_;
};

}  // namespace rochdale::rpc
