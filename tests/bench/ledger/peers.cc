#include "tests/bench/ledger/peers.h"

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/ids.h"
#include "tests/bench/ledger/world.h"

namespace rochdale::bench {
namespace {

constexpr int kThreads = 2;                    // of pgbench
constexpr int kConnectionChoices[] = {8, 32};  // the better one counts
constexpr double kSampled = 0.1;               // share of transactions whose latency is noted

std::string PgBench() {
  std::string newest;
  std::error_code error;
  for (const auto& one : std::filesystem::directory_iterator("/usr/lib/postgresql", error)) {
    const std::string program = (one.path() / "bin/pgbench").string();
    if (std::filesystem::exists(program) && program > newest) newest = program;
  }
  if (newest.empty()) Require(absl::NotFoundError("pgbench"), "a peer");
  return newest;
}

// Runs pgbench and returns what it printed.
std::string Run(const std::string& arguments) {
  const std::string line = absl::StrCat(PgBench(), " ", arguments, " 2>&1");
  FILE* const pipe = popen(line.c_str(), "r");
  if (pipe == nullptr) Require(absl::InternalError(line), "a peer");
  std::string text;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
  if (pclose(pipe) != 0) Require(absl::InternalError(absl::StrCat(line, "\n", text)), "a peer");
  return text;
}

int64_t Transactions(const std::string& text) {
  static constexpr char kBefore[] = "number of transactions actually processed: ";
  const size_t at = text.find(kBefore);
  if (at == std::string::npos) Require(absl::InternalError(text), "pgbench");
  return std::stoll(text.substr(at + sizeof kBefore - 1));
}

// pgbench -l: client, number, microseconds, ...
void ReadLatencies(const std::string& folder, Latencies& latencies) {
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::ifstream in(file.path());
    for (std::string line; std::getline(in, line);) {
      std::istringstream fields(line);
      int64_t client = 0, number = 0, micros = 0;
      if (fields >> client >> number >> micros) latencies.Add(absl::Microseconds(micros));
    }
  }
}

class Peer {
 public:
  Peer(Postgres& postgres, std::string database)
      : postgres_(postgres), database_(std::move(database)) {
    postgres_.Create(database_);
  }
  ~Peer() { postgres_.Drop(database_); }

  const std::string& database() const { return database_; }
  std::string Target() const {
    return absl::StrCat(" -h ", postgres_.socket_dir(), " -U rochdale ", database_);
  }
  Usage Now() const {
    return MeasureUsage(-1, postgres_.postmaster(), postgres_.admin(), database_);
  }

  // `what`: the script or built-in transaction. Tries the numbers of connections first.
  PeerRun Bench(const std::string& what, const Timing& timing) const {
    PeerRun best;
    double rate = 0;
    for (const int connections : kConnectionChoices) {
      const double tried = Once(what, connections, timing.warm_up).measured.rate();
      if (tried > rate) best.connections = connections;
      rate = std::max(rate, tried);
    }
    return Once(what, best.connections, timing.measured);
  }

 private:
  PeerRun Once(const std::string& what, int connections, absl::Duration time) const {
    const std::string folder = absl::StrCat("/tmp/", database_, "-latencies");
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    PeerRun run;
    run.connections = connections;
    run.measured.begin = Now();
    const std::string text =
        Run(absl::StrCat(what, " -n -M prepared -c ", connections, " -j ", kThreads, " -T ",
                         std::max<int64_t>(1, absl::ToInt64Seconds(time)), " -l --log-prefix=",
                         folder, "/log --sampling-rate=", kSampled, Target()));
    run.measured.end = Now();
    run.measured.transfers = Transactions(text);
    ReadLatencies(folder, run.measured.latencies);
    std::filesystem::remove_all(folder);
    return run;
  }

  Postgres& postgres_;
  const std::string database_;
};

constexpr char kTables[] = R"sql(
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, floor bigint NOT NULL)
  WITH (fillfactor = 70);
CREATE TABLE transfers (id uuid PRIMARY KEY, debit int NOT NULL, credit int NOT NULL,
                        amount bigint NOT NULL, debit_balance bigint NOT NULL,
                        credit_balance bigint NOT NULL, posted timestamptz NOT NULL);
CREATE FUNCTION post(transfer uuid, debit int, credit int, amount bigint) RETURNS void AS $$
DECLARE
  lowest bigint; d bigint; c bigint;
BEGIN
  PERFORM 1 FROM accounts WHERE id IN (debit, credit) ORDER BY id FOR UPDATE;
  UPDATE accounts SET balance = balance - amount WHERE id = debit RETURNING balance, floor
    INTO d, lowest;
  IF d < lowest THEN RAISE 'no funds'; END IF;
  UPDATE accounts SET balance = balance + amount WHERE id = credit RETURNING balance INTO c;
  INSERT INTO transfers VALUES (transfer, debit, credit, amount, d, c, clock_timestamp());
END $$ LANGUAGE plpgsql;
CREATE FUNCTION post_all(transfers uuid[], debits int[], credits int[], amount bigint)
RETURNS void AS $$
BEGIN
  PERFORM 1 FROM accounts WHERE id = ANY(debits || credits) ORDER BY id FOR UPDATE;
  FOR i IN 1 .. cardinality(transfers) LOOP
    PERFORM post(transfers[i], debits[i], credits[i], amount);
  END LOOP;
END $$ LANGUAGE plpgsql;
)sql";

std::string Fill() {
  return absl::StrCat(
      "INSERT INTO accounts SELECT n, 0, -1000000000000000 FROM generate_series(1, ", kAccounts,
      ") AS n;");
}

// One transfer per call, by pgbench with this script.
std::string Script(Spread spread) {
  const auto draw = [&](const char* name) -> std::string {
    switch (spread) {
      case Spread::kUniform: return absl::StrCat("\\set ", name, " random(1, ", kAccounts, ")\n");
      // pgbench takes no exponent below 1.001; ranks are scattered as ours are.
      case Spread::kZipf:
        return absl::StrCat("\\set r random_zipfian(1, ", kAccounts, ", 1.001)\n\\set ", name,
                            " permute(:r - 1, ", kAccounts, ") + 1\n");
      case Spread::kTenHot: return absl::StrCat("\\set ", name, " random(1, 10)\n");
    }
    return "";
  };
  return absl::StrCat(draw("d"), draw("c"),
                      "\\if :d = :c\n\\set c (:d % 10) + 1\n\\endif\n"
                      "SELECT post(gen_random_uuid(), :d, :c, 1);\n");
}

// Arrays of `batch`, by threads of ours; what it costs them is small beside the function.
PeerRun RunArrays(const Peer& peer, pg::Database& db, const Picker& picker, int batch,
                  int connections, absl::Duration time) {
  PeerRun run;
  run.connections = connections;
  run.measured.begin = peer.Now();
  const absl::Time end = run.measured.begin.at + time;
  std::mutex mutex;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < connections; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(static_cast<uint64_t>(t));
        SeededIdSource ids(std::random_device{}());
        while (absl::Now() < end) {
          std::vector<Uuid> transfers;
          std::vector<int32_t> debits, credits;
          for (int i = 0; i < batch; ++i) {
            const auto [debit, credit] = picker.Pair(random);
            transfers.push_back(ids.New(absl::Now()));
            debits.push_back(debit + 1);
            credits.push_back(credit + 1);
          }
          const absl::Time begin = absl::Now();
          const absl::Status status =
              db.Transact(absl::Minutes(1), [&](pg::Transaction& tx) {
                return tx.Exec("SELECT post_all($1, $2, $3, 1)", transfers, debits, credits)
                    .status();
              });
          // On few accounts rows grow so many versions that a call may not come to its end.
          if (absl::IsDeadlineExceeded(status)) continue;
          Require(status, "the row-lock function");
          std::lock_guard lock(mutex);
          run.measured.transfers += batch;
          run.measured.latencies.Add(absl::Now() - begin);
        }
      });
    }
  }
  run.measured.end = peer.Now();
  return run;
}

}  // namespace

PeerRun RunTpcB(Postgres& postgres, bool simple, const Timing& timing) {
  const Peer peer(postgres, "tpcb");
  Run(absl::StrCat("-i -q -s 1", peer.Target()));
  postgres.Checkpoint();
  return peer.Bench(simple ? "-N" : "-b tpcb-like", timing);
}

PeerRun RunRowLock(Postgres& postgres, const Picker& picker, int batch, const Timing& timing) {
  const Peer peer(postgres, "row_lock");
  pg::DatabaseOptions options;
  options.connection = postgres.ConnectionString(peer.database());
  options.connections_max = 8;
  pg::Database db(options);
  Require(db.Transact(absl::Minutes(1),
                      [](pg::Transaction& tx) { return tx.ExecScript(kTables + Fill()); }),
          "the row-lock function");
  postgres.Checkpoint();
  if (batch > 1) {
    PeerRun best;
    for (const int connections : {2, 8}) {
      PeerRun run = RunArrays(peer, db, picker, batch, connections, timing.measured / 2);
      if (best.connections == 0 || run.measured.rate() > best.measured.rate()) {
        best = std::move(run);
      }
    }
    return best;
  }
  const std::string script = "/tmp/rochdale-bench-row-lock.sql";
  std::ofstream(script) << Script(picker.spread());
  PeerRun run = peer.Bench(absl::StrCat("-f ", script), timing);
  std::filesystem::remove(script);
  return run;
}

}  // namespace rochdale::bench
