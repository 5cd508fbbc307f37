// Who a service is, by token or certificate: the rules alone. tls_test.cc has them on the wire.
#include <catch2/catch.hpp>

#include "libs/base/errors.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/peer.h"
#include "tests/unit/rpc/probe_server.h"

namespace rochdale::rpc {
namespace {

using namespace testing;  // NOLINT

TEST_CASE("a certificate names a service by one exact form of its URI", "[rpc]") {
  struct Row {
    const char* what;
    std::string id;
    std::optional<std::string> service;
  };
  const std::vector<Row> rows = {
      {"a service", "spiffe://coop.example/service/filter", "filter"},
      {"the witness", "spiffe://coop.example/service/witness", "witness"},
      {"none", "", std::nullopt},
      {"another domain", "spiffe://other.example/service/filter", std::nullopt},
      {"a longer domain", "spiffe://coop.example.org/service/filter", std::nullopt},
      {"a domain below", "spiffe://a.coop.example/service/filter", std::nullopt},
      {"no service of ours", "spiffe://coop.example/service/mailer", std::nullopt},
      {"no name", "spiffe://coop.example/service/", std::nullopt},
      {"more path", "spiffe://coop.example/service/filter/x", std::nullopt},
      {"path before", "spiffe://coop.example/x/service/filter", std::nullopt},
      {"another scheme", "https://coop.example/service/filter", std::nullopt},
      {"upper case", "spiffe://coop.example/service/Filter", std::nullopt},
      {"a zero byte", std::string("spiffe://coop.example/service/filter\0", 37), std::nullopt},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(ServiceOfSpiffeId(row.id, "coop.example") == row.service);
  }
  CHECK(ServiceOfSpiffeId("spiffe:///service/filter", "") == std::nullopt);
  CHECK(ServiceSpiffeId("coop.example", "filter") == rows[0].id);
  CHECK(CheckTrustDomain("coop.example").ok());
  for (const std::string bad : {"", "Coop", "a/b", "a:1", "a b"}) {
    INFO(bad);
    CHECK_FALSE(CheckTrustDomain(bad).ok());
  }
  CHECK_FALSE(CheckTrustDomain(std::string(256, 'a')).ok());
}

struct Fixture {
  ManualClock clock{absl::FromUnixSeconds(1'900'000'000)};
  SeededIdSource ids{1};
  crypto::KeyPair filter_key = crypto::KeyPair::FromSeed({1});
  crypto::KeyPair operator_key = crypto::KeyPair::FromSeed({2});
  crypto::KeyPair agent_key = crypto::KeyPair::FromSeed({3});
  MapDirectory registry;
  ConfiguredKeys keys{
      {{filter_key.public_key(), "filter"}, {operator_key.public_key(), "operator"}}, &registry};
  std::string agent_id;

  std::string Token(const char* who) {
    if (std::string(who).empty()) return "";
    if (std::string(who) == "agent") {
      RegisteredKey key{IdentityKind::kAgent, PrincipalId{ids.New(clock.Now())},
                        AgentId{ids.New(clock.Now())}, ""};
      registry.Put(agent_key.public_key(), key);
      agent_id = key.agent.ToString();
      return TokenSource(crypto::TokenSubject::Of(key.agent), agent_key, clock, ids)
          .Authorization();
    }
    const bool filter = std::string(who) == "filter";
    return TokenSource(crypto::TokenSubject::OfService(who), filter ? filter_key : operator_key,
                       clock, ids)
        .Authorization();
  }
};

TEST_CASE("token, certificate and forwarding replica give one caller", "[rpc]") {
  using enum ServiceIdentity;
  constexpr bool kPlain = false, kTls = true;
  struct Row {
    ServiceIdentity services;
    const char* token;
    bool tls;
    const char* certificate;
    const char* on_behalf_of;
    const char* caller;  // "": refused
  };
  const Row rows[] = {
      // By token alone a certificate names nobody.
      {kToken, "", kTls, "filter", "", "anonymous"},
      {kToken, "filter", kTls, "", "", "service:filter"},
      {kToken, "filter", kTls, "payout", "", "service:filter"},
      {kToken, "", kTls, "ledger", "payout", ""},
      // By either.
      {kBoth, "", kTls, "filter", "", "service:filter"},
      {kBoth, "", kTls, "", "", "anonymous"},
      {kBoth, "filter", kTls, "", "", "service:filter"},
      {kBoth, "filter", kTls, "filter", "", "service:filter"},
      {kBoth, "agent", kTls, "filter", "", "agent"},
      // By certificate: a service's token is worth nothing to who has only the token.
      {kCertificate, "", kTls, "filter", "", "service:filter"},
      {kCertificate, "", kTls, "", "", "anonymous"},
      {kCertificate, "", kTls, "mailer", "", "anonymous"},
      {kCertificate, "filter", kTls, "", "", ""},
      {kCertificate, "filter", kTls, "payout", "", ""},
      {kCertificate, "filter", kTls, "filter", "", "service:filter"},
      {kCertificate, "filter", kPlain, "", "", "service:filter"},  // within the process
      {kCertificate, "operator", kTls, "", "", "service:operator"},
      {kCertificate, "", kTls, "operator", "", "service:operator"},
      {kCertificate, "agent", kTls, "", "", "agent"},
      {kCertificate, "agent", kTls, "payout", "", "agent"},
      // A replica of this service (the ledger) forwards; nobody else does.
      {kCertificate, "", kTls, "ledger", "payout", "service:payout"},
      {kCertificate, "", kTls, "ledger", "anonymous", "anonymous"},
      {kCertificate, "filter", kTls, "ledger", "", "service:filter"},
      {kCertificate, "agent", kTls, "ledger", "", "agent"},
      {kCertificate, "", kTls, "ledger", "mailer", ""},
      {kCertificate, "", kTls, "filter", "payout", ""},
      {kCertificate, "", kTls, "", "payout", ""},
      {kCertificate, "", kPlain, "", "payout", ""},
      {kCertificate, "", kTls, "filter", "anonymous", "anonymous"},
  };
  Fixture f;
  for (const Row& row : rows) {
    INFO(static_cast<int>(row.services) << " token=" << row.token << " tls=" << row.tls
                                        << " certificate=" << row.certificate
                                        << " on behalf of " << row.on_behalf_of);
    AuthenticatorOptions options;
    options.services = row.services;
    options.trust_domain = "coop.example";
    options.self = "ledger";
    const Authenticator authenticator(f.keys, nullptr, options);
    Credentials shown;
    shown.authorization = f.Token(row.token);
    shown.on_behalf_of = row.on_behalf_of;
    shown.peer.tls = row.tls;
    if (*row.certificate != 0) {
      shown.peer.spiffe_id = ServiceSpiffeId("coop.example", row.certificate);
    }
    const auto identity = authenticator.Authenticate(shown, f.clock.Now());
    if (*row.caller == 0) {
      CHECK(ReasonOf(identity.status()) == "UNAUTHENTICATED");
      continue;
    }
    REQUIRE(identity.ok());
    CHECK(identity->ToString() ==
          (std::string(row.caller) == "agent" ? "agent:" + f.agent_id : row.caller));
  }
}

TEST_CASE("a service without replicas believes no forwarded call", "[rpc]") {
  Fixture f;
  AuthenticatorOptions options;
  options.services = ServiceIdentity::kCertificate;
  options.trust_domain = "coop.example";
  const Authenticator authenticator(f.keys, nullptr, options);
  for (const char* certificate : {"", "ledger", "filter"}) {
    const Credentials shown{
        "", "payout", {true, *certificate ? ServiceSpiffeId("coop.example", certificate) : ""}};
    CHECK_FALSE(authenticator.Authenticate(shown, f.clock.Now()).ok());
  }
}

}  // namespace
}  // namespace rochdale::rpc
