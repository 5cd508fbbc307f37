#include "services/attribution/comparison_evidence.h"

#include <array>

#include "libs/base/status_macros.h"
#include "services/attribution/evidence_reader.h"
#include "services/attribution/run_spec.h"

namespace rochdale::attribution {
namespace {

using Json = nlohmann::json;  // objects keep their keys sorted, bytewise

constexpr std::array<absl::string_view, 5> kVerdicts = {"", "a_better", "b_better", "equal",
                                                        "undecided"};
constexpr int64_t kRowsMost = 50'000;
constexpr int64_t kPoolRowsMost = int64_t{1} << 31;
constexpr int64_t kMarginMost = 1'000'000'000;

int64_t Between(EvidenceReader& reader, const char* key, int64_t min, int64_t max) {
  const int64_t value = reader.Int(key);
  if (value >= min && value <= max) return value;
  reader.Fail(key);
  return min;
}

std::vector<int64_t> ReadLosses(EvidenceReader& reader, const char* key) {
  std::vector<int64_t> losses;
  for (const Json& item : reader.Array(key)) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() > kLossMax) {
      reader.Fail(key);
      return {};
    }
    losses.push_back(item.get<int64_t>());
  }
  if (losses.size() < 2 || losses.size() > static_cast<size_t>(kRowsMost)) reader.Fail(key);
  return losses;
}

absl::Status Differs(absl::string_view what) {
  return Error("DIGEST_MISMATCH", absl::StrCat("recomputed A/B test: ", what));
}

}  // namespace

std::string ComparisonEvidenceToJson(const ComparisonEvidence& evidence) {
  const Json json = {
      {"format", 1},
      {"comparison_id", evidence.comparison.ToString()},
      {"cooperative_id", evidence.cooperative.ToString()},
      {"a_sha256", evidence.a.ToString()},
      {"b_sha256", evidence.b.ToString()},
      {"rule",
       {{"error_micro", evidence.rule.error_micro},
        {"margin_nanonats", evidence.rule.margin_nanonats},
        {"rows_max", evidence.rule.rows_max},
        {"rows_min", evidence.rule.rows_min}}},
      {"seed", evidence.seed.ToString()},
      {"seed_sha256", evidence.seed_sha256.ToString()},
      {"pool_sha256", evidence.pool.ToString()},
      {"split_seed", evidence.split_seed.ToString()},
      {"pool_rows", evidence.pool_rows},
      {"visible_rows", evidence.visible_rows},
      {"losses_a", evidence.losses_a},
      {"losses_b", evidence.losses_b},
      {"verdict", std::string(kVerdicts.at(static_cast<size_t>(evidence.look.verdict)))},
      {"difference_nanonats", evidence.look.difference},
      {"standard_error_nanonats", evidence.look.standard_error}};
  return json.dump();
}

absl::StatusOr<ComparisonEvidence> ParseComparisonEvidence(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Error("BAD_REQUEST", "evidence is no JSON object");
  EvidenceReader reader(json);
  ComparisonEvidence evidence;
  if (reader.Int("format") != 1) reader.Fail("format");
  evidence.comparison = reader.Typed<ComparisonId>("comparison_id");
  evidence.cooperative = reader.Typed<CooperativeId>("cooperative_id");
  evidence.a = reader.Typed<crypto::Digest>("a_sha256");
  evidence.b = reader.Typed<crypto::Digest>("b_sha256");
  EvidenceReader rule(reader.Member("rule"));
  evidence.rule.rows_min = Between(rule, "rows_min", 2, kRowsMost);
  evidence.rule.rows_max = Between(rule, "rows_max", 2, kRowsMost);
  evidence.rule.error_micro = Between(rule, "error_micro", 1, 1'000'000);
  evidence.rule.margin_nanonats = Between(rule, "margin_nanonats", 0, kMarginMost);
  reader.Also(rule);
  evidence.seed = reader.Typed<crypto::Digest>("seed");
  evidence.seed_sha256 = reader.Typed<crypto::Digest>("seed_sha256");
  evidence.pool = reader.Typed<crypto::Digest>("pool_sha256");
  evidence.split_seed = reader.Typed<crypto::Digest>("split_seed");
  evidence.pool_rows = Between(reader, "pool_rows", 2, kPoolRowsMost);
  evidence.visible_rows = Between(reader, "visible_rows", 2, evidence.pool_rows);
  evidence.losses_a = ReadLosses(reader, "losses_a");
  evidence.losses_b = ReadLosses(reader, "losses_b");
  const std::string verdict = reader.Text("verdict");
  for (size_t i = 1; i < kVerdicts.size(); ++i) {
    if (verdict == kVerdicts[i]) evidence.look.verdict = static_cast<Verdict>(i);
  }
  if (evidence.look.verdict == Verdict::kNone) reader.Fail("verdict");
  evidence.look.rows = static_cast<int64_t>(evidence.losses_a.size());
  evidence.look.difference = reader.Int("difference_nanonats");
  evidence.look.standard_error = reader.Int("standard_error_nanonats");
  RETURN_IF_ERROR(reader.status());
  // One spelling: also refuses unknown keys, repeated keys and other number forms.
  if (ComparisonEvidenceToJson(evidence) != text) {
    return Error("BAD_REQUEST", "evidence is not in its canonical form");
  }
  return evidence;
}

absl::Status CheckComparison(const ComparisonEvidence& evidence) {
  if (crypto::Sha256(evidence.seed.AsBytes()) != evidence.seed_sha256) {
    return Differs("its seed does not open the commitment");
  }
  const auto a = absl::MakeConstSpan(evidence.losses_a);
  const auto b = absl::MakeConstSpan(evidence.losses_b);
  if (a.size() != b.size()) return Differs("it has not as many losses of A as of B");
  const auto all = static_cast<int64_t>(a.size());
  int64_t rows = 0;
  for (int i = 0; i < kLooksMax; ++i) {
    rows = RowsOfNextLook(evidence.rule, evidence.visible_rows, rows);
    if (rows > all) break;
    const Look look =
        TakeLook(evidence.rule, evidence.visible_rows, a.subspan(0, rows), b.subspan(0, rows));
    if (look.verdict == Verdict::kNone) continue;
    if (look == evidence.look) return absl::OkStatus();
    return Differs(absl::StrCat("the look at ", rows, " rows ends it with another result"));
  }
  return Differs("no look at so many rows ends it");
}

}  // namespace rochdale::attribution
