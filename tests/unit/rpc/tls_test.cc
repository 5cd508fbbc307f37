// TLS on the wire: who may connect, whom a certificate makes the caller, and renewal.
#include "libs/rpc/tls.h"

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/rpc/status.h"
#include "tests/support/certificates.h"
#include "tests/unit/rpc/probe_server.h"

namespace rochdale::rpc {
namespace {

using namespace testing;  // NOLINT
using Stub = v1::ProbeService::Stub;

constexpr char kDomain[] = "coop.example";
constexpr char kServerName[] = "DNS:server,IP:127.0.0.1";

std::string UriOf(const char* service) {
  return absl::StrCat("URI:", ServiceSpiffeId(kDomain, service));
}

// The authority "ca", a server, and the certificate of the filter.
struct Files : rochdale::testing::Certificates {
  Files() {
    Authority("ca");
    Issue("ca", "server", kServerName);
    Issue("ca", "filter", absl::StrCat("DNS:filter,", UriOf("filter")));
  }
};

ServerOptions Serving(const Files& files, absl::Duration reload = absl::Seconds(60)) {
  ServerOptions options;
  options.tls.certificate = files.Path("server.crt");
  options.tls.key = files.Path("server.key");
  options.tls.client_ca = files.Path("ca.crt");
  options.tls.reload = reload;
  return options;
}

AuthenticatorOptions ByCertificate() {
  AuthenticatorOptions options;
  options.services = ServiceIdentity::kCertificate;
  options.trust_domain = kDomain;
  options.self = "ledger";
  return options;
}

ChannelOptions Client(const Files& files, const std::string& name, const char* roots = "ca.crt") {
  ChannelOptions options;
  options.ca_file = files.Path(roots);
  if (!name.empty()) {
    options.certificate_file = files.Path(name + ".crt");
    options.key_file = files.Path(name + ".key");
  }
  options.reload = absl::Seconds(1);
  return options;
}

using Rpc = grpc::Status (Stub::*)(grpc::ClientContext*, const v1::ProbeRequest&,
                                   v1::ProbeResponse*);

// The caller that the server saw, or the reason, or "no connection".
std::string CallerOf(const ProbeServer& s, const ChannelOptions& options,
                     Rpc rpc = &Stub::Open,
                     const std::map<std::string, std::string>& metadata = {}) {
  const auto channel = MakeChannel(s.address(), options);
  if (!channel.ok()) return "bad options";
  const auto stub = v1::ProbeService::NewStub(*channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
  v1::ProbeResponse response;
  const grpc::Status status = (stub.get()->*rpc)(&context, {}, &response);
  if (status.ok()) return response.text();
  const std::string reason = ReasonOf(FromGrpc(status));
  if (!reason.empty()) return reason;
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ? "no connection" : "other";
}

TEST_CASE("a service is known by the certificate of its connection", "[rpc]") {
  const Files files;
  ProbeServer s({}, Serving(files), ByCertificate());
  CHECK(CallerOf(s, Client(files, "filter")) == "service:filter");
  // And has its roles, without a token.
  CHECK(CallerOf(s, Client(files, "filter"), &Stub::ForFilter) == "service:filter");
  CHECK(CallerOf(s, Client(files, "filter"), &Stub::ForFounders) == "PERMISSION_DENIED");
  // Who shows none is anonymous, or whoever its token says.
  CHECK(CallerOf(s, Client(files, "")) == "anonymous");
  CHECK(CallerOf(s, Client(files, ""), &Stub::ForFilter) == "UNAUTHENTICATED");
  const crypto::KeyPair key = s.NewKey();
  TokenSource agent = s.Agent(key);
  CHECK(CallerOf(s, Client(files, ""), &Stub::ForAgents,
                 {{"authorization", agent.Authorization()}}).substr(0, 6) == "agent:");
  CHECK(CallerOf(s, Client(files, "filter"), &Stub::ForFilter,
                 {{"authorization", agent.Authorization()}}) == "PERMISSION_DENIED");
  // Nobody forwards for others but this service's own replicas.
  CHECK(CallerOf(s, Client(files, "filter"), &Stub::ForFounders,
                 {{kOnBehalfOf, "payout"}}) == "UNAUTHENTICATED");
}

TEST_CASE("certificates that name no service make nobody known", "[rpc]") {
  const Files files;
  ProbeServer s({}, Serving(files), ByCertificate());
  struct Row {
    const char* what;
    std::string san;
  };
  for (const Row& row : {
           Row{"a DNS name only", "DNS:filter"},
           Row{"another trust domain", "URI:spiffe://else.example/service/filter"},
           Row{"no service of ours", UriOf("mailer")},
           Row{"two ids", UriOf("filter") + "," + UriOf("payout")},
           Row{"an id and another URI", UriOf("filter") + ",URI:https://coop.example/"},
           Row{"a web address", "URI:https://coop.example/service/filter"},
       }) {
    INFO(row.what);
    files.Issue("ca", "other", row.san);
    CHECK(CallerOf(s, Client(files, "other")) == "anonymous");
    CHECK(CallerOf(s, Client(files, "other"), &Stub::ForFilter) == "UNAUTHENTICATED");
  }
}

TEST_CASE("certificates that do not hold make no connection", "[rpc]") {
  const Files files;
  files.Authority("stranger");
  files.Issue("stranger", "forged", UriOf("filter"));
  files.Issue("ca", "expired", UriOf("filter"), -1);
  // By a certificate that is not an authority's.
  files.Issue("filter", "below", UriOf("payout"));
  files.Concatenate("below.crt", "filter.crt", "below.crt");
  ProbeServer s({}, Serving(files), ByCertificate());
  for (const char* name : {"forged", "expired", "below"}) {
    INFO(name);
    CHECK(CallerOf(s, Client(files, name)) == "no connection");
  }
  // Nor does the client take another server for this one.
  CHECK(CallerOf(s, Client(files, "filter", "stranger.crt")) == "no connection");
  ChannelOptions elsewhere = Client(files, "filter");
  elsewhere.server_name = "elsewhere.example.org";
  CHECK(CallerOf(s, elsewhere) == "no connection");
  ChannelOptions named = Client(files, "filter");
  named.server_name = "server";
  CHECK(CallerOf(s, named) == "service:filter");
  CHECK(CallerOf(s, {.plaintext = true}) == "no connection");
  CHECK(CallerOf(s, ChannelOptions()) == "bad options");
}

TEST_CASE("a server may ask for certificates of all", "[rpc]") {
  const Files files;
  ServerOptions options = Serving(files);
  options.tls.require_client = true;
  ProbeServer s({}, options, ByCertificate());
  CHECK(CallerOf(s, Client(files, "filter")) == "service:filter");
  CHECK(CallerOf(s, Client(files, "")) == "no connection");
}

TEST_CASE("a server without a client CA asks for no certificate", "[rpc]") {
  const Files files;
  ServerOptions options = Serving(files);
  options.tls.client_ca = "";
  ProbeServer s({}, options, ByCertificate());
  CHECK(CallerOf(s, Client(files, "filter")) == "anonymous");
}

TEST_CASE("a replica forwards a call with its caller", "[rpc]") {
  const Files files;
  files.Issue("ca", "ledger", UriOf("ledger"));
  ProbeServer leader({}, Serving(files), ByCertificate());
  ProbeServer replica({}, Serving(files), ByCertificate());
  const Outgoing outgoing(replica.ids, nullptr);
  const auto to_leader =
      v1::ProbeService::NewStub(MakeChannel(leader.address(), Client(files, "ledger")).value());
  replica.probe.body = [&](const Call& call, const v1::ProbeRequest& request,
                           v1::ProbeResponse& response) {
    grpc::ClientContext context;
    outgoing.PrepareForward(context, call);
    return FromGrpc(to_leader->Open(&context, request, &response));
  };
  CHECK(CallerOf(replica, Client(files, "filter")) == "service:filter");
  // Not the replica itself, which may do more than someone unknown.
  CHECK(CallerOf(replica, Client(files, "")) == "anonymous");
  const crypto::KeyPair key = replica.NewKey();
  TokenSource agent = replica.Agent(key);
  leader.keys.Put(key.public_key(), **replica.keys.Lookup(key.public_key()));
  CHECK(CallerOf(replica, Client(files, ""), &Stub::Open,
                 {{"authorization", agent.Authorization()}}).substr(0, 6) == "agent:");
}

// Asks until the answer is this one: files are looked at once a second here.
bool Becomes(const std::function<std::string()>& ask, const std::string& answer) {
  for (int i = 0; i < 100; ++i) {
    if (ask() == answer) return true;
    absl::SleepFor(absl::Milliseconds(200));
  }
  return false;
}

TEST_CASE("renewed certificates are taken up without a restart", "[rpc]") {
  const Files files;
  ProbeServer s({}, Serving(files, absl::Seconds(1)), ByCertificate());
  const ChannelOptions client = Client(files, "filter");
  REQUIRE(CallerOf(s, client) == "service:filter");

  // A new authority takes over: first both are trusted, then everyone is renewed, then one.
  files.Authority("new");
  files.Concatenate("ca.crt", "new.crt", "both.crt");
  const std::string old_root = "old.crt";
  files.Concatenate("ca.crt", "/dev/null", old_root);
  files.Issue("new", "renewed", UriOf("filter"));
  CHECK(CallerOf(s, Client(files, "renewed")) == "no connection");
  files.Concatenate("both.crt", "/dev/null", "ca.crt");
  CHECK(Becomes([&] { return CallerOf(s, Client(files, "renewed")); }, "service:filter"));
  files.Issue("new", "server", kServerName);
  CHECK(Becomes([&] { return CallerOf(s, Client(files, "renewed", "new.crt")); },
                "service:filter"));
  CHECK(CallerOf(s, Client(files, "renewed", old_root.c_str())) == "no connection");
  files.Concatenate("new.crt", "/dev/null", "ca.crt");
  CHECK(Becomes([&] { return CallerOf(s, Client(files, "filter", "new.crt")); },
                "no connection"));
  CHECK(CallerOf(s, Client(files, "renewed", "new.crt")) == "service:filter");
}

TEST_CASE("a client shows its renewed certificate on the next connection", "[rpc]") {
  const Files files;
  files.Issue("ca", "changing", UriOf("filter"));
  // Connections end soon, as they do after connection_age_max in operation.
  ServerOptions options = Serving(files);
  options.connection_age_max = absl::Milliseconds(500);
  options.connection_age_grace = absl::Milliseconds(100);
  ProbeServer s({}, options, ByCertificate());
  const auto stub =
      v1::ProbeService::NewStub(MakeChannel(s.address(), Client(files, "changing")).value());
  const auto caller = [&] {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    context.set_wait_for_ready(true);
    v1::ProbeResponse response;
    return stub->Open(&context, {}, &response).ok() ? response.text() : "";
  };
  REQUIRE(caller() == "service:filter");
  files.Issue("ca", "changing", UriOf("payout"));
  CHECK(Becomes(caller, "service:payout"));
}

}  // namespace
}  // namespace rochdale::rpc
