// What is measured: rochdale-ledger as a process of its own, under mutual TLS, on a private
// PostgreSQL with fsync on, with a stand-in for governance's registry of keys.
#pragma once

#include <grpcpp/channel.h>
#include <sys/types.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libs/crypto/ed25519.h"
#include "libs/pg/database.h"
#include "libs/pg/private_cluster.h"
#include "tests/bench/ledger/grpc_streams.h"
#include "tests/support/certificates.h"

namespace grpc {
class ChannelCredentials;
class Server;
class Service;
}  // namespace grpc

namespace rochdale::bench {

// One PostgreSQL for the ledger and its peers; the same settings for all of them.
class Postgres {
 public:
  Postgres();
  std::string ConnectionString(const std::string& database = "postgres") const {
    return cluster_->ConnectionString(database);
  }
  const std::string& socket_dir() const { return cluster_->socket_dir(); }
  pid_t postmaster() const { return cluster_->server_pid(); }
  pg::Database& admin() { return *admin_; }
  void Create(const std::string& database);
  void Drop(const std::string& database);
  // Writes everything out, so that no run pays for the one before it.
  void Checkpoint();

 private:
  void Outside(const std::string& statement);  // of transactions

  std::unique_ptr<pg::PrivateCluster> cluster_;
  std::unique_ptr<pg::Database> admin_;
};

// Answers whose key it is: what the ledger asks of governance. People, one key each.
class KeyRegistry {
 public:
  explicit KeyRegistry(const testing::Certificates& certificates);
  ~KeyRegistry();
  void Put(const crypto::PublicKey& key, const Uuid& principal);
  int port() const { return port_; }

 private:
  class Service;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

// Certificates of the services that call.
class Certified : public testing::Certificates {
 public:
  Certified();
};

// A ledger on a database of its own, which goes with it.
class LedgerProcess {
 public:
  LedgerProcess(Postgres& postgres, const Certified& certificates, const KeyRegistry& registry);
  ~LedgerProcess();

  pid_t pid() const { return pid_; }
  const std::string& database() const { return database_; }
  // A connection of its own, as "payout" or "governance", or "" for those who bring tokens.
  std::shared_ptr<grpc::Channel> Connect(const std::string& service);
  // The same for clients that are not gRPC's.
  TlsContext Tls(const std::string& service) const;
  int port() const { return port_; }

 private:
  void Start(const KeyRegistry& registry);
  void WaitUntilWriting();

  Postgres& postgres_;
  const Certified& certificates_;
  std::string database_;
  std::string dir_;
  pid_t pid_ = -1;
  int port_ = 0;
  std::map<std::string, std::shared_ptr<grpc::ChannelCredentials>> credentials_;
};

}  // namespace rochdale::bench
