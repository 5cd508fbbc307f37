#include "libs/service/single.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/status_macros.h"
#include "libs/pg/migrations.h"
#include "libs/rpc/governance_client.h"
#include "libs/service/service_identity.h"

namespace rochdale::service {
namespace {

struct SingleConfig {
  config::Secret database;
  std::string data_dir;
  std::string address = "127.0.0.1";
  int64_t port = 7443;
  int64_t health_port = -1;
  int64_t admin_port = 9443;
  int64_t connections = 16;
  bool plaintext = false;
  bool show_key = false;
  std::string tls_certificate, tls_key, tls_ca;
  ServiceIdentityConfig identity;
  std::vector<std::string> peers;
  std::vector<std::string> service_keys;
  absl::Duration grace = absl::Seconds(15);
};

void AddFlags(config::Flags& flags, SingleConfig& c) {
  flags.SecretFile("database", "libpq connection string or URI, in a file", &c.database);
  flags.Text("data-dir", "this service's own directory: its key, and blobs", &c.data_dir);
  flags.Text("address", "address to listen on; without TLS a loopback one", &c.address);
  flags.Int("port", "gRPC port; 0: any free port", 0, 65535, &c.port);
  flags.Int("health-port", "plain-text port of gRPC health for probes; -1: none", -1, 65535,
            &c.health_port);
  flags.Int("admin-port", "HTTP port of /metrics, /healthz, /readyz; 0: any free port", 0, 65535,
            &c.admin_port);
  flags.Int("connections", "database connections at most", 2, 1'000, &c.connections);
  flags.Bool("plaintext", "serve and call without TLS; for development, on loopback only",
             &c.plaintext);
  flags.Text("tls-certificate", "PEM chain of this service, for serving and calling",
             &c.tls_certificate);
  flags.Text("tls-key", "PEM key of this service", &c.tls_key);
  flags.Text("tls-ca", "PEM roots that the certificates of services it calls chain to", &c.tls_ca);
  AddServiceIdentityFlags(flags, c.identity);
  flags.List("peers", "addresses of the other services: ledger=host:port,...", &c.peers);
  flags.List("service-keys", "public keys of the other services: ledger=<64 hex digits>,...",
             &c.service_keys);
  flags.Bool("show-key", "print this service's public key (made if missing) and exit",
             &c.show_key);
  flags.Duration("grace", "how long running calls may take to end", absl::Seconds(1),
                 absl::Minutes(10), &c.grace);
}

// "name=value" -> both.
absl::StatusOr<std::pair<std::string, std::string>> Pair(const std::string& text) {
  const std::pair<std::string, std::string> pair = absl::StrSplit(text, absl::MaxSplits('=', 1));
  if (pair.first.empty() || pair.second.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("expected name=value, not ", text));
  }
  return pair;
}

absl::Status ConnectPeers(const SingleConfig& config, ChannelBook& channels) {
  rpc::ChannelOptions options;
  options.plaintext = config.plaintext;
  options.ca_file = config.tls_ca;
  options.certificate_file = config.tls_certificate;
  options.key_file = config.tls_key;
  channels.SetConnect(
      [options](const std::string& address) { return rpc::MakeChannel(address, options); });
  for (const std::string& peer : config.peers) {
    ASSIGN_OR_RETURN(const auto pair, Pair(peer));
    ASSIGN_OR_RETURN(auto channel, rpc::MakeChannel(pair.second, options));
    channels.Set(pair.first, std::move(channel));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<crypto::PublicKey, std::string>> ServiceKeys(const SingleConfig& config,
                                                                     const Member& self) {
  std::map<crypto::PublicKey, std::string> keys = {{self.public_key(), self.service()}};
  for (const std::string& text : config.service_keys) {
    ASSIGN_OR_RETURN(const auto pair, Pair(text));
    ASSIGN_OR_RETURN(const crypto::PublicKey key, crypto::PublicKey::Parse(pair.second));
    keys[key] = pair.first;
  }
  return keys;
}

absl::Status Run(const SingleConfig& config, const SingleService& service,
                 rpc::StopSignals& signals) {
  ASSIGN_OR_RETURN(const rpc::AuthenticatorOptions identity,
                   IdentityOptions(config.identity, config.plaintext, service.name));
  Foundations foundations(service.name, obs::LogLevel::kInfo);
  pg::DatabaseOptions database;
  database.connection = config.database.Reveal();
  database.connections_max = static_cast<int>(config.connections);
  ASSIGN_OR_RETURN(const auto self,
                   Member::Make(foundations, service.name,
                                pg::ForService(database, service.name), config.data_dir,
                                CallsWithTokens(config.identity)));
  if (config.show_key) {
    std::printf("%s\n", self->public_key().ToString().c_str());
    return absl::OkStatus();
  }
  ChannelBook channels;
  RETURN_IF_ERROR(ConnectPeers(config, channels));
  std::unique_ptr<rpc::KeyDirectory> registry;
  if (service.keys) {
    registry = service.keys(self->db());
  } else {
    const auto governance = channels.Find("governance");
    if (!governance) return absl::InvalidArgumentError("--peers must name governance");
    registry = std::make_unique<rpc::RemoteKeyDirectory>(governance, self->outgoing());
  }
  rpc::CachedKeyDirectory cached(*registry, foundations.clock);
  ASSIGN_OR_RETURN(auto service_keys, ServiceKeys(config, *self));
  rpc::ConfiguredKeys keys(std::move(service_keys), &cached);
  DeferredRunTokens run_tokens;
  rpc::Authenticator authenticator(keys, &run_tokens, identity);
  rpc::CallLimits limits;
  limits.unary_max = static_cast<int>(2 * config.connections);
  rpc::Calls calls(foundations.clock, foundations.ids, authenticator, foundations.logger,
                   foundations.metrics, limits);
  int bound_port = 0;
  ASSIGN_OR_RETURN(const SingleService::Made made,
                   service.make(self->MakeEnvironment(foundations, calls, channels),
                                [&bound_port] { return bound_port; }));
  run_tokens.Set(made.run_tokens);
  ServeOptions options;
  options.server.address = config.address;
  options.server.port = static_cast<int>(config.port);
  options.server.plaintext = config.plaintext;
  options.server.tls = {config.tls_certificate, config.tls_key, config.identity.client_ca};
  options.server.health_port = static_cast<int>(config.health_port);
  options.admin.address = config.address;
  options.admin.port = static_cast<int>(config.admin_port);
  options.grace = config.grace;
  options.on_bound = [&bound_port](int port) { bound_port = port; };
  return Serve(foundations, options, calls, channels, /*in_process=*/false, {made.module.get()},
               signals);
}

}  // namespace

int RunSingle(int argc, const char* const* argv, const SingleService& service) {
  rpc::StopSignals signals;
  SingleConfig config;
  config.data_dir = "/var/lib/rochdale/" + service.name;
  config::Flags flags("rochdale-" + service.name, service.description);
  AddFlags(flags, config);
  if (service.add_flags) service.add_flags(flags);
  const auto outcome = flags.Parse(argc, argv);
  if (!outcome.ok()) {
    std::fprintf(stderr, "%s\n", std::string(outcome.status().message()).c_str());
    return 2;
  }
  if (*outcome == config::Outcome::kExit) return 0;
  if (const absl::Status status = Run(config, service, signals); !status.ok()) {
    std::fprintf(stderr, "rochdale-%s: %s\n", service.name.c_str(),
                 std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace rochdale::service
