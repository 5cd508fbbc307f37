#include "services/attribution/module.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/base/program.h"
#include "libs/base/status_macros.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/gradients.h"
#include "libs/pg/database.h"
#include "libs/pg/outbox.h"
#include "libs/rpc/ledger_client.h"
#include "services/attribution/attribution_service.h"
#include "services/attribution/launcher.h"
#include "services/attribution/parts.h"
#include "services/attribution/round_engine.h"
#include "services/attribution/run_tokens.h"

namespace rochdale::attribution {
namespace {

LocalProcessOptions LauncherOptions(const AttributionOptions& options,
                                    const service::Environment& env) {
  LocalProcessOptions local;
  local.program = options.worker_program.empty()
                      ? ProgramBesideThis("rochdale-attribution-worker")
                      : options.worker_program;
  local.endpoint = options.worker_endpoint;
  local.plaintext = options.worker_plaintext;
  local.ca_file = options.worker_ca_file;
  local.server_name = options.worker_server_name;
  local.cache_dir = absl::StrCat(env.data_dir, "/worker-cache");
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  local.processes = options.workers > 0 ? options.workers : cores;
  local.device = options.worker_device;
  local.restarts_max = options.worker_restarts_max;
  return local;
}

}  // namespace

struct AttributionModule::State {
  State(const AttributionOptions& options, const service::Environment& env)
      : parts(env, options),
        tokens(options.server_secret, env.db),
        service(parts),
        workers(parts) {}

  Parts parts;
  RunTokens tokens;
  AttributionService service;
  WorkerService workers;
  std::unique_ptr<rpc::LedgerClient> ledger;
  std::unique_ptr<pg::OutboxRelay> relay;
  std::unique_ptr<WorkerLauncher> launcher;
  std::unique_ptr<RoundEngine> engine;
};

std::unique_ptr<AttributionModule> AttributionModule::Make(const AttributionOptions& options,
                                                           const service::Environment& env) {
  return std::unique_ptr<AttributionModule>(new AttributionModule(options, env));
}

AttributionModule::AttributionModule(const AttributionOptions& options,
                                     const service::Environment& env)
    : env_(env), state_(std::make_unique<State>(options, env_)) {}

AttributionModule::~AttributionModule() { Stop(); }

std::vector<grpc::Service*> AttributionModule::grpc_services() {
  return {&state_->service, &state_->workers};
}

absl::Status AttributionModule::Start() {
  learning::UseOneThread();
  learning::UseOneTorchThread();
  RETURN_IF_ERROR(state_->parts.Open());
  state_->ledger =
      std::make_unique<rpc::LedgerClient>(env_.channel, env_.outgoing, env_.ids, env_.clock);
  state_->relay =
      std::make_unique<pg::OutboxRelay>(env_.db, env_.clock, state_->ledger->OutboxSend());
  if (state_->parts.options.launch_local_workers) {
    state_->launcher = std::make_unique<LocalProcessLauncher>(
        LauncherOptions(state_->parts.options, env_), env_.logger);
  }
  state_->engine = std::make_unique<RoundEngine>(state_->parts, state_->launcher.get());
  return absl::OkStatus();
}

void AttributionModule::Stop() {
  if (state_->engine) state_->engine->Stop();
  state_->launcher.reset();
  if (state_->relay) state_->relay->Stop();
}

absl::Status AttributionModule::Ready() { return env_.db.Ping(absl::Seconds(1)); }

rpc::RunTokenVerifier& AttributionModule::run_tokens() { return state_->tokens; }

bool AttributionModule::engine_crashed() const {
  return state_->engine != nullptr && state_->engine->crashed();
}

}  // namespace rochdale::attribution
