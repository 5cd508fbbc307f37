// Transfers per second of the ledger, end to end over gRPC under mutual TLS on a PostgreSQL with
// fsync on, beside what others reach on the same PostgreSQL in the same run. Every run has a new
// database with 100,000 accounts and ends with an audit through the public API.
// Usage: bench_ledger [--quick] [--only TEXT] [--seconds N]
//   TEXT: part of a run's name; several with ; between
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "tests/bench/ledger/audit.h"
#include "tests/bench/ledger/batches.h"
#include "tests/bench/ledger/deployment.h"
#include "tests/bench/ledger/figures.h"
#include "tests/bench/ledger/orders.h"
#include "tests/bench/ledger/peers.h"
#include "tests/bench/ledger/streams.h"
#include "tests/bench/ledger/world.h"

namespace rochdale::bench {
namespace {

constexpr Spread kSpreads[] = {Spread::kUniform, Spread::kZipf, Spread::kTenHot};
constexpr int kBatches[] = {1, 10, 100, 1'000, 8'190};
// Orders of one client a second that are signed ahead: 20 of each of 1,024 clients.
constexpr int kOrdersPerSecond = 20;
constexpr int kSignedSecondsMax = 30;

std::string BatchName(int batch, Spread spread) {
  return absl::StrCat("batches of ", batch, ", ", NameOf(spread));
}
std::string StreamName(Spread spread) {
  return absl::StrCat(kStreams, " clients, single transfers, ", NameOf(spread));
}

class Bench {
 public:
  Bench(Timing timing, std::string only)
      : timing_(timing), only_(std::move(only)), registry_(certificates_) {
    for (const Spread spread : kSpreads) pickers_.emplace(spread, Picker(spread, kAccounts));
  }

  std::string Run() {
    for (const Spread spread : kSpreads) {
      for (const int batch : kBatches) Batches(batch, spread);
    }
    for (const Spread spread : kSpreads) Streams(spread);
    Signed();
    Peers();
    Compare();
    return figures_.Json();
  }

 private:
  bool Wanted(const std::string& name) const {
    for (const absl::string_view text : absl::StrSplit(only_, ';')) {
      if (absl::StrContains(name, text)) return true;
    }
    return false;
  }

  void Batches(int batch, Spread spread) {
    const std::string name = BatchName(batch, spread);
    if (!Wanted(name)) return;
    LedgerProcess ledger(postgres_, certificates_, registry_);
    const World world(ledger, registry_, 0);
    postgres_.Checkpoint();
    Journal journal(CallsUnderWay(batch));
    Measured measured = RunBatches(ledger, postgres_, world.accounts(), pickers_.at(spread), batch,
                                   timing_, journal);
    std::optional<double> target;
    if (batch == 1'000 && spread == Spread::kUniform) target = 60'000;
    if (batch == 1'000 && spread == Spread::kTenHot) target = 100'000;
    if (batch == 8'190 && spread == Spread::kUniform) target = 100'000;
    Add(name, measured, target, std::nullopt);
    AuditRun(name, ledger, world, journal);
  }

  void Streams(Spread spread) {
    const std::string name = StreamName(spread);
    if (!Wanted(name)) return;
    LedgerProcess ledger(postgres_, certificates_, registry_);
    const World world(ledger, registry_, 0);
    postgres_.Checkpoint();
    Journal journal(kStreams);
    const RequestTemplate requests;
    std::mt19937_64 random(1);
    StreamSource source;
    source.service = "payout";
    source.next = [&](uint32_t client, uint32_t sequence, std::string& bytes) {
      const auto [debit, credit] = pickers_.at(spread).Pair(random);
      const Uuid id = TransferIdOf(client, sequence, absl::Now());
      requests.Begin(id, bytes);
      requests.Add(id, world.accounts()[static_cast<size_t>(debit)],
                   world.accounts()[static_cast<size_t>(credit)], bytes);
      return true;
    };
    Measured measured = RunStreams(ledger, postgres_, source, timing_, journal);
    const bool uniform = spread == Spread::kUniform;
    Add(name, measured, uniform ? std::optional<double>(25'000) : std::nullopt,
        uniform ? std::optional<double>(100) : std::nullopt);
    AuditRun(name, ledger, world, journal);
  }

  void Signed() {
    const std::string name = absl::StrCat(kStreams, " clients, single transfers, each signed");
    if (!Wanted(name)) return;
    Timing timing = timing_;
    timing.measured = std::min(timing.measured, absl::Seconds(kSignedSecondsMax));
    LedgerProcess ledger(postgres_, certificates_, registry_);
    const World world(ledger, registry_, kStreams);
    const int64_t seconds = absl::ToInt64Seconds(timing.warm_up + timing.measured) + 1;
    SignedOrders orders(world, pickers_.at(Spread::kUniform),
                        static_cast<int>(seconds) * kOrdersPerSecond);
    const double verified = VerificationRate(absl::Seconds(3));
    postgres_.Checkpoint();
    Journal journal(kStreams);
    Measured measured = RunStreams(ledger, postgres_, orders.Source(), timing, journal);
    figures_.Add({.name = absl::StrCat(name, ", against verification alone"),
                  .value = measured.rate(),
                  .unit = "transfers/s",
                  .peer = "Ed25519 verifications by all cores",
                  .peer_value = verified,
                  .target = 0.5});
    Add(name, measured, std::nullopt, std::nullopt);
    AuditRun(name, ledger, world, journal);
  }

  void Peers() {
    for (const bool simple : {false, true}) {
      const std::string name = simple ? "pgbench -N (no branch, no teller)"
                                      : "pgbench TPC-B, scale 1 (one branch for all)";
      if (!Wanted(name)) continue;
      PeerRun run = RunTpcB(postgres_, simple, timing_);
      Add(absl::StrCat(name, ", ", run.connections, " connections"), run.measured, std::nullopt,
          std::nullopt);
      if (!simple) tpcb_ = run.measured.rate();
    }
    for (const Spread spread : kSpreads) {
      for (const int batch : {1, 1'000}) {
        const std::string name = absl::StrCat(
            "row-lock function, ", batch == 1 ? "one per call" : "arrays of 1000", ", ",
            NameOf(spread));
        if (!Wanted(name)) continue;
        PeerRun run = RunRowLock(postgres_, pickers_.at(spread), batch, timing_);
        Add(absl::StrCat(name, ", ", run.connections, " connections"), run.measured, std::nullopt,
            std::nullopt);
        row_lock_[{batch, spread}] = run.measured.rate();
      }
    }
  }

  // Rates of the same run beside one another; nothing where one of them was not measured.
  void Compare() {
    const auto versus = [&](const std::string& name, const char* peer, double peer_rate,
                            std::optional<double> target) {
      if (!rates_.contains(name) || peer_rate <= 0) return;
      figures_.Add({.name = absl::StrCat(name, ", against ", peer),
                    .value = rates_.at(name),
                    .unit = "transfers/s",
                    .peer = peer,
                    .peer_value = peer_rate,
                    .target = target});
    };
    versus(BatchName(1'000, Spread::kUniform), "TPC-B", tpcb_, 15);
    for (const Spread spread : kSpreads) {
      const std::optional<double> single = spread == Spread::kUniform  ? std::optional(2.5)
                                           : spread == Spread::kTenHot ? std::optional(5.0)
                                                                       : std::nullopt;
      versus(StreamName(spread), "the row-lock function", row_lock_[{1, spread}], single);
      versus(BatchName(1'000, spread), "the row-lock function in arrays",
             row_lock_[{1'000, spread}], std::nullopt);
    }
  }

  void Add(const std::string& name, Measured& measured, std::optional<double> rate,
           std::optional<double> p99) {
    const double transfers = std::max<double>(1, static_cast<double>(measured.transfers));
    const double cores = measured.end.machine_s - measured.begin.machine_s;
    const double generator = measured.end.generator_s - measured.begin.generator_s;
    const double server = measured.end.server_s - measured.begin.server_s;
    const double postgres = measured.end.postgres_s - measured.begin.postgres_s;
    const auto add = [&](const char* what, double value, const char* unit,
                         std::optional<double> target = std::nullopt, bool at_most = false) {
      figures_.Add({.name = absl::StrCat(name, what),
                    .value = value,
                    .unit = unit,
                    .target = target,
                    .at_most = at_most});
    };
    rates_[name] = measured.rate();
    add("", measured.rate(), "transfers/s", rate);
    add(": p50", measured.latencies.Quantile(0.5), "ms");
    add(": p99", measured.latencies.Quantile(0.99), "ms", p99, true);
    add(": WAL", static_cast<double>(measured.end.wal_bytes - measured.begin.wal_bytes) / transfers,
        "bytes/transfer");
    add(": disk",
        static_cast<double>(measured.end.disk_bytes - measured.begin.disk_bytes) / transfers,
        "bytes/transfer");
    if (server > 0) add(": ledger's processor time", 1e6 * server / transfers, "us/transfer");
    add(": PostgreSQL's processor time", 1e6 * postgres / transfers, "us/transfer");
    add(": generator's cores", generator / measured.seconds(), "cores");
    add(": cores of other processes",
        std::max(0.0, cores - generator - server - postgres) / measured.seconds(), "cores");
    std::fprintf(stderr, "%-60s %9.0f/s  p50 %8.2f ms  p99 %8.2f ms\n", name.c_str(),
                 measured.rate(), measured.latencies.Quantile(0.5),
                 measured.latencies.Quantile(0.99));
  }

  void AuditRun(const std::string& name, LedgerProcess& ledger, const World& world,
                const Journal& journal) {
    const Audited audited = Audit(ledger, world, journal);
    std::fprintf(stderr,
                 "  audited in %.0f s: %lld entries, %lld transfers, %lld acknowledged, all there; "
                 "root and balances follow from the leaves\n",
                 audited.seconds, static_cast<long long>(audited.entries),
                 static_cast<long long>(audited.transfers),
                 static_cast<long long>(journal.acknowledged()));
    figures_.Add({.name = absl::StrCat(name, ": audited"),
                  .value = static_cast<double>(audited.transfers),
                  .unit = "transfers in the log, none missing"});
  }

  const Timing timing_;
  const std::string only_;
  const Certified certificates_;
  Postgres postgres_;
  KeyRegistry registry_;
  std::map<Spread, Picker> pickers_;
  Figures figures_;
  std::map<std::string, double> rates_;
  double tpcb_ = 0;
  std::map<std::pair<int, Spread>, double> row_lock_;
};

}  // namespace
}  // namespace rochdale::bench

int main(int argc, char** argv) {
  using namespace rochdale::bench;  // NOLINT: main only
  // As rpc::Server does: the generator must not pay for it either.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  Timing timing{absl::Seconds(5), absl::Seconds(60)};
  std::string only;
  for (int i = 1; i < argc; ++i) {
    int64_t seconds = 0;
    if (std::strcmp(argv[i], "--quick") == 0) {
      timing = {absl::Seconds(2), absl::Seconds(5)};
    } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc &&
               absl::SimpleAtoi(argv[++i], &seconds)) {
      timing.measured = absl::Seconds(seconds);
    } else {
      std::fprintf(stderr, "unknown argument: %s\n", argv[i]);
      return 2;
    }
  }
  Bench bench(timing, only);
  std::printf("%s\n", bench.Run().c_str());
  return 0;
}
