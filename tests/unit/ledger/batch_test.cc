#include "services/ledger/batch.h"

#include <catch2/catch.hpp>
#include <vector>

#include "libs/base/errors.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/merkle.h"
#include "services/ledger/transfer_entry.h"

namespace rochdale::ledger {
namespace {

using Result = TransferResult;

constexpr int64_t kNow = 1'700'000'000'000'000;

Uuid Numbered(uint8_t n) {
  Uuid id;
  id.bytes[15] = n;
  return id;
}

const PrincipalId kAnn{Numbered(101)};

Caller Ann() { return {false, "", kAnn, {}}; }
Caller Payout() { return {true, "payout", {}, {}}; }

Account AccountOf(uint8_t n, AccountType type, std::optional<int64_t> floor = 0) {
  Account account;
  account.id = {Numbered(n)};
  account.owner = type == AccountType::kSystem ? Numbered(201) : kAnn.value;
  account.type = type;
  account.asset = "token";
  account.floor = floor;
  return account;
}

Transfer TransferOf(uint8_t id, uint8_t debit, uint8_t credit, int64_t amount) {
  Transfer transfer;
  transfer.id = {Numbered(id)};
  transfer.debit = {Numbered(debit)};
  transfer.credit = {Numbered(credit)};
  transfer.amount = amount;
  transfer.kind = TransferKind::kReward;
  transfer.authorised_by = {Numbered(250)};
  return transfer;
}

Command Opening(Caller caller, std::vector<Account> accounts) {
  return {caller, OpenAccounts{std::move(accounts), {Numbered(240)}}};
}
Command Posting(Caller caller, std::vector<Transfer> transfers) {
  return {caller, PostTransfers{std::move(transfers), std::nullopt}};
}

// Ann's registration is in the log, and so is the attestation that she may send without a limit.
Books WithAnn() {
  Books books;
  books.authority.principals[kAnn] = {{Numbered(230)}, 3, kNow + 1};
  books.authority.complete_until_us = kNow;
  books.spent_known.insert({kAnn.value, DayOf(kNow)});
  return books;
}

std::vector<Result> ResultsOf(const absl::StatusOr<Reply>& reply) {
  std::vector<Result> results;
  for (const Outcome& outcome : reply.value().outcomes) results.push_back(outcome.result);
  return results;
}

TEST_CASE("an id that comes twice in one batch is treated as if it came in two", "[ledger]") {
  Books books;
  Batch batch(books, kNow);
  REQUIRE(batch.Decide(Opening(Payout(), {AccountOf(1, AccountType::kSystem, std::nullopt),
                                          AccountOf(2, AccountType::kPerson)})).ok());
  // Posted, the same again, other content; then a refusal that burns its id.
  const auto first = batch.Decide(Posting(
      Payout(), {TransferOf(10, 1, 2, 70), TransferOf(10, 1, 2, 70), TransferOf(10, 1, 2, 71),
                 TransferOf(11, 1, 3, 5), TransferOf(11, 1, 2, 5)}));
  CHECK(ResultsOf(first) ==
        std::vector<Result>{Result::kPosted, Result::kExists, Result::kExistsDifferent,
                            Result::kCreditAccountNotFound, Result::kIdAlreadyFailed});
  CHECK(first->outcomes[0].credit_balance == 70);
  CHECK(first->outcomes[1].credit_balance == 70);
  CHECK(first->outcomes[1].log_index == first->outcomes[0].log_index);
  CHECK(first->outcomes[2].message == "it was posted with another amount_micro");
  // The same in a later command of the batch.
  CHECK(ResultsOf(batch.Decide(Posting(Payout(), {TransferOf(10, 1, 2, 70)}))) ==
        std::vector<Result>{Result::kExists});
  CHECK(ResultsOf(batch.Decide(Posting(Payout(), {TransferOf(11, 1, 2, 5)}))) ==
        std::vector<Result>{Result::kIdAlreadyFailed});
  CHECK(batch.status().ok());
  const Changes changes = batch.Finish();
  CHECK(changes.entries.size() == 3);
  CHECK(changes.ids.size() == 4);  // one of them burned
  CHECK(changes.changed.empty());
  REQUIRE(changes.touched.size() == 2);
  CHECK(changes.touched[0].after.balance() == -70);
  CHECK(changes.touched[1].after.balance() == 70);
  REQUIRE(changes.touched[1].indexes.size() == 1);
  CHECK(changes.touched[1].indexes[0] == first->outcomes[0].log_index);
}

TEST_CASE("accounts are opened all or none", "[ledger]") {
  Books books = WithAnn();
  Batch batch(books, kNow);
  REQUIRE(batch.Decide(Opening(Payout(), {AccountOf(1, AccountType::kSystem)})).ok());
  Account other = AccountOf(1, AccountType::kSystem);
  other.label = "other";
  const auto refused =
      batch.Decide(Opening(Payout(), {AccountOf(2, AccountType::kPerson), other}));
  CHECK(ReasonOf(refused.status()) == "ALREADY_EXISTS");
  // Twice in one command: the same is opened once, another is refused.
  CHECK(batch.Decide(Opening(Payout(), {AccountOf(3, AccountType::kPerson),
                                        AccountOf(3, AccountType::kPerson)})).ok());
  Account odd = AccountOf(4, AccountType::kPerson);
  odd.asset = "eur";
  CHECK(ReasonOf(batch.Decide(Opening(Payout(), {AccountOf(4, AccountType::kPerson), odd}))
                     .status()) == "ALREADY_EXISTS");
  CHECK(ReasonOf(batch.Decide(Opening(Ann(), {AccountOf(5, AccountType::kSystem)})).status()) ==
        "PERMISSION_DENIED");
  const Changes changes = batch.Finish();
  CHECK(changes.opened.size() == 2);
  CHECK(changes.entries.size() == 2);
}

TEST_CASE("entries are appended all or none, each event once", "[ledger]") {
  const auto entry = [](uint8_t event, const std::string& leaf) {
    LogEntry e;
    e.event_id = {Numbered(event)};
    e.leaf = leaf;
    e.leaf_hash = crypto::LeafHash(leaf);
    return e;
  };
  Books books;
  books.ids[Numbered(1)] = {{77, 0}, crypto::LeafHash("one"), nullptr};
  Batch batch(books, kNow);
  const auto append = [&](std::vector<LogEntry> entries) {
    return batch.Decide({Payout(), AppendEntries{std::move(entries)}});
  };
  CHECK(append({entry(1, "one"), entry(2, "two"), entry(2, "two"), entry(3, "three")})
            ->log_indexes == std::vector<int64_t>{77, 0, 0, 1});
  CHECK(ReasonOf(append({entry(4, "four"), entry(1, "other")}).status()) == "REQUEST_ID_REUSED");
  CHECK(ReasonOf(append({entry(4, "four"), entry(4, "other")}).status()) == "REQUEST_ID_REUSED");
  CHECK(append({entry(4, "four"), entry(2, "two")})->log_indexes == std::vector<int64_t>{2, 0});
  CHECK(batch.Finish().entries.size() == 3);
}

TEST_CASE("what is written to the log says who, what and by which authority", "[ledger]") {
  Books books = WithAnn();
  Account rich = AccountOf(1, AccountType::kPerson);
  rich.credits = 500;
  books.accounts[rich.id] = rich;
  books.accounts[{Numbered(2)}] = AccountOf(2, AccountType::kSystem);
  Batch batch(books, kNow);
  crypto::SignedDocument order;
  order.type = "rochdale.ledger.v1.TransferOrder";
  order.body = "{}";
  Transfer transfer = TransferOf(10, 1, 2, 120);
  transfer.kind = TransferKind::kRevenue;
  transfer.reference = "order 7";
  transfer.authorised_by = {};
  REQUIRE(batch.Decide({Ann(), PostTransfers{{transfer}, order}})->outcomes[0].result ==
          Result::kPosted);
  const Changes changes = batch.Finish();
  REQUIRE(changes.entries.size() == 1);
  const auto entry = crypto::DecodeEntry(changes.entries[0].leaf);
  REQUIRE(entry.ok());
  CHECK(crypto::CheckKind(*entry).ok());
  CHECK(entry->event_id == PostedEvent(transfer.id));
  CHECK(entry->subject == transfer.id.value);
  CHECK(entry->authorised_by.value == Numbered(230));
  CHECK(entry->cooperative.value == Numbered(201));
  CHECK(entry->U64(crypto::tag::kAmount).value() == 120);
  CHECK(entry->IdAt(crypto::tag::kPrincipal).value() == kAnn.value);
  CHECK(entry->Bytes(crypto::tag::kReference).value() == "order 7");
  CHECK(entry->DigestAt(crypto::tag::kDocumentDigest).value() == crypto::DocumentDigest(order));
  CHECK(entry->I64(crypto::tag::kDebitBalance).value() == 380);
  CHECK(entry->time_us == kNow);
  CHECK(changes.touched.size() == 2);
  CHECK(changes.spent.at({kAnn.value, "token", DayOf(kNow)}) == 120);
  const auto again = ParseTransferEntry(changes.entries[0]);
  REQUIRE(again.ok());
  CHECK(DifferenceOf(*again, transfer, nullptr, Ann()).empty());
  CHECK(again->transfer.authorised_by.value == Numbered(230));
}

TEST_CASE("a principal waits until its registration is in the log", "[ledger]") {
  Books known;
  Account rich = AccountOf(1, AccountType::kPerson);
  rich.credits = 500;
  known.accounts[rich.id] = rich;
  known.accounts[{Numbered(2)}] = AccountOf(2, AccountType::kPerson);
  Transfer transfer = TransferOf(10, 1, 2, 600);  // more than there is: it would burn its id
  transfer.kind = TransferKind::kTrade;
  const std::vector<Command> commands = {
      Opening(Ann(), {AccountOf(3, AccountType::kPerson)}), Posting(Ann(), {transfer}),
      {Ann(), RecordBundle{{Numbered(20)}, {Numbered(201)}, {}}}};
  Books books = known;
  Batch early(books, kNow);
  for (const Command& command : commands) {
    const absl::Status refused = early.Decide(command).status();
    CHECK(ReasonOf(refused) == "UNAVAILABLE");
    CHECK(RetryAfterOf(refused) == absl::Milliseconds(200));
  }
  CHECK_FALSE(early.Finish().Any());
  known.authority = WithAnn().authority;
  Batch later(known, kNow);
  for (const Command& command : commands) CHECK(later.Decide(command).ok());
  const Changes changes = later.Finish();
  CHECK(changes.entries.size() == 2);
  CHECK(changes.ids.size() == 3);  // one of them burned
}

TEST_CASE("a log is started once", "[ledger]") {
  const StartLog start{crypto::KeyPair::FromSeed({1}).public_key(), "example.org/log"};
  Books books;
  Batch batch(books, kNow);
  CHECK(batch.Decide({Payout(), start}).ok());
  CHECK(batch.Decide({Payout(), start}).ok());
  const Changes changes = batch.Finish();
  REQUIRE(changes.entries.size() == 1);
  const auto entry = crypto::DecodeEntry(changes.entries[0].leaf);
  REQUIRE(entry.ok());
  CHECK(entry->Text(crypto::tag::kOrigin).value() == "example.org/log");
}

}  // namespace
}  // namespace rochdale::ledger
