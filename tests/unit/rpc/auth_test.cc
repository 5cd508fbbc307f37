#include "libs/rpc/auth.h"

#include <catch2/catch.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/rpc/status.h"
#include "tests/unit/rpc/probe_server.h"

namespace rochdale::rpc {
namespace {

using namespace testing;  // NOLINT
using Stub = v1::ProbeService::Stub;

std::string Reason(const grpc::Status& status) { return ReasonOf(FromGrpc(status)); }

std::string Bearer(const crypto::KeyPair& key, crypto::TokenClaims claims) {
  return absl::StrCat("Bearer ", crypto::SignToken(key, claims).value());
}

struct Fixture : ProbeServer {
  crypto::KeyPair agent_key = NewKey();
  TokenSource agent = Agent(agent_key);
  crypto::KeyPair principal_key = NewKey();
  TokenSource principal = Principal(principal_key);

  AgentId AgentIdOf() { return (*keys.Lookup(agent_key.public_key()))->agent; }
  crypto::TokenClaims Claims() {
    crypto::TokenClaims claims;
    claims.subject = crypto::TokenSubject::Of(AgentIdOf());
    claims.issued_at_s = absl::ToUnixSeconds(clock.Now());
    claims.expires_at_s = claims.issued_at_s + 600;
    claims.token_id = "t1";
    return claims;
  }
};

TEST_CASE("a token makes its caller known", "[rpc]") {
  Fixture f;
  v1::ProbeResponse response;
  REQUIRE(CallWith(f, f.agent.Authorization(), &Stub::ForAgents, &response).ok());
  CHECK(response.text() == "agent:" + f.AgentIdOf().ToString());
  REQUIRE(CallWith(f, f.principal.Authorization(), &Stub::ForMembers, &response).ok());
  CHECK(absl::StartsWith(response.text(), "principal:"));
  // Who is known may use what is open to all.
  REQUIRE(CallWith(f, f.agent.Authorization(), &Stub::Open, &response).ok());
  CHECK(absl::StartsWith(response.text(), "agent:"));
}

TEST_CASE("a role that is missing is refused, a token that is missing is asked for", "[rpc]") {
  Fixture f;
  CHECK(Reason(CallWith(f, "", &Stub::ForAgents)) == "UNAUTHENTICATED");
  CHECK(Reason(CallWith(f, f.principal.Authorization(), &Stub::ForAgents)) == "PERMISSION_DENIED");
  CHECK(Reason(CallWith(f, f.agent.Authorization(), &Stub::ForFounders)) == "PERMISSION_DENIED");
  CHECK(CallWith(f, f.principal.Authorization(), &Stub::ForFounders).ok());
  CHECK(Reason(CallWith(f, f.principal.Authorization(), &Stub::ForWorkers)) ==
        "PERMISSION_DENIED");
  CHECK(Reason(CallWith(f, f.principal.Authorization(), &Stub::ForNobody)) == "PERMISSION_DENIED");
  CHECK(Reason(CallWith(f, "", &Stub::ForNobody)) == "UNAUTHENTICATED");
}

TEST_CASE("forged, foreign and malformed tokens are refused, even where none is needed", "[rpc]") {
  Fixture f;
  const crypto::KeyPair stranger = f.NewKey();
  const std::string good = f.agent.Authorization();
  crypto::TokenClaims other = f.Claims();
  other.subject = crypto::TokenSubject::Of(PrincipalId{f.ids.New(f.clock.Now())});
  std::string flipped = good;
  flipped[flipped.size() - 10] = flipped[flipped.size() - 10] == 'A' ? 'B' : 'A';
  crypto::TokenClaims service = f.Claims();
  service.subject = crypto::TokenSubject::OfService("ledger");
  struct Row {
    const char* what;
    std::string authorization;
  };
  const std::vector<Row> rows = {
      {"unknown key", Bearer(stranger, f.Claims())},
      {"subject of another", Bearer(f.agent_key, other)},
      {"agent as a service", Bearer(f.agent_key, service)},
      {"bit flipped in the signature", flipped},
      {"cut", good.substr(0, good.size() - 20)},
      {"no scheme", good.substr(7)},
      {"other scheme", "Basic " + good.substr(7)},
      {"lower-case scheme", "bearer " + good.substr(7)},
      {"two spaces", "Bearer  " + good.substr(7)},
      {"nothing", "Bearer "},
      {"rubbish", "Bearer a.b.c"},
      {"long", "Bearer " + std::string(6'000, 'x')},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    for (const auto method : {&Stub::Open, &Stub::ForAgents}) {
      const grpc::Status status = CallWith(f, row.authorization, method);
      CHECK(status.error_code() == grpc::StatusCode::UNAUTHENTICATED);
      CHECK(Reason(status) == "UNAUTHENTICATED");
    }
  }
  CHECK(CallWith(f, good, &Stub::ForAgents).ok());
}

TEST_CASE("two tokens in one call are none", "[rpc]") {
  Fixture f;
  grpc::ClientContext context;
  context.AddMetadata("authorization", f.agent.Authorization());
  context.AddMetadata("authorization", f.principal.Authorization());
  v1::ProbeResponse response;
  CHECK(Reason(f.stub->ForAgents(&context, {}, &response)) == "UNAUTHENTICATED");
}

TEST_CASE("tokens end", "[rpc]") {
  Fixture f;
  const std::string token = Bearer(f.agent_key, f.Claims());
  CHECK(CallWith(f, token, &Stub::ForAgents).ok());
  f.clock.Advance(absl::Seconds(629));  // 600 s and the leeway, less one
  CHECK(CallWith(f, token, &Stub::ForAgents).ok());
  f.clock.Advance(absl::Seconds(1));
  CHECK(Reason(CallWith(f, token, &Stub::ForAgents)) == "TOKEN_EXPIRED");
  f.clock.Advance(-absl::Seconds(661));  // before it was issued, beyond the leeway
  CHECK(Reason(CallWith(f, token, &Stub::ForAgents)) == "TOKEN_EXPIRED");
  // The token source signs a new one in time, on its own.
  f.clock.Advance(absl::Hours(2));
  CHECK(CallWith(f, f.agent.Authorization(), &Stub::ForAgents).ok());
}

TEST_CASE("a governed age can be shorter", "[rpc]") {
  Fixture f;
  const Authenticator strict(f.keys, nullptr, {absl::Seconds(300)});
  const std::string token = Bearer(f.agent_key, f.Claims());
  CHECK(ReasonOf(strict.Authenticate({token}, f.clock.Now()).status()) == "UNAUTHENTICATED");
  CHECK(Authenticator(f.keys, nullptr).Authenticate({token}, f.clock.Now()).ok());
}

TEST_CASE("a registry that cannot answer is not a refusal", "[rpc]") {
  Fixture f;
  const std::string token = f.agent.Authorization();
  f.keys.Fail(absl::InternalError("no connection to 10.0.0.7"));
  const grpc::Status status = CallWith(f, token, &Stub::ForAgents);
  CHECK(Reason(status) == "UNAVAILABLE");
  CHECK_FALSE(absl::StrContains(status.error_message(), "10.0.0.7"));
}

TEST_CASE("workers show the token of their run", "[rpc]") {
  Fixture f;
  v1::ProbeResponse response;
  REQUIRE(CallWith(f, "Run good", &Stub::ForWorkers, &response).ok());
  CHECK(response.text() == "worker:" + f.runs.run.ToString());
  CHECK(Reason(CallWith(f, "Run good", &Stub::ForAgents)) == "PERMISSION_DENIED");
  CHECK(Reason(CallWith(f, "Run bad", &Stub::ForWorkers)) == "UNAUTHENTICATED");
  CHECK(Reason(CallWith(f, "Run ", &Stub::ForWorkers)) == "UNAUTHENTICATED");
  CHECK(Reason(CallWith(f, "Run broken", &Stub::ForWorkers)) == "UNAVAILABLE");
  const Authenticator elsewhere(f.keys, nullptr);
  CHECK(ReasonOf(elsewhere.Authenticate({"Run good"}, f.clock.Now()).status()) ==
        "UNAUTHENTICATED");
}

TEST_CASE("only configuration makes a service", "[rpc]") {
  Fixture f;
  const crypto::KeyPair payout = f.NewKey(), imposter = f.NewKey();
  RegisteredKey claimed;
  claimed.kind = IdentityKind::kService;
  claimed.service = "payout";
  f.keys.Put(imposter.public_key(), claimed);
  ConfiguredKeys configured({{payout.public_key(), "payout"}}, &f.keys);
  const Authenticator authenticator(configured, nullptr);
  const auto subject = crypto::TokenSubject::OfService("payout");

  TokenSource good(subject, payout, f.clock, f.ids);
  const auto identity = authenticator.Authenticate({good.Authorization()}, f.clock.Now());
  REQUIRE(identity.ok());
  CHECK(identity->IsService("payout"));
  CHECK_FALSE(identity->IsPerson());

  TokenSource bad(subject, imposter, f.clock, f.ids);
  CHECK(ReasonOf(authenticator.Authenticate({bad.Authorization()}, f.clock.Now()).status()) ==
        "UNAUTHENTICATED");
  TokenSource other(crypto::TokenSubject::OfService("ledger"), payout, f.clock, f.ids);
  CHECK_FALSE(authenticator.Authenticate({other.Authorization()}, f.clock.Now()).ok());
  // Keys that configuration does not name are asked of the registry.
  CHECK(authenticator.Authenticate({f.agent.Authorization()}, f.clock.Now()).ok());
}

TEST_CASE("the cache of keys answers, ages and stays bounded", "[rpc]") {
  ManualClock clock(absl::FromUnixSeconds(1'000));
  MapDirectory source;
  KeyCacheOptions options;
  options.entries_max = 3;
  CachedKeyDirectory cache(source, clock, options);
  auto key = [](int i) {
    crypto::PublicKey k;
    k.bytes[0] = static_cast<uint8_t>(i);
    return k;
  };
  source.Put(key(1), {});
  CHECK((*cache.Lookup(key(1))).has_value());
  CHECK((*cache.Lookup(key(1))).has_value());
  CHECK(source.lookups() == 1);

  source.Remove(key(1));
  CHECK((*cache.Lookup(key(1))).has_value());  // known for ttl_known
  clock.Advance(options.ttl_known);
  CHECK_FALSE((*cache.Lookup(key(1))).has_value());
  CHECK(source.lookups() == 2);

  source.Put(key(1), {});
  CHECK_FALSE((*cache.Lookup(key(1))).has_value());  // unknown for ttl_unknown
  cache.Forget(key(1));
  CHECK((*cache.Lookup(key(1))).has_value());

  for (int i = 2; i <= 9; ++i) CHECK(cache.Lookup(key(i)).ok());
  CHECK(cache.size() == 3);
  const int before = source.lookups();
  CHECK(cache.Lookup(key(9)).ok());  // used last: still there
  CHECK(source.lookups() == before);
  CHECK((*cache.Lookup(key(1))).has_value());  // had to leave
  CHECK(source.lookups() == before + 1);

  source.Fail(absl::UnavailableError("away"));
  CHECK_FALSE(cache.Lookup(key(50)).ok());
  source.Fail(absl::OkStatus());
  source.Put(key(50), {});
  CHECK((*cache.Lookup(key(50))).has_value());  // a failure was not remembered
}

}  // namespace
}  // namespace rochdale::rpc
