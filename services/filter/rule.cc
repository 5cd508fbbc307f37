#include "services/filter/rule.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "services/filter/clipping.h"
#include "services/filter/direction.h"

namespace rochdale::filter {
namespace {

// Operations of one finding, besides one per group or criterion.
constexpr int64_t kFindingOperations = 1;

// What was measured against what, before a verdict is made of it.
struct Test {
  Unit unit = Unit::kNone;
  std::optional<int64_t> measured;
  std::optional<int64_t> threshold;
  bool violated = false;
  Verdict on_violation = Verdict::kDeny;
  std::string reason;
  std::string advice;
  int64_t rows = 0;     // as in Finding
  int64_t of_rows = 0;
};

absl::Status Lacking(absl::string_view what) {
  return Error("RULE_ERROR", absl::StrCat("not measured: ", what));
}

absl::StatusOr<Verdict> OnViolation(const Rule& rule) {
  switch (rule.mode) {
    case RuleMode::kDefault:
      return rule.kind == RuleKind::kValueDirection ? Verdict::kProject : Verdict::kDeny;
    case RuleMode::kRefuse: return Verdict::kDeny;
    case RuleMode::kReview: return Verdict::kReview;
    case RuleMode::kOblige: return Verdict::kOblige;
    case RuleMode::kProject:
      if (rule.kind == RuleKind::kValueDirection) return Verdict::kProject;
      return Error("RULE_ERROR", "only a value direction can be projected");
  }
  return Error("RULE_ERROR", "unknown mode");
}

Test Above(Unit unit, int64_t measured, int64_t threshold, Verdict on_violation,
           absl::string_view reason, absl::string_view advice) {
  return {unit, measured, threshold, measured > threshold, on_violation, std::string(reason),
          std::string(advice)};
}

// Integrity and authority were checked before; the rule repeats what they found.
Test Checked(const absl::Status& status, Verdict on_violation) {
  Test test;
  test.violated = !status.ok();
  test.on_violation = on_violation;
  test.reason = ReasonOf(status);
  if (test.reason.empty()) test.reason = "RULE_ERROR";
  test.advice = std::string(status.message());
  return test;
}

absl::StatusOr<Test> Magnitude(const Rule& rule, const Facts& facts, Verdict on_violation) {
  if (!facts.norm_squared || !facts.median_squared) return Lacking("the norms of the round");
  return Above(Unit::kMicro, NormRatioMicro(*facts.norm_squared, *facts.median_squared),
               rule.bound, on_violation, "MAGNITUDE",
               "Train for fewer steps or with a smaller rate: the update is too long.");
}

absl::StatusOr<Test> IsOriginal(const Rule& rule, const Facts& facts, Verdict on_violation) {
  if (!facts.originality) return Lacking("originality");
  const OriginalityResult& found = *facts.originality;
  constexpr absl::string_view kAdvice =
      "An earlier commitment has the same content; train on your own data.";
  // EV decides only where R1 does not, so that one pair of numbers explains the verdict.
  const bool mixture = found.r1_micro <= rule.bound && found.ev_micro > rule.ev_bound_micro;
  return Above(Unit::kMicro, mixture ? found.ev_micro : found.r1_micro,
               mixture ? rule.ev_bound_micro : rule.bound, on_violation, "ORIGINALITY", kAdvice);
}

absl::StatusOr<Test> Direction(const Rule& rule, const Facts& facts, const ProbeFacts& probe,
                               Verdict on_violation) {
  if (!probe.direction) return Lacking("the direction at a probe");
  const ProbeFacts::Direction& found = *probe.direction;
  const auto micro = [&](double dot) {
    return DirectionMicro(dot, facts.clipped_norm, found.gradient_norm);
  };
  const double slack =
      DirectionSlack(facts.clipped_norm, found.gradient_norm, facts.elements);
  constexpr absl::string_view kAdvice =
      "The part of the update that raises this probe's loss does not pass.";
  if (on_violation != Verdict::kProject) {
    return Above(Unit::kMicro, micro(found.effective_dot), rule.bound, on_violation,
                 "VALUE_DIRECTION", kAdvice);
  }
  if (micro(found.effective_dot - slack) > rule.bound) {
    return Error("RULE_ERROR", "the projected update still violates a direction");
  }
  return Above(Unit::kMicro, micro(found.clipped_dot), rule.bound, on_violation,
               "VALUE_DIRECTION", kAdvice);
}

absl::StatusOr<Test> Effect(const Rule& rule, Scope scope, const ProbeFacts& probe,
                            Verdict on_violation) {
  if (!probe.loss) return Lacking("a probe's loss");
  // Only what a principal asks for itself may hang on some of the rows.
  const bool early = probe.loss->IsEarly();
  if (early && scope != Scope::kPrincipal) return Lacking("a probe's loss on all rows");
  ASSIGN_OR_RETURN(const int64_t rise, LossRise(*probe.loss));
  constexpr absl::string_view kAdvice =
      "The update makes this probe's loss rise; leave out or correct the data behind it.";
  if (rule.mode == RuleMode::kDefault && scope != Scope::kPrincipal) {
    // No fixed bound tells a breaker from an honest agent that lacks the class: a person looks.
    if (!probe.round) return Lacking("a probe's losses in the round");
    return Above(Unit::kNanoNats, rise, ReviewThreshold(*probe.round, rule.bound),
                 Verdict::kReview, "VALUE_EFFECT", kAdvice);
  }
  Test test = Above(Unit::kNanoNats, rise, rule.bound, on_violation, "VALUE_EFFECT", kAdvice);
  if (early) {
    test.rows = probe.loss->rows;
    test.of_rows = probe.loss->of_rows;
  }
  return test;
}

absl::StatusOr<Test> Harm(const Rule& rule, const ProbeFacts& probe, Verdict on_violation,
                          OperationBudget& budget) {
  RETURN_IF_ERROR(budget.Spend(static_cast<int64_t>(probe.groups.size())));
  if (probe.groups.empty()) return Lacking("the losses of a probe's groups");
  ASSIGN_OR_RETURN(const int64_t rise, GapRise(probe.groups));
  return Above(Unit::kNanoNats, rise, rule.bound, on_violation, "GROUP_HARM",
               "The update widens the gap between declared groups.");
}

absl::StatusOr<Test> Fit(const Rule& rule, const Facts& facts, Verdict on_violation,
                         OperationBudget& budget) {
  RETURN_IF_ERROR(budget.Spend(static_cast<int64_t>(rule.criteria.size())));
  std::vector<ProbeLoss> losses;
  for (const Criterion& criterion : rule.criteria) {
    const ProbeFacts* const probe = facts.Find(criterion.probe);
    if (probe == nullptr || !probe->loss || probe->loss->IsEarly()) {
      return Lacking("the loss of a criterion, on all rows");
    }
    losses.push_back(*probe->loss);
  }
  ASSIGN_OR_RETURN(const int64_t fit, FitMicro(rule.criteria, losses));
  Test test = Above(Unit::kMicro, fit, rule.bound, on_violation, "VALUE_FIT",
                    "The update does not serve the profile's own criteria.");
  test.violated = fit < rule.bound;
  return test;
}

bool IsAboutProbes(RuleKind kind) {
  return kind == RuleKind::kValueDirection || kind == RuleKind::kValueEffect ||
         kind == RuleKind::kGroupHarm;
}

// `probe` is null for the kinds that are about none.
absl::StatusOr<Test> TestRule(const Rule& rule, Scope scope, const Facts& facts,
                              const ProbeFacts* probe, OperationBudget& budget) {
  RETURN_IF_ERROR(budget.Spend(kFindingOperations));
  ASSIGN_OR_RETURN(const Verdict on_violation, OnViolation(rule));
  switch (rule.kind) {
    case RuleKind::kIntegrity: return Checked(facts.integrity, on_violation);
    case RuleKind::kAuthority: return Checked(facts.authority, on_violation);
    case RuleKind::kMagnitude: return Magnitude(rule, facts, on_violation);
    case RuleKind::kOriginality: return IsOriginal(rule, facts, on_violation);
    case RuleKind::kFit: return Fit(rule, facts, on_violation, budget);
    case RuleKind::kValueDirection:
    case RuleKind::kValueEffect:
    case RuleKind::kGroupHarm: break;
  }
  if (!IsAboutProbes(rule.kind)) return Error("RULE_ERROR", "unknown kind of rule");
  if (probe == nullptr) return Lacking("a probe");
  if (rule.kind == RuleKind::kValueDirection) return Direction(rule, facts, *probe, on_violation);
  if (rule.kind == RuleKind::kValueEffect) return Effect(rule, scope, *probe, on_violation);
  return Harm(rule, *probe, on_violation, budget);
}

Finding ToFinding(const Rule& rule, Scope scope, absl::string_view set,
                  const absl::StatusOr<Test>& test, const Uuid& probe) {
  Finding finding;
  finding.rule_id = rule.id;
  finding.rule_version = rule.version;
  finding.scope = scope;
  finding.set = std::string(set);
  finding.kind = rule.kind;
  finding.probe = probe;
  if (!test.ok()) {
    finding.verdict = OnError(scope);
    finding.reason = "RULE_ERROR";
    finding.advice = std::string(test.status().message());
    return finding;
  }
  finding.unit = test->unit;
  finding.measured = test->measured;
  finding.threshold = test->threshold;
  finding.rows = test->rows;
  finding.of_rows = test->of_rows;
  if (!test->violated) return finding;
  finding.verdict = test->on_violation;
  finding.reason = test->reason;
  finding.advice = test->advice;
  if (finding.verdict == Verdict::kOblige) finding.duty = rule.duty;
  return finding;
}

}  // namespace

absl::string_view RuleKindName(RuleKind kind) {
  switch (kind) {
    case RuleKind::kIntegrity: return "INTEGRITY";
    case RuleKind::kMagnitude: return "MAGNITUDE";
    case RuleKind::kAuthority: return "AUTHORITY";
    case RuleKind::kOriginality: return "ORIGINALITY";
    case RuleKind::kValueDirection: return "VALUE_DIRECTION";
    case RuleKind::kValueEffect: return "VALUE_EFFECT";
    case RuleKind::kGroupHarm: return "GROUP_HARM";
    case RuleKind::kFit: return "FIT";
  }
  return "?";
}

const ProbeFacts* Facts::Find(const Uuid& probe) const {
  const auto found = std::find_if(probes.begin(), probes.end(),
                                  [&](const ProbeFacts& facts) { return facts.probe == probe; });
  return found == probes.end() ? nullptr : &*found;
}

absl::Status OperationBudget::Spend(int64_t operations) {
  if (operations > left_) return Error("RULE_ERROR", "the rules exceed their budget");
  left_ -= operations;
  return absl::OkStatus();
}

std::vector<Finding> EvaluateRule(const Rule& rule, Scope scope, absl::string_view set,
                                  const Facts& facts, OperationBudget& budget) {
  if (!IsAboutProbes(rule.kind)) {
    return {ToFinding(rule, scope, set, TestRule(rule, scope, facts, nullptr, budget), Uuid{})};
  }
  if (rule.probes.empty() || rule.probes.size() > kProbesPerRuleMax) {
    return {ToFinding(rule, scope, set,
                      Error("RULE_ERROR", "the rule names no probe, or too many"), Uuid{})};
  }
  std::vector<Finding> findings;
  for (const Uuid& probe : rule.probes) {
    findings.push_back(ToFinding(
        rule, scope, set, TestRule(rule, scope, facts, facts.Find(probe), budget), probe));
  }
  return findings;
}

}  // namespace rochdale::filter
