#include "services/verify/decisions.h"

#include <map>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "services/filter/clipping.h"
#include "services/filter/composition.h"
#include "services/filter/direction.h"
#include "services/verify/json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using filter::RuleKind;
using filter::Scope;
using filter::Verdict;

template <typename Enum, typename NameFunction>
absl::StatusOr<Enum> ParseName(const std::string& name, int last, NameFunction name_of) {
  for (int number = 1; number <= last; ++number) {
    if (name_of(static_cast<Enum>(number)) == name) return static_cast<Enum>(number);
  }
  return absl::InvalidArgumentError(absl::StrCat("no such word: ", name));
}

struct Finding {
  std::string rule_id;
  Scope scope{};
  RuleKind kind{};
  Verdict verdict{};
  std::string reason;
  Uuid probe;
  std::optional<int64_t> measured;
  std::optional<int64_t> threshold;
  bool early = false;  // measured on the first `rows` of `of_rows` rows of its probe
  int64_t rows = 0;
  int64_t of_rows = 0;
};

absl::StatusOr<Finding> ParseFinding(const nlohmann::json& json) {
  Members members(json);
  Finding finding;
  finding.rule_id = members.Text("rule_id");
  members.Int("rule_version");
  const std::string scope = members.Text("scope"), kind = members.Text("kind"),
                    verdict = members.Text("verdict");
  finding.reason = members.Text("reason");
  if (members.Has("probe_id")) finding.probe = members.Typed<Uuid>("probe_id");
  if (members.Has("measured")) finding.measured = members.DecimalText("measured");
  if (members.Has("threshold")) finding.threshold = members.DecimalText("threshold");
  for (const char* key : {"measured_commitment", "threshold_commitment"}) {
    if (members.Has(key)) members.Typed<crypto::Digest>(key);
  }
  finding.early = members.Has("rows") || members.Has("of_rows");
  if (finding.early) {
    finding.rows = members.Int("rows");
    finding.of_rows = members.Int("of_rows");
  }
  RETURN_IF_ERROR(members.Done());
  ASSIGN_OR_RETURN(finding.scope, ParseName<Scope>(scope, 3, filter::ScopeName));
  ASSIGN_OR_RETURN(finding.kind, ParseName<RuleKind>(kind, 8, filter::RuleKindName));
  ASSIGN_OR_RETURN(finding.verdict, ParseName<Verdict>(verdict, 5, filter::VerdictName));
  return finding;
}

absl::StatusOr<absl::uint128> ParseWide(const std::string& digits) {
  absl::uint128 value = 0;
  if (digits.empty() || digits.size() > 30) return absl::InvalidArgumentError("not a norm");
  for (const char c : digits) {
    if (c < '0' || c > '9') return absl::InvalidArgumentError("not a norm");
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

// What the numbers of screening give for a finding; nothing where they do not say. (Thresholds are
// the rules'; the losses behind effects and fit stay in the measuring run.)
std::vector<int64_t> MeasuresOf(const Finding& finding, const nlohmann::json& facts) {
  const auto number = [](const nlohmann::json& at, const char* key) {
    return at.contains(key) && at[key].is_number() ? at[key].get<double>() : 0.0;
  };
  Members members(facts);
  switch (finding.kind) {
    case RuleKind::kMagnitude: {
      const auto norm = ParseWide(members.Text("norm_squared"));
      const auto median = ParseWide(members.Text("median_squared"));
      if (!norm.ok() || !median.ok()) return {};
      return {filter::NormRatioMicro(*norm, *median)};
    }
    case RuleKind::kOriginality: {
      Members originality(members.Object("originality"));
      return {originality.Int("r1_micro"), originality.Int("ev_micro")};
    }
    case RuleKind::kValueDirection: {
      for (const nlohmann::json& direction : members.Array("directions")) {
        Members at(direction);
        if (at.Text("probe") != finding.probe.ToString()) continue;
        const double norm = number(facts, "clipped_norm");
        const double slope = number(direction, "gradient_norm");
        return {filter::DirectionMicro(number(direction, "clipped_dot"), norm, slope),
                filter::DirectionMicro(number(direction, "effective_dot"), norm, slope)};
      }
      return {};
    }
    default:
      return {};
  }
}

// Where measuring stopped early: only what a principal asks for itself may hang on some rows, and
// they are at most half of those that its probe was registered with.
absl::Status CheckEarly(const Finding& finding, const Log& log) {
  const auto wrong = [&](absl::string_view why) {
    return absl::DataLossError(absl::StrCat("finding of ", finding.rule_id, ": ", why));
  };
  if (!finding.early) return absl::OkStatus();
  if (finding.kind != RuleKind::kValueEffect || finding.scope != Scope::kPrincipal ||
      finding.reason == "RULE_ERROR") {
    return wrong("it may not stand on some rows only");
  }
  if (finding.rows < 1 || finding.rows > finding.of_rows / 2) {
    return wrong("measuring stops early at half of the rows or before");
  }
  const crypto::Entry* probe = log.Only(kind::kProbeRegistered, finding.probe);
  if (probe == nullptr) return wrong("its probe is not in the log");
  const auto registered = probe->U64(tag::kRowCount);
  if (registered.ok() && *registered != static_cast<uint64_t>(finding.of_rows)) {
    return wrong("its probe was registered with other rows");
  }
  return absl::OkStatus();
}

// Decides one finding again from what was recorded.
absl::Status CheckFinding(const Finding& finding, const nlohmann::json& facts) {
  const auto wrong = [&](absl::string_view why) {
    return absl::DataLossError(absl::StrCat("finding of ", finding.rule_id, ": ", why));
  };
  const bool allows = finding.verdict == Verdict::kAllow;
  if (allows != finding.reason.empty()) return wrong("reason and verdict disagree");
  if (finding.reason == "RULE_ERROR") {
    return finding.verdict == filter::OnError(finding.scope) ? absl::OkStatus()
                                                             : wrong("an error decides otherwise");
  }
  if (finding.verdict == Verdict::kProject && finding.kind != RuleKind::kValueDirection) {
    return wrong("only a value direction can be projected");
  }
  if (finding.measured.has_value() != finding.threshold.has_value()) {
    return wrong("a number without the other");
  }
  if (!finding.measured) {
    const bool numeric =
        finding.kind != RuleKind::kIntegrity && finding.kind != RuleKind::kAuthority;
    if (numeric && finding.scope != Scope::kPrincipal) return wrong("it has no numbers");
    if (finding.kind == RuleKind::kAuthority && finding.scope != Scope::kPrincipal &&
        Members(facts).Text("authority") != finding.reason) {
      return wrong("the recorded authority says otherwise");
    }
    return absl::OkStatus();
  }
  const bool violated = finding.kind == RuleKind::kFit ? *finding.measured < *finding.threshold
                                                       : *finding.measured > *finding.threshold;
  if (violated == allows) return wrong("the numbers give another verdict");
  const std::vector<int64_t> measures = MeasuresOf(finding, facts);
  for (const int64_t measure : measures) {
    if (measure == *finding.measured) return absl::OkStatus();
  }
  return measures.empty() ? absl::OkStatus() : wrong("the recorded facts measure otherwise");
}

std::string TextOr(const crypto::Entry& entry, uint16_t tag) {
  const auto text = entry.Text(tag);
  return text.ok() ? std::string(*text) : std::string();
}

// What the entries of the log say of the same update.
absl::Status CheckEntries(const Log& log, const crypto::Entry& made, Members& body) {
  const auto differs = [](absl::string_view field) {
    return absl::DataLossError(absl::StrCat(field, " is not what the log says"));
  };
  if (body.Typed<UpdateId>("update_id").value != made.subject) return differs("update_id");
  if (body.Typed<RoundId>("round_id").value != made.IdAt(tag::kRound).value_or(Uuid{})) {
    return differs("round_id");
  }
  const auto effective = made.DigestAt(tag::kEffectiveDigest);
  if (body.Text("effective_sha256") != (effective.ok() ? effective->ToString() : "")) {
    return differs("effective_sha256");
  }
  const auto rules = made.U64(tag::kRulesVersion);
  if (rules.ok() && body.Int("rules_version") != static_cast<int64_t>(*rules)) {
    return differs("rules_version");
  }
  if (body.Text("reason") != TextOr(made, tag::kReason)) return differs("reason");
  const crypto::Digest digest = body.Typed<crypto::Digest>("update_sha256");
  const crypto::Entry* committed = log.Only(kind::kUpdateCommitted, made.subject);
  const crypto::Entry* received = log.Only(kind::kUpdateReceived, made.subject);
  if (committed == nullptr || received == nullptr ||
      committed->DigestAt(tag::kUpdateCommitment).value_or(crypto::Digest{}) != digest ||
      received->DigestAt(tag::kUpdateDigest).value_or(crypto::Digest{}) != digest) {
    return differs("update_sha256");
  }
  return body.status();
}

absl::Status Redecide(const Log& log, Members& body, const crypto::Entry& made) {
  if (body.Text("engine_version") != filter::kEngineVersion) {
    return absl::DataLossError("it was decided by an engine that this program does not know");
  }
  ASSIGN_OR_RETURN(const Verdict verdict,
                   ParseName<Verdict>(body.Text("verdict"), 5, filter::VerdictName));
  if (made.U64(tag::kVerdict).value_or(0) != static_cast<uint64_t>(verdict)) {
    return absl::DataLossError("the log has another verdict");
  }
  const nlohmann::json& facts = body.Object("facts");
  const nlohmann::json& list = body.Array("findings");
  RETURN_IF_ERROR(body.status());
  if (list.empty()) return absl::DataLossError("a decision without findings");
  Verdict joined = Verdict::kAllow;
  std::string reason;
  for (const nlohmann::json& json : list) {
    ASSIGN_OR_RETURN(const Finding finding, ParseFinding(json));
    RETURN_IF_ERROR(CheckEarly(finding, log));
    RETURN_IF_ERROR(CheckFinding(finding, facts));
    if (finding.verdict > joined) reason = finding.reason;
    joined = filter::Join(joined, finding.verdict);
  }
  if (joined != verdict) return absl::DataLossError("the verdict is not the join of its findings");
  if (joined <= Verdict::kOblige) reason = "";
  if (joined == Verdict::kReview) reason = "REVIEW_EXPIRED";
  if (body.Text("reason") != reason) {
    return absl::DataLossError("the reason is not that of the deciding finding");
  }
  return absl::OkStatus();
}

absl::Status CheckDecision(const Bundle& bundle, const Log& log, const crypto::Entry& made,
                           const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(path, kJsonBytesMax));
  if (crypto::Sha256(bytes) != made.DigestAt(tag::kDecisionDigest).value_or(crypto::Digest{})) {
    return absl::DataLossError("its SHA-256 is not the decision_digest in the log");
  }
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseCanonicalObject(bytes));
  Members body(json);
  if (body.Int("format") != 1) body.Fail("format");
  body.Int("profile_version");
  body.Text("evidence_sha256");
  RETURN_IF_ERROR(CheckEntries(log, made, body));
  RETURN_IF_ERROR(Redecide(log, body, made));
  return body.Done();
}

std::string PathOf(const Uuid& update) {
  return absl::StrCat("decisions/", update.ToString(), ".json");
}

}  // namespace

void CheckDecisions(const Bundle& bundle, const Log& log, const CooperativeId& cooperative,
                    const std::optional<UpdateId>& only, Report& report) {
  Check& check = report.Begin("decisions");
  size_t decided = 0, withheld = 0;
  for (const size_t i : log.OfKind(kind::kDecisionMade)) {
    const crypto::Entry& made = log.at(i);
    const std::string path = PathOf(made.subject);
    if (only && only->value != made.subject) continue;
    if (!only && !bundle.Has(path)) {
      withheld += made.cooperative == cooperative ? 1 : 0;
      continue;
    }
    ++decided;
    check.Need(CheckDecision(bundle, log, made, path), path);
  }
  if (only) check.Need(decided == 1, PathOf(only->value), "the log has no decision on this update");
  for (const std::string& name : bundle.NamesIn("decisions")) {
    const auto id = Uuid::Parse(name.substr(0, name.find('.')));
    const bool known = id.ok() && absl::StrCat(id->ToString(), ".json") == name &&
                       log.Only(kind::kDecisionMade, *id) != nullptr;
    check.Need(known, absl::StrCat("decisions/", name), "the log has no such decision");
  }
  check.Say(absl::StrCat(decided, " decisions made again, ", withheld, " not in the bundle"));
}

void CheckRefusals(const Log& log, Report& report) {
  Check& check = report.Begin("refused-unpaid");
  std::map<Uuid, uint64_t> verdicts;
  for (const size_t i : log.OfKind(kind::kDecisionMade)) {
    const crypto::Entry& made = log.at(i);
    const bool first = verdicts.emplace(made.subject, made.U64(tag::kVerdict).value_or(0)).second;
    check.Need(first, NameOf(log, made), "its update was decided before");
  }
  size_t refused = 0;
  for (const auto& [update, verdict] : verdicts) {
    refused += verdict < 1 || verdict > static_cast<uint64_t>(Verdict::kOblige) ? 1 : 0;
  }
  for (const uint16_t number : {kind::kCreditAssigned, kind::kUpdateApplied}) {
    for (const size_t i : log.OfKind(number)) {
      const crypto::Entry& entry = log.at(i);
      const auto verdict = verdicts.find(entry.subject);
      const bool admitted = verdict != verdicts.end() && verdict->second >= 1 &&
                            verdict->second <= static_cast<uint64_t>(Verdict::kOblige);
      check.Need(admitted, NameOf(log, entry), "its update was not admitted");
    }
  }
  check.Say(absl::StrCat(refused, " of ", verdicts.size(),
                         " updates refused, none of them credited or applied"));
}

}  // namespace rochdale::verify
