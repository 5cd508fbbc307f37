// Proofs from a long log: hash tiles of 100 million entries (without the entries, but for those
// that are asked for), then inclusion and consistency proofs by RPC, receipts and tiles over HTTP,
// what it costs to verify one, and how much memory the service takes. Beside the RPCs, in the same
// run, the reads that a proof cannot do without, straight from the database.
// Usage: bench_ledger_proofs [--quick]      (--quick: 1 million entries)
#include <grpcpp/channel.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tile.h"
#include "libs/http/client.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "libs/pg/migrations.h"
#include "libs/pg/private_cluster.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/server.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"
#include "services/ledger/log_store.h"
#include "services/ledger/migrations.h"
#include "services/ledger/module.h"

namespace rochdale::ledger {
namespace {

using Clock = std::chrono::steady_clock;
using Stub = v1::LedgerService::Stub;
using crypto::Digest;

constexpr int kSamples = 1'000;         // entries that are there, and asked for
constexpr size_t kTilesAtOnce = 4'096;  // in one transaction of the generator: 32 MiB
constexpr char kOrigin[] = "bench.rochdale.local/log";

// Thrown, so that gigabytes of tiles are removed on the way out.
void Require(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

template <typename T>
T Required(absl::StatusOr<T> value) {
  Require(value.status());
  return *std::move(value);
}

// A leaf hash that costs little: what is measured does not depend on where it comes from.
Digest MadeUpHash(uint64_t index) {
  Digest hash;
  uint64_t state = index;
  for (int word = 0; word < 4; ++word) {
    state += 0x9e3779b97f4a7c15;
    uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    mixed ^= mixed >> 31;
    std::memcpy(hash.bytes.data() + 8 * word, &mixed, 8);
  }
  return hash;
}

std::unique_ptr<pg::PrivateCluster> StartCluster(const std::string& folder) {
  pg::PrivateClusterOptions options;
  options.data_dir = folder + "/postgres";
  options.remove_when_stopped = true;
  options.fsync = false;  // nothing is measured that writes
  options.settings = {{"shared_buffers", "256MB"}, {"max_wal_size", "4GB"}};
  return Required(pg::PrivateCluster::Start(options));
}

class Bench {
 public:
  Bench(int64_t size, std::string folder)
      : size_(size),
        folder_(std::move(folder)),
        cluster_(StartCluster(folder_)),
        logger_("bench", obs::LogLevel::kError, clock_) {
    pg::DatabaseOptions options;
    options.connection = cluster_->ConnectionString();
    {
      pg::Database admin(options);
      Require(pg::Migrate(admin, {Migrations()}, clock_.Now(), {}).status());
    }
    db_ = std::make_unique<pg::Database>(pg::ForService(options, "ledger"));
    std::mt19937_64 random(4);
    for (int i = 0; i < kSamples; ++i) {
      samples_.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(size_)));
    }
    std::sort(samples_.begin(), samples_.end());
    samples_.erase(std::unique(samples_.begin(), samples_.end()), samples_.end());
  }

  void Generate() {
    TreeEnd end;
    std::vector<Tile> full;
    auto next = samples_.begin();
    for (int64_t index = 0; index < size_; ++index) {
      const bool asked_for = next != samples_.end() && *next == index;
      if (asked_for) ++next;
      // The hashes of the last tile are not in a tile yet: they are those of its entries.
      if (asked_for || index >= size_ - size_ % kTileWidth) {
        end.Append(WriteEntry(index), full);
      } else {
        end.Append(MadeUpHash(static_cast<uint64_t>(index)), full);
      }
      if (full.size() >= kTilesAtOnce) WriteTiles(full);
    }
    WriteTiles(full);
    Require(db_->Transact(absl::Now() + absl::Minutes(1), [&](pg::Transaction& tx) -> absl::Status {
      const TreeState before = Required(ReadTreeState(tx));
      return AdvanceTree(tx, before, end);
    }));
    root_ = end.Root();
    ::malloc_trim(0);
  }

  void Serve() {
    keys_ = std::make_unique<rpc::ConfiguredKeys>(std::map<crypto::PublicKey, std::string>{},
                                                  nullptr);
    authenticator_ = std::make_unique<rpc::Authenticator>(*keys_, nullptr);
    calls_ = std::make_unique<rpc::Calls>(clock_, ids_, *authenticator_, logger_, metrics_);
    outgoing_ = std::make_unique<rpc::Outgoing>(ids_, nullptr);
    service::Environment environment{
        clock_,  ids_,    logger_,    metrics_,
        *db_,    *calls_, *outgoing_, [](absl::string_view) { return nullptr; },
        folder_};
    LedgerOptions options;
    options.log_key = crypto::KeyPair::FromSeed({5});
    options.origin = kOrigin;
    options.log_http = http::Endpoint();
    module_ = LedgerModule::Make(options, environment);
    rpc::ServerOptions server;
    server.plaintext = true;
    server_ = Required(rpc::Server::Start(server, module_->grpc_services(), *calls_));
    Require(module_->Start());
    for (int i = 0; !module_->Ready().ok(); ++i) {
      if (i == 3'000) Require(module_->Ready());
      absl::SleepFor(absl::Milliseconds(10));
    }
    if (Required(module_->SignNow(absl::Now() + absl::Seconds(10))) != size_) {
      Require(absl::InternalError("the generated tree was not signed as it is"));
    }
    rpc::ChannelOptions channel;
    channel.plaintext = true;
    std::shared_ptr<grpc::Channel> there =
        Required(rpc::MakeChannel(absl::StrCat("127.0.0.1:", server_->port()), channel));
    stub_ = std::make_unique<Stub>(there);
    url_ = absl::StrCat("http://127.0.0.1:", module_->log_http_port());
  }
  ~Bench() {
    if (server_ != nullptr) server_->Stop(absl::Seconds(5));
    if (module_ != nullptr) module_->Stop();
  }

  v1::GetInclusionProofResponse Inclusion(size_t sample) {
    v1::GetInclusionProofRequest request;
    request.set_log_index(samples_[sample % samples_.size()]);
    v1::GetInclusionProofResponse response;
    Require(outgoing_->Invoke(*stub_, &Stub::GetInclusionProof, request, &response));
    return response;
  }
  void Consistency(size_t sample) {
    v1::GetConsistencyProofRequest request;
    request.set_first_size(samples_[sample % samples_.size()] + 1);
    v1::GetConsistencyProofResponse response;
    Require(outgoing_->Invoke(*stub_, &Stub::GetConsistencyProof, request, &response));
  }
  void Fetch(http::Client& client, const std::string& path) {
    const http::Reply reply = Required(client.Get(url_ + path));
    if (reply.code != 200) Require(absl::InternalError(absl::StrCat(path, ": ", reply.body)));
  }
  // Four tiles by their keys, one statement each in one transaction.
  void BareReads(size_t sample) {
    Require(db_->Transact(absl::Now() + absl::Seconds(10),
                          [&](pg::Transaction& tx) -> absl::Status {
                            int64_t index = samples_[sample % samples_.size()];
                            for (int level = 0; level < 4; ++level) {
                              index /= kTileWidth;
                              Require(tx.Exec("SELECT hashes FROM tiles WHERE level = $1 AND "
                                              "index = $2", level, index)
                                          .status());
                            }
                            return absl::OkStatus();
                          },
                          {pg::Isolation::kReadCommitted, /*read_only=*/true}));
  }

  void Verify(const v1::GetInclusionProofResponse& proof) const {
    std::vector<Digest> hashes;
    for (const std::string& hash : proof.hashes()) {
      hashes.push_back(Required(Digest::FromBytes(hash)));
    }
    Require(crypto::VerifyInclusion(static_cast<uint64_t>(proof.log_index()),
                                    static_cast<uint64_t>(size_),
                                    crypto::LeafHash(proof.entry()), hashes, root_));
  }

  int64_t size() const { return size_; }
  size_t samples() const { return samples_.size(); }
  int64_t sample(size_t i) const { return samples_[i % samples_.size()]; }

 private:
  Digest WriteEntry(int64_t index) {
    const EventId event{ids_.New(clock_.Now())};
    LogEntry entry;
    entry.index = index;
    entry.event_id = event;
    entry.kind = crypto::kind::kPrincipalRegistered;
    entry.subject = ids_.New(clock_.Now());
    crypto::EntryBuilder builder(entry.kind, event, clock_.Now());
    builder.Subject(entry.subject)
        .U64(crypto::tag::kPrincipalType, 1)
        .Bytes(crypto::tag::kRegisteredKey, std::string(32, 'k'))
        .Document(Required(crypto::SignDocument(crypto::KeyPair::FromSeed({6}), "bench", "{}")));
    entry.leaf = Required(builder.BuildBytes());
    entry.leaf_hash = crypto::LeafHash(entry.leaf);
    Require(db_->Transact(absl::Now() + absl::Minutes(1), [&](pg::Transaction& tx) {
      return InsertEntries(tx, {entry}, absl::ToUnixMicros(clock_.Now()));
    }));
    return entry.leaf_hash;
  }

  void WriteTiles(std::vector<Tile>& full) {
    Require(db_->Transact(absl::Now() + absl::Minutes(5), [&](pg::Transaction& tx) {
      return tx.CopyIn("tiles", {"level", "index", "hashes", "root"},
                       [&full](pg::CopyWriter& out) -> absl::Status {
                         for (const Tile& tile : full) {
                           std::string hashes;
                           hashes.reserve(8'192);
                           for (const Digest& hash : tile.hashes) {
                             hashes.append(hash.AsBytes().data(), 32);
                           }
                           const absl::Status written = out.Write(
                               {tile.level, tile.index, pg::Bytes{std::move(hashes)}, tile.root});
                           if (!written.ok()) return written;
                         }
                         return absl::OkStatus();
                       });
    }));
    full.clear();
  }

  const int64_t size_;
  const std::string folder_;
  SystemClock clock_;
  RandomIdSource ids_;
  obs::Metrics metrics_;
  std::unique_ptr<pg::PrivateCluster> cluster_;
  obs::Logger logger_;
  std::unique_ptr<pg::Database> db_;
  std::vector<int64_t> samples_;  // indexes, ascending
  Digest root_;
  std::unique_ptr<rpc::ConfiguredKeys> keys_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<rpc::Calls> calls_;
  std::unique_ptr<rpc::Outgoing> outgoing_;
  std::unique_ptr<LedgerModule> module_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<Stub> stub_;
  std::string url_;
};

struct Times {
  double p50_ms = 0, p99_ms = 0;
};

Times TimesOf(int count, const std::function<void(size_t)>& act) {
  std::vector<double> took;
  for (int i = 0; i < count; ++i) {
    const auto begin = Clock::now();
    act(static_cast<size_t>(i) * 7'919);
    took.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  }
  std::sort(took.begin(), took.end());
  return {took[took.size() / 2], took[took.size() * 99 / 100]};
}

double ResidentMebibytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::atof(line.c_str() + 6) / 1024;
  }
  Require(absl::InternalError("no VmRSS in /proc/self/status"));
  return 0;
}

class Report {
 public:
  void Add(const std::string& name, double value, const std::string& unit, double target = 0) {
    std::printf("%s{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"", separator_, name.c_str(),
                value, unit.c_str());
    if (target > 0) {
      std::printf(", \"target\": %.6g, \"met\": %s", target, value < target ? "true" : "false");
    }
    std::printf("}");
    separator_ = ", ";
  }
  void AddWithPeer(const std::string& name, double value, double peer, double target) {
    std::printf("%s{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"ms\", \"peer\": \"four tiles "
                "read straight from the database\", \"peer_value\": %.6g, \"target\": %.6g, "
                "\"met\": %s}",
                separator_, name.c_str(), value, peer, target, value < target ? "true" : "false");
    separator_ = ", ";
  }

 private:
  const char* separator_ = "";
};

void Run(int64_t size, const std::string& folder) {
  Bench bench(size, folder);
  const auto begin = Clock::now();
  bench.Generate();
  const double generated = std::chrono::duration<double>(Clock::now() - begin).count();
  bench.Serve();
  const double idle = ResidentMebibytes();
  const auto warm = [&bench](size_t i) { bench.Inclusion(i); };
  TimesOf(200, warm);
  const Times bare = TimesOf(2'000, [&](size_t i) { bench.BareReads(i); });
  const Times inclusion = TimesOf(2'000, warm);
  const Times consistency = TimesOf(2'000, [&](size_t i) { bench.Consistency(i); });
  http::Client client(absl::Seconds(10), 1 << 20);
  const Times receipt = TimesOf(1'000, [&](size_t i) {
    bench.Fetch(client, absl::StrCat("/receipt/", bench.sample(i)));
  });
  const Times tile = TimesOf(1'000, [&](size_t i) {
    const auto index = static_cast<uint64_t>(bench.sample(i)) / kTileWidth;
    crypto::Tile wanted{false, 0, index};
    wanted.width = crypto::TileWidthAt(static_cast<uint64_t>(bench.size()), 0, index);
    bench.Fetch(client, "/" + wanted.Path());
  });
  std::vector<v1::GetInclusionProofResponse> proofs;
  for (size_t i = 0; i < bench.samples(); ++i) proofs.push_back(bench.Inclusion(i));
  const Times verification = TimesOf(static_cast<int>(bench.samples()), [&](size_t i) {
    bench.Verify(proofs[i % proofs.size()]);
  });
  {
    std::vector<std::future<void>> callers;
    for (size_t t = 0; t < 8; ++t) {
      callers.push_back(std::async(std::launch::async, [&bench, t] {
        for (size_t i = 0; i < 500; ++i) bench.Inclusion(i * 31 + t);
      }));
    }
    for (std::future<void>& caller : callers) caller.get();
  }
  const double loaded = ResidentMebibytes();
  std::printf("{\"figures\": [");
  Report report;
  report.Add("entries under the tree head", static_cast<double>(bench.size()), "1");
  report.Add("generating its tiles", generated, "s");
  report.AddWithPeer("inclusion proof by RPC, median", inclusion.p50_ms, bare.p50_ms, 5);
  report.AddWithPeer("inclusion proof by RPC, p99", inclusion.p99_ms, bare.p99_ms, 5);
  report.AddWithPeer("consistency proof by RPC, median", consistency.p50_ms, bare.p50_ms, 5);
  report.Add("receipt over HTTP, median", receipt.p50_ms, "ms");
  report.Add("hash tile over HTTP, median", tile.p50_ms, "ms");
  report.Add("verification of an inclusion proof, median", verification.p50_ms, "ms", 1);
  report.Add("verification of an inclusion proof, p99", verification.p99_ms, "ms", 1);
  report.Add("resident memory of the service, idle", idle, "MiB", 1024);
  report.Add("resident memory of the service, after 8 callers at once", loaded, "MiB", 1024);
  std::printf("]}\n");
}

}  // namespace
}  // namespace rochdale::ledger

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  std::string folder = (std::filesystem::temp_directory_path() / "ledger-proofs-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return 1;
  std::filesystem::permissions(folder, std::filesystem::perms(0711));  // for PostgreSQL's user
  int exit_code = 0;
  try {
    rochdale::ledger::Run(quick ? 1'000'000 : 100'000'100, folder);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    exit_code = 1;
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return exit_code;
}
