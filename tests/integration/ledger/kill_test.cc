// kill -9 of the ledger's process, of PostgreSQL's, and of both, under load: every acknowledged
// transfer is there, of what was not acknowledged all or nothing, and the log goes on from the last
// head that a client saw.
#include <fcntl.h>
#include <grpcpp/channel.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "tests/integration/ledger/replica.h"

extern char** environ;

namespace rochdale::ledger::testing {
namespace {

namespace tag = crypto::tag;

constexpr int kThreads = 3;
constexpr int kAccounts = 8;

// The ledger's process.
class Victim {
 public:
  Victim(std::string connection, std::string data_dir)
      : connection_(std::move(connection)), data_dir_(std::move(data_dir)) {}
  ~Victim() { Kill(); }

  void Start() {
    int out[2];
    REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::string program = ROCHDALE_LEDGER_VICTIM;
    char* argv[] = {program.data(), connection_.data(), data_dir_.data(), nullptr};
    REQUIRE(::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    std::string line;
    char c;
    while (::read(out[0], &c, 1) == 1 && c != '\n') line += c;
    ::close(out[0]);
    REQUIRE_FALSE(line.empty());
    port_ = std::stoi(line);
  }
  void Kill() {
    if (pid_ <= 0) return;
    port_ = 0;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  int port() const { return port_; }  // 0: not running

 private:
  std::string connection_, data_dir_;
  pid_t pid_ = -1;
  std::atomic<int> port_{0};
};

// A service that calls the ledger wherever it is now; one attempt per call.
class Caller {
 public:
  explicit Caller(const Victim& victim)
      : victim_(victim),
        tokens_(crypto::TokenSubject::OfService("payout"), Cast::KeyOf("payout"), clock_, ids_),
        outgoing_(ids_, &tokens_) {}

  template <typename Base, typename Request, typename Response>
  absl::Status Call(grpc::Status (Base::*method)(grpc::ClientContext*, const Request&, Response*),
                    const std::type_identity_t<Request>& request,
                    std::type_identity_t<Response>* response) {
    const int port = victim_.port();
    if (port == 0) return absl::UnavailableError("it does not run");
    if (port != port_) {
      rpc::ChannelOptions options;
      options.plaintext = true;
      auto channel = rpc::MakeChannel(absl::StrCat("127.0.0.1:", port), options);
      if (!channel.ok()) return channel.status();
      stub_ = std::make_unique<Stub>(*channel);
      port_ = port;
    }
    rpc::CallOptions options;
    options.timeout = absl::Seconds(10);
    options.idempotent = false;
    return outgoing_.Invoke(*stub_, method, request, response, options);
  }

 private:
  const Victim& victim_;
  SystemClock clock_;
  RandomIdSource ids_;
  rpc::TokenSource tokens_;
  rpc::Outgoing outgoing_;
  std::unique_ptr<Stub> stub_;
  int port_ = 0;
};

// Place in the log and amount of the transfers that are there, by id.
using Transfers = std::map<std::string, std::pair<int64_t, int64_t>>;

struct Asked {
  v1::PostTransfersRequest request;
  bool answered = false;
  std::vector<v1::TransferOutcome> outcomes;
};

class Siege {
 public:
  Siege() {
    options_.data_dir = absl::StrCat("/tmp/rochdale-siege-", ::getpid());
    options_.socket_dir = options_.data_dir + ".sock";
    options_.fsync = false;  // processes die here, not the machine
    options_.settings = {{"max_connections", "60"}, {"shared_buffers", "32MB"}};
    StartCluster();
    pg::DatabaseOptions database;
    database.connection = cluster_->ConnectionString("postgres");
    REQUIRE(pg::CreateDatabaseIfMissing(database, "siege").ok());
    database.connection = cluster_->ConnectionString("siege");
    pg::Database admin(database);
    REQUIRE(pg::Migrate(admin, {Migrations()}, absl::Now(), {}).ok());
    victim_.emplace(database.connection, dir_.path());
    victim_->Start();
    caller_.emplace(*victim_);
    OpenAccounts();
  }

  ~Siege() {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
    victim_->Kill();
    cluster_.reset();
    for (const char* part : {"", ".sock", ".lock"}) {
      std::error_code ignored;
      std::filesystem::remove_all(options_.data_dir + part, ignored);
    }
  }

  void Run(int kills) {
    for (int t = 0; t < kThreads; ++t) {
      threads_.emplace_back([this, t] { Load(t); });
    }
    for (int round = 0; round < kills; ++round) {
      WaitForMore();
      LookAtHead();
      Kill(round % 4);
    }
    WaitForMore();
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    LookAtHead();
    Audit();
  }

 private:
  void StartCluster() {
    auto started = pg::PrivateCluster::Start(options_);
    INFO(started.status().ToString());
    REQUIRE(started.ok());
    cluster_ = *std::move(started);
  }

  std::string Account(int i) const {
    return absl::StrCat("01890000-0000-7000-8000-00000000c0", absl::Hex(i, absl::kZeroPad2));
  }

  void OpenAccounts() {
    v1::OpenAccountsRequest open;
    open.set_request_id(Account(200));
    open.mutable_authorised_by()->set_event_id(Account(201));
    for (int i = 0; i < kAccounts; ++i) {
      v1::Account& account = *open.add_accounts();
      account.set_account_id(Account(i));
      account.set_owner_id(Account(202));
      account.set_type(v1::ACCOUNT_TYPE_SYSTEM);
      account.set_asset("token");
      account.set_unlimited(i == 0);
    }
    v1::OpenAccountsResponse opened;
    absl::Status status;
    for (int i = 0; i < 500; ++i) {
      status = caller_->Call(&Stub::OpenAccounts, open, &opened);
      if (status.ok()) return;
      absl::SleepFor(absl::Milliseconds(20));
    }
    FAIL(status.ToString());
  }

  // Calls of 1 to 30 transfers, some of them chains of two; what gets no answer is asked again, or
  // given up for good.
  void Load(int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread) + 99);
    RandomIdSource ids;
    Caller caller(*victim_);
    const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
    while (!done_) {
      Asked asked;
      asked.request.set_request_id(ids.New(absl::Now()).ToString());
      for (int i = 1 + below(30); i > 0; --i) {
        v1::Transfer& transfer = *asked.request.add_transfers();
        transfer.set_transfer_id(ids.New(absl::Now()).ToString());
        const int debit = below(2) == 0 ? 0 : below(kAccounts);
        transfer.set_debit_account_id(Account(debit));
        transfer.set_credit_account_id(Account((debit + 1 + below(kAccounts - 1)) % kAccounts));
        transfer.set_amount_micro(1 + below(100));
        transfer.set_kind(v1::TRANSFER_KIND_REWARD);
        transfer.set_linked(i > 1 && below(4) == 0);
        transfer.mutable_authorised_by()->set_event_id(Account(201));
      }
      const bool patient = below(4) != 0;
      for (int attempt = 0; attempt < (patient ? 2'000 : 1) && !asked.answered; ++attempt) {
        v1::PostTransfersResponse response;
        const absl::Status status = caller.Call(&Stub::PostTransfers, asked.request, &response);
        if (status.ok()) {
          asked.answered = true;
          asked.outcomes.assign(response.outcomes().begin(), response.outcomes().end());
        } else {
          if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
            std::lock_guard lock(mutex_);
            strange_.insert(status.ToString());
          }
          absl::SleepFor(absl::Milliseconds(10));
        }
      }
      if (asked.answered) ++answered_;
      std::lock_guard lock(mutex_);
      asked_.push_back(std::move(asked));
    }
  }

  void WaitForMore() {
    const int64_t before = answered_;
    for (int i = 0; i < 60'000 && answered_ < before + 25; ++i) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    REQUIRE(answered_ >= before + 25);
  }

  void Kill(int what) {
    if (what == 0 || what == 2) victim_->Kill();
    if (what == 1 || what == 2) {
      ::kill(cluster_->server_pid(), SIGKILL);
      for (int i = 0; i < 1'000 && cluster_->Running(); ++i) absl::SleepFor(absl::Milliseconds(5));
      cluster_.reset();
      StartCluster();
    }
    // One of the server's own processes: it throws out everybody and recovers by itself.
    if (what == 3) KillABackend();
    if (what == 0 || what == 2) victim_->Start();
  }

  void KillABackend() {
    pg::DatabaseOptions options;
    options.connection = cluster_->ConnectionString("siege");
    options.log = [](absl::string_view) {};
    pg::Database admin(options);
    const auto row = admin.Transact(absl::Seconds(10), [](pg::Transaction& tx) {
      return tx.ExecOptional(
          "SELECT pid FROM pg_stat_activity WHERE datname = 'siege' AND pid <> pg_backend_pid() "
          "ORDER BY state = 'active' DESC, random() LIMIT 1");
    });
    if (row.ok() && row->has_value()) ::kill((*row)->Get<int32_t>(0), SIGKILL);
  }

  // The head that clients see; it never goes back, and continues the one that was seen before.
  void LookAtHead() {
    v1::GetTreeHeadResponse head;
    absl::Status status;
    for (int i = 0; i < 1'000; ++i) {
      status = caller_->Call(&Stub::GetTreeHead, {}, &head);
      if (status.ok()) break;
      absl::SleepFor(absl::Milliseconds(10));
    }
    INFO(status.ToString());
    REQUIRE(status.ok());
    const v1::TreeHead& now = head.tree_head();
    if (seen_.has_value()) {
      REQUIRE(now.size() >= seen_->size());
      v1::GetConsistencyProofRequest request;
      v1::GetConsistencyProofResponse proof;
      request.set_first_size(seen_->size());
      request.set_second_size(now.size());
      for (int i = 0; i < 1'000; ++i) {
        status = caller_->Call(&Stub::GetConsistencyProof, request, &proof);
        if (status.ok()) break;
        absl::SleepFor(absl::Milliseconds(10));
      }
      REQUIRE(status.ok());
      std::vector<crypto::Digest> hashes;
      for (const std::string& hash : proof.hashes()) {
        hashes.push_back(crypto::Digest::FromBytes(hash).value());
      }
      CHECK(crypto::VerifyConsistency(static_cast<uint64_t>(seen_->size()),
                                      static_cast<uint64_t>(now.size()),
                                      crypto::Digest::FromBytes(seen_->root()).value(),
                                      crypto::Digest::FromBytes(now.root()).value(), hashes)
                .ok());
    }
    seen_ = now;
  }

  // Leaves of all transfers, by id; and the root at the last head seen.
  Transfers ReadLog(std::map<std::string, int64_t>& balances) {
    Transfers transfers;
    crypto::Frontier frontier;
    bool met_head = false;
    for (int64_t next = 0;;) {
      v1::ListEntriesRequest list;
      v1::ListEntriesResponse page;
      list.set_from_index(next);
      list.set_page_size(1'000);
      REQUIRE(caller_->Call(&Stub::ListEntries, list, &page).ok());
      if (page.entries().empty()) break;
      for (const v1::LogEntry& logged : page.entries()) {
        REQUIRE(logged.log_index() == next++);
        frontier.Append(crypto::LeafHash(logged.entry()));
        if (next == seen_->size()) {
          met_head = true;
          CHECK(frontier.Root().AsBytes() == seen_->root());
        }
        const crypto::Entry entry = crypto::DecodeEntry(logged.entry()).value();
        if (entry.kind != crypto::kind::kTransferPosted) continue;
        const auto amount = static_cast<int64_t>(entry.U64(tag::kAmount).value());
        CHECK(transfers
                  .emplace(entry.subject.ToString(), std::make_pair(logged.log_index(), amount))
                  .second);
        balances[entry.IdAt(tag::kDebitAccount)->ToString()] -= amount;
        balances[entry.IdAt(tag::kCreditAccount)->ToString()] += amount;
      }
    }
    CHECK(met_head);
    return transfers;
  }

  void Audit() {
    for (const std::string& strange : strange_) FAIL_CHECK(strange);
    std::map<std::string, int64_t> balances;
    const auto transfers = ReadLog(balances);
    size_t accounted = 0;
    int lost_but_made = 0, lost_and_gone = 0;
    for (const Asked& asked : asked_) {
      size_t there = 0;
      for (const v1::Transfer& transfer : asked.request.transfers()) {
        there += transfers.contains(transfer.transfer_id());
      }
      accounted += there;
      if (!asked.answered) {
        (there > 0 ? lost_but_made : lost_and_gone) += 1;
        CheckChains(asked, transfers);
        continue;
      }
      for (const v1::TransferOutcome& outcome : asked.outcomes) {
        const auto found = transfers.find(outcome.transfer_id());
        const bool posted = outcome.result() == v1::TRANSFER_RESULT_POSTED ||
                            outcome.result() == v1::TRANSFER_RESULT_EXISTS;
        CHECK(posted == (found != transfers.end()));
        if (!posted || found == transfers.end()) continue;
        CHECK(found->second.first == outcome.log_index());
        CHECK(found->second.second == outcome.amount_micro());
      }
    }
    CHECK(accounted == transfers.size());
    int64_t sum = 0;
    for (int i = 0; i < kAccounts; ++i) {
      v1::GetAccountRequest get;
      v1::GetAccountResponse is;
      get.set_account_id(Account(i));
      REQUIRE(caller_->Call(&Stub::GetAccount, get, &is).ok());
      CHECK(is.account().balance_micro() == balances[Account(i)]);
      if (i > 0) CHECK(is.account().balance_micro() >= 0);
      sum += is.account().balance_micro();
    }
    CHECK(sum == 0);
    std::cout << "ledger kill -9: " << asked_.size() << " calls, " << transfers.size()
              << " transfers, of calls without an answer " << lost_but_made << " were made and "
              << lost_and_gone << " not" << std::endl;
  }

  // A call that got no answer is there as a whole or not at all; so is each of its chains.
  void CheckChains(const Asked& asked, const Transfers& transfers) {
    bool in_chain = false, there = false;
    for (const v1::Transfer& transfer : asked.request.transfers()) {
      const bool is = transfers.contains(transfer.transfer_id());
      if (in_chain) CHECK(is == there);
      in_chain = transfer.linked();
      there = is;
    }
    // The unlimited account can always pay: its transfers stand outside of chains for the call.
    std::set<bool> made;
    bool before = false;
    for (const v1::Transfer& transfer : asked.request.transfers()) {
      const bool alone = !before && !transfer.linked();
      before = transfer.linked();
      if (alone && transfer.debit_account_id() == Account(0)) {
        made.insert(transfers.contains(transfer.transfer_id()));
      }
    }
    CHECK(made.size() <= 1);
  }

  pg::PrivateClusterOptions options_;
  std::unique_ptr<pg::PrivateCluster> cluster_;
  TempDir dir_;
  std::optional<Victim> victim_;
  std::optional<Caller> caller_;
  std::vector<std::thread> threads_;
  std::atomic<bool> done_{false};
  std::atomic<int64_t> answered_{0};
  std::mutex mutex_;
  std::vector<Asked> asked_;
  std::set<std::string> strange_;
  std::optional<v1::TreeHead> seen_;
};

TEST_CASE("kill -9 under load, 5 times, loses nothing that was acknowledged", "[ledger]") {
  Siege().Run(5);
}

TEST_CASE("kill -9 under load, 50 times, loses nothing that was acknowledged", "[ledger][long]") {
  Siege().Run(50);
}

}  // namespace
}  // namespace rochdale::ledger::testing
