#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/service/single.h"
#include "services/attribution/config.h"
#include "services/attribution/module.h"

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: main only
  int64_t workers = 0;
  bool worker_plaintext = false;
  std::string worker_ca;
  std::string worker_device = "cpu";
  service::SingleService attribution;
  attribution.name = "attribution";
  attribution.description = "Rounds, counterfactual evaluation, credits and evidence.";
  attribution.add_flags = [&](config::Flags& flags) {
    flags.Int("workers", "local worker processes per run; 0: one per core", 0, 256, &workers);
    flags.Text("worker-device", "where workers evaluate: cpu, cuda or cuda:<n> (docs/devices.md)",
               &worker_device);
    flags.Bool("worker-plaintext", "workers call without TLS; loopback only", &worker_plaintext);
    flags.Text("worker-ca", "PEM roots that workers check this service against", &worker_ca);
  };
  attribution.make = [&](const service::Environment& env, std::function<int()> port)
      -> absl::StatusOr<service::SingleService::Made> {
    attribution::AttributionOptions options;
    ASSIGN_OR_RETURN(options.server_secret,
                     attribution::LoadOrCreateServerSecret(env.data_dir + "/secret"));
    options.workers = static_cast<int>(workers);
    options.worker_plaintext = worker_plaintext;
    options.worker_ca_file = worker_ca;
    options.worker_device = worker_device;
    options.worker_endpoint = [port] { return absl::StrCat("127.0.0.1:", port()); };
    auto module = attribution::AttributionModule::Make(options, env);
    rpc::RunTokenVerifier* const run_tokens = &module->run_tokens();
    return service::SingleService::Made{std::move(module), run_tokens};
  };
  return service::RunSingle(argc, argv, attribution);
}
