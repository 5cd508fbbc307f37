// Composition: floor, packs and profile together, where narrower scopes can only add.
//
// The verdict is the join over all findings; duties and projections are unions. There is no
// override, no priority and no exception. Sets share nothing: each has its own budget, and the
// floor is judged on its own figures, so that no pack and no profile can make it milder:
//   Decide(floor + packs).verdict >= Decide(floor).verdict.
// Pure: the same rules and facts give the same decision, finding by finding.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/base/ids.h"
#include "services/filter/rule.h"
#include "services/filter/verdict.h"

namespace rochdale::filter {

// Of the rules' meaning: a decision made again under another version may differ.
inline constexpr absl::string_view kEngineVersion = "filter-rules/1";

struct RuleSet {
  Scope scope = Scope::kFloor;
  std::string name;            // of a pack; empty for the floor and the profile
  std::vector<Rule> rules;
};

// Per set.
struct CompositionLimits {
  size_t rules_max = 256;
  int64_t operations_max = 100'000;
};

// An update as the floor alone would admit it, and as all scopes together would. They differ only
// where a pack or a profile projects further; then the floor is judged on both and the stricter
// finding counts. Otherwise pass the same facts twice.
struct UpdateFacts {
  const Facts& floor_alone;
  const Facts& final;
};

struct Decision {
  Verdict verdict = Verdict::kDeny;
  std::vector<Finding> findings;       // floor, packs in the order given, profile; rule by rule
  std::set<std::string> duties;        // of an admission: all of them are owed
  std::set<Uuid> projected_probes;     // of an admission: those that cut the update
  std::string reason;                  // of the first finding with the verdict; empty on ALLOW

  // ALLOW, PROJECT or OBLIGE.
  bool IsAdmitted() const { return verdict <= Verdict::kOblige; }
  bool operator==(const Decision&) const = default;
};

// `floor` must hold at least one rule: an empty one denies with RULE_ERROR, for a cooperative
// without a floor is one whose floor did not arrive. A set whose scope is not what its place says,
// with more than rules_max rules or two rules of one id is one finding with RULE_ERROR (and denies
// or asks for review as that place demands). `profile` may be null where none is required.
Decision Decide(const RuleSet& floor, absl::Span<const RuleSet> packs, const RuleSet* profile,
                const UpdateFacts& facts, const CompositionLimits& limits = {});

// Probes whose direction must be projected: the union over all scopes, each with the strictest
// bound (millionths), in the order of their ids.
struct ProjectedDirection {
  Uuid probe;
  int64_t eps_micro = 0;
  bool operator==(const ProjectedDirection&) const = default;
};
std::vector<ProjectedDirection> ProjectedDirections(absl::Span<const RuleSet> sets);

// Probes whose losses the rules of these sets need, in the order of their ids.
std::vector<Uuid> ProbesToMeasure(absl::Span<const RuleSet> sets);

// Of these probes, those whose measuring may stop early, with the bound that it has to decide: a
// probe that only VALUE_EFFECT rules of principals' sets name, all with one bound.
std::map<Uuid, int64_t> EarlyBounds(absl::Span<const RuleSet> sets);

// By probe: how far the floor lets the round's step as a whole raise its loss. Rules of the default
// mode hold an update against the round's others; for the step of all there are no others.
std::map<Uuid, int64_t> AggregateBounds(const RuleSet& floor);

}  // namespace rochdale::filter
