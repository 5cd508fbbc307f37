// What goes wrong around the writer: connections cut at every step, answers of COMMIT that are
// lost, two writers at once, clocks that go back, a full disk.
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/merkle.h"
#include "tests/integration/ledger/scene.h"
#include "tests/support/small_disk.h"

namespace rochdale::ledger::testing {
namespace {

absl::Status Post(Replica& replica, const v1::PostTransfersRequest& request,
                  v1::PostTransfersResponse& response) {
  return replica.Call("service:payout", &Stub::PostTransfers, request, &response);
}

v1::PostTransfersRequest PostingOf(const Scene& scene, const std::string& name, int count) {
  v1::PostTransfersRequest request;
  request.set_request_id(Scene::IdOf("request " + name));
  for (int i = 0; i < count; ++i) {
    *request.add_transfers() =
        scene.TransferOf("payout", absl::StrCat(name, ".", i, " supply->pool 1"));
  }
  return request;
}

bool Eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 20'000; ++i) {
    if (holds()) return true;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return false;
}

// The first leaves, in order; each must be there.
std::vector<std::string> LeavesOf(Replica& replica, int64_t size) {
  std::vector<std::string> leaves;
  while (static_cast<int64_t>(leaves.size()) < size) {
    v1::ListEntriesRequest request;
    v1::ListEntriesResponse response;
    request.set_from_index(static_cast<int64_t>(leaves.size()));
    request.set_page_size(1'000);
    REQUIRE(replica.Call("service:payout", &Stub::ListEntries, request, &response).ok());
    REQUIRE(response.entries_size() > 0);
    for (const v1::LogEntry& entry : response.entries()) {
      REQUIRE(entry.log_index() == static_cast<int64_t>(leaves.size()));
      leaves.push_back(entry.entry());
    }
  }
  leaves.resize(static_cast<size_t>(size));
  return leaves;
}

// The last signed head has the root of the leaves that are there.
void CheckHead(Replica& replica) {
  v1::GetTreeHeadResponse head;
  REQUIRE(replica.Call("service:payout", &Stub::GetTreeHead, v1::GetTreeHeadRequest(), &head).ok());
  crypto::Frontier frontier;
  for (const std::string& leaf : LeavesOf(replica, head.tree_head().size())) {
    frontier.Append(crypto::LeafHash(leaf));
  }
  CHECK(frontier.Root().AsBytes() == head.tree_head().root());
}

TEST_CASE("a COMMIT whose answer is lost gets its true answer", "[ledger]") {
  Scene scene;
  int64_t posted = 0;
  for (int i = 0; i < 8; ++i) {
    const int cuts = scene.replica->proxy().cuts();
    scene.replica->proxy().LoseAnswerOfCommit(PgProxy::Then::kOnce);
    v1::PostTransfersResponse response;
    const absl::Status status =
        Post(*scene.replica, PostingOf(scene, absl::StrCat("lost", i), 3), response);
    INFO(status.ToString());
    REQUIRE(status.ok());
    CHECK(scene.replica->proxy().cuts() == cuts + 1);
    // The first answer, not that of a repetition.
    for (const v1::TransferOutcome& outcome : response.outcomes()) {
      CHECK(outcome.result() == v1::TRANSFER_RESULT_POSTED);
      CHECK(outcome.credit_balance_micro() == ++posted);
    }
  }
  // The same where the COMMIT did not arrive.
  for (int i = 0; i < 8; ++i) {
    const int cuts = scene.replica->proxy().cuts();
    scene.replica->proxy().CutBeforeCommit(PgProxy::Then::kOnce);
    v1::PostTransfersResponse response;
    REQUIRE(Post(*scene.replica, PostingOf(scene, absl::StrCat("unmade", i), 1), response).ok());
    CHECK(scene.replica->proxy().cuts() == cuts + 1);
    CHECK(response.outcomes(0).result() == v1::TRANSFER_RESULT_POSTED);
    CHECK(response.outcomes(0).credit_balance_micro() == ++posted);
  }
  CheckHead(*scene.replica);
}

TEST_CASE("connections that break at any step lose and double nothing", "[ledger]") {
  Scene scene;
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::atomic<int64_t> posted{0};
  constexpr int kThreads = 3;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; !done; ++i) {
        const v1::PostTransfersRequest request =
            PostingOf(scene, absl::StrCat("t", t, ".", i), 1 + i % 7);
        for (int attempt = 0;; ++attempt) {
          v1::PostTransfersResponse response;
          const absl::Status status = Post(*scene.replica, request, response);
          if (!status.ok()) {
            // A cut may have hit the session that leads; then the client asks again.
            if (!absl::IsUnavailable(status) || attempt > 500) ++wrong;
            if (attempt > 500) break;
            absl::SleepFor(absl::Milliseconds(5));
            continue;
          }
          for (const v1::TransferOutcome& outcome : response.outcomes()) {
            const bool first = outcome.result() == v1::TRANSFER_RESULT_POSTED;
            const bool again = attempt > 0 && outcome.result() == v1::TRANSFER_RESULT_EXISTS;
            if (!first && !again) ++wrong;
          }
          posted += request.transfers_size();
          break;
        }
      }
    });
  }
  for (int message = 1; message <= 40; ++message) {
    const int cuts = scene.replica->proxy().cuts();
    scene.replica->proxy().CutAfter(message, PgProxy::Then::kOnce);
    CHECK(Eventually([&] { return scene.replica->proxy().cuts() > cuts; }));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(scene.AccountOf("pool").balance_micro() == posted);
  CHECK(scene.AccountOf("supply").balance_micro() == -posted);
  CheckHead(*scene.replica);
}

// The first does not know that it lost the lease: its session was ended behind its back, and the
// second leads. Whatever either says it posted is in the log once.
TEST_CASE("of two writers at once exactly one posts", "[ledger]") {
  Scene scene;
  TempDir dir;
  Replica second(scene.database.Options("ledger"), rochdale::testing::TestCluster().socket_dir(),
                 scene.cast, dir.path());
  Replica* const replicas[2] = {scene.replica.get(), &second};
  std::set<int64_t> indexes;
  int64_t posted = 0;
  int led[2] = {0, 0};
  for (int round = 0; round < 12; ++round) {
    // Whoever holds the lease loses its session.
    REQUIRE(scene.database.Admin()
                .Transact(absl::Seconds(10),
                          [](pg::Transaction& tx) {
                            return tx.ExecScript(
                                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                                "WHERE locktype = 'advisory' AND database = (SELECT oid FROM "
                                "pg_database WHERE datname = current_database())");
                          })
                .ok());
    for (int call = 0; call < 6; ++call) {
      v1::PostTransfersResponse responses[2];
      absl::Status statuses[2];
      std::thread other([&] {
        statuses[1] =
            Post(second, PostingOf(scene, absl::StrCat("b", round, ".", call), 2), responses[1]);
      });
      statuses[0] = Post(*scene.replica, PostingOf(scene, absl::StrCat("a", round, ".", call), 2),
                         responses[0]);
      other.join();
      for (int i = 0; i < 2; ++i) {
        if (!statuses[i].ok()) {
          INFO(statuses[i].ToString());
          CHECK(absl::IsUnavailable(statuses[i]));
          continue;
        }
        ++led[i];
        for (const v1::TransferOutcome& outcome : responses[i].outcomes()) {
          CHECK(outcome.result() == v1::TRANSFER_RESULT_POSTED);
          CHECK(indexes.insert(outcome.log_index()).second);
          ++posted;
        }
      }
      if (!statuses[0].ok() && !statuses[1].ok()) absl::SleepFor(absl::Milliseconds(10));
    }
    REQUIRE(Eventually([&] { return replicas[0]->Writes() || replicas[1]->Writes(); }));
  }
  CHECK(posted > 0);
  CHECK(led[0] + led[1] > 0);
  // What was refused or had no answer may have been posted; what was answered was.
  Replica& writer = replicas[0]->Writes() ? *replicas[0] : *replicas[1];
  v1::GetAccountRequest get;
  v1::GetAccountResponse pool;
  get.set_account_id(Scene::IdOf("pool"));
  REQUIRE(writer.Call("service:payout", &Stub::GetAccount, get, &pool).ok());
  CHECK(pool.account().balance_micro() >= posted);
  CHECK(pool.account().balance_micro() % 2 == 0);
  CheckHead(writer);
}

TEST_CASE("a clock that jumps back does not take the log back", "[ledger]") {
  Scene scene;
  scene.Play("payout: t0 supply->pool 100 = POSTED\n");
  // After it, the ledger goes on at the last time that it knows.
  for (int i = 0; i < 5; ++i) {
    scene.clock.Advance(-absl::Minutes(7 * i));
    scene.Play(absl::StrCat("payout: t", i + 1, " supply->pool 1 = POSTED\n"));
    scene.clock.Advance(absl::Minutes(3));
    scene.Play(absl::StrCat("payout: h", i, " pool->fund 1 hold:60 = POSTED\n"));
  }
  // A restart, with the clock behind the log.
  scene.replica.reset();
  scene.replica = std::make_unique<Replica>(scene.database.Options("ledger"),
                                            rochdale::testing::TestCluster().socket_dir(),
                                            scene.cast, scene.dir.path());
  REQUIRE(Eventually([&] { return scene.replica->Writes(); }));
  scene.Play("payout: t9 supply->pool 1 = POSTED\n");
  const int64_t size = scene.OutcomeOf("t9").log_index() + 1;
  int64_t last_us = 0;
  for (const std::string& leaf : LeavesOf(*scene.replica, size)) {
    const crypto::Entry entry = crypto::DecodeEntry(leaf).value();
    if (entry.service != crypto::Service::kLedger) continue;
    CHECK(entry.time_us >= last_us);
    last_us = entry.time_us;
  }
  CHECK(last_us > absl::ToUnixMicros(scene.clock.Now()));
  // Holds end by the ledger's time, once that goes on.
  scene.clock.Advance(absl::FromUnixMicros(last_us) - scene.clock.Now());
  scene.Play("clock 61\nbalance pool 106 held 0\n");
}

// A database of its own on a small file system, which is filled up and emptied again.
TEST_CASE("a full disk refuses clearly, loses nothing, and ends", "[ledger]") {
  const auto disk = rochdale::testing::SmallDisk::Mount("220m");
  if (disk == nullptr) return;
  pg::PrivateClusterOptions options;
  options.data_dir = disk->path() + "/data";
  options.socket_dir = absl::StrCat("/tmp/rochdale-sock-", ::getpid());
  options.fsync = false;
  options.settings = {{"max_connections", "40"}, {"shared_buffers", "16MB"},
                      {"max_wal_size", "64MB"}};
  auto cluster = pg::PrivateCluster::Start(options);
  INFO(cluster.status().ToString());
  REQUIRE(cluster.ok());
  pg::DatabaseOptions database;
  database.connection = (*cluster)->ConnectionString("postgres");
  REQUIRE(pg::CreateDatabaseIfMissing(database, "full").ok());
  database.connection = (*cluster)->ConnectionString("full");
  {
    pg::Database admin(database);
    REQUIRE(pg::Migrate(admin, {Migrations()}, absl::Now(), {}).ok());
  }
  ManualClock clock(absl::FromUnixSeconds(1'800'000'000));
  Cast cast(clock);
  TempDir dir;
  auto replica =
      std::make_unique<Replica>(pg::ForService(database, "ledger"), "", cast, dir.path());
  REQUIRE(Eventually([&] { return replica->Writes(); }));
  v1::OpenAccountsRequest open;
  v1::OpenAccountsResponse opened;
  open.set_request_id(Scene::IdOf("open"));
  open.mutable_authorised_by()->set_event_id(Scene::IdOf("why"));
  for (const char* name : {"supply", "pool"}) {
    v1::Account& account = *open.add_accounts();
    account.set_account_id(Scene::IdOf(name));
    account.set_owner_id(Scene::IdOf("cooperative"));
    account.set_type(v1::ACCOUNT_TYPE_SYSTEM);
    account.set_asset("token");
    account.set_unlimited(std::string(name) == "supply");
  }
  REQUIRE(replica->Call("service:payout", &Stub::OpenAccounts, open, &opened).ok());

  int64_t acknowledged = 0;
  std::vector<v1::PostTransfersRequest> unanswered;
  int refusals = 0;
  const auto post = [&](int i) {
    v1::PostTransfersRequest request;
    request.set_request_id(Scene::IdOf(absl::StrCat("request ", i)));
    for (int j = 0; j < 1'500; ++j) {
      v1::Transfer& transfer = *request.add_transfers();
      transfer.set_transfer_id(Scene::IdOf(absl::StrCat("transfer ", i, ".", j)));
      transfer.set_debit_account_id(Scene::IdOf("supply"));
      transfer.set_credit_account_id(Scene::IdOf("pool"));
      transfer.set_amount_micro(1);
      transfer.set_kind(v1::TRANSFER_KIND_MINT);
      transfer.mutable_authorised_by()->set_event_id(Scene::IdOf("why"));
    }
    v1::PostTransfersResponse response;
    const absl::Status status = Post(*replica, request, response);
    if (status.ok()) {
      for (const v1::TransferOutcome& outcome : response.outcomes()) {
        CHECK(outcome.result() == v1::TRANSFER_RESULT_POSTED);
      }
      acknowledged += 1'500;
      return;
    }
    ++refusals;
    // To be tried again, without a word of the database in it.
    INFO(status.ToString());
    CHECK((absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)));
    CHECK_FALSE(absl::StrContains(status.message(), "ERROR"));
    CHECK_FALSE(absl::StrContains(status.message(), "pg_wal"));
    unanswered.push_back(std::move(request));
  };
  for (int i = 0; i < 3; ++i) post(i);
  CHECK(refusals == 0);
  disk->Fill();
  for (int i = 3; i < 200 && refusals < 2; ++i) post(i);
  REQUIRE(refusals > 0);
  disk->MakeRoom();
  // A server whose log had no room has ended itself; whoever runs it starts it again.
  if (!(*cluster)->Running()) {
    cluster->reset();
    cluster = pg::PrivateCluster::Start(options);
    INFO(cluster.status().ToString());
    REQUIRE(cluster.ok());
  }
  REQUIRE(Eventually([&] { return replica->Writes(); }));
  for (const v1::PostTransfersRequest& request : unanswered) {
    v1::PostTransfersResponse response;
    REQUIRE(Eventually([&] { return Post(*replica, request, response).ok(); }));
    for (const v1::TransferOutcome& outcome : response.outcomes()) {
      CHECK((outcome.result() == v1::TRANSFER_RESULT_POSTED ||
             outcome.result() == v1::TRANSFER_RESULT_EXISTS));
    }
    acknowledged += request.transfers_size();
  }
  v1::GetAccountRequest get;
  v1::GetAccountResponse pool;
  get.set_account_id(Scene::IdOf("pool"));
  REQUIRE(replica->Call("service:payout", &Stub::GetAccount, get, &pool).ok());
  CHECK(pool.account().balance_micro() == acknowledged);
  CheckHead(*replica);
  replica.reset();
  CHECK((*cluster)->Stop().ok());
}

}  // namespace
}  // namespace rochdale::ledger::testing
