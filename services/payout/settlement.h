// Pays what closed epochs owe, whatever crashes: deterministic transfer ids, posted in batches,
// until every statement is paid; then attribution and filter are told, and last the epoch is
// SETTLED for ever. Epochs that carried over are only told of.
//
// A refused payment gets another id and is tried again, at ever longer intervals of at most 30 s,
// and is reported to governance as an exception; an id that moved value for something else is
// never followed by another payment. What holds up one pool holds up no other.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "libs/pg/outbox.h"
#include "libs/rpc/ledger_client.h"
#include "libs/service/module.h"
#include "services/payout/domain.h"
#include "services/payout/sources.h"

namespace rochdale::ledger::v1 {
class PostTransfersResponse;
}

namespace rochdale::payout {

class Settlement {
 public:
  // A thread that starts at once. Everything passed outlives it.
  Settlement(const service::Environment& env, Sources& sources, rpc::LedgerClient& ledger,
             pg::OutboxRelay& relay);
  ~Settlement();

  void Wake();
  void Stop();

 private:
  void Loop();
  absl::Status SettleAll();
  absl::Status Settle(const Epoch& epoch);
  // Tells of an epoch that carried over.
  absl::Status Announce(const Epoch& epoch);
  // Posts one batch; false once nothing is unpaid. EPOCH_STATE where payments were refused: those
  // get another transfer id and are tried again later.
  absl::StatusOr<bool> PayBatch(const Epoch& epoch, const Pool& pool);
  absl::Status Record(const Epoch& epoch, const Pool& pool, const std::vector<Statement>& unpaid,
                      const ledger::v1::PostTransfersResponse& posted);
  absl::Status Finish(const Epoch& epoch, const Pool& pool);

  const service::Environment& env_;
  Sources& sources_;
  rpc::LedgerClient& ledger_;
  pg::OutboxRelay& relay_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool woken_ = false;
  std::thread thread_;
};

}  // namespace rochdale::payout
