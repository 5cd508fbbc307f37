// Attribution on a real PostgreSQL behind a real port, with real worker processes, a filter and a
// governance in memory, and a founder.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "rochdale/attribution/v1/attribution.grpc.pb.h"
#include "services/attribution/evidence.h"
#include "services/attribution/module.h"
#include "services/attribution/run_tokens.h"
#include "tests/integration/attribution/fakes.h"
#include "tests/support/fake_ledger.h"
#include "tests/support/service_fixture.h"

namespace rochdale::attribution::testing {

namespace v1 = ::rochdale::attribution::v1;
using Stub = v1::AttributionService::Stub;
using WorkerStub = v1::WorkerService::Stub;
using rochdale::testing::Eventually;
using rochdale::testing::Person;

struct WorldOptions {
  std::vector<int> layers = {16, 8, 4};  // of an MLP
  bool convnet = false;                  // instead of it, over the same rows as 4x4 pictures
  std::string module = "";               // instead of it: one of make_modules.py, over such rows
  int64_t pool_rows = 600;
  std::map<std::string, std::string> parameters;  // besides the quick ones of the tests
  bool launch_workers = true;
};

class World {
 public:
  explicit World(WorldOptions options = {});
  ~World();

  // Serves a new module on the same database and directory; `fault` as in AttributionOptions.
  void Start(std::function<absl::Status(absl::string_view)> fault = nullptr);
  // As a crash leaves it.
  void Stop();
  // Starts, trains, and dies at each of these steps in turn, to be started again; the first
  // round's id.
  std::string TrainDyingAt(const std::vector<std::string>& steps, int64_t rounds);

  // An update that follows the model's gradient on some rows, `strength` steps of it (negative:
  // against), for a new principal.
  void AddUpdate(double strength, uint32_t seed);
  void AddFlatUpdate(int32_t units);

  // Model, pool and a plan of so many rounds; the first round's id.
  std::string Train(int64_t rounds);
  // The steps of it: what a module needs, and requests that can be refused.
  void UploadModule();
  v1::RegisterModuleRequest ModuleRequest(bool withdraws);
  v1::CreateModelRequest ModelRequest();
  v1::StartTrainingRequest TrainingRequest(int64_t rounds);
  v1::Round Get(const std::string& round_id);
  // Waits until the round with this number has ended.
  v1::Round WaitForEnd(int64_t number);
  // Retires the rows of these rounds, as payout does, so that they can be recomputed.
  void Retire(const std::vector<std::string>& round_ids);
  std::vector<v1::Credit> Credits(const std::string& round_id);
  Evidence EvidenceOf(const std::string& round_id);
  // Recomputes the round from its evidence and the blobs that the founder may download then.
  absl::Status Recompute(const Evidence& evidence, learning::Evaluator* modules = nullptr);
  absl::StatusOr<std::string> Download(const Person& person, const std::string& sha256);

  template <typename S>
  rochdale::testing::Client<S> As(const Person& person) {
    return rochdale::testing::Client<S>(
        channel(), ids, std::make_unique<rpc::TokenSource>(
                            crypto::TokenSubject::Of(person.id), person.key, clock, ids));
  }
  rochdale::testing::Client<Stub> AsService(const std::string& name);
  Person NewPerson();
  std::string NewId() { return ids.New(clock.Now()).ToString(); }
  std::shared_ptr<grpc::Channel> channel();
  int64_t Number(const std::string& sql);
  std::vector<crypto::Entry> Outbox();
  double Metric(const std::string& name);  // one without labels
  const std::string& directory() const { return dir_.path(); }  // of the blobs, among others
  bool crashed() const { return module_->engine_crashed(); }
  pg::Database& db() { return database_.ForService("attribution"); }
  const Secrets& secrets() const { return secrets_; }

  SystemClock clock;
  RandomIdSource ids;
  Person founder;
  FakeGovernance governance;
  FakeFilter filter;
  rochdale::testing::FakeLedger ledger;
  std::string cooperative;
  learning::ModelSpec spec;
  std::string module;  // its bytes, where the model is one

 private:
  void UploadPool();
  std::string Upload(common_v1::BlobPurpose purpose, const std::string& file);

  const WorldOptions options_;
  rochdale::testing::TestDatabase database_;
  rochdale::testing::TempDir dir_;
  obs::Metrics metrics_;
  obs::Logger logger_;
  rochdale::testing::Directory directory_;
  Secrets secrets_;
  RunTokens run_tokens_;
  std::map<std::string, crypto::KeyPair> service_keys_;
  std::unique_ptr<rpc::ConfiguredKeys> keys_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<rpc::TokenSource> tokens_;
  std::unique_ptr<rpc::Outgoing> outgoing_;
  std::map<std::string, std::unique_ptr<grpc::Server>, std::less<>> fakes_;
  std::unique_ptr<rpc::Calls> calls_;
  std::unique_ptr<AttributionModule> module_;
  std::unique_ptr<rpc::Server> server_;
  int port_ = 0;
  learning::Dataset pool_;
};

// Rows of four classes that a model can learn: the label is the brightest quarter of the inputs.
learning::Dataset MakeRows(int64_t rows, uint32_t seed);

}  // namespace rochdale::attribution::testing
