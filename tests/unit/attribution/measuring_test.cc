#include "services/attribution/measuring.h"

#include <catch2/catch.hpp>
#include <limits>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "libs/crypto/deterministic_id.h"

namespace rochdale::attribution {
namespace {

Uuid IdOf(const char* what, int number) { return crypto::DeterministicId("test", what, number); }

NeededProbe Needed(int update, int probe, int64_t rows, std::optional<int64_t> bound = {}) {
  return {UpdateId{IdOf("update", update)}, ProbeId{IdOf("probe", probe)},
          crypto::Sha256(absl::StrCat("rows of ", probe)), rows, bound};
}

// A made-up world: the loss of each update on each row of a probe in the order of looks, for probes
// that are measured in full as for the others.
struct World {
  std::vector<NeededProbe> needed;
  std::map<UpdateId, int64_t> rise;  // of the mean, nano-nats

  int64_t Loss(const NeededProbe& pair, bool with, int64_t row) const {
    std::minstd_rand noise(static_cast<uint32_t>(row * 977 + 13));
    noise.discard(2);
    const auto base = static_cast<int64_t>(1'000'000'000 + noise() % 1'000'000'000);
    return with ? base + rise.at(pair.update) + static_cast<int64_t>(noise() % 2'000'001) -
                      1'000'000
                : base;
  }
  std::vector<std::vector<int64_t>> Run(const std::vector<Measuring::Part>& parts) const {
    std::vector<std::vector<int64_t>> losses;
    for (const Measuring::Part& part : parts) {
      std::vector<int64_t>& all = losses.emplace_back();
      const int64_t end = part.end == 0 ? needed[part.pairs[0]].rows : part.end;
      for (int64_t r = part.begin; r < end; ++r) {
        all.push_back(Loss(needed[part.pairs[0]], false, r));
      }
      for (const size_t pair : part.pairs) {
        for (int64_t r = part.begin; r < end; ++r) all.push_back(Loss(needed[pair], true, r));
      }
    }
    return losses;
  }
  Measuring MeasureAll(const EarlyRule& rule, std::vector<int64_t>* evaluated = nullptr) const {
    Measuring measuring(rule, needed);
    for (int stage = 0; stage < kMeasureStagesMax; ++stage) {
      const auto parts = measuring.NextParts();
      if (parts.empty()) break;
      const auto losses = Run(parts);
      int64_t count = 0;
      for (const auto& part : losses) count += static_cast<int64_t>(part.size());
      if (evaluated != nullptr) evaluated->push_back(count);
      REQUIRE(measuring.Add(losses, absl::StrCat("spec ", stage)).ok());
    }
    REQUIRE(measuring.NextParts().empty());
    return measuring;
  }
};

World Mixed() {
  World world;
  world.rise = {{UpdateId{IdOf("update", 0)}, 500'000'000},   // breaks
                {UpdateId{IdOf("update", 1)}, -500'000'000},  // helps
                {UpdateId{IdOf("update", 2)}, 10'000'000}};   // lies on the bound
  for (const int update : {0, 1, 2}) {
    world.needed.push_back(Needed(update, 1, 4'000, 10'000'000));
    world.needed.push_back(Needed(update, 2, 4'000));
  }
  return world;
}

TEST_CASE("each stage has what is undecided, on the rows that its look adds") {
  const World world = Mixed();
  Measuring measuring({10, 1'000}, world.needed);
  auto parts = measuring.NextParts();
  REQUIRE(parts.size() == 2);
  for (const Measuring::Part& part : parts) {
    CHECK(part.pairs.size() == 3);
    const bool raced = world.needed[part.pairs[0]].bound.has_value();
    CHECK(part.begin == 0);
    CHECK(part.end == (raced ? 1'000 : 0));
  }
  REQUIRE(measuring.Add(world.Run(parts), "a").ok());
  parts = measuring.NextParts();
  REQUIRE(parts.size() == 1);
  CHECK(parts[0].pairs == std::vector<size_t>{4});
  CHECK(parts[0].begin == 1'000);
  CHECK(parts[0].end == 2'000);
  CHECK(parts[0].of_rows == 4'000);
  REQUIRE(measuring.Add(world.Run(parts), "b").ok());
  parts = measuring.NextParts();
  REQUIRE(parts.size() == 1);
  CHECK(parts[0].begin == 2'000);
  CHECK(parts[0].end == 4'000);
  REQUIRE(measuring.Add(world.Run(parts), "c").ok());
  CHECK(measuring.NextParts().empty());
}

TEST_CASE("sums are those of the rows that were looked at") {
  const World world = Mixed();
  std::vector<int64_t> evaluated;
  const auto measured = world.MeasureAll({10, 1'000}, &evaluated).measurements();
  REQUIRE(measured.size() == world.needed.size());
  for (size_t i = 0; i < measured.size(); ++i) {
    CAPTURE(i);
    const NeededProbe& pair = world.needed[i];
    CHECK(measured[i].update == pair.update);
    CHECK(measured[i].probe == pair.probe);
    const bool early = pair.bound && i != 4;
    CHECK(measured[i].rows == (early ? 1'000 : 4'000));
    CHECK(measured[i].of_rows == 4'000);
    CHECK(measured[i].early() == early);
    int64_t base = 0, with = 0;
    for (int64_t r = 0; r < measured[i].rows; ++r) {
      base += world.Loss(pair, false, r);
      with += world.Loss(pair, true, r);
    }
    CHECK(measured[i].base_loss_sum == base);
    CHECK(measured[i].loss_sum == with);
  }
  // Rows times candidates: 4 on 1,000 and 4,000 rows, then base and one on 1,000 and on 2,000.
  CHECK(evaluated == std::vector<int64_t>{20'000, 2'000, 4'000});
  std::vector<int64_t> in_full;
  const auto all = world.MeasureAll({0, 1'000}, &in_full).measurements();
  CHECK(in_full == std::vector<int64_t>{32'000});
  CHECK(all[4].loss_sum == measured[4].loss_sum);
  for (const Measurement& one : all) CHECK_FALSE(one.early());
}

TEST_CASE("the digest of the evidence covers every run and every integer") {
  const World world = Mixed();
  const Measuring measuring = world.MeasureAll({10, 1'000});
  CHECK(measuring.EvidenceDigest() == world.MeasureAll({10, 1'000}).EvidenceDigest());
  std::string bytes;
  for (const char* spec : {"spec 0", "spec 1", "spec 2"}) {
    bytes += std::string(crypto::Sha256(spec).AsBytes());
  }
  for (const Measurement& one : measuring.measurements()) {
    bytes += std::string(one.update.value.AsBytes());
    bytes += std::string(one.probe.value.AsBytes());
    for (const int64_t number : {one.base_loss_sum, one.loss_sum, one.rows, one.of_rows}) {
      for (int shift = 56; shift >= 0; shift -= 8) {
        bytes.push_back(static_cast<char>(number >> shift));
      }
    }
  }
  CHECK(measuring.EvidenceDigest() == crypto::Sha256(bytes));
}

TEST_CASE("a part has at most as many updates as a mask has bits") {
  World world;
  for (int update = 0; update < 130; ++update) {
    world.rise[UpdateId{IdOf("update", update)}] = update % 2 == 0 ? 0 : 900'000'000;
    // Raced and full pairs of one probe are never in one part.
    world.needed.push_back(
        Needed(update, 1, 3'000, update < 66 ? std::optional<int64_t>(400'000'000) : std::nullopt));
  }
  const auto parts = Measuring({10, 1'000}, world.needed).NextParts();
  REQUIRE(parts.size() == 4);
  for (const Measuring::Part& part : parts) {
    CHECK(part.pairs.size() <= kUpdatesPerPart);
    for (const size_t pair : part.pairs) {
      CHECK(world.needed[pair].bound.has_value() == (part.end != 0));
    }
  }
  const auto measured = world.MeasureAll({10, 1'000}).measurements();
  for (int update = 0; update < 130; ++update) {
    CHECK(measured[update].rows == (update < 66 ? 1'000 : 3'000));
  }
}

TEST_CASE("losses of another run are refused, and sums beyond the wire are held") {
  World world;
  world.rise[UpdateId{IdOf("update", 0)}] = 0;
  world.needed = {Needed(0, 1, 4'000, 5)};
  Measuring measuring({10, 1'000}, world.needed);
  auto losses = world.Run(measuring.NextParts());
  losses[0].resize(losses[0].size() - 2);
  CHECK_FALSE(measuring.Add(losses, "").ok());
  CHECK_FALSE(measuring.Add({}, "").ok());
  losses = {std::vector<int64_t>(2 * 999, 1)};
  CHECK_FALSE(measuring.Add(losses, "").ok());

  const int64_t rows = 40'000;
  Measuring huge({0, 1'000}, {Needed(0, 1, rows)});
  std::vector<int64_t> most(2 * rows, 0);
  std::fill(most.begin() + rows, most.end(), int64_t{1} << 49);
  REQUIRE(huge.Add({most}, "").ok());
  CHECK(huge.measurements()[0].base_loss_sum == 0);
  CHECK(huge.measurements()[0].loss_sum == std::numeric_limits<int64_t>::max());
}

}  // namespace
}  // namespace rochdale::attribution
