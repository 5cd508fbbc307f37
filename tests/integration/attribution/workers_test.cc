// Leases: what a worker may do, told over gRPC.
#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>

#include "google/protobuf/descriptor.h"
#include "libs/learning/module_evaluator.h"
#include "libs/rpc/status.h"
#include "services/attribution/migrations.h"
#include "services/attribution/run_spec.h"
#include "services/attribution/run_store.h"
#include "services/attribution/worker/evaluation.h"
#include "tests/integration/attribution/world.h"

namespace rochdale::attribution::testing {
namespace {

// A worker driven by hand.
class HandWorker {
 public:
  HandWorker(World& world, const std::string& run)
      : world_(world), stub_(world.channel()), run_(run) {}

  std::string Start(const std::string& token) {
    v1::StartSessionRequest request;
    request.set_request_id(world_.NewId());
    request.set_run_id(run_);
    request.set_run_token(token);
    v1::StartSessionResponse response;
    const std::string reason = Call(&WorkerStub::StartSession, request, &response);
    if (reason == "OK") {
      session_ = response.session_token();
      spec_ = ParseRunSpec(response.spec()).value();
    }
    return reason;
  }
  v1::ClaimShardResponse Claim(const std::string& request_id) {
    v1::ClaimShardRequest request;
    request.set_request_id(request_id);
    request.set_run_id(run_);
    v1::ClaimShardResponse response;
    REQUIRE(Call(&WorkerStub::ClaimShard, request, &response) == "OK");
    return response;
  }
  std::string Heartbeat(const v1::Shard& shard) {
    v1::HeartbeatShardRequest request;
    Name(shard, request);
    v1::HeartbeatShardResponse response;
    return Call(&WorkerStub::HeartbeatShard, request, &response);
  }
  std::string Complete(const v1::Shard& shard, const std::string& losses) {
    v1::CompleteShardRequest request;
    Name(shard, request);
    request.set_losses(losses);
    v1::CompleteShardResponse response;
    return Call(&WorkerStub::CompleteShard, request, &response);
  }
  std::string Fail(const v1::Shard& shard, const std::string& reason) {
    v1::FailShardRequest request;
    Name(shard, request);
    request.set_reason(reason);
    v1::FailShardResponse response;
    return Call(&WorkerStub::FailShard, request, &response);
  }
  // The true losses, from blobs that the service gives to this session.
  std::string Evaluate(const v1::Shard& shard) {
    learning::HostEvaluator host;
    learning::ModuleEvaluator evaluator(host, {.program = ROCHDALE_MODULE_PROGRAM});
    const auto blobs = [&](const crypto::Digest& sha256) { return Download(sha256.ToString()); };
    RunEvaluation evaluation(spec_, blobs, evaluator);
    const auto result =
        evaluation.Evaluate({shard.part(), shard.row_begin(), shard.row_end(),
                             shard.candidate_begin(), shard.candidate_end()});
    REQUIRE(result.ok());
    return EncodeLosses(result->losses);
  }
  absl::StatusOr<std::string> Download(const std::string& sha256) {
    grpc::ClientContext context;
    Prepare(context);
    common_v1::DownloadBlobRequest request;
    request.set_sha256(sha256);
    const auto reader = stub_.DownloadRunBlob(&context, request);
    std::string bytes;
    common_v1::BlobChunk chunk;
    while (reader->Read(&chunk)) bytes += chunk.data();
    const absl::Status status = rpc::FromGrpc(reader->Finish());
    if (!status.ok()) return status;
    return bytes;
  }
  // Does all that is left.
  void Finish() {
    while (true) {
      const v1::ClaimShardResponse claimed = Claim(world_.NewId());
      if (claimed.run_ended() || claimed.none()) return;
      REQUIRE(Complete(claimed.shard(), Evaluate(claimed.shard())) == "OK");
    }
  }
  const RunSpec& spec() const { return spec_; }
  void UseToken(const std::string& token) { session_ = token; }

 private:
  template <typename Request>
  void Name(const v1::Shard& shard, Request& request) {
    request.set_request_id(world_.NewId());
    request.set_run_id(run_);
    request.set_number(shard.number());
    request.set_lease_epoch(shard.lease_epoch());
  }
  void Prepare(grpc::ClientContext& context) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
    if (!session_.empty()) context.AddMetadata("authorization", "Run " + session_);
  }
  template <typename Method, typename Request, typename Response>
  std::string Call(Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    Prepare(context);
    const absl::Status status = rpc::FromGrpc((stub_.*method)(&context, request, response));
    return status.ok() ? "OK" : ReasonOf(status);
  }

  World& world_;
  WorkerStub stub_;
  const std::string run_;
  std::string session_;
  RunSpec spec_;
};

using Parameters = std::map<std::string, std::string>;

struct Waiting {
  World world;
  std::string round;
  std::string run;
  std::string token;

  explicit Waiting(Parameters parameters = {}, std::string module = "")
      : world({.module = std::move(module),
               .parameters = std::move(parameters),
               .launch_workers = false}) {
    for (const uint32_t seed : {1u, 2u, 3u}) world.AddUpdate(2.0, seed);
    world.Start();
    round = world.Train(1);
    NextRun();
  }
  // The run that waits for workers now.
  void NextRun() {
    REQUIRE(Eventually([&] {
      v1::ListRunsRequest request;
      request.set_round_id(round);
      const auto response = world.As<Stub>(world.founder).Ok(&Stub::ListRuns, request);
      for (const v1::Run& one : response.runs()) {
        if (one.state() != v1::RUN_STATE_RUNNING) continue;
        run = one.run_id();
        return true;
      }
      return false;
    }));
    token = world.secrets().RunToken(RunId::Parse(run).value());
  }
};

TEST_CASE("a run token gives a session, and the session its run only") {
  Waiting waiting;
  HandWorker worker(waiting.world, waiting.run);
  CHECK(worker.Start("R.x.y") == "UNAUTHENTICATED");
  CHECK(worker.Start(waiting.token + "0") == "UNAUTHENTICATED");
  REQUIRE(worker.Start(waiting.token) == "OK");
  CHECK(worker.spec().updates.size() == 3);
  CHECK(worker.Download(worker.spec().base.ToString()).ok());
  CHECK(absl::IsNotFound(worker.Download(crypto::Sha256("other").ToString()).status()));
  // Without a session nothing is given; the run token itself is not one.
  HandWorker other(waiting.world, waiting.run);
  v1::Shard shard;
  CHECK(other.Heartbeat(shard) == "UNAUTHENTICATED");
  other.UseToken(waiting.token);
  CHECK(other.Heartbeat(shard) == "UNAUTHENTICATED");
}

TEST_CASE("a claim repeated is the same claim, and leases are exclusive") {
  Waiting waiting;
  HandWorker one(waiting.world, waiting.run), two(waiting.world, waiting.run);
  REQUIRE(one.Start(waiting.token) == "OK");
  REQUIRE(two.Start(waiting.token) == "OK");
  const std::string request = waiting.world.NewId();
  const v1::Shard first = one.Claim(request).shard();
  CHECK(one.Claim(request).shard().number() == first.number());
  CHECK(one.Claim(request).shard().lease_epoch() == first.lease_epoch());
  const v1::Shard second = two.Claim(waiting.world.NewId()).shard();
  CHECK(second.number() != first.number());
  CHECK(one.Heartbeat(first) == "OK");
  CHECK(two.Heartbeat(first) == "LEASE_LOST");
}

TEST_CASE("a stale lease is refused once another worker has the shard") {
  Waiting waiting;
  HandWorker slow(waiting.world, waiting.run), quick(waiting.world, waiting.run);
  REQUIRE(slow.Start(waiting.token) == "OK");
  REQUIRE(quick.Start(waiting.token) == "OK");
  const v1::Shard stale = slow.Claim(waiting.world.NewId()).shard();
  absl::SleepFor(absl::Milliseconds(700));
  const v1::Shard taken = quick.Claim(waiting.world.NewId()).shard();
  REQUIRE(taken.number() == stale.number());
  CHECK(taken.lease_epoch() == stale.lease_epoch() + 1);
  CHECK(slow.Heartbeat(stale) == "LEASE_LOST");
  const std::string losses = slow.Evaluate(stale);
  CHECK(slow.Complete(stale, losses) == "LEASE_LOST");
  CHECK(slow.Fail(stale, "INTERNAL") == "LEASE_LOST");
  CHECK(quick.Complete(taken, losses) == "OK");
  // Late, but the same: nothing is wrong.
  CHECK(slow.Complete(stale, losses) == "OK");
}

TEST_CASE("a result is accepted once; another one is an exception and loses") {
  Waiting waiting;
  HandWorker worker(waiting.world, waiting.run);
  REQUIRE(worker.Start(waiting.token) == "OK");
  const v1::Shard shard = worker.Claim(waiting.world.NewId()).shard();
  const std::string losses = worker.Evaluate(shard);
  CHECK(worker.Complete(shard, losses.substr(8)) == "BAD_REQUEST");
  REQUIRE(worker.Complete(shard, losses) == "OK");
  CHECK(worker.Complete(shard, losses) == "OK");
  std::string forged = losses;
  forged[0] = static_cast<char>(forged[0] ^ 1);
  CHECK(worker.Complete(shard, forged) == "LEASE_LOST");
  CHECK(Eventually([&] { return waiting.world.governance.exceptions().size() == 1; }));
  CHECK(waiting.world.governance.exceptions()[0].kind() ==
        governance_v1::EXCEPTION_KIND_RESULT_MISMATCH);
  CHECK(worker.Complete(shard, forged) == "LEASE_LOST");  // raised once
  worker.Finish();
  waiting.NextRun();  // the aggregate
  HandWorker last(waiting.world, waiting.run);
  REQUIRE(last.Start(waiting.token) == "OK");
  last.Finish();
  CHECK(waiting.world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  CHECK(waiting.world.governance.exceptions().size() == 1);
  CHECK(last.Start(waiting.token) == "ROUND_STATE");
}

TEST_CASE("losses of a module that differ within its tolerance are no other result") {
  Waiting waiting({}, "small");
  const int64_t tolerance = waiting.world.spec.torchscript.tolerance_nanonats;
  HandWorker worker(waiting.world, waiting.run);
  REQUIRE(worker.Start(waiting.token) == "OK");
  CHECK(worker.spec().model == waiting.world.spec);  // with its tolerance
  const v1::Shard shard = worker.Claim(waiting.world.NewId()).shard();
  const std::string losses = worker.Evaluate(shard);
  const auto shifted = [&](int64_t by) {
    auto changed = DecodeLosses(losses, static_cast<int64_t>(losses.size() / 8)).value();
    changed[3] += by;
    return EncodeLosses(changed);
  };
  REQUIRE(worker.Complete(shard, losses) == "OK");
  CHECK(worker.Complete(shard, shifted(tolerance)) == "OK");
  CHECK(worker.Complete(shard, shifted(-tolerance)) == "OK");
  CHECK(waiting.world.Number("SELECT count(*) FROM exceptions") == 0);
  CHECK(worker.Complete(shard, shifted(tolerance + 1)) == "LEASE_LOST");
  CHECK(waiting.world.Number("SELECT count(*) FROM exceptions") == 1);
  // The service evaluated the shard itself, and what was delivered first stands.
  CHECK(waiting.world.Number("SELECT count(*) FROM shard_results WHERE worker = 'canonical'") == 1);
  const auto first = waiting.world.db().Transact(absl::Seconds(10), [&](pg::Transaction& tx) {
    return ReadResult(tx, RunId::Parse(waiting.run).value(), shard.number());
  });
  CHECK(first.value() == losses);
}

TEST_CASE("a false first result of a module is put right by the service's own evaluation") {
  Waiting waiting({}, "small");
  HandWorker worker(waiting.world, waiting.run);
  REQUIRE(worker.Start(waiting.token) == "OK");
  const v1::Shard shard = worker.Claim(waiting.world.NewId()).shard();
  const std::string losses = worker.Evaluate(shard);
  auto forged = DecodeLosses(losses, static_cast<int64_t>(losses.size() / 8)).value();
  forged[0] += 1'000'000;
  REQUIRE(worker.Complete(shard, EncodeLosses(forged)) == "OK");
  CHECK(worker.Complete(shard, losses) == "LEASE_LOST");
  const auto now = waiting.world.db().Transact(absl::Seconds(10), [&](pg::Transaction& tx) {
    return ReadResult(tx, RunId::Parse(waiting.run).value(), shard.number());
  });
  const auto decided = DecodeLosses(now.value(), static_cast<int64_t>(losses.size() / 8)).value();
  const int64_t tolerance = waiting.world.spec.torchscript.tolerance_nanonats;
  CHECK(std::abs(decided[0] - forged[0]) > tolerance);
  // Another one was delivered, and the first was corrected.
  CHECK(waiting.world.Number("SELECT count(*) FROM exceptions") == 2);
}

TEST_CASE("progress of runs is streamed until the round has ended") {
  Waiting waiting;
  HandWorker worker(waiting.world, waiting.run);
  REQUIRE(worker.Start(waiting.token) == "OK");
  auto client = waiting.world.As<Stub>(waiting.world.founder);
  const auto context = client.Context();
  v1::WatchRunsRequest request;
  request.set_round_id(waiting.round);
  const auto reader = client.stub().WatchRuns(context.get(), request);
  v1::WatchRunsResponse response;
  auto done = [&] {
    int64_t shards = 0;
    for (const v1::Run& run : response.runs()) {
      if (run.run_id() == waiting.run) shards = run.shards_done();
    }
    return shards;
  };
  REQUIRE(reader->Read(&response));
  CHECK(done() == 0);
  const v1::Shard shard = worker.Claim(waiting.world.NewId()).shard();
  REQUIRE(worker.Complete(shard, worker.Evaluate(shard)) == "OK");
  while (done() == 0) REQUIRE(reader->Read(&response));
  worker.Finish();
  waiting.NextRun();  // the aggregate
  HandWorker last(waiting.world, waiting.run);
  REQUIRE(last.Start(waiting.token) == "OK");
  last.Finish();
  while (reader->Read(&response)) {
  }
  CHECK(reader->Finish().ok());
  for (const v1::Run& run : response.runs()) {
    CHECK(run.state() == v1::RUN_STATE_DONE);
    CHECK(run.shards_done() == run.shards());
  }
  CHECK(waiting.world.Get(waiting.round).state() == v1::ROUND_STATE_CLOSED);
}

TEST_CASE("a shard that fails too often fails its run, and the round is abandoned") {
  Waiting waiting(Parameters{{"worker.max_attempts", "2"}});
  HandWorker worker(waiting.world, waiting.run);
  REQUIRE(worker.Start(waiting.token) == "OK");
  for (int attempt = 0; attempt < 2; ++attempt) {
    CHECK(worker.Fail(worker.Claim(waiting.world.NewId()).shard(), "INTERNAL") == "OK");
  }
  const v1::Round round = waiting.world.WaitForEnd(1);
  CHECK(round.state() == v1::ROUND_STATE_ABANDONED);
  CHECK(round.reason() == "RUN_FAILED");
  CHECK(worker.Claim(waiting.world.NewId()).run_ended());
}

TEST_CASE("every cell of the access table holds") {
  rochdale::testing::ServiceFixture f("attribution", {attribution::Migrations()});
  FakeGovernance governance;
  FakeFilter filter;
  rochdale::testing::FakeLedger ledger;
  f.AddFake("governance", &governance);
  f.AddFake("filter", &filter);
  f.AddFake("ledger", &ledger);
  AttributionOptions options;
  options.server_secret = config::Secret(std::string(32, 's'));
  options.launch_local_workers = false;
  f.Serve(AttributionModule::Make(options, f.environment()));
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  for (const char* name : {"AttributionService", "WorkerService"}) {
    const auto* service =
        pool->FindServiceByName(std::string("rochdale.attribution.v1.") + name);
    REQUIRE(service != nullptr);
    CHECK(f.TryAccessTable(service) == std::vector<std::string>{});
  }
  f.Stop();
}

}  // namespace
}  // namespace rochdale::attribution::testing
