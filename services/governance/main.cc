#include "libs/service/single.h"
#include "services/governance/module.h"

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: main only
  service::SingleService governance;
  governance.name = "governance";
  governance.description = "Members, mandates, rules and parameters.";
  governance.keys = [](pg::Database& db) {
    return std::make_unique<governance::RegisteredKeys>(db);
  };
  governance.make = [](const service::Environment& env, std::function<int()>)
      -> absl::StatusOr<service::SingleService::Made> {
    return service::SingleService::Made{governance::GovernanceModule::Make(env)};
  };
  return service::RunSingle(argc, argv, governance);
}
