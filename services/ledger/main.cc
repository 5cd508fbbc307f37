#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/service/single.h"
#include "services/ledger/module.h"

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: main only
  std::string origin = "rochdale.local/log";
  std::string key_file = "/var/lib/rochdale/ledger/log.key";
  std::string log_http;
  std::vector<std::string> witnesses;
  std::string advertise;
  service::SingleService ledger;
  ledger.name = "ledger";
  ledger.description = "Accounts, transfers and the Merkle log.";
  ledger.add_flags = [&](config::Flags& flags) {
    flags.Text("log-origin", "name of the log in its checkpoints; cannot be changed later",
               &origin);
    flags.Text("log-http",
               "IP address and port on which everybody may read the log over HTTP; empty: none",
               &log_http);
    flags.List("witnesses", "witnesses of the log: URL=verifier key,...", &witnesses);
    flags.Text("advertise",
               "host:port at which other replicas call this one, to forward what has to be "
               "written; port 0: the bound one; empty: they do not",
               &advertise);
    flags.Text("log-key-file", "Ed25519 key that signs the log, made if missing", &key_file);
  };
  ledger.make = [&](const service::Environment& env, std::function<int()> port)
      -> absl::StatusOr<service::SingleService::Made> {
    ledger::LedgerOptions options;
    ASSIGN_OR_RETURN(options.log_key, service::LoadOrMakeKey(key_file));
    options.origin = origin;
    for (const std::string& text : witnesses) {
      ASSIGN_OR_RETURN(options.witnesses.emplace_back(), ledger::WitnessName::Parse(text));
    }
    options.address = [advertise, port] {
      return absl::EndsWith(advertise, ":0")
                 ? absl::StrCat(advertise.substr(0, advertise.size() - 1), port())
                 : advertise;
    };
    if (!log_http.empty()) {
      ASSIGN_OR_RETURN(options.log_http, http::Endpoint::Parse(log_http));
    }
    return service::SingleService::Made{ledger::LedgerModule::Make(options, env)};
  };
  return service::RunSingle(argc, argv, ledger);
}
