#include "tests/support/service_fixture.h"

#include <grpcpp/grpcpp.h>
#include <stdlib.h>

#include <filesystem>

#include "libs/crypto/entry_kinds.h"
#include "tests/unit/rpc/access_cells.h"

namespace rochdale::testing {
namespace {

constexpr const char* kServices[] = {"governance", "ledger",   "filter", "attribution",
                                     "payout",     "operator", "witness"};

std::map<crypto::PublicKey, std::string> Configured(crypto::KeyPair (*key)(const std::string&)) {
  std::map<crypto::PublicKey, std::string> keys;
  for (const char* name : kServices) keys[key(name).public_key()] = name;
  return keys;
}

}  // namespace

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "rochdale-dir-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

crypto::KeyPair NewKey() { return crypto::KeyPair::Generate(crypto::SystemRandomBytes()); }

bool Eventually(const std::function<bool()>& holds, absl::Duration timeout) {
  const absl::Time until = absl::Now() + timeout;
  while (!holds()) {
    if (absl::Now() > until) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

absl::StatusOr<std::optional<rpc::RegisteredKey>> Directory::Lookup(const crypto::PublicKey& key) {
  {
    std::lock_guard lock(mutex_);
    const auto found = keys_.find(key);
    if (found != keys_.end()) return found->second;
  }
  if (next_ != nullptr) return next_->Lookup(key);
  return std::nullopt;
}

void Directory::Put(const crypto::PublicKey& key, rpc::RegisteredKey registered) {
  std::lock_guard lock(mutex_);
  keys_[key] = std::move(registered);
}

// Each fake on a server of its own, without a port.
struct ServiceFixture::Fakes {
  std::map<std::string, std::unique_ptr<grpc::Server>, std::less<>> servers;
};

crypto::KeyPair ServiceFixture::ServiceKey(const std::string& service) {
  std::array<uint8_t, 32> seed{};
  for (size_t i = 0; i < service.size(); ++i) seed[i] = static_cast<uint8_t>(service[i]);
  return crypto::KeyPair::FromSeed(seed);
}

ServiceFixture::ServiceFixture(std::string service,
                               const std::vector<pg::MigrationSet>& migrations)
    : clock(SystemClock().Now()),
      name_(std::move(service)),
      database_(migrations),
      logger_(name_, obs::LogLevel::kInfo, clock,
              [this](const std::string& line) {
                std::lock_guard lock(log_mutex);
                log_lines.push_back(line);
              }),
      keys_(Configured(&ServiceFixture::ServiceKey), &directory),
      authenticator_(keys_, nullptr),
      calls_(std::make_unique<rpc::Calls>(clock, ids, authenticator_, logger_, metrics)),
      tokens_(crypto::TokenSubject::OfService(name_), ServiceKey(name_), clock, ids),
      outgoing_(ids, &tokens_),
      fakes_(std::make_unique<Fakes>()) {}

ServiceFixture::~ServiceFixture() { Stop(); }

void ServiceFixture::AddFake(const std::string& service, grpc::Service* fake) {
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(fake);
  fakes_->servers[service] = builder.BuildAndStart();
}

service::Environment ServiceFixture::environment() {
  return {clock, ids, logger_, metrics, db(), *calls_, outgoing_,
          [this](absl::string_view service) -> std::shared_ptr<grpc::Channel> {
            const auto found = fakes_->servers.find(service);
            if (found == fakes_->servers.end()) return nullptr;
            return found->second->InProcessChannel(grpc::ChannelArguments());
          },
          data_dir_.path()};
}

void ServiceFixture::Serve(std::unique_ptr<service::Module> module) {
  module_ = std::move(module);
  rpc::ServerOptions options;
  options.plaintext = true;
  auto running = rpc::Server::Start(options, module_->grpc_services(), *calls_);
  if (!running.ok()) throw std::runtime_error(running.status().ToString());
  server_ = *std::move(running);
  if (absl::Status started = module_->Start(); !started.ok()) {
    throw std::runtime_error(started.ToString());
  }
}

void ServiceFixture::Stop() {
  if (module_ == nullptr) return;
  server_->Stop(absl::Seconds(5));
  module_->Stop();
  server_.reset();
  module_.reset();
  // Calls drained with the server.
  calls_ = std::make_unique<rpc::Calls>(clock, ids, authenticator_, logger_, metrics);
}

Person ServiceFixture::NewPerson() {
  Person person{{ids.New(clock.Now())}};
  directory.Put(person.key.public_key(), {rpc::IdentityKind::kPrincipal, person.id, {}, ""});
  return person;
}

Agent ServiceFixture::NewAgent(const Person& principal) {
  Agent agent{{ids.New(clock.Now())}, principal.id};
  directory.Put(agent.key.public_key(), {rpc::IdentityKind::kAgent, principal.id, agent.id, ""});
  return agent;
}

std::vector<crypto::Entry> ServiceFixture::Outbox() {
  const auto rows = db().Transact(absl::Seconds(10), [](pg::Transaction& tx) {
    return tx.Exec("SELECT leaf FROM outbox ORDER BY sequence");
  });
  std::vector<crypto::Entry> entries;
  for (const pg::Row& row : *rows) {
    entries.push_back(crypto::DecodeEntry(row.GetBytes("leaf")).value());
    if (absl::Status fits = crypto::CheckKind(entries.back()); !fits.ok()) {
      throw std::runtime_error(fits.ToString());
    }
  }
  return entries;
}

int ServiceFixture::OutboxRows() {
  return static_cast<int>(Number("SELECT count(*) FROM outbox"));
}

int64_t ServiceFixture::Number(const std::string& sql) { return NumberOf(db(), sql); }

std::vector<std::string> ServiceFixture::TryAccessTable(
    const google::protobuf::ServiceDescriptor* service) {
  const Person person = NewPerson();
  const Agent agent = NewAgent(person);
  std::vector<rpc::testing::CellCaller> callers = {{rpc::Identity(), ""}};
  const auto add = [&](rpc::Identity identity, const crypto::TokenSubject& subject,
                       const crypto::KeyPair& key) {
    rpc::TokenSource tokens(subject, key, clock, ids);
    callers.push_back({std::move(identity), tokens.Authorization()});
  };
  rpc::Identity identity;
  identity.kind = rpc::IdentityKind::kPrincipal;
  identity.principal = person.id;
  add(identity, crypto::TokenSubject::Of(person.id), person.key);
  identity.kind = rpc::IdentityKind::kAgent;
  identity.agent = agent.id;
  add(identity, crypto::TokenSubject::Of(agent.id), agent.key);
  for (const char* name : kServices) {
    rpc::Identity of_service;
    of_service.kind = rpc::IdentityKind::kService;
    of_service.service = name;
    add(of_service, crypto::TokenSubject::OfService(name), ServiceKey(name));
  }
  return rpc::testing::TryEveryCell(channel(), {service}, callers);
}

}  // namespace rochdale::testing
