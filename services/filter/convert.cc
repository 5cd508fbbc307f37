#include "services/filter/convert.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/document.h"
#include "libs/rpc/fields.h"
#include "libs/tensor/manifest.h"

namespace rochdale::filter {
namespace {

using rpc::TakeDigest;
using rpc::TakeId;

constexpr int64_t kEpsMax = 10'000'000'000;
constexpr char kFitRuleId[] = "fit";  // of the rule that a profile's preferences make

bool IsRuleId(absl::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '_' || c == '-';
  });
}

void CheckConstraint(const common::v1::Rule& rule, const std::string& at, FieldErrors& errors) {
  const bool effect = rule.kind() == common::v1::RULE_KIND_VALUE_EFFECT;
  if (!effect) {
    // Directions belong to the floor: attribution makes gradients of the cooperative's probes only.
    errors.Add(at + "kind", "a profile's constraints are VALUE_EFFECT rules");
  }
  if (rule.mode() == common::v1::RULE_MODE_PROJECT) {
    errors.Add(at + "mode", "only value direction can project");
  }
  if (rule.probe_ids().empty() || rule.probe_ids_size() > static_cast<int>(kProbesPerRuleMax)) {
    errors.Add(at + "probe_ids", "1 to 16 probes");
  }
  for (const std::string& probe : rule.probe_ids()) {
    TakeId<ProbeId>(probe, at + "probe_ids", errors);
  }
  if (rule.eps_nanonats() < 0 || rule.eps_nanonats() > kEpsMax) {
    errors.Add(at + "eps_nanonats", "must be 0 to 10^10");
  }
}

void CheckPreferences(const v1::ValueProfile& profile, FieldErrors& errors) {
  if (profile.preferences_size() > 16) errors.Add("preferences", "at most 16 scenarios");
  std::set<std::string> scenarios;
  for (int i = 0; i < profile.preferences_size() && i < 16; ++i) {
    const v1::ScenarioPreferences& scenario = profile.preferences(i);
    const std::string at = absl::StrCat("preferences[", i, "].");
    if (scenario.scenario().empty() || scenario.scenario().size() > 64 ||
        !scenarios.insert(scenario.scenario()).second) {
      errors.Add(at + "scenario", "must be unique, 1 to 64 characters");
    }
    if (scenario.criteria().empty() || scenario.criteria_size() > kCriteriaMax) {
      errors.Add(at + "criteria", "1 to 16 criteria");
    }
    int64_t sum = 0;
    for (const v1::Criterion& criterion : scenario.criteria()) {
      TakeId<ProbeId>(criterion.probe_id(), at + "criteria.probe_id", errors);
      if (criterion.weight_bp() < 1 || criterion.weight_bp() > 10'000) {
        errors.Add(at + "criteria.weight_bp", "must be 1 to 10,000");
      }
      if (criterion.scale_nanonats() < 1) {
        errors.Add(at + "criteria.scale_nanonats", "must be at least 1");
      }
      sum += criterion.weight_bp();
    }
    if (sum != 10'000) errors.Add(at + "criteria", "weights must sum to 10,000 basis points");
  }
}

RuleMode ModeOf(common::v1::RuleMode mode) {
  return static_cast<RuleMode>(static_cast<uint8_t>(mode));
}

// The governed default of a rule's bound, in its kind's unit.
int64_t DefaultBound(RuleKind kind, bool is_protected, const config::ParameterSet& parameters) {
  switch (kind) {
    case RuleKind::kMagnitude:
      return parameters.Micro("magnitude.k_micro");
    case RuleKind::kOriginality:
      return parameters.Micro("originality.r1_max_micro");
    case RuleKind::kValueDirection:
      return parameters.Micro(is_protected ? "value.direction_protected_eps_micro"
                                           : "value.direction_eps_micro");
    case RuleKind::kValueEffect:
      return parameters.Int("value.effect_eps_nanonats");
    case RuleKind::kGroupHarm:
      return parameters.Int("group_harm.eps_nanonats");
    case RuleKind::kFit:
      return parameters.Micro("fit.threshold_micro");
    default:
      return 0;
  }
}

int64_t StatedBound(const common::v1::Rule& rule, RuleKind kind) {
  const bool nanonats = kind == RuleKind::kValueEffect || kind == RuleKind::kGroupHarm;
  return nanonats ? rule.eps_nanonats() : rule.bound_micro();
}

nlohmann::json JsonOf(const Finding& f) {
  nlohmann::json j = {{"rule_id", f.rule_id},
                      {"rule_version", f.rule_version},
                      {"scope", static_cast<int>(f.scope)},
                      {"set", f.set},
                      {"kind", static_cast<int>(f.kind)},
                      {"verdict", static_cast<int>(f.verdict)},
                      {"unit", static_cast<int>(f.unit)},
                      {"reason", f.reason},
                      {"probe", f.probe.IsZero() ? "" : f.probe.ToString()},
                      {"duty", f.duty},
                      {"advice", f.advice}};
  if (f.measured) j["measured"] = *f.measured;
  if (f.threshold) j["threshold"] = *f.threshold;
  if (f.rows != 0) {
    j["rows"] = f.rows;
    j["of_rows"] = f.of_rows;
  }
  return j;
}

}  // namespace

absl::StatusOr<SignedProfile> ParseProfile(const common::v1::SignedDocument& proto) {
  SignedProfile out;
  ASSIGN_OR_RETURN(out.document, rpc::FromProto(proto));
  ASSIGN_OR_RETURN(out.body, rpc::ParseDocument<v1::ValueProfile>(out.document));
  FieldErrors errors;
  out.cooperative = TakeId<CooperativeId>(out.body.cooperative_id(), "cooperative_id", errors);
  out.principal = TakeId<PrincipalId>(out.body.principal_id(), "principal_id", errors);
  if (out.body.version() < 1) errors.Add("version", "must be at least 1");
  if (out.body.focus_size() > 64) errors.Add("focus", "at most 64");
  if (out.body.constraints_size() > kRulesMax) errors.Add("constraints", "at most 32");
  std::set<std::string> ids;
  for (int i = 0; i < out.body.constraints_size() && i < kRulesMax; ++i) {
    const std::string at = absl::StrCat("constraints[", i, "].");
    const common::v1::Rule& rule = out.body.constraints(i);
    if (!IsRuleId(rule.id()) || rule.id() == kFitRuleId || !ids.insert(rule.id()).second) {
      errors.Add(at + "id", "must be unique, 1 to 64 of [a-z0-9._-], and not \"fit\"");
    }
    CheckConstraint(rule, at, errors);
  }
  CheckPreferences(out.body, errors);
  if (out.body.fit_threshold_micro() < -1'000'000 || out.body.fit_threshold_micro() > 1'000'000) {
    errors.Add("fit_threshold_micro", "must be -1,000,000 to 1,000,000");
  }
  if (out.body.explanation().size() > 10'000) errors.Add("explanation", "at most 10,000 bytes");
  RETURN_IF_ERROR(errors.ToStatus());
  return out;
}

absl::StatusOr<SignedProbe> ParseProbe(const common::v1::SignedDocument& proto) {
  SignedProbe out;
  ASSIGN_OR_RETURN(out.document, rpc::FromProto(proto));
  ASSIGN_OR_RETURN(const v1::Probe body, rpc::ParseDocument<v1::Probe>(out.document));
  FieldErrors errors;
  out.probe.id = TakeId<ProbeId>(body.probe_id(), "probe_id", errors);
  out.probe.cooperative = TakeId<CooperativeId>(body.cooperative_id(), "cooperative_id", errors);
  if (!body.principal_id().empty()) {
    out.probe.principal = TakeId<PrincipalId>(body.principal_id(), "principal_id", errors);
  }
  if (body.name().empty() || body.name().size() > 64) errors.Add("name", "1 to 64 characters");
  out.probe.name = body.name();
  out.probe.data = TakeDigest(body.data_sha256(), "data_sha256", errors);
  out.probe.is_protected = body.protected_();
  RETURN_IF_ERROR(errors.ToStatus());
  return out;
}

absl::StatusOr<SignedCommitment> ParseCommitment(const common::v1::SignedDocument& proto) {
  SignedCommitment out;
  ASSIGN_OR_RETURN(out.document, rpc::FromProto(proto));
  ASSIGN_OR_RETURN(const v1::UpdateCommitment body,
                   rpc::ParseDocument<v1::UpdateCommitment>(out.document));
  FieldErrors errors;
  out.update = TakeId<UpdateId>(body.update_id(), "update_id", errors);
  out.round = TakeId<RoundId>(body.round_id(), "round_id", errors);
  out.agent = TakeId<AgentId>(body.agent_id(), "agent_id", errors);
  out.base = TakeDigest(body.base_sha256(), "base_sha256", errors);
  out.digest = TakeDigest(body.update_sha256(), "update_sha256", errors);
  out.size_bytes = body.size_bytes();
  out.sample_count = body.sample_count();
  if (out.size_bytes < 1) errors.Add("size_bytes", "must be at least 1");
  if (out.sample_count < 1 || out.sample_count > 1'000'000'000) {
    errors.Add("sample_count", "must be 1 to 10^9");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  return out;
}

absl::StatusOr<OpeningRound> ParseOpening(const v1::OpenScreeningRequest& request) {
  OpeningRound out;
  FieldErrors errors;
  Round& r = out.round;
  r.id = TakeId<RoundId>(request.round_id(), "round_id", errors);
  r.cooperative = TakeId<CooperativeId>(request.cooperative_id(), "cooperative_id", errors);
  r.number = request.round_number();
  if (r.number < 1) errors.Add("round_number", "must be at least 1");
  r.scenario = request.scenario().empty() ? "default" : request.scenario();
  r.base = TakeDigest(request.base_sha256(), "base_sha256", errors);
  r.deadline = absl::FromUnixMicros(request.deadline_us());
  r.opened = TakeId<EventId>(request.authorised_by().event_id(), "authorised_by.event_id", errors);
  std::vector<tensor::TensorSpec> specs;
  for (const v1::TensorShape& shape : request.manifest()) {
    specs.push_back({shape.name(), tensor::DType::kF32,
                     {shape.dimensions().begin(), shape.dimensions().end()}});
  }
  auto manifest = tensor::TensorManifest::Create(std::move(specs));
  if (manifest.ok()) {
    r.manifest = manifest->CanonicalText();
  } else {
    errors.Add("manifest", manifest.status().message());
  }
  if (request.gradients_size() > 256) errors.Add("gradients", "at most 256");
  for (const v1::ProbeGradient& gradient : request.gradients()) {
    out.gradients.push_back(
        {TakeId<ProbeId>(gradient.probe_id(), "gradients.probe_id", errors),
         TakeDigest(gradient.gradient_sha256(), "gradients.gradient_sha256", errors)});
  }
  RETURN_IF_ERROR(errors.ToStatus());
  return out;
}

absl::StatusOr<Ownership> OwnershipOf(const governance::v1::CheckAuthorityResponse& authority) {
  Ownership ownership;
  for (const std::string& owner : authority.beneficial_owners()) {
    ASSIGN_OR_RETURN(ownership.owners.emplace_back(), crypto::Digest::Parse(owner));
  }
  std::sort(ownership.owners.begin(), ownership.owners.end());
  if (!authority.has_attestation_entry()) return ownership;
  ASSIGN_OR_RETURN(ownership.attestation,
                   EventId::Parse(authority.attestation_entry().event_id()));
  return ownership;
}

absl::StatusOr<std::vector<Measurement>> ParseMeasurements(const v1::DecideRoundRequest& request) {
  FieldErrors errors;
  std::vector<Measurement> out;
  if (request.measurements_size() > 1'000'000) errors.Add("measurements", "at most 10^6");
  for (int i = 0; i < request.measurements_size(); ++i) {
    const v1::ProbeMeasurement& m = request.measurements(i);
    const std::string at = absl::StrCat("measurements[", i, "].");
    if (m.rows() < 1) errors.Add(at + "rows", "must be at least 1");
    if (m.of_rows() != 0 && m.of_rows() <= m.rows()) {
      errors.Add(at + "of_rows", "must be 0 or above rows");
    }
    out.push_back({TakeId<UpdateId>(m.update_id(), at + "update_id", errors),
                   TakeId<ProbeId>(m.probe_id(), at + "probe_id", errors),
                   {m.base_loss_sum_nanonats(), m.loss_sum_nanonats(), m.rows(), m.of_rows()}});
  }
  RETURN_IF_ERROR(errors.ToStatus());
  return out;
}

RuleSet FloorRules(const governance::v1::Cooperative& cooperative,
                   const config::ParameterSet& parameters,
                   const std::map<ProbeId, bool>& protected_probes) {
  RuleSet floor;
  floor.scope = Scope::kFloor;
  std::set<RuleKind> present;
  for (const common::v1::Rule& wire : cooperative.floor()) {
    Rule rule;
    rule.id = wire.id();
    rule.version = cooperative.rules_version();
    rule.kind = static_cast<RuleKind>(static_cast<uint8_t>(wire.kind()));
    rule.mode = ModeOf(wire.mode());
    bool is_protected = false;
    for (const std::string& text : wire.probe_ids()) {
      auto id = ProbeId::Parse(text);
      if (!id.ok()) continue;
      rule.probes.push_back(id->value);
      const auto found = protected_probes.find(*id);
      is_protected = is_protected || (found != protected_probes.end() && found->second);
    }
    const int64_t stated = StatedBound(wire, rule.kind);
    const int64_t governed = DefaultBound(rule.kind, is_protected, parameters);
    rule.bound = stated == 0 ? governed : stated;
    rule.ev_bound_micro = parameters.Micro("originality.ev_max_micro");
    present.insert(rule.kind);
    floor.rules.push_back(std::move(rule));
  }
  for (const RuleKind kind : {RuleKind::kIntegrity, RuleKind::kAuthority, RuleKind::kMagnitude,
                              RuleKind::kOriginality}) {
    if (present.count(kind)) continue;
    Rule rule;
    rule.id = absl::StrCat("builtin.", RuleKindName(kind));
    rule.kind = kind;
    rule.bound = DefaultBound(kind, false, parameters);
    rule.ev_bound_micro = parameters.Micro("originality.ev_max_micro");
    floor.rules.push_back(std::move(rule));
  }
  // The first refusal gives the decision its reason. What is measured for every update comes
  // before what is measured only for those that these rules let through.
  const auto place = [](const Rule& rule) {
    switch (rule.kind) {
      case RuleKind::kIntegrity: return 0;
      case RuleKind::kAuthority: return 1;
      case RuleKind::kOriginality: return 2;
      case RuleKind::kMagnitude: return 3;
      default: return 4;
    }
  };
  std::stable_sort(floor.rules.begin(), floor.rules.end(),
                   [&](const Rule& a, const Rule& b) { return place(a) < place(b); });
  return floor;
}

RuleSet ProfileRules(const v1::ValueProfile& profile, const std::string& scenario,
                     const config::ParameterSet& parameters) {
  RuleSet set;
  set.scope = Scope::kPrincipal;
  for (const common::v1::Rule& wire : profile.constraints()) {
    Rule rule;
    rule.id = wire.id();
    rule.version = profile.version();
    rule.kind = static_cast<RuleKind>(static_cast<uint8_t>(wire.kind()));
    rule.mode = ModeOf(wire.mode());
    for (const std::string& text : wire.probe_ids()) {
      if (auto id = Uuid::Parse(text); id.ok()) rule.probes.push_back(*id);
    }
    const int64_t stated = StatedBound(wire, rule.kind);
    rule.bound = stated == 0 ? DefaultBound(rule.kind, false, parameters) : stated;
    set.rules.push_back(std::move(rule));
  }
  for (const v1::ScenarioPreferences& preferences : profile.preferences()) {
    if (preferences.scenario() != scenario) continue;
    Rule fit;
    fit.id = kFitRuleId;
    fit.version = profile.version();
    fit.kind = RuleKind::kFit;
    fit.bound = std::max(profile.fit_threshold_micro(), parameters.Micro("fit.threshold_micro"));
    for (const v1::Criterion& criterion : preferences.criteria()) {
      if (auto id = Uuid::Parse(criterion.probe_id()); id.ok()) {
        fit.criteria.push_back({*id, criterion.weight_bp(), criterion.scale_nanonats()});
      }
    }
    set.rules.push_back(std::move(fit));
  }
  return set;
}

std::string FindingsToJson(const std::vector<Finding>& findings) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings) list.push_back(JsonOf(finding));
  return list.dump();
}

absl::StatusOr<std::vector<Finding>> FindingsFromJson(const std::string& text) {
  const nlohmann::json list = nlohmann::json::parse(text, nullptr, false);
  if (!list.is_array()) return absl::InternalError("stored findings do not parse");
  std::vector<Finding> findings;
  for (const nlohmann::json& j : list) {
    Finding f;
    f.rule_id = j.value("rule_id", "");
    f.rule_version = j.value("rule_version", int64_t{0});
    f.scope = static_cast<Scope>(j.value("scope", 1));
    f.set = j.value("set", "");
    f.kind = static_cast<RuleKind>(j.value("kind", 1));
    f.verdict = static_cast<Verdict>(j.value("verdict", 5));
    f.unit = static_cast<Unit>(j.value("unit", 0));
    if (j.contains("measured")) f.measured = j["measured"].get<int64_t>();
    if (j.contains("threshold")) f.threshold = j["threshold"].get<int64_t>();
    f.reason = j.value("reason", "");
    if (auto probe = Uuid::Parse(j.value("probe", "")); probe.ok()) f.probe = *probe;
    f.rows = j.value("rows", int64_t{0});
    f.of_rows = j.value("of_rows", int64_t{0});
    f.duty = j.value("duty", "");
    f.advice = j.value("advice", "");
    findings.push_back(std::move(f));
  }
  return findings;
}

void ToProto(const Probe& p, bool with_data, v1::Probe& out) {
  out.set_probe_id(p.id.ToString());
  out.set_cooperative_id(p.cooperative.ToString());
  if (p.principal) out.set_principal_id(p.principal->ToString());
  out.set_name(p.name);
  if (with_data) out.set_data_sha256(p.data.ToString());
  out.set_rows(p.rows);
  out.set_protected_(p.is_protected);
  out.mutable_entry()->set_event_id(p.event.ToString());
}

void ToProto(const Update& u, bool with_reason, v1::Update& out) {
  out.set_update_id(u.id.ToString());
  out.set_round_id(u.round.ToString());
  out.set_cooperative_id(u.cooperative.ToString());
  out.set_agent_id(u.agent.ToString());
  out.set_principal_id(u.principal.ToString());
  out.set_state(static_cast<v1::UpdateState>(u.state));
  out.set_update_sha256(u.digest.ToString());
  out.set_size_bytes(u.size_bytes);
  if (u.effective) out.set_effective_sha256(u.effective->ToString());
  if (with_reason) out.set_reason(u.reason);
  out.set_committed_time_us(absl::ToUnixMicros(u.committed));
  out.set_commitment_number(u.commitment_number);
  out.mutable_commitment_entry()->set_event_id(u.commitment_event.ToString());
  if (u.decision_event) out.mutable_decision_entry()->set_event_id(u.decision_event->ToString());
  out.set_consents_to_publication(u.consents_to_publication);
  out.set_mandate_id(u.mandate.ToString());
}

absl::Status ToProto(const StoredDecision& d, const Update& update, bool own, v1::Decision& out) {
  out.set_update_id(d.update.ToString());
  out.set_round_id(update.round.ToString());
  out.set_verdict(static_cast<v1::Verdict>(d.verdict));
  ASSIGN_OR_RETURN(const std::vector<Finding> findings, FindingsFromJson(d.findings));
  for (const Finding& f : findings) {
    v1::RuleFinding& finding = *out.add_findings();
    finding.set_rule_id(f.rule_id);
    finding.set_scope(static_cast<v1::RuleScope>(f.scope));
    finding.set_kind(static_cast<common::v1::RuleKind>(f.kind));
    finding.set_verdict(static_cast<v1::Verdict>(f.verdict));
    const bool withheld = f.scope == Scope::kPrincipal && !own;
    if (!withheld && f.measured) finding.set_measured(absl::StrCat(*f.measured));
    if (!withheld && f.threshold) finding.set_threshold(absl::StrCat(*f.threshold));
    finding.set_reason(f.reason);
    if (!f.probe.IsZero()) finding.set_probe_id(f.probe.ToString());
    if (!withheld) finding.set_advice(f.advice);
    finding.set_rows(f.rows);
    finding.set_of_rows(f.of_rows);
  }
  if (update.effective) out.set_effective_sha256(update.effective->ToString());
  out.set_engine_version(std::string(kEngineVersion));
  out.set_body(d.body);
  out.set_decided_time_us(absl::ToUnixMicros(d.decided));
  out.mutable_entry()->set_event_id(d.event.ToString());
  if (own) {
    out.set_fit_micro(d.fit_micro);
    out.set_salt(std::string(d.salt.AsBytes()));
  }
  return absl::OkStatus();
}

}  // namespace rochdale::filter
