#include "tests/integration/attribution/world.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "libs/base/status_macros.h"
#include "libs/blob/transfer.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/learning/gradients.h"
#include "libs/learning/module_evaluator.h"
#include "libs/rpc/status.h"
#include "libs/tensor/flat.h"
#include "services/attribution/migrations.h"
#include "tests/support/torchscript/modules.h"

namespace rochdale::attribution::testing {
namespace {

using rochdale::testing::NewKey;
using rochdale::testing::Sign;

const char kSecret[] = "a server secret of the tests, long enough";

crypto::Digest DigestOfText(const std::string& text) { return crypto::Digest::Parse(text).value(); }

}  // namespace

learning::Dataset MakeRows(int64_t rows, uint32_t seed) {
  std::mt19937 random(seed);
  learning::Dataset data;
  data.dimension = 16;
  for (int64_t r = 0; r < rows; ++r) {
    const int label = static_cast<int>(random() % 4);
    for (int k = 0; k < 16; ++k) {
      const uint32_t base = k / 4 == label ? 120 : 0;
      data.inputs.push_back(static_cast<uint8_t>(base + random() % 130));
    }
    data.labels.push_back(label);
  }
  return data;
}

World::World(WorldOptions options)
    : options_(std::move(options)),
      database_({attribution::Migrations()}),
      logger_("attribution", obs::LogLevel::kError, clock),
      secrets_(config::Secret(kSecret)),
      run_tokens_(config::Secret(kSecret), db()) {
  std::map<crypto::PublicKey, std::string> configured;
  for (const char* name : {"attribution", "filter", "payout"}) {
    const auto [at, inserted] = service_keys_.emplace(name, NewKey());
    configured[at->second.public_key()] = name;
  }
  keys_ = std::make_unique<rpc::ConfiguredKeys>(configured, &directory_);
  authenticator_ = std::make_unique<rpc::Authenticator>(*keys_, &run_tokens_);
  tokens_ = std::make_unique<rpc::TokenSource>(crypto::TokenSubject::OfService("attribution"),
                                               service_keys_.at("attribution"), clock, ids);
  outgoing_ = std::make_unique<rpc::Outgoing>(ids, tokens_.get());
  founder.id = PrincipalId{ids.New(clock.Now())};
  directory_.Put(founder.key.public_key(), {rpc::IdentityKind::kPrincipal, founder.id, {}, ""});
  cooperative = NewId();
  spec.layer_sizes = options_.layers;
  if (options_.convnet) spec = {learning::ModelKind::kConvnet, {6, 4}, {1, 4, 4}, {5}};
  if (!options_.module.empty()) {
    const test::MadeModule made = test::ReadModule(options_.module);
    spec = made.spec;
    module = made.bytes;
  }
  governance.cooperative_id = cooperative;
  governance.founders = {founder.key.public_key().ToString()};
  governance.parameters = {{"round.close_early", "true"},      {"round.min_updates", "1"},
                           {"validation.rows_per_round", "200"}, {"worker.lease_ms", "500"},
                           {"score.quantum_nanonats", "1"}};
  for (const auto& [name, value] : options_.parameters) governance.parameters[name] = value;
  for (const auto& [name, fake] :
       std::map<std::string, grpc::Service*>{
           {"governance", &governance}, {"filter", &filter}, {"ledger", &ledger}}) {
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(fake);
    fakes_[name] = builder.BuildAndStart();
  }
  pool_ = MakeRows(options_.pool_rows, 1);
}

World::~World() { Stop(); }

void World::Start(std::function<absl::Status(absl::string_view)> fault) {
  calls_ = std::make_unique<rpc::Calls>(clock, ids, *authenticator_, logger_, metrics_);
  const service::Environment env{
      clock, ids, logger_, metrics_, db(), *calls_, *outgoing_,
      [this](absl::string_view service) -> std::shared_ptr<grpc::Channel> {
        const auto found = fakes_.find(service);
        if (found == fakes_.end()) return nullptr;
        return found->second->InProcessChannel(grpc::ChannelArguments());
      },
      dir_.path()};
  AttributionOptions options;
  options.server_secret = config::Secret(kSecret);
  options.address = "test:1";
  options.launch_local_workers = options_.launch_workers;
  options.worker_program = ROCHDALE_WORKER_PROGRAM;
  options.module_program = ROCHDALE_MODULE_PROGRAM;
  options.worker_endpoint = [this] { return absl::StrCat("127.0.0.1:", port_); };
  options.workers = 2;
  options.poll_every = absl::Milliseconds(20);
  options.backoff_min = absl::Milliseconds(20);
  options.fault = std::move(fault);
  module_ = AttributionModule::Make(options, env);
  rpc::ServerOptions server_options;
  server_options.plaintext = true;
  auto server = rpc::Server::Start(server_options, module_->grpc_services(), *calls_);
  if (!server.ok()) throw std::runtime_error(server.status().ToString());
  server_ = *std::move(server);
  port_ = server_->port();
  if (const absl::Status started = module_->Start(); !started.ok()) {
    throw std::runtime_error(started.ToString());
  }
}

void World::Stop() {
  if (module_ == nullptr) return;
  module_->Stop();
  server_->Stop(absl::Seconds(5));
  server_.reset();
  module_.reset();
}

std::string World::TrainDyingAt(const std::vector<std::string>& steps, int64_t rounds) {
  const auto at = std::make_shared<std::atomic<size_t>>(0);
  const auto fault = [steps, at](absl::string_view step) {
    if (at->load() >= steps.size() || step != steps[at->load()]) return absl::OkStatus();
    return absl::CancelledError("the process died");
  };
  Start(fault);
  const std::string id = Train(rounds);
  for (size_t step = 0; step < steps.size(); ++step) {
    INFO("dies at: " << steps[step] << ", step " << step);
    REQUIRE(Eventually([&] { return crashed(); }));
    Stop();
    *at = step + 1;
    Start(fault);
  }
  return id;
}

Person World::NewPerson() {
  Person person{{ids.New(clock.Now())}};
  directory_.Put(person.key.public_key(), {rpc::IdentityKind::kPrincipal, person.id, {}, ""});
  return person;
}

std::shared_ptr<grpc::Channel> World::channel() { return server_->InProcessChannel(); }

rochdale::testing::Client<Stub> World::AsService(const std::string& name) {
  return rochdale::testing::Client<Stub>(
      channel(), ids, std::make_unique<rpc::TokenSource>(crypto::TokenSubject::OfService(name),
                                                         service_keys_.at(name), clock, ids));
}

void World::AddUpdate(double strength, uint32_t seed) {
  const learning::Dataset rows = MakeRows(200, 1'000 + seed);
  std::vector<float> gradient;
  if (spec.exact()) {
    const learning::GridVector base = learning::InitialParameters(spec, "7");
    gradient = learning::MeanLossGradient(spec, base, rows).value();
  } else {
    const auto process =
        learning::ModuleProcess::Start(spec, module, {.program = ROCHDALE_MODULE_PROGRAM}).value();
    if (!process->SetRows(rows).ok()) throw std::runtime_error("the module takes no rows");
    gradient = process->Gradient(process->initial()).value();
  }
  learning::GridVector update;
  for (const float g : gradient) update.push_back(tensor::RoundToGrid(-strength * g));
  const auto file =
      tensor::SerializeFlatI32(learning::ManifestOf(spec, tensor::DType::kI32), update);
  FakeUpdate one;
  one.principal_id = NewId();
  one.agent_id = NewId();
  one.effective = *file;
  governance.principals.push_back(one.principal_id);
  filter.updates.push_back(std::move(one));
}

void World::AddFlatUpdate(int32_t units) {
  const learning::GridVector update(learning::ParameterCount(spec), units);
  const auto file =
      tensor::SerializeFlatI32(learning::ManifestOf(spec, tensor::DType::kI32), update);
  FakeUpdate one;
  one.principal_id = NewId();
  one.agent_id = NewId();
  one.effective = *file;
  governance.principals.push_back(one.principal_id);
  filter.updates.push_back(std::move(one));
}

std::string World::Upload(common_v1::BlobPurpose purpose, const std::string& file) {
  auto client = As<Stub>(founder);
  common_v1::BeginUploadRequest begin;
  begin.set_request_id(NewId());
  begin.set_purpose(purpose);
  begin.set_size_bytes(static_cast<int64_t>(file.size()));
  begin.set_sha256(crypto::Sha256(file).ToString());
  const common_v1::Upload upload = client.Ok(&Stub::BeginUpload, begin);
  if (upload.complete()) return begin.sha256();
  const auto context = client.Context();
  common_v1::Upload result;
  const auto writer = client.stub().UploadBlob(context.get(), &result);
  for (size_t at = 0; at < file.size(); at += 1 << 20) {
    common_v1::UploadChunk chunk;
    chunk.set_upload_id(upload.upload_id());
    chunk.set_offset_bytes(static_cast<int64_t>(at));
    chunk.set_data(file.substr(at, 1 << 20));
    if (!writer->Write(chunk)) break;
  }
  writer->WritesDone();
  const absl::Status status = rpc::FromGrpc(writer->Finish());
  if (!status.ok() || !result.complete()) throw std::runtime_error(status.ToString());
  return begin.sha256();
}

void World::UploadModule() { Upload(common_v1::BLOB_PURPOSE_MODULE, module); }

void World::UploadPool() {
  auto client = As<Stub>(founder);
  v1::ValidationPoolSealing sealing;
  sealing.set_cooperative_id(cooperative);
  sealing.set_data_sha256(
      Upload(common_v1::BLOB_PURPOSE_VALIDATION, learning::SerializeDataset(pool_)));
  v1::SealValidationPoolRequest seal;
  seal.set_request_id(NewId());
  *seal.mutable_sealing() = Sign(founder.key, sealing);
  client.Ok(&Stub::SealValidationPool, seal);
}

void World::Retire(const std::vector<std::string>& round_ids) {
  v1::RetireRoundsRequest request;
  request.set_request_id(NewId());
  for (const std::string& id : round_ids) request.add_round_ids(id);
  AsService("payout").Ok(&Stub::RetireRounds, request);
}

v1::RegisterModuleRequest World::ModuleRequest(bool withdraws) {
  v1::ModuleRegistration registration;
  registration.set_cooperative_id(cooperative);
  registration.set_module_sha256(spec.torchscript.module.ToString());
  registration.set_withdraws(withdraws);
  registration.set_signed_time_us(ToUnixMicros(clock.Now()));
  v1::RegisterModuleRequest request;
  request.set_request_id(NewId());
  *request.mutable_registration() = Sign(founder.key, registration);
  return request;
}

v1::CreateModelRequest World::ModelRequest() {
  v1::ModelRegistration registration;
  registration.set_cooperative_id(cooperative);
  v1::ModelSpec& model = *registration.mutable_spec();
  model.set_kind(options_.convnet ? v1::MODEL_KIND_CONVNET : v1::MODEL_KIND_MLP);
  for (const int size : spec.layer_sizes) model.add_layer_sizes(size);
  if (options_.convnet) {
    model.mutable_convnet()->set_image_channels(1);
    model.mutable_convnet()->set_image_height(4);
    model.mutable_convnet()->set_image_width(4);
    model.mutable_convnet()->add_channels(5);
  }
  if (spec.exact()) {
    registration.set_init_seed(7);
  } else {
    const learning::TorchScriptSpec& from = spec.torchscript;
    model.set_kind(v1::MODEL_KIND_TORCHSCRIPT);
    v1::TorchScript& to = *model.mutable_torchscript();
    to.set_module_sha256(from.module.ToString());
    to.set_inputs(from.inputs);
    to.set_input_values(from.input_values);
    to.set_classes(from.classes);
    for (const learning::ModuleTensor& tensor : from.parameters) {
      v1::ModuleParameter& parameter = *to.add_parameters();
      parameter.set_name(tensor.name);
      for (const int64_t extent : tensor.shape) parameter.add_shape(extent);
    }
    to.set_library(from.library);
    to.set_precision(from.precision);
    to.set_aten_capability(from.aten_capability);
    to.set_blas_kernel(from.blas_kernel);
    to.set_tolerance_nanonats(from.tolerance_nanonats);
    to.set_deadband_nanonats(from.deadband_nanonats);
  }
  v1::CreateModelRequest create;
  create.set_request_id(NewId());
  *create.mutable_registration() = Sign(founder.key, registration);
  return create;
}

v1::StartTrainingRequest World::TrainingRequest(int64_t rounds) {
  v1::TrainingPlan plan;
  plan.set_cooperative_id(cooperative);
  plan.set_rounds(rounds);
  plan.set_scenario("default");
  v1::StartTrainingRequest start;
  start.set_request_id(NewId());
  *start.mutable_plan() = Sign(founder.key, plan);
  return start;
}

std::string World::Train(int64_t rounds) {
  auto client = As<Stub>(founder);
  if (!spec.exact()) {
    UploadModule();
    client.Ok(&Stub::RegisterModule, ModuleRequest(false));
  }
  client.Ok(&Stub::CreateModel, ModelRequest());
  UploadPool();
  return client.Ok(&Stub::StartTraining, TrainingRequest(rounds)).round().round_id();
}

v1::Round World::Get(const std::string& round_id) {
  v1::GetRoundRequest request;
  request.set_round_id(round_id);
  return As<Stub>(founder).Ok(&Stub::GetRound, request).round();
}

double World::Metric(const std::string& name) {
  for (const absl::string_view line : absl::StrSplit(metrics_.Expose(), '\n')) {
    double value = 0;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words.size() == 2 && words[0] == name && absl::SimpleAtod(words[1], &value)) return value;
  }
  throw std::runtime_error("no metric " + name);
}

v1::Round World::WaitForEnd(int64_t number) {
  v1::Round last;
  const bool ended = Eventually(
      [&] {
        v1::ListRoundsRequest request;
        request.set_cooperative_id(cooperative);
        request.set_page_size(1'000);
        const auto response = As<Stub>(founder).Ok(&Stub::ListRounds, request);
        for (const v1::Round& round : response.rounds()) {
          if (round.number() != number) continue;
          last = round;
          return round.state() >= v1::ROUND_STATE_CLOSED;
        }
        return false;
      },
      absl::Seconds(60));
  if (!ended) throw std::runtime_error("the round does not end: " + last.DebugString());
  return last;
}

std::vector<v1::Credit> World::Credits(const std::string& round_id) {
  v1::ListCreditsRequest request;
  request.set_cooperative_id(cooperative);
  request.set_round_id(round_id);
  const auto response = As<Stub>(founder).Ok(&Stub::ListCredits, request);
  return {response.credits().begin(), response.credits().end()};
}

Evidence World::EvidenceOf(const std::string& round_id) {
  v1::GetEvidenceRequest request;
  request.set_round_id(round_id);
  const auto response = As<Stub>(founder).Ok(&Stub::GetEvidence, request);
  if (crypto::Sha256(response.body()).ToString() != response.sha256()) {
    throw std::runtime_error("the evidence has another digest");
  }
  return ParseEvidence(response.body()).value();
}

absl::StatusOr<std::string> World::Download(const Person& person, const std::string& sha256) {
  auto client = As<Stub>(person);
  std::unique_ptr<grpc::ClientContext> context;
  blob::BlobCalls calls;
  calls.download = [&](grpc::ClientContext*, const common_v1::DownloadBlobRequest& request) {
    context = client.Context();
    return std::unique_ptr<grpc::ClientReaderInterface<common_v1::BlobChunk>>(
        client.stub().DownloadBlob(context.get(), request));
  };
  calls.prepare = [](grpc::ClientContext&) {};
  return blob::DownloadBytes(calls, DigestOfText(sha256), 1 << 30);
}

absl::Status World::Recompute(const Evidence& evidence, learning::Evaluator* modules) {
  const auto blobs = [&](const crypto::Digest& sha256) {
    return Download(founder, sha256.ToString());
  };
  return CheckRecomputation(evidence, blobs, modules);
}

int64_t World::Number(const std::string& sql) {
  const auto row = db().Transact(absl::Seconds(10),
                                 [&](pg::Transaction& tx) { return tx.ExecOne(sql); });
  if (!row.ok()) throw std::runtime_error(row.status().ToString());
  return row->Get<int64_t>(0);
}

std::vector<crypto::Entry> World::Outbox() {
  const auto rows = db().Transact(absl::Seconds(10), [](pg::Transaction& tx) {
    return tx.Exec("SELECT leaf FROM outbox ORDER BY sequence");
  });
  std::vector<crypto::Entry> entries;
  for (const pg::Row& row : *rows) {
    entries.push_back(crypto::DecodeEntry(row.GetBytes("leaf")).value());
    if (absl::Status fits = crypto::CheckKind(entries.back()); !fits.ok()) {
      throw std::runtime_error(fits.ToString());
    }
  }
  return entries;
}

}  // namespace rochdale::attribution::testing
