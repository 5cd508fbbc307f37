// Creates a network's token supply in the ledger, once, as its genesis orders: opens the supply
// account and the pool accounts, and mints into them. Deterministic ids make every step repeatable,
// so a crash at any instant is followed by the same steps and no second supply.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "libs/rpc/ledger_client.h"
#include "libs/service/module.h"
#include "services/governance/domain.h"

namespace rochdale::governance {

class GenesisFunding {
 public:
  // A thread that starts at once. `env` and `ledger` outlive it.
  GenesisFunding(const service::Environment& env, rpc::LedgerClient& ledger);
  ~GenesisFunding();
  void Stop();

 private:
  void Loop();
  absl::Status FundAll();
  absl::Status Fund(const Cooperative& cooperative);

  const service::Environment& env_;
  rpc::LedgerClient& ledger_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace rochdale::governance
