// rochdale-attribution-worker: evaluates shards of one run until it has ended.
#include <sysexits.h>

#include <cstdlib>
#include <iostream>

#include "libs/learning/exact_evaluator.h"
#include "libs/learning/module_evaluator.h"
#include "libs/rpc/channel.h"
#include "services/attribution/worker/device.h"
#include "services/attribution/worker/worker.h"

namespace rochdale::attribution {
namespace {

int Main(int argc, char** argv) {
  std::string endpoint;
  std::string device = "cpu";
  int64_t device_memory_mib = 2'048;
  rpc::ChannelOptions channel_options;
  WorkerOptions options;
  options.cache_dir = "/tmp/rochdale-worker-cache";
  config::Flags flags("rochdale-attribution-worker",
                      "Evaluates shards of one attribution run. The run token comes from the "
                      "environment variable ROCHDALE_RUN_TOKEN.");
  flags.Text("endpoint", "host:port of the attribution service", &endpoint);
  flags.Text("run", "id of the run", &options.run);
  flags.Text("cache-dir", "where blobs are kept between runs", &options.cache_dir);
  flags.Text("device", "where to evaluate: cpu, cuda or cuda:<n> (docs/devices.md)", &device);
  flags.Int("device-memory-mib", "memory of the device for one evaluation, MiB", 64, 1'000'000,
            &device_memory_mib);
  flags.Bool("plaintext", "connect without TLS (loopback only)", &channel_options.plaintext);
  flags.Text("tls-ca", "file with the roots that the server's certificate must chain to",
             &channel_options.ca_file);
  flags.Text("tls-server-name", "name in the server's certificate", &channel_options.server_name);
  const absl::StatusOr<config::Outcome> outcome = flags.Parse(argc, argv);
  if (!outcome.ok()) {
    std::cerr << outcome.status().message() << "\n";
    return EX_USAGE;
  }
  if (*outcome == config::Outcome::kExit) return EX_OK;
  const char* token = std::getenv("ROCHDALE_RUN_TOKEN");
  if (token == nullptr || endpoint.empty() || options.run.empty()) {
    std::cerr << "--endpoint, --run and ROCHDALE_RUN_TOKEN are needed\n";
    return EX_USAGE;
  }
  options.run_token = config::Secret(token);
  learning::UseOneThread();
  auto channel = rpc::MakeChannel(endpoint, channel_options);
  if (!channel.ok()) {
    std::cerr << channel.status().message() << "\n";
    return EX_CONFIG;
  }
  const auto evaluator = OpenEvaluator(device, device_memory_mib << 20);
  if (!evaluator.ok()) {
    std::cerr << evaluator.status().message() << "\n";
    return EX_CONFIG;
  }
  learning::ModuleEvaluator modules(**evaluator, {});
  const absl::Status status = RunWorker(*std::move(channel), modules, options);
  if (status.ok()) return EX_OK;
  std::cerr << "worker of run " << options.run << ": " << status.ToString() << "\n";
  return EX_TEMPFAIL;
}

}  // namespace
}  // namespace rochdale::attribution

int main(int argc, char** argv) { return rochdale::attribution::Main(argc, argv); }
