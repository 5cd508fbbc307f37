// The accounts that a run moves between, and people who may sign orders.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"
#include "tests/bench/ledger/deployment.h"

namespace rochdale::bench {

inline constexpr int kAccounts = 100'000;

struct Signer {
  Uuid principal;
  crypto::KeyPair key;
  std::string account;  // of its own, text form
};

class World {
 public:
  // Opens kAccounts system accounts (a service debits no others), each with a credit line so that
  // no transfer is refused; and makes `signers` people with an account, a registered key and the
  // highest KYC level.
  World(LedgerProcess& ledger, KeyRegistry& registry, int signers);
  ~World();

  // Text forms, 36 characters each.
  const std::vector<std::string>& accounts() const { return accounts_; }
  const std::vector<Signer>& signers() const { return signers_; }
  // Whose accounts these are: a thousand accounts each, and one each of the signers.
  const std::vector<std::string>& owners() const { return owners_; }

 private:
  using Stub = ledger::v1::LedgerService::Stub;
  struct Wanted {
    std::string account, owner;
    ledger::v1::AccountType type;
  };
  void Open(const std::vector<Wanted>& wanted);
  void MakeSigners(KeyRegistry& registry, int count);
  // Says that governance has sent everything it knows.
  void Heartbeat();

  std::unique_ptr<Stub> payout_, governance_;
  RandomIdSource random_;
  SeededIdSource ids_{1};
  std::vector<std::string> accounts_, owners_;
  std::vector<Signer> signers_;
  std::jthread heart_;
};

}  // namespace rochdale::bench
