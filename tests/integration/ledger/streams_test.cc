#include <grpcpp/create_channel.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <functional>
#include <thread>

#include "absl/strings/match.h"
#include "libs/rpc/status.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

using Stream = Client::Stream;

std::string ReasonAtEnd(Stream& stream) {
  v1::StreamTransfersResponse ignored;
  while (stream.Read(&ignored)) {
  }
  const grpc::Status status = stream.Finish();
  return status.ok() ? "OK" : ReasonOf(rpc::FromGrpc(status));
}

int64_t BalanceOf(Client& client, const std::string& account) {
  v1::GetAccountRequest request;
  request.set_account_id(account);
  return client.Ok(&Stub::GetAccount, request).account().balance_micro();
}

bool Within(absl::Duration timeout, const std::function<bool()>& holds) {
  const absl::Time until = absl::Now() + timeout;
  while (!holds()) {
    if (absl::Now() > until) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

TEST_CASE("a stream answers every request, in order", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  const bool remote = GENERATE(false, true);
  constexpr int kRequests = 2'000;
  Client payout = ledger.As("payout", remote ? ledger.Remote() : nullptr);
  std::vector<v1::PostTransfersRequest> requests;
  for (int i = 0; i < kRequests; ++i) {
    std::vector<v1::Transfer> transfers(1 + i % 3);
    for (v1::Transfer& transfer : transfers) {
      transfer = TransferOf(ledger, world.supply, world.of_ann, 1);
    }
    requests.push_back(PostingOf(ledger, transfers));
  }
  grpc::ClientContext context;
  auto stream = payout.Open(context);
  std::thread sender([&] {
    for (const v1::PostTransfersRequest& request : requests) stream->Write(request);
    stream->WritesDone();
  });
  v1::StreamTransfersResponse response;
  size_t answered = 0;
  int64_t balance = 0;
  bool in_order = true;
  for (; stream->Read(&response); ++answered) {
    const v1::PostTransfersRequest& request = requests[answered];
    in_order = in_order && response.request_id() == request.request_id() &&
               response.outcomes_size() == request.transfers_size();
    for (int i = 0; in_order && i < response.outcomes_size(); ++i) {
      const v1::TransferOutcome& outcome = response.outcomes(i);
      in_order = outcome.transfer_id() == request.transfers(i).transfer_id() &&
                 outcome.result() == v1::TRANSFER_RESULT_POSTED &&
                 outcome.credit_balance_micro() == ++balance;
    }
  }
  sender.join();
  CHECK(stream->Finish().ok());
  CHECK(answered == kRequests);
  CHECK(in_order);
  CHECK(BalanceOf(world.payout, world.of_ann) == balance);
  CHECK(Within(absl::Seconds(5), [&] { return ledger.running() == 0; }));
  std::lock_guard lock(ledger.log_mutex);
  CHECK(std::count_if(ledger.log_lines.begin(), ledger.log_lines.end(), [](const std::string& s) {
          return absl::StrContains(s, "LedgerService/StreamTransfers") &&
                 absl::StrContains(s, "service:payout") && absl::StrContains(s, "\"OK\"");
        }) == 1);
}

TEST_CASE("a refused request ends its stream after the responses before it", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  grpc::ClientContext context;
  auto stream = world.payout.Open(context);
  std::vector<v1::PostTransfersRequest> requests;
  for (int i = 0; i < 20; ++i) {
    requests.push_back(PostingOf(ledger, {TransferOf(ledger, world.supply, world.of_ann, 1)}));
  }
  requests[10].mutable_transfers(0)->set_amount_micro(0);
  v1::StreamTransfersResponse response;
  for (int i = 0; i < 10; ++i) stream->Write(requests[static_cast<size_t>(i)]);
  // Read before the refusal is made: gRPC's clients drop what they have not handed on by then.
  for (int i = 0; i < 10; ++i) {
    REQUIRE(stream->Read(&response));
    CHECK(response.request_id() == requests[static_cast<size_t>(i)].request_id());
  }
  for (int i = 10; i < 20; ++i) stream->Write(requests[static_cast<size_t>(i)]);
  CHECK_FALSE(stream->Read(&response));
  const absl::Status status = rpc::FromGrpc(stream->Finish());
  CHECK(ReasonOf(status) == "BAD_REQUEST");
  REQUIRE(FieldViolationsOf(status).size() == 1);
  CHECK(FieldViolationsOf(status)[0].field == "transfers[0].amount_micro");
  CHECK(BalanceOf(world.payout, world.of_ann) == 10);
}

TEST_CASE("streams know who may open them", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  grpc::ClientContext a, b, c;
  CHECK(ReasonAtEnd(*ledger.Anonymous().Open(a)) == "UNAUTHENTICATED");
  CHECK(ReasonAtEnd(*ledger.As("filter").Open(b)) == "PERMISSION_DENIED");
  Person stranger = ledger.NewPerson();
  stranger.key = crypto::KeyPair::Generate(crypto::SystemRandomBytes());
  CHECK(ReasonAtEnd(*ledger.As(stranger).Open(c)) == "UNAUTHENTICATED");
  CHECK(Within(absl::Seconds(5), [&] { return ledger.running() == 0; }));
}

TEST_CASE("a person signs every request of its stream", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  world.Fund(ledger, 1'000);
  Client ann = ledger.As(world.ann);
  const auto order = [&](const crypto::KeyPair& key) {
    return OrderOf(ledger, key,
                   {TransferOf(ledger, world.of_ann, world.of_bob, 1, v1::TRANSFER_KIND_SPEND)},
                   ledger.clock.Now());
  };
  v1::StreamTransfersResponse response;
  {
    grpc::ClientContext context;
    auto stream = ann.Open(context);
    for (int i = 0; i < 50; ++i) stream->Write(order(world.ann.key));
    for (int i = 0; i < 50; ++i) {
      REQUIRE(stream->Read(&response));
      CHECK(response.outcomes(0).result() == v1::TRANSFER_RESULT_POSTED);
    }
    stream->Write(order(world.bob.key));
    CHECK(ReasonAtEnd(*stream) == "SIGNATURE_INVALID");
  }
  {
    grpc::ClientContext context;
    auto stream = ann.Open(context);
    stream->Write(PostingOf(ledger, {TransferOf(ledger, world.of_ann, world.of_bob, 1,
                                                v1::TRANSFER_KIND_SPEND)}));
    CHECK(ReasonAtEnd(*stream) == "BAD_REQUEST");
  }
  CHECK(BalanceOf(world.payout, world.of_bob) == 50);
}

TEST_CASE("a token that expires ends its stream", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  Client payout = ledger.As("payout", nullptr, absl::Seconds(2));
  grpc::ClientContext context;
  auto stream = payout.Open(context);
  stream->Write(PostingOf(ledger, {TransferOf(ledger, world.supply, world.of_ann, 1)}));
  v1::StreamTransfersResponse response;
  REQUIRE(stream->Read(&response));
  const absl::Time begin = absl::Now();
  CHECK(ReasonAtEnd(*stream) == "TOKEN_EXPIRED");
  CHECK(absl::Now() - begin < absl::Seconds(4));
}

TEST_CASE("a client that does not read is read no further", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  grpc::ChannelArguments narrow;  // else the connection itself takes megabytes
  narrow.SetInt("grpc.http2.bdp_probe", 0);
  narrow.SetInt("grpc.http2.lookahead_bytes", 64 << 10);
  Client payout = ledger.As("payout", grpc::CreateCustomChannel(
                                          ledger.address(), grpc::InsecureChannelCredentials(),
                                          narrow));
  constexpr int kRequests = 60, kEach = 500, kTransfersMax = 8'190;
  grpc::ClientContext context;
  auto stream = payout.Open(context);
  std::thread sender([&] {
    for (int i = 0; i < kRequests; ++i) {
      std::vector<v1::Transfer> transfers;
      for (int j = 0; j < kEach; ++j) {
        transfers.push_back(TransferOf(ledger, world.supply, world.of_ann, 1));
      }
      stream->Write(PostingOf(ledger, transfers));
    }
    stream->WritesDone();
  });
  // Until it stands still.
  int64_t balance = -1, last = -2;
  while (balance != last) {
    last = balance;
    absl::SleepFor(absl::Milliseconds(700));
    balance = BalanceOf(world.payout, world.of_ann);
  }
  CHECK(balance >= kTransfersMax);
  CHECK(balance <= 2 * kTransfersMax);  // what waits, and what fits into the connection's windows
  v1::StreamTransfersResponse response;
  int answered = 0;
  while (stream->Read(&response)) answered += response.outcomes_size();
  sender.join();
  CHECK(stream->Finish().ok());
  CHECK(answered == kRequests * kEach);
  CHECK(BalanceOf(world.payout, world.of_ann) == kRequests * kEach);
}

TEST_CASE("a person opens so many streams and no more", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  const Person ann = ledger.NewPerson();
  Client client = ledger.As(ann);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<Stream>> streams;
  const int max = rpc::CallLimits().open_per_person_max;
  for (int i = 0; i < max; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(client.Open(*contexts.back()));
  }
  REQUIRE(Within(absl::Seconds(5), [&] { return ledger.running() == max; }));
  absl::SleepFor(absl::Milliseconds(100));  // all are counted
  grpc::ClientContext context;
  CHECK(ReasonAtEnd(*client.Open(context)) == "OVERLOADED");
  for (auto& stream : streams) {
    stream->WritesDone();
    CHECK(ReasonAtEnd(*stream) == "OK");
  }
}

TEST_CASE("streams that are cancelled leave nothing behind", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  constexpr int kThreads = 4, kStreams = 60;
  std::atomic<int64_t> posted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Client payout = ledger.As("payout", t % 2 == 0 ? ledger.Remote() : nullptr);
      for (int i = 0; i < kStreams; ++i) {
        grpc::ClientContext context;
        auto stream = payout.Open(context);
        for (int j = 0; j < i % 7; ++j) {
          stream->Write(PostingOf(ledger, {TransferOf(ledger, world.supply, world.of_ann, 1)}));
        }
        v1::StreamTransfersResponse response;
        for (int j = 0; j < i % 3 && j < i % 7; ++j) posted += stream->Read(&response);
        context.TryCancel();
        stream->Finish();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(Within(absl::Seconds(10), [&] { return ledger.running() == 0; }));
  CHECK(BalanceOf(world.payout, world.of_ann) >= posted);
}

TEST_CASE("a server that stops ends its streams; what it answered is in the log", "[ledger]") {
  TestDatabase database({Migrations()});
  std::vector<std::string> answered;
  std::string reason;
  {
    Ledger ledger(database);
    World world(ledger);
    Client payout = ledger.As("payout", ledger.Remote());
    grpc::ClientContext context;
    auto stream = payout.Open(context);
    std::atomic<bool> stop{false};
    std::thread sender([&] {
      while (!stop &&
             stream->Write(PostingOf(
                 ledger, {TransferOf(ledger, world.supply, world.of_ann, 1)}))) {
      }
    });
    std::thread reader([&] {
      v1::StreamTransfersResponse response;
      while (stream->Read(&response)) answered.push_back(response.outcomes(0).transfer_id());
      stop = true;
    });
    absl::SleepFor(absl::Milliseconds(300));
    const absl::Time begin = absl::Now();
    ledger.Stop();
    CHECK(absl::Now() - begin < absl::Seconds(5));
    reader.join();
    sender.join();
    reason = ReasonOf(rpc::FromGrpc(stream->Finish()));
  }
  CHECK(reason == "UNAVAILABLE");
  REQUIRE(answered.size() > 10);
  Ledger ledger(database);
  Client payout = ledger.As("payout");
  for (const std::string& id : answered) {
    v1::GetTransferRequest get;
    get.set_transfer_id(id);
    REQUIRE(payout.Reason(&Stub::GetTransfer, get) == "OK");
  }
}

}  // namespace
}  // namespace rochdale::ledger::testing
