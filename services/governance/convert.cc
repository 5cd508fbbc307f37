#include "services/governance/convert.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/config/parameters.h"
#include "libs/rpc/document.h"
#include "libs/rpc/fields.h"
#include "services/governance/rules.h"

namespace rochdale::governance {
namespace {

using rpc::TakeId;
using rpc::TakeKey;

constexpr int kNameMaxChars = 100;
constexpr int kFoundersMax = 16;
constexpr int kPoolsMax = 64;
constexpr int kRulesMax = 64;
constexpr int kProbesMax = 16;                       // of one rule
constexpr size_t kBoundedProbesMax = 256;            // of a floor: in rules that bound the step
constexpr int64_t kEpsMax = 10'000'000'000;          // nano-nats
constexpr int64_t kPoolMax = 1'000'000'000'000'000;  // 10^9 tokens
constexpr int kDescriptionMaxChars = 2'000;
constexpr int kCounterpartiesMax = 64;
constexpr int kKycLevelMax = 3;
constexpr int kOwnersMax = 16;  // of a principal
// A verifier's clock may be ahead by so much; a time far in the future would bar all later ones.
constexpr absl::Duration kSignedAheadMax = absl::Minutes(15);

void CheckText(absl::string_view text, size_t min, size_t max, absl::string_view field,
               FieldErrors& errors) {
  if (text.size() < min || text.size() > max) {
    errors.Add(field, absl::StrCat("must have ", min, " to ", max, " bytes"));
  }
  if (text.find('\0') != absl::string_view::npos) errors.Add(field, "must hold no NUL");
}

// Lower-case words for names that stand in addresses and account labels.
void CheckSlug(absl::string_view text, size_t max, absl::string_view field, FieldErrors& errors) {
  const bool fits = !text.empty() && text.size() <= max &&
                    std::all_of(text.begin(), text.end(), [](char c) {
                      return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
                    });
  if (!fits) errors.Add(field, absl::StrCat("must be 1 to ", max, " of a-z, 0-9 and -"));
}

template <typename Body>
absl::StatusOr<Signed<Body>> Open(const common::v1::SignedDocument& proto) {
  ASSIGN_OR_RETURN(crypto::SignedDocument document, rpc::FromProto(proto));
  ASSIGN_OR_RETURN(Body body, rpc::ParseDocument<Body>(document));
  return Signed<Body>{std::move(document), std::move(body)};
}

// The same body signed by several keys.
template <typename Body>
absl::StatusOr<Body> OpenAll(
    const google::protobuf::RepeatedPtrField<common::v1::SignedDocument>& protos,
    std::vector<crypto::SignedDocument>& documents) {
  if (protos.empty() || protos.size() > kFoundersMax) {
    return Error("SIGNATURE_INVALID", "1 to 16 founders must sign");
  }
  Body body;
  for (const auto& proto : protos) {
    ASSIGN_OR_RETURN(Signed<Body> opened, Open<Body>(proto));
    if (!documents.empty() && opened.document.body != documents.front().body) {
      return Error("SIGNATURE_INVALID", "the founders signed different documents");
    }
    documents.push_back(std::move(opened.document));
    body = std::move(opened.body);
  }
  return body;
}

template <typename Body>
absl::StatusOr<Signed<MembershipStep>> ParseStep(const common::v1::SignedDocument& proto) {
  ASSIGN_OR_RETURN(Signed<Body> opened, Open<Body>(proto));
  FieldErrors errors;
  Signed<MembershipStep> step{std::move(opened.document), {}};
  step.body.cooperative =
      TakeId<CooperativeId>(opened.body.cooperative_id(), "cooperative_id", errors);
  step.body.principal = TakeId<PrincipalId>(opened.body.principal_id(), "principal_id", errors);
  RETURN_IF_ERROR(errors.ToStatus());
  return step;
}

bool IsAboutProbes(common::v1::RuleKind kind) {
  return kind == common::v1::RULE_KIND_VALUE_DIRECTION ||
         kind == common::v1::RULE_KIND_VALUE_EFFECT || kind == common::v1::RULE_KIND_GROUP_HARM;
}

// One rule of the floor as rule.proto says it must be. The filter denies where a floor rule errs,
// so that a rule that cannot be evaluated would refuse every update for ever.
void CheckFloorRule(const common::v1::Rule& rule, const std::string& at, FieldErrors& errors) {
  const bool known = rule.kind() != common::v1::RULE_KIND_UNSPECIFIED &&
                     common::v1::RuleKind_IsValid(rule.kind());
  if (!known) errors.Add(at + "kind", "must be a kind of rule");
  if (rule.kind() == common::v1::RULE_KIND_FIT) {
    errors.Add(at + "kind", "the fit belongs to profiles: it needs their criteria");
  }
  if (!common::v1::RuleMode_IsValid(rule.mode())) errors.Add(at + "mode", "must be a mode");
  if (rule.mode() == common::v1::RULE_MODE_PROJECT &&
      rule.kind() != common::v1::RULE_KIND_VALUE_DIRECTION) {
    errors.Add(at + "mode", "only a value direction can be projected");
  }
  if (known && IsAboutProbes(rule.kind()) != (rule.probe_ids_size() > 0)) {
    errors.Add(at + "probe_ids", "required for the value kinds, empty otherwise");
  }
  if (rule.probe_ids_size() > kProbesMax) errors.Add(at + "probe_ids", "at most 16");
  std::set<Uuid> probes;
  for (int i = 0; i < rule.probe_ids_size() && i < kProbesMax; ++i) {
    const std::string field = absl::StrCat(at, "probe_ids[", i, "]");
    if (!probes.insert(TakeId<Uuid>(rule.probe_ids(i), field, errors)).second) {
      errors.Add(field, "must be unique");
    }
  }
  if (rule.eps_nanonats() < 0 || rule.eps_nanonats() > kEpsMax) {
    errors.Add(at + "eps_nanonats", "must be 0 to 10^10");
  }
  const int64_t bound_max =
      rule.kind() == common::v1::RULE_KIND_VALUE_DIRECTION ? 1'000'000 : 100'000'000;
  if (rule.bound_micro() < 0 || rule.bound_micro() > bound_max) {
    errors.Add(at + "bound_micro", absl::StrCat("must be 0 to ", bound_max));
  }
  CheckText(rule.explanation(), 0, 1'000, at + "explanation", errors);
}

// Whether a round's step as a whole is held to this rule's bound: rule.proto, VALUE_EFFECT.
bool BoundsTheStep(const common::v1::Rule& rule) {
  return rule.kind() == common::v1::RULE_KIND_VALUE_EFFECT &&
         (rule.mode() == common::v1::RULE_MODE_REFUSE ||
          rule.mode() == common::v1::RULE_MODE_REVIEW);
}

void CheckFloor(const v1::Genesis& genesis, FieldErrors& errors) {
  if (genesis.floor_size() > kRulesMax) errors.Add("floor", "at most 64 rules");
  std::set<std::string> bounded;
  for (const common::v1::Rule& rule : genesis.floor()) {
    if (BoundsTheStep(rule)) bounded.insert(rule.probe_ids().begin(), rule.probe_ids().end());
  }
  if (bounded.size() > kBoundedProbesMax) {
    errors.Add("floor", "at most 256 probes in value effects of mode refuse or review");
  }
  std::set<std::string> ids;
  for (int i = 0; i < genesis.floor_size() && i < kRulesMax; ++i) {
    const common::v1::Rule& rule = genesis.floor(i);
    const std::string at = absl::StrCat("floor[", i, "].");
    const bool fits = !rule.id().empty() && rule.id().size() <= 64 &&
                      std::all_of(rule.id().begin(), rule.id().end(), [](char c) {
                        return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' ||
                               c == '_' || c == '-';
                      });
    if (!fits || !ids.insert(rule.id()).second) {
      errors.Add(at + "id", "must be unique, 1 to 64 of [a-z0-9._-]");
    }
    CheckFloorRule(rule, at, errors);
  }
}

void TakePools(const v1::Genesis& genesis, NewCooperative& out, FieldErrors& errors) {
  if (genesis.pools_size() > kPoolsMax) errors.Add("pools", "at most 64");
  std::set<std::string> names;
  int64_t sum = 0;
  for (int i = 0; i < genesis.pools_size() && i < kPoolsMax; ++i) {
    const v1::GenesisPool& pool = genesis.pools(i);
    const std::string at = absl::StrCat("pools[", i, "].");
    CheckSlug(pool.name(), 64, at + "name", errors);
    if (!names.insert(pool.name()).second) errors.Add(at + "name", "must be unique");
    PoolGrant grant{pool.name(), pool.amount_microtokens(), std::nullopt};
    if (grant.amount < 0 || grant.amount > kPoolMax) {
      errors.Add(at + "amount_microtokens", "must be 0 to 10^15");
    } else if ((sum += grant.amount) > kPoolMax) {
      errors.Add("pools", "the supply is at most 10^15 micro-tokens");
    }
    if (!pool.owner_public_key().empty()) {
      grant.owner = TakeKey(pool.owner_public_key(), at + "owner_public_key", errors);
    }
    out.pools.push_back(std::move(grant));
  }
}

}  // namespace

absl::StatusOr<NewCooperative> ParseGenesis(
    const google::protobuf::RepeatedPtrField<common::v1::SignedDocument>& documents) {
  NewCooperative out;
  ASSIGN_OR_RETURN(const v1::Genesis genesis, OpenAll<v1::Genesis>(documents, out.documents));
  FieldErrors errors;
  Cooperative& c = out.cooperative;
  c.id = TakeId<CooperativeId>(genesis.cooperative_id(), "cooperative_id", errors);
  CheckText(genesis.name(), 1, kNameMaxChars, "name", errors);
  CheckSlug(genesis.slug(), 40, "slug", errors);
  c.name = genesis.name();
  c.slug = genesis.slug();
  const int keys = genesis.founder_public_keys_size();
  if (keys < 1 || keys > kFoundersMax) errors.Add("founder_public_keys", "1 to 16 keys");
  std::set<crypto::PublicKey> seen;
  for (int i = 0; i < keys && i < kFoundersMax; ++i) {
    const std::string at = absl::StrCat("founder_public_keys[", i, "]");
    const crypto::PublicKey key = TakeKey(genesis.founder_public_keys(i), at, errors);
    if (!seen.insert(key).second) errors.Add(at, "must be unique");
    c.founders.push_back(key);
  }
  if (genesis.founder_threshold() < 1 ||
      genesis.founder_threshold() > static_cast<uint32_t>(keys)) {
    errors.Add("founder_threshold", "must be 1 to the number of founders");
  }
  c.founder_threshold = static_cast<int>(genesis.founder_threshold());
  CheckFloor(genesis, errors);
  TakePools(genesis, out, errors);
  for (int i = 0; i < genesis.parameters_size(); ++i) {
    const v1::ParameterValue& value = genesis.parameters(i);
    const std::string at = absl::StrCat("parameters[", i, "]");
    if (absl::Status valid = config::ValidateParameter(value.name(), value.value()); !valid.ok()) {
      errors.Add(at, valid.message());
    }
    if (!out.parameters.emplace(value.name(), value.value()).second) {
      errors.Add(at, "must be unique");
    }
  }
  RETURN_IF_ERROR(errors.ToStatus());
  auto together = config::ParameterSet::FromTexts(out.parameters);
  RETURN_IF_ERROR(together.status());
  RETURN_IF_ERROR(config::ValidateTogether(*together));
  RETURN_IF_ERROR(CheckFounderThreshold(out.documents, c.founders, c.founder_threshold));
  c.genesis = crypto::DocumentDigest(out.documents.front());
  c.rules_version = 1;
  c.parameters_version = 1;
  return out;
}

absl::Status CheckFounderThreshold(const std::vector<crypto::SignedDocument>& documents,
                                   const std::vector<crypto::PublicKey>& founders, int threshold) {
  std::set<crypto::PublicKey> signers;
  for (const crypto::SignedDocument& document : documents) {
    if (std::find(founders.begin(), founders.end(), document.public_key) == founders.end()) {
      return Error("SIGNATURE_INVALID", "a signer is not a founder");
    }
    signers.insert(document.public_key);
  }
  if (static_cast<int>(signers.size()) < threshold) {
    return Error("SIGNATURE_INVALID",
                 absl::StrCat(threshold, " founders must sign, ", signers.size(), " did"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Signed<Principal>> ParsePrincipal(const common::v1::SignedDocument& proto) {
  ASSIGN_OR_RETURN(Signed<v1::PrincipalRegistration> opened,
                   Open<v1::PrincipalRegistration>(proto));
  FieldErrors errors;
  Principal p;
  p.id = TakeId<PrincipalId>(opened.body.principal_id(), "principal_id", errors);
  if (opened.body.kind() != v1::PRINCIPAL_KIND_PERSON &&
      opened.body.kind() != v1::PRINCIPAL_KIND_ENTERPRISE) {
    errors.Add("kind", "must be PERSON or ENTERPRISE");
  }
  CheckText(opened.body.display_name(), 1, kNameMaxChars, "display_name", errors);
  // The document's digest is public: without a salt a name could be guessed from it.
  if (auto salt = crypto::HexDecode(opened.body.salt()); !salt.ok() || salt->size() != 32) {
    errors.Add("salt", "must be 32 random bytes in hexadecimal");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  p.kind = opened.body.kind();
  p.display_name = opened.body.display_name();
  p.key = opened.document.public_key;
  return Signed<Principal>{std::move(opened.document), std::move(p)};
}

absl::StatusOr<Signed<Agent>> ParseAgent(const common::v1::SignedDocument& proto) {
  ASSIGN_OR_RETURN(Signed<v1::AgentRegistration> opened, Open<v1::AgentRegistration>(proto));
  const v1::AgentRegistration& body = opened.body;
  FieldErrors errors;
  Agent a;
  a.id = TakeId<AgentId>(body.agent_id(), "agent_id", errors);
  a.principal = TakeId<PrincipalId>(body.principal_id(), "principal_id", errors);
  a.key = TakeKey(body.public_key(), "public_key", errors);
  CheckText(body.display_name(), 1, kNameMaxChars, "display_name", errors);
  auto raw = crypto::HexDecode(body.proof_of_possession());
  auto proof = raw.ok() ? crypto::Signature::FromBytes(*raw)
                        : absl::StatusOr<crypto::Signature>(raw.status());
  if (!proof.ok()) {
    errors.Add("proof_of_possession", "must be a signature of 128 hexadecimal digits");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  if (!crypto::Verify(a.key,
                      absl::StrCat("rochdale-agent:", body.agent_id(), ":", body.principal_id()),
                      *proof)) {
    return Error("SIGNATURE_INVALID", "proof_of_possession does not verify under the agent's key");
  }
  a.display_name = body.display_name();
  return Signed<Agent>{std::move(opened.document), std::move(a)};
}

namespace {

void TakeOwners(const v1::KycAttestation& body, Kyc& kyc, FieldErrors& errors) {
  if (body.beneficial_owners_size() > kOwnersMax) {
    errors.Add("beneficial_owners", "at most 16");
    return;
  }
  std::set<crypto::Digest> owners;
  for (int i = 0; i < body.beneficial_owners_size(); ++i) {
    const std::string field = absl::StrCat("beneficial_owners[", i, "]");
    if (!owners.insert(rpc::TakeDigest(body.beneficial_owners(i), field, errors)).second) {
      errors.Add(field, "must be unique");
    }
  }
  kyc.owners.assign(owners.begin(), owners.end());
}

}  // namespace

absl::StatusOr<Signed<KycAttestation>> ParseKycAttestation(const common::v1::SignedDocument& proto,
                                                           absl::Time now) {
  ASSIGN_OR_RETURN(Signed<v1::KycAttestation> opened, Open<v1::KycAttestation>(proto));
  const v1::KycAttestation& body = opened.body;
  FieldErrors errors;
  KycAttestation a;
  a.principal = TakeId<PrincipalId>(body.principal_id(), "principal_id", errors);
  if (body.level() > kKycLevelMax) errors.Add("level", "must be 0 to 3");
  a.kyc.expires = absl::FromUnixMicros(body.expires_us());
  a.kyc.signed_at = absl::FromUnixMicros(body.signed_time_us());
  if (body.expires_us() <= body.signed_time_us() || a.kyc.expires <= now) {
    errors.Add("expires_us", "must be after signed_time_us and not passed");
  }
  if (body.signed_time_us() <= 0 || a.kyc.signed_at > now + kSignedAheadMax) {
    errors.Add("signed_time_us", "must be at most 15 minutes ahead of the server's clock");
  }
  TakeOwners(body, a.kyc, errors);
  RETURN_IF_ERROR(errors.ToStatus());
  a.kyc.level = static_cast<int>(body.level());
  return Signed<KycAttestation>{std::move(opened.document), std::move(a)};
}

absl::StatusOr<Signed<PauseOrder>> ParsePause(const common::v1::SignedDocument& proto) {
  ASSIGN_OR_RETURN(Signed<v1::AgentPause> opened, Open<v1::AgentPause>(proto));
  FieldErrors errors;
  PauseOrder order{TakeId<AgentId>(opened.body.agent_id(), "agent_id", errors),
                   opened.body.paused(), opened.body.reason()};
  CheckText(order.reason, 0, 500, "reason", errors);
  RETURN_IF_ERROR(errors.ToStatus());
  return Signed<PauseOrder>{std::move(opened.document), std::move(order)};
}

absl::StatusOr<Signed<MembershipStep>> ParseApplication(const common::v1::SignedDocument& proto) {
  return ParseStep<v1::MembershipApplication>(proto);
}
absl::StatusOr<Signed<MembershipStep>> ParseApproval(const common::v1::SignedDocument& proto) {
  return ParseStep<v1::MembershipApproval>(proto);
}
absl::StatusOr<Signed<MembershipStep>> ParseWithdrawal(const common::v1::SignedDocument& proto) {
  return ParseStep<v1::MembershipWithdrawal>(proto);
}
absl::StatusOr<Signed<MembershipStep>> ParseConsent(const common::v1::SignedDocument& proto) {
  ASSIGN_OR_RETURN(Signed<MembershipStep> step, ParseStep<v1::RuleConsent>(proto));
  ASSIGN_OR_RETURN(const v1::RuleConsent body, rpc::ParseDocument<v1::RuleConsent>(step.document));
  FieldErrors errors;
  auto digest = crypto::Digest::Parse(body.rules_sha256());
  if (!digest.ok()) errors.Add("rules_sha256", "must be 64 hexadecimal digits");
  if (body.rules_version() < 1) errors.Add("rules_version", "must be at least 1");
  RETURN_IF_ERROR(errors.ToStatus());
  step.body.rules_version = body.rules_version();
  step.body.rules = *digest;
  return step;
}

absl::StatusOr<Signed<Mandate>> ParseMandate(const common::v1::SignedDocument& proto) {
  ASSIGN_OR_RETURN(Signed<v1::Mandate> opened, Open<v1::Mandate>(proto));
  const v1::Mandate& body = opened.body;
  FieldErrors errors;
  Mandate m;
  m.id = TakeId<MandateId>(body.mandate_id(), "mandate_id", errors);
  m.cooperative = TakeId<CooperativeId>(body.cooperative_id(), "cooperative_id", errors);
  m.principal = TakeId<PrincipalId>(body.principal_id(), "principal_id", errors);
  m.agent = TakeId<AgentId>(body.agent_id(), "agent_id", errors);
  if (body.actions().empty() || body.actions_size() > 16) errors.Add("actions", "1 to 16 actions");
  for (int action : body.actions()) {
    if (action == v1::MANDATE_ACTION_UNSPECIFIED || !v1::MandateAction_IsValid(action)) {
      errors.Add("actions", "must be actions that a mandate can allow");
    }
    m.actions.push_back(action);
  }
  if (body.budget_per_day_microtokens() < 0 || body.budget_total_microtokens() < 0) {
    errors.Add("budget", "must be >= 0");
  }
  if (body.counterparty_account_ids_size() > kCounterpartiesMax) {
    errors.Add("counterparty_account_ids", "at most 64");
  }
  for (int i = 0; i < body.counterparty_account_ids_size() && i < kCounterpartiesMax; ++i) {
    m.counterparties.push_back(TakeId<AccountId>(
        body.counterparty_account_ids(i), absl::StrCat("counterparty_account_ids[", i, "]"),
        errors));
  }
  if (body.delegation_depth() > 4) errors.Add("delegation_depth", "must be 0 to 4");
  if (body.not_before_us() < 0 || body.expires_us() <= body.not_before_us()) {
    errors.Add("expires_us", "must be after not_before_us");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  m.not_before = absl::FromUnixMicros(body.not_before_us());
  m.expires = absl::FromUnixMicros(body.expires_us());
  m.document = crypto::DocumentDigest(opened.document);
  m.delegation_depth = body.delegation_depth();
  m.budget_per_day = body.budget_per_day_microtokens();
  m.budget_total = body.budget_total_microtokens();
  return Signed<Mandate>{std::move(opened.document), std::move(m)};
}

absl::StatusOr<Signed<MandateId>> ParseRevocation(const common::v1::SignedDocument& proto) {
  ASSIGN_OR_RETURN(Signed<v1::MandateRevocation> opened, Open<v1::MandateRevocation>(proto));
  FieldErrors errors;
  const MandateId id = TakeId<MandateId>(opened.body.mandate_id(), "mandate_id", errors);
  RETURN_IF_ERROR(errors.ToStatus());
  return Signed<MandateId>{std::move(opened.document), id};
}

absl::StatusOr<WantedChange> ParseParameterChange(
    const google::protobuf::RepeatedPtrField<common::v1::SignedDocument>& documents) {
  WantedChange wanted;
  ASSIGN_OR_RETURN(const v1::ParameterChange body,
                   OpenAll<v1::ParameterChange>(documents, wanted.documents));
  FieldErrors errors;
  wanted.cooperative = TakeId<CooperativeId>(body.cooperative_id(), "cooperative_id", errors);
  CheckText(body.reason(), 0, 1'000, "reason", errors);
  RETURN_IF_ERROR(errors.ToStatus());
  RETURN_IF_ERROR(config::ValidateParameter(body.value().name(), body.value().value()));
  wanted.name = body.value().name();
  wanted.value = body.value().value();
  wanted.expected_version = body.expected_version();
  return wanted;
}

absl::StatusOr<RaisedException> ParseException(const v1::GovernanceException& proto) {
  FieldErrors errors;
  RaisedException e;
  e.id = TakeId<Uuid>(proto.exception_id(), "exception.exception_id", errors);
  e.cooperative =
      TakeId<CooperativeId>(proto.cooperative_id(), "exception.cooperative_id", errors);
  e.subject = TakeId<Uuid>(proto.subject_id(), "exception.subject_id", errors);
  if (proto.kind() == v1::EXCEPTION_KIND_UNSPECIFIED || !v1::ExceptionKind_IsValid(proto.kind())) {
    errors.Add("exception.kind", "must be a kind of exception");
  }
  CheckText(proto.description(), 0, kDescriptionMaxChars, "exception.description", errors);
  if (!proto.evidence_sha256().empty()) {
    auto digest = crypto::Digest::Parse(proto.evidence_sha256());
    if (!digest.ok()) {
      errors.Add("exception.evidence_sha256", "must be 64 hexadecimal digits or empty");
    } else {
      e.evidence = std::string(digest->AsBytes());
    }
  }
  RETURN_IF_ERROR(errors.ToStatus());
  e.kind = proto.kind();
  e.description = proto.description();
  return e;
}

absl::Status ToProto(const Cooperative& c, const crypto::SignedDocument& genesis,
                     v1::Cooperative& out) {
  out.set_cooperative_id(c.id.ToString());
  out.set_name(c.name);
  out.set_slug(c.slug);
  for (const crypto::PublicKey& key : c.founders) out.add_founder_public_keys(key.ToString());
  out.set_founder_threshold(c.founder_threshold);
  out.set_rules_version(c.rules_version);
  // Version 1 of the rules is the floor of the genesis, whose digest therefore names it.
  out.set_rules_sha256(c.genesis.ToString());
  ASSIGN_OR_RETURN(const v1::Genesis body, rpc::ParseDocument<v1::Genesis>(genesis));
  *out.mutable_floor() = body.floor();
  out.set_parameters_version(c.parameters_version);
  out.set_founded_time_us(absl::ToUnixMicros(c.founded));
  out.set_genesis_sha256(c.genesis.ToString());
  out.mutable_entry()->set_event_id(c.event.ToString());
  for (const PoolAccount& pool : c.pools) {
    v1::PoolAccount& account = *out.add_pool_accounts();
    account.set_name(pool.name);
    account.set_account_id(pool.account.ToString());
  }
  return absl::OkStatus();
}

void ToProto(const Principal& p, bool with_name, absl::Time now, v1::Principal& out) {
  out.set_principal_id(p.id.ToString());
  out.set_kind(static_cast<v1::PrincipalKind>(p.kind));
  if (with_name) out.set_display_name(p.display_name);
  out.set_public_key(p.key.ToString());
  out.set_kyc_level(KycLevelAt(p.kyc, now));
  out.set_registered_time_us(absl::ToUnixMicros(p.registered));
  out.mutable_entry()->set_event_id(p.event.ToString());
  if (p.kyc.event.IsZero()) return;
  out.set_kyc_expires_us(absl::ToUnixMicros(p.kyc.expires));
  out.mutable_kyc_entry()->set_event_id(p.kyc.event.ToString());
  for (const crypto::Digest& owner : p.kyc.owners) out.add_beneficial_owners(owner.ToString());
}

void ToProto(const Agent& a, v1::Agent& out) {
  out.set_agent_id(a.id.ToString());
  out.set_principal_id(a.principal.ToString());
  out.set_public_key(a.key.ToString());
  out.set_display_name(a.display_name);
  out.set_paused(a.paused);
  out.set_registered_time_us(absl::ToUnixMicros(a.registered));
  out.mutable_entry()->set_event_id(a.event.ToString());
}

void ToProto(const Member& m, int64_t current_rules_version, v1::Member& out) {
  out.set_cooperative_id(m.cooperative.ToString());
  out.set_principal_id(m.principal.ToString());
  out.set_state(static_cast<v1::MembershipState>(EffectiveState(m, current_rules_version)));
  out.set_rules_version(m.rules_version);
  out.set_changed_time_us(absl::ToUnixMicros(m.changed));
  out.mutable_entry()->set_event_id(m.event.ToString());
}

absl::Status ToProto(const Mandate& m, const crypto::SignedDocument& document,
                     v1::MandateRecord& out) {
  ASSIGN_OR_RETURN(*out.mutable_mandate(), rpc::ParseDocument<v1::Mandate>(document));
  out.set_document_sha256(m.document.ToString());
  out.set_revoked_time_us(absl::ToUnixMicros(m.revoked));
  out.mutable_entry()->set_event_id(m.event.ToString());
  return absl::OkStatus();
}

void ToProto(const StoredParameters& stored,
             google::protobuf::RepeatedPtrField<v1::Parameter>& out) {
  for (const config::ParameterInfo& info : config::Parameters()) {
    v1::Parameter& parameter = *out.Add();
    parameter.set_name(info.name);
    parameter.set_default_value(config::DefaultText(info));
    const auto found = stored.values.find(info.name);
    parameter.set_value(found == stored.values.end() ? parameter.default_value() : found->second);
    if (info.type != config::ParameterType::kBool && info.type != config::ParameterType::kText) {
      parameter.set_min_value(absl::StrCat(info.min));
      parameter.set_max_value(absl::StrCat(info.max));
    }
    parameter.set_help(info.help);
    const auto version = stored.changed_versions.find(info.name);
    if (version != stored.changed_versions.end()) parameter.set_changed_version(version->second);
  }
}

void ToProto(const ParameterChange& change, v1::ParameterChangeRecord& out) {
  out.mutable_value()->set_name(change.name);
  out.mutable_value()->set_value(change.value);
  out.set_version(change.version);
  out.set_changed_time_us(absl::ToUnixMicros(change.changed));
  out.set_document_sha256(change.document.ToString());
  out.mutable_entry()->set_event_id(change.event.ToString());
}

void ToProto(const RaisedException& e, v1::GovernanceException& out) {
  out.set_exception_id(e.id.ToString());
  out.set_cooperative_id(e.cooperative.ToString());
  out.set_kind(static_cast<v1::ExceptionKind>(e.kind));
  out.set_subject_id(e.subject.ToString());
  out.set_description(e.description);
  if (!e.evidence.empty()) out.set_evidence_sha256(crypto::HexEncode(e.evidence));
  out.set_raised_time_us(absl::ToUnixMicros(e.raised));
  out.mutable_entry()->set_event_id(e.event.ToString());
}

}  // namespace rochdale::governance
