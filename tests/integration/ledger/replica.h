// A replica of the ledger whose clock the test sets and whose connections to PostgreSQL the test
// cuts. Several may run on one database.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "tests/integration/ledger/harness.h"
#include "tests/support/pg_proxy.h"

namespace rochdale::ledger::testing {

using rochdale::testing::PgProxy;

// People and services of a test: their keys, and what tokens are checked against. Shared by the
// replicas, as governance is.
class Cast {
 public:
  explicit Cast(const Clock& clock) : clock_(clock) {}
  // Registered from then on, with keys that follow from the id.
  void AddPrincipal(const std::string& id);
  void AddAgent(const std::string& id, const std::string& principal);

  static crypto::KeyPair KeyOf(const std::string& name);
  const Clock& clock() const { return clock_; }
  Directory& directory() { return directory_; }

 private:
  const Clock& clock_;
  Directory directory_;
};

class Replica {
 public:
  // Listens and tries to lead at once; does not wait until it does.
  // `server_dir`: the folder of the database's socket, for a proxy before it; empty: no proxy.
  Replica(pg::DatabaseOptions database, const std::string& server_dir, Cast& cast,
          const std::string& data_dir);
  ~Replica();  // stops
  // In good order: what is under way is answered first. Calls may still be running, and are
  // refused then. Idempotent.
  void Stop();

  bool Writes() { return module_->Ready().ok(); }
  PgProxy& proxy() { return *proxy_; }
  int port() const { return server_->port(); }
  pg::Database& db() { return *db_; }
  std::string log_lines();

  // One attempt, without the retries of a client. `who`: "service:payout", "principal:<id>",
  // "agent:<id>". Thread-safe.
  template <typename Base, typename Request, typename Response>
  absl::Status Call(const std::string& who,
                    grpc::Status (Base::*method)(grpc::ClientContext*, const Request&, Response*),
                    const std::type_identity_t<Request>& request,
                    std::type_identity_t<Response>* response) {
    Speaker& speaker = SpeakerOf(who);
    rpc::CallOptions options;
    options.timeout = absl::Seconds(20);
    options.idempotent = false;
    return speaker.outgoing.Invoke(*stub_, method, request, response, options);
  }

 private:
  struct Speaker {
    Speaker(IdSource& ids, const Clock& clock, const crypto::TokenSubject& subject,
            const crypto::KeyPair& key)
        : tokens(subject, key, clock, ids), outgoing(ids, &tokens) {}
    rpc::TokenSource tokens;
    rpc::Outgoing outgoing;
  };
  Speaker& SpeakerOf(const std::string& who);

  Cast& cast_;
  RandomIdSource ids_;
  obs::Metrics metrics_;
  std::mutex log_mutex_;
  std::string log_lines_;
  obs::Logger logger_;
  std::unique_ptr<rpc::ConfiguredKeys> keys_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<rpc::Calls> calls_;
  std::unique_ptr<PgProxy> proxy_;
  std::unique_ptr<pg::Database> db_;
  rpc::Outgoing outgoing_;
  std::unique_ptr<LedgerModule> module_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<Stub> stub_;
  std::once_flag stopped_;
  std::mutex speakers_mutex_;
  std::map<std::string, std::unique_ptr<Speaker>> speakers_;
};

}  // namespace rochdale::ledger::testing
