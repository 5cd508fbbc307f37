#include "services/filter/deciding.h"

#include <catch2/catch.hpp>
#include <limits>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/crypto/commitment.h"
#include "nlohmann/json.hpp"
#include "tests/unit/filter_service/screening_fixture.h"

namespace rochdale::filter {
namespace {

using namespace testing;  // NOLINT

constexpr int64_t kEps = 10'000'000;  // 0.01 nats
const Uuid kOwnProbe = IdOf(4, 1);
const Uuid kCommonProbe = IdOf(4, 2);

// Five updates of five principals; the floor reviews an effect on the common probe, and the first
// principal refuses one on its own.
struct Round : ScreeningFixture {
  Round() {
    for (int i = 0; i < 5; ++i) Receive(i + 1, Sparse({{i, 0.1f}}));
    Effect(input.floor, "common", kCommonProbe, RuleMode::kDefault, kEps);
    Effect(input.profiles[0], "own", kOwnProbe, RuleMode::kRefuse, kEps);
    screened = Run();
    for (int i = 0; i < 5; ++i) Measure(i, kCommonProbe, 1'000'000, 1'000'000, 10);
    Measure(0, kOwnProbe, 5'000'000, 4'000'000, 10);
  }
  void Measure(int i, const Uuid& probe, int64_t base, int64_t with, int64_t rows) {
    measured.push_back({input.received[i].id, ProbeId{probe}, {base, with, rows}});
  }
  void Remove(int i, const Uuid& probe) {
    std::erase_if(measured, [&](const Measurement& m) {
      return m.update == input.received[i].id && m.probe.value == probe;
    });
  }
  std::vector<Decided> Decide() { return DecideAll(ToDecide(screened, measured)).value(); }

  ScreeningOutput screened;
  std::vector<Measurement> measured;
};

TEST_CASE("deciding asks for exactly what the rules need", "[filter]") {
  Round round;
  CHECK(round.screened.updates[0].probes == std::vector<Uuid>{kOwnProbe, kCommonProbe});
  CHECK(round.screened.updates[1].probes == std::vector<Uuid>{kCommonProbe});
}

TEST_CASE("each kind of finding leads to its state and reason", "[filter]") {
  struct Row {
    const char* name;
    void (*change)(Round&);
    UpdateState state;
    const char* reason;
  };
  const Row rows[] = {
      {"all is well", [](Round&) {}, UpdateState::kAdmitted, ""},
      {"its own probe gets worse by the bound",
       [](Round& r) {
         r.Remove(0, kOwnProbe);
         r.Measure(0, kOwnProbe, 0, 10 * kEps, 10);
       },
       UpdateState::kAdmitted, ""},
      {"its own probe gets worse by more",
       [](Round& r) {
         r.Remove(0, kOwnProbe);
         r.Measure(0, kOwnProbe, 0, 10 * kEps + 1, 10);
       },
       UpdateState::kRejected, "VALUE_EFFECT"},
      {"the common probe gets worse than in the round: a person would look, nobody does",
       [](Round& r) {
         r.Remove(0, kCommonProbe);
         r.Measure(0, kCommonProbe, 1'000'000, 1'000'000 + 10 * kEps + 10, 10);
       },
       UpdateState::kRejected, "REVIEW_EXPIRED"},
      {"a rule of the floor lacks its number", [](Round& r) { r.Remove(0, kCommonProbe); },
       UpdateState::kRejected, "RULE_ERROR"},
      {"a rule of the profile lacks its number", [](Round& r) { r.Remove(0, kOwnProbe); },
       UpdateState::kRejected, "REVIEW_EXPIRED"},
      {"no rows were measured",
       [](Round& r) {
         r.Remove(0, kOwnProbe);
         r.Measure(0, kOwnProbe, 0, 0, 0);
       },
       UpdateState::kRejected, "REVIEW_EXPIRED"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    Round round;
    row.change(round);
    const auto decided = round.Decide();
    CHECK(decided[0].state == row.state);
    CHECK(decided[0].reason == row.reason);
    for (int i = 1; i < 5; ++i) CHECK(decided[i].state == UpdateState::kAdmitted);
  }
}

TEST_CASE("the most extreme sums are decided, not feared", "[filter]") {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  for (const auto& [base, with, rows] :
       {std::tuple{kMin, kMax, int64_t{1}}, std::tuple{kMax, kMin, int64_t{1}},
        std::tuple{kMax, kMax, kMax}, std::tuple{int64_t{0}, int64_t{0}, int64_t{-1}},
        std::tuple{kMin, kMin, kMin}}) {
    CAPTURE(base, with, rows);
    Round round;
    round.Remove(0, kCommonProbe);
    round.Measure(0, kCommonProbe, base, with, rows);
    const auto decided = DecideAll(round.ToDecide(round.screened, round.measured));
    REQUIRE(decided.ok());
    CHECK((*decided)[1].state == UpdateState::kAdmitted);
    if (base < with || rows < 1) CHECK((*decided)[0].state == UpdateState::kRejected);
  }
}

TEST_CASE("the fit is measured and must reach the profile's threshold", "[filter]") {
  Round round;
  Rule fit;
  fit.id = "fit";
  fit.kind = RuleKind::kFit;
  fit.criteria = {{kOwnProbe, 7'500, 1'000'000}, {kCommonProbe, 2'500, 1'000'000}};
  fit.bound = 75'000;
  round.input.profiles[0].rules.push_back(fit);
  // Own: falls by 100,000 a row of a scale of 1,000,000, weight 3/4; common: unchanged.
  auto decided = round.Decide();
  CHECK(decided[0].fit_micro == 75'000);
  CHECK(decided[0].state == UpdateState::kAdmitted);
  round.input.profiles[0].rules.back().bound = 75'001;
  decided = round.Decide();
  CHECK(decided[0].state == UpdateState::kRejected);
  CHECK(decided[0].reason == "VALUE_FIT");
}

TEST_CASE("a decision's body is the same again and hides private values behind a salt",
          "[filter]") {
  Round round;
  const DecidingInput input = round.ToDecide(round.screened, round.measured);
  const auto decided = DecideAll(input).value();
  const crypto::Salt salt =
      crypto::Salt::FromBytes("0123456789abcdef0123456789abcdef").value();
  const std::string body = DecisionBody(input.updates[0], decided[0], input, salt);
  CHECK(body == DecisionBody(input.updates[0], DecideAll(input).value()[0], input, salt));
  CHECK(body != DecisionBody(input.updates[0], decided[0], input,
                             crypto::Salt::FromBytes(std::string(32, 'x')).value()));
  const auto j = nlohmann::json::parse(body);
  CHECK(j.dump() == body);  // canonical: keys sorted, no spaces
  CHECK(j["update_id"] == input.updates[0].id.ToString());
  CHECK(j["effective_sha256"] == input.updates[0].effective->ToString());
  CHECK(j["rules_version"] == 7);
  CHECK(j["verdict"] == "ALLOW");
  REQUIRE(j["findings"].size() == decided[0].decision.findings.size());
  int opened = 0;
  for (size_t i = 0; i < j["findings"].size(); ++i) {
    const auto& written = j["findings"][i];
    const Finding& finding = decided[0].decision.findings[i];
    CHECK(written["rule_id"] == finding.rule_id);
    if (finding.scope != Scope::kPrincipal) {
      if (finding.measured) CHECK(written["measured"] == absl::StrCat(*finding.measured));
      CHECK_FALSE(written.contains("measured_commitment"));
      continue;
    }
    CHECK_FALSE(written.contains("measured"));
    CHECK_FALSE(written.contains("threshold"));
    for (const auto& [field, value] : {std::pair{"measured", *finding.measured},
                                       std::pair{"threshold", *finding.threshold}}) {
      const std::string opening = absl::StrCat(finding.rule_id, "/", finding.probe.ToString(),
                                               "/", field, "/", value);
      CHECK(written[absl::StrCat(field, "_commitment")] ==
            crypto::Commitment(salt, opening).ToString());
      ++opened;
    }
  }
  CHECK(opened == 2);
}

TEST_CASE("what was measured on some rows serves the principal's own effect alone", "[filter]") {
  Round round;
  const std::vector<Decided> in_full = round.Decide();
  for (Measurement& one : round.measured) {
    if (one.probe.value == kOwnProbe) one.loss.of_rows = 40;
  }
  const DecidingInput input = round.ToDecide(round.screened, round.measured);
  const std::vector<Decided> decided = DecideAll(input).value();
  CHECK(decided[0].state == UpdateState::kAdmitted);
  int early = 0;
  const auto body = nlohmann::json::parse(
      DecisionBody(input.updates[0], decided[0], input, crypto::Salt{}));
  for (size_t i = 0; i < decided[0].decision.findings.size(); ++i) {
    const Finding& finding = decided[0].decision.findings[i];
    const auto& written = body["findings"][i];
    if (finding.rule_id != "own") {
      CHECK(finding == in_full[0].decision.findings[i]);
      CHECK_FALSE(written.contains("rows"));
      continue;
    }
    ++early;
    CHECK(finding.measured == in_full[0].decision.findings[i].measured);
    CHECK(written["rows"] == 10);
    CHECK(written["of_rows"] == 40);
  }
  CHECK(early == 1);
  CHECK(FindingsFromJson(FindingsToJson(decided[0].decision.findings)).value() ==
        decided[0].decision.findings);

  // The floor takes no such figure, and it is no part of what is usual for the round.
  Round spoilt;
  spoilt.Remove(1, kCommonProbe);
  spoilt.Measure(1, kCommonProbe, 1'000'000, 1'000'000, 10);
  spoilt.measured.back().loss.of_rows = 40;
  const std::vector<Decided> after = spoilt.Decide();
  CHECK(after[1].state == UpdateState::kRejected);
  CHECK(after[1].reason == "RULE_ERROR");
  CHECK(after[2].state == UpdateState::kAdmitted);
}

TEST_CASE("findings survive being stored", "[filter]") {
  Round round;
  round.Remove(1, kCommonProbe);
  for (const Decided& decided : round.Decide()) {
    const auto again = FindingsFromJson(FindingsToJson(decided.decision.findings));
    REQUIRE(again.ok());
    CHECK(*again == decided.decision.findings);
  }
  CHECK_FALSE(FindingsFromJson("{}").ok());
  CHECK_FALSE(FindingsFromJson("").ok());
}

}  // namespace
}  // namespace rochdale::filter
