#include "tests/bench/ledger/deployment.h"

#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/pg/migrations.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/server.h"
#include "libs/rpc/tls.h"
#include "rochdale/governance/v1/governance.grpc.pb.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"
#include "services/ledger/migrations.h"
#include "tests/bench/ledger/usage.h"

namespace rochdale::bench {
namespace {

constexpr int kMessageBytesMax = 16 << 20;

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

}  // namespace

Postgres::Postgres() {
  pg::PrivateClusterOptions options;
  options.data_dir = absl::StrCat("/tmp/rochdale-bench-", getpid());
  options.remove_when_stopped = true;
  options.settings = {{"max_wal_size", "4GB"},
                      {"shared_buffers", "1GB"},
                      {"max_connections", "150"}};
  auto started = pg::PrivateCluster::Start(options);
  Require(started.status(), "starting PostgreSQL");
  cluster_ = *std::move(started);
  pg::DatabaseOptions admin;
  admin.connection = ConnectionString();
  admin.connections_max = 2;
  admin_ = std::make_unique<pg::Database>(admin);
}

void Postgres::Outside(const std::string& statement) {
  auto session = admin_->OpenSession();
  Require(session.status(), "connecting");
  Require((*session)->ExecOutsideTransaction(statement), statement.c_str());
}

void Postgres::Create(const std::string& database) {
  Outside(absl::StrCat("CREATE DATABASE ", database));
}

void Postgres::Drop(const std::string& database) {
  Outside(absl::StrCat("DROP DATABASE IF EXISTS ", database, " WITH (FORCE)"));
}

void Postgres::Checkpoint() { Outside("CHECKPOINT"); }

class KeyRegistry::Service final : public governance::v1::GovernanceService::Service {
 public:
  grpc::Status ResolveKey(grpc::ServerContext*, const governance::v1::ResolveKeyRequest* request,
                          governance::v1::ResolveKeyResponse* response) override {
    std::lock_guard lock(mutex_);
    const auto at = keys_.find(request->public_key());
    response->set_found(at != keys_.end());
    if (at != keys_.end()) response->set_principal_id(at->second.ToString());
    return grpc::Status::OK;
  }
  void Put(const crypto::PublicKey& key, const Uuid& principal) {
    std::lock_guard lock(mutex_);
    keys_[std::string(key.AsBytes())] = principal;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Uuid> keys_;
};

KeyRegistry::KeyRegistry(const testing::Certificates& certificates)
    : service_(std::make_unique<Service>()) {
  rpc::TlsFiles files;
  files.certificate = certificates.Path("governance.crt");
  files.key = certificates.Path("governance.key");
  auto credentials = rpc::ServerTls(files);
  Require(credentials.status(), "the registry's certificate");
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", *credentials, &port_);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
}

KeyRegistry::~KeyRegistry() { server_->Shutdown(); }

void KeyRegistry::Put(const crypto::PublicKey& key, const Uuid& principal) {
  service_->Put(key, principal);
}

Certified::Certified() {
  Authority("ca");
  for (const char* name : {"ledger", "governance", "payout"}) {
    Issue("ca", name,
          absl::StrCat("DNS:localhost,IP:127.0.0.1,URI:spiffe://bench/service/", name));
  }
}

LedgerProcess::LedgerProcess(Postgres& postgres, const Certified& certificates,
                             const KeyRegistry& registry)
    : postgres_(postgres), certificates_(certificates) {
  static int count = 0;
  database_ = absl::StrCat("ledger_", ++count);
  postgres_.Create(database_);
  pg::DatabaseOptions options;
  options.connection = postgres_.ConnectionString(database_);
  {
    pg::Database db(options);
    Require(pg::Migrate(db, {ledger::Migrations()}, absl::Now(), {}).status(), "migrating");
  }
  dir_ = certificates_.Path(database_);
  std::filesystem::create_directories(dir_);
  std::ofstream(dir_ + "/database") << options.connection;
  Start(registry);
  for (const char* service : {"payout", "governance", ""}) {
    rpc::ChannelOptions channel;
    channel.ca_file = certificates_.Path("ca.crt");
    if (*service != 0) {
      channel.certificate_file = certificates_.Path(absl::StrCat(service, ".crt"));
      channel.key_file = certificates_.Path(absl::StrCat(service, ".key"));
    }
    auto made = rpc::ChannelTls(channel);
    Require(made.status(), "a certificate");
    credentials_[service] = *made;
  }
  WaitUntilWriting();
}

void LedgerProcess::Start(const KeyRegistry& registry) {
  port_ = FreePort();
  const auto file = [&](const char* name) { return certificates_.Path(name); };
  std::vector<std::string> words = {
      ROCHDALE_LEDGER,
      absl::StrCat("--database-file=", dir_, "/database"),
      absl::StrCat("--data-dir=", dir_, "/data"),
      absl::StrCat("--log-key-file=", dir_, "/log.key"),
      absl::StrCat("--port=", port_),
      "--admin-port=0",
      "--connections=32",
      "--grace=1s",
      absl::StrCat("--tls-certificate=", file("ledger.crt")),
      absl::StrCat("--tls-key=", file("ledger.key")),
      absl::StrCat("--tls-ca=", file("ca.crt")),
      absl::StrCat("--tls-client-ca=", file("ca.crt")),
      "--service-identity=certificate",
      "--trust-domain=bench",
      absl::StrCat("--peers=governance=127.0.0.1:", registry.port())};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string log = dir_ + "/log";
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a benchmark that fails leaves nothing behind
    if (freopen(log.c_str(), "w", stdout) == nullptr) _exit(127);
    dup2(STDOUT_FILENO, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
}

std::shared_ptr<grpc::Channel> LedgerProcess::Connect(const std::string& service) {
  grpc::ChannelArguments arguments;
  // Else channels to one address share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port_), credentials_.at(service),
                                   arguments);
}

TlsContext LedgerProcess::Tls(const std::string& service) const {
  const auto file = [&](const char* suffix) {
    return service.empty() ? "" : certificates_.Path(service + suffix);
  };
  return ClientTls(certificates_.Path("ca.crt"), file(".crt"), file(".key"));
}

void LedgerProcess::WaitUntilWriting() {
  const auto stub = ledger::v1::LedgerService::NewStub(Connect(""));
  const absl::Time end = absl::Now() + absl::Seconds(60);
  absl::Status last;
  while (absl::Now() < end) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(5)));
    context.set_wait_for_ready(true);
    ledger::v1::GetTreeHeadResponse response;
    const grpc::Status status = stub->GetTreeHead(&context, {}, &response);
    if (status.ok() && response.tree_head().size() > 0) return;
    last = absl::UnavailableError(status.error_message());
    absl::SleepFor(absl::Milliseconds(100));
  }
  Require(last, "waiting for the ledger");
}

LedgerProcess::~LedgerProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  postgres_.Drop(database_);
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
}

}  // namespace rochdale::bench
