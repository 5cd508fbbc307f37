#include "services/filter/composition.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"

namespace rochdale::filter {
namespace {

Uuid Probe(uint8_t number) {
  Uuid id;
  id.bytes[15] = number;
  return id;
}

Rule Make(std::string id, RuleKind kind, int64_t bound = 0, std::vector<Uuid> probes = {},
          RuleMode mode = RuleMode::kDefault) {
  Rule rule;
  rule.id = std::move(id);
  rule.kind = kind;
  rule.mode = mode;
  rule.bound = bound;
  rule.probes = std::move(probes);
  return rule;
}

// Everything measured, nothing wrong: two probes.
Facts Fine() {
  Facts facts;
  facts.integrity = absl::OkStatus();
  facts.authority = absl::OkStatus();
  facts.norm_squared = 100;
  facts.median_squared = 100;
  facts.originality = OriginalityResult{};
  facts.clipped_norm = 1;
  facts.elements = 4;
  for (uint8_t probe = 1; probe <= 2; ++probe) {
    ProbeFacts measured;
    measured.probe = Probe(probe);
    measured.loss = ProbeLoss{1000, 1000, 10};
    measured.groups = {{100, 100, 5}, {200, 200, 5}};
    measured.round = RoundEffect{0, 0};
    measured.direction = ProbeFacts::Direction{0, 0, 1};
    facts.probes.push_back(measured);
  }
  return facts;
}

RuleSet Floor() {
  return {Scope::kFloor, "",
          {Make("integrity", RuleKind::kIntegrity), Make("authority", RuleKind::kAuthority),
           Make("length", RuleKind::kMagnitude, 4'000'000),
           Make("original", RuleKind::kOriginality, 600'000)}};
}

Decision DecideOn(const Facts& facts, const RuleSet& floor, std::vector<RuleSet> packs = {},
                  const RuleSet* profile = nullptr) {
  return Decide(floor, packs, profile, {facts, facts});
}

TEST_CASE("What violates nothing is allowed", "[filter][composition]") {
  const Decision decision = DecideOn(Fine(), Floor());
  CHECK(decision.verdict == Verdict::kAllow);
  CHECK(decision.IsAdmitted());
  CHECK(decision.reason.empty());
  REQUIRE(decision.findings.size() == 4);
  CHECK(decision.findings[2].measured == 1'000'000);
  CHECK(decision.findings[2].threshold == 4'000'000);
  CHECK(decision == DecideOn(Fine(), Floor()));
}

TEST_CASE("Each kind of rule sees its violation", "[filter][rule]") {
  struct Row {
    std::string name;
    Rule rule;
    Scope scope;
    void (*spoil)(Facts&);
    Verdict verdict;
    std::string reason;
  };
  const std::vector<Uuid> p{Probe(1)};
  const std::vector<Row> rows{
      {"integrity", Make("r", RuleKind::kIntegrity), Scope::kFloor,
       [](Facts& f) { f.integrity = Error("TENSOR_MISMATCH", "shape"); }, Verdict::kDeny,
       "TENSOR_MISMATCH"},
      {"authority", Make("r", RuleKind::kAuthority), Scope::kFloor,
       [](Facts& f) { f.authority = Error("MANDATE_EXPIRED", "over"); }, Verdict::kDeny,
       "MANDATE_EXPIRED"},
      {"length", Make("r", RuleKind::kMagnitude, 4'000'000), Scope::kFloor,
       [](Facts& f) { f.norm_squared = 1601; }, Verdict::kDeny, "MAGNITUDE"},
      {"copy", Make("r", RuleKind::kOriginality, 600'000), Scope::kFloor,
       [](Facts& f) { f.originality->r1_micro = 600'001; }, Verdict::kDeny, "ORIGINALITY"},
      {"mixture", Make("r", RuleKind::kOriginality, 600'000), Scope::kFloor,
       [](Facts& f) { f.originality->ev_micro = 950'001; }, Verdict::kDeny, "ORIGINALITY"},
      {"direction projects", Make("r", RuleKind::kValueDirection, 200'000, p), Scope::kFloor,
       [](Facts& f) { f.probes[0].direction = {0.5, 0.2, 1}; }, Verdict::kProject,
       "VALUE_DIRECTION"},
      {"projection that failed", Make("r", RuleKind::kValueDirection, 200'000, p), Scope::kFloor,
       [](Facts& f) { f.probes[0].direction = {0.5, 0.5, 1}; }, Verdict::kDeny, "RULE_ERROR"},
      {"direction refuses", Make("r", RuleKind::kValueDirection, 200'000, p, RuleMode::kRefuse),
       Scope::kPack, [](Facts& f) { f.probes[0].direction = {0.5, 0.5, 1}; }, Verdict::kDeny,
       "VALUE_DIRECTION"},
      {"own effect", Make("r", RuleKind::kValueEffect, 10, p), Scope::kPrincipal,
       [](Facts& f) { f.probes[0].loss->with_sum = 1101; }, Verdict::kDeny, "VALUE_EFFECT"},
      {"the cooperative's effect", Make("r", RuleKind::kValueEffect, 10, p), Scope::kFloor,
       [](Facts& f) { f.probes[0].loss->with_sum = 1101; }, Verdict::kReview, "VALUE_EFFECT"},
      {"effect obliges", Make("r", RuleKind::kValueEffect, 10, p, RuleMode::kOblige), Scope::kPack,
       [](Facts& f) { f.probes[0].loss->with_sum = 1101; }, Verdict::kOblige, "VALUE_EFFECT"},
      {"group harm", Make("r", RuleKind::kGroupHarm, 0, p), Scope::kPack,
       [](Facts& f) { f.probes[0].groups[1].with_sum = 205; }, Verdict::kDeny, "GROUP_HARM"},
      {"lacks a loss", Make("r", RuleKind::kValueEffect, 0, p), Scope::kFloor,
       [](Facts& f) { f.probes[0].loss.reset(); }, Verdict::kDeny, "RULE_ERROR"},
      {"lacks a loss, pack", Make("r", RuleKind::kValueEffect, 0, p), Scope::kPack,
       [](Facts& f) { f.probes[0].loss.reset(); }, Verdict::kReview, "RULE_ERROR"},
      {"lacks originality", Make("r", RuleKind::kOriginality, 0), Scope::kFloor,
       [](Facts& f) { f.originality.reset(); }, Verdict::kDeny, "RULE_ERROR"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    OperationBudget budget(100);
    Facts facts = Fine();
    REQUIRE(EvaluateRule(row.rule, row.scope, "", facts, budget)[0].verdict == Verdict::kAllow);
    row.spoil(facts);
    const auto findings = EvaluateRule(row.rule, row.scope, "", facts, budget);
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].verdict == row.verdict);
    CHECK(findings[0].reason == row.reason);
    CHECK_FALSE(findings[0].advice.empty());
  }
}

TEST_CASE("The bounds themselves pass", "[filter][rule]") {
  Facts facts = Fine();
  facts.norm_squared = 1600;
  facts.originality->r1_micro = 600'000;
  facts.originality->ev_micro = 950'000;
  facts.probes[0].loss->with_sum = 1100;
  const RuleSet profile{Scope::kPrincipal, "",
                        {Make("effect", RuleKind::kValueEffect, 10, {Probe(1)})}};
  CHECK(DecideOn(facts, Floor(), {}, &profile).verdict == Verdict::kAllow);
}

TEST_CASE("An effect is compared with the round's", "[filter][rule]") {
  RuleSet floor{Scope::kFloor, "", {Make("effect", RuleKind::kValueEffect, 10, {Probe(1)})}};
  Facts facts = Fine();
  facts.probes[0].loss->with_sum = 2000;  // 100 a row
  facts.probes[0].round = RoundEffect{60, 10};
  CHECK(DecideOn(facts, floor).verdict == Verdict::kAllow);  // 60 + 4 * 10
  facts.probes[0].round = RoundEffect{60, 9};
  CHECK(DecideOn(facts, floor).verdict == Verdict::kReview);
  floor.rules[0].mode = RuleMode::kRefuse;  // shards declared near-IID
  CHECK(DecideOn(facts, floor).verdict == Verdict::kDeny);
}

TEST_CASE("Fit is a threshold from below", "[filter][rule]") {
  Rule fit = Make("fit", RuleKind::kFit, 0);
  fit.criteria = {{Probe(1), 5000, 100}, {Probe(2), 5000, 100}};
  const RuleSet profile{Scope::kPrincipal, "", {fit}};
  Facts facts = Fine();
  CHECK(DecideOn(facts, Floor(), {}, &profile).verdict == Verdict::kAllow);
  facts.probes[0].loss->with_sum = 1001;
  const Decision refused = DecideOn(facts, Floor(), {}, &profile);
  CHECK(refused.verdict == Verdict::kDeny);
  CHECK(refused.reason == "VALUE_FIT");
  CHECK(refused.findings.back().measured == -500);
  facts.probes[1].loss->with_sum = 999;
  CHECK(DecideOn(facts, Floor(), {}, &profile).verdict == Verdict::kAllow);
  facts.probes.pop_back();
  CHECK(DecideOn(facts, Floor(), {}, &profile).reason == "RULE_ERROR");
}

TEST_CASE("Duties and projections are unions", "[filter][composition]") {
  Facts facts = Fine();
  facts.probes[0].direction = {0.5, 0.1, 1};
  facts.probes[1].direction = {0.5, 0.1, 1};
  facts.probes[0].loss->with_sum = 2000;
  RuleSet floor = Floor();
  floor.rules.push_back(Make("d", RuleKind::kValueDirection, 200'000, {Probe(1)}));
  std::vector<RuleSet> packs(2);
  for (RuleSet& pack : packs) {
    pack.scope = Scope::kPack;
    pack.rules = {Make("e", RuleKind::kValueEffect, 10, {Probe(1)}, RuleMode::kOblige)};
  }
  packs[0].rules[0].duty = "publish";
  packs[1].rules[0].duty = "notify";
  packs[1].rules.push_back(Make("d", RuleKind::kValueDirection, 100'000, {Probe(2), Probe(1)}));
  const Decision decision = DecideOn(facts, floor, packs);
  CHECK(decision.verdict == Verdict::kOblige);
  CHECK(decision.IsAdmitted());
  CHECK(decision.duties == std::set<std::string>{"notify", "publish"});
  CHECK(decision.projected_probes == std::set<Uuid>{Probe(1), Probe(2)});

  std::vector<RuleSet> all = packs;
  all.push_back(floor);
  CHECK(ProjectedDirections(all) ==
        std::vector<ProjectedDirection>{{Probe(1), 100'000}, {Probe(2), 100'000}});
  CHECK(ProbesToMeasure(all) == std::vector<Uuid>{Probe(1)});
}

TEST_CASE("A broken set errs as its place demands", "[filter][composition]") {
  const Facts facts = Fine();
  CHECK(DecideOn(facts, {Scope::kFloor, "", {}}).verdict == Verdict::kDeny);
  RuleSet twice = Floor();
  twice.rules.push_back(twice.rules[0]);
  CHECK(DecideOn(facts, twice).reason == "RULE_ERROR");
  RuleSet pack = Floor();  // says it is the floor, stands among the packs
  CHECK(DecideOn(facts, Floor(), {pack}).verdict == Verdict::kReview);
  pack.scope = Scope::kPack;
  CHECK(DecideOn(facts, pack).verdict == Verdict::kDeny);
  CHECK(DecideOn(facts, Floor(), {pack}).verdict == Verdict::kAllow);
  const RuleSet bad_mode{Scope::kPack, "p",
                         {Make("m", RuleKind::kMagnitude, 9'000'000, {}, RuleMode::kProject)}};
  CHECK(DecideOn(facts, Floor(), {bad_mode}).verdict == Verdict::kReview);
  const RuleSet no_probe{Scope::kPack, "p", {Make("v", RuleKind::kValueEffect)}};
  CHECK(DecideOn(facts, Floor(), {no_probe}).verdict == Verdict::kReview);
  const RuleSet odd_kind{Scope::kFloor, "", {Make("k", static_cast<RuleKind>(99))}};
  CHECK(DecideOn(facts, odd_kind).verdict == Verdict::kDeny);
}

TEST_CASE("Budgets are counts, and nobody spends another's", "[filter][composition]") {
  const Facts facts = Fine();
  CompositionLimits limits;
  limits.operations_max = 4;
  RuleSet pack{Scope::kPack, "wide", {}};
  for (int i = 0; i < 5; ++i) {
    pack.rules.push_back(Make(absl::StrCat("m", i), RuleKind::kMagnitude, 9'000'000));
  }
  const Decision decision = Decide(Floor(), {pack}, nullptr, {facts, facts}, limits);
  CHECK(decision.verdict == Verdict::kReview);
  REQUIRE(decision.findings.size() == 9);  // nothing is skipped
  CHECK(decision.findings[7].verdict == Verdict::kAllow);
  CHECK(decision.findings[8].reason == "RULE_ERROR");
  limits.operations_max = 3;
  CHECK(Decide(Floor(), {}, nullptr, {facts, facts}, limits).verdict == Verdict::kDeny);
  limits.rules_max = 3;
  CHECK(Decide(Floor(), {}, nullptr, {facts, facts}, limits).findings.size() == 1);
}

TEST_CASE("A pack's projection cannot talk the floor round", "[filter][composition]") {
  const RuleSet floor{Scope::kFloor, "",
                      {Make("e", RuleKind::kValueEffect, 10, {Probe(1)}, RuleMode::kRefuse)}};
  Facts alone = Fine();
  alone.probes[0].loss->with_sum = 5000;
  const Facts projected = Fine();
  CHECK(Decide(floor, {}, nullptr, {alone, projected}).verdict == Verdict::kDeny);
  CHECK(Decide(floor, {}, nullptr, {projected, alone}).verdict == Verdict::kDeny);
  CHECK(Decide(floor, {}, nullptr, {projected, projected}).verdict == Verdict::kAllow);
}

// Random rules, well-formed and not, over random figures, some of them missing.
class RandomCase {
 public:
  explicit RandomCase(uint64_t seed) : random_(seed) {}

  RuleSet Set(Scope scope) {
    RuleSet set;
    set.scope = Odd() ? Scope::kPrincipal : scope;
    for (uint64_t n = Below(6); n > 0; --n) {
      Rule rule;
      rule.id = absl::StrCat("r", Below(40));
      rule.kind = static_cast<RuleKind>(Odd() ? 99 : 1 + Below(8));
      rule.bound = static_cast<int64_t>(Below(800'000));
      rule.mode = static_cast<RuleMode>(Odd() ? Below(7) : 2 * Below(3));
      for (uint64_t p = Odd() ? 0 : 1 + Below(2); p > 0; --p) {
        rule.probes.push_back(Probe(1 + Below(2)));
      }
      if (!Odd()) rule.criteria = {{Probe(1 + Below(2)), 10'000, 50}};
      rule.duty = absl::StrCat("duty", Below(3));
      set.rules.push_back(std::move(rule));
    }
    return set;
  }
  Facts Figures() {
    Facts facts = Fine();
    if (Odd()) facts.integrity = Error("TENSOR_MISMATCH", "x");
    if (Odd()) facts.authority = Error("MANDATE_EXPIRED", "x");
    if (Odd()) facts.norm_squared.reset();
    else facts.norm_squared = Below(2000);
    if (Odd()) facts.originality.reset();
    else facts.originality->r1_micro = static_cast<int64_t>(Below(1'000'000));
    for (ProbeFacts& probe : facts.probes) {
      probe.loss->with_sum = static_cast<int64_t>(Below(3000));
      probe.groups[0].with_sum = static_cast<int64_t>(Below(300));
      probe.direction = {static_cast<double>(Below(100)) / 100,
                         static_cast<double>(Below(30)) / 100, 1};
      if (Odd()) probe.loss.reset();
      if (Odd()) probe.round.reset();
      if (Odd()) probe.direction.reset();
    }
    if (Odd()) facts.probes.pop_back();
    return facts;
  }
  bool Odd() { return Below(25) == 0; }
  uint64_t Below(uint64_t bound) { return random_() % bound; }

 private:
  std::mt19937_64 random_;
};

TEST_CASE("Only what a profile alone bounds may be measured on some rows", "[filter][rule]") {
  const RuleSet mine{Scope::kPrincipal, "",
                     {Make("a", RuleKind::kValueEffect, 10, {Probe(1), Probe(2)}),
                      Make("b", RuleKind::kValueEffect, 10, {Probe(2)}, RuleMode::kReview)}};
  const auto bounds = [&](std::vector<RuleSet> others) {
    others.push_back(mine);
    return EarlyBounds(others);
  };
  using Bounds = std::map<Uuid, int64_t>;
  CHECK(bounds({}) == Bounds{{Probe(1), 10}, {Probe(2), 10}});
  // Another bound; the floor, whatever its mode; a pack; group harm; a fit.
  CHECK(bounds({{Scope::kPrincipal, "", {Make("c", RuleKind::kValueEffect, 11, {Probe(2)})}}}) ==
        Bounds{{Probe(1), 10}});
  for (const Scope scope : {Scope::kFloor, Scope::kPack}) {
    for (const RuleMode mode : {RuleMode::kDefault, RuleMode::kRefuse}) {
      CHECK(bounds({{scope, "", {Make("c", RuleKind::kValueEffect, 10, {Probe(1)}, mode)}}}) ==
            Bounds{{Probe(2), 10}});
    }
  }
  CHECK(bounds({{Scope::kPrincipal, "", {Make("c", RuleKind::kGroupHarm, 10, {Probe(1)})}}}) ==
        Bounds{{Probe(2), 10}});
  Rule fit = Make("fit", RuleKind::kFit);
  fit.criteria = {{Probe(1), 10'000, 50}};
  CHECK(bounds({{Scope::kPrincipal, "", {fit}}}) == Bounds{{Probe(2), 10}});
  // And a fit errs where it gets such a figure.
  Facts facts = Fine();
  facts.probes[0].loss->of_rows = 100;
  const RuleSet profile{Scope::kPrincipal, "", {fit}};
  const Decision decision = DecideOn(facts, Floor(), {}, &profile);
  CHECK(decision.verdict == Verdict::kReview);
  CHECK(decision.reason == "RULE_ERROR");
}

TEST_CASE("Packs and profiles only tighten", "[filter][composition][property]") {
  const uint64_t seed = 20240922;
  INFO("seed " << seed);
  RandomCase random(seed);
  int stricter = 0;
  int admitted = 0;
  for (int i = 0; i < 20'000; ++i) {
    CAPTURE(i);
    const RuleSet floor = random.Set(Scope::kFloor);
    std::vector<RuleSet> packs;
    for (uint64_t n = random.Below(4); n > 0; --n) packs.push_back(random.Set(Scope::kPack));
    const RuleSet profile = random.Set(Scope::kPrincipal);
    const Facts alone = random.Figures();
    const Facts final = random.Below(2) == 0 ? alone : random.Figures();
    const Decision base = Decide(floor, {}, nullptr, {alone, alone});
    const Decision whole = Decide(floor, packs, &profile, {alone, final});
    REQUIRE(whole.verdict >= base.verdict);
    REQUIRE(whole.findings.size() >= base.findings.size());
    if (whole.IsAdmitted()) {
      REQUIRE(std::includes(whole.duties.begin(), whole.duties.end(), base.duties.begin(),
                            base.duties.end()));
    }
    REQUIRE(whole == Decide(floor, packs, &profile, {alone, final}));
    // Without a pack it is never stricter than with it.
    if (!packs.empty()) {
      auto fewer = packs;
      fewer.pop_back();
      REQUIRE(whole.verdict >= Decide(floor, fewer, &profile, {alone, final}).verdict);
    }
    stricter += whole.verdict > base.verdict ? 1 : 0;
    admitted += whole.IsAdmitted() ? 1 : 0;
  }
  CHECK(stricter > 1000);
  CHECK(admitted > 200);
}

}  // namespace
}  // namespace rochdale::filter
