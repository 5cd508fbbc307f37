#include "libs/pg/private_cluster.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/status_macros.h"
#include "libs/pg/database.h"

namespace rochdale::pg {
namespace {

namespace fs = std::filesystem;
constexpr absl::Duration kTimeout = absl::Seconds(30);

// A directory that the server's user may pass through.
class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/rochdale-scratch-XXXXXX";
    path_ = mkdtemp(name);
    fs::permissions(path_, fs::perms::others_exec, fs::perm_options::add);
  }
  ~Scratch() { fs::remove_all(path_); }
  std::string operator/(const char* name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

PrivateClusterOptions Options(const std::string& data_dir) {
  PrivateClusterOptions options;
  options.data_dir = data_dir;
  options.fsync = false;
  options.settings = {{"shared_buffers", "16MB"}};
  return options;
}

absl::Status Exec(const PrivateCluster& cluster, const std::string& sql) {
  DatabaseOptions options;
  options.connection = cluster.ConnectionString();
  options.log = [](absl::string_view) {};
  Database db(options);
  return db.Transact(kTimeout, [&](Transaction& tx) { return tx.ExecScript(sql); });
}

bool Alive(pid_t pid) { return kill(pid, 0) == 0; }

bool GoneWithin(pid_t pid, absl::Duration time) {
  const absl::Time until = absl::Now() + time;
  while (Alive(pid)) {
    if (absl::Now() > until) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

TEST_CASE("a private cluster is made, keeps its data and is reached by its socket only") {
  Scratch scratch;
  const std::string data_dir = scratch / "db with a space";
  std::string socket_dir;
  {
    auto cluster = PrivateCluster::Start(Options(data_dir));
    INFO(cluster.status().ToString());
    REQUIRE(cluster.ok());
    socket_dir = (*cluster)->socket_dir();
    CHECK(Exec(**cluster, "CREATE TABLE kept (id bigint); INSERT INTO kept VALUES (7)").ok());
    CHECK(Exec(**cluster, "DO $$ BEGIN IF current_setting('listen_addresses') <> '' THEN "
                          "RAISE 'listens'; END IF; END $$")
              .ok());
    struct stat about {};
    REQUIRE(stat(socket_dir.c_str(), &about) == 0);
    CHECK((about.st_mode & 0777) == 0700);
    REQUIRE(stat(data_dir.c_str(), &about) == 0);
    CHECK((about.st_mode & 0777) == 0700);
    CHECK(about.st_uid != 0);
    CHECK((*cluster)->Running());
    const pid_t server = (*cluster)->server_pid();
    CHECK((*cluster)->Stop().ok());
    CHECK((*cluster)->Stop().ok());
    CHECK_FALSE((*cluster)->Running());
    CHECK_FALSE(Alive(server));
  }
  CHECK_FALSE(fs::exists(socket_dir));
  auto again = PrivateCluster::Start(Options(data_dir));
  REQUIRE(again.ok());
  CHECK(Exec(**again, "INSERT INTO kept VALUES (8)").ok());
}

TEST_CASE("after kill -9 of the server what was committed is there") {
  Scratch scratch;
  const std::string data_dir = scratch / "db";
  auto options = Options(data_dir);
  options.socket_dir = scratch / "socket";  // stays, with its stale lock
  for (int round = 1; round <= 3; ++round) {
    auto cluster = PrivateCluster::Start(options);
    INFO(cluster.status().ToString());
    REQUIRE(cluster.ok());
    if (round == 1) REQUIRE(Exec(**cluster, "CREATE TABLE kept (id bigint)").ok());
    REQUIRE(Exec(**cluster, absl::StrCat("INSERT INTO kept VALUES (", round, ")")).ok());
    CHECK(Exec(**cluster, absl::StrCat("DO $$ BEGIN IF (SELECT count(*) FROM kept) <> ", round,
                                       " THEN RAISE 'lost'; END IF; END $$"))
              .ok());
    REQUIRE(kill((*cluster)->server_pid(), SIGKILL) == 0);
    for (int i = 0; i < 500 && (*cluster)->Running(); ++i) absl::SleepFor(absl::Milliseconds(10));
    CHECK_FALSE((*cluster)->Running());
    CHECK(fs::exists(data_dir + "/postmaster.pid"));
  }
}

TEST_CASE("a stale pid file whose number now belongs to another process is no hindrance") {
  Scratch scratch;
  const std::string data_dir = scratch / "db";
  { REQUIRE(PrivateCluster::Start(Options(data_dir)).ok()); }
  // A live process that is not a server, which PostgreSQL alone would take for one.
  const pid_t other = fork();
  if (other == 0) {
    pause();
    _exit(0);
  }
  std::ofstream(data_dir + "/postmaster.pid") << other << "\n" << data_dir << "\n1\n5432\n";
  auto cluster = PrivateCluster::Start(Options(data_dir));
  INFO(cluster.status().ToString());
  CHECK(cluster.ok());
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
}

TEST_CASE("the server dies with its owner, and the next owner may start at once") {
  Scratch scratch;
  const std::string data_dir = scratch / "db";
  { REQUIRE(PrivateCluster::Start(Options(data_dir)).ok()); }
  const std::string pid_file = scratch / "server_pid";
  for (int round = 0; round < 2; ++round) {
    fs::remove(pid_file);
    const pid_t owner = fork();
    if (owner == 0) {
      auto cluster = PrivateCluster::Start(Options(data_dir));
      if (!cluster.ok() || !Exec(**cluster, "CREATE TABLE IF NOT EXISTS kept (id bigint);"
                                            "INSERT INTO kept VALUES (1)")
                                .ok()) {
        _exit(1);
      }
      std::ofstream(pid_file + ".new") << (*cluster)->server_pid();
      fs::rename(pid_file + ".new", pid_file);
      pause();
      _exit(0);
    }
    for (int i = 0; i < 3000 && !fs::exists(pid_file); ++i) {
      absl::SleepFor(absl::Milliseconds(10));
    }
    pid_t server = 0;
    std::ifstream(pid_file) >> server;
    REQUIRE(server > 0);
    REQUIRE(Alive(server));
    kill(owner, SIGKILL);
    waitpid(owner, nullptr, 0);
    if (round == 0) CHECK(GoneWithin(server, absl::Seconds(20)));
  }
  // The second time without waiting for the old server to go.
  auto cluster = PrivateCluster::Start(Options(data_dir));
  INFO(cluster.status().ToString());
  REQUIRE(cluster.ok());
  CHECK(Exec(**cluster, "DO $$ BEGIN IF (SELECT count(*) FROM kept) <> 2 THEN RAISE 'lost'; "
                        "END IF; END $$")
            .ok());
}

TEST_CASE("the server dies with its supervisor") {
  Scratch scratch;
  auto cluster = PrivateCluster::Start(Options(scratch / "db"));
  REQUIRE(cluster.ok());
  REQUIRE(Exec(**cluster, "CREATE TABLE kept (id bigint)").ok());
  const pid_t server = (*cluster)->server_pid();
  std::ifstream status(absl::StrCat("/proc/", server, "/status"));
  pid_t supervisor = 0;
  for (std::string line; std::getline(status, line);) {
    if (absl::StartsWith(line, "PPid:")) supervisor = std::atoi(line.c_str() + 5);
  }
  REQUIRE(supervisor > 1);
  REQUIRE(supervisor != getpid());
  kill(supervisor, SIGKILL);
  CHECK(GoneWithin(server, absl::Seconds(20)));
  CHECK_FALSE((*cluster)->Running());
  CHECK((*cluster)->Stop().ok());
}

TEST_CASE("what cannot work is refused with the reason") {
  Scratch scratch;
  const std::string data_dir = scratch / "db";
  auto first = PrivateCluster::Start(Options(data_dir));
  REQUIRE(first.ok());
  auto second = PrivateCluster::Start(Options(data_dir));
  CHECK(absl::IsFailedPrecondition(second.status()));
  CHECK(absl::StrContains(second.status().message(), "in use"));
  CHECK((*first)->Running());

  CHECK(absl::IsFailedPrecondition(PrivateCluster::Start(Options("")).status()));
  auto no_programs = Options(scratch / "db2");
  no_programs.bin_dir = scratch.path();
  CHECK(absl::IsFailedPrecondition(PrivateCluster::Start(no_programs).status()));
  auto long_socket = Options(scratch / "db3");
  long_socket.socket_dir = scratch.path() + "/" + std::string(100, 's');
  CHECK(absl::IsFailedPrecondition(PrivateCluster::Start(long_socket).status()));
  std::ofstream(scratch / "file") << "x";
  fs::create_directory(scratch / "full");
  std::ofstream(scratch.path() + "/full/thing") << "x";
  CHECK(absl::IsFailedPrecondition(PrivateCluster::Start(Options(scratch / "full")).status()));
  CHECK(fs::exists(scratch.path() + "/full/thing"));
  auto bad_setting = Options(scratch / "db4");
  bad_setting.settings = {{"no_such_setting", "1"}};
  const auto refused = PrivateCluster::Start(bad_setting);
  CHECK(absl::IsUnavailable(refused.status()));
  CHECK(absl::StrContains(refused.status().message(), "server.log"));
  CHECK(absl::StrContains(refused.status().message(), "no_such_setting"));
  // Nothing of a name is read by a shell.
  auto hostile = Options(scratch / "db'; touch pwned; '");
  auto quoted = PrivateCluster::Start(hostile);
  INFO(quoted.status().ToString());
  CHECK(quoted.ok());
  if (quoted.ok()) CHECK(Exec(**quoted, "SELECT 1").ok());
}

TEST_CASE("a cluster for tests leaves nothing behind") {
  Scratch scratch;
  auto options = Options(scratch / "db");
  options.remove_when_stopped = true;
  {
    auto cluster = PrivateCluster::Start(options);
    REQUIRE(cluster.ok());
    CHECK(fs::exists(scratch / "db"));
  }
  CHECK(fs::is_empty(scratch.path()));
}

}  // namespace
}  // namespace rochdale::pg
