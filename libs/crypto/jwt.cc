#include "libs/crypto/jwt.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/base64.h"

namespace rochdale::crypto {
namespace {

using nlohmann::json;

absl::Status Refused(absl::string_view why) {
  return Error("UNAUTHENTICATED", absl::StrCat("the token is not valid: ", why));
}

// A flat JSON object with exactly `members`, none twice. Other parsers take the first or the last
// of two equal members; whoever signs must not be able to choose.
absl::StatusOr<json> ParseFlat(absl::string_view text, const std::set<std::string>& members) {
  std::set<std::string> seen;
  bool flat = true;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key) {
      flat = flat && seen.insert(value.get<std::string>()).second;
    } else if (depth > 0 && (event == json::parse_event_t::object_start ||
                             event == json::parse_event_t::array_start)) {
      flat = false;
    }
    return true;
  };
  json object = json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (object.is_discarded() || !object.is_object() || !flat) {
    return Refused("a part is not a flat JSON object");
  }
  if (seen != members) return Refused("a part lacks a member or has another one");
  return object;
}

absl::StatusOr<std::string> TextMember(const json& object, const char* name) {
  const json& value = object[name];
  if (!value.is_string()) return Refused(absl::StrCat(name, " is not a string"));
  return value.get<std::string>();
}

absl::StatusOr<int64_t> SecondsMember(const json& object, const char* name) {
  const json& value = object[name];
  const bool fits =
      value.is_number_integer() &&
      !(value.is_number_unsigned() &&
        value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!fits) return Refused(absl::StrCat(name, " is not an integer number of seconds"));
  return value.get<int64_t>();
}

bool IsTokenId(absl::string_view id) {
  return !id.empty() && id.size() <= 64 &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
}

// Empty where the claims may be in a token.
absl::string_view WhatIsWrong(const TokenClaims& claims) {
  if (!TokenSubject::Parse(claims.subject.ToString()).ok()) return "sub is malformed";
  if (!IsTokenId(claims.token_id)) return "jti is not 1 to 64 printable characters";
  // Up to the year 9999, so that no sum below overflows.
  if (claims.issued_at_s < 0 || claims.expires_at_s > 253'402'300'799) {
    return "iat or exp is absurd";
  }
  if (claims.expires_at_s <= claims.issued_at_s) return "exp is not after iat";
  if (claims.expires_at_s - claims.issued_at_s > kTokenMaxSeconds) {
    return "exp is more than 15 minutes after iat";
  }
  return "";
}

absl::StatusOr<PublicKey> ParseHeader(absl::string_view text) {
  ASSIGN_OR_RETURN(const json header, ParseFlat(text, {"alg", "typ", "kid"}));
  ASSIGN_OR_RETURN(const std::string algorithm, TextMember(header, "alg"));
  ASSIGN_OR_RETURN(const std::string type, TextMember(header, "typ"));
  ASSIGN_OR_RETURN(const std::string key, TextMember(header, "kid"));
  if (algorithm != "EdDSA") return Refused("alg is not EdDSA");
  if (type != "JWT") return Refused("typ is not JWT");
  const auto parsed = PublicKey::Parse(key);
  if (!parsed.ok()) return Refused("kid is not a public key");
  return *parsed;
}

absl::StatusOr<TokenClaims> ParseClaims(absl::string_view text) {
  ASSIGN_OR_RETURN(const json object, ParseFlat(text, {"sub", "aud", "iat", "exp", "jti"}));
  ASSIGN_OR_RETURN(const std::string audience, TextMember(object, "aud"));
  if (audience != std::string(kTokenAudience)) return Refused("aud is not rochdale");
  ASSIGN_OR_RETURN(const std::string subject_text, TextMember(object, "sub"));
  const auto subject = TokenSubject::Parse(subject_text);
  if (!subject.ok()) return Refused("sub is malformed");
  TokenClaims claims;
  claims.subject = *subject;
  ASSIGN_OR_RETURN(claims.issued_at_s, SecondsMember(object, "iat"));
  ASSIGN_OR_RETURN(claims.expires_at_s, SecondsMember(object, "exp"));
  ASSIGN_OR_RETURN(claims.token_id, TextMember(object, "jti"));
  const absl::string_view wrong = WhatIsWrong(claims);
  if (!wrong.empty()) return Refused(wrong);
  return claims;
}

}  // namespace

std::string TokenSubject::ToString() const {
  switch (kind) {
    case Kind::kPrincipal: return absl::StrCat("principal:", id.ToString());
    case Kind::kAgent: return absl::StrCat("agent:", id.ToString());
    case Kind::kService: return absl::StrCat("service:", name);
  }
  return "";
}

absl::StatusOr<TokenSubject> TokenSubject::Parse(absl::string_view text) {
  TokenSubject subject;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (parts.first == "service") {
    const bool named = !parts.second.empty() && parts.second.size() <= 64 &&
                       std::all_of(parts.second.begin(), parts.second.end(), [](char c) {
                         return absl::ascii_islower(static_cast<unsigned char>(c)) ||
                                absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '-';
                       });
    if (!named) return absl::InvalidArgumentError("a service has a name of a-z, 0-9 and '-'");
    return OfService(parts.second);
  }
  if (parts.first == "principal") {
    subject.kind = Kind::kPrincipal;
  } else if (parts.first == "agent") {
    subject.kind = Kind::kAgent;
  } else {
    return absl::InvalidArgumentError("a subject is a principal, an agent or a service");
  }
  ASSIGN_OR_RETURN(subject.id, Uuid::Parse(parts.second));
  if (subject.id.IsZero() || subject.ToString() != text) {
    return absl::InvalidArgumentError("a subject's id is a lower-case UUID and not zero");
  }
  return subject;
}

absl::StatusOr<std::string> SignToken(const KeyPair& key, const TokenClaims& claims) {
  const absl::string_view wrong = WhatIsWrong(claims);
  if (!wrong.empty()) return absl::InvalidArgumentError(wrong);
  const json header = {{"alg", "EdDSA"}, {"typ", "JWT"}, {"kid", key.public_key().ToString()}};
  const json body = {{"sub", claims.subject.ToString()},
                     {"aud", std::string(kTokenAudience)},
                     {"iat", claims.issued_at_s},
                     {"exp", claims.expires_at_s},
                     {"jti", claims.token_id}};
  std::string token = absl::StrCat(Base64Encode(Base64::kUrl, header.dump()), ".",
                                   Base64Encode(Base64::kUrl, body.dump()));
  const Signature signature = key.Sign(token);
  absl::StrAppend(&token, ".", Base64Encode(Base64::kUrl, signature.AsBytes()));
  return token;
}

absl::StatusOr<ParsedToken> ParseToken(absl::string_view text) {
  if (text.size() > kTokenMaxBytes) return Refused("it has more than 4 KiB");
  const std::vector<absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits('.', 3));
  if (parts.size() != 3) return Refused("it does not have three parts");
  const auto header = Base64Decode(Base64::kUrl, parts[0]);
  const auto claims = Base64Decode(Base64::kUrl, parts[1]);
  const auto raw_signature = Base64Decode(Base64::kUrl, parts[2]);
  if (!header.ok() || !claims.ok() || !raw_signature.ok()) {
    return Refused("a part is not unpadded base64url");
  }
  const auto signature = Signature::FromBytes(*raw_signature);
  if (!signature.ok()) return Refused("its signature has not 64 bytes");
  ParsedToken token;
  token.signature = *signature;
  token.signing_input = std::string(text.substr(0, parts[0].size() + 1 + parts[1].size()));
  ASSIGN_OR_RETURN(token.key, ParseHeader(*header));
  ASSIGN_OR_RETURN(token.claims, ParseClaims(*claims));
  return token;
}

absl::Status VerifyTokenSignature(const ParsedToken& token, const PublicKey& key) {
  if (token.key != key || !Verify(key, token.signing_input, token.signature)) {
    return Refused("its signature does not verify");
  }
  return absl::OkStatus();
}

absl::Status CheckTokenTimes(const TokenClaims& claims, absl::Time now) {
  const absl::Duration leeway = absl::Seconds(kTokenLeewaySeconds);
  if (now + leeway < absl::FromUnixSeconds(claims.issued_at_s)) {
    return Error("TOKEN_EXPIRED", "the token is not valid yet: its iat lies in the future");
  }
  if (now - leeway >= absl::FromUnixSeconds(claims.expires_at_s)) {
    return Error("TOKEN_EXPIRED", "the token has expired");
  }
  return absl::OkStatus();
}

}  // namespace rochdale::crypto
