#include "libs/config/parameters.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "libs/base/errors.h"

namespace rochdale::config {
namespace {

TEST_CASE("the table is well formed", "[config]") {
  std::set<std::string> names;
  for (const ParameterInfo& info : Parameters()) {
    INFO(info.name);
    CHECK(names.insert(info.name).second);
    CHECK(std::all_of(info.name.begin(), info.name.end(), [](char c) {
      return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '_';
    }));
    CHECK(info.min <= info.default_number);
    CHECK(info.default_number <= info.max);
    CHECK(info.help.size() > 5);
    CHECK((info.type == ParameterType::kText) == !info.choices.empty());
    if (info.type == ParameterType::kText) {
      CHECK(info.min == 0);
      CHECK(info.max == static_cast<int64_t>(info.choices.size()) - 1);
    }
    // The unit stands last in the name.
    CHECK((info.type == ParameterType::kDurationMs) == absl::EndsWith(info.name, "_ms"));
    CHECK((info.type == ParameterType::kBasisPoints) == absl::EndsWith(info.name, "_bp"));
    CHECK((info.type == ParameterType::kMicro) == absl::EndsWith(info.name, "_micro"));
    CHECK(ParseParameter(info.name, DefaultText(info)).value() == info.default_number);
  }
  CHECK(ValidateTogether(ParameterSet()).ok());
}

TEST_CASE("defaults that the specification names", "[config]") {
  const ParameterSet set;
  CHECK(set.Duration("round.open_ms") == absl::Hours(1));
  CHECK(set.Duration("round.reveal_ms") == absl::Minutes(15));
  CHECK(set.Int("round.min_updates") == 3);
  CHECK_FALSE(set.Bool("round.close_early"));
  CHECK(set.Text("membership.join_policy") == "open");
  CHECK(set.Text("credit.preset") == "hardened");
  CHECK(set.Text("credit.estimator") == "shapley");
  CHECK(set.Micro("credit.z_gate_micro") == 1'960'000);
  CHECK(set.Micro("originality.r1_max_micro") == 600'000);
  CHECK(set.Int("update.max_bytes") == int64_t{2} << 30);
  CHECK(set.Int("validation.rows_per_round") == 4'000);
  CHECK(set.Duration("mandate.max_duration_ms") == absl::Hours(24 * 366));
  CHECK(set.BasisPoints("validation.visible_fraction_bp") == 2'000);
}

TEST_CASE("a value is checked against type and bounds", "[config]") {
  struct Row {
    std::string name, text, reason;  // reason empty: accepted
  };
  const std::vector<Row> rows = {
      {"round.min_updates", "1", ""},
      {"round.min_updates", "10000", ""},
      {"round.min_updates", "0", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.min_updates", "10001", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.min_updates", "", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.min_updates", " 3", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.min_updates", "+3", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.min_updates", "03", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.min_updates", "3.0", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.min_updates", "0x3", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.min_updates", "99999999999999999999", "PARAMETER_OUT_OF_BOUNDS"},
      {"fit.threshold_micro", "-1000000", ""},
      {"fit.threshold_micro", "-1000001", "PARAMETER_OUT_OF_BOUNDS"},
      {"fit.threshold_micro", "-0", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.close_early", "true", ""},
      {"round.close_early", "1", "PARAMETER_OUT_OF_BOUNDS"},
      {"round.close_early", "True", "PARAMETER_OUT_OF_BOUNDS"},
      {"credit.preset", "literal", ""},
      {"credit.preset", "Literal", "PARAMETER_OUT_OF_BOUNDS"},
      {"credit.preset", "0", "PARAMETER_OUT_OF_BOUNDS"},
      {"no.such", "1", "PARAMETER_UNKNOWN"},
      {"", "1", "PARAMETER_UNKNOWN"},
      {"round.min_update", "3", "PARAMETER_UNKNOWN"},
  };
  for (const Row& row : rows) {
    INFO(row.name << " = '" << row.text << "'");
    CHECK(ReasonOf(ValidateParameter(row.name, row.text)) == row.reason);
  }
}

TEST_CASE("a set holds what was set and the defaults otherwise", "[config]") {
  ParameterSet set;
  REQUIRE(set.Set("round.min_updates", "7").ok());
  REQUIRE(set.Set("credit.preset", "literal").ok());
  CHECK_FALSE(set.Set("round.min_updates", "x").ok());
  CHECK(set.Int("round.min_updates") == 7);
  CHECK(set.Text("credit.preset") == "literal");
  CHECK(set.AsText("round.min_updates") == "7");
  CHECK(set.AsText("round.close_early") == "false");
  CHECK(set.changed().size() == 2);
  REQUIRE(set.Set("round.min_updates", "3").ok());  // back to the default
  CHECK(set.changed().size() == 1);
}

TEST_CASE("every bad value of a list is named", "[config]") {
  const auto set = ParameterSet::FromTexts(
      {{"round.min_updates", "0"}, {"worker.max_attempts", "101"}, {"round.close_early", "true"}});
  CHECK(ReasonOf(set.status()) == "PARAMETER_OUT_OF_BOUNDS");
  CHECK(absl::StrContains(set.status().message(), "round.min_updates"));
  CHECK(absl::StrContains(set.status().message(), "worker.max_attempts"));
  CHECK_FALSE(absl::StrContains(set.status().message(), "close_early"));
}

TEST_CASE("any values within their bounds fit together", "[config]") {
  ParameterSet low, high;
  for (const ParameterInfo& info : Parameters()) {
    INFO(info.name);
    const auto text = [&info](int64_t number) {
      ParameterInfo at = info;
      at.default_number = number;
      return DefaultText(at);
    };
    REQUIRE(low.Set(info.name, text(info.min)).ok());
    REQUIRE(high.Set(info.name, text(info.max)).ok());
    CHECK(low.AsText(info.name) == text(info.min));
    CHECK(high.AsText(info.name) == text(info.max));
  }
  CHECK(ValidateTogether(low).ok());
  CHECK(ValidateTogether(high).ok());
}

TEST_CASE("tightening has a direction", "[config]") {
  const ParameterInfo& down = *FindParameter("value.effect_eps_nanonats");
  CHECK(Tightens(down, 10, 9));
  CHECK(Tightens(down, 10, 10));
  CHECK_FALSE(Tightens(down, 10, 11));
  const ParameterInfo& up = *FindParameter("validation.rows_per_round");
  CHECK(Tightens(up, 10, 11));
  CHECK_FALSE(Tightens(up, 10, 9));
  const ParameterInfo& none = *FindParameter("round.open_ms");
  CHECK_FALSE(Tightens(none, 10, 11));
  CHECK_FALSE(Tightens(none, 10, 9));
}

}  // namespace
}  // namespace rochdale::config
