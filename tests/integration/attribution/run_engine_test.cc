// The run engine at scale: workers that die, come late, fail and lie, against a real PostgreSQL.
// Time is the test's own, so leases run out without waiting; everything follows from a seed.
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "services/attribution/migrations.h"
#include "services/attribution/run_engine.h"
#include "tests/support/postgres.h"

namespace rochdale::attribution {
namespace {

constexpr int64_t kLeaseMs = 10'000;
constexpr int64_t kRows = 4;  // of a shard
constexpr absl::Duration kTimeout = absl::Seconds(30);

// The losses of a shard: any function of its range will do.
std::vector<int64_t> TrueLosses(const ShardRange& range) {
  std::vector<int64_t> losses;
  for (int64_t c = range.candidate_begin; c < range.candidate_end; ++c) {
    for (int64_t r = range.row_begin; r < range.row_end; ++r) {
      losses.push_back((c * 1'000'003 + r * 7'919) % 2'000'000'011);
    }
  }
  return losses;
}

std::string Encoded(const ShardRange& range) { return EncodeLosses(TrueLosses(range)); }

class Runs {
 public:
  explicit Runs(uint64_t seed)
      : database_({Migrations()}),
        db_(database_.ForService("attribution")),
        random_(seed),
        engine_(db_, [this] { ++ended_; },
                [this](const RunId&, const ShardRange& range) -> absl::StatusOr<std::string> {
                  if (canonical_fails) return absl::UnavailableError("no blobs");
                  ++canonical_calls;
                  return Encoded(range);
                }) {}

  // A run of so many shards of one candidate and kRows rows, in a round of its own.
  RunId Begin(int64_t shards, int attempts_max) {
    spec_ = RunSpec();
    spec_.run = {NewId()};
    spec_.model = {learning::ModelKind::kSoftmaxRegression, {1, 2}};
    RunPart part;
    part.rows = kRows * 10;
    for (int64_t c = 0; c < (shards + 9) / 10; ++c) {
      part.checkpoints.push_back(crypto::Sha256(absl::StrCat(c)));
    }
    spec_.parts = {part};
    std::vector<ShardRange> ranges = PlanShards(spec_, kRows, 1);
    REQUIRE(static_cast<int64_t>(ranges.size()) >= shards);
    RunRecord run;
    run.run = spec_.run;
    run.round = {NewId()};
    run.lease_ms = kLeaseMs;
    run.attempts_max = attempts_max;
    AddRound(run.round);
    REQUIRE(db_.Transact(kTimeout, [&](pg::Transaction& tx) {
                 return InsertRun(tx, run, spec_, ranges, Micros());
               }).ok());
    round_ = run.round;
    return run.run;
  }

  WorkerCall Call(const std::string& session) {
    return {spec_.run, session, now_, absl::Now() + kTimeout};
  }
  ClaimedShard Claim(const std::string& session) {
    const auto claimed = engine_.Claim(Call(session), NewId());
    REQUIRE(claimed.ok());
    return *claimed;
  }
  std::string Complete(const std::string& session, const Shard& shard, const std::string& losses) {
    return Reason(engine_.Complete(Call(session), shard.number, shard.lease_epoch, losses));
  }
  std::string Fail(const std::string& session, const Shard& shard) {
    return Reason(
        engine_.Fail(Call(session), shard.number, shard.lease_epoch, {"INTERNAL", 0, {}}));
  }
  static std::string Reason(const absl::Status& status) {
    return status.ok() ? "OK" : ReasonOf(status);
  }
  RunState State() {
    return db_.Transact(kTimeout, [&](pg::Transaction& tx) { return FindRunState(tx, spec_.run); })
        .value()
        .value();
  }
  std::vector<std::vector<int64_t>> Losses() {
    const auto results =
        db_.Transact(kTimeout, [&](pg::Transaction& tx) { return ListResults(tx, spec_.run); });
    REQUIRE(results.ok());
    const auto losses = AssembleLosses(spec_, *results);
    REQUIRE(losses.ok());
    return *losses;
  }
  // What an undisturbed run finds.
  std::vector<int64_t> Expected() const {
    const RunPart& part = spec_.parts[0];
    return TrueLosses({0, 0, part.rows, 0, part.candidates()});
  }
  void Cancel() {
    REQUIRE(db_.Transact(kTimeout, [&](pg::Transaction& tx) {
                 return CancelRuns(tx, round_, "ROUND_ABANDONED", Micros());
               }).ok());
  }
  int64_t Number(const std::string& sql) {
    return db_.Transact(kTimeout, [&](pg::Transaction& tx) -> absl::StatusOr<int64_t> {
                ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(sql));
                return row.Get<int64_t>(0);
              }).value();
  }
  void Pass(absl::Duration time) { now_ += time; }
  void Tend() { REQUIRE(engine_.Tend(now_).ok()); }
  std::mt19937_64& random() { return random_; }
  int ended() const { return ended_; }
  // One in so many.
  bool OneIn(int n) { return random_() % n == 0; }

  int canonical_calls = 0;
  bool canonical_fails = false;

 private:
  Uuid NewId() {
    Uuid id;
    for (auto& byte : id.bytes) byte = static_cast<uint8_t>(random_());
    return id;
  }
  int64_t Micros() const { return absl::ToUnixMicros(now_); }
  void AddRound(const RoundId& round) {
    // Without the model and the plan that it belongs to.
    REQUIRE(database_.Admin().Transact(kTimeout, [&](pg::Transaction& tx) -> absl::Status {
      RETURN_IF_ERROR(tx.Exec("SET LOCAL session_replication_role = replica").status());
      return tx.Exec(absl::StrCat(
          "INSERT INTO attribution.rounds (round_id, cooperative_id, plan_id, number, state, "
          "announced, filter_told, deadline_us, base_version, base_sha256, best_sha256, "
          "seed_sha256, scenario, parameters, generation, reason, opened_event, created_us) "
          "VALUES ($1, $2, $3, 1, 5, true, false, 0, 0, sha256(''), sha256(''), sha256(''), "
          "'', '', 0, '', $3, 0)"),
          round, Uuid(NewId()), Uuid(NewId())).status();
    }).ok());
  }

  rochdale::testing::TestDatabase database_;
  pg::Database& db_;
  std::mt19937_64 random_;
  RunEngine engine_;
  RunSpec spec_;
  RoundId round_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  int ended_ = 0;
};

// What workers did besides the work.
struct Mishaps {
  int64_t deaths = 0, failures = 0, late = 0, repeats = 0, lies = 0, stale = 0;
};

struct Holding {
  std::string session;
  Shard shard;
  int64_t since = 0;
};

// Sixteen workers in turns: each claims or does something with what it holds. A third of all
// leases end badly.
Mishaps Play(Runs& runs) {
  constexpr int kWorkers = 16;
  std::vector<std::optional<Holding>> workers(kWorkers);
  std::vector<Holding> lost;  // that dead or slow workers may still deliver
  Mishaps mishaps;
  int64_t sessions = 0;
  for (int64_t turn = 0;; ++turn) {
    runs.Pass(absl::Milliseconds(static_cast<int64_t>(runs.random()() % 50)));
    std::optional<Holding>& worker = workers[runs.random()() % kWorkers];
    if (!worker) {
      const std::string session = absl::StrCat("worker-", ++sessions);
      const ClaimedShard claimed = runs.Claim(session);
      if (claimed.run_ended) return mishaps;
      if (!claimed.shard) {
        runs.Pass(absl::Milliseconds(kLeaseMs / 4));  // the rest is leased: time goes by
        continue;
      }
      worker = Holding{session, *claimed.shard, turn};
      continue;
    }
    const Holding held = *worker;
    worker.reset();
    const std::string losses = Encoded(held.shard.range);
    if (runs.OneIn(10)) {  // killed
      ++mishaps.deaths;
      lost.push_back(held);
    } else if (runs.OneIn(15)) {
      ++mishaps.failures;
      const std::string reason = runs.Fail(held.session, held.shard);
      CHECK((reason == "OK" || reason == "LEASE_LOST"));
    } else if (runs.OneIn(20)) {  // too slow; delivered below
      ++mishaps.late;
      lost.push_back(held);
      runs.Pass(absl::Milliseconds(kLeaseMs / 10));
    } else {
      const std::string reason = runs.Complete(held.session, held.shard, losses);
      CHECK((reason == "OK" || reason == "LEASE_LOST"));
      if (runs.OneIn(10)) {  // the answer was lost
        ++mishaps.repeats;
        CHECK(runs.Complete(held.session, held.shard, losses) == reason);
      }
      if (reason == "OK" && runs.OneIn(500)) {
        ++mishaps.lies;
        std::string other = losses;
        other[0] = static_cast<char>(other[0] ^ 1);
        CHECK(runs.Complete(held.session, held.shard, other) == "LEASE_LOST");
      }
    }
    if (!lost.empty() && runs.OneIn(8)) {
      const Holding late = lost[runs.random()() % lost.size()];
      const std::string reason =
          runs.Complete(late.session, late.shard, Encoded(late.shard.range));
      if (reason == "LEASE_LOST") ++mishaps.stale;
      CHECK((reason == "OK" || reason == "LEASE_LOST"));
    }
  }
}

Mishaps PlayRun(int64_t shards, uint64_t seed) {
  INFO("seed " << seed);
  Runs runs(seed);
  runs.Begin(shards, /*attempts_max=*/100);
  const Mishaps mishaps = Play(runs);
  CHECK(runs.State() == RunState::kDone);
  CHECK(runs.Losses()[0] == runs.Expected());
  CHECK(runs.ended() >= 1);
  // The play was rough, and what it left behind is whole.
  CHECK(mishaps.deaths > shards / 20);
  CHECK(mishaps.failures > shards / 40);
  CHECK(mishaps.late > shards / 60);
  CHECK(mishaps.repeats > shards / 40);
  CHECK(runs.Number("SELECT count(*) FROM shards WHERE state <> 2") == 0);
  CHECK(runs.Number("SELECT max(attempts)::bigint FROM shards") > 2);
  CHECK(runs.Number("SELECT count(*) FROM exceptions") == mishaps.lies);
  CHECK(runs.canonical_calls <= mishaps.lies);
  return mishaps;
}

TEST_CASE("a thousand shards survive workers that die at random") {
  CHECK(PlayRun(1'000, 1).stale > 0);
}

TEST_CASE("ten thousand shards survive workers that die at random", "[long]") {
  CHECK(PlayRun(10'000, 2).stale > 0);
}

TEST_CASE("many runs end with the same integers", "[long]") {
  int64_t stale = 0;  // rare: most of what comes late still counts, or is what is known
  for (uint64_t seed = 3; seed < 23; ++seed) stale += PlayRun(1'000, seed).stale;
  CHECK(stale > 0);
}

TEST_CASE("of two different results the canonical one stands, whoever came first") {
  for (const bool liar_first : {true, false}) {
    Runs runs(20 + liar_first);
    runs.Begin(20, 10);
    const Shard shard = *runs.Claim("liar").shard;
    const std::string right = Encoded(shard.range);
    std::string wrong = right;
    wrong[1] = static_cast<char>(wrong[1] ^ 1);
    REQUIRE(runs.Complete("liar", shard, liar_first ? wrong : right) == "OK");
    CHECK(runs.Complete("other", shard, liar_first ? right : wrong) == "LEASE_LOST");
    CHECK(runs.canonical_calls == 1);
    // An alarm for the contradiction, and another where the first result was wrong.
    CHECK(runs.Number("SELECT count(*) FROM exceptions WHERE kind = 2") == (liar_first ? 2 : 1));
    CHECK(runs.Number("SELECT count(*) FROM shards WHERE lease_owner = 'canonical'") == 1);
    // Who lies again alarms, but costs no further evaluation.
    std::string third = right;
    third[2] = static_cast<char>(third[2] ^ 1);
    CHECK(runs.Complete("liar", shard, third) == "LEASE_LOST");
    CHECK(runs.canonical_calls == 1);
    Play(runs);
    CHECK(runs.State() == RunState::kDone);
    CHECK(runs.Losses()[0] == runs.Expected());
  }
}

TEST_CASE("where the service cannot evaluate, the result that two workers agree on stands") {
  Runs runs(30);
  runs.Begin(10, 10);
  const Shard shard = *runs.Claim("liar").shard;
  const std::string right = Encoded(shard.range);
  std::string wrong = right;
  wrong[1] = static_cast<char>(wrong[1] ^ 1);
  REQUIRE(runs.Complete("first", shard, right) == "LEASE_LOST");  // it has no lease
  REQUIRE(runs.Complete("liar", shard, right) == "OK");
  runs.canonical_fails = true;
  CHECK(runs.Complete("other", shard, wrong) == "LEASE_LOST");
  // The run cannot end before a third one has evaluated it.
  std::set<int64_t> numbers;
  for (int i = 0; i < 9; ++i) {
    const Shard next = *runs.Claim("honest").shard;
    numbers.insert(next.number);
    REQUIRE(runs.Complete("honest", next, Encoded(next.range)) == "OK");
  }
  CHECK(numbers.count(shard.number) == 0);
  CHECK(runs.State() == RunState::kRunning);
  CHECK(!runs.Claim("honest").shard.has_value());
  runs.Pass(absl::Milliseconds(kLeaseMs + 1));
  const Shard again = *runs.Claim("honest").shard;
  CHECK(again.number == shard.number);
  CHECK(runs.Complete("honest", again, right) == "OK");
  CHECK(runs.State() == RunState::kDone);
  CHECK(runs.Losses()[0] == runs.Expected());
}

TEST_CASE("a poison shard fails its run after its attempts, by failures or by silence") {
  for (const bool silent : {false, true}) {
    Runs runs(40 + silent);
    runs.Begin(50, 3);
    for (int attempt = 0; attempt < 3; ++attempt) {
      const Shard shard = *runs.Claim("worker").shard;
      REQUIRE(shard.number == 0);
      if (silent) {
        runs.Pass(absl::Milliseconds(kLeaseMs + 1));
      } else {
        CHECK(runs.Fail("worker", shard) == "OK");
      }
    }
    if (silent) runs.Tend();
    CHECK(runs.State() == RunState::kFailed);
    CHECK(runs.Claim("worker").run_ended);
    CHECK(runs.ended() == (silent ? 0 : 1));  // the round engine tends and needs not be woken
  }
}

TEST_CASE("a cancelled run takes no more results and tells its workers") {
  Runs runs(50);
  runs.Begin(100, 5);
  const Shard done = *runs.Claim("one").shard;
  REQUIRE(runs.Complete("one", done, Encoded(done.range)) == "OK");
  const Shard held = *runs.Claim("two").shard;
  runs.Cancel();
  CHECK(runs.State() == RunState::kCancelled);
  CHECK(runs.Claim("three").run_ended);
  CHECK(runs.Complete("two", held, Encoded(held.range)) == "LEASE_LOST");
  CHECK(runs.Fail("two", held) == "LEASE_LOST");
  CHECK(runs.Complete("one", done, Encoded(done.range)) == "OK");  // a repetition
  CHECK(runs.Number("SELECT count(*) FROM shard_results") == 1);
  runs.Tend();
  CHECK(runs.State() == RunState::kCancelled);
}

TEST_CASE("a lease that ran out is refused, and its shard goes to another worker once") {
  Runs runs(60);
  runs.Begin(2, 5);
  const Shard stale = *runs.Claim("slow").shard;
  runs.Pass(absl::Milliseconds(kLeaseMs + 1));
  const Shard taken = *runs.Claim("quick").shard;
  REQUIRE(taken.number == stale.number);
  CHECK(taken.lease_epoch == stale.lease_epoch + 1);
  CHECK(runs.Claim("third").shard->number != stale.number);
  const std::string losses = Encoded(stale.range);
  CHECK(runs.Complete("slow", stale, losses) == "LEASE_LOST");
  CHECK(runs.Fail("slow", stale) == "LEASE_LOST");
  CHECK(runs.Complete("quick", stale, losses) == "LEASE_LOST");  // its lease, another epoch
  CHECK(runs.Complete("quick", taken, losses.substr(8)) == "BAD_REQUEST");
  CHECK(runs.Complete("quick", taken, losses) == "OK");
  CHECK(runs.Complete("slow", stale, losses) == "OK");  // late, but the same
}

}  // namespace
}  // namespace rochdale::attribution
