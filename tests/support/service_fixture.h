// One service on a real PostgreSQL behind a real (in-process) server, with callers of every kind
// and fakes of the services that it calls.
//
//   ServiceFixture f("filter", {filter::Migrations()});
//   f.AddFake("governance", &governance);             // any grpc::Service, without access checks
//   f.Serve(FilterModule::Make(f.environment()).value());
//   auto agent = f.As<v1::FilterService::Stub>(f.NewAgent(f.NewPerson()));
//   CHECK(agent.Reason(&Stub::CommitUpdate, request) == "ROUND_NOT_ACCEPTING");
//
// Time stands still until `clock` is advanced, for tokens and caches too.
#pragma once

#include <grpcpp/channel.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/jwt.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/server.h"
#include "libs/service/module.h"
#include "tests/support/documents.h"
#include "tests/support/postgres.h"

namespace google::protobuf {
class Message;
class ServiceDescriptor;
}  // namespace google::protobuf
namespace rochdale::common::v1 {
class SignedDocument;
}

namespace rochdale::testing {

// A hook of a fake that a test sets while others call it.
template <typename F>
class Hook {
 public:
  F operator=(F hook) {
    std::lock_guard lock(mutex_);
    hook_ = hook;
    return hook;
  }
  F Get() const {
    std::lock_guard lock(mutex_);
    return hook_;
  }

 private:
  mutable std::mutex mutex_;
  F hook_;
};

// A directory that goes with the object.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

crypto::KeyPair NewKey();

// Whether `holds` becomes true within `timeout`.
bool Eventually(const std::function<bool()>& holds, absl::Duration timeout = absl::Seconds(20));

struct Person {
  PrincipalId id;
  crypto::KeyPair key = NewKey();
};

struct Agent {
  AgentId id;
  PrincipalId principal;
  crypto::KeyPair key = NewKey();
};

// Keys of people and agents; others are asked of `next`.
class Directory final : public rpc::KeyDirectory {
 public:
  absl::StatusOr<std::optional<rpc::RegisteredKey>> Lookup(const crypto::PublicKey& key) override;
  void Put(const crypto::PublicKey& key, rpc::RegisteredKey registered);
  void SetNext(rpc::KeyDirectory* next) { next_ = next; }

 private:
  std::mutex mutex_;
  std::map<crypto::PublicKey, rpc::RegisteredKey> keys_;
  rpc::KeyDirectory* next_ = nullptr;
};

// Calls the service as somebody.
template <typename Stub>
class Client {
 public:
  // `tokens` null: anonymous.
  Client(std::shared_ptr<grpc::Channel> channel, IdSource& ids,
         std::unique_ptr<rpc::TokenSource> tokens)
      : tokens_(std::move(tokens)),
        outgoing_(std::make_unique<rpc::Outgoing>(ids, tokens_.get())),
        stub_(std::make_unique<Stub>(std::move(channel))) {}

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
    if (!response.ok()) {
      throw std::runtime_error(response.status().ToString() + "\n" + request.DebugString());
    }
    return *std::move(response);
  }
  // The reason of a call that must fail; "OK" if it did not.
  template <typename Base, typename Request, typename Response>
  std::string Reason(grpc::Status (Base::*method)(grpc::ClientContext*, const Request&, Response*),
                     const std::type_identity_t<Request>& request) {
    const absl::StatusOr<Response> response = Call(method, request);
    if (response.ok()) return "OK";
    const std::string reason = ReasonOf(response.status());
    return reason.empty() ? response.status().ToString() : reason;
  }
  // The fields that BAD_REQUEST names, in order.
  template <typename Base, typename Request, typename Response>
  std::vector<std::string> BadFields(grpc::Status (Base::*method)(grpc::ClientContext*,
                                                                  const Request&, Response*),
                                     const std::type_identity_t<Request>& request) {
    std::vector<std::string> fields;
    for (const FieldViolation& violation : FieldViolationsOf(Call(method, request).status())) {
      fields.push_back(violation.field);
    }
    return fields;
  }

  Stub& stub() { return *stub_; }
  // For streams: a context with the token and a deadline.
  std::unique_ptr<grpc::ClientContext> Context() {
    auto context = std::make_unique<grpc::ClientContext>();
    Prepare(*context);
    return context;
  }
  void Prepare(grpc::ClientContext& context) {
    outgoing_->Prepare(context, {.timeout = absl::Seconds(20)});
  }

 private:
  std::unique_ptr<rpc::TokenSource> tokens_;
  std::unique_ptr<rpc::Outgoing> outgoing_;
  std::unique_ptr<Stub> stub_;
};

class ServiceFixture {
 public:
  ServiceFixture(std::string service, const std::vector<pg::MigrationSet>& migrations);
  ~ServiceFixture();

  // Before Serve. The fake outlives the fixture's module.
  void AddFake(const std::string& service, grpc::Service* fake);
  // For making the module.
  service::Environment environment();
  // Serves the module and starts it; in place of the one that ran before.
  void Serve(std::unique_ptr<service::Module> module);
  // As a crash would leave it: nothing of the process goes on, the database stays.
  void Stop();

  template <typename Stub>
  Client<Stub> As(const Person& person) {
    return Make<Stub>(crypto::TokenSubject::Of(person.id), person.key);
  }
  template <typename Stub>
  Client<Stub> As(const Agent& agent) {
    return Make<Stub>(crypto::TokenSubject::Of(agent.id), agent.key);
  }
  template <typename Stub>
  Client<Stub> AsService(const std::string& name) {
    return Make<Stub>(crypto::TokenSubject::OfService(name), ServiceKey(name));
  }
  template <typename Stub>
  Client<Stub> Anonymous() {
    return Client<Stub>(channel(), ids, nullptr);
  }

  Person NewPerson();                        // in `directory`
  Agent NewAgent(const Person& principal);   // in `directory`
  std::string NewId() { return ids.New(clock.Now()).ToString(); }
  int64_t NowUs() const { return absl::ToUnixMicros(clock.Now()); }

  // What the service's outbox holds, in order; every entry fits its kind.
  std::vector<crypto::Entry> Outbox();
  int OutboxRows();
  // One number of a statement, as the superuser with the service's schema: SELECT count(*) ...
  int64_t Number(const std::string& sql);

  // Every cell of the access table of these services, tried by the anonymous caller, a principal,
  // an agent and every service; what is wrong.
  std::vector<std::string> TryAccessTable(const google::protobuf::ServiceDescriptor* service);

  std::shared_ptr<grpc::Channel> channel() { return server_->InProcessChannel(); }
  pg::Database& db() { return database_.ForService(name_); }

  ManualClock clock;
  RandomIdSource ids;
  obs::Metrics metrics;
  Directory directory;
  std::mutex log_mutex;
  std::vector<std::string> log_lines;

 private:
  static crypto::KeyPair ServiceKey(const std::string& service);
  template <typename Stub>
  Client<Stub> Make(const crypto::TokenSubject& subject, const crypto::KeyPair& key) {
    return Client<Stub>(channel(), ids,
                        std::make_unique<rpc::TokenSource>(subject, key, clock, ids));
  }

  struct Fakes;
  const std::string name_;
  TestDatabase database_;
  TempDir data_dir_;
  obs::Logger logger_;
  rpc::ConfiguredKeys keys_;
  rpc::Authenticator authenticator_;
  std::unique_ptr<rpc::Calls> calls_;
  rpc::TokenSource tokens_;
  rpc::Outgoing outgoing_;
  std::unique_ptr<Fakes> fakes_;
  std::unique_ptr<service::Module> module_;
  std::unique_ptr<rpc::Server> server_;
};

}  // namespace rochdale::testing
