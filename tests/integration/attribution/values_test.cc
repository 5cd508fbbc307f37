// Rounds whose updates keep the floor one by one, and break it together.
#include <catch2/catch.hpp>

#include <algorithm>
#include <optional>
#include <set>

#include "libs/crypto/entry_kinds.h"
#include "libs/learning/aggregation.h"
#include "libs/learning/evaluator.h"
#include "services/attribution/parameters_file.h"
#include "tests/integration/attribution/world.h"

namespace rochdale::attribution::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

// What every coalition of the world's updates does to the loss of these rows, exactly.
class Rises {
 public:
  Rises(const World& world, const learning::Dataset& rows)
      : spec_(world.spec), rows_(rows), base_(learning::InitialParameters(world.spec, "7")) {
    const auto count = static_cast<int64_t>(world.filter.updates.size());
    for (const FakeUpdate& update : world.filter.updates) {
      updates_.push_back(learning::PrepareUpdate(
          {}, count, updates_.size(), ParseEffectiveUpdate(update.effective, spec_).value()));
    }
    aggregator_.emplace(learning::AggregationRule::kMean, 0, count, base_,
                        std::vector<learning::GridSpan>(updates_.begin(), updates_.end()));
  }

  // Mean over the rows, rounded up, as the filter's rules have it.
  int64_t operator()(uint64_t mask) {
    learning::HostEvaluator evaluator;
    const std::vector<int64_t> losses =
        aggregator_->Evaluate(evaluator, spec_, std::vector<uint64_t>{0, mask}, rows_)
            .value().losses;
    const auto all = absl::MakeConstSpan(losses);
    const auto count = static_cast<size_t>(rows_.count());
    const absl::int128 rise = LossSum(all.subspan(count)) - LossSum(all.subspan(0, count));
    return static_cast<int64_t>(rise > 0 ? (rise + count - 1) / count : rise / count);
  }
  crypto::Digest Checkpoint(uint64_t mask) {
    return crypto::Sha256(SerializeCheckpoint(aggregator_->Parameters(mask), spec_));
  }

 private:
  const learning::ModelSpec spec_;
  const learning::Dataset rows_;
  const learning::GridVector base_;
  std::vector<learning::GridVector> updates_;
  std::optional<learning::Aggregator> aggregator_;
};

// Rows of a probe that training harms: all with the one label that the model, as it begins, gives
// too often.
learning::Dataset HarmedRows(const World& world) {
  learning::Dataset harmed;
  int64_t most = 0;
  for (int label = 0; label < 4; ++label) {
    learning::Dataset rows = MakeRows(40, 80);
    rows.labels.assign(rows.labels.size(), label);
    const int64_t rise = Rises(world, rows)(0b11);
    if (rise > most) most = rise, harmed = std::move(rows);
  }
  return harmed;
}

TEST_CASE("of updates that break the floor only together the one that adds most is refused") {
  // Whatever improves is paid, which makes no difference to who is refused.
  World world({.parameters = {{"credit.z_bound_micro", "0"}}});
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  const learning::Dataset rows = HarmedRows(world);
  Rises rises(world, rows);
  const int64_t eps = std::max(rises(0b01), rises(0b10));  // each alone keeps it, one to the brim
  REQUIRE(rises(0b01) != rises(0b10));
  REQUIRE(rises(0b11) > eps);
  const int kept = rises(0b01) < rises(0b10) ? 0 : 1, refused = 1 - kept;
  const FakeProbe probe{world.NewId(), "", learning::SerializeDataset(rows), eps};
  world.filter.probes = {probe};
  for (FakeUpdate& update : world.filter.updates) update.probes = {probe.probe_id};
  world.Start();
  const std::string id = world.Train(2);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);

  // One by one they were measured to keep the bound, and were admitted.
  const FakeFilter::Round told = world.filter.round(id);
  REQUIRE(told.measurements.size() == 2);
  for (const filter_v1::ProbeMeasurement& one : told.measurements) {
    CHECK(one.loss_sum_nanonats() - one.base_loss_sum_nanonats() <= eps * one.rows());
  }
  CHECK(round.admitted() == 2);
  CHECK(round.applied() == 1);
  CHECK(round.next_sha256() == rises.Checkpoint(uint64_t{1} << kept).ToString());
  CHECK(round.next_sha256() != rises.Checkpoint(0b11).ToString());
  CHECK(world.WaitForEnd(2).base_sha256() == round.next_sha256());

  const Evidence evidence = world.EvidenceOf(id);
  CHECK(evidence.applied_mask == uint64_t{1} << kept);
  CHECK(RefusedMask(evidence) == uint64_t{1} << refused);
  CHECK(evidence.values.bounds ==
        std::vector<ProbeBound>{{ProbeId::Parse(probe.probe_id).value(), 40, eps}});
  CHECK(evidence.values.masks == std::vector<uint64_t>{0, 0b11, 0b10, 0b01});
  CHECK_FALSE(evidence.credits[refused].harmful);
  CHECK(evidence.credits[refused].estimate > 0);
  CHECK(evidence.credits[refused].credit == 0);
  CHECK(evidence.credits[kept].credit > 0);
  // What the round is paid for is what the checkpoint that was made gained.
  const auto gain = static_cast<int64_t>(
      (evidence.best_loss_sum - evidence.coalition_loss_sums[evidence.applied_mask]) / 200);
  CHECK(evidence.credits[kept].credit <= gain);

  // The filter, the log, and whoever asks are told the same.
  CHECK(told.updates.size() == 2);
  CHECK(Eventually([&] {
    return world.filter.round(id).updates[refused].reason() == "NOT_APPLIED_VALUES";
  }));
  const filter_v1::Update update = world.filter.round(id).updates[refused];
  CHECK(update.state() == filter_v1::UPDATE_STATE_NOT_APPLIED);
  CHECK(world.filter.round(id).updates[kept].state() == filter_v1::UPDATE_STATE_APPLIED);
  int said = 0;
  for (const crypto::Entry& entry : world.Outbox()) {
    if (entry.kind != kind::kUpdateNotApplied ||
        entry.subject.ToString() != update.update_id()) {
      continue;
    }
    CHECK(entry.Text(tag::kReason).value() == "NOT_APPLIED_VALUES");
    ++said;
  }
  CHECK(said == 1);
  for (const v1::Credit& credit : world.Credits(id)) {
    CHECK(credit.applied() == (credit.update_id() != update.update_id()));
  }
  CHECK(world.filter.complaints().empty());
  world.Retire({id});
  CHECK(world.Recompute(evidence).ToString() == "OK");
}

TEST_CASE("a process that dies while the values of all are tested refuses the same update") {
  World world;
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  const learning::Dataset rows = HarmedRows(world);
  Rises rises(world, rows);
  const int64_t eps = std::max(rises(0b01), rises(0b10));
  world.filter.probes = {{world.NewId(), "", learning::SerializeDataset(rows), eps}};
  const std::string id = world.TrainDyingAt({"gate stored", "run/5", "run/5", "values tested",
                                             "run/3", "settlement stored", "outcomes recorded"},
                                            1);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  CHECK(round.next_sha256() ==
        rises.Checkpoint(rises(0b01) < rises(0b10) ? 0b01 : 0b10).ToString());
  CHECK(world.Number("SELECT count(*) FROM runs WHERE purpose = 5") == 2);
  std::set<EventId> events;
  int refused = 0;
  for (const crypto::Entry& entry : world.Outbox()) {
    CHECK(events.insert(entry.event_id).second);
    refused += entry.kind == kind::kUpdateNotApplied;
  }
  CHECK(refused == 1);
  CHECK(world.filter.complaints().empty());
  world.Retire({id});
  CHECK(world.Recompute(world.EvidenceOf(id)).ToString() == "OK");
}

TEST_CASE("a round of which nothing keeps the floor leaves the checkpoint as it is") {
  World world;
  for (const uint32_t seed : {1u, 2u, 3u}) world.AddUpdate(2.0, seed);
  const learning::Dataset rows = HarmedRows(world);
  Rises rises(world, rows);
  for (const uint64_t mask : {0b001, 0b010, 0b100}) REQUIRE(rises(mask) > 0);
  world.filter.probes = {
      {world.NewId(), "", learning::SerializeDataset(rows), /*aggregate_eps=*/0}};
  world.Start();
  const std::string id = world.Train(2);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  CHECK(round.applied() == 0);
  CHECK(round.next_sha256() == round.base_sha256());
  CHECK(RefusedMask(world.EvidenceOf(id)) == 0b111);
  // Of all, one by one: all but each of three, all but each of two, nobody.
  CHECK(world.EvidenceOf(id).values.masks.size() == 2 + 3 + 2 + 1);
  CHECK(world.Credits(id).size() == 3);
  for (const v1::Credit& credit : world.Credits(id)) CHECK(credit.credit_nanonats() == 0);
  CHECK(world.WaitForEnd(2).state() == v1::ROUND_STATE_CLOSED);
  CHECK(world.filter.complaints().empty());
  world.Retire({id});
  CHECK(world.Recompute(world.EvidenceOf(id)).ToString() == "OK");
}

TEST_CASE("of more than ten, what is left after refusals is evaluated and applied") {
  World world({.parameters = {{"credit.sampled_pairs_min", "2"},
                              {"credit.sampled_pairs_max", "2"}}});
  for (uint32_t seed = 1; seed <= 11; ++seed) world.AddUpdate(3, seed);
  const learning::Dataset rows = HarmedRows(world);
  Rises rises(world, rows);
  const int64_t eps = rises((uint64_t{1} << 11) - 1) / 2;
  REQUIRE(eps > 0);
  world.filter.probes = {{world.NewId(), "", learning::SerializeDataset(rows), eps}};
  world.Start();
  const std::string id = world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  const Evidence evidence = world.EvidenceOf(id);
  CHECK(__builtin_popcountll(RefusedMask(evidence)) >= 2);
  CHECK(rises(evidence.applied_mask) <= eps);
  CHECK(round.next_sha256() == rises.Checkpoint(evidence.applied_mask).ToString());
  for (size_t i = 0; i < evidence.credits.size(); ++i) {
    if ((RefusedMask(evidence) >> i & 1) != 0) CHECK(evidence.credits[i].credit == 0);
  }
  world.Retire({id});
  CHECK(world.Recompute(evidence).ToString() == "OK");
}

}  // namespace
}  // namespace rochdale::attribution::testing
