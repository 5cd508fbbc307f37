#include "services/filter/convert.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "libs/base/errors.h"
#include "tests/support/documents.h"
#include "tests/unit/filter_service/screening_fixture.h"

namespace rochdale::filter {
namespace {

using testing::IdOf;

common::v1::SignedDocument Sign(const google::protobuf::Message& body) {
  return rochdale::testing::Sign(crypto::KeyPair::FromSeed({1}), body);
}

std::vector<std::string> Fields(const absl::Status& status) {
  std::vector<std::string> fields;
  for (const FieldViolation& violation : FieldViolationsOf(status)) {
    fields.push_back(violation.field);
  }
  return fields;
}

common::v1::Rule RuleOf(const std::string& id, common::v1::RuleKind kind,
                        const std::string& probe = "") {
  common::v1::Rule rule;
  rule.set_id(id);
  rule.set_kind(kind);
  if (!probe.empty()) rule.add_probe_ids(probe);
  return rule;
}

TEST_CASE("every floor holds the four kinds that are measured first", "[filter]") {
  governance::v1::Cooperative cooperative;
  cooperative.set_rules_version(4);
  const Uuid plain = IdOf(4, 1), guarded = IdOf(4, 2);
  *cooperative.add_floor() =
      RuleOf("effect", common::v1::RULE_KIND_VALUE_EFFECT, plain.ToString());
  *cooperative.add_floor() =
      RuleOf("direction", common::v1::RULE_KIND_VALUE_DIRECTION, plain.ToString());
  *cooperative.add_floor() =
      RuleOf("guard", common::v1::RULE_KIND_VALUE_DIRECTION, guarded.ToString());
  *cooperative.add_floor() = RuleOf("norm", common::v1::RULE_KIND_MAGNITUDE);
  cooperative.mutable_floor(3)->set_bound_micro(3'000'000);
  config::ParameterSet parameters;
  REQUIRE(parameters.Set("value.direction_eps_micro", "210000").ok());
  REQUIRE(parameters.Set("value.direction_protected_eps_micro", "110000").ok());
  const RuleSet floor = FloorRules(cooperative, parameters,
                                   {{ProbeId{plain}, false}, {ProbeId{guarded}, true}});
  std::vector<std::string> ids;
  for (const Rule& rule : floor.rules) ids.push_back(rule.id);
  CHECK(ids == std::vector<std::string>{"builtin.INTEGRITY", "builtin.AUTHORITY",
                                        "builtin.ORIGINALITY", "norm", "effect", "direction",
                                        "guard"});
  CHECK(floor.rules[3].bound == 3'000'000);  // as stated
  CHECK(floor.rules[3].version == 4);
  CHECK(floor.rules[4].bound == parameters.Int("value.effect_eps_nanonats"));
  CHECK(floor.rules[5].bound == 210'000);
  CHECK(floor.rules[6].bound == 110'000);
}

TEST_CASE("a profile's rules: constraints, and the fit of the round's scenario", "[filter]") {
  v1::ValueProfile profile;
  profile.set_version(3);
  *profile.add_constraints() =
      RuleOf("mine", common::v1::RULE_KIND_VALUE_EFFECT, IdOf(4, 1).ToString());
  v1::ScenarioPreferences& preferences = *profile.add_preferences();
  preferences.set_scenario("night");
  v1::Criterion& criterion = *preferences.add_criteria();
  criterion.set_probe_id(IdOf(4, 1).ToString());
  criterion.set_weight_bp(10'000);
  criterion.set_scale_nanonats(5);
  profile.set_fit_threshold_micro(-1);
  const RuleSet day = ProfileRules(profile, "day", {});
  CHECK(day.rules.size() == 1);
  CHECK(day.scope == Scope::kPrincipal);
  const RuleSet night = ProfileRules(profile, "night", {});
  REQUIRE(night.rules.size() == 2);
  CHECK(night.rules[1].kind == RuleKind::kFit);
  // The governed threshold can only be raised.
  CHECK(night.rules[1].bound == config::ParameterSet().Micro("fit.threshold_micro"));
}

TEST_CASE("every bad field of a profile is named at once", "[filter]") {
  v1::ValueProfile profile;
  profile.set_cooperative_id("?");
  profile.set_principal_id(IdOf(2, 1).ToString());
  *profile.add_constraints() = RuleOf("fit", common::v1::RULE_KIND_VALUE_EFFECT, "x");
  *profile.add_constraints() = RuleOf("Upper", common::v1::RULE_KIND_VALUE_DIRECTION);
  profile.mutable_constraints(1)->set_mode(common::v1::RULE_MODE_PROJECT);
  profile.mutable_constraints(1)->set_eps_nanonats(-1);
  v1::ScenarioPreferences& preferences = *profile.add_preferences();
  v1::Criterion& criterion = *preferences.add_criteria();
  criterion.set_weight_bp(9'999);
  profile.set_fit_threshold_micro(1'000'001);
  profile.set_explanation(std::string(10'001, 'x'));
  const auto fields = Fields(ParseProfile(Sign(profile)).status());
  for (const char* wanted :
       {"cooperative_id", "version", "constraints[0].id", "constraints[0].probe_ids",
        "constraints[1].id", "constraints[1].kind", "constraints[1].mode",
        "constraints[1].probe_ids", "constraints[1].eps_nanonats", "preferences[0].scenario",
        "preferences[0].criteria.probe_id", "preferences[0].criteria.scale_nanonats",
        "preferences[0].criteria", "fit_threshold_micro", "explanation"}) {
    CAPTURE(wanted);
    CHECK(std::count(fields.begin(), fields.end(), wanted) == 1);
  }
}

TEST_CASE("every bad field of a commitment and of an opening is named at once", "[filter]") {
  v1::UpdateCommitment commitment;
  CHECK(Fields(ParseCommitment(Sign(commitment)).status()) ==
        std::vector<std::string>{"update_id", "round_id", "agent_id", "base_sha256",
                                 "update_sha256", "size_bytes", "sample_count"});
  v1::OpenScreeningRequest opening;
  opening.add_gradients();
  CHECK(Fields(ParseOpening(opening).status()) ==
        std::vector<std::string>{"round_id", "cooperative_id", "round_number", "base_sha256",
                                 "authorised_by.event_id", "manifest", "gradients.probe_id",
                                 "gradients.gradient_sha256"});
  v1::DecideRoundRequest deciding;
  deciding.add_measurements();
  CHECK(Fields(ParseMeasurements(deciding).status()) ==
        std::vector<std::string>{"measurements[0].rows", "measurements[0].update_id",
                                 "measurements[0].probe_id"});
  deciding.mutable_measurements(0)->set_rows(5);
  deciding.mutable_measurements(0)->set_of_rows(5);
  CHECK(Fields(ParseMeasurements(deciding).status()) ==
        std::vector<std::string>{"measurements[0].of_rows", "measurements[0].update_id",
                                 "measurements[0].probe_id"});
}

TEST_CASE("values of a principal's rules are told to the principal alone", "[filter]") {
  Finding own;
  own.rule_id = "mine";
  own.scope = Scope::kPrincipal;
  own.measured = 12;
  own.threshold = 10;
  own.advice = "try again";
  own.verdict = Verdict::kDeny;
  own.reason = "VALUE_EFFECT";
  Finding common = own;
  common.scope = Scope::kFloor;
  StoredDecision stored;
  stored.findings = FindingsToJson({own, common});
  stored.salt = crypto::Salt::FromBytes(std::string(32, 's')).value();
  stored.fit_micro = 5;
  for (const bool to_owner : {true, false}) {
    v1::Decision out;
    REQUIRE(ToProto(stored, Update(), to_owner, out).ok());
    CHECK(out.findings(0).measured() == (to_owner ? "12" : ""));
    CHECK(out.findings(0).threshold() == (to_owner ? "10" : ""));
    CHECK(out.findings(0).advice() == (to_owner ? "try again" : ""));
    CHECK(out.findings(0).reason() == "VALUE_EFFECT");
    CHECK(out.findings(1).measured() == "12");
    CHECK(out.salt().empty() != to_owner);
    CHECK(out.fit_micro() == (to_owner ? 5 : 0));
  }
}

}  // namespace
}  // namespace rochdale::filter
