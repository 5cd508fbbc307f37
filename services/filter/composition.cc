#include "services/filter/composition.h"

#include <algorithm>
#include <map>
#include <utility>

namespace rochdale::filter {
namespace {

Finding SetError(const RuleSet& set, Scope place, absl::string_view advice) {
  Finding finding;
  finding.scope = place;
  finding.set = set.name;
  finding.verdict = OnError(place);
  finding.reason = "RULE_ERROR";
  finding.advice = std::string(advice);
  return finding;
}

bool HasDuplicateIds(const RuleSet& set) {
  std::set<absl::string_view> ids;
  for (const Rule& rule : set.rules) {
    if (!ids.insert(rule.id).second) return true;
  }
  return false;
}

// `place` decides what an error means, whatever the set says of itself.
std::vector<Finding> EvaluateSet(const RuleSet& set, Scope place, const Facts& facts,
                                 const CompositionLimits& limits) {
  if (set.scope != place) return {SetError(set, place, "the rules have another scope")};
  if (set.rules.size() > limits.rules_max) return {SetError(set, place, "too many rules")};
  if (HasDuplicateIds(set)) return {SetError(set, place, "two rules with one id")};
  if (place == Scope::kFloor && set.rules.empty()) {
    return {SetError(set, place, "the floor is empty")};
  }
  OperationBudget budget(limits.operations_max);
  std::vector<Finding> findings;
  for (const Rule& rule : set.rules) {
    for (Finding& finding : EvaluateRule(rule, place, set.name, facts, budget)) {
      findings.push_back(std::move(finding));
    }
  }
  return findings;
}

// The floor's findings on both figures: the same rules, so the same number and order.
std::vector<Finding> EvaluateFloor(const RuleSet& floor, const UpdateFacts& facts,
                                   const CompositionLimits& limits) {
  std::vector<Finding> findings = EvaluateSet(floor, Scope::kFloor, facts.floor_alone, limits);
  if (&facts.floor_alone == &facts.final) return findings;
  std::vector<Finding> again = EvaluateSet(floor, Scope::kFloor, facts.final, limits);
  for (size_t i = 0; i < findings.size() && i < again.size(); ++i) {
    if (again[i].verdict > findings[i].verdict) findings[i] = std::move(again[i]);
  }
  return findings;
}

void Append(std::vector<Finding> more, std::vector<Finding>& findings) {
  std::move(more.begin(), more.end(), std::back_inserter(findings));
}

}  // namespace

Decision Decide(const RuleSet& floor, absl::Span<const RuleSet> packs, const RuleSet* profile,
                const UpdateFacts& facts, const CompositionLimits& limits) {
  Decision decision;
  decision.findings = EvaluateFloor(floor, facts, limits);
  for (const RuleSet& pack : packs) {
    Append(EvaluateSet(pack, Scope::kPack, facts.final, limits), decision.findings);
  }
  if (profile != nullptr) {
    Append(EvaluateSet(*profile, Scope::kPrincipal, facts.final, limits), decision.findings);
  }
  decision.verdict = Verdict::kAllow;
  for (const Finding& finding : decision.findings) {
    if (finding.verdict > decision.verdict) decision.reason = finding.reason;
    decision.verdict = Join(decision.verdict, finding.verdict);
    if (finding.verdict == Verdict::kOblige) decision.duties.insert(finding.duty);
    if (finding.verdict == Verdict::kProject) decision.projected_probes.insert(finding.probe);
  }
  return decision;
}

std::vector<ProjectedDirection> ProjectedDirections(absl::Span<const RuleSet> sets) {
  std::map<Uuid, int64_t> bounds;
  for (const RuleSet& set : sets) {
    for (const Rule& rule : set.rules) {
      const bool projects = rule.mode == RuleMode::kDefault || rule.mode == RuleMode::kProject;
      if (rule.kind != RuleKind::kValueDirection || !projects) continue;
      for (const Uuid& probe : rule.probes) {
        const auto [place, added] = bounds.try_emplace(probe, rule.bound);
        if (!added) place->second = std::min(place->second, rule.bound);
      }
    }
  }
  std::vector<ProjectedDirection> directions;
  for (const auto& [probe, eps] : bounds) directions.push_back({probe, eps});
  return directions;
}

std::vector<Uuid> ProbesToMeasure(absl::Span<const RuleSet> sets) {
  std::set<Uuid> probes;
  for (const RuleSet& set : sets) {
    for (const Rule& rule : set.rules) {
      if (rule.kind == RuleKind::kValueEffect || rule.kind == RuleKind::kGroupHarm) {
        probes.insert(rule.probes.begin(), rule.probes.end());
      }
      for (const Criterion& criterion : rule.criteria) probes.insert(criterion.probe);
    }
  }
  return {probes.begin(), probes.end()};
}

std::map<Uuid, int64_t> EarlyBounds(absl::Span<const RuleSet> sets) {
  std::map<Uuid, int64_t> bounds;
  std::set<Uuid> in_full;
  for (const RuleSet& set : sets) {
    for (const Rule& rule : set.rules) {
      for (const Criterion& criterion : rule.criteria) in_full.insert(criterion.probe);
      if (rule.kind == RuleKind::kValueDirection) continue;  // asks for no loss
      const bool own_effect =
          rule.kind == RuleKind::kValueEffect && set.scope == Scope::kPrincipal;
      for (const Uuid& probe : rule.probes) {
        if (!own_effect) {
          in_full.insert(probe);
        } else if (!bounds.try_emplace(probe, rule.bound).second && bounds[probe] != rule.bound) {
          in_full.insert(probe);
        }
      }
    }
  }
  for (const Uuid& probe : in_full) bounds.erase(probe);
  return bounds;
}

std::map<Uuid, int64_t> AggregateBounds(const RuleSet& floor) {
  std::map<Uuid, int64_t> bounds;
  for (const Rule& rule : floor.rules) {
    const bool fixed = rule.mode == RuleMode::kRefuse || rule.mode == RuleMode::kReview;
    if (rule.kind != RuleKind::kValueEffect || !fixed) continue;
    for (const Uuid& probe : rule.probes) {
      const int64_t eps = std::max<int64_t>(rule.bound, 0);
      const auto [at, fresh] = bounds.emplace(probe, eps);
      if (!fresh) at->second = std::min(at->second, eps);
    }
  }
  return bounds;
}

}  // namespace rochdale::filter
