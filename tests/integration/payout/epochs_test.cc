// Pools, epochs and statements: what is closed, by whom, and what it says.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/sha256.h"
#include "services/payout/domain.h"
#include "services/payout/shares.h"
#include "tests/integration/payout/world.h"

namespace rochdale::payout::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;
using Fields = std::vector<std::string>;

int CountKind(const std::vector<crypto::Entry>& log, uint16_t wanted) {
  return static_cast<int>(std::count_if(log.begin(), log.end(), [&](const crypto::Entry& e) {
    return e.kind == wanted;
  }));
}

TEST_CASE("an epoch shares its revenue exactly, and says how", "[payout]") {
  World w;
  w.tolerance_nanonats = 1'000;
  std::vector<Person> people;
  for (int i = 0; i < 4; ++i) people.push_back(w.f.NewPerson());
  const std::vector<std::string> first = w.PutRound(
      1, {{people[0], 90}, {people[1], 75}, {people[3], 0, filter_v1::UPDATE_STATE_REJECTED,
                                             "ORIGINALITY"}});
  const std::vector<std::string> second =
      w.PutRound(2, {{people[0], 2},
                     {people[1], 0, filter_v1::UPDATE_STATE_NOT_APPLIED, "NOT_APPLIED_HARMFUL"},
                     {people[2], 48}});
  w.ledger.SetBalance(w.pool.account_id(), 1'000'000);
  const int before = w.f.OutboxRows();
  const v1::Epoch closed = w.Close(1, 2);
  CHECK(closed.number() == 1);
  CHECK(closed.revenue_microtokens() == 1'000'000);
  CHECK(closed.credit_sum_nanonats() == 215);
  CHECK(closed.recipients() == 3);
  REQUIRE(w.Settles(closed.epoch_id()));

  const int64_t payments[] = {427'907, 348'837, 223'256, 0};
  const v1::Epoch settled = w.EpochOf(closed.epoch_id());
  CHECK(settled.paid_microtokens() == 1'000'000);
  CHECK(settled.distribution_root() == closed.distribution_root());
  CHECK(w.ledger.Balance(w.pool.account_id()) == 0);
  CHECK(w.ledger.unauthorised().empty());  // every transfer's statement was in the log before
  CHECK(w.ledger.posted().size() == 3);
  for (int i = 0; i < 4; ++i) {
    CAPTURE(i);
    CHECK(w.Income(people[i]) == payments[i]);
    const v1::Statement s = w.StatementOf(closed.epoch_id(), people[i]);
    CHECK(s.payment_microtokens() == payments[i]);
    CHECK(s.cumulative_microtokens() == payments[i]);
    CHECK(s.paid() == (payments[i] > 0));
    CHECK(s.transfer_id().empty() == (payments[i] == 0));
    CHECK(s.credit_sum_nanonats() == 215);
    // The proof, by the tree's own rules.
    std::vector<crypto::Digest> proof;
    for (const std::string& hash : s.distribution_proof()) {
      proof.push_back(crypto::Digest::FromBytes(hash).value());
    }
    std::string leaf(people[i].id.value.AsBytes());
    for (int shift = 56; shift >= 0; shift -= 8) {
      leaf.push_back(static_cast<char>(s.cumulative_microtokens() >> shift));
    }
    CHECK(crypto::VerifyInclusion(s.distribution_index(), 4, crypto::LeafHash(leaf), proof,
                                  crypto::Digest::Parse(settled.distribution_root()).value())
              .ok());
  }
  const v1::Statement mine = w.StatementOf(closed.epoch_id(), people[1]);
  REQUIRE(mine.lines_size() == 2);
  CHECK(mine.lines(0).update_id() == first[1]);
  CHECK(mine.lines(0).outcome() == "APPLIED");
  CHECK(mine.lines(0).credit_nanonats() == 75);
  CHECK(mine.lines(0).estimate_nanonats() == 80);
  CHECK(mine.lines(0).tolerance_nanonats() == 1'000);
  CHECK(mine.lines(0).deadband_nanonats() == 3'000);
  CHECK(mine.lines(1).outcome() == "NOT_APPLIED");
  CHECK(mine.lines(1).reason() == "NOT_APPLIED_HARMFUL");
  const v1::Statement refused = w.StatementOf(closed.epoch_id(), people[3]);
  REQUIRE(refused.lines_size() == 1);
  CHECK(refused.lines(0).outcome() == "REJECTED");
  CHECK(refused.lines(0).reason() == "ORIGINALITY");
  CHECK_FALSE(refused.lines(0).has_credit_entry());
  CHECK(refused.lines(0).has_decision_entry());

  // The log: the epoch, its statements under it, the settlement; one entry each.
  const std::vector<crypto::Entry> log = w.f.Outbox();
  CHECK(w.f.OutboxRows() == before + 6);
  CHECK(CountKind(log, kind::kEpochClosed) == 1);
  CHECK(CountKind(log, kind::kStatementIssued) == 4);
  CHECK(CountKind(log, kind::kEpochSettled) == 1);
  uint64_t stated = 0;
  for (const crypto::Entry& entry : log) {
    if (entry.kind != kind::kStatementIssued) continue;
    CHECK(entry.authorised_by.ToString() == settled.closed_entry().event_id());
    stated += entry.U64(tag::kAmount).value();
  }
  CHECK(stated == 1'000'000);
  for (const ledger_v1::Transfer& transfer : w.ledger.posted()) {
    CHECK(transfer.kind() == ledger_v1::TRANSFER_KIND_REWARD);
    CHECK(transfer.debit_account_id() == w.pool.account_id());
  }
  // Told to those who keep the rounds; a refused update stays refused (I1).
  CHECK(w.attribution.retired().size() == 2);
  v1::ListEpochsRequest list;
  list.set_pool_id(w.pool.pool_id());
  const auto epochs = w.f.Anonymous<Stub>().Ok(&Stub::ListEpochs, list);
  REQUIRE(epochs.epochs_size() == 1);
  CHECK(epochs.epochs(0).SerializeAsString() == settled.SerializeAsString());
}

TEST_CASE("only a founder creates a pool or closes an epoch, by its own signature", "[payout]") {
  std::atomic<int> failures{1};
  World w;
  const Person stranger = w.f.NewPerson();
  const Person member = w.f.NewPerson();
  w.PutRound(1, {{member, 5}});
  w.ledger.SetBalance(w.pool.account_id(), 100);
  const int before = w.f.OutboxRows();
  const auto close = [&](const Person& caller, const Person& signer) {
    return w.f.As<Stub>(caller).Reason(&Stub::CloseEpoch, w.Closing(w.pool, 1, 1, signer));
  };
  CHECK(close(stranger, stranger) == "PERMISSION_DENIED");
  CHECK(close(stranger, w.founder) == "PERMISSION_DENIED");
  CHECK(close(w.founder, stranger) == "PERMISSION_DENIED");
  auto forged = w.Closing(w.pool, 1, 1, w.founder);
  (*forged.mutable_closing()->mutable_signature())[9] ^= 1;
  CHECK(w.f.As<Stub>(w.founder).Reason(&Stub::CloseEpoch, forged) == "SIGNATURE_INVALID");
  auto lost = w.pool;
  lost.set_pool_id(w.f.NewId());
  CHECK(w.f.As<Stub>(w.founder).Reason(&Stub::CloseEpoch, w.Closing(lost, 1, 1, w.founder)) ==
        "NOT_FOUND");
  CHECK(w.f.As<Stub>(w.founder).BadFields(&Stub::CloseEpoch, w.Closing(w.pool, 0, -1, w.founder)) ==
        Fields{"first_round", "last_round"});
  CHECK(w.f.As<Stub>(w.founder)
            .BadFields(&Stub::CloseEpoch, w.Closing(w.pool, 1, 1'001, w.founder)) ==
        Fields{"last_round"});

  const std::string other = w.NewCooperative(w.founder);
  CHECK(w.f.As<Stub>(stranger).Reason(&Stub::CreatePool, w.Creating(other, stranger)) ==
        "PERMISSION_DENIED");
  CHECK(w.f.As<Stub>(stranger).Reason(&Stub::CreatePool, w.Creating(other, w.founder)) ==
        "PERMISSION_DENIED");
  CHECK(w.f.OutboxRows() == before);
  CHECK(w.f.As<Stub>(w.founder).Reason(&Stub::CreatePool, w.Creating(w.cooperative, w.founder)) ==
        "ALREADY_EXISTS");
  // The pool is made once, its account opened until the ledger answers.
  w.ledger.before = [&](const std::string& rpc) -> grpc::Status {
    if (rpc == "OpenAccounts" && failures-- > 0) return {grpc::StatusCode::INTERNAL, "not now"};
    return grpc::Status::OK;
  };
  const auto creating = w.Creating(other, w.founder);
  CHECK(w.f.As<Stub>(w.founder).Reason(&Stub::CreatePool, creating) != "OK");
  const v1::Pool made = w.f.As<Stub>(w.founder).Ok(&Stub::CreatePool, creating).pool();
  CHECK(w.ledger.accounts().count(made.account_id()) == 1);
  CHECK(w.f.OutboxRows() == before + 1);
  v1::GetPoolRequest get;
  get.set_cooperative_id(other);
  CHECK(w.f.Anonymous<Stub>().Ok(&Stub::GetPool, get).pool().pool_id() == made.pool_id());
}

TEST_CASE("epochs follow each other over settled rounds", "[payout]") {
  World w;
  const Person ada = w.f.NewPerson();
  for (int64_t number : {1, 2, 3}) w.PutRound(number, {{ada, 10}});
  w.PutRound(4, {{ada, 10}}, attribution_v1::ROUND_STATE_EVALUATE);
  w.PutRound(5, {{ada, 0, filter_v1::UPDATE_STATE_NOT_APPLIED, "NOT_APPLIED_ABANDONED"}},
             attribution_v1::ROUND_STATE_ABANDONED);
  w.ledger.SetBalance(w.pool.account_id(), 1'000);
  auto founder = w.f.As<Stub>(w.founder);
  const auto close = [&](int64_t first, int64_t last) {
    return founder.Reason(&Stub::CloseEpoch, w.Closing(w.pool, first, last, w.founder));
  };
  CHECK(close(2, 3) == "EPOCH_STATE");       // the first epoch starts at round 1
  CHECK(close(1, 4) == "ROUNDS_UNSETTLED");  // round 4 is under way
  CHECK(close(1, 9) == "ROUNDS_UNSETTLED");  // no such rounds
  const auto request = w.Closing(w.pool, 1, 2, w.founder);
  const v1::Epoch first = founder.Ok(&Stub::CloseEpoch, request).epoch();
  REQUIRE(w.Settles(first.epoch_id()));
  // Repeated, also after it has settled, it is the same call.
  CHECK(founder.Ok(&Stub::CloseEpoch, request).epoch().SerializeAsString() ==
        first.SerializeAsString());
  auto reused = w.Closing(w.pool, 3, 3, w.founder);
  reused.set_request_id(request.request_id());
  CHECK(founder.Reason(&Stub::CloseEpoch, reused) == "REQUEST_ID_REUSED");

  w.ledger.SetBalance(w.pool.account_id(), 500);
  CHECK(close(1, 3) == "EPOCH_STATE");  // paid before
  CHECK(close(2, 3) == "EPOCH_STATE");
  CHECK(close(4, 4) == "ROUNDS_UNSETTLED");
  v1::EpochClosing taken;  // an id of an epoch is used once
  taken.set_epoch_id(first.epoch_id());
  taken.set_pool_id(w.pool.pool_id());
  taken.set_first_round(3);
  taken.set_last_round(3);
  auto same_id = w.Closing(w.pool, 3, 3, w.founder);
  *same_id.mutable_closing() = Sign(w.founder.key, taken);
  CHECK(founder.Reason(&Stub::CloseEpoch, same_id) == "ALREADY_EXISTS");
  const v1::Epoch second = w.Close(3, 3);
  REQUIRE(w.Settles(second.epoch_id()));
  CHECK(second.number() == 2);
  CHECK(w.Income(ada) == 1'500);
  CHECK(w.StatementOf(second.epoch_id(), ada).cumulative_microtokens() == 1'500);
}

TEST_CASE("while an epoch settles the next one waits", "[payout]") {
  std::atomic<bool> open{false};
  World w;
  const Person ada = w.f.NewPerson();
  w.PutRound(1, {{ada, 10}});
  w.PutRound(2, {{ada, 10}});
  w.ledger.SetBalance(w.pool.account_id(), 1'000);
  w.ledger.before = [&](const std::string& rpc) -> grpc::Status {
    if (rpc == "PostTransfers" && !open) return {grpc::StatusCode::INTERNAL, "not now"};
    return grpc::Status::OK;
  };
  const v1::Epoch first = w.Close(1, 1);
  CHECK(w.f.As<Stub>(w.founder)
            .Reason(&Stub::CloseEpoch, w.Closing(w.pool, 2, 2, w.founder)) == "EPOCH_STATE");
  open = true;
  REQUIRE(w.Settles(first.epoch_id()));
  w.ledger.SetBalance(w.pool.account_id(), 7);
  REQUIRE(w.Settles(w.Close(2, 2).epoch_id()));
  CHECK(w.Income(ada) == 1'007);
}

TEST_CASE("of two closings at once one is made", "[payout]") {
  World w;
  const Person ada = w.f.NewPerson();
  w.PutRound(1, {{ada, 10}});
  w.ledger.SetBalance(w.pool.account_id(), 1'000);
  std::vector<std::string> reasons(4);
  std::vector<std::thread> callers;
  for (std::string& reason : reasons) {
    callers.emplace_back([&] {
      reason = w.f.As<Stub>(w.founder)
                   .Reason(&Stub::CloseEpoch, w.Closing(w.pool, 1, 1, w.founder));
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(std::count(reasons.begin(), reasons.end(), "OK") == 1);
  CHECK(std::count(reasons.begin(), reasons.end(), "EPOCH_STATE") == 3);
  REQUIRE(Eventually([&] { return w.Income(ada) == 1'000; }));
  CHECK(w.ledger.posted().size() == 1);
}

TEST_CASE("without credit the pool carries over", "[payout]") {
  World w;
  const Person ada = w.f.NewPerson();
  const auto updates = w.PutRound(1, {{ada, 0}});
  w.PutRound(2, {{ada, 3}});
  w.ledger.SetBalance(w.pool.account_id(), 1'000);
  const v1::Epoch carried = w.Close(1, 1);
  CHECK(carried.state() == v1::EPOCH_STATE_CARRIED_OVER);
  CHECK(carried.revenue_microtokens() == 0);
  CHECK(carried.recipients() == 0);
  // Its rounds are over all the same, and those who keep them are told.
  REQUIRE(Eventually([&] { return w.attribution.retired().size() == 1; }));
  REQUIRE(Eventually([&] {
    return w.f.Number("SELECT count(*) FROM epochs WHERE announced") == 1;
  }));
  CHECK(w.filter.StateOf(*w.attribution.retired().begin(), updates[0]) ==
        filter_v1::UPDATE_STATE_SETTLED);
  CHECK(w.ledger.posted().empty());
  CHECK(CountKind(w.f.Outbox(), kind::kEpochSettled) == 0);
  const v1::Statement s = w.StatementOf(carried.epoch_id(), ada);
  CHECK(s.payment_microtokens() == 0);
  CHECK_FALSE(s.paid());
  // All of it is the next epoch's.
  REQUIRE(w.Settles(w.Close(2, 2).epoch_id()));
  CHECK(w.Income(ada) == 1'000);
}

TEST_CASE("credits are not closed against an empty pool, and reserves stay", "[payout]") {
  World w;
  const Person ada = w.f.NewPerson();
  w.PutRound(1, {{ada, 3}});
  w.governance.SetParameter("payout.reserve_bp", "1000");
  w.f.clock.Advance(absl::Minutes(1));
  CHECK(w.f.As<Stub>(w.founder)
            .Reason(&Stub::CloseEpoch, w.Closing(w.pool, 1, 1, w.founder)) == "EPOCH_STATE");
  w.ledger.SetBalance(w.pool.account_id(), 1'005);
  const v1::Epoch closed = w.Close(1, 1);
  REQUIRE(w.Settles(closed.epoch_id()));
  CHECK(w.Income(ada) == 905);  // the reserve is rounded down
  CHECK(w.ledger.Balance(w.pool.account_id()) == 100);
}

TEST_CASE("a credit that nobody may have stops the closing", "[payout]") {
  World w;
  const Person ada = w.f.NewPerson();
  w.ledger.SetBalance(w.pool.account_id(), 1'000);
  SECTION("of a refused update") {
    w.PutRound(1, {{ada, 3, filter_v1::UPDATE_STATE_REJECTED}});
  }
  SECTION("of an update that was never revealed") {
    w.PutRound(1, {{ada, 3, filter_v1::UPDATE_STATE_EXPIRED}});
  }
  SECTION("of an update that the filter does not know") {
    w.PutRound(1, {{ada, 3}});
    attribution_v1::Credit stray;
    stray.set_update_id(w.f.NewId());
    stray.set_principal_id(ada.id.ToString());
    stray.set_round_id([&] {
      attribution_v1::ListRoundsRequest request;
      request.set_cooperative_id(w.cooperative);
      attribution_v1::ListRoundsResponse rounds;
      w.attribution.ListRounds(nullptr, &request, &rounds);
      return rounds.rounds(0).round_id();
    }());
    w.attribution.Put(stray);
  }
  const int before = w.f.OutboxRows();
  CHECK(w.f.As<Stub>(w.founder)
            .Reason(&Stub::CloseEpoch, w.Closing(w.pool, 1, 1, w.founder)) == "INTERNAL");
  CHECK(w.f.OutboxRows() == before);
  CHECK(w.f.Number("SELECT count(*) FROM epochs") == 0);
}

TEST_CASE("statements are read by their recipients and by founders", "[payout]") {
  World w;
  std::vector<World::Part> parts;
  for (int i = 0; i < 5; ++i) parts.push_back({w.f.NewPerson(), i + 1});
  w.PutRound(1, parts);
  w.ledger.SetBalance(w.pool.account_id(), 1'000);
  const std::string epoch = w.Close(1, 1).epoch_id();
  REQUIRE(w.Settles(epoch));
  const Person& ada = parts[0].person;
  const Person& bob = parts[1].person;
  v1::GetStatementRequest get;
  get.set_epoch_id(epoch);
  get.set_principal_id(ada.id.ToString());
  CHECK(w.f.As<Stub>(ada).Reason(&Stub::GetStatement, get) == "OK");
  CHECK(w.f.As<Stub>(w.f.NewAgent(ada)).Reason(&Stub::GetStatement, get) == "OK");
  CHECK(w.f.As<Stub>(w.founder).Reason(&Stub::GetStatement, get) == "OK");
  CHECK(w.f.As<Stub>(bob).Reason(&Stub::GetStatement, get) == "PERMISSION_DENIED");
  get.clear_principal_id();
  CHECK(w.f.As<Stub>(w.founder).Reason(&Stub::GetStatement, get) == "NOT_FOUND");

  v1::ListStatementsRequest list;
  list.set_epoch_id(epoch);
  list.set_page_size(2);
  CHECK(w.f.As<Stub>(ada).Reason(&Stub::ListStatements, list) == "PERMISSION_DENIED");
  auto founder = w.f.As<Stub>(w.founder);
  int64_t paid = 0;
  int statements = 0;
  do {
    const auto page = founder.Ok(&Stub::ListStatements, list);
    for (const v1::Statement& s : page.statements()) {
      CHECK(s.distribution_index() == statements++);
      paid += s.payment_microtokens();
    }
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  CHECK(statements == 5);
  CHECK(paid == 1'000);
  v1::ListStatementsRequest own;
  const auto mine = w.f.As<Stub>(ada).Ok(&Stub::ListStatements, own);
  REQUIRE(mine.statements_size() == 1);
  CHECK(mine.statements(0).principal_id() == ada.id.ToString());

  // What a founder signed is shown to whoever has its digest from the log.
  v1::GetDocumentRequest get_document;
  int documents = 0;
  for (const crypto::Entry& entry : w.f.Outbox()) {
    if (entry.Find(tag::kDocumentDigest) == nullptr) continue;
    get_document.set_document_sha256(entry.DigestAt(tag::kDocumentDigest).value().ToString());
    const auto document = w.f.As<Stub>(bob).Ok(&Stub::GetDocument, get_document).document();
    CHECK(rochdale::testing::DigestOf(document) == get_document.document_sha256());
    ++documents;
  }
  CHECK(documents == 2);  // the pool's and the epoch's
  get_document.set_document_sha256(std::string(64, '0'));
  CHECK(w.f.As<Stub>(bob).Reason(&Stub::GetDocument, get_document) == "NOT_FOUND");
}

TEST_CASE("every cell of payout's access table holds", "[payout]") {
  World w;
  const auto defects =
      w.f.TryAccessTable(v1::Pool::descriptor()->file()->FindServiceByName("PayoutService"));
  for (const std::string& defect : defects) UNSCOPED_INFO(defect);
  CHECK(defects.empty());
}

}  // namespace
}  // namespace rochdale::payout::testing
