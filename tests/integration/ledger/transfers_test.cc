#include <catch2/catch.hpp>

#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/rpc/document.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

using Results = std::vector<v1::TransferResult>;

Results ResultsOf(const v1::PostTransfersResponse& response) {
  Results results;
  for (const v1::TransferOutcome& outcome : response.outcomes()) {
    results.push_back(outcome.result());
  }
  return results;
}

int64_t BalanceOf(Client& client, const std::string& account) {
  v1::GetAccountRequest request;
  request.set_account_id(account);
  return client.Ok(&Stub::GetAccount, request).account().balance_micro();
}

TEST_CASE("a transfer is posted once, whatever is repeated", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  v1::Transfer transfer = TransferOf(ledger, world.supply, world.of_ann, 700);
  transfer.set_reference("round 3");
  transfer.set_code(65'535);
  const auto first = world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {transfer}));
  REQUIRE(ResultsOf(first) == Results{v1::TRANSFER_RESULT_POSTED});
  CHECK(first.outcomes(0).debit_balance_micro() == -700);
  CHECK(first.outcomes(0).credit_balance_micro() == 700);

  const auto again = world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {transfer, transfer}));
  CHECK(ResultsOf(again) == Results{v1::TRANSFER_RESULT_EXISTS, v1::TRANSFER_RESULT_EXISTS});
  CHECK(again.outcomes(0).log_index() == first.outcomes(0).log_index());
  CHECK(again.outcomes(0).credit_balance_micro() == 700);

  transfer.set_amount_micro(701);
  transfer.set_kind(v1::TRANSFER_KIND_FEE);
  const auto other = world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {transfer}));
  CHECK(ResultsOf(other) == Results{v1::TRANSFER_RESULT_EXISTS_DIFFERENT});
  CHECK(other.outcomes(0).message() == "it was posted with another amount_micro, kind");
  CHECK(BalanceOf(world.payout, world.of_ann) == 700);

  v1::GetTransferRequest get;
  get.set_transfer_id(transfer.transfer_id());
  const v1::Transfer posted = world.payout.Ok(&Stub::GetTransfer, get).transfer();
  CHECK(posted.amount_micro() == 700);
  CHECK(posted.code() == 65'535);
  CHECK(posted.reference() == "round 3");
  CHECK(posted.log_index() == first.outcomes(0).log_index());
  get.set_transfer_id(ledger.NewId());
  CHECK(world.payout.Reason(&Stub::GetTransfer, get) == "NOT_FOUND");

  // The entry in the log is about this transfer.
  v1::GetEntryRequest entry_request;
  entry_request.set_log_index(posted.log_index());
  const auto entry =
      crypto::DecodeEntry(world.payout.Ok(&Stub::GetEntry, entry_request).entry().entry()).value();
  CHECK(entry.kind == crypto::kind::kTransferPosted);
  CHECK(entry.subject.ToString() == transfer.transfer_id());
  CHECK(entry.U64(crypto::tag::kAmount).value() == 700);
  CHECK(entry.authorised_by.ToString() == "01890000-0000-7000-8000-0000000000aa");
}

TEST_CASE("a transfer that failed for a passing reason never succeeds later", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  const std::string pool = ledger.NewId(), late = ledger.NewId();
  world.payout.Ok(&Stub::OpenAccounts,
                  OpeningOf(ledger, pool, ledger.NewId(), v1::ACCOUNT_TYPE_SYSTEM));
  const v1::Transfer poor = TransferOf(ledger, pool, world.of_ann, 10);
  const v1::Transfer nowhere = TransferOf(ledger, world.supply, late, 10);
  const v1::Transfer itself = TransferOf(ledger, pool, pool, 10);
  // In one batch: the first failure already burns the id for the second.
  CHECK(ResultsOf(world.payout.Ok(&Stub::PostTransfers,
                                  PostingOf(ledger, {poor, poor, nowhere, itself, itself}))) ==
        Results{v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS, v1::TRANSFER_RESULT_ID_ALREADY_FAILED,
                v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_FOUND, v1::TRANSFER_RESULT_SAME_ACCOUNT,
                v1::TRANSFER_RESULT_SAME_ACCOUNT});
  world.payout.Ok(&Stub::OpenAccounts,
                  OpeningOf(ledger, late, ledger.NewId(), v1::ACCOUNT_TYPE_PERSON));
  world.payout.Ok(&Stub::PostTransfers,
                  PostingOf(ledger, {TransferOf(ledger, world.supply, pool, 1'000)}));
  const auto retried = world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {poor, nowhere}));
  CHECK(ResultsOf(retried) == Results{v1::TRANSFER_RESULT_ID_ALREADY_FAILED,
                                      v1::TRANSFER_RESULT_ID_ALREADY_FAILED});
  CHECK(retried.outcomes(0).message() == "it failed before with INSUFFICIENT_FUNDS");
  CHECK(BalanceOf(world.payout, world.of_ann) == 0);
  CHECK(BalanceOf(world.payout, pool) == 1'000);
}

TEST_CASE("one call spends no more than there is", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  const std::string pool = ledger.NewId();
  world.payout.Ok(&Stub::OpenAccounts,
                  OpeningOf(ledger, pool, ledger.NewId(), v1::ACCOUNT_TYPE_SYSTEM));
  std::vector<v1::Transfer> transfers{TransferOf(ledger, world.supply, pool, 25)};
  for (int i = 0; i < 4; ++i) transfers.push_back(TransferOf(ledger, pool, world.of_ann, 10));
  CHECK(ResultsOf(world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, transfers))) ==
        Results{v1::TRANSFER_RESULT_POSTED, v1::TRANSFER_RESULT_POSTED,
                v1::TRANSFER_RESULT_POSTED, v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS,
                v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS});
  CHECK(BalanceOf(world.payout, pool) == 5);
  CHECK(BalanceOf(world.payout, world.of_ann) == 20);
}

TEST_CASE("a person moves what is its own, by a signed order", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  world.Fund(ledger, 1'000);
  Client ann = ledger.As(world.ann), bob = ledger.As(world.bob);
  const absl::Time now = ledger.clock.Now();
  const v1::Transfer pay =
      TransferOf(ledger, world.of_ann, world.supply, 300, v1::TRANSFER_KIND_REVENUE);
  const v1::PostTransfersRequest order = OrderOf(ledger, world.ann.key, {pay}, now);

  // Not Bob's to hand in, nor under a signature that is not over it.
  CHECK(bob.Reason(&Stub::PostTransfers, order) == "SIGNATURE_INVALID");
  v1::PostTransfersRequest forged = order;
  std::string body = forged.order().body();
  body.replace(body.find("\"300\""), 5, "\"301\"");
  forged.mutable_order()->set_body(body);
  CHECK(ann.Reason(&Stub::PostTransfers, forged) == "SIGNATURE_INVALID");
  forged = order;
  forged.mutable_order()->set_public_key(
      std::string(world.bob.key.public_key().AsBytes()));
  CHECK(ann.Reason(&Stub::PostTransfers, forged) == "SIGNATURE_INVALID");
  forged = order;
  forged.mutable_order()->set_type("rochdale.ledger.v1.Transfer");
  CHECK(ann.Reason(&Stub::PostTransfers, forged) != "OK");
  CHECK(BalanceOf(ann, world.of_ann) == 1'000);

  const auto posted = ann.Ok(&Stub::PostTransfers, order);
  REQUIRE(ResultsOf(posted) == Results{v1::TRANSFER_RESULT_POSTED});
  CHECK(posted.outcomes(0).debit_balance_micro() == 700);
  // The signature is in the log.
  v1::GetEntryRequest get;
  get.set_log_index(posted.outcomes(0).log_index());
  const auto entry = crypto::DecodeEntry(ann.Ok(&Stub::GetEntry, get).entry().entry()).value();
  const auto document = rpc::FromProto(order.order()).value();
  CHECK(entry.DigestAt(crypto::tag::kDocumentDigest).value() == crypto::DocumentDigest(document));
  CHECK(entry.Bytes(crypto::tag::kSignature).value() == document.signature.AsBytes());
  CHECK(entry.Bytes(crypto::tag::kPublicKey).value() == document.public_key.AsBytes());
  // And what was signed is kept as it was.
  v1::GetDocumentRequest get_document;
  get_document.set_document_sha256(crypto::DocumentDigest(document).ToString());
  CHECK(bob.Ok(&Stub::GetDocument, get_document).document().SerializeAsString() ==
        order.order().SerializeAsString());
  CHECK(ledger.Anonymous().Reason(&Stub::GetDocument, get_document) == "UNAUTHENTICATED");
  get_document.set_document_sha256(std::string(64, '0'));
  CHECK(bob.Reason(&Stub::GetDocument, get_document) == "NOT_FOUND");

  // Replayed: no second effect. The same id with other content: refused.
  CHECK(ResultsOf(ann.Ok(&Stub::PostTransfers, order)) == Results{v1::TRANSFER_RESULT_EXISTS});
  v1::Transfer other = pay;
  other.set_amount_micro(400);
  CHECK(ResultsOf(ann.Ok(&Stub::PostTransfers, OrderOf(ledger, world.ann.key, {other}, now))) ==
        Results{v1::TRANSFER_RESULT_EXISTS_DIFFERENT});
  CHECK(BalanceOf(ann, world.of_ann) == 700);
}

TEST_CASE("an order reaches only its signer's accounts, now, and for its kinds", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  world.Fund(ledger, 1'000);
  Client ann = ledger.As(world.ann), bob = ledger.As(world.bob);
  const absl::Time now = ledger.clock.Now();
  const auto spend = [&](const std::string& from, const std::string& to) {
    return TransferOf(ledger, from, to, 1, v1::TRANSFER_KIND_SPEND);
  };
  CHECK(ResultsOf(bob.Ok(&Stub::PostTransfers,
                         OrderOf(ledger, world.bob.key, {spend(world.of_ann, world.of_bob)},
                                 now))) == Results{v1::TRANSFER_RESULT_NOT_AUTHORISED});
  CHECK(ResultsOf(ann.Ok(&Stub::PostTransfers,
                         OrderOf(ledger, world.ann.key,
                                 {spend(world.supply, world.of_ann),
                                  TransferOf(ledger, world.of_ann, world.of_bob, 1,
                                             v1::TRANSFER_KIND_MINT)},
                                 now))) ==
        Results{v1::TRANSFER_RESULT_NOT_AUTHORISED, v1::TRANSFER_RESULT_NOT_AUTHORISED});
  // A service does not debit a person.
  CHECK(ResultsOf(world.payout.Ok(&Stub::PostTransfers,
                                  PostingOf(ledger, {spend(world.of_ann, world.supply)}))) ==
        Results{v1::TRANSFER_RESULT_NOT_AUTHORISED});

  const auto at = [&](absl::Time time) {
    return ann.Reason(&Stub::PostTransfers,
                      OrderOf(ledger, world.ann.key, {spend(world.of_ann, world.of_bob)}, time));
  };
  CHECK(at(now - absl::Minutes(16)) == "BAD_REQUEST");
  CHECK(at(now + absl::Minutes(16)) == "BAD_REQUEST");
  CHECK(at(now - absl::Minutes(14)) == "OK");
  CHECK(at(now + absl::Minutes(14)) == "OK");

  // Unsigned transfers, ids kept for services, agents.
  CHECK(ann.Reason(&Stub::PostTransfers,
                   PostingOf(ledger, {spend(world.of_ann, world.of_bob)})) == "BAD_REQUEST");
  v1::Transfer derived = spend(world.of_ann, world.of_bob);
  derived.set_transfer_id(crypto::DeterministicId("payout/transfer", 1).ToString());
  CHECK(ann.Reason(&Stub::PostTransfers, OrderOf(ledger, world.ann.key, {derived}, now)) ==
        "BAD_REQUEST");
  CHECK(ledger.AsAgentOf(world.ann)
            .Reason(&Stub::PostTransfers, OrderOf(ledger, world.ann.key,
                                                  {spend(world.of_ann, world.of_bob)}, now)) ==
        "SIGNATURE_INVALID");
  v1::PostTransfersRequest both = OrderOf(ledger, world.ann.key,
                                          {spend(world.of_ann, world.of_bob)}, now);
  *both.add_transfers() = spend(world.supply, world.of_ann);
  CHECK(ann.Reason(&Stub::PostTransfers, both) == "BAD_REQUEST");
  CHECK(world.payout.Reason(&Stub::PostTransfers, both) == "BAD_REQUEST");
  CHECK(BalanceOf(ann, world.of_ann) == 998);
}

TEST_CASE("an account's history comes newest first, by pages", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  std::vector<std::string> expected;
  for (int i = 1; i <= 9; ++i) {
    const std::string to = i % 3 == 0 ? world.of_bob : world.of_ann;
    const v1::Transfer transfer = TransferOf(ledger, world.supply, to, i);
    world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {transfer}));
    if (to == world.of_ann) expected.insert(expected.begin(), transfer.transfer_id());
  }
  const v1::Transfer back =
      TransferOf(ledger, world.of_ann, world.of_bob, 2, v1::TRANSFER_KIND_TRADE);
  ledger.As(world.ann).Ok(&Stub::PostTransfers,
                          OrderOf(ledger, world.ann.key, {back}, ledger.clock.Now()));
  expected.insert(expected.begin(), back.transfer_id());
  std::vector<std::string> seen;
  v1::ListTransfersRequest list;
  list.set_account_id(world.of_ann);
  list.set_page_size(2);
  do {
    const auto page = world.payout.Ok(&Stub::ListTransfers, list);
    for (const v1::Transfer& transfer : page.transfers()) seen.push_back(transfer.transfer_id());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  CHECK(seen == expected);
}

TEST_CASE("a call of 8,190 transfers is one batch, one more is refused", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  std::vector<v1::Transfer> transfers;
  for (int i = 0; i < 8'190; ++i) {
    transfers.push_back(TransferOf(ledger, world.supply, world.of_ann, 1));
  }
  const auto posted = world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, transfers));
  CHECK(ResultsOf(posted) == Results(8'190, v1::TRANSFER_RESULT_POSTED));
  CHECK(posted.outcomes(8'189).credit_balance_micro() == 8'190);
  transfers.push_back(TransferOf(ledger, world.supply, world.of_ann, 1));
  CHECK(world.payout.Reason(&Stub::PostTransfers, PostingOf(ledger, transfers)) == "BAD_REQUEST");
}

}  // namespace
}  // namespace rochdale::ledger::testing
