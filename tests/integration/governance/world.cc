#include "tests/integration/governance/world.h"

#include "absl/strings/str_cat.h"
#include "libs/crypto/sha256.h"
#include "services/governance/migrations.h"

namespace rochdale::governance::testing {

World::World(GovernanceOptions options) : f("governance", {Migrations()}), keys(f.db()) {
  f.directory.SetNext(&keys);
  f.AddFake("ledger", &ledger);
  f.Serve(GovernanceModule::Make(f.environment(), std::move(options)));
  anyone = std::make_unique<Client<Stub>>(f.Anonymous<Stub>());
  filter = std::make_unique<Client<Stub>>(f.AsService<Stub>("filter"));
}

v1::Genesis World::Genesis(const std::string& slug, const std::vector<Person>& founders,
                           uint32_t threshold) {
  v1::Genesis genesis;
  genesis.set_cooperative_id(f.NewId());
  genesis.set_name(absl::StrCat("The ", slug, " cooperative"));
  genesis.set_slug(slug);
  for (const Person& p : founders) {
    genesis.add_founder_public_keys(p.key.public_key().ToString());
  }
  genesis.set_founder_threshold(threshold);
  genesis.set_signed_time_us(f.NowUs());
  return genesis;
}

v1::PrincipalRegistration World::Registration(const Person& person) {
  v1::PrincipalRegistration registration;
  registration.set_principal_id(person.id.ToString());
  registration.set_kind(v1::PRINCIPAL_KIND_PERSON);
  registration.set_display_name("Ada Nwosu");
  registration.set_signed_time_us(f.NowUs());
  registration.set_salt(std::string(64, '7'));
  return registration;
}

v1::AgentRegistration World::AgentRegistration(const Agent& agent) {
  v1::AgentRegistration registration;
  registration.set_agent_id(agent.id.ToString());
  registration.set_principal_id(agent.principal.ToString());
  registration.set_public_key(agent.key.public_key().ToString());
  const std::string proven =
      absl::StrCat("rochdale-agent:", agent.id.ToString(), ":", agent.principal.ToString());
  registration.set_proof_of_possession(
      crypto::HexEncode(agent.key.Sign(proven).AsBytes()));
  registration.set_display_name("trainer");
  return registration;
}

v1::Mandate World::Mandate(const std::string& cooperative, const Agent& agent) {
  v1::Mandate mandate;
  mandate.set_mandate_id(f.NewId());
  mandate.set_cooperative_id(cooperative);
  mandate.set_principal_id(agent.principal.ToString());
  mandate.set_agent_id(agent.id.ToString());
  mandate.add_actions(v1::MANDATE_ACTION_SUBMIT_UPDATE);
  mandate.set_not_before_us(f.NowUs());
  mandate.set_expires_us(f.NowUs() + absl::ToInt64Microseconds(absl::Hours(1)));
  mandate.set_consents_to_publication(true);
  return mandate;
}

v1::FoundCooperativeRequest World::Founding(const v1::Genesis& genesis,
                                            const std::vector<Person>& signers) {
  v1::FoundCooperativeRequest request;
  request.set_request_id(f.NewId());
  for (const Person& signer : signers) *request.add_genesis() = Sign(signer.key, genesis);
  return request;
}

v1::RegisterPrincipalRequest World::Registering(const Person& person) {
  v1::RegisterPrincipalRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_registration() = Sign(person.key, Registration(person));
  return request;
}

v1::RegisterAgentRequest World::RegisteringAgent(const Person& principal, const Agent& agent) {
  v1::RegisterAgentRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_registration() = Sign(principal.key, AgentRegistration(agent));
  return request;
}

v1::RequestMembershipRequest World::Asking(const std::string& cooperative, const Person& person) {
  v1::MembershipApplication application;
  application.set_cooperative_id(cooperative);
  application.set_principal_id(person.id.ToString());
  application.set_signed_time_us(f.NowUs());
  v1::RequestMembershipRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_application() = Sign(person.key, application);
  return request;
}

v1::ApproveMembershipRequest World::Approving(const std::string& cooperative, const Person& person,
                                              const Person& by) {
  v1::MembershipApproval approval;
  approval.set_cooperative_id(cooperative);
  approval.set_principal_id(person.id.ToString());
  v1::ApproveMembershipRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_approval() = Sign(by.key, approval);
  return request;
}

v1::ConsentToRulesRequest World::Consenting(const v1::Cooperative& cooperative,
                                            const Person& person) {
  v1::RuleConsent consent;
  consent.set_cooperative_id(cooperative.cooperative_id());
  consent.set_principal_id(person.id.ToString());
  consent.set_rules_version(cooperative.rules_version());
  consent.set_rules_sha256(cooperative.rules_sha256());
  v1::ConsentToRulesRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_consent() = Sign(person.key, consent);
  return request;
}

v1::LeaveCooperativeRequest World::Leaving(const std::string& cooperative, const Person& person) {
  v1::MembershipWithdrawal withdrawal;
  withdrawal.set_cooperative_id(cooperative);
  withdrawal.set_principal_id(person.id.ToString());
  v1::LeaveCooperativeRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_withdrawal() = Sign(person.key, withdrawal);
  return request;
}

v1::GrantMandateRequest World::Granting(const v1::Mandate& mandate, const Person& principal) {
  v1::GrantMandateRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_mandate() = Sign(principal.key, mandate);
  return request;
}

v1::RevokeMandateRequest World::Revoking(const std::string& mandate, const Person& principal) {
  v1::MandateRevocation revocation;
  revocation.set_mandate_id(mandate);
  v1::RevokeMandateRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_revocation() = Sign(principal.key, revocation);
  return request;
}

v1::KycAttestation World::Attestation(const Person& person, uint32_t level) {
  v1::KycAttestation attestation;
  attestation.set_principal_id(person.id.ToString());
  attestation.set_level(level);
  attestation.set_signed_time_us(f.NowUs());
  attestation.set_expires_us(f.NowUs() + absl::ToInt64Microseconds(absl::Hours(1)));
  return attestation;
}

v1::AttestKycRequest World::Attesting(const v1::KycAttestation& attestation,
                                      const crypto::KeyPair& verifier) {
  v1::AttestKycRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_attestation() = Sign(verifier, attestation);
  return request;
}

v1::SetAgentPauseRequest World::Pausing(const Agent& agent, bool paused, const Person& by) {
  v1::AgentPause pause;
  pause.set_agent_id(agent.id.ToString());
  pause.set_paused(paused);
  pause.set_reason("a test");
  v1::SetAgentPauseRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_pause() = Sign(by.key, pause);
  return request;
}

v1::ChangeParameterRequest World::Changing(const std::string& cooperative, const std::string& name,
                                           const std::string& value, int64_t expected_version,
                                           const std::vector<Person>& signers) {
  v1::ParameterChange change;
  change.set_cooperative_id(cooperative);
  change.mutable_value()->set_name(name);
  change.mutable_value()->set_value(value);
  change.set_expected_version(expected_version);
  v1::ChangeParameterRequest request;
  request.set_request_id(f.NewId());
  for (const Person& signer : signers) *request.add_change() = Sign(signer.key, change);
  return request;
}

Person World::NewPrincipal() {
  Person person{{f.ids.New(f.clock.Now())}};
  anyone->Ok(&Stub::RegisterPrincipal, Registering(person));
  return person;
}

Agent World::NewAgent(const Person& principal) {
  Agent agent{{f.ids.New(f.clock.Now())}, principal.id};
  As(principal).Ok(&Stub::RegisterAgent, RegisteringAgent(principal, agent));
  return agent;
}

v1::Cooperative World::Found(const std::string& slug, const Person& founder,
                             const std::string& join_policy) {
  v1::Genesis genesis = Genesis(slug, {founder}, 1);
  v1::ParameterValue& policy = *genesis.add_parameters();
  policy.set_name("membership.join_policy");
  policy.set_value(join_policy);
  return anyone->Ok(&Stub::FoundCooperative, Founding(genesis, {founder})).cooperative();
}

Person World::NewMember(const v1::Cooperative& cooperative) {
  const Person person = NewPrincipal();
  auto client = As(person);
  client.Ok(&Stub::RequestMembership, Asking(cooperative.cooperative_id(), person));
  client.Ok(&Stub::ConsentToRules, Consenting(cooperative, person));
  return person;
}

v1::MandateRecord World::Grant(const v1::Cooperative& cooperative, const Person& principal,
                               const Agent& agent) {
  const v1::Mandate mandate = Mandate(cooperative.cooperative_id(), agent);
  return As(principal).Ok(&Stub::GrantMandate, Granting(mandate, principal)).mandate();
}

v1::MembershipState World::StateOf(const std::string& cooperative, const Person& person) {
  v1::GetMemberRequest request;
  request.set_cooperative_id(cooperative);
  request.set_principal_id(person.id.ToString());
  return filter->Ok(&Stub::GetMember, request).member().state();
}

v1::CheckAuthorityResponse World::Authority(const std::string& cooperative, const AgentId& agent,
                                            v1::MandateAction action) {
  v1::CheckAuthorityRequest request;
  request.set_cooperative_id(cooperative);
  request.set_agent_id(agent.ToString());
  request.set_action(action);
  return filter->Ok(&Stub::CheckAuthority, request);
}

}  // namespace rochdale::governance::testing
