#include "libs/crypto/jwt.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>
#include <vector>

#include "libs/base/errors.h"
#include "libs/crypto/base64.h"

namespace rochdale::crypto {
namespace {

const KeyPair kKey = KeyPair::FromSeed({1, 2, 3});
const AgentId kAgentId{{{0x01, 0x93, 0xaa}}};
constexpr int64_t kIssued = 1'700'000'000;

TokenClaims Claims() { return {TokenSubject::Of(kAgentId), kIssued, kIssued + 900, "token-1"}; }

std::string HeaderText() {
  return R"({"alg":"EdDSA","typ":"JWT","kid":")" + kKey.public_key().ToString() + R"("})";
}
std::string ClaimsText() {
  return R"({"sub":"agent:)" + kAgentId.ToString() +
         R"(","aud":"rochdale","iat":1700000000,"exp":1700000900,"jti":"x"})";
}
// Signed correctly, whatever the parts say.
std::string Token(const std::string& header, const std::string& claims) {
  const std::string input =
      Base64Encode(Base64::kUrl, header) + "." + Base64Encode(Base64::kUrl, claims);
  return input + "." + Base64Encode(Base64::kUrl, kKey.Sign(input).AsBytes());
}
std::string Reason(const std::string& token) { return ReasonOf(ParseToken(token).status()); }
std::string Replace(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST_CASE("A token survives the way there and back") {
  const std::string text = *SignToken(kKey, Claims());
  const auto token = ParseToken(text);
  REQUIRE(token.ok());
  CHECK(token->claims == Claims());
  CHECK(token->key == kKey.public_key());
  CHECK(VerifyTokenSignature(*token, kKey.public_key()).ok());
  CHECK(Reason(Token(HeaderText(), ClaimsText())) == "");
}

TEST_CASE("Only the key that signed verifies") {
  ParsedToken token = *ParseToken(*SignToken(kKey, Claims()));
  const PublicKey other = KeyPair::FromSeed({9}).public_key();
  CHECK(ReasonOf(VerifyTokenSignature(token, other)) == "UNAUTHENTICATED");
  // A header that names another key than the one that signed.
  token.key = other;
  CHECK(ReasonOf(VerifyTokenSignature(token, other)) == "UNAUTHENTICATED");
  CHECK(ReasonOf(VerifyTokenSignature(token, kKey.public_key())) == "UNAUTHENTICATED");
  token.key = kKey.public_key();
  token.signing_input += "x";
  CHECK(ReasonOf(VerifyTokenSignature(token, kKey.public_key())) == "UNAUTHENTICATED");
}

TEST_CASE("The header is exactly the one of the specification") {
  const std::string header = HeaderText();
  const std::vector<std::string> bad = {
      Replace(header, "EdDSA", "none"),
      Replace(header, "EdDSA", "HS256"),
      Replace(header, "EdDSA", "eddsa"),
      Replace(header, "\"EdDSA\"", "[\"EdDSA\"]"),
      Replace(header, "\"EdDSA\"", "null"),
      Replace(header, "JWT", "jwt"),
      Replace(header, "\"typ\":\"JWT\",", ""),
      Replace(header, "{", "{\"crit\":[],"),
      Replace(header, "{", "{\"jwk\":\"x\","),
      Replace(header, "{", "{\"alg\":\"none\","),  // twice: parsers differ in which one counts
      Replace(header, "}", ",\"alg\":\"EdDSA\"}"),
      Replace(header, kKey.public_key().ToString(), "00"),
      Replace(header, "}", "}}"),
      Replace(header, "}", "} x"),
      "[" + header + "]",
      "\"" "EdDSA" "\"",
      "null",
      "",
      "\xff",
      std::string(1000, '['),
  };
  for (const std::string& text : bad) {
    INFO(text);
    CHECK(Reason(Token(text, ClaimsText())) == "UNAUTHENTICATED");
  }
  // The order of members and white space are the signer's business.
  CHECK(Reason(Token(Replace(header, ",", " ,\n"), ClaimsText())) == "");
}

TEST_CASE("The claims are exactly those of the specification") {
  const std::string claims = ClaimsText();
  const std::string zero = "00000000-0000-0000-0000-000000000000";
  const std::vector<std::string> bad = {
      Replace(claims, "rochdale", "Rochdale"),
      Replace(claims, "\"rochdale\"", "[\"rochdale\"]"),
      Replace(claims, "agent:", "agents:"),
      Replace(claims, "agent:", "service:Not a name"),
      Replace(claims, "agent:", "agent:0"),
      Replace(claims, kAgentId.ToString(), zero),
      Replace(claims, "0193aa", "0193AA"),
      Replace(claims, "agent:" + kAgentId.ToString(), "service:"),
      Replace(claims, "1700000900", "1700000901"),  // longer than 15 minutes
      Replace(claims, "1700000900", "1700000000"),
      Replace(claims, "1700000900", "1699999999"),
      Replace(claims, "1700000900", "1700000900.0"),
      Replace(claims, "1700000900", "\"1700000900\""),
      Replace(claims, "1700000900", "18446744073709551615"),
      Replace(claims, "1700000900", "9223372036854775807"),
      Replace(claims, "1700000900", "1e400"),
      Replace(claims, "1700000000", "-9223372036854775808"),
      Replace(claims, "\"x\"", "\"\""),
      Replace(claims, "\"x\"", "1"),
      Replace(claims, "\"x\"", "\"a b\""),
      Replace(claims, "\"x\"", "\"" + std::string(65, 'a') + "\""),
      Replace(claims, ",\"jti\":\"x\"", ""),
      Replace(claims, "}", ",\"nbf\":1}"),
      Replace(claims, "}", ",\"jti\":\"x\"}"),
      Replace(claims, "}", ",\"sub\":\"service:ledger\"}"),
      "{}",
  };
  for (const std::string& text : bad) {
    INFO(text);
    CHECK(Reason(Token(HeaderText(), text)) == "UNAUTHENTICATED");
  }
}

TEST_CASE("The framing is strict") {
  const std::string token = *SignToken(kKey, Claims());
  const size_t last_dot = token.rfind('.');
  const std::vector<std::string> bad = {
      "", ".", "..", "...", "a.b.c", token + ".", token + "=", token + "A", token + "\n",
      " " + token, "." + token, token.substr(0, last_dot), token.substr(0, last_dot + 1),
      Replace(token, ".", ".."), Replace(token, ".", "=."), "Bearer " + token,
      token.substr(0, token.size() - 2), std::string(kTokenMaxBytes + 1, 'A')};
  for (const std::string& text : bad) {
    INFO(text);
    CHECK(Reason(text) == "UNAUTHENTICATED");
  }
  // The last digit of a 64-byte signature carries 4 unused bits: they must be zero.
  std::string twin = token;
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const size_t value = std::string(kDigits).find(twin.back());
  REQUIRE(value % 16 == 0);
  twin.back() = kDigits[value + 1];
  CHECK(Reason(twin) == "UNAUTHENTICATED");
}

TEST_CASE("Times have 30 seconds of leeway") {
  struct Row {
    absl::Duration after_iat;
    const char* reason;
  };
  for (const Row& row : std::vector<Row>{{absl::Seconds(-31), "TOKEN_EXPIRED"},
                                         {-absl::Milliseconds(30'001), "TOKEN_EXPIRED"},
                                         {absl::Seconds(-30), ""},
                                         {absl::Seconds(0), ""},
                                         {absl::Seconds(929), ""},
                                         {absl::Milliseconds(929'999), ""},
                                         {absl::Seconds(930), "TOKEN_EXPIRED"},
                                         {absl::InfiniteDuration(), "TOKEN_EXPIRED"},
                                         {-absl::InfiniteDuration(), "TOKEN_EXPIRED"}}) {
    CHECK(ReasonOf(CheckTokenTimes(Claims(), absl::FromUnixSeconds(kIssued) + row.after_iat)) ==
          row.reason);
  }
}

TEST_CASE("Claims that would be refused are not signed") {
  TokenClaims claims = Claims();
  claims.expires_at_s = kIssued + 901;
  CHECK(absl::IsInvalidArgument(SignToken(kKey, claims).status()));
  claims = Claims();
  claims.token_id = "";
  CHECK(absl::IsInvalidArgument(SignToken(kKey, claims).status()));
  claims = Claims();
  claims.subject = TokenSubject::OfService("UPPER");
  CHECK(absl::IsInvalidArgument(SignToken(kKey, claims).status()));
  claims.subject = TokenSubject::OfService("attribution");
  CHECK(ParseToken(*SignToken(kKey, claims))->claims.subject.ToString() == "service:attribution");
  claims.subject = TokenSubject::Of(PrincipalId{{{5}}});
  CHECK(ParseToken(*SignToken(kKey, claims))->claims.subject == claims.subject);
}

TEST_CASE("No mutated token verifies") {
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937 engine(seed);
  const std::string token = *SignToken(kKey, Claims());
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(engine);
  };
  for (int round = 0; round < 20'000; ++round) {
    std::string text = token;
    for (size_t edits = 1 + below(3); edits > 0 && !text.empty(); --edits) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0: text[at] = static_cast<char>(below(256)); break;
        case 1: text[at] = "Aaz09-_.="[below(9)]; break;
        case 2: text.erase(at, 1 + below(6)); break;
        case 3: text.insert(at, 1, "Aaz09-_.="[below(9)]); break;
      }
    }
    if (text == token) continue;
    const auto parsed = ParseToken(text);
    const bool accepted = parsed.ok() && VerifyTokenSignature(*parsed, kKey.public_key()).ok();
    REQUIRE_FALSE(accepted);
  }
}

}  // namespace
}  // namespace rochdale::crypto
