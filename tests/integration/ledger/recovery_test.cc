#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/crypto/merkle.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

using rochdale::testing::NumberOf;

absl::Status Run(pg::Database& db, const std::string& sql) {
  return db.Transact(absl::Seconds(10),
                     [&](pg::Transaction& tx) { return tx.ExecScript(sql); });
}

// Entries without gaps, as many as the tree says, balances that sum up to 0 and follow from the
// transfers, and each transfer with its entry.
void CheckInvariants(TestDatabase& database) {
  pg::Database& admin = database.Admin();
  const int64_t size = NumberOf(admin, "SELECT size FROM ledger.tree_state");
  CHECK(NumberOf(admin, "SELECT sum(count)::bigint FROM ledger.leaf_chunks") == size);
  CHECK(NumberOf(admin,
                 "SELECT count(*) FROM (SELECT first_index, lag(first_index + count, 1, 0::bigint) "
                 "OVER (ORDER BY first_index) AS expected FROM ledger.leaf_chunks) c "
                 "WHERE first_index <> expected") == 0);
  CHECK(NumberOf(admin, "SELECT count(*) FROM ledger.event_ids WHERE log_index >= 0") == size);
  CHECK(NumberOf(admin,
                 "SELECT coalesce(sum(credits - debits), 0)::bigint FROM ("
                 "SELECT DISTINCT ON (account) * FROM ledger.account_history "
                 "ORDER BY account, log_index DESC) h") == 0);
  // Every transfer that moved value counts once on each side.
  CHECK(NumberOf(admin,
                 "SELECT coalesce(sum(transfers), 0)::bigint FROM ("
                 "SELECT DISTINCT ON (account) * FROM ledger.account_history "
                 "ORDER BY account, log_index DESC) h") ==
        2 * NumberOf(admin, "SELECT count(*) FROM ledger.event_ids WHERE result = 1"));
}

TEST_CASE("a restart goes on where the log stood", "[ledger]") {
  TestDatabase database({Migrations()});
  TempDir dir;
  std::string of_ann, supply;
  v1::Transfer transfer;
  int64_t size = 0;
  {
    Ledger ledger(database, {dir.path()});
    World world(ledger);
    of_ann = world.of_ann;
    supply = world.supply;
    transfer = TransferOf(ledger, supply, of_ann, 10);
    for (int i = 0; i < 300; ++i) {
      std::vector<v1::Transfer> transfers{TransferOf(ledger, supply, of_ann, 1)};
      if (i == 7) transfers.push_back(transfer);
      world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, transfers));
    }
    size = NumberOf(ledger.db(), "SELECT size FROM tree_state");
  }
  Ledger ledger(database, {dir.path()});
  Client payout = ledger.As("payout");
  CHECK(payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {transfer})).outcomes(0).result() ==
        v1::TRANSFER_RESULT_EXISTS);
  const auto next =
      payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {TransferOf(ledger, supply, of_ann, 1)}));
  CHECK(next.outcomes(0).log_index() == size);
  CHECK(next.outcomes(0).credit_balance_micro() == 311);
  CheckInvariants(database);
  // The whole log gives the root that is signed.
  absl::SleepFor(absl::Milliseconds(300));
  const auto head = payout.Ok(&Stub::GetTreeHead, {}).tree_head();
  crypto::Frontier frontier;
  v1::ListEntriesRequest list;
  list.set_page_size(1'000);
  Client nobody = ledger.Anonymous();
  const v1::ListEntriesResponse log = nobody.Ok(&Stub::ListEntries, list);
  for (const v1::LogEntry& entry : log.entries()) {
    frontier.Append(crypto::LeafHash(entry.entry()));
  }
  CHECK(frontier.size() == static_cast<uint64_t>(head.size()));
  CHECK(frontier.Root().AsBytes() == head.root());
}

TEST_CASE("of two replicas one posts, and the other takes over", "[ledger]") {
  TestDatabase database({Migrations()});
  auto first = std::make_unique<Ledger>(database);
  LedgerSetup setup;
  setup.wait = false;
  Ledger second(database, setup);
  World world(*first);
  absl::SleepFor(absl::Milliseconds(400));
  CHECK(ReasonOf(second.module->Ready()) == "NOT_LEADER");
  const v1::Transfer transfer = TransferOf(second, world.supply, world.of_ann, 5);
  // Where the writer cannot be called, nothing is forwarded.
  const std::string hide = "UPDATE ledger.leases SET address = '' WHERE name = 'ledger.writer'";
  REQUIRE(Run(database.Admin(), hide).ok());
  const auto refused =
      second.As("payout").Call(&Stub::PostTransfers, PostingOf(second, {transfer}));
  CHECK(ReasonOf(refused.status()) == "NOT_LEADER");
  CHECK(RetryAfterOf(refused.status()).has_value());
  // Reads are anybody's.
  v1::GetAccountRequest get;
  get.set_account_id(world.of_ann);
  CHECK(second.As("payout").Reason(&Stub::GetAccount, get) == "OK");

  world.payout.Ok(&Stub::PostTransfers, PostingOf(*first, {transfer}));
  const std::string supply = world.supply, of_ann = world.of_ann;
  first.reset();
  for (int i = 0; i < 500 && !second.module->Ready().ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  REQUIRE(second.module->Ready().ok());
  Client payout = second.As("payout");
  CHECK(payout.Ok(&Stub::PostTransfers, PostingOf(second, {transfer})).outcomes(0).result() ==
        v1::TRANSFER_RESULT_EXISTS);
  CHECK(payout.Ok(&Stub::PostTransfers,
                  PostingOf(second, {TransferOf(second, supply, of_ann, 5)}))
            .outcomes(0)
            .result() == v1::TRANSFER_RESULT_POSTED);
  CheckInvariants(database);
}

TEST_CASE("a writer that was fenced out writes nothing and takes the log anew", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  // As if another writer had committed since.
  REQUIRE(Run(database.Admin(), "UPDATE ledger.tree_state SET batch = batch + 1").ok());
  const v1::Transfer transfer = TransferOf(ledger, world.supply, world.of_ann, 5);
  const auto posted = world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {transfer}));
  CHECK(posted.outcomes(0).result() == v1::TRANSFER_RESULT_POSTED);  // the client tried again
  CheckInvariants(database);
  // A later epoch that is not ours: nothing is ever written again.
  REQUIRE(Run(database.Admin(), "UPDATE ledger.tree_state SET epoch = epoch + 1000").ok());
  CHECK(world.payout.Reason(&Stub::PostTransfers,
                            PostingOf(ledger, {TransferOf(ledger, world.supply, world.of_ann,
                                                          5)})) == "NOT_LEADER");
  CHECK(NumberOf(ledger.db(), "SELECT count(*) FROM event_ids WHERE result = 1") == 1);
}

TEST_CASE("connections killed while posting lose and double nothing", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  std::atomic<bool> done{false};
  std::atomic<int> kills{0};
  std::thread killer([&] {
    while (!done) {
      absl::SleepFor(absl::Milliseconds(40));
      (void)Run(database.Admin(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND (wait_event_type IS NULL OR random() < 0.4)");
      ++kills;
    }
  });
  constexpr int kThreads = 4, kCalls = 60;
  std::atomic<int> posted{0}, unexpected{0};
  std::vector<std::thread> posters;
  for (int t = 0; t < kThreads; ++t) {
    posters.emplace_back([&] {
      Client payout = ledger.As("payout");
      for (int i = 0; i < kCalls; ++i) {
        const auto request = PostingOf(
            ledger, {TransferOf(ledger, world.supply, world.of_ann, 1),
                     TransferOf(ledger, world.supply, world.of_bob, 2)});
        // Until it is answered, as a client does.
        for (int attempt = 0; attempt < 400; ++attempt) {
          const auto response = payout.Call(&Stub::PostTransfers, request);
          if (!response.ok()) {
            if (!absl::IsUnavailable(response.status()) &&
                !absl::IsDeadlineExceeded(response.status()) &&
                !absl::IsResourceExhausted(response.status())) {
              ++unexpected;
              break;
            }
            absl::SleepFor(absl::Milliseconds(20));
            continue;
          }
          for (const v1::TransferOutcome& outcome : response->outcomes()) {
            const bool in_order = outcome.result() == v1::TRANSFER_RESULT_POSTED ||
                                  outcome.result() == v1::TRANSFER_RESULT_EXISTS;
            in_order ? ++posted : ++unexpected;
          }
          break;
        }
      }
    });
  }
  for (std::thread& poster : posters) poster.join();
  done = true;
  killer.join();
  CHECK(unexpected == 0);
  CHECK(posted == 2 * kThreads * kCalls);
  CHECK(kills > 0);
  CHECK(NumberOf(database.Admin(), "SELECT count(*) FROM ledger.event_ids WHERE result = 1") ==
        2 * kThreads * kCalls);
  CheckInvariants(database);
}

TEST_CASE("a database behind the last signed checkpoint is refused", "[ledger]") {
  TempDir dir;
  {
    TestDatabase database({Migrations()});
    Ledger ledger(database, {dir.path()});
    World world(ledger);
    absl::SleepFor(absl::Milliseconds(300));
  }
  TestDatabase restored({Migrations()});  // empty: as before anything was signed
  LedgerSetup setup{dir.path(), false};
  {
    Ledger ledger(restored, setup);
    CHECK(absl::IsDataLoss(ledger.started));
    CHECK_FALSE(ledger.module->Ready().ok());
  }
  // Long enough, but with another history: as long as the checkpoint's and refused too.
  {
    TempDir other;
    Ledger ledger(restored, {other.path()});
    World world(ledger);
    world.Fund(ledger, 1);
  }
  {
    Ledger ledger(restored, setup);
    CHECK(absl::IsDataLoss(ledger.started));
    CHECK(absl::StrContains(ledger.started.message(), "another root"));
  }
  // A file that is no checkpoint of this log.
  {
    std::ofstream(dir.path() + "/last-checkpoint") << "hello\n";
    Ledger ledger(restored, setup);
    CHECK(absl::IsFailedPrecondition(ledger.started));
  }
}

TEST_CASE("a log or balances that were tampered with are not written to", "[ledger]") {
  const std::string sql = GENERATE(
      std::string("UPDATE ledger.tree_state SET root = sha256('x'::bytea)"),
      std::string("UPDATE ledger.tree_state SET size = size + 1"),
      std::string("ALTER TABLE ledger.leaf_chunks DISABLE TRIGGER ALL; "
                  "UPDATE ledger.leaf_chunks SET leaves = "
                  "set_byte(leaves, 20, get_byte(leaves, 20) # 1) WHERE first_index = 1"),
      std::string("ALTER TABLE ledger.account_history DISABLE TRIGGER ALL; "
                  "UPDATE ledger.account_history SET credits = credits + 1 WHERE credits = 0"));
  CAPTURE(sql);
  TestDatabase database({Migrations()});
  {
    Ledger ledger(database);
    World world(ledger);
    world.Fund(ledger, 100);
  }
  REQUIRE(Run(database.Admin(), sql).ok());
  LedgerSetup setup;
  setup.wait = false;
  Ledger ledger(database, setup);
  absl::Status ready;
  for (int i = 0; i < 300; ++i) {
    ready = ledger.module->Ready();
    if (absl::IsDataLoss(ready)) break;
    absl::SleepFor(absl::Milliseconds(10));
  }
  CHECK(absl::IsDataLoss(ready));
}

}  // namespace
}  // namespace rochdale::ledger::testing
