// rochdale-witness: cosigns the checkpoints of logs that it knows, over HTTP. It needs no database
// and shares no machine and no operator with the log, if it is to be worth something.
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/config/flags.h"
#include "libs/obs/admin.h"
#include "services/witness/witness.h"
#include "services/witness/witness_http.h"

namespace rochdale::witness {
namespace {

struct WitnessConfig {
  std::string name;
  std::string data_dir = "/var/lib/rochdale/witness";
  std::string key_file;
  std::vector<std::string> logs;
  std::string listen = "127.0.0.1:7445";
  std::string admin = "127.0.0.1:9445";
  bool show_key = false;
};

absl::StatusOr<config::Outcome> ParseFlags(int argc, char** argv, WitnessConfig& c) {
  config::Flags flags("rochdale-witness", "Cosigns checkpoints of logs (c2sp.org/tlog-witness).");
  flags.Text("name", "name of the witness in its cosignatures: a schemeless URL by convention",
             &c.name);
  flags.Text("data-dir", "what it remembers: one file for each log", &c.data_dir);
  flags.Text("key-file", "Ed25519 key that cosigns, made if missing; by default in data-dir",
             &c.key_file);
  flags.List("logs", "verifier keys of the logs to witness: name+hash+key,...", &c.logs);
  flags.Text("listen", "IP address and port of the witness; port 0: any free one", &c.listen);
  flags.Text("admin", "IP address and port of /metrics, /healthz, /readyz", &c.admin);
  flags.Bool("show-key", "print the verifier key of the witness (made if missing) and exit",
             &c.show_key);
  return flags.Parse(argc, argv);
}

absl::StatusOr<crypto::KeyPair> LoadOrMakeKey(const WitnessConfig& config) {
  const std::string path =
      config.key_file.empty() ? config.data_dir + "/witness.key" : config.key_file;
  auto loaded = crypto::LoadKeyFile(path);
  if (!absl::IsNotFound(loaded.status())) return loaded;
  const crypto::KeyPair made = crypto::KeyPair::Generate(crypto::SystemRandomBytes());
  RETURN_IF_ERROR(crypto::WriteKeyFile(path, made));
  return made;
}

absl::Status Run(const WitnessConfig& config, const sigset_t& signals) {
  ASSIGN_OR_RETURN(const http::Endpoint listen, http::Endpoint::Parse(config.listen));
  ASSIGN_OR_RETURN(const http::Endpoint admin_endpoint, http::Endpoint::Parse(config.admin));
  std::vector<crypto::NoteKey> logs;
  for (const std::string& text : config.logs) {
    ASSIGN_OR_RETURN(logs.emplace_back(), crypto::NoteKey::Parse(text));
  }
  std::error_code error;
  std::filesystem::create_directories(config.data_dir, error);
  ASSIGN_OR_RETURN(crypto::KeyPair key, LoadOrMakeKey(config));
  if (config.show_key) {
    // Also while the witness runs: what it remembers is not looked at.
    if (!crypto::IsNoteName(config.name)) return absl::InvalidArgumentError("--name is not a name");
    const crypto::NoteKey shown{config.name, crypto::NoteAlgorithm::kCosignatureV1,
                                key.public_key()};
    std::printf("%s\n", shown.ToString().c_str());
    return absl::OkStatus();
  }
  SystemClock clock;
  ASSIGN_OR_RETURN(const auto witness, Witness::Open(config.name, std::move(key), std::move(logs),
                                                     config.data_dir + "/checkpoints", clock));
  obs::Logger logger("witness", obs::LogLevel::kInfo, clock);
  obs::Metrics metrics;
  ASSIGN_OR_RETURN(const auto server, ServeWitness(listen, *witness, logger, metrics));
  ASSIGN_OR_RETURN(const auto admin,
                   obs::AdminServer::Start({admin_endpoint.address, admin_endpoint.port}, metrics,
                                           [] { return absl::OkStatus(); }));
  logger.Info("serving", obs::Fields()
                             .Int("port", server->port())
                             .Int("admin_port", admin->port())
                             .Text("verifier_key", witness->verifier_key().ToString()));
  int signal = 0;
  sigwait(&signals, &signal);
  logger.Info("stopping");
  return absl::OkStatus();
}

}  // namespace
}  // namespace rochdale::witness

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: main only
  // Blocked before any thread starts, so that only sigwait takes them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  witness::WitnessConfig config;
  const auto outcome = witness::ParseFlags(argc, argv, config);
  if (!outcome.ok()) {
    std::fprintf(stderr, "%s\n", std::string(outcome.status().message()).c_str());
    return 2;
  }
  if (*outcome == config::Outcome::kExit) return 0;
  if (const absl::Status status = witness::Run(config, signals); !status.ok()) {
    std::fprintf(stderr, "rochdale-witness: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
