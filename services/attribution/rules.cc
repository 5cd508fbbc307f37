#include "services/attribution/rules.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::attribution {

std::string ParametersToText(const config::ParameterSet& parameters) {
  std::string text;
  for (const auto& [name, value] : parameters.changed()) {
    absl::StrAppend(&text, name, "=", parameters.AsText(name), "\n");
  }
  return text;
}

absl::StatusOr<config::ParameterSet> ParametersFromText(absl::string_view text) {
  std::map<std::string, std::string> texts;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> one = absl::StrSplit(line, absl::MaxSplits('=', 1));
    texts.insert(one);
  }
  return config::ParameterSet::FromTexts(texts);
}

IntakeStep NextIntakeStep(RoundState state, int64_t now_us, int64_t deadline_us, bool close_early,
                          const IntakeProgress& progress) {
  if (now_us >= deadline_us) return IntakeStep::kMoveOn;
  if (!close_early) return IntakeStep::kWait;
  if (state == RoundState::kReveal) {
    return progress.committed_all > 0 && progress.received >= progress.committed_all
               ? IntakeStep::kMoveOn
               : IntakeStep::kWait;
  }
  return progress.expected > 0 && progress.committed >= progress.expected ? IntakeStep::kMoveOn
                                                                          : IntakeStep::kWait;
}

absl::Duration LengthOf(RoundState state, const config::ParameterSet& parameters) {
  switch (state) {
    case RoundState::kPreparing:
    case RoundState::kOpen: return parameters.Duration("round.open_ms");
    case RoundState::kCommit: return parameters.Duration("round.commit_ms");
    case RoundState::kReveal: return parameters.Duration("round.reveal_ms");
    case RoundState::kScreen: return parameters.Duration("round.screen_ms");
    case RoundState::kEvaluate: return parameters.Duration("round.evaluate_ms");
    case RoundState::kApply: return parameters.Duration("round.apply_ms");
    case RoundState::kClosed:
    case RoundState::kAbandoned: return absl::ZeroDuration();
  }
  return absl::ZeroDuration();
}

bool MayFollow(RoundState from, RoundState to) {
  if (from >= RoundState::kClosed) return false;
  if (to == RoundState::kAbandoned) return true;
  return static_cast<int>(to) == static_cast<int>(from) + 1;
}

GameRule GameRuleOf(const config::ParameterSet& parameters, int contributors,
                    const learning::ModelSpec& model) {
  GameRule rule;
  rule.deadband_nanonats = model.torchscript.deadband_nanonats;
  rule.preset = parameters.Text("credit.preset") == "literal" ? learning::CreditPreset::kLiteral
                                                              : learning::CreditPreset::kHardened;
  const std::string& name = parameters.Text("credit.estimator");
  // "shapley_sampled" is another name of "shapley", which is exact where that is affordable.
  Estimator wanted = ParseEstimator(name).value_or(Estimator::kShapley);
  if (name == "shapley_or_solo" && contributors > learning::kExactShapleyMax) {
    wanted = Estimator::kSolo;
  }
  rule.estimator = PaidEstimator(rule.preset, wanted, contributors);
  rule.z_gate_micro = parameters.Micro("credit.z_gate_micro");
  rule.z_bound_micro = parameters.Micro("credit.z_bound_micro");
  rule.sampling.pairs_min = static_cast<int>(parameters.Int("credit.sampled_pairs_min"));
  rule.sampling.pairs_max = static_cast<int>(parameters.Int("credit.sampled_pairs_max"));
  rule.sampling.error_max_nanonats = parameters.Int("credit.sampled_error_max_nanonats");
  return rule;
}

learning::Aggregation AggregationOf(const config::ParameterSet& parameters,
                                    const std::vector<RoundUpdate>& contributors) {
  learning::Aggregation aggregation;
  aggregation.rule = learning::ParseAggregationRule(parameters.Text("aggregation.rule"))
                         .value_or(learning::AggregationRule::kMean);
  if (aggregation.rule == learning::AggregationRule::kTrimmedMean ||
      aggregation.rule == learning::AggregationRule::kMultiKrum) {
    aggregation.trim_bp = parameters.BasisPoints("aggregation.trim_bp");
  }
  if (!learning::IsWeighted(aggregation.rule)) return aggregation;
  for (const RoundUpdate& update : contributors) aggregation.shares.push_back(update.share);
  return aggregation;
}

learning::Aggregation ProbeAggregationOf(const config::ParameterSet& parameters,
                                         const std::vector<RoundUpdate>& updates) {
  const learning::Aggregation aggregation = AggregationOf(parameters, updates);
  return learning::IsLinear(aggregation.rule) ? aggregation : learning::Aggregation();
}

EarlyRule EarlyRuleOf(const config::ParameterSet& parameters) {
  return {parameters.Micro("admission.early_error_micro"),
          parameters.Int("admission.early_rows_min")};
}

int64_t ReleasedLoss(const RoundRecord& round, int64_t now_us) {
  if (!round.visible_loss || !round.closed_us) return 0;
  const auto parameters = ParametersFromText(round.parameters);
  if (!parameters.ok()) return 0;
  const absl::Duration delay = parameters->Duration("validation.score_delay_ms");
  // Without a delay whoever sees the round closed sees its loss: a call's time is that of its
  // beginning, and the round may have closed since.
  const bool waits = delay > absl::ZeroDuration();
  if (waits && now_us < *round.closed_us + absl::ToInt64Microseconds(delay)) return 0;
  const int64_t quantum = parameters->Int("score.quantum_nanonats");
  return (*round.visible_loss + quantum / 2) / quantum * quantum;
}

bool LooksOverfit(int64_t visible_gain_nanonats, int64_t settlement_gain_nanonats) {
  constexpr int64_t kNoticeable = 10'000'000;
  if (visible_gain_nanonats < kNoticeable) return false;
  return settlement_gain_nanonats < visible_gain_nanonats / 3;
}

int64_t MeanLoss(absl::Span<const int64_t> losses) {
  if (losses.empty()) return 0;
  return static_cast<int64_t>(LossSum(losses) / static_cast<int64_t>(losses.size()));
}

}  // namespace rochdale::attribution
