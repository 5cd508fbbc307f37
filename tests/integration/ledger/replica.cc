#include "tests/integration/ledger/replica.h"

#include <grpcpp/channel.h>

#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/crypto/jwt.h"
#include "libs/crypto/sha256.h"

namespace rochdale::ledger::testing {
namespace {

// A statement of the transactions that change the ledger.
constexpr char kWrites[] = "UPDATE tree_state SET batch";

constexpr const char* kServices[] = {"filter", "attribution", "payout", "governance", "witness"};

}  // namespace

crypto::KeyPair Cast::KeyOf(const std::string& name) {
  return crypto::KeyPair::FromSeed(crypto::Sha256("key of " + name).bytes);
}

void Cast::AddPrincipal(const std::string& id) {
  directory_.Put(KeyOf(id).public_key(),
                 {rpc::IdentityKind::kPrincipal, PrincipalId::Parse(id).value(), {}, ""});
}

void Cast::AddAgent(const std::string& id, const std::string& principal) {
  directory_.Put(KeyOf(id).public_key(),
                 {rpc::IdentityKind::kAgent, PrincipalId::Parse(principal).value(),
                  AgentId::Parse(id).value(), ""});
}

Replica::Replica(pg::DatabaseOptions database, const std::string& server_dir, Cast& cast,
                 const std::string& data_dir)
    : cast_(cast),
      logger_("ledger", obs::LogLevel::kInfo, cast.clock(),
              [this](const std::string& line) {
                std::lock_guard lock(log_mutex_);
                absl::StrAppend(&log_lines_, line, "\n");
              }),
      outgoing_(ids_, nullptr) {
  std::map<crypto::PublicKey, std::string> services;
  for (const char* name : kServices) services[Cast::KeyOf(name).public_key()] = name;
  keys_ = std::make_unique<rpc::ConfiguredKeys>(services, &cast.directory());
  authenticator_ = std::make_unique<rpc::Authenticator>(*keys_, nullptr);
  calls_ = std::make_unique<rpc::Calls>(cast.clock(), ids_, *authenticator_, logger_, metrics_);
  if (!server_dir.empty()) {
    proxy_ = std::make_unique<PgProxy>(server_dir, kWrites);
    database.connection = proxy_->Through(database.connection);
  }
  database.log = [this](absl::string_view line) {
    std::lock_guard lock(log_mutex_);
    absl::StrAppend(&log_lines_, line, "\n");
  };
  db_ = std::make_unique<pg::Database>(database);
  service::Environment environment{
      cast.clock(), ids_, logger_, metrics_, *db_, *calls_, outgoing_,
      [](absl::string_view) { return std::shared_ptr<grpc::Channel>(); }, data_dir};
  LedgerOptions ledger;
  ledger.log_key = LogKey();
  ledger.origin = "test.rochdale.local/log";
  ledger.sign_every = absl::Milliseconds(50);
  ledger.leadership_check_every = absl::Milliseconds(20);
  module_ = LedgerModule::Make(ledger, environment);
  rpc::ServerOptions server;
  server.plaintext = true;
  auto running = rpc::Server::Start(server, module_->grpc_services(), *calls_);
  if (!running.ok()) throw std::runtime_error(running.status().ToString());
  server_ = *std::move(running);
  if (absl::Status started = module_->Start(); !started.ok()) {
    throw std::runtime_error(started.ToString());
  }
  // Not in-process: gRPC 1.51 crashes where such a channel is used while its server stops.
  rpc::ChannelOptions channel;
  channel.plaintext = true;
  stub_ = std::make_unique<Stub>(
      rpc::MakeChannel(absl::StrCat("127.0.0.1:", server_->port()), channel).value());
}

Replica::~Replica() {
  Stop();
  stub_.reset();
  server_.reset();
}

void Replica::Stop() {
  std::call_once(stopped_, [this] {
    server_->Stop(absl::Seconds(5));
    module_->Stop();
  });
}

std::string Replica::log_lines() {
  std::lock_guard lock(log_mutex_);
  return log_lines_;
}

Replica::Speaker& Replica::SpeakerOf(const std::string& who) {
  std::lock_guard lock(speakers_mutex_);
  std::unique_ptr<Speaker>& speaker = speakers_[who];
  if (speaker != nullptr) return *speaker;
  absl::string_view name = who;
  crypto::TokenSubject subject;
  if (absl::ConsumePrefix(&name, "service:")) {
    subject = crypto::TokenSubject::OfService(name);
  } else if (absl::ConsumePrefix(&name, "principal:")) {
    subject = crypto::TokenSubject::Of(PrincipalId::Parse(name).value());
  } else {
    absl::ConsumePrefix(&name, "agent:");
    subject = crypto::TokenSubject::Of(AgentId::Parse(name).value());
  }
  speaker = std::make_unique<Speaker>(ids_, cast_.clock(), subject, Cast::KeyOf(std::string(name)));
  return *speaker;
}

}  // namespace rochdale::ledger::testing
