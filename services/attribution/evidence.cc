#include "services/attribution/evidence.h"

#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/grid.h"
#include "services/attribution/evidence_reader.h"
#include "services/attribution/run_spec.h"

namespace rochdale::attribution {
namespace {

using Json = nlohmann::json;  // objects keep their keys sorted, bytewise
using Reader = EvidenceReader;

std::string Decimal(absl::int128 value) {
  if (value < 0) return absl::StrCat("-", Decimal(-value));
  const absl::uint128 magnitude = static_cast<absl::uint128>(value);
  if (magnitude <= std::numeric_limits<uint64_t>::max()) {
    return absl::StrCat(static_cast<uint64_t>(magnitude));
  }
  std::string digits;
  for (absl::uint128 rest = magnitude; rest != 0; rest /= 10) {
    digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(rest % 10)));
  }
  return digits;
}

absl::string_view PresetName(learning::CreditPreset preset) {
  return preset == learning::CreditPreset::kLiteral ? "literal" : "hardened";
}

bool HasAllMasks(const Evidence& evidence) {
  return evidence.updates.size() <= static_cast<size_t>(learning::kExactShapleyMax);
}

absl::int128 ParseInt128(const Json& value, Reader& reader, const char* key) {
  absl::int128 result = 0;
  if (!value.is_string() || !absl::SimpleAtoi(value.get<std::string>(), &result)) reader.Fail(key);
  return result;
}

uint64_t ParseMask(const Json& value, Reader& reader, const char* key) {
  uint64_t result = 0;
  if (!value.is_string() || !absl::SimpleAtoi(value.get<std::string>(), &result)) reader.Fail(key);
  return result;
}

void ReadUpdates(Reader& reader, Evidence& evidence) {
  for (const Json& item : reader.Array("updates")) {
    Reader one(item);
    evidence.updates.push_back({one.Typed<UpdateId>("update_id"),
                                one.Typed<PrincipalId>("principal_id"),
                                one.Typed<crypto::Digest>("effective_sha256")});
    reader.Also(one);
  }
  const size_t k = evidence.updates.size();
  if (k < 1 || k > static_cast<size_t>(kContributorsMax)) reader.Fail("updates");
}

void ReadAggregation(const Json& json, Reader& reader, Evidence& evidence) {
  if (!reader.Has("aggregation")) return;
  const auto aggregation = learning::ParseAggregation(
      json.at("aggregation").dump(), static_cast<int64_t>(evidence.updates.size()));
  if (aggregation.ok()) evidence.aggregation = *aggregation;
  else reader.Fail("aggregation");
}

void ReadCredits(Reader& reader, Evidence& evidence) {
  for (const Json& item : reader.Array("credits")) {
    Reader one(item);
    evidence.credits.push_back({.update = one.Typed<UpdateId>("update_id"),
                                .credit = one.Int("credit_nanonats"),
                                .estimate = one.Int("estimate_nanonats"),
                                .standard_error = one.Int("standard_error_nanonats"),
                                .solo = one.Int("solo_nanonats"),
                                .leave_one_out = one.Int("leave_one_out_nanonats"),
                                .harmful = one.Bool("harmful")});
    reader.Also(one);
  }
  if (evidence.credits.size() != evidence.updates.size()) reader.Fail("credits");
}

void ReadSampling(Reader& rule, Evidence& evidence) {
  Reader sampling(rule.Member("sampling"));
  const auto pairs = [&](const char* key) {
    const int64_t value = sampling.Int(key);
    if (value < 2 || value > learning::kSampledPairsMax) sampling.Fail(key);
    return static_cast<int>(value);
  };
  evidence.pairs = pairs("pairs");
  evidence.rule.sampling.pairs_max = pairs("pairs_max");
  evidence.rule.sampling.pairs_min = pairs("pairs_min");
  evidence.rule.sampling.error_max_nanonats = sampling.Int("error_max_nanonats");
  if (evidence.rule.sampling.error_max_nanonats < 0) sampling.Fail("error_max_nanonats");
  rule.Also(sampling);
}

void ReadRule(Reader& reader, Evidence& evidence) {
  Reader rule(reader.Member("credit_rule"));
  const std::string preset = rule.Text("preset");
  if (preset == "literal") {
    evidence.rule.preset = learning::CreditPreset::kLiteral;
  } else if (preset != "hardened") {
    rule.Fail("preset");
  }
  const auto estimator = ParseEstimator(rule.Text("estimator"));
  if (estimator.ok()) evidence.rule.estimator = *estimator;
  else rule.Fail("estimator");
  evidence.rule.z_gate_micro = rule.Int("z_gate_micro");
  evidence.rule.z_bound_micro = rule.Int("z_bound_micro");
  for (const int64_t z : {evidence.rule.z_gate_micro, evidence.rule.z_bound_micro}) {
    if (z < 0 || z > 10'000'000) rule.Fail("credit_rule");
  }
  const int contributors = static_cast<int>(evidence.updates.size());
  if (estimator.ok() && IsSampled(evidence.rule, contributors)) {
    ReadSampling(rule, evidence);
  }
  reader.Also(rule);
}

void ReadSums(Reader& reader, Evidence& evidence) {
  if (reader.Has("masks")) {
    for (const Json& item : reader.Array("masks")) {
      evidence.masks.push_back(ParseMask(item, reader, "masks"));
    }
  } else if (HasAllMasks(evidence) && reader.status().ok()) {
    evidence.masks = GameMasks(static_cast<int>(evidence.updates.size()));
  }
  for (const Json& item : reader.Array("coalition_loss_sums")) {
    evidence.coalition_loss_sums.push_back(ParseInt128(item, reader, "coalition_loss_sums"));
  }
  if (evidence.coalition_loss_sums.size() != evidence.masks.size()) {
    reader.Fail("coalition_loss_sums");
  }
}

void ReadDraw(Reader& reader, Evidence& evidence) {
  evidence.seed = reader.Typed<crypto::Digest>("seed");
  evidence.seed_sha256 = reader.Typed<crypto::Digest>("seed_sha256");
  evidence.pool = reader.Typed<crypto::Digest>("pool_sha256");
  evidence.split_seed = reader.Typed<crypto::Digest>("split_seed");
  evidence.pool_rows = reader.Int("pool_rows");
  evidence.visible_rows = reader.Int("visible_rows");
  for (const Json& item : reader.Array("retired_rounds")) {
    const auto id = item.is_string() ? RoundId::Parse(item.get<std::string>())
                                     : absl::StatusOr<RoundId>(absl::InvalidArgumentError(""));
    if (id.ok()) evidence.retired_rounds.push_back(*id);
    else reader.Fail("retired_rounds");
  }
  for (const Json& item : reader.Array("rows")) {
    if (!item.is_number_integer()) {
      reader.Fail("rows");
      break;
    }
    evidence.rows.push_back(item.get<int64_t>());
  }
  evidence.rows_sha256 = reader.Typed<crypto::Digest>("rows_sha256");
  const int64_t rows = evidence.pool_rows;
  if (rows < 1 || rows > int64_t{1} << 31) reader.Fail("pool_rows");
  if (evidence.visible_rows < 0 || evidence.visible_rows > rows) reader.Fail("visible_rows");
}

Json ValuesToJson(const AggregateValues& values) {
  Json json = {{"bounds", Json::array()}, {"loss_sums", Json::array()}, {"masks", Json::array()}};
  for (const ProbeBound& bound : values.bounds) {
    json["bounds"].push_back({{"probe_id", bound.probe.ToString()},
                              {"rows", bound.rows},
                              {"eps_nanonats", bound.eps_nanonats}});
  }
  for (const uint64_t mask : values.masks) json["masks"].push_back(absl::StrCat(mask));
  for (const std::vector<absl::int128>& sums : values.loss_sums) {
    Json row = Json::array();
    for (const absl::int128 sum : sums) row.push_back(Decimal(sum));
    json["loss_sums"].push_back(std::move(row));
  }
  return json;
}

void ReadValues(Reader& reader, Evidence& evidence) {
  if (!reader.Has("values")) return;
  AggregateValues& values = evidence.values;
  Reader json(reader.Member("values"));
  for (const Json& item : json.Array("bounds")) {
    Reader one(item);
    values.bounds.push_back(
        {one.Typed<ProbeId>("probe_id"), one.Int("rows"), one.Int("eps_nanonats")});
    const ProbeBound& bound = values.bounds.back();
    const size_t before = values.bounds.size() - 1;
    if (before > 0 && bound.probe <= values.bounds[before - 1].probe) one.Fail("probe_id");
    if (bound.rows < 1 || bound.rows > int64_t{1} << 31) one.Fail("rows");
    if (bound.eps_nanonats < 0 || bound.eps_nanonats > kLossMax) one.Fail("eps_nanonats");
    json.Also(one);
  }
  if (values.bounds.empty() || values.bounds.size() > kBoundsMax) json.Fail("bounds");
  for (const Json& item : json.Array("masks")) {
    values.masks.push_back(ParseMask(item, json, "masks"));
  }
  for (const Json& row : json.Array("loss_sums")) {
    std::vector<absl::int128>& sums = values.loss_sums.emplace_back();
    if (!row.is_array()) {
      json.Fail("loss_sums");
      break;
    }
    for (const Json& item : row) sums.push_back(ParseInt128(item, json, "loss_sums"));
    for (const absl::int128 sum : sums) {
      if (sum < 0 || sum > absl::int128(kLossMax) << 31) json.Fail("loss_sums");
    }
  }
  reader.Also(json);
}

}  // namespace

uint64_t RefusedMask(const Evidence& evidence) {
  uint64_t refused = 0;
  for (size_t i = 0; i < evidence.credits.size(); ++i) {
    const bool applied = (evidence.applied_mask >> i & 1) != 0;
    refused |= uint64_t{!applied && !evidence.credits[i].harmful} << i;
  }
  return refused;
}

std::string EvidenceToJson(const Evidence& evidence) {
  Json json;
  json["format"] = 1;
  json["round_id"] = evidence.round.ToString();
  json["cooperative_id"] = evidence.cooperative.ToString();
  json["number"] = evidence.number;
  json["model"] = Json::parse(learning::ModelSpecToJson(evidence.model));
  json["base_sha256"] = evidence.base.ToString();
  json["next_sha256"] = evidence.next.ToString();
  json["best_sha256"] = evidence.best.ToString();
  json["lineages"] = evidence.lineages;
  if (evidence.aggregation.rule != learning::AggregationRule::kMean) {
    json["aggregation"] = Json::parse(learning::AggregationToJson(evidence.aggregation));
  }
  json["updates"] = Json::array();
  for (const EvidenceUpdate& update : evidence.updates) {
    json["updates"].push_back({{"update_id", update.update.ToString()},
                               {"principal_id", update.principal.ToString()},
                               {"effective_sha256", update.effective.ToString()}});
  }
  json["seed"] = evidence.seed.ToString();
  json["seed_sha256"] = evidence.seed_sha256.ToString();
  json["pool_sha256"] = evidence.pool.ToString();
  json["split_seed"] = evidence.split_seed.ToString();
  json["pool_rows"] = evidence.pool_rows;
  json["visible_rows"] = evidence.visible_rows;
  json["retired_rounds"] = Json::array();
  for (const RoundId& round : evidence.retired_rounds) {
    json["retired_rounds"].push_back(round.ToString());
  }
  json["rows"] = evidence.rows;
  json["rows_sha256"] = evidence.rows_sha256.ToString();
  json["credit_rule"] = {{"preset", std::string(PresetName(evidence.rule.preset))},
                         {"estimator", std::string(EstimatorName(evidence.rule.estimator))},
                         {"z_gate_micro", evidence.rule.z_gate_micro},
                         {"z_bound_micro", evidence.rule.z_bound_micro}};
  if (IsSampled(evidence.rule, static_cast<int>(evidence.updates.size()))) {
    json["credit_rule"]["sampling"] = {
        {"pairs", evidence.pairs},
        {"pairs_min", evidence.rule.sampling.pairs_min},
        {"pairs_max", evidence.rule.sampling.pairs_max},
        {"error_max_nanonats", evidence.rule.sampling.error_max_nanonats}};
  }
  if (!HasAllMasks(evidence)) {
    json["masks"] = Json::array();
    for (const uint64_t mask : evidence.masks) json["masks"].push_back(absl::StrCat(mask));
  }
  json["coalition_loss_sums"] = Json::array();
  for (const absl::int128 sum : evidence.coalition_loss_sums) {
    json["coalition_loss_sums"].push_back(Decimal(sum));
  }
  json["best_loss_sum"] = Decimal(evidence.best_loss_sum);
  json["losses_root"] = evidence.losses_root.ToString();
  if (!evidence.model.exact()) json["losses_sha256"] = evidence.losses_sha256.ToString();
  json["applied_mask"] = absl::StrCat(evidence.applied_mask);
  if (!evidence.values.bounds.empty()) json["values"] = ValuesToJson(evidence.values);
  json["credits"] = Json::array();
  for (const EvidenceCredit& credit : evidence.credits) {
    json["credits"].push_back({{"update_id", credit.update.ToString()},
                               {"credit_nanonats", credit.credit},
                               {"estimate_nanonats", credit.estimate},
                               {"standard_error_nanonats", credit.standard_error},
                               {"solo_nanonats", credit.solo},
                               {"leave_one_out_nanonats", credit.leave_one_out},
                               {"harmful", credit.harmful}});
  }
  return json.dump();
}

absl::StatusOr<Evidence> ParseEvidence(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Error("BAD_REQUEST", "evidence is no JSON object");
  Reader reader(json);
  Evidence evidence;
  if (reader.Int("format") != 1) reader.Fail("format");
  evidence.round = reader.Typed<RoundId>("round_id");
  evidence.cooperative = reader.Typed<CooperativeId>("cooperative_id");
  evidence.number = reader.Int("number");
  const auto model = learning::ParseModelSpec(reader.Member("model").dump());
  if (model.ok()) evidence.model = *model;
  else reader.Fail("model");
  evidence.base = reader.Typed<crypto::Digest>("base_sha256");
  evidence.next = reader.Typed<crypto::Digest>("next_sha256");
  evidence.best = reader.Typed<crypto::Digest>("best_sha256");
  evidence.lineages = reader.Int("lineages");
  if (evidence.lineages < 1 || evidence.lineages > int64_t{1} << 31) reader.Fail("lineages");
  ReadUpdates(reader, evidence);
  ReadAggregation(json, reader, evidence);
  ReadDraw(reader, evidence);
  ReadRule(reader, evidence);
  ReadSums(reader, evidence);
  if (json.contains("best_loss_sum")) {
    evidence.best_loss_sum = ParseInt128(json["best_loss_sum"], reader, "best_loss_sum");
  }
  evidence.losses_root = reader.Typed<crypto::Digest>("losses_root");
  if (!evidence.model.exact()) {
    evidence.losses_sha256 = reader.Typed<crypto::Digest>("losses_sha256");
  }
  evidence.rule.deadband_nanonats = evidence.model.torchscript.deadband_nanonats;
  if (json.contains("applied_mask")) {
    evidence.applied_mask = ParseMask(json["applied_mask"], reader, "applied_mask");
  }
  ReadCredits(reader, evidence);
  ReadValues(reader, evidence);
  RETURN_IF_ERROR(reader.status());
  // One spelling: also refuses unknown keys, repeated keys and other number forms.
  if (EvidenceToJson(evidence) != text) {
    return Error("BAD_REQUEST", "evidence is not in its canonical form");
  }
  return evidence;
}

}  // namespace rochdale::attribution
