#include "libs/config/parameters.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/errors.h"

namespace rochdale::config {
namespace {

constexpr int64_t kSecond = 1'000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kAll = 10'000;  // basis points
constexpr int64_t kMoneyMax = 1'000'000'000'000'000;  // micro-tokens: the largest supply
constexpr int64_t kPriceMax = 1'000'000'000'000;      // micro-tokens for one unit of something

using enum ParameterType;
using enum ParameterScope;
using enum Tightening;

std::vector<ParameterInfo> Table() {
  // name, type, default, min, max, scope, tightening, help, choices
  return {
      // Rounds (attribution).
      {"round.open_ms", kDurationMs, kHour, 100, 30 * kDay, kCooperative, kNone,
       "How long a round stays OPEN: agents fetch the checkpoint and train."},
      {"round.commit_ms", kDurationMs, 15 * kMinute, 100, 7 * kDay, kCooperative, kNone,
       "How long commitments are taken."},
      {"round.reveal_ms", kDurationMs, 15 * kMinute, 100, 7 * kDay, kCooperative, kNone,
       "How long committed updates may be uploaded."},
      {"round.screen_ms", kDurationMs, 15 * kMinute, 100, 7 * kDay, kCooperative, kNone,
       "Deadline of SCREEN; what is in review then is REJECTED."},
      {"round.evaluate_ms", kDurationMs, 15 * kMinute, 100, 7 * kDay, kCooperative, kNone,
       "Deadline of EVALUATE; the round is ABANDONED after it."},
      {"round.apply_ms", kDurationMs, 15 * kMinute, 100, 7 * kDay, kCooperative, kNone,
       "Deadline of APPLY; the round is ABANDONED after it."},
      {"round.min_updates", kInt, 3, 1, 10'000, kCooperative, kUp,
       "Fewest received updates of a round that is not ABANDONED."},
      {"round.close_early", kBool, 0, 0, 1, kCooperative, kNone,
       "A state ends as soon as every member agent that is expected has acted."},
      {"round.max_updates", kInt, 63, 1, 63, kCooperative, kDown,
       "Most commitments of a round; later ones are refused with ROUND_FULL."},
      // Updates.
      {"update.max_bytes", kInt, 2 * kGiB, 1'024, 64 * kGiB, kCooperative, kDown,
       "Largest update, in bytes."},
      {"clip.norm_factor_micro", kMicro, 1'000'000, 1'000, 1'000'000'000, kCooperative, kDown,
       "An update is clipped to this times the lower median norm of the round."},
      // Aggregation.
      {"aggregation.rule", kText, 0, 0, 5, kCooperative, kNone,
       "How admitted updates become one step; a refusal never changes the weight of others.",
       {"mean", "sample_weighted", "credit_weighted", "trimmed_mean", "median", "multi_krum"}},
      {"aggregation.trim_bp", kBasisPoints, 2'000, 0, 4'900, kCooperative, kNone,
       "Part of the updates that trimmed_mean drops at either end of each parameter, and that "
       "multi_krum takes for adversaries."},
      // Credit.
      {"credit.preset", kText, 1, 0, 1, kCooperative, kNone,
       "literal: the seed formulas as they stand; hardened: gate, lower bound, high-water mark.",
       {"literal", "hardened"}},
      {"credit.estimator", kText, 1, 0, 5, kCooperative, kNone,
       "What is paid. Above 10 contributors shapley (shapley_sampled is the same) and banzhaf are "
       "Shapley by sampled permutations, shapley_or_solo is solo.",
       {"solo", "shapley", "leave_one_out", "banzhaf", "shapley_sampled", "shapley_or_solo"}},
      {"credit.sampled_pairs_min", kInt, 8, 2, 256, kCooperative, kUp,
       "Pairs of permutations in the first stage of sampled Shapley; each stage doubles them."},
      {"credit.sampled_pairs_max", kInt, 64, 2, 256, kCooperative, kUp,
       "Pairs of permutations with which sampled Shapley ends at the latest."},
      {"credit.sampled_error_max_nanonats", kInt, 100'000, 0, 1'000'000'000, kCooperative, kDown,
       "Sampling ends with the stage in which every contributor's standard error over "
       "permutations is at most this."},
      {"credit.z_gate_micro", kMicro, 1'960'000, 0, 10'000'000, kCooperative, kDown,
       "An update is HARMFUL where phi + z s < 0."},
      {"credit.z_bound_micro", kMicro, 1'960'000, 0, 10'000'000, kCooperative, kUp,
       "A credit counts by max(phi - z s, 0)."},
      // Validation data.
      {"validation.rows_per_round", kInt, 4'000, 1, 10'000'000, kCooperative, kUp,
       "Rows drawn from the sealed pool for one round's settlement."},
      {"validation.visible_fraction_bp", kBasisPoints, 2'000, 0, kAll, kCooperative, kDown,
       "Part of a round's rows whose scores may be released; the rest is held out for pay."},
      {"validation.score_delay_ms", kDurationMs, 0, 0, 30 * kDay, kCooperative, kUp,
       "How long after a round its score is released."},
      {"score.quantum_nanonats", kInt, 1'000'000, 1, 1'000'000'000, kCooperative, kUp,
       "Released scores are rounded to multiples of this."},
      // A/B tests of checkpoints.
      {"comparison.rows_min", kInt, 250, 30, 50'000, kCooperative, kUp,
       "Visible rows at the first look of an A/B test; every look doubles them."},
      {"comparison.rows_max", kInt, 10'000, 30, 50'000, kCooperative, kUp,
       "Visible rows at the last look of an A/B test at most."},
      {"comparison.error_micro", kMicro, 10'000, 1, 500'000, kCooperative, kDown,
       "How probable it may be that an A/B test, over all its looks, names a winner among equals, "
       "or calls equal what differs by more than the margin."},
      {"comparison.margin_nanonats", kInt, 1'000'000, 0, 1'000'000'000, kCooperative, kDown,
       "An A/B test ends with equals where the difference lies within this, its bound included."},
      // Measuring for admission.
      {"admission.early_error_micro", kMicro, 10, 0, 10'000, kCooperative, kDown,
       "How probable it may be that what a profile's VALUE_EFFECT rule finds on the first of a "
       "probe's rows differs from what it would find on all of them; 0 measures all rows always. "
       "What is paid is evaluated on all rows always."},
      {"admission.early_rows_min", kInt, 1'000, 1'000, 1'000'000, kCooperative, kUp,
       "Rows of a probe at the first look; every further look doubles them, up to half of them."},
      // The filter's rules.
      {"originality.r1_max_micro", kMicro, 600'000, 0, 1'000'000, kCommunity, kDown,
       "Refused above: largest squared partial correlation with another update."},
      {"originality.ev_max_micro", kMicro, 950'000, 0, 1'000'000, kCommunity, kDown,
       "Refused above: variance explained by the span of all other updates."},
      {"originality.rounds_back", kInt, 2, 0, 100, kCommunity, kUp,
       "Earlier rounds whose updates are compared with."},
      {"magnitude.k_micro", kMicro, 4'000'000, 1'000, 1'000'000'000, kCommunity, kDown,
       "Refused above: norm as a multiple of the round's lower median."},
      {"value.effect_eps_nanonats", kInt, 10'000'000, 0, 10'000'000'000, kCommunity, kDown,
       "A probe's loss may rise by this under an update."},
      {"value.direction_eps_micro", kMicro, 200'000, 0, 1'000'000, kCommunity, kDown,
       "Bound of <delta, g> as a part of |delta| |g| on the cooperative's probes."},
      {"value.direction_protected_eps_micro", kMicro, 100'000, 0, 1'000'000, kCommunity, kDown,
       "The same for probes of protected values."},
      {"group_harm.eps_nanonats", kInt, 10'000'000, 0, 10'000'000'000, kCommunity, kDown,
       "The loss gap between declared groups may widen by this."},
      {"fit.threshold_micro", kMicro, 0, -1'000'000, 1'000'000, kCommunity, kUp,
       "Smallest fit of an update for its own principal, from -1 to 1."},
      // Lineages (filter).
      {"lineage.unattested", kText, 0, 0, 1, kCooperative, kUp,
       "Principals of which no attestation names a beneficial owner: apart, each a lineage of its "
       "own, or together, all one lineage, of which the earliest commitment of a round counts.",
       {"apart", "together"}},
      // Membership and mandates.
      {"membership.join_policy", kText, 0, 0, 2, kCooperative, kUp,
       "Who lets a new member in.", {"open", "sponsor", "vote"}},
      {"mandate.max_duration_ms", kDurationMs, 366 * kDay, kMinute, 3'660 * kDay, kNetwork, kDown,
       "Longest life of a mandate."},
      {"mandate.max_delegation_depth", kInt, 3, 0, 16, kNetwork, kDown,
       "Deepest chain of delegated mandates."},
      // Payout.
      {"payout.reserve_bp", kBasisPoints, 0, 0, kAll, kCooperative, kNone,
       "Part of a pool that stays in it when an epoch closes."},
      // Money. The ledger does not ask governance: it takes these from the PARAMETER_CHANGED
      // entries of the network's first cooperative, as it appends them.
      {"ledger.kyc_l1_daily_micro", kMicro, 100'000'000, 0, kMoneyMax, kNetwork, kDown,
       "What a principal of KYC level 1 may send a UTC day, in micro-tokens, holds included."},
      {"ledger.kyc_l2_daily_micro", kMicro, 10'000'000'000, 0, kMoneyMax, kNetwork, kDown,
       "The same for KYC level 2; level 3 has no limit, level 0 only receives."},
      {"ledger.authority_age_max_ms", kDurationMs, kMinute, kSecond, kDay, kNetwork, kDown,
       "A debit is refused for the moment where what the ledger knows of KYC levels, mandates and "
       "pauses is older."},
      {"ledger.compute_rate_micro", kMicro, 1'000'000, 0, kPriceMax, kNetwork, kNone,
       "What a metered second of GPU time is paid, in micro-tokens."},
      {"ledger.gpu_second_price_micro", kMicro, 1'000'000, 1, kPriceMax, kNetwork, kNone,
       "Price of a GPU second in conversions, in micro-tokens."},
      // Workers.
      {"worker.lease_ms", kDurationMs, 30 * kSecond, 500, kHour, kNetwork, kNone,
       "A shard's lease; a worker sends heartbeats well within it."},
      {"worker.max_attempts", kInt, 5, 1, 100, kNetwork, kNone,
       "Attempts at one shard before its run fails."},
      {"worker.rows_per_shard", kInt, 1'000, 1, 1'000'000, kNetwork, kNone,
       "Rows in one shard."},
      {"worker.candidates_per_shard", kInt, 1'024, 1, 65'536, kNetwork, kNone,
       "Candidates in one shard; candidates of one shard share work on its rows."},
  };
}

}  // namespace

absl::string_view ParameterTypeName(ParameterType type) {
  switch (type) {
    case kInt: return "int";
    case kBasisPoints: return "basis_points";
    case kMicro: return "micro";
    case kDurationMs: return "duration_ms";
    case kBool: return "bool";
    case kText: return "text";
  }
  return "";
}

absl::string_view ParameterScopeName(ParameterScope scope) {
  switch (scope) {
    case kNetwork: return "network";
    case kCooperative: return "cooperative";
    case kCommunity: return "community";
  }
  return "";
}

absl::string_view TighteningName(Tightening tightening) {
  switch (tightening) {
    case kNone: return "none";
    case kDown: return "down";
    case kUp: return "up";
  }
  return "";
}

const std::vector<ParameterInfo>& Parameters() {
  static const auto* parameters = [] {
    auto* table = new std::vector<ParameterInfo>(Table());
    std::sort(table->begin(), table->end(),
              [](const ParameterInfo& a, const ParameterInfo& b) { return a.name < b.name; });
    return table;
  }();
  return *parameters;
}

const ParameterInfo* FindParameter(absl::string_view name) {
  const std::vector<ParameterInfo>& all = Parameters();
  const auto at = std::lower_bound(
      all.begin(), all.end(), name,
      [](const ParameterInfo& info, absl::string_view wanted) { return info.name < wanted; });
  return at != all.end() && at->name == name ? &*at : nullptr;
}

absl::StatusOr<int64_t> ParseParameter(absl::string_view name, absl::string_view text) {
  const ParameterInfo* info = FindParameter(name);
  if (info == nullptr) {
    return Error("PARAMETER_UNKNOWN", absl::StrCat("no parameter is named ", name.substr(0, 100)));
  }
  if (info->type == kBool) {
    if (text == "true") return 1;
    if (text == "false") return 0;
    return Error("PARAMETER_OUT_OF_BOUNDS", absl::StrCat(name, " must be true or false"));
  }
  if (info->type == kText) {
    const auto at = std::find(info->choices.begin(), info->choices.end(), text);
    if (at != info->choices.end()) return at - info->choices.begin();
    return Error("PARAMETER_OUT_OF_BOUNDS",
                 absl::StrCat(name, " must be one of ", absl::StrJoin(info->choices, ", ")));
  }
  int64_t value;
  // One spelling per value: no sign, space or zero in front.
  if (!absl::SimpleAtoi(text, &value) || absl::StrCat(value) != text || value < info->min ||
      value > info->max) {
    return Error("PARAMETER_OUT_OF_BOUNDS", absl::StrCat(name, " must be a whole number from ",
                                                         info->min, " to ", info->max));
  }
  return value;
}

bool Tightens(const ParameterInfo& info, int64_t from, int64_t to) {
  switch (info.tightening) {
    case kNone: return from == to;
    case kDown: return to <= from;
    case kUp: return to >= from;
  }
  return false;
}

}  // namespace rochdale::config
