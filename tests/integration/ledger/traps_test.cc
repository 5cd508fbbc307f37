// Mistakes that other ledgers made, each with a test of its own.
#include <catch2/catch.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/document.h"
#include "tests/integration/ledger/scene.h"

namespace rochdale::ledger::testing {
namespace {

using rochdale::testing::NumberOf;

TEST_CASE("trap: holds left out of the funds check", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    payout: h1 pool->fund 100 hold:100         = POSTED
    payout: t1 pool->fund 1                    = INSUFFICIENT_FUNDS
    payout: h2 pool->fund 1 hold:100           = INSUFFICIENT_FUNDS
    payout: t2 pool->fund 1 balancing          = INSUFFICIENT_FUNDS
    payout: p1 post:h1                         = POSTED debit 0 credit 100
  )");
}

TEST_CASE("trap: a refund of a refund", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    payout: t1 pool->fund 50                   = POSTED
    payout: r1 fund->pool 50 corrects:t1       = POSTED
    payout: r2 pool->fund 50 corrects:r1       = CORRECTION_NOT_ALLOWED
    balance pool 100
    balance fund 0
  )");
}

TEST_CASE("trap: a second refund that is refused and yet posts", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill1 supply->pool 100             = POSTED
    payout: fill2 supply->fund 100             = POSTED
    payout: t1 pool->fund 50                   = POSTED
    payout: r1 fund->pool 30 corrects:t1       = POSTED
    payout: r2 fund->pool 21 corrects:t1       = CORRECTION_EXCEEDS
    payout: r2 fund->pool 20 corrects:t1       = ID_ALREADY_FAILED
    payout: r3 fund->pool 20 corrects:t1       = POSTED
    payout: r4 fund->pool 1 corrects:t1        = CORRECTION_EXCEEDS
    balance pool 100
    balance fund 100
    # Two in one call are two.
    payout: t2 pool->fund 10                   = POSTED
    payout: r5 fund->pool 10 corrects:t2       = POSTED
    + r6 fund->pool 10 corrects:t2             = CORRECTION_EXCEEDS
    + r5 fund->pool 10 corrects:t2             = EXISTS
    balance pool 100
    # The accounts are those of the transfer the other way round.
    payout: r7 fund->ann 1 corrects:t2         = CORRECTION_NOT_ALLOWED
    payout: r8 pool->fund 1 corrects:t2        = CORRECTION_NOT_ALLOWED
  )");
}

TEST_CASE("trap: deadlocks hidden by a catch-all", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill1 supply->pool 100000          = POSTED
    payout: fill2 supply->fund 100000          = POSTED
  )");
  constexpr int kThreads = 6, kCalls = 25;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kCalls; ++i) {
        const std::string name = absl::StrCat("t", t, ".", i);
        const std::string way = t % 2 == 0 ? " pool->fund 1" : " fund->pool 1";
        v1::PostTransfersRequest request;
        v1::PostTransfersResponse response;
        request.set_request_id(Scene::IdOf("request " + name));
        *request.add_transfers() = scene.TransferOf("payout", name + way);
        const absl::Status status = scene.replica->Call("service:payout", &Stub::PostTransfers,
                                                        request, &response);
        if (!status.ok() || response.outcomes(0).result() != v1::TRANSFER_RESULT_POSTED) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  scene.Play("balance pool 100000\nbalance fund 100000\n");
  CHECK(NumberOf(scene.database.Admin(), "SELECT deadlocks FROM pg_stat_database "
                                 "WHERE datname = current_database()") == 0);
}

TEST_CASE("trap: float or formatted amounts inside a hash", "[ledger]") {
  Scene scene;
  // These two are one number to a double.
  scene.Play(R"(
    payout: t1 supply->pool 9007199254740993   = POSTED credit 9007199254740993
    payout: t2 supply->pool 9007199254740992   = POSTED credit 18014398509481985
  )");
  for (const auto& [name, amount] : {std::pair<const char*, uint64_t>{"t1", 9007199254740993},
                                     {"t2", 9007199254740992}}) {
    const crypto::Entry entry = scene.EntryAt(scene.OutcomeOf(name).log_index());
    CHECK(entry.U64(crypto::tag::kAmount).value() == amount);
    // In the leaf as eight bytes, big-endian, and nowhere as digits.
    const std::string leaf = crypto::EncodeEntry(entry).value();
    std::string bytes;
    for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(amount >> shift);
    CHECK(absl::StrContains(leaf, bytes));
    CHECK_FALSE(absl::StrContains(leaf, std::to_string(amount)));
  }
}

TEST_CASE("trap: undelimited concatenation", "[ledger]") {
  // The same bytes in another place are another entry.
  const auto leaf = [](const std::string& asset, const std::string& reason) {
    crypto::EntryBuilder builder(crypto::kind::kAccountOpened,
                                 {Uuid::Parse(Scene::IdOf("event")).value()},
                                 absl::FromUnixSeconds(1));
    builder.U64(crypto::tag::kAccountType, 1)
        .I64(crypto::tag::kFloor, 0)
        .Text(crypto::tag::kAsset, asset)
        .Text(crypto::tag::kReason, reason);
    return crypto::LeafHash(builder.BuildBytes().value());
  };
  CHECK(leaf("ab", "c") != leaf("a", "bc"));
  CHECK(leaf("abc", "") != leaf("ab", "c"));
  Scene scene;
  scene.Play(R"(
    payout: t1 supply->pool 1 ref:1            = POSTED
    payout: t1 supply->pool 11                 = EXISTS_DIFFERENT
  )");
}

// The order is hashed and stored as the bytes that were signed; what moves is decided by ids.
TEST_CASE("trap: hashing JSON", "[ledger]") {
  Scene scene;
  scene.Play("payout: fill supply->ann 100 = POSTED\n");
  v1::TransferOrder order;
  v1::Transfer& transfer = *order.add_transfers();
  transfer = scene.TransferOf("ann", "t1 ann->bob 10");
  order.set_signed_time_us(absl::ToUnixMicros(scene.clock.Now()));
  google::protobuf::util::JsonPrintOptions spaced;
  spaced.add_whitespace = true;
  std::string plain, pretty;
  REQUIRE(google::protobuf::util::MessageToJsonString(order, &plain).ok());
  REQUIRE(google::protobuf::util::MessageToJsonString(order, &pretty, spaced).ok());
  REQUIRE(plain != pretty);
  const crypto::KeyPair key = Cast::KeyOf(Scene::IdOf("Ann"));
  v1::TransferOutcome outcomes[2];
  crypto::Digest digests[2];
  for (int i = 0; i < 2; ++i) {
    const crypto::SignedDocument document =
        crypto::SignDocument(key, "rochdale.ledger.v1.TransferOrder", i == 0 ? pretty : plain)
            .value();
    digests[i] = crypto::DocumentDigest(document);
    v1::PostTransfersRequest request;
    v1::PostTransfersResponse response;
    request.set_request_id(Scene::IdOf(absl::StrCat("request ", i)));
    rpc::ToProto(document, *request.mutable_order());
    REQUIRE(scene.replica
                ->Call("principal:" + Scene::IdOf("Ann"), &Stub::PostTransfers, request, &response)
                .ok());
    outcomes[i] = response.outcomes(0);
  }
  CHECK(digests[0] != digests[1]);
  CHECK(outcomes[0].result() == v1::TRANSFER_RESULT_POSTED);
  CHECK(outcomes[1].result() == v1::TRANSFER_RESULT_EXISTS);
  CHECK(outcomes[1].log_index() == outcomes[0].log_index());
  const crypto::Entry entry = scene.EntryAt(outcomes[0].log_index());
  CHECK(entry.DigestAt(crypto::tag::kDocumentDigest).value() == digests[0]);
  scene.Play("balance bob 10\n");
}

TEST_CASE("trap: a serial as log index", "[ledger]") {
  Scene scene;
  const int64_t before = scene.LogSize();
  scene.Play("payout: t1 supply->pool 1 = POSTED\n");
  CHECK(scene.OutcomeOf("t1").log_index() == before);
  // Transactions that are rolled back, and transfers that fail, leave no gap.
  for (int i = 0; i < 5; ++i) {
    scene.replica->proxy().CutBeforeCommit(PgProxy::Then::kOnce);
    scene.Play(absl::StrCat("payout: r", i, " supply->pool 1 = POSTED\n", "payout: n", i,
                            " pool->fund 1000000 = INSUFFICIENT_FUNDS\n"));
    CHECK(scene.OutcomeOf(absl::StrCat("r", i)).log_index() == before + 1 + i);
  }
  CHECK(scene.LogSize() == before + 6);
}

TEST_CASE("trap: duplicate ids inside one batch", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    payout: t1 pool->fund 10                   = POSTED
    + t1 pool->fund 10                         = EXISTS amount 10 debit 90 credit 10
    + t1 pool->fund 20                         = EXISTS_DIFFERENT
    balance pool 90
    # Within a chain: nothing of it happened, so nothing of it exists.
    payout: c1 pool->fund 10 linked            = LINKED_FAILED
    + c1 pool->fund 10 linked                  = LINKED_FAILED
    + c2 pool->fund 10                         = LINKED_FAILED
    balance pool 90
    payout: c1 pool->fund 10                   = POSTED
    balance pool 80
    # The id of a hold and of what posts it.
    payout: h1 pool->fund 10 hold:100          = POSTED
    + h1 post:h1                               = EXISTS_DIFFERENT
    + p1 post:h1                               = POSTED
    + p1 post:h1                               = EXISTS
    balance pool 70 held 0
  )");
}

TEST_CASE("trap: a retry compared after balancing changed its amount", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    payout: b1 pool->fund 1000 balancing       = POSTED amount 100 debit 0 credit 100
    payout: b1 pool->fund 1000 balancing       = EXISTS amount 100 debit 0 credit 100
    payout: b1 pool->fund 100 balancing        = EXISTS_DIFFERENT
    payout: b1 pool->fund 100                  = EXISTS_DIFFERENT
    payout: more supply->pool 50               = POSTED
    payout: b1 pool->fund 1000 balancing       = EXISTS amount 100 debit 0 credit 100
    balance pool 50
  )");
  const crypto::Entry entry = scene.EntryAt(scene.OutcomeOf("b1").log_index());
  CHECK(entry.U64(crypto::tag::kAmount).value() == 100);
  CHECK(entry.U64(crypto::tag::kRequestedAmount).value() == 1000);
}

TEST_CASE("trap: sums that overflow", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: t1 supply->brim 9223372036854775806 = POSTED credit 9223372036854775806
    payout: t2 supply->brim 2                  = OVERFLOW
    payout: t3 supply->brim 1                  = POSTED credit 9223372036854775807
    payout: t4 supply->brim 1                  = OVERFLOW
    # All that it ever received counts, whatever is left of it.
    payout: t5 brim->fund 9223372036854775807  = POSTED debit 0 credit 9223372036854775807
    payout: t6 fund->brim 1                    = OVERFLOW
    # The supply has given all that a lifetime can count.
    payout: t7 supply->pool 1                  = OVERFLOW
    # A hold is refused where what is held would overflow; posting one where a total would.
    payout: h1 gpusupply->gpupool 9223372036854775807 hold:100 = POSTED
    payout: h2 gpusupply->gpupool 1 hold:100   = OVERFLOW
    payout: p1 post:h1                         = POSTED
    payout: h3 gpusupply->gpupool 1 hold:100   = POSTED
    payout: p3 post:h3                         = OVERFLOW
    payout: v3 void:h3                         = POSTED
  )");
}

// "a database behind the last signed checkpoint is refused" (recovery_test.cc) is the twelfth:
// restoring a backup to a point before a checkpoint that was signed.

}  // namespace
}  // namespace rochdale::ledger::testing
