#include "libs/pg/outbox.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(30);

const std::vector<MigrationSet>& Sets() {
  static const auto* sets = new std::vector<MigrationSet>{
      {"alpha",
       {{1, "0001_counter",
         "CREATE TABLE counter (value bigint NOT NULL); INSERT INTO counter VALUES (0)"}}}};
  return *sets;
}

OutboxEntry EntryOf(uint32_t number) {
  OutboxEntry entry;
  entry.event_id.bytes[0] = 1;
  for (int i = 0; i < 4; ++i) entry.event_id.bytes[12 + i] = number >> (24 - 8 * i);
  entry.time_us = number;
  entry.leaf = absl::StrCat("leaf ", number);
  return entry;
}

absl::Status Enqueue(Database& db, uint32_t number) {
  return db.Transact(kTimeout,
                     [&](Transaction& tx) { return EnqueueEncodedEntry(tx, EntryOf(number)); });
}

// The ledger as the relay sees it: appends in order, deduplicates by event id, may fail.
class FakeLog {
 public:
  absl::StatusOr<std::vector<int64_t>> Append(const std::vector<OutboxRow>& rows) {
    std::lock_guard lock(mutex_);
    ++calls_;
    if (failing_) return RetryableError("UNAVAILABLE", "down", absl::Seconds(1));
    std::vector<int64_t> indexes;
    for (const OutboxRow& row : rows) {
      const auto [at, fresh] = index_.emplace(row.event_id, leaves_.size());
      if (fresh) leaves_.push_back(row.leaf);
      indexes.push_back(at->second);
    }
    most_ = std::max(most_, rows.size());
    if (lose_answer_) {
      lose_answer_ = false;
      return RetryableError("UNAVAILABLE", "answer lost", absl::Seconds(1));
    }
    return indexes;
  }
  OutboxRelay::Send Send() {
    return [this](const std::vector<OutboxRow>& rows, absl::Time) { return Append(rows); };
  }
  void SetFailing(bool failing) {
    std::lock_guard lock(mutex_);
    failing_ = failing;
  }
  void LoseNextAnswer() {
    std::lock_guard lock(mutex_);
    lose_answer_ = true;
  }
  std::vector<std::string> leaves() const {
    std::lock_guard lock(mutex_);
    return leaves_;
  }
  int calls() const {
    std::lock_guard lock(mutex_);
    return calls_;
  }
  size_t most() const {
    std::lock_guard lock(mutex_);
    return most_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<Uuid, int64_t> index_;
  std::vector<std::string> leaves_;
  bool failing_ = false;
  bool lose_answer_ = false;
  int calls_ = 0;
  size_t most_ = 0;
};

TEST_CASE("entries arrive once, in order, in bounded batches, and their index is kept") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  FakeLog log;
  OutboxRelayOptions options;
  options.batch_max = 7;
  OutboxRelay relay(db, clock, log.Send(), options);
  REQUIRE(db.Transact(kTimeout, [](Transaction& tx) -> absl::Status {
              for (uint32_t i = 0; i < 50; ++i) {
                RETURN_IF_ERROR(EnqueueEncodedEntry(tx, EntryOf(i)));
              }
              return absl::OkStatus();
            }).ok());
  REQUIRE(relay.WaitUntilEmpty(kTimeout));
  const std::vector<std::string> leaves = log.leaves();
  REQUIRE(leaves.size() == 50);
  for (int i = 0; i < 50; ++i) CHECK(leaves[i] == absl::StrCat("leaf ", i));
  CHECK(log.most() == 7);
  CHECK(relay.stats().sent == 50);
  const auto index = db.Transact(
      kTimeout, [](Transaction& tx) { return FindLogIndex(tx, EntryOf(31).event_id); });
  CHECK(index.value() == 31);
  CHECK(ReasonOf(db.Transact(kTimeout, [](Transaction& tx) {
                     return FindLogIndex(tx, EntryOf(99).event_id);
                   }).status()) == "NOT_FOUND");
}

TEST_CASE("a batch is bounded in bytes, but one entry always goes") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  FakeLog log;
  OutboxRelayOptions options;
  options.batch_bytes_max = 15;  // two of "leaf 0"
  {
    OutboxRelay relay(db, clock, log.Send(), options);
    REQUIRE(db.Transact(kTimeout, [](Transaction& tx) -> absl::Status {
                for (uint32_t i = 0; i < 6; ++i) {
                  RETURN_IF_ERROR(EnqueueEncodedEntry(tx, EntryOf(i)));
                }
                OutboxEntry big = EntryOf(6);
                big.leaf = std::string(65'535, 'b');
                return EnqueueEncodedEntry(tx, big);
              }).ok());
    REQUIRE(relay.WaitUntilEmpty(kTimeout));
  }
  CHECK(log.most() == 2);
  CHECK(log.leaves().size() == 7);
}

TEST_CASE("what rolls back is never sent, and an entry wakes the relay at once") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  FakeLog log;
  OutboxRelayOptions options;
  options.poll_every = absl::Seconds(60);
  OutboxRelay relay(db, clock, log.Send(), options);
  REQUIRE(relay.WaitUntilEmpty(kTimeout));
  CHECK_FALSE(db.Transact(kTimeout, [](Transaction& tx) -> absl::Status {
                  RETURN_IF_ERROR(EnqueueEncodedEntry(tx, EntryOf(1)));
                  return Error("NOT_FOUND", "no");
                }).ok());
  REQUIRE(Enqueue(db, 2).ok());
  for (int i = 0; i < 1000 && log.leaves().empty(); ++i) absl::SleepFor(absl::Milliseconds(5));
  CHECK(log.leaves() == std::vector<std::string>{"leaf 2"});
}

TEST_CASE("an outage delays but loses, repeats and reorders nothing") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  FakeLog log;
  log.SetFailing(true);
  OutboxRelayOptions options;
  options.backoff_min = absl::Milliseconds(20);
  options.backoff_max = absl::Milliseconds(80);
  OutboxRelay relay(db, clock, log.Send(), options);
  for (uint32_t i = 0; i < 5; ++i) REQUIRE(Enqueue(db, i).ok());
  absl::SleepFor(absl::Milliseconds(500));
  // Backed off: 20, 40, 80, 80, ... ms, however often it was woken.
  CHECK(log.calls() >= 3);
  CHECK(log.calls() <= 12);
  CHECK(relay.stats().consecutive_failures == relay.stats().failures);
  CHECK(relay.stats().last_error == "down");
  CHECK_FALSE(relay.WaitUntilEmpty(absl::Milliseconds(50)));
  log.LoseNextAnswer();  // appended, but the relay does not hear of it
  log.SetFailing(false);
  REQUIRE(relay.WaitUntilEmpty(kTimeout));
  CHECK(log.leaves() ==
        std::vector<std::string>{"leaf 0", "leaf 1", "leaf 2", "leaf 3", "leaf 4"});
  CHECK(relay.stats().consecutive_failures == 0);
  CHECK(relay.stats().last_error.empty());
}

TEST_CASE("a restarted relay goes on where the old one stopped") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  FakeLog log;
  for (uint32_t i = 0; i < 30; ++i) REQUIRE(Enqueue(db, i).ok());
  OutboxRelayOptions options;
  options.batch_max = 1;
  for (int start = 0; start < 50 && log.leaves().size() < 30; ++start) {
    OutboxRelay relay(db, clock, log.Send(), options);
    absl::SleepFor(absl::Milliseconds(10));
  }
  const std::vector<std::string> leaves = log.leaves();
  REQUIRE(leaves.size() == 30);
  for (int i = 0; i < 30; ++i) CHECK(leaves[i] == absl::StrCat("leaf ", i));
}

TEST_CASE("an acknowledgement that does not count right marks nothing") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  SystemClock clock;
  std::atomic<int> calls{0};
  OutboxRelayOptions options;
  options.backoff_min = absl::Milliseconds(5);
  OutboxRelay relay(
      db, clock,
      [&](const std::vector<OutboxRow>&, absl::Time) {
        ++calls;
        return std::vector<int64_t>{};
      },
      options);
  REQUIRE(Enqueue(db, 1).ok());
  while (calls < 2) absl::SleepFor(absl::Milliseconds(1));
  relay.Stop();
  CHECK(db.Transact(kTimeout, [](Transaction& tx) { return ListUnsent(tx, 10); })->size() == 1);
}

TEST_CASE("entries that are malformed or twice there are refused") {
  testing::TestDatabase database(Sets());
  Database& db = database.ForService("alpha");
  const auto enqueue = [&](OutboxEntry entry) {
    return db.Transact(kTimeout, [&](Transaction& tx) {
      EnqueueEncodedEntry(tx, entry).IgnoreError();  // cannot be swallowed
      return absl::OkStatus();
    });
  };
  OutboxEntry empty = EntryOf(1), big = EntryOf(1), nameless = EntryOf(1);
  empty.leaf.clear();
  big.leaf.assign(65'536, 'x');
  nameless.event_id = Uuid();
  CHECK(ReasonOf(enqueue(empty)) == "ENTRY_INVALID");
  CHECK(ReasonOf(enqueue(big)) == "ENTRY_INVALID");
  CHECK(ReasonOf(enqueue(nameless)) == "ENTRY_INVALID");
  CHECK(ReasonOf(db.Transact(kTimeout, [](Transaction& tx) {
          return EnqueueEntry(tx, crypto::Entry{});
        })) == "ENTRY_INVALID");
  CHECK(Enqueue(db, 1).ok());
  CHECK(ReasonOf(Enqueue(db, 1)) == "ALREADY_EXISTS");
}

TEST_CASE("the log's order is the order of the commits, whoever relays") {
  const uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  testing::TestDatabase database(Sets());
  DatabaseOptions options = database.Options("alpha");
  options.connections_max = 12;
  Database db(options);
  Database replica(database.Options("alpha"));
  SystemClock clock;
  FakeLog log;
  OutboxRelayOptions relay_options;
  relay_options.batch_max = 5;
  relay_options.poll_every = absl::Milliseconds(3);
  OutboxRelay relay(db, clock, log.Send(), relay_options);
  OutboxRelay other(replica, clock, log.Send(), relay_options);
  // The counter's row lock gives the order of the transactions; the entry says which value each
  // made. Enqueued before the lock is taken, and held up at random.
  std::vector<std::thread> threads;
  std::atomic<int> failed{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      for (int i = 0; i < 25; ++i) {
        const absl::Duration pause = absl::Microseconds(random() % 2000);
        const uint32_t id = t * 1000 + i;
        const absl::Status status = db.Transact(kTimeout, [&](Transaction& tx) -> absl::Status {
          RETURN_IF_ERROR(tx.Exec("SELECT 1").status());
          absl::SleepFor(pause);
          ASSIGN_OR_RETURN(const Row row,
                           tx.ExecOne("UPDATE counter SET value = value + 1 RETURNING value"));
          OutboxEntry entry = EntryOf(id);
          entry.leaf = absl::StrCat(row.Get<int64_t>(0));
          return EnqueueEncodedEntry(tx, entry);
        });
        if (!status.ok()) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  REQUIRE(relay.WaitUntilEmpty(kTimeout));
  const std::vector<std::string> leaves = log.leaves();
  REQUIRE(leaves.size() == 200);
  for (int i = 0; i < 200; ++i) REQUIRE(leaves[i] == absl::StrCat(i + 1));
}

}  // namespace
}  // namespace rochdale::pg
