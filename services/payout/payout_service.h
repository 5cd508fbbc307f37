// The rpcs of payout; one short method each.
#pragma once

#include "libs/rpc/ledger_client.h"
#include "libs/service/module.h"
#include "rochdale/payout/v1/payout.grpc.pb.h"
#include "services/payout/domain.h"
#include "services/payout/settlement.h"
#include "services/payout/sources.h"

namespace rochdale::payout {

namespace v1 = ::rochdale::payout::v1;

// Thread-safe.
class PayoutService final : public v1::PayoutService::Service {
 public:
  // `closed` is called after an epoch was closed.
  PayoutService(const service::Environment& env, Sources& sources, rpc::LedgerClient& ledger,
                std::function<void()> closed)
      : env_(env), sources_(sources), ledger_(ledger), closed_(std::move(closed)) {}

#define ROCHDALE_RPC(Name) \
  grpc::Status Name(grpc::ServerContext*, const v1::Name##Request*, v1::Name##Response*) override
  ROCHDALE_RPC(CreatePool);
  ROCHDALE_RPC(GetPool);
  ROCHDALE_RPC(CloseEpoch);
  ROCHDALE_RPC(GetEpoch);
  ROCHDALE_RPC(ListEpochs);
  ROCHDALE_RPC(GetStatement);
  ROCHDALE_RPC(ListStatements);
  ROCHDALE_RPC(GetDocument);
#undef ROCHDALE_RPC

 private:
  const service::Environment& env_;
  Sources& sources_;
  rpc::LedgerClient& ledger_;
  const std::function<void()> closed_;
};

}  // namespace rochdale::payout
