// rochdale-standalone: the five services in one process over a private PostgreSQL cluster. The same
// modules, the same SQL as apart; only composition differs.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/pg/migrations.h"
#include "libs/pg/private_cluster.h"
#include "libs/service/process.h"
#include "services/attribution/config.h"
#include "services/attribution/module.h"
#include "services/filter/module.h"
#include "services/governance/module.h"
#include "services/ledger/module.h"
#include "services/migrate/all_migrations.h"
#include "services/payout/module.h"
#include "services/standalone/config.h"

namespace rochdale::standalone {
namespace {

constexpr const char* kServices[] = {"ledger", "governance", "filter", "attribution", "payout"};

obs::LogLevel LevelOf(const std::string& name) {
  if (name == "debug") return obs::LogLevel::kDebug;
  if (name == "warning") return obs::LogLevel::kWarning;
  if (name == "error") return obs::LogLevel::kError;
  return obs::LogLevel::kInfo;
}

absl::StatusOr<std::unique_ptr<pg::PrivateCluster>> StartDatabase(const StandaloneConfig& config,
                                                                  const Clock& clock) {
  pg::PrivateClusterOptions options;
  options.data_dir = config.data_dir + "/postgres";
  options.fsync = config.fsync;
  options.settings = {{"max_connections", "100"}};
  ASSIGN_OR_RETURN(auto cluster, pg::PrivateCluster::Start(options));
  pg::DatabaseOptions admin;
  admin.connection = cluster->ConnectionString();
  pg::Database db(admin);
  RETURN_IF_ERROR(pg::Migrate(db, migrate::AllMigrations(), clock.Now(), {}).status());
  return cluster;
}

// Empty where the log is not served over HTTP.
std::string LogUrl(const ledger::LedgerOptions& options, const ledger::LedgerModule& module) {
  if (module.log_http_port() == 0) return "";
  const http::Endpoint bound{options.log_http->address, module.log_http_port()};
  return absl::StrCat("http://", bound.ToString());
}

// Where clients look: ports and the key of the log.
absl::Status WriteServerFile(const StandaloneConfig& config, int port, int admin_port,
                             const std::string& log_key, const std::string& log_http) {
  const std::string path = config.data_dir + "/server.json";
  std::ofstream out(path + ".new");
  out << "{\"address\":\"" << config.address << "\",\"port\":" << port
      << ",\"admin_port\":" << admin_port << ",\"pid\":" << ::getpid() << ",\"log_key\":\""
      << log_key << "\",\"log_http\":\"" << log_http << "\"}\n";
  out.close();
  if (!out || std::rename((path + ".new").c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot write ", path));
  }
  return absl::OkStatus();
}

// Everything but the database, in the order of its life.
absl::Status ServeAll(const StandaloneConfig& config, service::Foundations& foundations,
                      pg::PrivateCluster& cluster, rpc::StopSignals& signals) {
  std::map<std::string, std::unique_ptr<service::Member>> members;
  std::map<crypto::PublicKey, std::string> service_keys;
  for (const char* name : kServices) {
    pg::DatabaseOptions database;
    database.connection = cluster.ConnectionString();
    database.connections_max = 12;
    ASSIGN_OR_RETURN(members[name],
                     service::Member::Make(foundations, name, pg::ForService(database, name),
                                           absl::StrCat(config.data_dir, "/", name)));
    service_keys[members[name]->public_key()] = name;
  }
  governance::RegisteredKeys registry(members["governance"]->db());
  rpc::CachedKeyDirectory cached(registry, foundations.clock);
  rpc::ConfiguredKeys keys(service_keys, &cached);
  service::DeferredRunTokens run_tokens;
  ASSIGN_OR_RETURN(const rpc::AuthenticatorOptions identity,
                   service::IdentityOptions(config.identity, config.plaintext, /*self=*/""));
  rpc::Authenticator authenticator(keys, &run_tokens, identity);
  rpc::CallLimits limits;
  limits.streams_max = 256;
  rpc::Calls calls(foundations.clock, foundations.ids, authenticator, foundations.logger,
                   foundations.metrics, limits);
  service::ChannelBook channels;
  const auto environment = [&](const char* name) {
    return members[name]->MakeEnvironment(foundations, calls, channels);
  };

  ledger::LedgerOptions ledger_options;
  ASSIGN_OR_RETURN(ledger_options.log_key,
                   service::LoadOrMakeKey(config.data_dir + "/ledger/log.key"));
  ledger_options.origin = config.log_origin;
  for (const std::string& text : config.witnesses) {
    ASSIGN_OR_RETURN(ledger_options.witnesses.emplace_back(), ledger::WitnessName::Parse(text));
  }
  if (!config.log_http.empty()) {
    ASSIGN_OR_RETURN(ledger_options.log_http, http::Endpoint::Parse(config.log_http));
  }
  const auto ledger_module = ledger::LedgerModule::Make(ledger_options, environment("ledger"));
  ASSIGN_OR_RETURN(governance::GovernanceOptions governance_options, config.governance.Options());
  const auto governance_module = governance::GovernanceModule::Make(
      environment("governance"), std::move(governance_options));
  ASSIGN_OR_RETURN(const auto filter_module, filter::FilterModule::Make(environment("filter")));
  attribution::AttributionOptions attribution_options;
  ASSIGN_OR_RETURN(attribution_options.server_secret,
                   attribution::LoadOrCreateServerSecret(config.data_dir + "/attribution/secret"));
  int bound_port = 0;
  attribution_options.worker_endpoint = [&bound_port] {
    return absl::StrCat("127.0.0.1:", bound_port);
  };
  attribution_options.worker_plaintext = config.plaintext;
  attribution_options.worker_ca_file = config.tls_certificate;
  attribution_options.workers = static_cast<int>(config.workers);
  attribution_options.worker_device = config.worker_device;
  const auto attribution_module =
      attribution::AttributionModule::Make(attribution_options, environment("attribution"));
  run_tokens.Set(&attribution_module->run_tokens());
  const auto payout_module = payout::PayoutModule::Make(environment("payout"));

  service::ServeOptions options;
  options.server.address = config.address;
  options.server.port = static_cast<int>(config.port);
  options.server.plaintext = config.plaintext;
  options.server.tls.certificate = config.tls_certificate;
  options.server.tls.key = config.tls_key;
  options.server.tls.client_ca = config.identity.client_ca;
  options.admin.port = static_cast<int>(config.admin_port);
  options.on_bound = [&](int port) { bound_port = port; };
  options.on_serving = [&](int port, int admin_port) {
    return WriteServerFile(config, port, admin_port, ledger_module->VerifierKey(),
                           LogUrl(ledger_options, *ledger_module));
  };
  options.alive = [&cluster]() -> absl::Status {
    // Whoever runs us starts us again, and that recovers what was committed.
    return cluster.Running() ? absl::OkStatus()
                             : absl::UnavailableError("the database server has ended");
  };
  const std::vector<service::Module*> modules = {ledger_module.get(), governance_module.get(),
                                                 filter_module.get(), attribution_module.get(),
                                                 payout_module.get()};
  return service::Serve(foundations, options, calls, channels, /*in_process=*/true, modules,
                        signals);
}

absl::Status Run(const StandaloneConfig& config, rpc::StopSignals& signals) {
  std::error_code error;
  std::filesystem::create_directories(config.data_dir, error);
  // PostgreSQL's own user must pass through; everything in it is closed to others.
  if (error || ::chmod(config.data_dir.c_str(), 0711) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot make the directory ", config.data_dir));
  }
  service::Foundations foundations("standalone", LevelOf(config.log_level));
  ASSIGN_OR_RETURN(const auto cluster, StartDatabase(config, foundations.clock));
  const absl::Status served = ServeAll(config, foundations, *cluster, signals);
  const absl::Status stopped = cluster->Stop();
  ::unlink((config.data_dir + "/server.json").c_str());
  return served.ok() ? stopped : served;
}

}  // namespace
}  // namespace rochdale::standalone

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: main only
  rpc::StopSignals signals;
  standalone::StandaloneConfig config;
  const auto outcome = standalone::ParseFlags(argc, argv, config);
  if (!outcome.ok()) {
    std::fprintf(stderr, "%s\n", std::string(outcome.status().message()).c_str());
    return 2;
  }
  if (*outcome == config::Outcome::kExit) return 0;
  std::error_code error;
  config.data_dir = std::filesystem::absolute(config.data_dir, error).string();
  const absl::Status status = standalone::Run(config, signals);
  if (!status.ok()) {
    std::fprintf(stderr, "rochdale-standalone: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
