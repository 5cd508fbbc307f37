#include "libs/learning/aggregation.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::learning {
namespace {

constexpr AggregationRule kRules[] = {
    AggregationRule::kMean,        AggregationRule::kSampleWeighted,
    AggregationRule::kCreditWeighted, AggregationRule::kTrimmedMean,
    AggregationRule::kMedian,      AggregationRule::kMultiKrum,
};

// Parameters of robust coalitions that are held at a time: 64 MiB.
constexpr int64_t kHeldParametersMax = int64_t{1} << 24;

absl::Status Malformed(absl::string_view what) {
  return Error("BAD_REQUEST", absl::StrCat("aggregation: ", what, " is missing or malformed"));
}

bool UsesTrim(AggregationRule rule) {
  return rule == AggregationRule::kTrimmedMean || rule == AggregationRule::kMultiKrum;
}

std::vector<int> MembersOf(uint64_t mask, int updates) {
  std::vector<int> members;
  for (int i = 0; i < updates; ++i) {
    if (mask >> i & 1) members.push_back(i);
  }
  return members;
}

// Which ranks of the sorted values of a coalition of `size` are kept: [first, last).
std::pair<int, int> KeptRanks(AggregationRule rule, int size, int64_t trim_bp) {
  if (rule == AggregationRule::kMedian && size >= 3) return {(size - 1) / 2, size / 2 + 1};
  if (rule == AggregationRule::kTrimmedMean) {
    const int dropped = static_cast<int>(size * trim_bp / 10'000);
    return {dropped, size - dropped};
  }
  return {0, size};
}

}  // namespace

absl::string_view AggregationRuleName(AggregationRule rule) {
  switch (rule) {
    case AggregationRule::kMean: return "mean";
    case AggregationRule::kSampleWeighted: return "sample_weighted";
    case AggregationRule::kCreditWeighted: return "credit_weighted";
    case AggregationRule::kTrimmedMean: return "trimmed_mean";
    case AggregationRule::kMedian: return "median";
    case AggregationRule::kMultiKrum: return "multi_krum";
  }
  return "";
}

absl::StatusOr<AggregationRule> ParseAggregationRule(absl::string_view name) {
  for (const AggregationRule rule : kRules) {
    if (AggregationRuleName(rule) == name) return rule;
  }
  return Error("BAD_REQUEST", absl::StrCat("no rule of aggregation is named ",
                                           name.substr(0, 100)));
}

bool IsLinear(AggregationRule rule) {
  return rule == AggregationRule::kMean || IsWeighted(rule);
}

bool IsWeighted(AggregationRule rule) {
  return rule == AggregationRule::kSampleWeighted || rule == AggregationRule::kCreditWeighted;
}

std::string AggregationToJson(const Aggregation& aggregation) {
  return absl::StrCat("{\"rule\":\"", AggregationRuleName(aggregation.rule), "\",\"shares\":[",
                      absl::StrJoin(aggregation.shares, ","), "],\"trim_bp\":",
                      aggregation.trim_bp, "}");
}

absl::StatusOr<Aggregation> ParseAggregation(absl::string_view text, int64_t updates) {
  const auto json = nlohmann::json::parse(text.begin(), text.end(), nullptr,
                                          /*allow_exceptions=*/false);
  if (!json.is_object() || json.size() != 3) return Malformed("a member");
  if (!json.contains("rule") || !json["rule"].is_string()) return Malformed("rule");
  Aggregation aggregation;
  ASSIGN_OR_RETURN(aggregation.rule, ParseAggregationRule(json["rule"].get<std::string>()));
  if (!json.contains("trim_bp") || !json["trim_bp"].is_number_unsigned()) {
    return Malformed("trim_bp");
  }
  const auto trim_bp = json["trim_bp"].get<uint64_t>();
  if (trim_bp > kTrimBpMax || (trim_bp != 0 && !UsesTrim(aggregation.rule))) {
    return Malformed("trim_bp");
  }
  aggregation.trim_bp = static_cast<int64_t>(trim_bp);
  if (!json.contains("shares") || !json["shares"].is_array()) return Malformed("shares");
  const int64_t expected = IsWeighted(aggregation.rule) ? updates : 0;
  if (static_cast<int64_t>(json["shares"].size()) != expected) return Malformed("shares");
  uint64_t sum = 0;
  for (const auto& share : json["shares"]) {
    if (!share.is_number_unsigned() || share.get<uint64_t>() > uint64_t{kShareUnit}) {
      return Malformed("shares");
    }
    aggregation.shares.push_back(share.get<int64_t>());
    sum += share.get<uint64_t>();
    if (sum > uint64_t{kShareUnit}) return Malformed("shares");
  }
  return aggregation;
}

std::vector<int64_t> WeightShares(AggregationRule rule, absl::Span<const int64_t> sizes) {
  const auto count = static_cast<int64_t>(sizes.size());
  __int128 sum = 0;
  for (const int64_t size : sizes) sum += size;
  const int64_t equal = sum == 0                                    ? kShareUnit
                        : rule == AggregationRule::kCreditWeighted ? kShareUnit / 2
                                                                    : 0;
  std::vector<int64_t> shares;
  for (const int64_t size : sizes) {
    int64_t share = equal / count;
    if (sum > 0) share += static_cast<int64_t>(static_cast<__int128>(size) *
                                               (kShareUnit - equal) / sum);
    shares.push_back(share);
  }
  return shares;
}

GridVector PrepareUpdate(const Aggregation& aggregation, int64_t lineages, size_t index,
                         GridSpan effective) {
  if (!IsLinear(aggregation.rule)) return GridVector(effective.begin(), effective.end());
  if (!IsWeighted(aggregation.rule)) return WeightUpdate(effective, 1, lineages);
  return WeightUpdate(effective, aggregation.shares.at(index), kShareUnit);
}

Aggregator::Aggregator(AggregationRule rule, int64_t trim_bp, int64_t lineages, GridSpan base,
                       std::vector<GridSpan> prepared)
    : rule_(rule),
      trim_bp_(trim_bp),
      lineages_(lineages),
      base_(base),
      prepared_(std::move(prepared)) {}

void Aggregator::FindDistances() {
  const size_t count = prepared_.size();
  distances_.assign(count * count, 0);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = i + 1; j < count; ++j) {
      unsigned __int128 sum = 0;
      for (size_t p = 0; p < base_.size(); ++p) {
        const int64_t difference = int64_t{prepared_[i][p]} - prepared_[j][p];
        sum += static_cast<uint64_t>(difference * difference);
      }
      distances_[i * count + j] = distances_[j * count + i] = sum;
    }
  }
}

// The members that multi-Krum keeps.
std::vector<int> Aggregator::Krum(const std::vector<int>& members) {
  const int size = static_cast<int>(members.size());
  const int adversaries = static_cast<int>(size * trim_bp_ / 10'000);
  if (adversaries == 0 || size < 2 * adversaries + 3) return members;
  if (distances_.empty()) FindDistances();
  std::vector<std::pair<unsigned __int128, int>> scores;
  for (const int i : members) {
    std::vector<unsigned __int128> others;
    for (const int j : members) {
      if (j != i) others.push_back(distances_[i * prepared_.size() + j]);
    }
    std::sort(others.begin(), others.end());
    const auto end = others.begin() + (size - adversaries - 2);
    scores.emplace_back(std::accumulate(others.begin(), end, static_cast<unsigned __int128>(0)), i);
  }
  std::sort(scores.begin(), scores.end());
  std::vector<int> kept;
  for (int i = 0; i < size - adversaries; ++i) kept.push_back(scores[i].second);
  return kept;
}

GridVector Aggregator::Parameters(uint64_t mask) {
  if (IsLinear(rule_)) return ApplyUpdates(base_, prepared_, mask);
  std::vector<int> members = MembersOf(mask, static_cast<int>(prepared_.size()));
  const int64_t weight = static_cast<int64_t>(members.size());
  if (rule_ == AggregationRule::kMultiKrum) members = Krum(members);
  const int size = static_cast<int>(members.size());
  const auto [first, last] = KeptRanks(rule_, size, trim_bp_);
  GridVector parameters(base_.begin(), base_.end());
  if (size == 0) return parameters;
  std::vector<int32_t> values(size);
  for (size_t p = 0; p < parameters.size(); ++p) {
    for (int m = 0; m < size; ++m) values[m] = prepared_[members[m]][p];
    if (last - first < size) std::sort(values.begin(), values.end());
    const int64_t sum = std::accumulate(values.begin() + first, values.begin() + last, int64_t{0});
    const int64_t step = DivideHalfEven(sum * weight, (last - first) * lineages_);
    parameters[p] = static_cast<int32_t>(
        std::clamp<int64_t>(parameters[p] + step, -kGridMax, kGridMax));
  }
  return parameters;
}

absl::StatusOr<LossMatrix> Aggregator::Evaluate(Evaluator& evaluator, const ModelSpec& spec,
                                                absl::Span<const uint64_t> masks, Rows rows,
                                                const EvaluationOptions& options) {
  if (IsLinear(rule_)) {
    return evaluator.EvaluateCoalitions(spec, base_, prepared_, masks, rows, options);
  }
  for (const uint64_t mask : masks) {
    if (mask >> prepared_.size() != 0) {
      return Error("BAD_REQUEST", "a coalition has an update that there is not");
    }
  }
  const int64_t held = std::max<int64_t>(
      kHeldParametersMax / std::max<int64_t>(static_cast<int64_t>(base_.size()), 1), 1);
  LossMatrix all{static_cast<int64_t>(masks.size()), rows.count(), {}};
  for (int64_t begin = 0; begin < all.candidates; begin += held) {
    const int64_t end = std::min(begin + held, all.candidates);
    std::vector<GridVector> parameters;
    for (int64_t c = begin; c < end; ++c) parameters.push_back(Parameters(masks[c]));
    const std::vector<GridSpan> candidates(parameters.begin(), parameters.end());
    absl::StatusOr<LossMatrix> some =
        evaluator.EvaluateCheckpoints(spec, candidates, rows, options);
    if (!some.ok()) {
      if (options.violation != nullptr && *options.violation) {
        (*options.violation)->candidate += begin;
      }
      return some.status();
    }
    all.losses.insert(all.losses.end(), some->losses.begin(), some->losses.end());
  }
  return all;
}

}  // namespace rochdale::learning
