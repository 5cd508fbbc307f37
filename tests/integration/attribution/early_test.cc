// Measuring for admission stops early; payment does not.
#include <catch2/catch.hpp>

#include "libs/learning/evaluator.h"
#include "services/attribution/parameters_file.h"
#include "services/attribution/round_steps.h"
#include "services/attribution/run_store.h"
#include "services/attribution/worker/evaluation.h"
#include "tests/integration/attribution/world.h"

namespace rochdale::attribution::testing {
namespace {

constexpr int64_t kProbeRows = 4'000;
constexpr int64_t kBound = 10'000'000;

// Base and update losses on every row of the probe, as the exact evaluator has them.
struct Losses {
  std::vector<int64_t> base, with;

  // Over the rows that come first in this order.
  int64_t Sum(const std::vector<int64_t>& of, const std::vector<int64_t>& order,
              int64_t rows) const {
    int64_t sum = 0;
    for (int64_t i = 0; i < rows; ++i) sum += of[order[i]];
    return sum;
  }
};

// Three updates, each on a probe of 4,000 rows: one breaks it, one serves it, one has its bound
// where its mean is.
struct Race {
  explicit Race(const std::string& error_micro = "10")
      : world({.pool_rows = 900,
               .parameters = {{"admission.early_error_micro", error_micro}}}) {
    world.AddUpdate(-9.0, 1);
    world.AddUpdate(3.0, 2);
    world.AddUpdate(1.0, 3);
    probe.probe_id = world.NewId();
    probe.data = learning::SerializeDataset(MakeRows(kProbeRows, 77));
    probe.rows = kProbeRows;
    world.filter.probes = {probe};
    for (FakeUpdate& update : world.filter.updates) {
      update.probes = {probe.probe_id};
      update.early_bounds = {{probe.probe_id, kBound}};
      found.push_back(Evaluate(update));
    }
    int64_t rise = 0;
    for (int64_t r = 0; r < kProbeRows; ++r) rise += found[2].with[r] - found[2].base[r];
    world.filter.updates[2].early_bounds[probe.probe_id] = rise / kProbeRows;
  }

  Losses Evaluate(const FakeUpdate& update) {
    const std::string base =
        SerializeCheckpoint(learning::InitialParameters(world.spec, "7"), world.spec);
    RunSpec spec;
    spec.model = world.spec;
    spec.base = crypto::Sha256(base);
    spec.lineages = 3;
    spec.updates = {{UpdateId{}, crypto::Sha256(update.effective)}};
    spec.parts = {{crypto::Sha256(probe.data), kProbeRows, {0}, {0, 1}, {}}};
    learning::HostEvaluator host;
    RunEvaluation evaluation(
        spec,
        [&](const crypto::Digest& digest) -> absl::StatusOr<std::string> {
          if (digest == spec.base) return base;
          return digest == spec.parts[0].data ? probe.data : update.effective;
        },
        host);
    const std::vector<int64_t> all =
        evaluation.Evaluate({0, 0, kProbeRows, 0, 2}).value().losses;
    return {{all.begin(), all.begin() + kProbeRows}, {all.begin() + kProbeRows, all.end()}};
  }

  std::vector<int64_t> Order(const std::string& round) {
    return EarlyOrder(world.secrets().RoundSeed(RoundId::Parse(round).value()),
                      crypto::Sha256(probe.data), kProbeRows);
  }
  std::optional<RunSpec> SpecOf(const std::string& round, RunPurpose purpose, int stage) {
    const RunId id = RunIdOf(RoundId::Parse(round).value(), purpose, 0, stage);
    const auto run = world.db().Transact(absl::Seconds(5),
                                         [&](pg::Transaction& tx) { return FindRun(tx, id); });
    if (!run.value()) return std::nullopt;
    return ParseRunSpec((*run)->spec).value();
  }
  // What the filter was told, against what those rows give.
  void CheckMeasured(const std::string& round, const std::vector<int64_t>& rows) {
    const std::vector<int64_t> order = Order(round);
    const auto measured = world.filter.round(round).measurements;
    REQUIRE(measured.size() == rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      CAPTURE(i);
      CHECK(measured[i].rows() == rows[i]);
      CHECK(measured[i].of_rows() == (rows[i] < kProbeRows ? kProbeRows : 0));
      CHECK(measured[i].base_loss_sum_nanonats() == found[i].Sum(found[i].base, order, rows[i]));
      CHECK(measured[i].loss_sum_nanonats() == found[i].Sum(found[i].with, order, rows[i]));
    }
    // Those that are clear: above the bound, and below.
    const auto rise = [&](size_t i) {
      return measured[i].loss_sum_nanonats() - measured[i].base_loss_sum_nanonats();
    };
    CHECK(rise(0) > kBound * rows[0]);
    CHECK(rise(1) < 0);
  }

  World world;
  FakeProbe probe;
  std::vector<Losses> found;
};

TEST_CASE("clear verdicts take the first rows, close ones all, and payment all always") {
  Race race;
  race.world.Start();
  const std::string id = race.world.Train(1);
  const v1::Round round = race.world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  race.CheckMeasured(id, {1'000, 1'000, kProbeRows});
  // Three runs: everything on 1,000 rows, then the base and the close one on what looks add.
  std::vector<std::pair<int64_t, int64_t>> sizes;
  for (int stage = 0; stage < kMeasureStagesMax; ++stage) {
    const auto spec = race.SpecOf(id, RunPurpose::kMeasure, stage);
    if (!spec) break;
    REQUIRE(spec->parts.size() == 1);
    sizes.emplace_back(spec->parts[0].rows, spec->parts[0].candidates());
  }
  CHECK(sizes == std::vector<std::pair<int64_t, int64_t>>{{1'000, 4}, {1'000, 2}, {2'000, 2}});
  // What is paid follows from all settlement rows.
  const auto game = race.SpecOf(id, RunPurpose::kGame, 0);
  REQUIRE(game);
  REQUIRE(game->parts.size() == 1);
  CHECK(game->parts[0].rows == 200);
  CHECK_FALSE(race.SpecOf(id, RunPurpose::kGame, 1));
  CHECK(race.world.EvidenceOf(id).rows.size() == 200);
  race.world.Retire({id});
  CHECK(race.world.Recompute(race.world.EvidenceOf(id)).ToString() == "OK");
  CHECK(race.world.filter.complaints().empty());
}

TEST_CASE("an error of 0 measures every row at once") {
  Race race("0");
  race.world.Start();
  const std::string id = race.world.Train(1);
  REQUIRE(race.world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  race.CheckMeasured(id, {kProbeRows, kProbeRows, kProbeRows});
  CHECK(race.SpecOf(id, RunPurpose::kMeasure, 0)->parts[0].data ==
        crypto::Sha256(race.probe.data));
  CHECK_FALSE(race.SpecOf(id, RunPurpose::kMeasure, 1));
}

TEST_CASE("a process that dies between looks leaves the same integers") {
  Race race;
  const std::string id = race.world.TrainDyingAt(
      {"run/1", "run/1/1", "run/1/2", "decided"}, 1);
  REQUIRE(race.world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  race.CheckMeasured(id, {1'000, 1'000, kProbeRows});
  CHECK(race.world.Number("SELECT count(*) FROM runs WHERE purpose = 1") == 3);
  CHECK(race.world.filter.complaints().empty());  // no request had two bodies
}

}  // namespace
}  // namespace rochdale::attribution::testing
