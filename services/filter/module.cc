#include "services/filter/module.h"

#include "libs/base/status_macros.h"
#include "libs/pg/database.h"
#include "libs/pg/outbox.h"
#include "libs/rpc/ledger_client.h"
#include "services/filter/filter_service.h"

namespace rochdale::filter {

struct FilterModule::Parts {
  Parts(const service::Environment& env, std::unique_ptr<blob::BlobStore> blobs)
      : store(std::move(blobs)),
        service(env, *store),
        ledger(env.channel, env.outgoing, env.ids, env.clock) {}
  std::unique_ptr<blob::BlobStore> store;
  FilterService service;
  rpc::LedgerClient ledger;
  std::unique_ptr<pg::OutboxRelay> relay;
};

absl::StatusOr<std::unique_ptr<FilterModule>> FilterModule::Make(const service::Environment& env) {
  std::unique_ptr<FilterModule> module(new FilterModule(env));
  ASSIGN_OR_RETURN(auto store, blob::BlobStore::Open(env.data_dir + "/blobs", {}));
  module->parts_ = std::make_unique<Parts>(module->env_, std::move(store));
  return module;
}

FilterModule::FilterModule(const service::Environment& env) : env_(env) {}
FilterModule::~FilterModule() { Stop(); }

std::vector<grpc::Service*> FilterModule::grpc_services() { return {&parts_->service}; }

absl::Status FilterModule::Start() {
  parts_->service.Connect();
  parts_->relay =
      std::make_unique<pg::OutboxRelay>(env_.db, env_.clock, parts_->ledger.OutboxSend());
  return absl::OkStatus();
}

void FilterModule::Stop() {
  if (parts_ && parts_->relay) parts_->relay->Stop();
}

absl::Status FilterModule::Ready() { return env_.db.Ping(absl::Seconds(1)); }

}  // namespace rochdale::filter
