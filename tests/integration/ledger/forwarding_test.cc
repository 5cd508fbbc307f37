#include <grpcpp/channel.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <set>
#include <thread>

#include "libs/rpc/status.h"
#include "services/ledger/forwarding.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

int64_t BalanceOf(Client& client, const std::string& account) {
  v1::GetAccountRequest request;
  request.set_account_id(account);
  return client.Ok(&Stub::GetAccount, request).account().balance_micro();
}

LedgerSetup Follower() {
  LedgerSetup setup;
  setup.wait = false;
  return setup;
}

TEST_CASE("a replica that does not write forwards as its caller", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger first(database);
  World world(first);
  world.Fund(first, 1'000);
  Ledger second(database, Follower());
  Client payout = second.As("payout");
  const auto posted = payout.Ok(
      &Stub::PostTransfers, PostingOf(second, {TransferOf(second, world.supply, world.of_ann, 5)}));
  CHECK(posted.outcomes(0).result() == v1::TRANSFER_RESULT_POSTED);
  CHECK(BalanceOf(payout, world.of_ann) == 1'005);

  // The other replica knows Carol by her own token, and refuses her what it refuses her directly.
  const Person carol = second.NewPerson();
  first.Know(carol);
  Client as_carol = second.As(carol);
  const std::string of_carol = second.NewId();
  CHECK(as_carol.Reason(&Stub::OpenAccounts,
                        OpeningOf(second, of_carol, carol.id.ToString(),
                                  v1::ACCOUNT_TYPE_PERSON)) == "OK");
  CHECK(as_carol.Reason(&Stub::OpenAccounts,
                        OpeningOf(second, second.NewId(), world.ann.id.ToString(),
                                  v1::ACCOUNT_TYPE_PERSON)) == "PERMISSION_DENIED");
  v1::PostTransfersRequest theft =
      OrderOf(second, world.ann.key,
              {TransferOf(second, world.of_ann, of_carol, 5, v1::TRANSFER_KIND_SPEND)},
              second.clock.Now());
  CHECK(as_carol.Reason(&Stub::PostTransfers, theft) == "SIGNATURE_INVALID");
  // Whom only the replica in between would know is nobody to the one that writes.
  Person stranger = second.NewPerson(/*logged=*/false);
  CHECK(second.As(stranger).Reason(&Stub::OpenAccounts,
                                   OpeningOf(second, second.NewId(), stranger.id.ToString(),
                                             v1::ACCOUNT_TYPE_PERSON)) == "UNAUTHENTICATED");
  // Every bad field comes back.
  v1::PostTransfersRequest bad = PostingOf(second, {v1::Transfer()});
  const auto refused = payout.Call(&Stub::PostTransfers, bad);
  CHECK(FieldViolationsOf(refused.status()).size() >= 4);
}

TEST_CASE("a call is forwarded once, and a stream not at all", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger first(database);
  World world(first);
  Ledger second(database, Follower());
  Client payout = second.As("payout");
  grpc::ClientContext context;
  auto stream = payout.Open(context);
  v1::StreamTransfersResponse response;
  CHECK_FALSE(stream->Read(&response));
  const absl::Status status = rpc::FromGrpc(stream->Finish());
  CHECK(ReasonOf(status) == "NOT_LEADER");
  CHECK(RetryAfterOf(status).has_value());
  CHECK(DetailsOf(status)[kLeaderAddress] == first.address());

  grpc::ClientContext marked;
  second.outgoing("payout").Prepare(marked, {});
  marked.AddMetadata(kForwarded, "1");
  v1::PostTransfersResponse ignored;
  const auto stub = v1::LedgerService::NewStub(second.channel());
  const grpc::Status again = stub->PostTransfers(
      &marked, PostingOf(second, {TransferOf(second, world.supply, world.of_ann, 5)}), &ignored);
  CHECK(ReasonOf(rpc::FromGrpc(again)) == "NOT_LEADER");
  CHECK(BalanceOf(payout, world.of_ann) == 0);
}

TEST_CASE("a leader that is gone is not called for ever", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger first(database);
  World world(first);
  Ledger second(database, Follower());
  // Nobody listens there; the first replica still holds the lock.
  REQUIRE(database.Admin()
              .Transact(absl::Seconds(10),
                        [](pg::Transaction& tx) {
                          return tx.ExecScript(
                              "UPDATE ledger.leases SET address = '127.0.0.1:1'");
                        })
              .ok());
  absl::SleepFor(absl::Milliseconds(150));
  const absl::Time begin = absl::Now();
  CHECK(second.As("payout").Reason(
            &Stub::PostTransfers,
            PostingOf(second, {TransferOf(second, world.supply, world.of_ann, 5)})) ==
        "UNAVAILABLE");
  CHECK(absl::Now() - begin < absl::Seconds(9));  // all four attempts of the client
}

// Clients at both replicas, each repeating what is not answered, by calls and by streams.
TEST_CASE("the writer changes under load: nothing is lost and nothing posted twice", "[ledger]") {
  TestDatabase database({Migrations()});
  auto first = std::make_unique<Ledger>(database);
  Ledger second(database, Follower());
  World world(*first);
  const std::string supply = world.supply, of_ann = world.of_ann;
  constexpr int kPosters = 4;
  std::atomic<bool> enough{false};
  std::atomic<int> unexpected{0};
  std::atomic<int64_t> acknowledged{0}, before{0};
  const std::string first_address = first->address();
  std::vector<std::thread> posters;
  for (int t = 0; t < kPosters; ++t) {
    posters.emplace_back([&, t] {
      // Half of them call the replica that goes, until it is gone.
      Client to_first = second.As("payout", rpc::MakeChannel(first_address, {.plaintext = true})
                                                .value());
      Client to_second = second.As("payout", second.Remote());
      bool here = t % 2 == 0;
      while (!enough) {
        const v1::PostTransfersRequest request =
            PostingOf(second, {TransferOf(second, supply, of_ann, 1),
                               TransferOf(second, supply, of_ann, 1)});
        for (int attempt = 0; attempt < 200; ++attempt) {
          const auto response = (here ? to_first : to_second).Call(&Stub::PostTransfers, request);
          if (!response.ok()) {
            if (!absl::IsUnavailable(response.status())) ++unexpected;
            here = false;
            absl::SleepFor(absl::Milliseconds(10));
            continue;
          }
          for (const v1::TransferOutcome& outcome : response->outcomes()) {
            const bool posted = outcome.result() == v1::TRANSFER_RESULT_POSTED ||
                                outcome.result() == v1::TRANSFER_RESULT_EXISTS;
            posted ? ++acknowledged : ++unexpected;
          }
          break;
        }
      }
    });
  }
  // A stream to the first replica, whose unanswered requests go to the second as calls.
  std::thread streamer([&] {
    Client to_first = second.As("payout", rpc::MakeChannel(first_address, {.plaintext = true})
                                              .value());
    Client to_second = second.As("payout", second.Remote());
    std::vector<v1::PostTransfersRequest> sent;
    size_t answered = 0;
    {
      grpc::ClientContext context;
      auto stream = to_first.Open(context);
      v1::StreamTransfersResponse response;
      do {
        sent.push_back(PostingOf(second, {TransferOf(second, supply, of_ann, 1)}));
        if (!stream->Write(sent.back())) break;
        if (sent.size() % 8 != 0) continue;  // eight wait at a time
        while (answered < sent.size() && stream->Read(&response)) {
          ++answered;
          ++acknowledged;
        }
      } while (answered + 8 > sent.size() && !enough);
      stream->Finish();
    }
    for (; answered < sent.size(); ++answered) {
      for (int attempt = 0; attempt < 200; ++attempt) {
        if (to_second.Call(&Stub::PostTransfers, sent[answered]).ok()) {
          ++acknowledged;
          break;
        }
        absl::SleepFor(absl::Milliseconds(10));
      }
    }
  });
  absl::SleepFor(absl::Milliseconds(700));
  before = acknowledged.load();
  first->Stop();
  const absl::Time stopped = absl::Now();
  while (!second.module->Ready().ok() && absl::Now() - stopped < absl::Seconds(20)) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  REQUIRE(second.module->Ready().ok());
  absl::SleepFor(absl::Milliseconds(700));
  enough = true;
  for (std::thread& poster : posters) poster.join();
  streamer.join();
  CHECK(unexpected == 0);
  CHECK(before > 20);
  CHECK(acknowledged > before + 20);
  Client payout = second.As("payout");
  // Every transfer moved 1, and every one was repeated until it was acknowledged.
  CHECK(BalanceOf(payout, of_ann) == acknowledged);
  CHECK(BalanceOf(payout, supply) == -acknowledged);
  CHECK(second.module->Ready().ok());
}

}  // namespace
}  // namespace rochdale::ledger::testing
