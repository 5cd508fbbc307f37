#include <utility>

#include "libs/base/status_macros.h"
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
  governance::GovernanceFlags own;
  governance.add_flags = [&own](config::Flags& flags) { own.Add(flags); };
  governance.make = [&own](const service::Environment& env, std::function<int()>)
      -> absl::StatusOr<service::SingleService::Made> {
    ASSIGN_OR_RETURN(governance::GovernanceOptions options, own.Options());
    return service::SingleService::Made{
        governance::GovernanceModule::Make(env, std::move(options))};
  };
  return service::RunSingle(argc, argv, governance);
}
