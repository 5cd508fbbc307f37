#include "services/filter/screening.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "libs/base/errors.h"
#include "nlohmann/json.hpp"
#include "tests/unit/filter_service/screening_fixture.h"

namespace rochdale::filter {
namespace {

using namespace testing;  // NOLINT

TEST_CASE("updates are clipped to the lower median length and rounded to the grid", "[filter]") {
  ScreeningFixture f;
  for (int i = 0; i < 4; ++i) f.Receive(i + 1, Sparse({{i, 0.1f * (i + 1)}}));
  const ScreeningOutput out = f.Run();
  REQUIRE(out.updates.size() == 4);
  CHECK(out.lineages == 4);
  const double expected[] = {0.1, 0.2, 0.2, 0.2};  // the lower median of four is the second
  for (int i = 0; i < 4; ++i) {
    CAPTURE(i);
    CHECK_FALSE(out.updates[i].denied);
    CHECK(out.updates[i].update.state == UpdateState::kScreening);
    CHECK(std::abs(f.NormOfEffective(out.updates[i].update) - expected[i]) < 1e-6);
    CHECK(out.updates[i].update.lineage == out.updates[i].update.id);
    const auto facts = nlohmann::json::parse(out.updates[i].update.facts);
    CHECK(facts["median_squared"] == nlohmann::json::parse(out.updates[1].update.facts)
                                         ["norm_squared"]);
  }
  // What is not cut is the submitted number, rounded half to even.
  CHECK(f.EffectiveOf(out.updates[0].update)[0] == std::lrint(std::ldexp(0.1f, 20)));
  // Clipping by half the median.
  f.input.clip_micro = 500'000;
  CHECK(std::abs(f.NormOfEffective(f.Run().updates[3].update) - 0.1) < 1e-6);
}

TEST_CASE("screening again gives the same bits", "[filter]") {
  ScreeningFixture f;
  std::mt19937 random(20240611);
  std::normal_distribution<float> normal(0, 0.05f);
  for (int i = 0; i < 6; ++i) {
    std::vector<float> values(kSize);
    for (float& value : values) value = normal(random);
    f.Receive(i + 1, values);
    if (i < 2) f.Direct(i + 1, values, RuleMode::kProject, 100'000);
  }
  const ScreeningOutput first = f.Run();
  const ScreeningOutput again = f.Run();
  REQUIRE(first.updates.size() == again.updates.size());
  for (size_t i = 0; i < first.updates.size(); ++i) {
    CHECK(first.updates[i].update.effective == again.updates[i].update.effective);
    CHECK(first.updates[i].update.facts == again.updates[i].update.facts);
  }
  CHECK(first.lineages == again.lineages);
}

TEST_CASE("a direction is projected away, no further", "[filter]") {
  ScreeningFixture f;
  f.Direct(1, Sparse({{0, 2.0f}}), RuleMode::kProject, 0);
  f.Receive(1, Sparse({{0, 0.3f}, {1, 0.4f}}));   // rises the probe's loss
  f.Receive(2, Sparse({{0, -0.3f}, {2, 0.4f}}));  // lowers it
  const ScreeningOutput out = f.Run();
  const auto first = f.EffectiveOf(out.updates[0].update);
  CHECK(first[0] == 0);
  CHECK(first[1] == std::lrint(std::ldexp(0.4f, 20)));
  const auto second = f.EffectiveOf(out.updates[1].update);
  CHECK(second[0] == std::lrint(std::ldexp(-0.3f, 20)));
  const auto decided = DecideAll(f.ToDecide(out)).value();
  CHECK(decided[0].state == UpdateState::kProjected);
  CHECK(decided[0].decision.projected_probes == std::set<Uuid>{IdOf(4, 1)});
  CHECK(decided[1].state == UpdateState::kAdmitted);
}

TEST_CASE("a direction that is not to be projected is measured and refuses", "[filter]") {
  ScreeningFixture f;
  f.Direct(1, Sparse({{0, 2.0f}}), RuleMode::kRefuse, 500'000);
  f.Direct(2, Sparse({{5, 1.0f}}), RuleMode::kProject, 0);
  f.Receive(1, Sparse({{0, 0.3f}, {1, 0.4f}}));  // cosine 0.6, above 0.5
  f.Receive(2, Sparse({{0, 0.1f}, {2, 0.49f}, {5, 0.1f}}));
  const ScreeningOutput out = f.Run();
  CHECK(f.EffectiveOf(out.updates[0].update)[0] == std::lrint(std::ldexp(0.3f, 20)));
  CHECK(f.EffectiveOf(out.updates[1].update)[5] == 0);
  const auto decided = DecideAll(f.ToDecide(out)).value();
  CHECK(decided[0].state == UpdateState::kRejected);
  CHECK(decided[0].reason == "VALUE_DIRECTION");
  CHECK(decided[1].state == UpdateState::kProjected);
}

TEST_CASE("a copy is found, tied to its original and counted with it", "[filter]") {
  ScreeningFixture f;
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<std::vector<float>> honest(4, std::vector<float>(kSize));
  for (auto& values : honest) {
    for (float& value : values) value = normal(random);
  }
  for (int i = 0; i < 4; ++i) f.Receive(i + 1, honest[i]);
  std::vector<float> copy = honest[1];
  for (float& value : copy) value = 0.5f * value + 0.1f * normal(random) * 0.5f;
  f.Receive(5, copy);
  const ScreeningOutput out = f.Run();
  CHECK(out.lineages == 4);
  for (int i = 0; i < 4; ++i) CHECK_FALSE(out.updates[i].denied);
  const Screened& tied = out.updates[4];
  CHECK(tied.denied);
  CHECK(tied.probes.empty());
  CHECK(tied.update.lineage == f.input.received[1].id);
  CHECK(tied.update.lineage_principal == f.input.received[1].principal);
  const auto decided = DecideAll(f.ToDecide(out)).value();
  CHECK(decided[4].state == UpdateState::kRejected);
  CHECK(decided[4].reason == "ORIGINALITY");

  // The next round: a copy of an earlier round's update, by who copied before, is one still.
  ScreeningFixture next;
  for (const Screened& screened : out.updates) next.input.recent.push_back(screened.update);
  for (const auto& values : honest) next.Put(values);
  next.Put(copy);
  std::vector<float> fresh(kSize);
  for (float& value : fresh) value = normal(random);
  next.Receive(6, honest[2]);
  next.Receive(7, fresh);
  const ScreeningOutput later = next.Run();
  CHECK(later.updates[0].denied);
  CHECK_FALSE(later.updates[1].denied);
}

std::vector<float> Random(std::mt19937& random) {
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> values(kSize);
  for (float& value : values) value = normal(random);
  return values;
}

TEST_CASE("of one owner the earliest commitment counts, the others are refused", "[filter]") {
  ScreeningFixture f;
  std::mt19937 random(11);
  f.Receive(1, Random(random), absl::OkStatus(), {"x"});
  f.Receive(2, Random(random), absl::OkStatus(), {"y"});
  f.Receive(3, Random(random), absl::OkStatus(), {"x", "z"});
  f.Receive(4, Random(random), absl::OkStatus(), {"z"});  // of one with 1 through 3
  f.Receive(5, Random(random));
  f.Receive(6, Random(random));
  const std::vector<int> apart = {0, 1, 0, 0, 4, 5}, together = {0, 1, 0, 0, 4, 4};
  for (const bool joined : {false, true}) {
    f.input.unattested_together = joined;
    const std::vector<int>& first = joined ? together : apart;
    const ScreeningOutput out = f.Run();
    CHECK(out.lineages == (joined ? 3 : 4));
    const auto decided = DecideAll(f.ToDecide(out)).value();
    for (int i = 0; i < 6; ++i) {
      CAPTURE(joined, i);
      CHECK(out.updates[i].denied == (first[i] != i));
      CHECK(out.updates[i].update.lineage == f.input.received[first[i]].id);
      CHECK(decided[i].reason == (first[i] == i ? "" : "OWNER_HAS_UPDATE"));
      CHECK(OwnershipFromJson(out.updates[i].update.facts)->owners ==
            f.input.ownership[i].owners);
      CHECK(OwnershipFromJson(out.updates[i].update.facts)->attestation ==
            f.input.ownership[i].attestation);
    }
  }
}

TEST_CASE("what an owner's earliest update comes to changes nothing for the later ones",
          "[filter]") {
  ScreeningFixture f;
  std::mt19937 random(12);
  f.Receive(1, Random(random));
  f.Receive(2, Random(random));
  const std::vector<float> copied = Random(random);
  f.Receive(3, copied);
  f.Receive(4, copied, absl::OkStatus(), {"x"});  // a copy, which stands for its owner
  f.Receive(5, Random(random), absl::OkStatus(), {"x"});
  f.Receive(6, Random(random), Error("MANDATE_EXPIRED", "no more"), {"y"});
  f.Receive(7, Random(random), absl::OkStatus(), {"y"});  // the one before takes no part
  const ScreeningOutput out = f.Run();
  const auto decided = DecideAll(f.ToDecide(out)).value();
  CHECK(out.lineages == 4);
  CHECK(decided[3].reason == "ORIGINALITY");
  CHECK(decided[4].reason == "OWNER_HAS_UPDATE");
  CHECK(out.updates[4].update.lineage == f.input.received[2].id);
  CHECK(decided[2].state == UpdateState::kAdmitted);  // who was copied loses nothing
  CHECK(decided[5].reason == "MANDATE_EXPIRED");
  CHECK(decided[6].state == UpdateState::kAdmitted);
}

TEST_CASE("an owner's principals are not compared with each other, in later rounds, too",
          "[filter]") {
  ScreeningFixture before;
  std::mt19937 random(13);
  const std::vector<float> own = Random(random);
  before.Receive(1, own, absl::OkStatus(), {"x"});
  before.Receive(2, Random(random), absl::OkStatus(), {"y"});
  before.Receive(3, own, absl::OkStatus(), {"v"});  // copies the first
  const ScreeningOutput then = before.Run();
  CHECK(then.lineages == 2);
  ScreeningFixture now;
  for (const Screened& screened : then.updates) {
    now.input.recent.push_back(screened.update);
  }
  for (const Update& update : before.input.received) {
    CHECK(now.store->Put(before.store->Get(update.digest)->text()).ok());
  }
  now.Receive(4, own, absl::OkStatus(), {"x"});   // of the owner of 1: its own work again
  now.Receive(5, Random(random), absl::OkStatus(), {"w"});
  const ScreeningOutput out = now.Run();
  CHECK_FALSE(out.updates[0].denied);
  CHECK_FALSE(out.updates[1].denied);
  now.input.ownership[0].owners = {crypto::Sha256("u")};  // of nobody before: a copy
  CHECK(now.Run().updates[0].denied);
}

TEST_CASE("who may not submit takes no part in medians and counts", "[filter]") {
  ScreeningFixture f;
  f.Receive(1, Sparse({{0, 0.1f}}));
  f.Receive(2, Sparse({{1, 7.0f}}), Error("MANDATE_EXPIRED", "no more"));
  f.Receive(3, Sparse({{2, 7.0f}}), Error("MANDATE_EXPIRED", "no more"));
  f.Receive(4, Sparse({{0, 0.1f}, {3, 0.2f}}), Error("AGENT_PAUSED", "no more"));
  f.Receive(5, Sparse({{4, 0.2f}}));
  // Asked for by a rule of the floor: its absence must not hide why the update is refused.
  f.Effect(f.input.floor, "effect", IdOf(4, 9), RuleMode::kRefuse, 0);
  const ScreeningOutput out = f.Run();
  CHECK(out.lineages == 2);
  CHECK(std::abs(f.NormOfEffective(out.updates[4].update) - 0.1) < 1e-6);
  for (const int i : {1, 2, 3}) {
    CHECK(out.updates[i].denied);
    CHECK_FALSE(out.updates[i].update.effective.has_value());
    CHECK(out.updates[i].probes.empty());
  }
  CHECK(out.updates[0].probes == std::vector<Uuid>{IdOf(4, 9)});
  const auto decided = DecideAll(f.ToDecide(out)).value();
  CHECK(decided[1].reason == "MANDATE_EXPIRED");
  CHECK(decided[3].reason == "AGENT_PAUSED");
  CHECK(decided[0].reason == "RULE_ERROR");  // nothing was measured for it
}

TEST_CASE("stored ownership that does not parse is said to be so", "[filter]") {
  CHECK(OwnershipFromJson("{}")->owners.empty());
  for (const char* text : {"", "[]", "{\"owners\":[1]}", "{\"owners\":[\"ab\"]}",
                           "{\"attestation\":\"?\"}"}) {
    CAPTURE(text);
    CHECK_FALSE(OwnershipFromJson(text).ok());
  }
}

TEST_CASE("rounds without updates, and updates without length", "[filter]") {
  ScreeningFixture f;
  CHECK(f.Run().lineages == 0);
  f.Receive(1, Sparse({}));
  const ScreeningOutput zero = f.Run();
  CHECK(zero.updates[0].update.effective.has_value());
  CHECK(DecideAll(f.ToDecide(zero)).value()[0].state == UpdateState::kAdmitted);
  f.Receive(2, Sparse({{1, 0.5f}}));
  f.Receive(3, Sparse({{2, 0.5f}}));
  const ScreeningOutput out = f.Run();
  CHECK(out.updates.size() == 3);
  CHECK(f.NormOfEffective(out.updates[0].update) == 0);
  CHECK(std::abs(f.NormOfEffective(out.updates[1].update) - 0.5) < 1e-6);
}

TEST_CASE("an update far above the median is refused for its length", "[filter]") {
  ScreeningFixture f;
  for (int i = 0; i < 3; ++i) f.Receive(i + 1, Sparse({{i, 0.1f}}));
  f.Receive(4, Sparse({{3, 0.41f}}));
  const auto decided = DecideAll(f.ToDecide(f.Run())).value();
  CHECK(decided[0].state == UpdateState::kAdmitted);
  CHECK(decided[3].reason == "MAGNITUDE");
}

TEST_CASE("an update that cannot be projected is refused and holds up nobody", "[filter]") {
  ScreeningFixture f;
  // More directions than one projection takes: every update errs, none is admitted unprojected.
  for (int i = 0; i < 64; ++i) {
    f.Direct(i + 1, Sparse({{i, 1.0f}}), RuleMode::kProject, 0);
  }
  f.input.floor.rules.back().probes.push_back(IdOf(4, 200));
  f.input.gradients.push_back({ProbeId{IdOf(4, 200)}, f.Put(Sparse({{1, 2.0f}}))});
  f.Receive(1, Sparse({{0, 0.5f}}));
  const ScreeningOutput out = f.Run();
  CHECK(out.updates[0].denied);
  CHECK_FALSE(out.updates[0].update.effective.has_value());
  const auto decided = DecideAll(f.ToDecide(out)).value();
  CHECK(decided[0].state == UpdateState::kRejected);
  CHECK(decided[0].reason == "RULE_ERROR");
}

TEST_CASE("a gradient that is missing denies, a blob that is missing fails", "[filter]") {
  ScreeningFixture f;
  f.Direct(1, Sparse({{0, 1.0f}}), RuleMode::kProject, 0);
  f.input.gradients.clear();
  f.Receive(1, Sparse({{1, 0.5f}}));
  CHECK(DecideAll(f.ToDecide(f.Run())).value()[0].reason == "RULE_ERROR");
  REQUIRE(f.store->Delete(f.input.received[0].digest).ok());
  CHECK(ReasonOf(Screen(f.input, *f.store).status()) == "NOT_FOUND");
}

TEST_CASE("what is wrong with a delta", "[filter]") {
  const std::string manifest = ManifestOfTests().CanonicalText();
  const auto check = [&](const std::string& file) {
    // A copy at an aligned address, as a mapping is.
    const std::vector<uint8_t> bytes(file.begin(), file.end());
    const absl::Status status = CheckDelta(bytes, manifest);
    return status.ok() ? "OK" : ReasonOf(status);
  };
  const auto file_of = [](std::vector<float> values) {
    return tensor::SerializeFlatF32(ManifestOfTests(), values).value();
  };
  const std::string good = file_of(Sparse({{0, 0.5f}, {63, -7.99f}}));
  CHECK(check(good) == "OK");
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), inf, -inf, 8.0f, -8.0f, 1e30f}) {
    CAPTURE(bad);
    CHECK(check(file_of(Sparse({{17, bad}}))) == "TENSOR_NOT_FINITE");
  }
  for (size_t cut = 0; cut < good.size(); cut += 7) {
    CAPTURE(cut);
    CHECK(check(good.substr(0, cut)) == "TENSOR_MALFORMED");
  }
  CHECK(check(good + "x") == "TENSOR_MALFORMED");
  std::string header_too_long = good;
  header_too_long[7] = '\x7f';  // a header of 9 * 10^18 bytes
  CHECK(check(header_too_long) == "TENSOR_MALFORMED");
  // Other names, shapes or dtypes.
  using tensor::DType;
  const auto other = [](std::vector<tensor::TensorSpec> specs, size_t count) {
    return tensor::SerializeFlatF32(tensor::TensorManifest::Create(std::move(specs)).value(),
                                    std::vector<float>(count, 0.5f))
        .value();
  };
  CHECK(check(other({{"a.weight", DType::kF32, {10, 6}}, {"b.bias", DType::kF32, {4}}}, 64)) ==
        "TENSOR_MISMATCH");
  CHECK(check(other({{"a.weight", DType::kF32, {6, 10}}}, 60)) == "TENSOR_MISMATCH");
  CHECK(check(other({{"a.weight", DType::kF32, {6, 10}},
                     {"b.bias", DType::kF32, {4}},
                     {"c", DType::kF32, {1}}}, 65)) == "TENSOR_MISMATCH");
  CHECK(check(tensor::SerializeFlatI32(ManifestOfTests().WithDType(DType::kI32),
                                       std::vector<int32_t>(64, 1))
                  .value()) == "TENSOR_MISMATCH");
  // Seeded noise in the header: never accepted as something else, never a crash.
  std::mt19937 random(99);
  const size_t header = good.size() - 64 * 4;
  for (int i = 0; i < 2'000; ++i) {
    std::string noisy = good;
    const size_t at = random() % header;
    noisy[at] = static_cast<char>(random());
    if (noisy == good) continue;
    CAPTURE(i, at);
    CHECK(check(noisy) != "");
    CHECK(check(noisy) != "INTERNAL");
  }
}

TEST_CASE("stored facts that do not parse are said to be so", "[filter]") {
  for (const char* text : {"", "[]", "{", "{\"norm_squared\":\"1x\"}",
                           "{\"norm_squared\":\"1\",\"median_squared\":\"\"}"}) {
    CAPTURE(text);
    CHECK_FALSE(FactsFromJson(text).ok());
  }
}

}  // namespace
}  // namespace rochdale::filter
