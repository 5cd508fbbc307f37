// Principals, agents, memberships, mandates, documents.
#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <thread>

#include "libs/crypto/entry_kinds.h"
#include "tests/integration/governance/world.h"

namespace rochdale::governance::testing {
namespace {

using Fields = std::vector<std::string>;
namespace kind = crypto::kind;

TEST_CASE("a principal registers itself with a key that is nobody else's", "[governance]") {
  World w;
  const Person ada{{w.f.ids.New(w.f.clock.Now())}};
  CHECK(w.As(ada).Reason(&Stub::ListMembers, {}) == "UNAUTHENTICATED");
  const auto request = w.Registering(ada);
  const v1::Principal made = w.anyone->Ok(&Stub::RegisterPrincipal, request).principal();
  CHECK(made.public_key() == ada.key.public_key().ToString());
  CHECK(made.kyc_level() == 0);
  CHECK(w.anyone->Ok(&Stub::RegisterPrincipal, request).principal().SerializeAsString() ==
        made.SerializeAsString());
  CHECK(w.f.OutboxRows() == 1);

  // The key again under another id; the id again under another key.
  const Person twin{{w.f.ids.New(w.f.clock.Now())}, ada.key};
  CHECK(w.anyone->Reason(&Stub::RegisterPrincipal, w.Registering(twin)) == "KEY_IN_USE");
  const Person thief{ada.id};
  CHECK(w.anyone->Reason(&Stub::RegisterPrincipal, w.Registering(thief)) == "ALREADY_EXISTS");
  // A failed registration leaves the key free.
  const Person fresh{{w.f.ids.New(w.f.clock.Now())}, thief.key};
  CHECK(w.anyone->Reason(&Stub::RegisterPrincipal, w.Registering(fresh)) == "OK");

  auto forged = w.Registering(Person{{w.f.ids.New(w.f.clock.Now())}});
  (*forged.mutable_registration()->mutable_body())[20] ^= 1;
  CHECK(w.anyone->Reason(&Stub::RegisterPrincipal, forged) == "SIGNATURE_INVALID");

  v1::PrincipalRegistration bad;
  bad.set_principal_id("?");
  bad.set_display_name(std::string("a\0b", 3));
  auto bad_request = w.Registering(Person());
  *bad_request.mutable_registration() = Sign(Person().key, bad);
  CHECK(w.anyone->BadFields(&Stub::RegisterPrincipal, bad_request) ==
        Fields{"principal_id", "kind", "display_name", "salt"});
}

TEST_CASE("a name is shown to its owner, its founders and services", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative made = w.Found("names", founder);
  const Person ada = w.NewPrincipal();
  const Agent agent = w.NewAgent(ada);
  v1::GetPrincipalRequest get;
  get.set_principal_id(ada.id.ToString());
  const auto name = [&](Client<Stub> client) {
    return client.Ok(&Stub::GetPrincipal, get).principal().display_name();
  };
  CHECK(name(w.As(ada)) == "Ada Nwosu");
  CHECK(name(w.f.As<Stub>(agent)) == "Ada Nwosu");
  CHECK(name(w.f.AsService<Stub>("payout")) == "Ada Nwosu");
  CHECK(name(w.As(w.NewPrincipal())).empty());
  CHECK(name(w.As(founder)).empty());  // not yet a member there
  w.As(ada).Ok(&Stub::RequestMembership, w.Asking(made.cooperative_id(), ada));
  CHECK(name(w.As(founder)) == "Ada Nwosu");
  w.As(ada).Ok(&Stub::LeaveCooperative, w.Leaving(made.cooperative_id(), ada));
  CHECK(name(w.As(founder)).empty());

  // So it is with the registration itself, which holds the name.
  v1::GetDocumentRequest document;
  document.set_document_sha256(DigestOf(w.Registering(ada).registration()));
  CHECK(w.As(ada).Reason(&Stub::GetDocument, document) == "OK");
  CHECK(w.As(founder).Reason(&Stub::GetDocument, document) == "NOT_FOUND");
}

TEST_CASE("an agent's key proves itself and acts for one principal", "[governance]") {
  World w;
  const Person ada = w.NewPrincipal();
  const Person bob = w.NewPrincipal();
  const Agent agent{{w.f.ids.New(w.f.clock.Now())}, ada.id};
  const auto register_as = [&](const Person& caller, const Person& signer,
                               const v1::AgentRegistration& registration) {
    v1::RegisterAgentRequest request;
    request.set_request_id(w.f.NewId());
    *request.mutable_registration() = Sign(signer.key, registration);
    return w.As(caller).Reason(&Stub::RegisterAgent, request);
  };
  const v1::AgentRegistration good = w.AgentRegistration(agent);
  CHECK(register_as(bob, ada, good) == "PERMISSION_DENIED");  // not the caller's signature
  CHECK(register_as(bob, bob, good) == "PERMISSION_DENIED");  // speaks for another

  v1::AgentRegistration unproven = good;
  unproven.set_public_key(Agent().key.public_key().ToString());
  CHECK(register_as(ada, ada, unproven) == "SIGNATURE_INVALID");
  unproven = good;
  unproven.set_agent_id(w.f.NewId());  // the proof is for another id
  CHECK(register_as(ada, ada, unproven) == "SIGNATURE_INVALID");
  unproven.set_agent_id("?");
  unproven.set_proof_of_possession("00");
  unproven.set_display_name("");
  v1::RegisterAgentRequest bad;
  bad.set_request_id(w.f.NewId());
  *bad.mutable_registration() = Sign(ada.key, unproven);
  CHECK(w.As(ada).BadFields(&Stub::RegisterAgent, bad) ==
        Fields{"agent_id", "display_name", "proof_of_possession"});

  CHECK(register_as(ada, ada, good) == "OK");
  const Agent again{{w.f.ids.New(w.f.clock.Now())}, ada.id, agent.key};
  CHECK(register_as(ada, ada, w.AgentRegistration(again)) == "KEY_IN_USE");
  const Agent principal_key{{w.f.ids.New(w.f.clock.Now())}, ada.id, bob.key};
  CHECK(register_as(ada, ada, w.AgentRegistration(principal_key)) == "KEY_IN_USE");

  v1::ResolveKeyRequest resolve;
  resolve.set_public_key(std::string(agent.key.public_key().AsBytes()));
  const auto owner = w.filter->Ok(&Stub::ResolveKey, resolve);
  CHECK(owner.agent_id() == agent.id.ToString());
  CHECK(owner.principal_id() == ada.id.ToString());
  resolve.set_public_key(std::string(32, 'x'));
  CHECK_FALSE(w.filter->Ok(&Stub::ResolveKey, resolve).found());
  resolve.set_public_key("short");
  CHECK(w.filter->BadFields(&Stub::ResolveKey, resolve) == Fields{"public_key"});
}

TEST_CASE("founders' keys resolve to what they founded", "[governance]") {
  World w;
  const Person founder;  // not registered
  const v1::Cooperative made = w.Found("keys", founder);
  v1::ResolveKeyRequest resolve;
  resolve.set_public_key(std::string(founder.key.public_key().AsBytes()));
  const auto found = w.filter->Ok(&Stub::ResolveKey, resolve);
  CHECK_FALSE(found.found());
  REQUIRE(found.founder_of_size() == 1);
  CHECK(found.founder_of(0) == made.cooperative_id());
}

// The steps from every state; a step that does not follow says so and changes nothing.
TEST_CASE("joining takes its steps in order", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative made = w.Found("sponsored", founder, "sponsor");
  const std::string& id = made.cooperative_id();
  const Person ada = w.NewPrincipal();
  const std::map<std::string, std::function<std::string()>> steps = {
      {"ask", [&] { return w.As(ada).Reason(&Stub::RequestMembership, w.Asking(id, ada)); }},
      {"approve",
       [&] {
         return w.As(founder).Reason(&Stub::ApproveMembership, w.Approving(id, ada, founder));
       }},
      {"consent", [&] { return w.As(ada).Reason(&Stub::ConsentToRules, w.Consenting(made, ada)); }},
      {"leave", [&] { return w.As(ada).Reason(&Stub::LeaveCooperative, w.Leaving(id, ada)); }},
  };
  struct Row {
    std::vector<std::string> wrong;
    std::string right;
    v1::MembershipState next;
  };
  const Row rows[] = {
      {{"approve", "consent", "leave"}, "ask", v1::MEMBERSHIP_STATE_REQUESTED},
      {{"ask", "consent"}, "approve", v1::MEMBERSHIP_STATE_APPROVED},
      {{"ask", "approve"}, "consent", v1::MEMBERSHIP_STATE_MEMBER},
      {{"ask", "approve"}, "leave", v1::MEMBERSHIP_STATE_LEFT},
      {{"approve", "consent", "leave"}, "ask", v1::MEMBERSHIP_STATE_REQUESTED},
      {{}, "leave", v1::MEMBERSHIP_STATE_LEFT},  // from any state, at once
  };
  for (const Row& row : rows) {
    CAPTURE(row.right);
    for (const std::string& step : row.wrong) {
      CAPTURE(step);
      const int before = w.f.OutboxRows();
      CHECK(steps.at(step)() == "MEMBERSHIP_STATE");
      CHECK(w.f.OutboxRows() == before);
    }
    const int before = w.f.OutboxRows();
    CHECK(steps.at(row.right)() == "OK");
    CHECK(w.f.OutboxRows() == before + 1);
    CHECK(w.StateOf(id, ada) == row.next);
  }
}

TEST_CASE("an open cooperative approves at once, a sponsored one by its members", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative open = w.Found("open", founder);
  const Person ada = w.NewPrincipal();
  CHECK(w.As(ada)
            .Ok(&Stub::RequestMembership, w.Asking(open.cooperative_id(), ada))
            .member()
            .state() == v1::MEMBERSHIP_STATE_APPROVED);
  CHECK(w.As(founder).Reason(&Stub::ApproveMembership,
                             w.Approving(open.cooperative_id(), ada, founder)) ==
        "MEMBERSHIP_STATE");

  const v1::Cooperative closed = w.Found("sponsored", founder, "sponsor");
  const std::string& id = closed.cooperative_id();
  const Person bob = w.NewPrincipal();
  const auto approve = [&](const Person& who, const Person& by) {
    return w.As(by).Reason(&Stub::ApproveMembership, w.Approving(id, who, by));
  };
  w.As(ada).Ok(&Stub::RequestMembership, w.Asking(id, ada));
  w.As(bob).Ok(&Stub::RequestMembership, w.Asking(id, bob));
  CHECK(approve(bob, ada) == "PERMISSION_DENIED");  // an applicant is no sponsor
  CHECK(approve(ada, ada) == "PERMISSION_DENIED");
  CHECK(approve(ada, founder) == "OK");
  CHECK(approve(bob, ada) == "PERMISSION_DENIED");  // approved, but no member yet
  w.As(ada).Ok(&Stub::ConsentToRules, w.Consenting(closed, ada));
  CHECK(approve(bob, ada) == "OK");
  // The sponsor's own membership is what authorised it.
  const crypto::Entry entry = w.f.Outbox().back();
  v1::GetMemberRequest get;
  get.set_cooperative_id(id);
  get.set_principal_id(ada.id.ToString());
  CHECK(entry.kind == kind::kMembershipApproved);
  CHECK(entry.authorised_by.ToString() ==
        w.filter->Ok(&Stub::GetMember, get).member().entry().event_id());

  // By vote: no member may alone; founders may.
  const v1::Cooperative voting = w.Found("voting", founder, "vote");
  w.As(bob).Ok(&Stub::RequestMembership, w.Asking(voting.cooperative_id(), bob));
  CHECK(w.As(ada).Reason(&Stub::ApproveMembership,
                         w.Approving(voting.cooperative_id(), bob, ada)) == "PERMISSION_DENIED");
}

TEST_CASE("consent names the version and the digest that were read", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative made = w.Found("consent", founder);
  const Person ada = w.NewPrincipal();
  auto client = w.As(ada);
  client.Ok(&Stub::RequestMembership, w.Asking(made.cooperative_id(), ada));
  v1::Cooperative other = made;
  other.set_rules_version(2);
  CHECK(client.Reason(&Stub::ConsentToRules, w.Consenting(other, ada)) == "CONSENT_OUTDATED");
  other = made;
  other.set_rules_sha256(std::string(64, '0'));
  CHECK(client.Reason(&Stub::ConsentToRules, w.Consenting(other, ada)) == "CONSENT_OUTDATED");
  other.set_rules_sha256("?");
  other.set_rules_version(0);
  CHECK(client.BadFields(&Stub::ConsentToRules, w.Consenting(other, ada)) ==
        Fields{"rules_sha256", "rules_version"});
  // Nobody consents for another.
  const Person bob = w.NewPrincipal();
  CHECK(w.As(bob).Reason(&Stub::ConsentToRules, w.Consenting(made, ada)) == "PERMISSION_DENIED");
  CHECK(client.Reason(&Stub::ConsentToRules, w.Consenting(made, ada)) == "OK");

  // When the rules move on the member is one no longer, until it consents again.
  const Agent agent = w.NewAgent(ada);
  w.Grant(made, ada, agent);
  CHECK(w.Authority(made.cooperative_id(), agent.id).allowed());
  REQUIRE(w.f.db()
              .Transact(absl::Seconds(5),
                        [](pg::Transaction& tx) {
                          return tx.ExecAffected("UPDATE cooperatives SET rules_version = 2");
                        })
              .ok());
  CHECK(w.StateOf(made.cooperative_id(), ada) == v1::MEMBERSHIP_STATE_CONSENT_OUTDATED);
  CHECK(w.Authority(made.cooperative_id(), agent.id).reason() == "CONSENT_OUTDATED");
  v1::ListMembersRequest list;
  list.set_cooperative_id(made.cooperative_id());
  list.set_state(v1::MEMBERSHIP_STATE_MEMBER);
  CHECK(w.filter->Ok(&Stub::ListMembers, list).members_size() == 0);
  list.set_state(v1::MEMBERSHIP_STATE_CONSENT_OUTDATED);
  CHECK(w.filter->Ok(&Stub::ListMembers, list).members_size() == 1);
}

TEST_CASE("a mandate is for the principal's own agent, and for a time", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative made = w.Found("mandates", founder);
  const std::string& id = made.cooperative_id();
  const Person ada = w.NewMember(made);
  const Person bob = w.NewMember(made);
  const Agent agent = w.NewAgent(ada);
  auto client = w.As(ada);

  CHECK(w.Authority(id, agent.id).reason() == "MANDATE_MISSING");
  v1::Mandate foreign = w.Mandate(id, agent);
  foreign.set_principal_id(bob.id.ToString());
  CHECK(w.As(bob).Reason(&Stub::GrantMandate, w.Granting(foreign, bob)) == "PERMISSION_DENIED");
  CHECK(client.Reason(&Stub::GrantMandate, w.Granting(foreign, ada)) == "PERMISSION_DENIED");
  v1::Mandate unknown = w.Mandate(id, agent);
  unknown.set_agent_id(w.f.NewId());
  CHECK(client.Reason(&Stub::GrantMandate, w.Granting(unknown, ada)) == "NOT_FOUND");
  const Person outsider = w.NewPrincipal();
  const Agent outside = w.NewAgent(outsider);
  CHECK(w.As(outsider).Reason(&Stub::GrantMandate,
                              w.Granting(w.Mandate(id, outside), outsider)) == "NOT_A_MEMBER");
  v1::Mandate bad = w.Mandate(id, agent);
  bad.clear_actions();
  bad.set_expires_us(bad.not_before_us());
  bad.set_delegation_depth(5);
  bad.set_budget_total_microtokens(-1);
  CHECK(client.BadFields(&Stub::GrantMandate, w.Granting(bad, ada)) ==
        Fields{"actions", "budget", "delegation_depth", "expires_us"});
  v1::Mandate too_long = w.Mandate(id, agent);
  too_long.set_expires_us(too_long.not_before_us() +
                          absl::ToInt64Microseconds(absl::Hours(24 * 367)));
  CHECK(client.BadFields(&Stub::GrantMandate, w.Granting(too_long, ada)) == Fields{"expires_us"});

  const int before = w.f.OutboxRows();
  const v1::Mandate mandate = w.Mandate(id, agent);
  const auto grant = w.Granting(mandate, ada);
  const v1::MandateRecord first = client.Ok(&Stub::GrantMandate, grant).mandate();
  CHECK(first.mandate().SerializeAsString() == mandate.SerializeAsString());
  CHECK(first.document_sha256() == DigestOf(grant.mandate()));
  CHECK(w.f.OutboxRows() == before + 1);
  const auto yes = w.Authority(id, agent.id);
  CHECK(yes.allowed());
  CHECK(yes.reason().empty());
  CHECK(yes.mandate_id() == mandate.mandate_id());
  CHECK(yes.mandate_entry().event_id() == first.entry().event_id());
  CHECK(yes.consents_to_publication());
  CHECK(w.Authority(id, agent.id, v1::MANDATE_ACTION_SPEND).reason() == "MANDATE_MISSING");
  // The same mandate id again, with other content or the same.
  CHECK(client.Reason(&Stub::GrantMandate, w.Granting(mandate, ada)) == "ALREADY_EXISTS");
  CHECK(w.Authority(id, agent.id).allowed());

  // A newer mandate replaces it.
  const v1::MandateRecord second = w.Grant(made, ada, agent);
  CHECK(w.Authority(id, agent.id).mandate_id() == second.mandate().mandate_id());
  v1::ListMandatesRequest list;
  list.set_cooperative_id(id);
  list.set_agent_id(agent.id.ToString());
  const auto both = w.filter->Ok(&Stub::ListMandates, list);
  REQUIRE(both.mandates_size() == 2);
  CHECK((both.mandates(0).revoked_time_us() != 0) != (both.mandates(1).revoked_time_us() != 0));
  list.set_in_force(true);
  REQUIRE(w.filter->Ok(&Stub::ListMandates, list).mandates_size() == 1);

  // Paused, resumed, expired, revoked, left: in force only where an agent may act.
  const auto in_force = [&] { return w.filter->Ok(&Stub::ListMandates, list).mandates_size(); };
  CHECK(w.As(bob).Reason(&Stub::SetAgentPause, w.Pausing(agent, true, bob)) ==
        "PERMISSION_DENIED");
  CHECK(w.As(founder).Reason(&Stub::SetAgentPause, w.Pausing(agent, true, founder)) == "OK");
  CHECK(w.f.Outbox().back().kind == kind::kAgentPaused);
  CHECK(w.Authority(id, agent.id).reason() == "AGENT_PAUSED");
  CHECK(in_force() == 0);
  CHECK(client.Reason(&Stub::SetAgentPause, w.Pausing(agent, false, ada)) == "OK");
  CHECK(w.f.Outbox().back().kind == kind::kAgentResumed);
  CHECK(in_force() == 1);
  w.f.clock.Advance(absl::Hours(1));  // exactly at expires_us, which is exclusive
  CHECK(w.Authority(id, agent.id).reason() == "MANDATE_EXPIRED");
  CHECK(in_force() == 0);
  const v1::MandateRecord third = w.Grant(made, ada, agent);
  CHECK(w.Authority(id, agent.id).allowed());
  CHECK(w.As(bob).Reason(&Stub::RevokeMandate,
                         w.Revoking(third.mandate().mandate_id(), bob)) == "PERMISSION_DENIED");
  const int rows = w.f.OutboxRows();
  CHECK(client.Reason(&Stub::RevokeMandate,
                      w.Revoking(third.mandate().mandate_id(), ada)) == "OK");
  CHECK(client.Reason(&Stub::RevokeMandate,
                      w.Revoking(third.mandate().mandate_id(), ada)) == "OK");
  CHECK(w.f.OutboxRows() == rows + 1);  // it was revoked once
  CHECK(w.Authority(id, agent.id).reason() == "MANDATE_MISSING");
  CHECK(client.Reason(&Stub::RevokeMandate, w.Revoking(w.f.NewId(), ada)) == "NOT_FOUND");
  w.Grant(made, ada, agent);
  CHECK(in_force() == 1);
  client.Ok(&Stub::LeaveCooperative, w.Leaving(id, ada));
  CHECK(w.Authority(id, agent.id).reason() == "NOT_A_MEMBER");
  CHECK(in_force() == 0);
  CHECK(w.Authority(id, AgentId{w.f.ids.New(w.f.clock.Now())}).reason() == "NOT_FOUND");
}

TEST_CASE("grants and revocations at once leave one standing mandate", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative made = w.Found("race", founder);
  const Person ada = w.NewMember(made);
  const Agent agent = w.NewAgent(ada);
  const int before = w.f.OutboxRows();
  std::vector<std::string> reasons(6);
  std::vector<std::thread> callers;
  for (std::string& reason : reasons) {
    callers.emplace_back([&] {
      reason = w.f.As<Stub>(ada).Reason(
          &Stub::GrantMandate, w.Granting(w.Mandate(made.cooperative_id(), agent), ada));
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::string& reason : reasons) CHECK(reason == "OK");
  CHECK(w.f.Number("SELECT count(*) FROM mandates WHERE revoked_us = 0") == 1);
  CHECK(w.f.OutboxRows() == before + 6);

  const std::string standing = w.Authority(made.cooperative_id(), agent.id).mandate_id();
  callers.clear();
  for (std::string& reason : reasons) {
    callers.emplace_back([&] {
      reason = w.f.As<Stub>(ada).Reason(&Stub::RevokeMandate, w.Revoking(standing, ada));
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::string& reason : reasons) CHECK(reason == "OK");
  CHECK(w.f.OutboxRows() == before + 7);
}

TEST_CASE("from a mandate one can walk back to the signature", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative made = w.Found("walk", founder);
  const Person ada = w.NewMember(made);
  const Agent agent = w.NewAgent(ada);
  const v1::MandateRecord granted = w.Grant(made, ada, agent);
  std::map<std::string, crypto::Entry> log;
  for (const crypto::Entry& entry : w.f.Outbox()) log[entry.event_id.ToString()] = entry;
  // mandate <- consent <- application <- registration, whose authority is its own signature.
  std::vector<uint16_t> kinds;
  for (std::string at = granted.entry().event_id(); log.count(at);
       at = log[at].authorised_by.ToString()) {
    kinds.push_back(log[at].kind);
  }
  CHECK(kinds == std::vector<uint16_t>{kind::kMandateGranted, kind::kMembershipConsented,
                                       kind::kMembershipRequested, kind::kPrincipalRegistered});
  v1::GetDocumentRequest get;
  get.set_document_sha256(granted.document_sha256());
  const auto document = w.As(founder).Ok(&Stub::GetDocument, get).document();
  CHECK(document.public_key() == std::string(ada.key.public_key().AsBytes()));
  CHECK(DigestOf(document) == granted.document_sha256());
  get.set_document_sha256(std::string(64, '0'));
  CHECK(w.As(founder).Reason(&Stub::GetDocument, get) == "NOT_FOUND");
}

}  // namespace
}  // namespace rochdale::governance::testing
