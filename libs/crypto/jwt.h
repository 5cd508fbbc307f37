// The token by which principals, agents and services say who calls: a JWT (RFC 7519) that the
// caller signs itself with Ed25519 (RFC 8037), and nothing else that a JWT could be.
//
//   header  {"alg":"EdDSA","typ":"JWT","kid":<public key, 64 lower-case hexadecimal digits>}
//   claims  {"sub":..., "aud":"rochdale", "iat":<s>, "exp":<s>, "jti":...}
//
// Exactly these members, once each, in any order. The server parses, resolves the key to an
// identity, verifies under that key, compares `subject` with the identity, then checks the times:
//   ASSIGN_OR_RETURN(const ParsedToken token, ParseToken(text));
//   ... who holds token.key? ...
//   RETURN_IF_ERROR(VerifyTokenSignature(token, registered_key));
//   RETURN_IF_ERROR(CheckTokenTimes(token.claims, clock.Now()));
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"

namespace rochdale::crypto {

inline constexpr size_t kTokenMaxBytes = 4096;
inline constexpr absl::string_view kTokenAudience = "rochdale";
inline constexpr int64_t kTokenMaxSeconds = 15 * 60;
inline constexpr int64_t kTokenLeewaySeconds = 30;

// "principal:<uuid>", "agent:<uuid>" or "service:<name>" (1 to 64 of a-z, 0-9 and '-').
struct TokenSubject {
  enum class Kind { kPrincipal, kAgent, kService };
  Kind kind = Kind::kPrincipal;
  Uuid id;           // principal, agent
  std::string name;  // service

  static TokenSubject Of(PrincipalId id) { return {Kind::kPrincipal, id.value, ""}; }
  static TokenSubject Of(AgentId id) { return {Kind::kAgent, id.value, ""}; }
  static TokenSubject OfService(absl::string_view name) {
    return {Kind::kService, {}, std::string(name)};
  }
  std::string ToString() const;
  // INVALID_ARGUMENT for anything but the text form; ids are lower-case and not zero.
  static absl::StatusOr<TokenSubject> Parse(absl::string_view text);
  bool operator==(const TokenSubject&) const = default;
};

struct TokenClaims {
  TokenSubject subject;
  int64_t issued_at_s = 0;   // seconds since 1970 UTC
  int64_t expires_at_s = 0;  // at most 15 minutes after issued_at_s
  std::string token_id;      // jti: 1 to 64 printable ASCII characters

  bool operator==(const TokenClaims&) const = default;
};

// Well-formed, but nothing about it is verified yet.
struct ParsedToken {
  TokenClaims claims;
  PublicKey key;  // the header's kid: whose key the token claims to be signed with
  std::string signing_input;
  Signature signature;
};

// The token's text. INVALID_ARGUMENT for claims that ParseToken would refuse.
absl::StatusOr<std::string> SignToken(const KeyPair& key, const TokenClaims& claims);

// UNAUTHENTICATED for anything but the form above.
absl::StatusOr<ParsedToken> ParseToken(absl::string_view text);

// UNAUTHENTICATED unless the token names `key` and is signed by it.
absl::Status VerifyTokenSignature(const ParsedToken& token, const PublicKey& key);

// TOKEN_EXPIRED unless iat - 30 s <= now < exp + 30 s.
absl::Status CheckTokenTimes(const TokenClaims& claims, absl::Time now);

}  // namespace rochdale::crypto
