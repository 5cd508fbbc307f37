#include "services/ledger/module.h"

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "services/ledger/cosigning.h"
#include "services/ledger/ledger_service.h"
#include "services/ledger/log_http.h"
#include "services/ledger/published_log.h"

namespace rochdale::ledger {
namespace {

// Leadership's session and the reads of readiness are beyond it.
constexpr int kWriterConnections = 3;

pg::DatabaseOptions WriterDatabase(const pg::Database& db) {
  pg::DatabaseOptions options = db.options();
  options.connections_max = kWriterConnections;
  return options;
}

std::vector<crypto::NoteKey> KeysOf(const std::vector<WitnessName>& witnesses) {
  std::vector<crypto::NoteKey> keys;
  for (const WitnessName& witness : witnesses) keys.push_back(witness.key);
  return keys;
}

crypto::KeyPair RequiredKey(const LedgerOptions& options) {
  if (options.log_key.has_value()) return *options.log_key;
  std::fprintf(stderr, "LedgerOptions.log_key must be set\n");
  std::abort();
}

}  // namespace

struct LedgerModule::State {
  State(LedgerOptions given, const service::Environment& environment)
      : options(std::move(given)),
        env(environment),
        key(RequiredKey(options)),
        writer_db(WriterDatabase(env.db)),
        metrics(DeclareWriterMetrics(env.metrics)),
        heads(writer_db, env.clock, key, options.origin,
              absl::StrCat(env.data_dir, "/last-checkpoint"),
              env.metrics.AddGauge("rochdale_ledger_signed_size",
                                   "Size of the newest signed tree head.")),
        writer(writer_db, env.clock, env.logger, metrics,
               StartLog{key.public_key(), options.origin},
               [this](pg::Transaction& tx, const TreeState& tree) { return heads.Check(tx, tree); },
               WriterOptions{.address = options.address,
                             .leadership_check_every = options.leadership_check_every}),
        cosigning(options.witnesses, env.db, heads, env.logger, env.metrics,
                  [this] { return writer.Writing(); },
                  [this](const absl::Status& status) {
                    std::lock_guard lock(mutex);
                    contradiction = status;
                    changed.notify_all();
                  }),
        published(env.db, KeysOf(options.witnesses)),
        forwarding(env.db, writer, env.outgoing,
                   [this] { return options.address ? options.address() : std::string(); },
                   env.connect),
        service(env.calls, env.clock, env.db, writer, heads, published, forwarding) {}

  const LedgerOptions options;
  const service::Environment env;
  const crypto::KeyPair key;
  pg::Database writer_db;
  const WriterMetrics metrics;
  TreeHeads heads;
  Writer writer;
  Cosigning cosigning;
  PublishedLog published;
  Forwarding forwarding;
  LedgerService service;
  std::unique_ptr<http::Server> log_http;

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  absl::Status contradiction;  // of what a witness remembers
  std::thread housekeeping;
};

std::unique_ptr<LedgerModule> LedgerModule::Make(LedgerOptions options,
                                                 const service::Environment& environment) {
  return std::unique_ptr<LedgerModule>(
      new LedgerModule(std::make_unique<State>(std::move(options), environment)));
}

LedgerModule::LedgerModule(std::unique_ptr<State> state) : state_(std::move(state)) {}

LedgerModule::~LedgerModule() { Stop(); }

std::vector<grpc::Service*> LedgerModule::grpc_services() { return {&state_->service}; }

absl::StatusOr<int64_t> LedgerModule::SignNow(absl::Time deadline) {
  ASSIGN_OR_RETURN(const TreeHead head, state_->heads.SignNow(deadline));
  state_->cosigning.Wake();
  return head.size;
}

int LedgerModule::log_http_port() const {
  return state_->log_http == nullptr ? 0 : state_->log_http->port();
}

std::string LedgerModule::VerifierKey() const { return state_->heads.verifier_key().ToString(); }

absl::Status LedgerModule::Start() {
  if (!crypto::IsNoteName(state_->options.origin) || state_->options.origin == kBundleLine) {
    return absl::FailedPreconditionError(
        absl::StrCat("\"", state_->options.origin, "\" cannot be the name of a log"));
  }
  if (state_->options.witnesses.size() > kWitnessesMax) {
    return absl::FailedPreconditionError("too many witnesses");
  }
  state_->cosigning.AskWhatTheyRemember();
  const absl::Status checked = state_->writer_db.Transact(
      absl::Seconds(30), [this](pg::Transaction& tx) -> absl::Status {
        ASSIGN_OR_RETURN(const TreeState tree, ReadTreeState(tx));
        return state_->heads.Check(tx, tree);
      });
  if (absl::IsDataLoss(checked) || absl::IsFailedPrecondition(checked)) return checked;
  if (state_->options.log_http.has_value()) {
    ASSIGN_OR_RETURN(state_->log_http, ServeLog(*state_->options.log_http, state_->published,
                                                state_->env.metrics));
    state_->env.logger.Info("serving the log over HTTP",
                            obs::Fields().Int("port", state_->log_http->port()));
  }
  state_->writer.Start();
  state_->cosigning.Start();
  state_->housekeeping = std::thread([this] { KeepHouse(); });
  return absl::OkStatus();
}

void LedgerModule::Stop() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  state_->log_http.reset();
  if (state_->housekeeping.joinable()) state_->housekeeping.join();
  state_->cosigning.Stop();
  state_->writer.Stop();
}

absl::Status LedgerModule::Ready() {
  {
    std::lock_guard lock(state_->mutex);
    if (!state_->contradiction.ok()) return state_->contradiction;
  }
  return state_->writer.Ready();
}

void LedgerModule::KeepHouse() {
  absl::Time balances_at = absl::Now() + state_->options.check_balances_every;
  std::unique_lock lock(state_->mutex);
  while (!state_->stopping) {
    const absl::Status contradiction = state_->contradiction;
    lock.unlock();
    if (!contradiction.ok()) {
      state_->env.logger.Error("the log was taken back or changed: no more is written",
                               obs::Fields().Text("error", contradiction.ToString()));
      state_->writer.Stop();
      return;
    }
    if (state_->writer.Writing()) {
      const auto signed_head = state_->heads.SignNow(absl::Now() + absl::Seconds(10));
      if (!signed_head.ok()) {
        state_->env.logger.Warning(
            "no tree head was signed",
            obs::Fields().Text("error", signed_head.status().ToString()));
      } else {
        state_->cosigning.Wake();
      }
      if (absl::Now() >= balances_at) {
        state_->writer.CheckBalances().IgnoreError();  // logged and counted there
        balances_at = absl::Now() + state_->options.check_balances_every;
      }
    }
    lock.lock();
    state_->changed.wait_for(lock, absl::ToChronoMicroseconds(state_->options.sign_every),
                             [this] { return state_->stopping || !state_->contradiction.ok(); });
  }
}

}  // namespace rochdale::ledger
