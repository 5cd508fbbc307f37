// What a round does next, and the numbers that follow from what was measured: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/config/parameters.h"
#include "services/attribution/early.h"
#include "services/attribution/game.h"
#include "services/attribution/records.h"
#include "services/attribution/run_spec.h"

namespace rochdale::attribution {

// What governs a round, kept with it as text from its opening on: "name=value" lines of what
// differs from the defaults.
std::string ParametersToText(const config::ParameterSet& parameters);
absl::StatusOr<config::ParameterSet> ParametersFromText(absl::string_view text);

// How far agents have come.
struct IntakeProgress {
  int64_t expected = 0;   // principals who may commit now
  int64_t committed = 0;  // of these, or more
  int64_t committed_all = 0;  // updates that were committed to
  int64_t received = 0;   // of these, revealed and whole
};

enum class IntakeStep { kWait, kMoveOn };

// Whether OPEN, COMMIT or REVEAL ends now: at its deadline, or (close_early) once everybody that is
// expected has acted.
IntakeStep NextIntakeStep(RoundState state, int64_t now_us, int64_t deadline_us, bool close_early,
                          const IntakeProgress& progress);

// How long a state lasts.
absl::Duration LengthOf(RoundState state, const config::ParameterSet& parameters);

// Whether a state may be followed by another.
bool MayFollow(RoundState from, RoundState to);

// `model` has a deadband where it is a module.
GameRule GameRuleOf(const config::ParameterSet& parameters, int contributors,
                    const learning::ModelSpec& model = {});

// How updates become a step: the rule and its numbers, with the shares of `contributors` where it
// has weights.
learning::Aggregation AggregationOf(const config::ParameterSet& parameters,
                                    const std::vector<RoundUpdate>& contributors);
// The same for measuring single updates at their weight: robust rules as the mean.
learning::Aggregation ProbeAggregationOf(const config::ParameterSet& parameters,
                                         const std::vector<RoundUpdate>& updates);

// How measuring for admission stops early.
EarlyRule EarlyRuleOf(const config::ParameterSet& parameters);

// The visible score as released: rounded half up to the quantum; 0 before its delay is over or
// where there is none.
int64_t ReleasedLoss(const RoundRecord& round, int64_t now_us);

// Improvement on visible rows that the held-out rows do not show: the visible mean fell by more
// than three times as much as the settlement mean, and by more than 10 mega-nano-nats (0.01 nats).
bool LooksOverfit(int64_t visible_gain_nanonats, int64_t settlement_gain_nanonats);

// floor(sum / rows).
int64_t MeanLoss(absl::Span<const int64_t> losses);

}  // namespace rochdale::attribution
