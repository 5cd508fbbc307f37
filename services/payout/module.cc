#include "services/payout/module.h"

#include "libs/pg/database.h"
#include "libs/pg/outbox.h"
#include "libs/rpc/ledger_client.h"
#include "services/payout/payout_service.h"
#include "services/payout/settlement.h"
#include "services/payout/sources.h"

namespace rochdale::payout {

struct PayoutModule::Parts {
  explicit Parts(const service::Environment& env)
      : sources(env),
        ledger(env.channel, env.outgoing, env.ids, env.clock),
        service(env, sources, ledger, [this] {
          if (settlement) settlement->Wake();
        }) {}
  Sources sources;
  rpc::LedgerClient ledger;
  PayoutService service;
  std::unique_ptr<pg::OutboxRelay> relay;
  std::unique_ptr<Settlement> settlement;
};

std::unique_ptr<PayoutModule> PayoutModule::Make(const service::Environment& env) {
  return std::unique_ptr<PayoutModule>(new PayoutModule(env));
}

PayoutModule::PayoutModule(const service::Environment& env)
    : env_(env), parts_(std::make_unique<Parts>(env_)) {}

PayoutModule::~PayoutModule() { Stop(); }

std::vector<grpc::Service*> PayoutModule::grpc_services() { return {&parts_->service}; }

absl::Status PayoutModule::Start() {
  parts_->relay =
      std::make_unique<pg::OutboxRelay>(env_.db, env_.clock, parts_->ledger.OutboxSend());
  parts_->settlement =
      std::make_unique<Settlement>(env_, parts_->sources, parts_->ledger, *parts_->relay);
  return absl::OkStatus();
}

void PayoutModule::Stop() {
  if (parts_->settlement) parts_->settlement->Stop();
  if (parts_->relay) parts_->relay->Stop();
}

absl::Status PayoutModule::Ready() { return env_.db.Ping(absl::Seconds(1)); }

}  // namespace rochdale::payout
