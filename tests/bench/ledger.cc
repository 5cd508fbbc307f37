// Transfers per second of the ledger's writer, log and proofs included, against the usual way: a
// function in the database that locks both rows, checks, moves and records, without a log. Both in
// one run, on one PostgreSQL with fsync on, between random accounts and between ten hot ones.
// Usage: bench_ledger [--quick]
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "libs/obs/log.h"
#include "libs/pg/database.h"
#include "libs/pg/migrations.h"
#include "libs/pg/private_cluster.h"
#include "services/ledger/migrations.h"
#include "services/ledger/writer.h"

namespace rochdale::ledger {
namespace {

constexpr int kCallers = 8;
constexpr int kAccounts = 10'000;
constexpr int kHotAccounts = 10;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

// The peer: one call moves `ids` transfers, each as careful as such functions are.
constexpr char kPeer[] = R"sql(
CREATE TABLE peer_accounts (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 70);
CREATE TABLE peer_transfers (id uuid PRIMARY KEY, debit int, credit int, amount bigint,
                             debit_balance bigint, credit_balance bigint);
CREATE FUNCTION peer_post(ids uuid[], debits int[], credits int[], amount bigint) RETURNS int AS $$
DECLARE
  d bigint; c bigint; posted int := 0;
BEGIN
  PERFORM 1 FROM peer_accounts WHERE id = ANY(debits || credits) ORDER BY id FOR UPDATE;
  FOR i IN 1 .. cardinality(ids) LOOP
    UPDATE peer_accounts SET balance = balance - amount WHERE id = debits[i]
      RETURNING balance INTO d;
    IF d < -1000000000000 THEN RAISE 'no funds'; END IF;
    UPDATE peer_accounts SET balance = balance + amount WHERE id = credits[i]
      RETURNING balance INTO c;
    INSERT INTO peer_transfers VALUES (ids[i], debits[i], credits[i], amount, d, c)
      ON CONFLICT DO NOTHING;
    posted := posted + 1;
  END LOOP;
  RETURN posted;
END $$ LANGUAGE plpgsql;
INSERT INTO peer_accounts SELECT n, 0 FROM generate_series(0, 9999) AS n;
)sql";

// Runs `call(random, id source)` in kCallers threads for `seconds`; calls per second.
template <typename Call>
double RateOf(double seconds, Call call) {
  std::atomic<int64_t> calls{0};
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + std::chrono::duration<double>(seconds);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kCallers; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(static_cast<uint64_t>(t) * 7919 + std::random_device{}());
        SeededIdSource ids(random());
        while (std::chrono::steady_clock::now() < end) {
          call(random, ids);
          ++calls;
        }
      });
    }
  }
  return static_cast<double>(calls) /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class Bench {
 public:
  Bench()
      : cluster_(StartCluster()),
        db_(Options()),
        logger_("bench", obs::LogLevel::kError, clock_) {
    Require(pg::Migrate(db_, {Migrations()}, clock_.Now(), {}).status());
    Require(db_.Transact(absl::Minutes(1),
                         [](pg::Transaction& tx) { return tx.ExecScript(kPeer); }));
    writer_db_ = std::make_unique<pg::Database>(pg::ForService(Options(), "ledger"));
    writer_ = std::make_unique<Writer>(
        *writer_db_, clock_, logger_, DeclareWriterMetrics(metrics_),
        StartLog{crypto::KeyPair::FromSeed({1}).public_key(), "bench.local/log"},
        [](pg::Transaction&, const TreeState&) { return absl::OkStatus(); }, WriterOptions{});
    writer_->Start();
    while (!writer_->Writing()) absl::SleepFor(absl::Milliseconds(10));
    Open();
  }

  double Ours(int batch, int accounts, double seconds) {
    return batch * RateOf(seconds, [&](std::mt19937_64& random, IdSource& ids) {
      PostTransfers post;
      for (int i = 0; i < batch; ++i) {
        const auto [debit, credit] = Pair(random, accounts);
        Transfer transfer;
        transfer.id = {ids.New(clock_.Now())};
        transfer.debit = accounts_[debit];
        transfer.credit = accounts_[credit];
        transfer.amount = 1;
        transfer.kind = TransferKind::kReward;
        transfer.authorised_by = {accounts_[0].value};
        post.transfers.push_back(std::move(transfer));
      }
      const auto reply = writer_->Submit({Service(), clock_.Now(), std::move(post)},
                                         absl::Now() + absl::Minutes(1));
      Require(reply.status());
      for (const Outcome& outcome : reply->outcomes) {
        if (outcome.result == TransferResult::kPosted) continue;
        Require(absl::InternalError(outcome.message));
      }
    });
  }

  double Peer(int batch, int accounts, double seconds) {
    return batch * RateOf(seconds, [&](std::mt19937_64& random, IdSource& ids) {
      std::vector<Uuid> transfers;
      std::vector<int32_t> debits, credits;
      for (int i = 0; i < batch; ++i) {
        const auto [debit, credit] = Pair(random, accounts);
        transfers.push_back(ids.New(clock_.Now()));
        debits.push_back(debit);
        credits.push_back(credit);
      }
      Require(db_.Transact(absl::Minutes(1), [&](pg::Transaction& tx) {
        return tx.Exec("SELECT peer_post($1, $2, $3, $4::bigint)", transfers, debits, credits, 1)
            .status();
      }));
    });
  }

 private:
  static std::unique_ptr<pg::PrivateCluster> StartCluster() {
    pg::PrivateClusterOptions options;
    options.data_dir = "/tmp/rochdale-bench-ledger";
    options.remove_when_stopped = true;
    options.settings = {{"max_wal_size", "4GB"}, {"shared_buffers", "512MB"}};
    auto cluster = pg::PrivateCluster::Start(options);
    Require(cluster.status());
    return *std::move(cluster);
  }
  pg::DatabaseOptions Options() {
    pg::DatabaseOptions options;
    options.connection = cluster_->ConnectionString();
    options.connections_max = kCallers;
    return options;
  }
  static Caller Service() { return {true, "payout", {}, {}}; }

  void Open() {
    SeededIdSource ids(1);
    for (int i = 0; i < kAccounts; i += 5'000) {
      OpenAccounts open;
      for (int j = 0; j < 5'000; ++j) {
        Account account;
        account.id = {ids.New(clock_.Now())};
        account.owner = ids.New(clock_.Now());
        account.type = AccountType::kSystem;
        account.asset = "token";
        account.floor = std::nullopt;
        accounts_.push_back(account.id);
        open.accounts.push_back(std::move(account));
      }
      open.authorised_by = {ids.New(clock_.Now())};
      Require(writer_->Submit({Service(), clock_.Now(), std::move(open)},
                              absl::Now() + absl::Minutes(1)).status());
    }
  }

  static std::pair<int, int> Pair(std::mt19937_64& random, int accounts) {
    const int debit = static_cast<int>(random() % static_cast<uint64_t>(accounts));
    const int step = 1 + static_cast<int>(random() % static_cast<uint64_t>(accounts - 1));
    return {debit, (debit + step) % accounts};
  }

  SystemClock clock_;
  std::unique_ptr<pg::PrivateCluster> cluster_;
  pg::Database db_;
  obs::Logger logger_;
  obs::Metrics metrics_;
  std::unique_ptr<pg::Database> writer_db_;
  std::unique_ptr<Writer> writer_;
  std::vector<AccountId> accounts_;
};

}  // namespace
}  // namespace rochdale::ledger

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  const double seconds = quick ? 2 : 8;
  rochdale::ledger::Bench bench;
  struct Row {
    int batch, accounts;
    double target;
  };
  std::printf("{\"figures\": [");
  const char* separator = "";
  for (const Row& row : {Row{1, 10'000, 0.5}, Row{1, 10, 0.5}, Row{100, 10'000, 1.0},
                         Row{1'000, 10'000, 1.0}, Row{1'000, 10, 1.0}}) {
    const double peer = bench.Peer(row.batch, row.accounts, seconds);
    const double ours = bench.Ours(row.batch, row.accounts, seconds);
    std::printf("%s{\"name\": \"transfers, %d per call, %d callers, %d accounts\", "
                "\"value\": %.0f, \"unit\": \"1/s\", \"peer\": \"row-lock function without a log, "
                "the same calls\", \"peer_value\": %.0f, \"ratio\": %.3f, \"target\": %.2f, "
                "\"met\": %s}",
                separator, row.batch, rochdale::ledger::kCallers, row.accounts, ours, peer,
                ours / peer, row.target, ours / peer >= row.target ? "true" : "false");
    separator = ", ";
  }
  std::printf("]}\n");
  return 0;
}
