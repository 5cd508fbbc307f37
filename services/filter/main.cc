#include "libs/base/status_macros.h"
#include "libs/service/single.h"
#include "services/filter/module.h"

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: main only
  service::SingleService filter;
  filter.name = "filter";
  filter.description = "Value profiles, update intake and admission decisions.";
  filter.make = [](const service::Environment& env, std::function<int()>)
      -> absl::StatusOr<service::SingleService::Made> {
    ASSIGN_OR_RETURN(auto module, filter::FilterModule::Make(env));
    return service::SingleService::Made{std::move(module)};
  };
  return service::RunSingle(argc, argv, filter);
}
