// A running governance with a ledger beside it, and people who sign.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rochdale/governance/v1/governance.grpc.pb.h"
#include "services/governance/module.h"
#include "tests/support/fake_ledger.h"
#include "tests/support/service_fixture.h"

namespace rochdale::governance::testing {

namespace v1 = ::rochdale::governance::v1;
using Stub = v1::GovernanceService::Stub;
using rochdale::testing::Agent;
using rochdale::testing::Client;
using rochdale::testing::DigestOf;
using rochdale::testing::Eventually;
using rochdale::testing::Person;
using rochdale::testing::Sign;

struct World {
  explicit World(GovernanceOptions options = {});
  ~World() { f.Stop(); }

  // ---- Documents ----
  v1::Genesis Genesis(const std::string& slug, const std::vector<Person>& founders,
                      uint32_t threshold);
  v1::PrincipalRegistration Registration(const Person& person);
  v1::AgentRegistration AgentRegistration(const Agent& agent);
  v1::Mandate Mandate(const std::string& cooperative, const Agent& agent);

  // ---- Requests, each with a new request id ----
  v1::FoundCooperativeRequest Founding(const v1::Genesis& genesis,
                                       const std::vector<Person>& signers);
  v1::RegisterPrincipalRequest Registering(const Person& person);
  v1::RegisterAgentRequest RegisteringAgent(const Person& principal, const Agent& agent);
  v1::RequestMembershipRequest Asking(const std::string& cooperative, const Person& person);
  v1::ApproveMembershipRequest Approving(const std::string& cooperative, const Person& person,
                                         const Person& by);
  v1::ConsentToRulesRequest Consenting(const v1::Cooperative& cooperative, const Person& person);
  v1::LeaveCooperativeRequest Leaving(const std::string& cooperative, const Person& person);
  v1::GrantMandateRequest Granting(const v1::Mandate& mandate, const Person& principal);
  v1::RevokeMandateRequest Revoking(const std::string& mandate, const Person& principal);
  // Signed now; holds for an hour.
  v1::KycAttestation Attestation(const Person& person, uint32_t level);
  v1::AttestKycRequest Attesting(const v1::KycAttestation& attestation,
                                 const crypto::KeyPair& verifier);
  v1::SetAgentPauseRequest Pausing(const Agent& agent, bool paused, const Person& by);
  v1::ChangeParameterRequest Changing(const std::string& cooperative, const std::string& name,
                                      const std::string& value, int64_t expected_version,
                                      const std::vector<Person>& signers);

  // ---- Steps that must succeed ----
  Person NewPrincipal();
  Agent NewAgent(const Person& principal);
  // Founded by `founder` alone, with `join_policy`.
  v1::Cooperative Found(const std::string& slug, const Person& founder,
                        const std::string& join_policy = "open");
  Person NewMember(const v1::Cooperative& cooperative);  // of an open cooperative
  v1::MandateRecord Grant(const v1::Cooperative& cooperative, const Person& principal,
                          const Agent& agent);

  v1::MembershipState StateOf(const std::string& cooperative, const Person& person);
  v1::CheckAuthorityResponse Authority(const std::string& cooperative, const AgentId& agent,
                                       v1::MandateAction action = v1::MANDATE_ACTION_SUBMIT_UPDATE);
  Client<Stub> As(const Person& person) { return f.As<Stub>(person); }

  rochdale::testing::FakeLedger ledger;
  rochdale::testing::ServiceFixture f;
  RegisteredKeys keys;
  std::unique_ptr<Client<Stub>> anyone;
  std::unique_ptr<Client<Stub>> filter;  // the filter service
};

}  // namespace rochdale::governance::testing
