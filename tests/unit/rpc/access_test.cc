#include "libs/rpc/access.h"

#include <catch2/catch.hpp>
#include <set>

#include "absl/strings/match.h"
#include "rochdale/common/v1/access.pb.h"
#include "tests/unit/rpc/access_cells.h"
#include "tests/unit/rpc/probe_server.h"

namespace rochdale::rpc {
namespace {

namespace v1 = common::v1;

RoleSet Bits(std::initializer_list<v1::Role> roles) {
  RoleSet set = 0;
  for (const v1::Role role : roles) set |= RoleSet{1} << role;
  return set;
}

Identity Service(const std::string& name) {
  Identity identity;
  identity.kind = IdentityKind::kService;
  identity.service = name;
  return identity;
}

Identity Of(IdentityKind kind) {
  Identity identity;
  identity.kind = kind;
  return identity;
}

TEST_CASE("methods are found with their rule and kind", "[rpc]") {
  const auto open = FindMethod("/rochdale.rpctest.v1.ProbeService/Open");
  REQUIRE(open.has_value());
  CHECK(open->service == "rochdale.rpctest.v1.ProbeService");
  CHECK(open->method == "Open");
  CHECK(open->type == MethodType::kUnary);
  CHECK(open->roles == Bits({v1::ROLE_ANONYMOUS}));
  CHECK(FindMethod("/rochdale.rpctest.v1.ProbeService/Watch")->type == MethodType::kServerStream);
  CHECK(FindMethod("/rochdale.rpctest.v1.ProbeService/Upload")->type == MethodType::kClientStream);
  CHECK(FindMethod("/rochdale.rpctest.v1.ProbeService/ForNobody")->roles == 0);
  for (const char* path : {"", "/", "rochdale.rpctest.v1.ProbeService/Open", "/x/y",
                           "/rochdale.rpctest.v1.ProbeService",
                           "/rochdale.rpctest.v1.Note/title"}) {
    INFO(path);
    CHECK_FALSE(FindMethod(path).has_value());
  }
}

// Every cell: who holds which role of the table.
TEST_CASE("each kind of caller holds exactly these roles", "[rpc]") {
  struct Row {
    Identity identity;
    RoleSet roles;
  };
  const std::vector<Row> rows = {
      {Of(IdentityKind::kAnonymous), Bits({v1::ROLE_ANONYMOUS})},
      {Of(IdentityKind::kPrincipal),
       Bits({v1::ROLE_ANONYMOUS, v1::ROLE_PRINCIPAL, v1::ROLE_MEMBER, v1::ROLE_FOUNDER,
             v1::ROLE_GOVERNOR, v1::ROLE_GUARDIAN, v1::ROLE_WEIGHT_KEEPER, v1::ROLE_AUDITOR,
             v1::ROLE_VERIFIER})},
      {Of(IdentityKind::kAgent), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_AGENT, v1::ROLE_MEMBER})},
      {Of(IdentityKind::kWorker), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_WORKER})},
      {Service("filter"), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_SERVICE_FILTER})},
      {Service("attribution"), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_SERVICE_ATTRIBUTION})},
      {Service("ledger"), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_SERVICE_LEDGER})},
      {Service("payout"), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_SERVICE_PAYOUT})},
      {Service("governance"), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_SERVICE_GOVERNANCE})},
      {Service("operator"), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_OPERATOR})},
      {Service("witness"), Bits({v1::ROLE_ANONYMOUS, v1::ROLE_WITNESS})},
      {Service("unheard-of"), Bits({v1::ROLE_ANONYMOUS})},
  };
  RoleSet covered = 0;
  for (const Row& row : rows) {
    INFO(row.identity.ToString());
    for (int role = 0; role < RoleCount(); ++role) {
      INFO(RoleName(role));
      const RoleSet cell = RoleSet{1} << role;
      CHECK(MayCall(row.identity, cell) == ((row.roles & cell) != 0));
    }
    covered |= row.roles;
  }
  // Every role but UNSPECIFIED is held by someone.
  CHECK(covered == (RoleSet{1} << RoleCount()) - 2);
  CHECK_FALSE(MayCall(Of(IdentityKind::kPrincipal), 0));
}

TEST_CASE("every cell of the table holds on a running server", "[rpc]") {
  testing::ProbeServer s;
  const crypto::KeyPair agent_key = s.NewKey(), principal_key = s.NewKey();
  TokenSource agent = s.Agent(agent_key), principal = s.Principal(principal_key);
  const std::vector<testing::CellCaller> callers = {
      {Of(IdentityKind::kAnonymous), ""},
      {Of(IdentityKind::kAgent), agent.Authorization()},
      {Of(IdentityKind::kPrincipal), principal.Authorization()},
      {Of(IdentityKind::kWorker), "Run good"},
  };
  const auto* service = rpctest::v1::Note::descriptor()->file()->service(0);
  CHECK(testing::TryEveryCell(s.channel, {service}, callers) == std::vector<std::string>());
  // And the trial itself can fail: here an agent pretends to be a principal.
  const std::vector<testing::CellCaller> liar = {
      {Of(IdentityKind::kPrincipal), agent.Authorization()}};
  CHECK(testing::TryEveryCell(s.channel, {service}, liar).size() == 2);
}

TEST_CASE("the document has a row per rpc", "[rpc]") {
  const auto* file = rpctest::v1::Note::descriptor()->file();
  const std::string text = AccessDocument({file->service(0)});
  for (const char* line :
       {"## rochdale.rpctest.v1.ProbeService\n", "| Open | unary | ANONYMOUS |\n",
        "| ForFounders | unary | FOUNDER, SERVICE_PAYOUT |\n", "| ForNobody | unary | nobody |\n",
        "| Watch | server_stream | ANONYMOUS |\n"}) {
    INFO(line);
    CHECK(absl::StrContains(text, line));
  }
}

}  // namespace
}  // namespace rochdale::rpc
