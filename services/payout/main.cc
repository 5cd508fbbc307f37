#include "libs/service/single.h"
#include "services/payout/module.h"

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: main only
  service::SingleService payout;
  payout.name = "payout";
  payout.description = "Revenue pools, epochs and statements.";
  payout.make = [](const service::Environment& env, std::function<int()>)
      -> absl::StatusOr<service::SingleService::Made> {
    return service::SingleService::Made{payout::PayoutModule::Make(env)};
  };
  return service::RunSingle(argc, argv, payout);
}
