// One typed rule, and what it finds about one update.
//
// Every measured value and every threshold is an int64 in the unit of the rule's kind, rounded so
// that the rule is violated exactly if measured > threshold (fit: measured < threshold). So a
// decision can be made again from what was recorded, anywhere, and comes out the same. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "services/filter/effect.h"
#include "services/filter/originality.h"
#include "services/filter/verdict.h"

namespace rochdale::filter {

// The numbers are those of the wire.
enum class RuleKind : uint8_t {
  kIntegrity = 1,
  kMagnitude = 2,
  kAuthority = 3,
  kOriginality = 4,
  kValueDirection = 5,
  kValueEffect = 6,
  kGroupHarm = 7,
  kFit = 8,
};
absl::string_view RuleKindName(RuleKind kind);  // "INTEGRITY", ...

// What happens when a rule is violated; the numbers are those of the wire.
enum class RuleMode : uint8_t {
  kDefault = 0,  // value direction: project; a value effect that is not a principal's: review
                 // against the round; everything else: refuse
  kRefuse = 1,
  kProject = 2,  // value direction only
  kReview = 3,
  kOblige = 4,   // admit, with the rule's duty
};

enum class Unit : uint8_t { kNone, kMicro, kNanoNats };

inline constexpr size_t kProbesPerRuleMax = 16;

struct Rule {
  std::string id;              // unique within its set
  int64_t version = 1;
  RuleKind kind = RuleKind::kIntegrity;
  RuleMode mode = RuleMode::kDefault;
  std::vector<Uuid> probes;    // of the value kinds
  // Nano-nats for value effect and group harm; millionths for magnitude (k), value direction
  // (eps), fit (the least fit) and originality (R1).
  int64_t bound = 0;
  int64_t ev_bound_micro = 950'000;   // originality: EV
  std::vector<Criterion> criteria;    // fit: those of the round's scenario
  std::string duty;                   // mode oblige: what is owed
};

// What was measured about one update at one probe.
struct ProbeFacts {
  Uuid probe;
  std::optional<ProbeLoss> loss;
  std::vector<ProbeLoss> groups;             // of a probe that declares groups
  std::optional<RoundEffect> round;          // of the cooperative's probes
  // Direction: with the gradient at the base checkpoint.
  struct Direction {
    double clipped_dot = 0;                  // of the clipped update
    double effective_dot = 0;                // of the effective update
    double gradient_norm = 0;
  };
  std::optional<Direction> direction;
};

// Everything that the rules may know about one update. What is absent was not measured; a rule
// that needs it errs.
struct Facts {
  absl::Status integrity = absl::UnknownError("not checked");
  absl::Status authority = absl::UnknownError("not checked");
  std::optional<absl::uint128> norm_squared;         // submitted, units of 2^-40
  std::optional<absl::uint128> median_squared;       // lower median of the round
  std::optional<OriginalityResult> originality;
  double clipped_norm = 0;                           // of the clipped update
  uint64_t elements = 0;
  std::vector<ProbeFacts> probes;                    // in any order, each probe once

  const ProbeFacts* Find(const Uuid& probe) const;   // nullptr if absent
};

// What one rule says about one update (about one probe, for the value kinds).
struct Finding {
  std::string rule_id;
  int64_t rule_version = 0;
  Scope scope = Scope::kFloor;
  std::string set;               // which pack; empty for the floor and the profile
  RuleKind kind = RuleKind::kIntegrity;
  Verdict verdict = Verdict::kAllow;
  Unit unit = Unit::kNone;
  std::optional<int64_t> measured;
  std::optional<int64_t> threshold;
  std::string reason;            // of the list of errors; empty on ALLOW
  Uuid probe;                    // zero where the rule is about none
  int64_t rows = 0;              // that `measured` stands on, where measuring stopped early
  int64_t of_rows = 0;           // of the probe, above `rows`; both 0: it stands on all
  std::string duty;              // on OBLIGE
  std::string advice;            // what the agent can do; empty on ALLOW

  bool operator==(const Finding&) const = default;
};

// Operations that the rules of one set may spend: a count, never a time, so that a decision can be
// made again.
class OperationBudget {
 public:
  explicit OperationBudget(int64_t operations) : left_(operations) {}
  // RULE_ERROR where fewer are left; nothing is spent then.
  absl::Status Spend(int64_t operations);
  int64_t left() const { return left_; }

 private:
  int64_t left_;
};

// All findings of one rule: one, or one per probe in the order of the rule. Never empty, never
// skipped: what errs, lacks data or exceeds the budget is a finding with RULE_ERROR and
// OnError(scope).
std::vector<Finding> EvaluateRule(const Rule& rule, Scope scope, absl::string_view set,
                                  const Facts& facts, OperationBudget& budget);

}  // namespace rochdale::filter
