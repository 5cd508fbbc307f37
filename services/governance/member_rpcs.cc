// Rpcs about principals, agents, memberships, mandates and documents.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/config/parameters.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/database.h"
#include "libs/pg/documents.h"
#include "libs/pg/outbox.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/paging.h"
#include "libs/service/mutation.h"
#include "services/governance/convert.h"
#include "services/governance/cooperative_store.h"
#include "services/governance/governance_service.h"
#include "services/governance/membership_store.h"
#include "services/governance/parameter_store.h"
#include "services/governance/registry_store.h"
#include "services/governance/rules.h"

namespace rochdale::governance {
namespace {

namespace tag = crypto::tag;
namespace kind = crypto::kind;

bool IsFounder(const Cooperative& cooperative, const crypto::PublicKey& key) {
  return std::find(cooperative.founders.begin(), cooperative.founders.end(), key) !=
         cooperative.founders.end();
}

absl::StatusOr<Principal> NeedPrincipal(pg::Transaction& tx, const PrincipalId& id) {
  ASSIGN_OR_RETURN(const std::optional<Principal> found, FindPrincipal(tx, id));
  if (!found) return Error("NOT_FOUND", "no such principal");
  return *found;
}

absl::StatusOr<Agent> NeedAgent(pg::Transaction& tx, const AgentId& id) {
  ASSIGN_OR_RETURN(const std::optional<Agent> found, FindAgent(tx, id));
  if (!found) return Error("NOT_FOUND", "no such agent");
  return *found;
}

// Itself, services, and founders of a cooperative that it has asked to join.
absl::StatusOr<bool> MaySeeName(pg::Transaction& tx, const rpc::Call& call,
                                const Principal& principal) {
  if (call.identity.kind == rpc::IdentityKind::kService) return true;
  if (call.identity.principal == principal.id) return true;
  if (call.identity.kind != rpc::IdentityKind::kPrincipal) return false;
  ASSIGN_OR_RETURN(const std::vector<CooperativeId> founded,
                   FoundedBy(tx, call.identity.public_key));
  for (const CooperativeId& cooperative : founded) {
    ASSIGN_OR_RETURN(const auto member, FindMember(tx, cooperative, principal.id));
    if (member && member->state != MembershipState::kLeft) return true;
  }
  return false;
}

// All that the ledger must know of a mandate in order to apply it: it sees the entry only.
crypto::EntryBuilder& Describe(const Mandate& mandate, crypto::EntryBuilder& entry) {
  uint64_t actions = 0;
  for (const int32_t action : mandate.actions) actions |= uint64_t{1} << action;
  std::string counterparties;
  for (const AccountId& account : mandate.counterparties) {
    absl::StrAppend(&counterparties, account.value.AsBytes());
  }
  entry.Id(tag::kPrincipal, mandate.principal)
      .Id(tag::kAgent, mandate.agent)
      .U64(tag::kActions, actions)
      .I64(tag::kNotBeforeUs, absl::ToUnixMicros(mandate.not_before))
      .I64(tag::kExpiresUs, absl::ToUnixMicros(mandate.expires))
      .U64(tag::kBudgetPerDay, mandate.budget_per_day)
      .U64(tag::kBudgetTotal, mandate.budget_total);
  if (!counterparties.empty()) entry.Bytes(tag::kCounterparties, counterparties);
  return entry;
}

// One membership step: what is allowed, the next state, and its entry.
struct Step {
  uint16_t kind;
  MembershipState next;
  int64_t rules_version = 0;  // what the member has consented to from then on
};

absl::Status TakeStep(pg::Transaction& tx, const Cooperative& cooperative,
                      const Signed<MembershipStep>& wanted, const Step& step,
                      const EventId& authorised_by, const EventId& event, absl::Time now,
                      crypto::EntryBuilder entry, v1::Member& out) {
  const Member member{cooperative.id, wanted.body.principal, step.next,
                      step.rules_version, now, event};
  RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
  RETURN_IF_ERROR(PutMember(tx, member));
  entry.Cooperative(cooperative.id)
      .Subject(member.principal)
      .AuthorisedBy(authorised_by)
      .Document(wanted.document);
  if (step.kind == kind::kMembershipConsented) entry.U64(tag::kRulesVersion, step.rules_version);
  RETURN_IF_ERROR(Log(tx, entry));
  ToProto(member, cooperative.rules_version, out);
  return absl::OkStatus();
}

}  // namespace

crypto::EntryBuilder GovernanceService::NewEntry(uint16_t kind, const rpc::Call& call,
                                                 EventId& event) {
  event = EventId{env_.ids.New(call.now)};
  return crypto::EntryBuilder(kind, event, call.now);
}

absl::StatusOr<Cooperative> NeedCooperative(pg::Transaction& tx, const CooperativeId& id) {
  ASSIGN_OR_RETURN(const std::optional<Cooperative> found, FindCooperative(tx, id));
  if (!found) return Error("NOT_FOUND", "no such cooperative");
  return *found;
}

absl::Status RequireSigner(const rpc::Call& call, const crypto::SignedDocument& document,
                           const PrincipalId& stated) {
  if (call.identity.kind != rpc::IdentityKind::kPrincipal ||
      call.identity.public_key != document.public_key) {
    return Error("PERMISSION_DENIED", "the caller is not who signed the document");
  }
  if (call.identity.principal != stated) {
    return Error("PERMISSION_DENIED", "the document speaks for another principal than its signer");
  }
  return absl::OkStatus();
}

grpc::Status GovernanceService::RegisterPrincipal(grpc::ServerContext* context,
                                                  const v1::RegisterPrincipalRequest* request,
                                                  v1::RegisterPrincipalResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Signed<Principal> wanted, ParsePrincipal(request->registration()));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kPrincipalRegistered, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      Principal principal = wanted.body;
      principal.registered = call.now;
      principal.event = event;
      RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
      RETURN_IF_ERROR(InsertPrincipal(tx, principal));
      crypto::EntryBuilder once = entry;
      RETURN_IF_ERROR(Log(tx, once.Subject(principal.id)
                                  .Bytes(tag::kRegisteredKey, principal.key.AsBytes())
                                  .U64(tag::kPrincipalType, principal.kind)
                                  .Document(wanted.document)));
      ToProto(principal, true, call.now, *response->mutable_principal());
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::GetPrincipal(grpc::ServerContext* context,
                                             const v1::GetPrincipalRequest* request,
                                             v1::GetPrincipalResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const PrincipalId id,
                     ParseId<PrincipalId>(request->principal_id(), "principal_id"));
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const Principal found, NeedPrincipal(tx, id));
      ASSIGN_OR_RETURN(const bool may_see_name, MaySeeName(tx, call, found));
      response->Clear();
      ToProto(found, may_see_name, call.now, *response->mutable_principal());
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::RegisterAgent(grpc::ServerContext* context,
                                              const v1::RegisterAgentRequest* request,
                                              v1::RegisterAgentResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Signed<Agent> wanted, ParseAgent(request->registration()));
    RETURN_IF_ERROR(RequireSigner(call, wanted.document, wanted.body.principal));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kAgentRegistered, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      Agent agent = wanted.body;
      agent.registered = call.now;
      agent.event = event;
      ASSIGN_OR_RETURN(const Principal principal, NeedPrincipal(tx, agent.principal));
      RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
      RETURN_IF_ERROR(InsertAgent(tx, agent));
      crypto::EntryBuilder once = entry;
      RETURN_IF_ERROR(Log(tx, once.Subject(agent.id)
                                  .AuthorisedBy(principal.event)
                                  .Id(tag::kPrincipal, agent.principal)
                                  .Bytes(tag::kRegisteredKey, agent.key.AsBytes())
                                  .Document(wanted.document)));
      ToProto(agent, *response->mutable_agent());
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::GetAgent(grpc::ServerContext* context,
                                         const v1::GetAgentRequest* request,
                                         v1::GetAgentResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const AgentId id, ParseId<AgentId>(request->agent_id(), "agent_id"));
    ASSIGN_OR_RETURN(const Agent found,
                     env_.db.Transact(call.deadline,
                                      [&](pg::Transaction& tx) { return NeedAgent(tx, id); }));
    ToProto(found, *response->mutable_agent());
    return absl::OkStatus();
  });
}

grpc::Status GovernanceService::SetAgentPause(grpc::ServerContext* context,
                                              const v1::SetAgentPauseRequest* request,
                                              v1::SetAgentPauseResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Signed<PauseOrder> wanted, ParsePause(request->pause()));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(
        wanted.body.paused ? kind::kAgentPaused : kind::kAgentResumed, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(Agent agent, NeedAgent(tx, wanted.body.agent));
      ASSIGN_OR_RETURN(const std::vector<CooperativeId> founded,
                       FoundedBy(tx, wanted.document.public_key));
      bool may = RequireSigner(call, wanted.document, agent.principal).ok();
      for (const CooperativeId& cooperative : founded) {
        ASSIGN_OR_RETURN(const auto member, FindMember(tx, cooperative, agent.principal));
        may = may || (member && call.identity.public_key == wanted.document.public_key);
      }
      if (!may) {
        return Error("PERMISSION_DENIED", "only its principal, or a founder of a cooperative "
                                          "where it works, pauses or resumes an agent");
      }
      agent.paused = wanted.body.paused;
      RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
      RETURN_IF_ERROR(SetPaused(tx, agent.id, agent.paused));
      crypto::EntryBuilder once = entry;
      RETURN_IF_ERROR(Log(tx, once.Subject(agent.id)
                                  .AuthorisedBy(agent.event)
                                  .Id(tag::kPrincipal, agent.principal)
                                  .Text(tag::kReason, wanted.body.reason)
                                  .Document(wanted.document)));
      ToProto(agent, *response->mutable_agent());
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::RequestMembership(grpc::ServerContext* context,
                                                  const v1::RequestMembershipRequest* request,
                                                  v1::RequestMembershipResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const auto wanted, ParseApplication(request->application()));
    RETURN_IF_ERROR(RequireSigner(call, wanted.document, wanted.body.principal));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kMembershipRequested, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const Cooperative cooperative,
                       NeedCooperative(tx, wanted.body.cooperative));
      ASSIGN_OR_RETURN(const Principal principal, NeedPrincipal(tx, wanted.body.principal));
      ASSIGN_OR_RETURN(const auto member,
                       FindMemberForUpdate(tx, cooperative.id, wanted.body.principal));
      RETURN_IF_ERROR(MayRequest(member));
      ASSIGN_OR_RETURN(const StoredParameters stored, LoadParameters(tx, cooperative.id));
      ASSIGN_OR_RETURN(const auto parameters, config::ParameterSet::FromTexts(stored.values));
      // Open to join, strict to screen: an open cooperative approves whoever asks.
      const bool open = parameters.Text("membership.join_policy") == "open";
      const Step step{kind::kMembershipRequested,
                      open ? MembershipState::kApproved : MembershipState::kRequested};
      return TakeStep(tx, cooperative, wanted, step, principal.event, event, call.now, entry,
                      *response->mutable_member());
    });
  });
}

grpc::Status GovernanceService::ApproveMembership(grpc::ServerContext* context,
                                                  const v1::ApproveMembershipRequest* request,
                                                  v1::ApproveMembershipResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const auto wanted, ParseApproval(request->approval()));
    if (call.identity.public_key != wanted.document.public_key) {
      return Error("PERMISSION_DENIED", "the caller is not who signed the document");
    }
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kMembershipApproved, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const Cooperative cooperative,
                       NeedCooperative(tx, wanted.body.cooperative));
      ASSIGN_OR_RETURN(const StoredParameters stored, LoadParameters(tx, cooperative.id));
      ASSIGN_OR_RETURN(const auto parameters, config::ParameterSet::FromTexts(stored.values));
      bool may = IsFounder(cooperative, wanted.document.public_key);
      EventId authorised_by = cooperative.event;
      if (!may && parameters.Text("membership.join_policy") == "sponsor") {
        ASSIGN_OR_RETURN(const auto sponsor,
                         FindMember(tx, cooperative.id, call.identity.principal));
        may = sponsor && call.identity.kind == rpc::IdentityKind::kPrincipal &&
              EffectiveState(*sponsor, cooperative.rules_version) == MembershipState::kMember;
        if (may) authorised_by = sponsor->event;
      }
      if (!may) return Error("PERMISSION_DENIED", "the signer may not approve members");
      ASSIGN_OR_RETURN(const auto member,
                       FindMemberForUpdate(tx, cooperative.id, wanted.body.principal));
      RETURN_IF_ERROR(MayApprove(member));
      return TakeStep(tx, cooperative, wanted,
                      {kind::kMembershipApproved, MembershipState::kApproved}, authorised_by,
                      event, call.now, entry, *response->mutable_member());
    });
  });
}

grpc::Status GovernanceService::ConsentToRules(grpc::ServerContext* context,
                                               const v1::ConsentToRulesRequest* request,
                                               v1::ConsentToRulesResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const auto wanted, ParseConsent(request->consent()));
    RETURN_IF_ERROR(RequireSigner(call, wanted.document, wanted.body.principal));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kMembershipConsented, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const Cooperative cooperative,
                       NeedCooperative(tx, wanted.body.cooperative));
      ASSIGN_OR_RETURN(const auto member,
                       FindMemberForUpdate(tx, cooperative.id, wanted.body.principal));
      RETURN_IF_ERROR(MayConsent(member, wanted.body.rules_version, cooperative.rules_version));
      if (wanted.body.rules != cooperative.genesis) {
        return Error("CONSENT_OUTDATED", "the consent names rules with another digest");
      }
      return TakeStep(tx, cooperative, wanted,
                      {kind::kMembershipConsented, MembershipState::kMember,
                       cooperative.rules_version},
                      member->event, event, call.now, entry, *response->mutable_member());
    });
  });
}

grpc::Status GovernanceService::LeaveCooperative(grpc::ServerContext* context,
                                                 const v1::LeaveCooperativeRequest* request,
                                                 v1::LeaveCooperativeResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const auto wanted, ParseWithdrawal(request->withdrawal()));
    RETURN_IF_ERROR(RequireSigner(call, wanted.document, wanted.body.principal));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kMembershipLeft, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const Cooperative cooperative,
                       NeedCooperative(tx, wanted.body.cooperative));
      ASSIGN_OR_RETURN(const auto member,
                       FindMemberForUpdate(tx, cooperative.id, wanted.body.principal));
      RETURN_IF_ERROR(MayLeave(member));
      return TakeStep(tx, cooperative, wanted, {kind::kMembershipLeft, MembershipState::kLeft},
                      member->event, event, call.now, entry, *response->mutable_member());
    });
  });
}

grpc::Status GovernanceService::GetMember(grpc::ServerContext* context,
                                          const v1::GetMemberRequest* request,
                                          v1::GetMemberResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    ASSIGN_OR_RETURN(const PrincipalId principal,
                     ParseId<PrincipalId>(request->principal_id(), "principal_id"));
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const Cooperative cooperative, NeedCooperative(tx, id));
      ASSIGN_OR_RETURN(const auto member, FindMember(tx, id, principal));
      if (!member) return Error("NOT_FOUND", "no such membership");
      ToProto(*member, cooperative.rules_version, *response->mutable_member());
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::ListMembers(grpc::ServerContext* context,
                                            const v1::ListMembersRequest* request,
                                            v1::ListMembersResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    const std::string binding = absl::StrCat("ListMembers/", id.ToString(), "/", request->state());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      response->Clear();
      ASSIGN_OR_RETURN(const Cooperative cooperative, NeedCooperative(tx, id));
      ASSIGN_OR_RETURN(const std::vector<Member> members,
                       governance::ListMembers(
                           tx, id, static_cast<MembershipState>(request->state()),
                           cooperative.rules_version, page.first() ? "" : page.after[0],
                           page.size + 1));
      for (const Member& member : members) {
        if (response->members_size() == page.size) {
          response->set_next_page_token(rpc::MakePageToken(
              binding, {response->members(page.size - 1).principal_id()}));
          break;
        }
        ToProto(member, cooperative.rules_version, *response->add_members());
      }
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::GrantMandate(grpc::ServerContext* context,
                                             const v1::GrantMandateRequest* request,
                                             v1::GrantMandateResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Signed<Mandate> wanted, ParseMandate(request->mandate()));
    RETURN_IF_ERROR(RequireSigner(call, wanted.document, wanted.body.principal));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kMandateGranted, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      Mandate mandate = wanted.body;
      mandate.event = event;
      ASSIGN_OR_RETURN(const Cooperative cooperative, NeedCooperative(tx, mandate.cooperative));
      ASSIGN_OR_RETURN(const Agent agent, NeedAgent(tx, mandate.agent));
      if (agent.principal != mandate.principal) {
        return Error("PERMISSION_DENIED", "the agent is another principal's");
      }
      ASSIGN_OR_RETURN(const auto member, FindMember(tx, cooperative.id, mandate.principal));
      if (!member || EffectiveState(*member, cooperative.rules_version) !=
                         MembershipState::kMember) {
        return Error("NOT_A_MEMBER", "a mandate needs a membership with current consent");
      }
      ASSIGN_OR_RETURN(const StoredParameters stored, LoadParameters(tx, cooperative.id));
      ASSIGN_OR_RETURN(const auto parameters, config::ParameterSet::FromTexts(stored.values));
      RETURN_IF_ERROR(CheckMandateLimits(mandate, parameters));
      RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
      RETURN_IF_ERROR(PutMandate(tx, mandate, call.now));
      crypto::EntryBuilder once = entry;
      once.Cooperative(cooperative.id)
          .Subject(mandate.id)
          .AuthorisedBy(member->event)
          .Document(wanted.document);
      RETURN_IF_ERROR(Log(tx, Describe(mandate, once)));
      return ToProto(mandate, wanted.document, *response->mutable_mandate());
    });
  });
}

grpc::Status GovernanceService::RevokeMandate(grpc::ServerContext* context,
                                              const v1::RevokeMandateRequest* request,
                                              v1::RevokeMandateResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Signed<MandateId> wanted, ParseRevocation(request->revocation()));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kMandateRevoked, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(std::optional<Mandate> mandate, FindMandate(tx, wanted.body));
      if (!mandate) return Error("NOT_FOUND", "no such mandate");
      RETURN_IF_ERROR(RequireSigner(call, wanted.document, mandate->principal));
      ASSIGN_OR_RETURN(const auto granted, pg::FindDocument(tx, mandate->document));
      ASSIGN_OR_RETURN(const bool first, governance::RevokeMandate(tx, mandate->id, call.now));
      if (first) {
        mandate->revoked = call.now;
        RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
        crypto::EntryBuilder once = entry;
        RETURN_IF_ERROR(Log(tx, once.Cooperative(mandate->cooperative)
                                    .Subject(mandate->id)
                                    .AuthorisedBy(mandate->event)
                                    .Id(tag::kPrincipal, mandate->principal)
                                    .Id(tag::kAgent, mandate->agent)
                                    .Document(wanted.document)));
      }
      return ToProto(*mandate, *granted, *response->mutable_mandate());
    });
  });
}

grpc::Status GovernanceService::ListMandates(grpc::ServerContext* context,
                                             const v1::ListMandatesRequest* request,
                                             v1::ListMandatesResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    AgentId agent;
    if (!request->agent_id().empty()) {
      ASSIGN_OR_RETURN(agent, ParseId<AgentId>(request->agent_id(), "agent_id"));
    }
    const std::string binding = absl::StrCat("ListMandates/", id.ToString(), "/",
                                             agent.ToString(), "/", request->in_force());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      response->Clear();
      ASSIGN_OR_RETURN(const std::vector<Mandate> mandates,
                       governance::ListMandates(tx, id, agent, request->in_force(), call.now,
                                                page.first() ? "" : page.after[0],
                                                page.size + 1));
      for (const Mandate& mandate : mandates) {
        if (response->mandates_size() == page.size) {
          response->set_next_page_token(rpc::MakePageToken(
              binding, {response->mandates(page.size - 1).mandate().mandate_id()}));
          break;
        }
        ASSIGN_OR_RETURN(const auto document, pg::FindDocument(tx, mandate.document));
        RETURN_IF_ERROR(ToProto(mandate, *document, *response->add_mandates()));
      }
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::CheckAuthority(grpc::ServerContext* context,
                                               const v1::CheckAuthorityRequest* request,
                                               v1::CheckAuthorityResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    ASSIGN_OR_RETURN(const AgentId agent, ParseId<AgentId>(request->agent_id(), "agent_id"));
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      response->Clear();
      AuthorityFacts facts;
      ASSIGN_OR_RETURN(const Cooperative cooperative, NeedCooperative(tx, id));
      facts.rules_version = cooperative.rules_version;
      ASSIGN_OR_RETURN(facts.agent, FindAgent(tx, agent));
      if (facts.agent) {
        ASSIGN_OR_RETURN(facts.member, FindMember(tx, id, facts.agent->principal));
        response->set_principal_id(facts.agent->principal.ToString());
      }
      ASSIGN_OR_RETURN(facts.mandate, FindStandingMandate(tx, id, agent));
      const Authority authority =
          governance::CheckAuthority(facts, request->action(), call.now);
      response->set_allowed(authority.allowed);
      response->set_reason(authority.reason);
      if (!authority.allowed) return absl::OkStatus();
      response->set_mandate_id(facts.mandate->id.ToString());
      response->mutable_mandate_entry()->set_event_id(facts.mandate->event.ToString());
      ASSIGN_OR_RETURN(const auto document, pg::FindDocument(tx, facts.mandate->document));
      v1::MandateRecord record;
      RETURN_IF_ERROR(ToProto(*facts.mandate, *document, record));
      response->set_consents_to_publication(record.mandate().consents_to_publication());
      ASSIGN_OR_RETURN(const auto principal, FindPrincipal(tx, facts.agent->principal));
      if (!principal || principal->kyc.event.IsZero()) return absl::OkStatus();
      response->mutable_attestation_entry()->set_event_id(principal->kyc.event.ToString());
      for (const crypto::Digest& owner : principal->kyc.owners) {
        response->add_beneficial_owners(owner.ToString());
      }
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::ResolveKey(grpc::ServerContext* context,
                                           const v1::ResolveKeyRequest* request,
                                           v1::ResolveKeyResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    auto key = crypto::PublicKey::FromBytes(request->public_key());
    FieldErrors errors;
    if (!key.ok()) errors.Add("public_key", "must have 32 bytes");
    RETURN_IF_ERROR(errors.ToStatus());
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      response->Clear();
      ASSIGN_OR_RETURN(const auto owner, FindKey(tx, *key));
      ASSIGN_OR_RETURN(const std::vector<CooperativeId> founded, FoundedBy(tx, *key));
      for (const CooperativeId& id : founded) response->add_founder_of(id.ToString());
      response->set_found(owner.has_value());
      if (!owner) return absl::OkStatus();
      response->set_principal_id(owner->principal.ToString());
      if (!owner->agent.IsZero()) response->set_agent_id(owner->agent.ToString());
      return absl::OkStatus();
    });
  });
}

grpc::Status GovernanceService::GetDocument(grpc::ServerContext* context,
                                            const v1::GetDocumentRequest* request,
                                            v1::GetDocumentResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    auto digest = crypto::Digest::Parse(request->document_sha256());
    FieldErrors errors;
    if (!digest.ok()) errors.Add("document_sha256", "must be 64 hexadecimal digits");
    RETURN_IF_ERROR(errors.ToStatus());
    ASSIGN_OR_RETURN(const auto found,
                     env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return pg::FindDocument(tx, *digest);
                     }));
    // A registration holds a name: it is shown to its signer and to services only.
    const bool personal =
        found && found->type == v1::PrincipalRegistration::descriptor()->full_name();
    if (!found || (personal && call.identity.kind != rpc::IdentityKind::kService &&
                   call.identity.public_key != found->public_key)) {
      return Error("NOT_FOUND", "no such document, or it is not yours to see");
    }
    common::v1::SignedDocument& out = *response->mutable_document();
    out.set_type(found->type);
    out.set_body(found->body);
    out.set_public_key(std::string(found->public_key.AsBytes()));
    out.set_signature(std::string(found->signature.AsBytes()));
    return absl::OkStatus();
  });
}

}  // namespace rochdale::governance
