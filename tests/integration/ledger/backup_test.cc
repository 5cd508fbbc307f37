// Backups tried: point-in-time recovery from a base backup and archived WAL, and a dump. A database
// that was restored behind a signed checkpoint is refused, and goes on only under a new origin,
// with a statement of what was lost.
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/note.h"
#include "libs/pg/private_cluster.h"
#include "nlohmann/json.hpp"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

namespace fs = std::filesystem;

constexpr char kNewOrigin[] = "test.rochdale.local/log-2";
constexpr absl::Duration kTimeout = absl::Seconds(60);

// A directory that the server's user may pass through.
class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/rochdale-backup-XXXXXX";
    path_ = ::mkdtemp(name);
    ::chmod(path_.c_str(), 0755);
  }
  ~Scratch() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Ran {
  int status = 0;
  std::string said;
};
Ran Run(const std::string& command) {
  Ran ran;
  std::FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (size_t got; (got = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    ran.said.append(buffer, got);
  }
  ran.status = WEXITSTATUS(::pclose(pipe));
  return ran;
}
void MustRun(const std::string& command) {
  const Ran ran = Run(command);
  INFO(command << "\n" << ran.said);
  REQUIRE(ran.status == 0);
}

using Settings = std::vector<std::pair<std::string, std::string>>;

std::unique_ptr<pg::PrivateCluster> Start(const std::string& folder, const Settings& settings) {
  pg::PrivateClusterOptions options;
  options.data_dir = folder;
  options.fsync = false;
  options.settings = {{"shared_buffers", "32MB"}};
  options.settings.insert(options.settings.end(), settings.begin(), settings.end());
  auto cluster = pg::PrivateCluster::Start(options);
  INFO(cluster.status() << "\n" << ReadFile(folder + "/server.log"));
  REQUIRE(cluster.ok());
  return *std::move(cluster);
}

std::string Ask(const std::string& connection, const std::string& sql, bool read_only = false) {
  pg::DatabaseOptions options;
  options.connection = connection;
  pg::Database db(options);
  const auto answer = db.Transact(kTimeout, [&](pg::Transaction& tx)
                                                -> absl::StatusOr<std::string> {
    const auto rows = tx.Exec(sql);
    if (!rows.ok()) return rows.status();
    return rows->empty() ? std::string() : (*rows)[0].Get<std::string>(0);
  }, {.read_only = read_only});
  INFO(sql);
  REQUIRE(answer.ok());
  return *answer;
}

void WaitUntil(const std::string& connection, const std::string& sql) {
  for (int i = 0; Ask(connection, absl::StrCat("SELECT (", sql, ")::text"), true) != "true"; ++i) {
    REQUIRE(i < 600);
    absl::SleepFor(absl::Milliseconds(50));
  }
}

pg::DatabaseOptions ServiceOf(const std::string& connection) {
  pg::DatabaseOptions options;
  options.connection = connection;
  return pg::ForService(options, "ledger");
}

// An installation: a cluster with a ledger's database, and the ledger's data directory beside it.
struct Installation {
  Scratch scratch;
  std::string data = scratch / "ledger-data";
  std::string archive = scratch / "archive";
  std::string account;  // that is paid
  std::string payer;
  crypto::KeyPair founder = crypto::KeyPair::FromSeed({4, 2});

  Installation() {
    fs::create_directories(data);
    fs::create_directories(archive);
    ::chmod(archive.c_str(), 0777);
  }

  Settings Archiving() const {
    return {{"archive_mode", "on"},
            {"archive_command", absl::StrCat("cp %p ", archive, "/%f")}};
  }
  Settings Recovering(const std::string& until) const {
    Settings settings = {{"restore_command", absl::StrCat("cp ", archive, "/%f %p")},
                         {"recovery_target_action", "promote"}};
    if (!until.empty()) settings.emplace_back("recovery_target_name", until);
    return settings;
  }

  void Begin(Ledger& ledger) {
    World world(ledger);
    account = world.of_ann;
    payer = world.supply;
    const Uuid cooperative = ledger.ids.New(ledger.clock.Now());
    crypto::EntryBuilder founded(crypto::kind::kCooperativeFounded,
                                 {ledger.ids.New(ledger.clock.Now())}, ledger.clock.Now());
    founded.Subject(cooperative).Cooperative({cooperative}).U64(crypto::tag::kRulesVersion, 1)
        .Document(*crypto::SignDocument(founder, "rochdale.governance.v1.Genesis", "{}"));
    ledger.Governance({founded.BuildBytes().value()});
  }
  void Pay(Ledger& ledger, int times) {
    std::vector<v1::Transfer> transfers;
    for (int i = 0; i < times; ++i) {
      transfers.push_back(TransferOf(ledger, payer, account, 10));
    }
    Client payout = ledger.As("payout");
    const auto posted = payout.Ok(&Stub::PostTransfers, PostingOf(ledger, transfers));
    for (const v1::TransferOutcome& outcome : posted.outcomes()) {
      REQUIRE(outcome.result() == v1::TRANSFER_RESULT_POSTED);
    }
  }
  int64_t Balance(Ledger& ledger) {
    v1::GetAccountRequest request;
    request.set_account_id(account);
    return ledger.As("payout").Ok(&Stub::GetAccount, request).account().balance_micro();
  }
  // Waits for a signed head of everything.
  static void SignHead(Ledger& ledger) {
    Client anybody = ledger.Anonymous();
    v1::ListEntriesRequest all;
    const int64_t size = [&] {
      int64_t count = 0;
      all.set_page_size(1'000);
      while (true) {
        const auto page = anybody.Ok(&Stub::ListEntries, all);
        count += page.entries_size();
        if (page.next_page_token().empty()) return count;
        all.set_page_token(page.next_page_token());
      }
    }();
    for (int i = 0; anybody.Ok(&Stub::GetTreeHead, {}).tree_head().size() < size; ++i) {
      REQUIRE(i < 200);
      absl::SleepFor(absl::Milliseconds(50));
    }
  }
};

std::string Admin(const std::string& arguments) {
  return absl::StrCat(ROCHDALE_LEDGER_ADMIN, " ", arguments);
}

std::string KeyFile(const Scratch& scratch, const std::string& name,
                    const std::array<uint8_t, 32>& seed) {
  const std::string path = scratch / name;
  std::ofstream(path) << crypto::HexEncode(absl::string_view(
                             reinterpret_cast<const char*>(seed.data()), seed.size()))
                      << "\n";
  ::chmod(path.c_str(), 0600);
  return path;
}

}  // namespace

TEST_CASE("backups are restored, and a log that lost entries goes on only openly",
          "[ledger][backup]") {
  Installation home;
  std::string bin;
  std::string dump = home.scratch / "ledger.dump";
  int64_t balance_at_noon = 0, balance_in_the_end = 0;
  {
    auto cluster = Start(home.scratch / "a", home.Archiving());
    const std::string connection = cluster->ConnectionString();
    pg::DatabaseOptions admin;
    admin.connection = connection;
    pg::Database db(admin);
    REQUIRE(pg::Migrate(db, {Migrations()}, absl::Now(), {}).ok());
    bin = Ask(connection, "SELECT setting FROM pg_config() WHERE name = 'BINDIR'");
    Ledger ledger(ServiceOf(connection), {.data_dir = home.data});
    home.Begin(ledger);
    home.Pay(ledger, 300);
    MustRun(absl::StrCat(bin, "/pg_basebackup -h ", cluster->socket_dir(), " -U rochdale -D ",
                         home.scratch / "base", " --checkpoint=fast -X none"));
    home.Pay(ledger, 20);
    balance_at_noon = home.Balance(ledger);
    Ask(connection, "SELECT pg_create_restore_point('noon')::text");
    home.Pay(ledger, 30);
    balance_in_the_end = home.Balance(ledger);
    Installation::SignHead(ledger);
    ledger.Stop();
    MustRun(absl::StrCat(bin, "/pg_dump -Fc -d '", connection, "' -f ", dump));
    const std::string last = Ask(connection, "SELECT pg_walfile_name(pg_switch_wal())");
    WaitUntil(connection, absl::StrCat("SELECT last_archived_wal >= '", last,
                                       "' FROM pg_stat_archiver"));
  }
  const auto restore = [&](const std::string& name, const std::string& until) {
    const std::string folder = home.scratch / name;
    MustRun(absl::StrCat("cp -a ", home.scratch / "base", " ", folder));
    std::ofstream(folder + "/recovery.signal").flush();
    if (const passwd* user = ::geteuid() == 0 ? ::getpwnam("postgres") : nullptr) {
      MustRun(absl::StrCat("chown -R ", user->pw_uid, ":", user->pw_gid, " ", folder));
    }
    auto cluster = Start(folder, home.Recovering(until));
    WaitUntil(cluster->ConnectionString(), "SELECT NOT pg_is_in_recovery()");
    return cluster;
  };

  {
    // Everything comes back from the archive, and from a dump.
    auto cluster = restore("b", "");
    const std::string connection = cluster->ConnectionString();
    MustRun(Admin(absl::StrCat("check --database '", connection, "' --data-dir ", home.data)));
    {
      Ledger ledger(ServiceOf(connection), {.data_dir = home.data});
      REQUIRE(ledger.started.ok());
      CHECK(home.Balance(ledger) == balance_in_the_end);
      home.Pay(ledger, 1);
    }
    pg::DatabaseOptions options;
    options.connection = connection;
    REQUIRE(pg::CreateDatabaseIfMissing(options, "dumped").ok());
    const std::string dumped = cluster->ConnectionString("dumped");
    MustRun(absl::StrCat(bin, "/pg_restore -d '", dumped, "' ", dump));
    MustRun(Admin(absl::StrCat("check --database '", dumped, "'")));
  }

  {
    // A database behind the last signed checkpoint is refused, then restarted openly.
    auto cluster = restore("c", "noon");
    const std::string connection = cluster->ConnectionString();
    const std::string database = absl::StrCat(" --database '", connection, "'");
    {
      Ledger ledger(ServiceOf(connection), {.data_dir = home.data, .wait = false});
      CHECK(absl::IsDataLoss(ledger.started));
      CHECK(absl::StrContains(ledger.started.message(), "restored to an earlier point"));
    }
    const Ran behind = Run(Admin(absl::StrCat("check", database, " --data-dir ", home.data)));
    CHECK(behind.status == 1);
    CHECK(absl::StrContains(behind.said, "last-checkpoint"));

    const std::string plan = home.scratch / "restart.json", signed_plan = plan + ".signed";
    const std::string founder_key = KeyFile(home.scratch, "founder.key", {4, 2});
    const std::string stranger_key = KeyFile(home.scratch, "stranger.key", {6, 6});
    const std::string log_key = KeyFile(home.scratch, "log.key", {7, 7, 7});
    const std::string last_checkpoint = ReadFile(home.data + "/last-checkpoint");
    MustRun(Admin(absl::StrCat("plan-restart", database, " --data-dir ", home.data, " --origin ",
                               kNewOrigin, " --reason 'the disk broke' --out ", plan)));
    const auto body = nlohmann::json::parse(ReadFile(plan));
    CHECK(body["last_checkpoint"] == last_checkpoint);
    CHECK(body["previous_origin"] == "test.rochdale.local/log");
    const auto restart = [&] {
      return Run(Admin(absl::StrCat("restart-log", database, " --data-dir ", home.data,
                                    " --log-key-file ", log_key, " --statement ", signed_plan)));
    };
    // Not by a stranger's signature.
    MustRun(Admin(absl::StrCat("sign-restart --statement ", plan, " --key-file ", stranger_key,
                               " --out ", signed_plan)));
    const Ran stranger = restart();
    CHECK(stranger.status == 1);
    CHECK(absl::StrContains(stranger.said, "founding"));
    MustRun(Admin(absl::StrCat("sign-restart --statement ", plan, " --key-file ", founder_key,
                               " --out ", signed_plan)));
    const Ran done = restart();
    INFO(done.said);
    REQUIRE(done.status == 0);
    // Again: nothing more is done.
    const Ran again = restart();
    CHECK(again.status == 0);
    CHECK(absl::StrContains(again.said, "it was done before"));
    CHECK_FALSE(fs::exists(home.data + "/last-checkpoint"));

    {
      // The old origin is never signed again.
      Ledger forgetful(ServiceOf(connection), {.data_dir = home.data, .wait = false});
      CHECK(absl::IsFailedPrecondition(forgetful.started));
      CHECK(absl::StrContains(forgetful.started.message(), kNewOrigin));
    }
    Ledger ledger(ServiceOf(connection), {.data_dir = home.data, .origin = kNewOrigin});
    REQUIRE(ledger.started.ok());
    CHECK(home.Balance(ledger) == balance_at_noon);
    home.Pay(ledger, 2);
    Installation::SignHead(ledger);
    const auto head = ledger.Anonymous().Ok(&Stub::GetTreeHead, {}).tree_head();
    CHECK(absl::StartsWith(head.note(), absl::StrCat(kNewOrigin, "\n")));
    // The statement comes first, and then the log as it was.
    v1::GetEntryRequest get;
    const auto started = crypto::DecodeEntry(
        ledger.Anonymous().Ok(&Stub::GetEntry, get).entry().entry()).value();
    CHECK(started.kind == crypto::kind::kLogStarted);
    CHECK(started.Text(crypto::tag::kPreviousOrigin).value() == "test.rochdale.local/log");
    CHECK(started.U64(crypto::tag::kPreviousSize).value() ==
          std::stoull(body["previous_size"].get<std::string>()));
    get.set_log_index(1);
    CHECK(crypto::DecodeEntry(ledger.Anonymous().Ok(&Stub::GetEntry, get).entry().entry())
              ->Text(crypto::tag::kOrigin).value() == "test.rochdale.local/log");
    // Not while it runs.
    const Ran running = Run(Admin(absl::StrCat("restart-log", database, " --data-dir ", home.data,
                                               " --log-key-file ", log_key, " --statement ",
                                               signed_plan)));
    CHECK(running.status == 1);
    CHECK(absl::StrContains(running.said, "is running"));
    ledger.Stop();
    MustRun(Admin(absl::StrCat("check", database, " --data-dir ", home.data)));
  }
}

}  // namespace rochdale::ledger::testing
