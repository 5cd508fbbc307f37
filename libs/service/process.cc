#include "libs/service/process.h"

#include <sys/stat.h>

#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/service/certificate_expiry.h"

namespace rochdale::service {
namespace {

constexpr absl::Duration kAliveEvery = absl::Seconds(1);
constexpr int kCertificateEvery = 15;  // times the above: a scrape or so
constexpr absl::Duration kLostStopMax = absl::Seconds(3);

}  // namespace

std::shared_ptr<grpc::Channel> ChannelBook::Find(absl::string_view service) const {
  const auto found = channels_.find(service);
  return found == channels_.end() ? default_ : found->second;
}

absl::StatusOr<crypto::KeyPair> LoadOrMakeKey(const std::string& path) {
  auto loaded = crypto::LoadKeyFile(path);
  if (loaded.ok() || !absl::IsNotFound(loaded.status())) return loaded;
  const crypto::KeyPair made = crypto::KeyPair::Generate(crypto::SystemRandomBytes());
  RETURN_IF_ERROR(crypto::WriteKeyFile(path, made));
  return made;
}

absl::StatusOr<std::unique_ptr<Member>> Member::Make(Foundations& foundations,
                                                     const std::string& service,
                                                     pg::DatabaseOptions database,
                                                     const std::string& data_dir,
                                                     bool with_tokens) {
  std::error_code error;
  std::filesystem::create_directories(data_dir, error);
  if (error || ::chmod(data_dir.c_str(), 0700) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot make the directory ", data_dir));
  }
  ASSIGN_OR_RETURN(crypto::KeyPair key, LoadOrMakeKey(data_dir + "/service.key"));
  database.log = [&foundations](absl::string_view line) {
    foundations.logger.Warning("database", obs::Fields().Text("detail", line));
  };
  return std::unique_ptr<Member>(
      new Member(foundations, service, std::move(database), data_dir, std::move(key),
                 with_tokens));
}

Member::Member(Foundations& foundations, std::string service, pg::DatabaseOptions database,
               std::string data_dir, crypto::KeyPair key, bool with_tokens)
    : service_(std::move(service)),
      data_dir_(std::move(data_dir)),
      public_key_(key.public_key()),
      db_(std::move(database)),
      tokens_(crypto::TokenSubject::OfService(service_), std::move(key), foundations.clock,
              foundations.ids),
      outgoing_(foundations.ids, with_tokens ? &tokens_ : nullptr) {}

Environment Member::MakeEnvironment(Foundations& foundations, rpc::Calls& calls,
                                    const ChannelBook& channels) {
  return Environment{foundations.clock,
                     foundations.ids,
                     foundations.logger,
                     foundations.metrics,
                     db_,
                     calls,
                     outgoing_,
                     [&channels](absl::string_view name) { return channels.Find(name); },
                     data_dir_,
                     channels.connect()};
}

absl::Status Serve(Foundations& foundations, const ServeOptions& options, rpc::Calls& calls,
                   ChannelBook& channels, bool in_process, const std::vector<Module*>& modules,
                   rpc::StopSignals& signals) {
  std::vector<grpc::Service*> services;
  for (Module* module : modules) {
    for (grpc::Service* service : module->grpc_services()) services.push_back(service);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<rpc::Server> server,
                   rpc::Server::Start(options.server, services, calls));
  if (options.on_bound) options.on_bound(server->port());
  if (in_process) channels.SetDefault(server->InProcessChannel());
  const auto ready = [&modules]() -> absl::Status {
    for (Module* module : modules) RETURN_IF_ERROR(module->Ready());
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<obs::AdminServer> admin,
                   obs::AdminServer::Start(options.admin, foundations.metrics, ready));
  const auto stop = [&] {
    server->SetServing(false);
    calls.Drain();
    for (auto module = modules.rbegin(); module != modules.rend(); ++module) (*module)->Stop();
    server->Stop(options.grace);
  };
  absl::Status status;
  bool lost = false;
  for (Module* module : modules) {
    status = module->Start();
    if (!status.ok()) break;
  }
  if (status.ok() && options.on_serving) status = options.on_serving(server->port(), admin->port());
  if (status.ok()) {
    server->SetServing(true);
    foundations.logger.Info("serving", obs::Fields()
                                           .Int("port", server->port())
                                           .Int("admin_port", admin->port()));
    std::optional<CertificateExpiry> certificate;
    if (!options.server.plaintext) {
      certificate.emplace(foundations.metrics, options.server.tls.certificate);
      certificate->Look(foundations.clock.Now());
    }
    for (int seconds = 1; !signals.Wait(kAliveEvery); ++seconds) {
      if (certificate && seconds % kCertificateEvery == 0) {
        certificate->Look(foundations.clock.Now());
      }
      if (options.alive) status = options.alive();
      lost = !status.ok();
      if (lost) break;
    }
    foundations.logger.Info("stopping", obs::Fields().Text("why", status.message()));
  }
  // Where something is gone for good no call can end well: they are not waited for.
  rpc::StopWithin(lost ? kLostStopMax : options.grace + absl::Seconds(15), stop);
  return status;
}

}  // namespace rochdale::service
