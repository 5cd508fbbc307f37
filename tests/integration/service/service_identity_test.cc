// Two services apart, as an operator runs them: governance's outbox reaches the ledger over mutual
// TLS, and only under governance's own certificate.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/crypto/entry_builder.h"
#include "libs/service/log_entry.h"
#include "services/migrate/all_migrations.h"
#include "tests/support/certificates.h"
#include "tests/support/postgres.h"

namespace rochdale {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);

class Process {
 public:
  Process(std::vector<std::string> words, const std::string& log) {
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      freopen(log.c_str(), "w", stdout);
      dup2(STDOUT_FILENO, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~Process() {
    if (child_ <= 0) return;
    kill(child_, SIGTERM);
    Wait();
  }
  int Wait() {
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t child_;
};

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return ntohs(address.sin_port);
}

struct Deployment {
  Deployment() {
    certificates.Authority("ca");
    for (const char* name : {"ledger", "governance", "filter"}) {
      certificates.Issue("ca", name, absl::StrCat("IP:127.0.0.1,URI:spiffe://test/service/", name));
    }
    std::ofstream(certificates.Path("database")) << database.ConnectionString();
  }

  std::string Program(const std::string& service) const {
    return service == "ledger" ? ROCHDALE_LEDGER : ROCHDALE_GOVERNANCE;
  }
  std::string LogOf(const std::string& service) const {
    return certificates.Path(service + ".log");
  }

  std::vector<std::string> Words(const std::string& service, const std::string& certificate) const {
    const int port = service == "ledger" ? ledger_port : governance_port;
    std::vector<std::string> words = {
        Program(service),
        absl::StrCat("--database-file=", certificates.Path("database")),
        absl::StrCat("--data-dir=", certificates.Path(service + ".data")),
        absl::StrCat("--port=", port),
        "--admin-port=0",
        "--connections=6",
        "--grace=1s",
        absl::StrCat("--tls-certificate=", certificates.Path(certificate + ".crt")),
        absl::StrCat("--tls-key=", certificates.Path(certificate + ".key")),
        absl::StrCat("--tls-ca=", certificates.Path("ca.crt")),
        absl::StrCat("--tls-client-ca=", certificates.Path("ca.crt")),
        "--service-identity=certificate",
        "--trust-domain=test",
        absl::StrCat("--peers=ledger=127.0.0.1:", ledger_port,
                     ",governance=127.0.0.1:", governance_port)};
    if (service == "ledger") {
      words.push_back(absl::StrCat("--log-key-file=", certificates.Path("log.key")));
    }
    return words;
  }
  Process Start(const std::string& service, const std::string& certificate) const {
    return Process(Words(service, certificate), LogOf(service));
  }

  // An entry on its way to the ledger.
  EventId Enqueue() {
    const EventId event{ids.New(absl::Now())};
    crypto::EntryBuilder entry(crypto::kind::kAgentPaused, event, absl::Now());
    entry.Subject(ids.New(absl::Now()))
        .AuthorisedBy({ids.New(absl::Now())})
        .Text(crypto::tag::kReason, "a test");
    REQUIRE(database.ForService("governance")
                .Transact(absl::Now() + kTimeout,
                          [&](pg::Transaction& tx) { return service::Log(tx, entry); })
                .ok());
    return event;
  }
  bool Arrives(const EventId& event, absl::Duration within) {
    const absl::Time end = absl::Now() + within;
    while (absl::Now() < end) {
      const auto sent = database.Admin().Transact(absl::Now() + kTimeout, [&](pg::Transaction& tx) {
        return tx.Exec("SELECT 1 FROM governance.outbox WHERE event_id = $1 AND sent_us > 0",
                       event.value);
      });
      REQUIRE(sent.ok());
      if (!sent->empty()) return true;
      absl::SleepFor(absl::Milliseconds(100));
    }
    return false;
  }

  testing::TestDatabase database{migrate::AllMigrations()};
  testing::Certificates certificates;
  RandomIdSource ids;
  const int ledger_port = FreePort(), governance_port = FreePort();
};

std::string ContentOf(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_CASE("services apart are known by their certificates") {
  Deployment d;
  const Process ledger = d.Start("ledger", "ledger");
  const EventId first = d.Enqueue();
  {
    const Process governance = d.Start("governance", "governance");
    const bool arrives = d.Arrives(first, absl::Seconds(30));
    INFO(ContentOf(d.LogOf("ledger")) << ContentOf(d.LogOf("governance")));
    CHECK(arrives);
  }
  // Governance's database and key do not make it governance: its certificate does.
  const EventId second = d.Enqueue();
  {
    const Process governance = d.Start("governance", "filter");
    const absl::Time end = absl::Now() + absl::Seconds(30);
    bool refused = false;
    while (!refused && absl::Now() < end) {
      absl::SleepFor(absl::Milliseconds(100));
      refused = ContentOf(d.LogOf("ledger")).find("\"service:filter\"") != std::string::npos;
    }
    CHECK(refused);
    CHECK_FALSE(d.Arrives(second, absl::Milliseconds(300)));
  }
  const Process governance = d.Start("governance", "governance");
  CHECK(d.Arrives(second, absl::Seconds(30)));
}

TEST_CASE("certificates that cannot be checked are refused at the start") {
  Deployment d;
  const auto without = [&](const std::string& flag, const std::string& instead) {
    std::vector<std::string> words;
    for (const std::string& word : d.Words("ledger", "ledger")) {
      if (word.rfind(flag, 0) != 0) words.push_back(word);
    }
    if (!instead.empty()) words.push_back(instead);
    const int status = Process(words, d.LogOf("ledger")).Wait();
    return absl::StrCat(status, " ", ContentOf(d.LogOf("ledger")));
  };
  CHECK(without("--tls-client-ca", "").find("needs --tls-client-ca") != std::string::npos);
  CHECK(without("--tls-", "--plaintext").find("needs TLS") != std::string::npos);
  CHECK(without("--trust-domain", "--trust-domain=A/b").find("a trust domain is") !=
        std::string::npos);
  CHECK(without("--service-identity", "--service-identity=none").rfind("2 ", 0) == 0);
}

}  // namespace
}  // namespace rochdale
