#include "services/filter/deciding.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "libs/base/status_macros.h"
#include "services/filter/effect.h"
#include "services/filter/screening.h"

namespace rochdale::filter {
namespace {

// By how much each probe's loss rises under the round's updates: what is usual for it.
std::map<Uuid, RoundEffect> EffectsOfRound(const std::vector<Measurement>& measurements) {
  std::map<Uuid, std::vector<int64_t>> rises;
  for (const Measurement& m : measurements) {
    if (m.loss.IsEarly()) continue;  // what is usual is known from all rows only
    if (const auto rise = LossRise(m.loss); rise.ok()) rises[m.probe.value].push_back(*rise);
  }
  std::map<Uuid, RoundEffect> effects;
  for (const auto& [probe, values] : rises) effects[probe] = EffectOfRound(values);
  return effects;
}

ProbeFacts& FactsAt(Facts& facts, const Uuid& probe) {
  for (ProbeFacts& at : facts.probes) {
    if (at.probe == probe) return at;
  }
  facts.probes.push_back(ProbeFacts{});
  facts.probes.back().probe = probe;
  return facts.probes.back();
}

UpdateState StateOf(const Decision& decision) {
  if (!decision.IsAdmitted()) return UpdateState::kRejected;
  return decision.projected_probes.empty() ? UpdateState::kAdmitted : UpdateState::kProjected;
}

nlohmann::json FindingBody(const Finding& f, const crypto::Salt& salt) {
  nlohmann::json j = {{"rule_id", f.rule_id},
                      {"rule_version", f.rule_version},
                      {"scope", ScopeName(f.scope)},
                      {"kind", RuleKindName(f.kind)},
                      {"verdict", VerdictName(f.verdict)},
                      {"reason", f.reason}};
  if (!f.probe.IsZero()) j["probe_id"] = f.probe.ToString();
  const auto put = [&](const char* field, const std::optional<int64_t>& value) {
    if (!value) return;
    if (f.scope != Scope::kPrincipal) {
      j[field] = absl::StrCat(*value);
      return;
    }
    j[absl::StrCat(field, "_commitment")] =
        crypto::Commitment(salt, absl::StrCat(f.rule_id, "/", f.probe.ToString(), "/", field, "/",
                                              *value))
            .ToString();
  };
  put("measured", f.measured);
  put("threshold", f.threshold);
  if (f.rows != 0) {  // never hidden: that a verdict does not stand on all rows
    j["rows"] = f.rows;
    j["of_rows"] = f.of_rows;
  }
  return j;
}

}  // namespace

absl::StatusOr<std::vector<Decided>> DecideAll(const DecidingInput& input) {
  const std::map<Uuid, RoundEffect> effects = EffectsOfRound(input.measurements);
  std::vector<Decided> out;
  for (size_t i = 0; i < input.updates.size(); ++i) {
    const Update& update = input.updates[i];
    ASSIGN_OR_RETURN(Facts facts, FactsFromJson(update.facts));
    for (const Measurement& m : input.measurements) {
      if (m.update != update.id) continue;
      ProbeFacts& at = FactsAt(facts, m.probe.value);
      at.loss = m.loss;
      const auto effect = effects.find(m.probe.value);
      if (effect != effects.end()) at.round = effect->second;
    }
    Decided decided;
    decided.decision =
        Decide(input.floor, {}, &input.profiles[i], UpdateFacts{facts, facts});
    decided.state = StateOf(decided.decision);
    decided.reason = decided.decision.IsAdmitted() ? "" : decided.decision.reason;
    // Nobody reviews within a round yet, so what needs a review expires with the round.
    if (decided.decision.verdict == Verdict::kReview) decided.reason = "REVIEW_EXPIRED";
    for (const Finding& finding : decided.decision.findings) {
      if (finding.kind == RuleKind::kFit && finding.measured) decided.fit_micro = *finding.measured;
    }
    out.push_back(std::move(decided));
  }
  return out;
}

std::string DecisionBody(const Update& update, const Decided& decided, const DecidingInput& input,
                         const crypto::Salt& salt) {
  nlohmann::json findings = nlohmann::json::array();
  for (const Finding& finding : decided.decision.findings) {
    findings.push_back(FindingBody(finding, salt));
  }
  nlohmann::json body = {{"format", 1},
                         {"update_id", update.id.ToString()},
                         {"round_id", update.round.ToString()},
                         {"update_sha256", update.digest.ToString()},
                         {"effective_sha256",
                          update.effective ? update.effective->ToString() : std::string()},
                         {"engine_version", std::string(kEngineVersion)},
                         {"rules_version", input.rules_version},
                         {"profile_version", update.profile_version},
                         {"evidence_sha256", input.evidence_sha256},
                         {"facts", nlohmann::json::parse(update.facts, nullptr, false)},
                         {"verdict", std::string(VerdictName(decided.decision.verdict))},
                         {"reason", decided.reason},
                         {"findings", std::move(findings)}};
  return body.dump();
}

}  // namespace rochdale::filter
