#include "tests/integration/ledger/harness.h"

#include <grpcpp/channel.h>

#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/jwt.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/document.h"

namespace rochdale::ledger::testing {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "ledger-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

absl::StatusOr<std::optional<rpc::RegisteredKey>> Directory::Lookup(const crypto::PublicKey& key) {
  std::lock_guard lock(mutex_);
  const auto found = keys_.find(key);
  if (found == keys_.end()) return std::nullopt;
  return found->second;
}

void Directory::Put(const crypto::PublicKey& key, rpc::RegisteredKey registered) {
  std::lock_guard lock(mutex_);
  keys_[key] = std::move(registered);
}

Client::Client(std::shared_ptr<grpc::Channel> channel, IdSource& ids, const Clock& clock,
               std::optional<crypto::TokenSubject> subject, crypto::KeyPair key,
               absl::Duration token_lifetime)
    : tokens_(subject.has_value()
                  ? std::make_unique<rpc::TokenSource>(*subject, std::move(key), clock, ids,
                                                       token_lifetime)
                  : nullptr),
      outgoing_(std::make_unique<rpc::Outgoing>(ids, tokens_.get())),
      stub_(std::make_unique<Stub>(std::move(channel))) {}

crypto::KeyPair LogKey() { return crypto::KeyPair::FromSeed({7, 7, 7}); }

crypto::KeyPair Ledger::ServiceKey(const std::string& service) {
  std::array<uint8_t, 32> seed{};
  for (size_t i = 0; i < service.size(); ++i) seed[i] = static_cast<uint8_t>(service[i]);
  return crypto::KeyPair::FromSeed(seed);
}

Ledger::Ledger(pg::DatabaseOptions db_options, LedgerSetup setup)
    : logger_("ledger", obs::LogLevel::kInfo, clock, [this](const std::string& line) {
        std::lock_guard lock(log_mutex);
        log_lines.push_back(line);
      }) {
  std::map<crypto::PublicKey, std::string> services;
  for (const char* name : {"filter", "attribution", "payout", "governance", "ledger", "witness"}) {
    services[ServiceKey(name).public_key()] = name;
  }
  keys_ = std::make_unique<rpc::ConfiguredKeys>(services, &directory_);
  authenticator_ = std::make_unique<rpc::Authenticator>(*keys_, nullptr);
  calls_ = std::make_unique<rpc::Calls>(clock, ids, *authenticator_, logger_, metrics);
  db_options.log = [this](absl::string_view line) {
    std::lock_guard lock(log_mutex);
    log_lines.emplace_back(line);
  };
  db_ = std::make_unique<pg::Database>(db_options);
  outgoing_ = std::make_unique<rpc::Outgoing>(ids, nullptr);
  service::Environment environment{
      clock,     ids,
      logger_,   metrics,
      *db_,      *calls_,
      *outgoing_, [](absl::string_view) { return std::shared_ptr<grpc::Channel>(); },
      setup.data_dir.empty() ? own_dir_.path() : setup.data_dir,
      [](const std::string& at) { return rpc::MakeChannel(at, {.plaintext = true}); }};
  LedgerOptions options;
  options.log_key = LogKey();
  options.origin = setup.origin;
  options.address = [this] { return address(); };
  options.sign_every = setup.sign_every;
  options.leadership_check_every = absl::Milliseconds(100);
  options.witnesses = setup.witnesses;
  if (setup.log_http) options.log_http = http::Endpoint();
  module = LedgerModule::Make(options, environment);
  rpc::ServerOptions server;
  server.plaintext = true;
  auto running = rpc::Server::Start(server, module->grpc_services(), *calls_);
  if (!running.ok()) throw std::runtime_error(running.status().ToString());
  server_ = *std::move(running);
  started = module->Start();
  for (int i = 0; setup.wait && started.ok() && !module->Ready().ok(); ++i) {
    if (i == 1'000) throw std::runtime_error(module->Ready().ToString());
    absl::SleepFor(absl::Milliseconds(10));
  }
}

void Ledger::Stop() {
  if (server_ == nullptr) return;
  server_->Stop(absl::Seconds(5));
  module->Stop();
  server_.reset();
}

const rpc::Outgoing& Ledger::outgoing(const std::string& service) {
  auto& tokens = service_tokens_[service];
  tokens = std::make_unique<rpc::TokenSource>(crypto::TokenSubject::OfService(service),
                                              ServiceKey(service), clock, ids);
  auto& outgoing = service_outgoing_[service];
  outgoing = std::make_unique<rpc::Outgoing>(ids, tokens.get());
  return *outgoing;
}

Client Ledger::As(const std::string& service, std::shared_ptr<grpc::Channel> through,
                  absl::Duration token_lifetime) {
  return Client(through == nullptr ? channel() : std::move(through), ids, clock,
                crypto::TokenSubject::OfService(service), ServiceKey(service), token_lifetime);
}

Client Ledger::As(const Person& person) {
  return Client(channel(), ids, clock, crypto::TokenSubject::Of(person.id), person.key);
}

Client Ledger::AsAgentOf(const Person& person) { return As(NewAgent(person)); }

Agent Ledger::NewAgent(const Person& person) {
  Agent agent{{ids.New(clock.Now())},
              person.id,
              crypto::KeyPair::Generate(crypto::SystemRandomBytes())};
  directory_.Put(agent.key.public_key(), {rpc::IdentityKind::kAgent, person.id, agent.id, ""});
  return agent;
}

Client Ledger::As(const Agent& agent) {
  return Client(channel(), ids, clock, crypto::TokenSubject::Of(agent.id), agent.key);
}

Client Ledger::Anonymous() { return Client(channel(), ids, clock, std::nullopt, LogKey()); }

Person Ledger::NewPerson(bool logged) {
  Person person{{ids.New(clock.Now())}, crypto::KeyPair::Generate(crypto::SystemRandomBytes())};
  directory_.Put(person.key.public_key(), {rpc::IdentityKind::kPrincipal, person.id, {}, ""});
  if (logged) {
    LogRegistration(person);
    Attest(person, 3);
  }
  return person;
}

Uuid Ledger::LogRegistration(const Person& person) {
  const Uuid event = ids.New(clock.Now());
  crypto::EntryBuilder builder(crypto::kind::kPrincipalRegistered, {event}, clock.Now());
  builder.Subject(person.id)
      .U64(crypto::tag::kPrincipalType, 1)
      .Bytes(crypto::tag::kRegisteredKey, person.key.public_key().AsBytes())
      .Document(crypto::SignDocument(person.key, "rochdale.governance.v1.PrincipalRegistration",
                                     "{}")
                    .value());
  Governance({builder.BuildBytes().value()});
  return event;
}

void Ledger::Governance(const std::vector<std::string>& entries) {
  v1::AppendEntriesRequest request;
  request.set_request_id(NewId());
  for (const std::string& entry : entries) request.add_entries(entry);
  request.set_complete_until_us(absl::ToUnixMicros(clock.Now()));
  As("governance").Ok(&Stub::AppendEntries, request);
}

void Ledger::Attest(const Person& person, int level) {
  crypto::EntryBuilder builder(crypto::kind::kKycAttested, {ids.New(clock.Now())}, clock.Now());
  builder.Subject(person.id)
      .U64(crypto::tag::kKycLevel, static_cast<uint64_t>(level))
      .I64(crypto::tag::kExpiresUs, absl::ToUnixMicros(clock.Now() + absl::Hours(24)))
      .Document(crypto::SignDocument(LogKey(), "rochdale.governance.v1.KycAttestation", "{}")
                    .value());
  Governance({builder.BuildBytes().value()});
}

v1::OpenAccountsRequest OpeningOf(Ledger& ledger, const std::string& account,
                                  const std::string& owner, v1::AccountType type,
                                  bool unlimited) {
  v1::OpenAccountsRequest request;
  request.set_request_id(ledger.NewId());
  request.mutable_authorised_by()->set_event_id(ledger.NewId());
  v1::Account& wanted = *request.add_accounts();
  wanted.set_account_id(account);
  wanted.set_owner_id(owner);
  wanted.set_type(type);
  wanted.set_asset("token");
  wanted.set_unlimited(unlimited);
  return request;
}

v1::Transfer TransferOf(Ledger& ledger, const std::string& debit, const std::string& credit,
                        int64_t amount, v1::TransferKind kind) {
  v1::Transfer transfer;
  transfer.set_transfer_id(ledger.NewId());
  transfer.set_debit_account_id(debit);
  transfer.set_credit_account_id(credit);
  transfer.set_amount_micro(amount);
  transfer.set_kind(kind);
  return transfer;
}

v1::PostTransfersRequest PostingOf(Ledger& ledger, const std::vector<v1::Transfer>& transfers) {
  static const std::string authorisation = "01890000-0000-7000-8000-0000000000aa";
  v1::PostTransfersRequest request;
  request.set_request_id(ledger.NewId());
  for (const v1::Transfer& transfer : transfers) {
    *request.add_transfers() = transfer;
    request.mutable_transfers()->rbegin()->mutable_authorised_by()->set_event_id(authorisation);
  }
  return request;
}

v1::PostTransfersRequest OrderOf(Ledger& ledger, const crypto::KeyPair& key,
                                 const std::vector<v1::Transfer>& transfers, absl::Time time) {
  v1::TransferOrder order;
  for (const v1::Transfer& transfer : transfers) *order.add_transfers() = transfer;
  order.set_signed_time_us(absl::ToUnixMicros(time));
  std::string body;
  if (!google::protobuf::util::MessageToJsonString(order, &body).ok()) {
    throw std::runtime_error("an order cannot be written");
  }
  v1::PostTransfersRequest request;
  request.set_request_id(ledger.NewId());
  rpc::ToProto(crypto::SignDocument(key, "rochdale.ledger.v1.TransferOrder", body).value(),
               *request.mutable_order());
  return request;
}

std::string EntryOf(Ledger& ledger, uint16_t kind, const Uuid& event_id, const Uuid& subject) {
  crypto::EntryBuilder builder(kind, {event_id}, ledger.clock.Now());
  builder.Subject(subject);
  const crypto::KindInfo* info = crypto::FindKind(kind);
  for (const uint16_t tag : info->required) {
    if (tag == 0) break;
    const crypto::TagInfo* field = crypto::FindTag(tag);
    switch (field->type) {
      case crypto::FieldType::kU64: builder.U64(tag, 1); break;
      case crypto::FieldType::kI64: builder.I64(tag, 1); break;
      case crypto::FieldType::kText: builder.Text(tag, "text"); break;
      case crypto::FieldType::kBytes:
        builder.Bytes(tag, std::string(field->size == 0 ? 16 : field->size, 'b'));
        break;
    }
  }
  return builder.BuildBytes().value();
}

World::World(Ledger& ledger)
    : payout(ledger.As("payout")),
      ann(ledger.NewPerson()),
      bob(ledger.NewPerson()),
      supply(ledger.NewId()),
      of_ann(ledger.NewId()),
      of_bob(ledger.NewId()) {
  payout.Ok(&Stub::OpenAccounts,
            OpeningOf(ledger, supply, ledger.NewId(), v1::ACCOUNT_TYPE_SYSTEM, true));
  payout.Ok(&Stub::OpenAccounts,
            OpeningOf(ledger, of_ann, ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON));
  payout.Ok(&Stub::OpenAccounts,
            OpeningOf(ledger, of_bob, bob.id.ToString(), v1::ACCOUNT_TYPE_PERSON));
}

void World::Fund(Ledger& ledger, int64_t amount) {
  const auto posted = payout.Ok(
      &Stub::PostTransfers,
      PostingOf(ledger, {TransferOf(ledger, supply, of_ann, amount, v1::TRANSFER_KIND_MINT)}));
  if (posted.outcomes(0).result() != v1::TRANSFER_RESULT_POSTED) {
    throw std::runtime_error(posted.ShortDebugString());
  }
}

}  // namespace rochdale::ledger::testing
