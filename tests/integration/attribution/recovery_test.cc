// Crashes: of the process at every step, of workers while they work.
#include <catch2/catch.hpp>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "tests/integration/attribution/world.h"

namespace rochdale::attribution::testing {
namespace {

// Worker processes of this test program.
std::vector<pid_t> WorkerProcesses() {
  std::vector<pid_t> workers;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != name.npos) continue;
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    std::getline(file, stat);
    const size_t end = stat.rfind(')');
    if (end == stat.npos || !absl::StrContains(stat, "(rochdale-attrib")) continue;
    std::istringstream rest(stat.substr(end + 2));
    char state;
    pid_t parent = 0;
    rest >> state >> parent;
    if (parent == getpid() && state != 'Z') workers.push_back(std::stoi(name));
  }
  return workers;
}

TEST_CASE("a process that dies at any step is continued by the next one") {
  const std::vector<std::string> steps = {
      "gradients",    "opened",           "intake opened",    "announced",
      "revealing",    "commitments taken", "intake closed",   "reveals taken",
      "screened",     "screening stored", "run/1",            "decided",
      "decisions stored", "rows drawn",   "run/2",            "evaluated",
      "gate stored",  "run/5",            "values tested",    "run/3",
      "settled",      "settlement stored",
      "outcomes recorded", "closed"};
  World world;
  for (const uint32_t seed : {1u, 2u, 3u}) world.AddUpdate(0.5, seed);
  const FakeProbe probe{world.NewId(), world.filter.updates[0].principal_id,
                        learning::SerializeDataset(MakeRows(20, 78))};
  world.filter.probes = {probe};
  world.filter.probes.push_back({world.NewId(), "", learning::SerializeDataset(MakeRows(20, 79)),
                                 /*aggregate_eps=*/int64_t{1} << 40});
  world.filter.updates[0].probes = {probe.probe_id};
  world.TrainDyingAt(steps, 2);
  for (const int64_t number : {1, 2}) {
    const v1::Round round = world.WaitForEnd(number);
    REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
    CHECK(round.applied() == 3);
  }
  CHECK(world.filter.complaints().empty());
  CHECK(world.filter.rounds() == 2);
  CHECK(world.Number("SELECT count(*) FROM credits") == 6);
  CHECK(world.Number("SELECT count(*) FROM checkpoints") == 3);
  // No event twice, and every round's entries once.
  std::set<EventId> events;
  for (const crypto::Entry& entry : world.Outbox()) CHECK(events.insert(entry.event_id).second);
  CHECK(Eventually([&] { return world.ledger.entries() == events.size(); }));
  const std::vector<std::string> ids = {world.WaitForEnd(1).round_id(),
                                        world.WaitForEnd(2).round_id()};
  world.Retire(ids);
  for (const std::string& id : ids) {
    CHECK(world.Recompute(world.EvidenceOf(id)).ToString() == "OK");
  }
}

TEST_CASE("workers that are killed while they work change no integer") {
  World world({.pool_rows = 60'000,
               .parameters = {{"validation.rows_per_round", "40000"},
                              {"worker.rows_per_shard", "2000"},
                              {"worker.candidates_per_shard", "16"},
                              {"worker.max_attempts", "50"}}});
  for (uint32_t seed = 1; seed <= 5; ++seed) world.AddUpdate(1.5, seed);
  world.Start();
  std::atomic<bool> stop{false};
  std::atomic<int> killed{0};
  std::thread killer([&] {
    while (!stop.load() && killed.load() < 6) {
      // Only while they hold shards.
      if (world.Number("SELECT count(*) FROM shards WHERE state = 1") > 0) {
        for (const pid_t pid : WorkerProcesses()) {
          if (killed.load() < 6 && kill(pid, SIGKILL) == 0) ++killed;
        }
      }
      absl::SleepFor(absl::Milliseconds(2));
    }
  });
  const std::string id = world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  stop = true;
  killer.join();
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  CHECK(killed.load() > 0);
  CHECK(world.Number("SELECT max(attempts)::bigint FROM shards") > 1);
  world.Retire({id});
  // The same evaluation, undisturbed, in this process.
  CHECK(world.Recompute(world.EvidenceOf(id)).ToString() == "OK");
}

TEST_CASE("workers end with their run and with the server") {
  World world;
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  world.Start();
  world.Train(1);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  CHECK(Eventually([] { return WorkerProcesses().empty(); }, absl::Seconds(10)));
}

}  // namespace
}  // namespace rochdale::attribution::testing
