#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "absl/strings/match.h"
#include "libs/crypto/tlog_proof.h"
#include "services/witness/witness_http.h"
#include "tests/integration/ledger/log_reader.h"

extern char** environ;

namespace rochdale::ledger::testing {
namespace {

constexpr char kWitnessName[] = "witness.example/w";

// A witness in this process, which can go and come back on its port.
class TestWitness {
 public:
  TestWitness() : logger_("witness", obs::LogLevel::kError, clock_, [](const std::string&) {}) {
    Return();
  }
  void Leave() {
    server_.reset();
    witness_.reset();
  }
  void Return() {
    witness_ = witness::Witness::Open(kWitnessName, Key(), {Reader::Key()}, folder_.path(), clock_)
                   .value();
    server_ = witness::ServeWitness({"127.0.0.1", port_}, *witness_, logger_, metrics_).value();
    port_ = server_->port();
  }
  WitnessName Name() const {
    return {absl::StrCat("http://127.0.0.1:", port_),
            {kWitnessName, crypto::NoteAlgorithm::kCosignatureV1, Key().public_key()}};
  }
  int64_t Size() const {
    const auto note = witness_->Last(witness::OriginName(Reader::Key().name));
    return note ? static_cast<int64_t>(crypto::OpenCheckpoint(*note, Reader::Key())->size) : 0;
  }
  witness::Witness& witness() { return *witness_; }
  static crypto::KeyPair Key() { return crypto::KeyPair::FromSeed({42}); }

 private:
  SystemClock clock_;
  TempDir folder_;
  obs::Logger logger_;
  obs::Metrics metrics_;
  std::unique_ptr<witness::Witness> witness_;
  std::unique_ptr<http::Server> server_;
  int port_ = 0;
};

// Until `done` or 20 seconds have passed.
template <typename Done>
bool Eventually(Done done) {
  for (int i = 0; i < 1'000; ++i) {
    if (done()) return true;
    absl::SleepFor(absl::Milliseconds(20));
  }
  return false;
}

bool Cosigned(const std::string& note, const WitnessName& witness) {
  const auto parsed = crypto::ParseNote(note);
  return parsed.ok() && crypto::VerifyCosignature(*parsed, witness.key).ok();
}

LedgerSetup With(const TestWitness& witness) {
  LedgerSetup setup;
  setup.log_http = true;
  setup.witnesses = {witness.Name()};
  return setup;
}

TEST_CASE("a witness is named by its address and key", "[ledger][witness]") {
  const TestWitness witness;
  const std::string key = witness.Name().key.ToString();
  const auto name = WitnessName::Parse(absl::StrCat("https://w.example/x/=", key));
  REQUIRE(name.ok());
  CHECK(name->url == "https://w.example/x");
  CHECK(name->key == witness.Name().key);
  for (const std::string& text :
       {std::string(), key, std::string("http://w"), "ftp://w=" + key, "w.example=" + key,
        "http://w=" + Reader::Key().ToString(), "http://w=" + key + "x"}) {
    CAPTURE(text);
    CHECK(absl::IsInvalidArgument(WitnessName::Parse(text).status()));
  }
}

TEST_CASE("tree heads are cosigned and shown so", "[ledger][witness]") {
  TestWitness witness;
  TestDatabase database({Migrations()});
  Ledger ledger(database, With(witness));
  Reader reader(ledger);
  for (const int more : {1, 300}) {
    const std::vector<std::string> events = Append(ledger, more);
    const int64_t size = Sign(ledger);
    REQUIRE(Eventually([&] { return witness.Size() == size; }));
    REQUIRE(Eventually([&] {
      const std::string note = reader.Get("/checkpoint").body;
      return Cosigned(note, witness.Name()) &&
             crypto::OpenCheckpoint(note, Reader::Key())->size == static_cast<uint64_t>(size);
    }));
    const auto receipt = crypto::TlogProof::Parse(reader.Get("/receipt/" + events[0]).body);
    REQUIRE(receipt.ok());
    CHECK(Cosigned(receipt->checkpoint, witness.Name()));
    CHECK(crypto::VerifyTlogProof(*receipt, receipt->extra, Reader::Key()).ok());
    const v1::GetTreeHeadResponse head = ledger.Anonymous().Ok(&Stub::GetTreeHead, {});
    CHECK(Cosigned(head.tree_head().note(), witness.Name()));
    REQUIRE(head.witness_keys_size() == 1);
    CHECK(head.witness_keys(0) == witness.Name().key.ToString());
  }
  const obs::GaugeFamily lag =
      ledger.metrics.Gauges("rochdale_ledger_witness_lag_entries", "", {"witness"});
  CHECK(Eventually([&] { return lag.With({kWitnessName}).Value() == 0; }));
  const obs::GaugeFamily sizes =
      ledger.metrics.Gauges("rochdale_ledger_cosigned_size", "", {"witness"});
  CHECK(sizes.With({kWitnessName}).Value() == 302);
}

TEST_CASE("a witness that is away stops nobody, and catches up", "[ledger][witness]") {
  TestWitness witness;
  witness.Leave();
  TestDatabase database({Migrations()});
  Ledger ledger(database, With(witness));
  REQUIRE(ledger.started.ok());
  Reader reader(ledger);
  Append(ledger, 50);
  Sign(ledger);
  CHECK(reader.Checkpoint().size == 51);
  CHECK_FALSE(Cosigned(reader.Get("/checkpoint").body, witness.Name()));
  const obs::GaugeFamily lag =
      ledger.metrics.Gauges("rochdale_ledger_witness_lag_entries", "", {"witness"});
  CHECK(Eventually([&] { return lag.With({kWitnessName}).Value() == 51; }));
  CHECK(ledger.module->Ready().ok());
  witness.Return();
  CHECK(Eventually([&] { return Cosigned(reader.Get("/checkpoint").body, witness.Name()); }));
  CHECK(witness.Size() == 51);
  // Away again, and the log grows on: what was shown is never taken back for a cosigned older one.
  witness.Leave();
  Append(ledger, 50);
  Sign(ledger);
  const uint64_t shown = reader.Checkpoint().size;
  CHECK(shown >= 51);
  witness.Return();
  CHECK(Eventually([&] { return witness.Size() == 101; }));
  CHECK(Eventually([&] { return reader.Checkpoint().size == 101; }));
}

TEST_CASE("a witness that remembers another size of the same log is asked again with it",
          "[ledger][witness]") {
  TestWitness witness;
  TestDatabase database({Migrations()});
  TempDir data;
  {
    LedgerSetup alone;
    alone.data_dir = data.path();
    Ledger ledger(database, alone);
    Append(ledger, 20);
    Sign(ledger);
    // Through somebody else: the ledger does not know.
    const std::string note = ledger.Anonymous().Ok(&Stub::GetTreeHead, {}).tree_head().note();
    REQUIRE(witness.witness().Add(crypto::AddCheckpoint{0, {}, note}.ToText()).verdict ==
            witness::Verdict::kCosigned);
  }
  LedgerSetup setup = With(witness);
  setup.data_dir = data.path();
  Ledger ledger(database, setup);
  REQUIRE(ledger.started.ok());
  Append(ledger, 10);
  Sign(ledger);
  CHECK(Eventually([&] { return witness.Size() == 31; }));
}

TEST_CASE("the ledger refuses a database that is behind its witness", "[ledger][witness]") {
  TestWitness witness;
  {
    TestDatabase database({Migrations()});
    Ledger ledger(database, With(witness));
    Append(ledger, 30);
    Sign(ledger);
    REQUIRE(Eventually([&] { return witness.Size() == 31; }));
  }
  // As after a restore to before, of the database and of the directory with `last-checkpoint`.
  TestDatabase restored({Migrations()});
  SECTION("at the start, where the witness answers") {
    LedgerSetup setup = With(witness);
    setup.wait = false;
    Ledger ledger(restored, setup);
    CHECK(absl::IsDataLoss(ledger.started));
    CHECK(absl::StrContains(ledger.started.message(), "restored to an earlier point"));
  }
  SECTION("later, where it was away at the start") {
    witness.Leave();
    Ledger ledger(restored, With(witness));
    REQUIRE(ledger.started.ok());
    const int more = GENERATE(5, 100);  // behind the witness, and beyond it with another history
    Append(ledger, more);
    Sign(ledger);
    CHECK(ledger.module->Ready().ok());
    witness.Return();
    CHECK(Eventually([&] { return absl::IsDataLoss(ledger.module->Ready()); }));
    v1::AppendEntriesRequest request;
    request.set_request_id(ledger.NewId());
    request.add_entries(EntryOf(ledger, crypto::kind::kUpdateApplied,
                                Uuid::Parse(ledger.NewId()).value(),
                                Uuid::Parse(ledger.NewId()).value()));
    CHECK(Eventually([&] {
      return ledger.As("attribution").Reason(&Stub::AppendEntries, request) != "OK";
    }));
    CHECK(witness.Size() == 31);
  }
}

// The program.
class WitnessProcess {
 public:
  WitnessProcess(const std::string& folder, int port) {
    std::vector<std::string> words = {WITNESS_PROGRAM, "--name", kWitnessName, "--data-dir", folder,
                                      "--logs", Reader::Key().ToString(), "--listen",
                                      absl::StrCat("127.0.0.1:", port), "--admin", "127.0.0.1:0"};
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 2, (folder + "/log").c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0644);
    REQUIRE(::posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&files);
  }
  ~WitnessProcess() { End(SIGKILL); }
  int End(int signal) {
    if (pid_ == 0) return 0;
    ::kill(pid_, signal);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }

 private:
  pid_t pid_ = 0;
};

int FreePort() {
  return http::Server::Start({}, [](const http::Request&) { return http::Response{}; })
      .value()
      ->port();
}

TEST_CASE("a witness that is killed remembers what it cosigned", "[ledger][witness]") {
  TempDir folder;
  const int port = FreePort();
  const std::string url = absl::StrCat("http://127.0.0.1:", port);
  REQUIRE(crypto::WriteKeyFile(folder.path() + "/witness.key", TestWitness::Key()).ok());
  auto process = std::make_unique<WitnessProcess>(folder.path(), port);
  http::Client client(absl::Seconds(5), 1 << 20);
  const std::string last =
      absl::StrCat(url, "/last-checkpoint/", witness::OriginName(Reader::Key().name));
  const auto size = [&]() -> int64_t {
    const auto reply = client.Get(last);
    if (!reply.ok() || reply->code != 200) return reply.ok() ? 0 : -1;
    return static_cast<int64_t>(crypto::OpenCheckpoint(reply->body, Reader::Key())->size);
  };
  REQUIRE(Eventually([&] { return size() == 0; }));
  TestDatabase database({Migrations()});
  LedgerSetup setup;
  const crypto::NoteKey key{kWitnessName, crypto::NoteAlgorithm::kCosignatureV1,
                            TestWitness::Key().public_key()};
  setup.witnesses = {{url, key}};
  Ledger ledger(database, setup);
  int64_t before = 0;
  for (int round = 0; round < 5; ++round) {
    CAPTURE(round);
    Append(ledger, 7);
    const int64_t signed_size = Sign(ledger);
    // At any instant of its work, the first times; once it has cosigned, the last.
    if (round < 3) {
      absl::SleepFor(absl::Milliseconds(3 * round));
    } else {
      REQUIRE(Eventually([&] { return size() == signed_size; }));
    }
    const int64_t known = std::max<int64_t>(size(), 0);
    process->End(SIGKILL);
    process = std::make_unique<WitnessProcess>(folder.path(), port);
    REQUIRE(Eventually([&] { return size() >= 0; }));
    CHECK(size() >= known);
    CHECK(size() >= before);
    before = size();
  }
  CHECK(Eventually([&] { return size() == 36; }));
  // What it remembers binds it: a log with the same key and another history gets no cosignature.
  crypto::Frontier other;
  for (int i = 0; i < 50; ++i) other.Append(crypto::LeafHash(absl::StrCat(i)));
  const std::string fork =
      crypto::FormatNote(crypto::SignCheckpoint({Reader::Key().name, 50, other.Root()}, LogKey())
                             .value());
  const auto unknown = client.Post(url + "/add-checkpoint",
                                   crypto::AddCheckpoint{0, {}, fork}.ToText());
  REQUIRE(unknown.ok());
  CHECK(unknown->code == 409);
  CHECK(unknown->body == "36\n");
  const auto refused = client.Post(url + "/add-checkpoint",
                                   crypto::AddCheckpoint{36, {}, fork}.ToText());
  REQUIRE(refused.ok());
  CHECK(refused->code == 422);
  CHECK(process->End(SIGTERM) == 0);
}

}  // namespace
}  // namespace rochdale::ledger::testing
