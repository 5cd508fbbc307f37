// What a round does when something has run out: validation rows, room on the disk.
#include <atomic>
#include <catch2/catch.hpp>

#include "tests/integration/attribution/world.h"
#include "tests/support/small_disk.h"

namespace rochdale::attribution::testing {
namespace {

TEST_CASE("a round without rows left to measure on is abandoned, and says so") {
  World world({.pool_rows = 300, .parameters = {{"validation.rows_per_round", "1000"}}});
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  std::string first;
  std::atomic<int> screened = 0;
  world.Start([&](absl::string_view step) {
    // Every settlement row of the pool was the first round's; payout retires them now.
    if (step == "reveals taken" && ++screened == 2) world.Retire({first});
    return absl::OkStatus();
  });
  first = world.Train(2);
  const v1::Round measured = world.WaitForEnd(1);
  CHECK(measured.state() == v1::ROUND_STATE_CLOSED);
  const v1::Round round = world.WaitForEnd(2);
  CHECK(round.state() == v1::ROUND_STATE_ABANDONED);
  CHECK(round.reason() == "VALIDATION_POOL_EMPTY");
  CHECK(world.Credits(round.round_id()).empty());
  // The checkpoint stays where it was, and what was measured before still stands.
  CHECK(round.base_sha256() == measured.next_sha256());
  CHECK(world.Number("SELECT count(*) FROM checkpoints") == 2);
  CHECK(world.Recompute(world.EvidenceOf(first)).ToString() == "OK");
}

// The folder of the blobs on a small file system. Null: it was not tried.
std::unique_ptr<rochdale::testing::SmallDisk> DiskOf(World& world) {
  return rochdale::testing::SmallDisk::Mount("64m", world.directory());
}

TEST_CASE("a round waits for room on a full disk and then closes as if nothing had been") {
  World world;
  const auto disk = DiskOf(world);
  if (disk == nullptr) return;
  for (const uint32_t seed : {1u, 2u, 3u}) world.AddUpdate(2.0, seed);
  std::atomic<bool> filled = false;
  world.Start([&](absl::string_view step) {
    if (step == "decisions stored") {
      disk->Fill();
      filled = true;
    }
    return absl::OkStatus();
  });
  const std::string id = world.Train(1);
  REQUIRE(Eventually([&] { return filled.load(); }));
  // It is tried again and again, and nothing of it is taken for a verdict.
  REQUIRE(Eventually([&] { return world.Metric("rochdale_round_step_errors_total") >= 3; }));
  CHECK(world.Get(id).state() == v1::ROUND_STATE_EVALUATE);
  disk->MakeRoom();
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  CHECK(world.Credits(id).size() == 3);
  world.Retire({id});
  CHECK(world.Recompute(world.EvidenceOf(id)).ToString() == "OK");
}

TEST_CASE("a round that never gets room is given up at its deadline, with the cause") {
  World world({.parameters = {{"round.evaluate_ms", "1500"}}});
  const auto disk = DiskOf(world);
  if (disk == nullptr) return;
  world.AddUpdate(2.0, 1);
  world.Start([&](absl::string_view step) {
    if (step == "decisions stored") disk->Fill();
    return absl::OkStatus();
  });
  const std::string id = world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  CHECK(round.state() == v1::ROUND_STATE_ABANDONED);
  CHECK(round.reason() == "STORE_FULL");
  CHECK(world.Credits(id).empty());
}

}  // namespace
}  // namespace rochdale::attribution::testing
