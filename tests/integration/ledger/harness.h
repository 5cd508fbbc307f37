// A running ledger on a real PostgreSQL, and callers of every kind.
//
//   testing::TestDatabase database({ledger::Migrations()});
//   Ledger ledger(database);
//   Client payout = ledger.As("payout");
//   v1::GetTreeHeadResponse head = payout.Ok(&Stub::GetTreeHead, {});
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/server.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"
#include "services/ledger/migrations.h"
#include "services/ledger/module.h"
#include "tests/support/postgres.h"

namespace rochdale::ledger::testing {

using Stub = v1::LedgerService::Stub;
using rochdale::testing::TestDatabase;

// A directory that goes with the object.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Person {
  PrincipalId id;
  crypto::KeyPair key;
};

// An agent of a person, registered and with a key of its own.
struct Agent {
  AgentId id;
  PrincipalId principal;
  crypto::KeyPair key;
};

class Directory final : public rpc::KeyDirectory {
 public:
  absl::StatusOr<std::optional<rpc::RegisteredKey>> Lookup(const crypto::PublicKey& key) override;
  void Put(const crypto::PublicKey& key, rpc::RegisteredKey registered);

 private:
  std::mutex mutex_;
  std::map<crypto::PublicKey, rpc::RegisteredKey> keys_;
};

// Calls the ledger as somebody.
class Client {
 public:
  // `subject` nothing: anonymous.
  Client(std::shared_ptr<grpc::Channel> channel, IdSource& ids, const Clock& clock,
         std::optional<crypto::TokenSubject> subject, crypto::KeyPair key,
         absl::Duration token_lifetime = absl::Minutes(10));

  template <typename Base, typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Base::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const std::type_identity_t<Request>& request) {
    Response response;
    const absl::Status status = outgoing_->Invoke(*stub_, method, request, &response);
    if (!status.ok()) return status;
    return response;
  }
  // The response of a call that must succeed.
  template <typename Base, typename Request, typename Response>
  Response Ok(grpc::Status (Base::*method)(grpc::ClientContext*, const Request&, Response*),
              const std::type_identity_t<Request>& request) {
    absl::StatusOr<Response> response = Call(method, request);
    if (!response.ok()) throw std::runtime_error(response.status().ToString());
    return *std::move(response);
  }
  // The reason of a call that must fail; "OK" if it did not.
  template <typename Base, typename Request, typename Response>
  std::string Reason(grpc::Status (Base::*method)(grpc::ClientContext*, const Request&, Response*),
                     const std::type_identity_t<Request>& request) {
    const absl::StatusOr<Response> response = Call(method, request);
    return response.ok() ? "OK" : ReasonOf(response.status());
  }

  // A StreamTransfers call of this caller, a minute at most.
  using Stream = grpc::ClientReaderWriter<v1::PostTransfersRequest, v1::StreamTransfersResponse>;
  std::unique_ptr<Stream> Open(grpc::ClientContext& context) {
    outgoing_->Prepare(context, {.timeout = absl::Minutes(1)});
    return stub_->StreamTransfers(&context);
  }

 private:
  std::unique_ptr<rpc::TokenSource> tokens_;
  std::unique_ptr<rpc::Outgoing> outgoing_;
  std::unique_ptr<Stub> stub_;
};

struct LedgerSetup {
  std::string data_dir;   // empty: one of its own
  bool wait = true;       // until it writes
  std::vector<WitnessName> witnesses = {};
  bool log_http = false;  // on any free port
  absl::Duration sign_every = absl::Milliseconds(100);
  std::string origin = "test.rochdale.local/log";
};

// One replica. Several may run on one database.
class Ledger {
 public:
  explicit Ledger(TestDatabase& database, LedgerSetup setup = {})
      : Ledger(database.Options("ledger"), std::move(setup)) {}
  // On another database than the tests'.
  explicit Ledger(pg::DatabaseOptions database, LedgerSetup setup);
  ~Ledger() { Stop(); }
  void Stop();

  Client As(const std::string& service, std::shared_ptr<grpc::Channel> through = nullptr,
            absl::Duration token_lifetime = absl::Minutes(10));
  Client As(const Person& person);
  Client AsAgentOf(const Person& person);
  Client As(const Agent& agent);
  Client Anonymous();
  Agent NewAgent(const Person& person);
  // With its registration and an attestation of KYC level 3 in the log, or (where `logged` is
  // false) on its way there.
  Person NewPerson(bool logged = true);
  // The event id of the person's PRINCIPAL_REGISTERED entry, which is appended now.
  Uuid LogRegistration(const Person& person);
  // Its KYC level, for a day from now on.
  void Attest(const Person& person, int level);
  // Entries of governance, with which all that it committed until now is in the log.
  void Governance(const std::vector<std::string>& entries);
  // As if its registry had heard of the person, too.
  void Know(const Person& person) {
    directory_.Put(person.key.public_key(), {rpc::IdentityKind::kPrincipal, person.id, {}, ""});
  }
  std::string NewId() { return ids.New(clock.Now()).ToString(); }

  SystemClock clock;
  RandomIdSource ids;
  obs::Metrics metrics;
  std::mutex log_mutex;
  std::vector<std::string> log_lines;
  absl::Status started;
  std::unique_ptr<LedgerModule> module;
  pg::Database& db() { return *db_; }
  std::shared_ptr<grpc::Channel> channel() { return server_->InProcessChannel(); }
  // Over the network (loopback), as calls of other processes come.
  std::shared_ptr<grpc::Channel> Remote() const {
    return rpc::MakeChannel(address(), {.plaintext = true}).value();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(server_->port()); }
  int running() const { return calls_->running(); }
  const rpc::Outgoing& outgoing(const std::string& service);

 private:
  crypto::KeyPair ServiceKey(const std::string& service);

  TempDir own_dir_;
  obs::Logger logger_;
  Directory directory_;
  std::unique_ptr<rpc::ConfiguredKeys> keys_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<rpc::Calls> calls_;
  std::unique_ptr<pg::Database> db_;
  std::unique_ptr<rpc::TokenSource> tokens_;
  std::unique_ptr<rpc::Outgoing> outgoing_;
  std::unique_ptr<rpc::Server> server_;
  std::map<std::string, std::unique_ptr<rpc::TokenSource>> service_tokens_;
  std::map<std::string, std::unique_ptr<rpc::Outgoing>> service_outgoing_;
};

// The log's key of every Ledger.
crypto::KeyPair LogKey();

// Requests. Authorised by an entry id that is made up where a service calls.
v1::OpenAccountsRequest OpeningOf(Ledger& ledger, const std::string& account,
                                  const std::string& owner, v1::AccountType type,
                                  bool unlimited = false);
v1::Transfer TransferOf(Ledger& ledger, const std::string& debit, const std::string& credit,
                        int64_t amount, v1::TransferKind kind = v1::TRANSFER_KIND_REWARD);
v1::PostTransfersRequest PostingOf(Ledger& ledger, const std::vector<v1::Transfer>& transfers);
// Signed by `key` at `time`.
v1::PostTransfersRequest OrderOf(Ledger& ledger, const crypto::KeyPair& key,
                                 const std::vector<v1::Transfer>& transfers, absl::Time time);
// An entry of a service, its canonical bytes.
std::string EntryOf(Ledger& ledger, uint16_t kind, const Uuid& event_id, const Uuid& subject);

// A system account that may go below zero, and accounts of persons: what most tests need.
struct World {
  explicit World(Ledger& ledger);
  Client payout;
  Person ann, bob;
  std::string supply, of_ann, of_bob;
  // From the supply to Ann.
  void Fund(Ledger& ledger, int64_t amount);
};

}  // namespace rochdale::ledger::testing
