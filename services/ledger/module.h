// The ledger service as a part of a process: accounts, transfers, the log.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/crypto/ed25519.h"
#include "libs/http/endpoint.h"
#include "libs/service/module.h"
#include "services/ledger/witness_client.h"

namespace rochdale::ledger {

struct LedgerOptions {
  // Signs tree heads and bundles; required. Losing it ends the log under this origin.
  std::optional<crypto::KeyPair> log_key;
  // The log's name, for ever: a schemeless URL by convention ("log.example.org/rochdale"). First
  // line of every checkpoint and name of its key: no spaces, no '+'.
  std::string origin = "rochdale.local/log";
  // "host:port" at which other replicas call this one, which then forward what has to be written;
  // asked once the server is bound. Empty or "": they do not.
  std::function<std::string()> address;
  std::optional<http::Endpoint> log_http;  // where the log is served over HTTP; nothing: nowhere
  std::vector<WitnessName> witnesses;  // asked to cosign tree heads; at most kWitnessesMax
  absl::Duration sign_every = absl::Seconds(1);
  absl::Duration check_balances_every = absl::Minutes(1);
  absl::Duration leadership_check_every = absl::Seconds(1);
};

class LedgerModule : public service::Module {
 public:
  // The last signed checkpoint is kept in `environment.data_dir`/last-checkpoint.
  static std::unique_ptr<LedgerModule> Make(LedgerOptions options,
                                            const service::Environment& environment);
  ~LedgerModule() override;

  std::vector<grpc::Service*> grpc_services() override;
  // FAILED_PRECONDITION for options that cannot be; DATA_LOSS or FAILED_PRECONDITION where the
  // database is behind the last signed checkpoint in the file or with a witness that answers, or
  // the checkpoint is not this log's. A database
  // that cannot be reached is waited for, in the writer's thread.
  absl::Status Start() override;
  void Stop() override;
  // OK while this replica writes. DATA_LOSS once a witness, which was away at the start, has shown
  // that the log was taken back or changed: nothing is written or signed from then on.
  absl::Status Ready() override;

  // Signs the tree head of what is committed now, and gives its size: what is done every
  // `sign_every` by itself.
  absl::StatusOr<int64_t> SignNow(absl::Time deadline);

  // The bound port of LedgerOptions.log_http, once started; 0 where it is not served.
  int log_http_port() const;

  // C2SP verifier key of the log: name+hash+base64 key.
  std::string VerifierKey() const;

 private:
  struct State;
  explicit LedgerModule(std::unique_ptr<State> state);
  void KeepHouse();

  std::unique_ptr<State> state_;
};

}  // namespace rochdale::ledger
