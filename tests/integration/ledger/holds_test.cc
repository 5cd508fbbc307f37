// Holds, chains, balancing and corrections, through the API.
#include <catch2/catch.hpp>
#include <vector>

#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

using R = v1::TransferResult;
using Results = std::vector<R>;

// A world in which a service moves money between system accounts, which need no orders.
struct Pools {
  explicit Pools(Ledger& ledger) : ledger(ledger), world(ledger), a(Open()), b(Open()) {
    Post({TransferOf(ledger, world.supply, a, 100)});
  }

  std::string Open() {
    const std::string id = ledger.NewId();
    world.payout.Ok(&Stub::OpenAccounts,
                    OpeningOf(ledger, id, ledger.NewId(), v1::ACCOUNT_TYPE_SYSTEM));
    return id;
  }

  v1::Transfer Move(const std::string& from, const std::string& to, int64_t amount) {
    return TransferOf(ledger, from, to, amount, v1::TRANSFER_KIND_ESCROW);
  }
  v1::Transfer Hold(int64_t amount, int timeout_s = 1'000) {
    v1::Transfer hold = Move(a, b, amount);
    hold.set_phase(v1::TRANSFER_PHASE_PENDING);
    hold.set_timeout_s(timeout_s);
    return hold;
  }
  v1::Transfer End(const v1::Transfer& hold, v1::TransferPhase phase, int64_t amount = 0) {
    v1::Transfer end;
    end.set_transfer_id(ledger.NewId());
    end.set_phase(phase);
    end.set_pending_id(hold.transfer_id());
    end.set_amount_micro(amount);
    return end;
  }
  static v1::Transfer Linked(v1::Transfer transfer) {
    transfer.set_linked(true);
    return transfer;
  }

  v1::PostTransfersResponse Post(const std::vector<v1::Transfer>& transfers) {
    return world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, transfers));
  }
  Results ResultsOf(const std::vector<v1::Transfer>& transfers) {
    Results results;
    const v1::PostTransfersResponse posted = Post(transfers);
    for (const auto& outcome : posted.outcomes()) results.push_back(outcome.result());
    return results;
  }
  v1::Account Get(const std::string& id) {
    v1::GetAccountRequest request;
    request.set_account_id(id);
    return world.payout.Ok(&Stub::GetAccount, request).account();
  }
  std::vector<int64_t> State() {
    return {Get(a).balance_micro(), Get(a).held_micro(), Get(b).balance_micro()};
  }

  Ledger& ledger;
  World world;
  std::string a, b;
};

TEST_CASE("a hold sets aside, is posted in part, and ends once", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Pools p(ledger);
  const v1::Transfer hold = p.Hold(60);
  CHECK(p.ResultsOf({hold}) == Results{v1::TRANSFER_RESULT_POSTED});
  CHECK(p.State() == std::vector<int64_t>{100, 60, 0});
  // What is set aside is not there for others.
  CHECK(p.ResultsOf({p.Move(p.a, p.b, 41)}) == Results{v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS});
  CHECK(p.ResultsOf({p.End(hold, v1::TRANSFER_PHASE_POST, 61)}) ==
        Results{v1::TRANSFER_RESULT_PENDING_AMOUNT_EXCEEDED});
  v1::Transfer post = p.End(hold, v1::TRANSFER_PHASE_POST, 45);
  CHECK(p.ResultsOf({post}) == Results{v1::TRANSFER_RESULT_POSTED});
  CHECK(p.State() == std::vector<int64_t>{55, 0, 45});
  // Again: the first result; asked for otherwise: what differs.
  const auto again = p.Post({post});
  CHECK(again.outcomes(0).result() == v1::TRANSFER_RESULT_EXISTS);
  CHECK(again.outcomes(0).amount_micro() == 45);
  post.set_amount_micro(0);
  CHECK(p.ResultsOf({post}) == Results{v1::TRANSFER_RESULT_EXISTS_DIFFERENT});
  CHECK(p.ResultsOf({p.End(hold, v1::TRANSFER_PHASE_POST),
                     p.End(hold, v1::TRANSFER_PHASE_VOID)}) ==
        Results{v1::TRANSFER_RESULT_PENDING_ALREADY_POSTED,
                v1::TRANSFER_RESULT_PENDING_ALREADY_POSTED});
  // Void and the rest.
  const v1::Transfer second = p.Hold(55);
  const v1::Transfer end = p.End(second, v1::TRANSFER_PHASE_VOID);
  CHECK(p.ResultsOf({second, end}) ==
        Results{v1::TRANSFER_RESULT_POSTED, v1::TRANSFER_RESULT_POSTED});
  CHECK(p.State() == std::vector<int64_t>{55, 0, 45});
  CHECK(p.ResultsOf({p.End(second, v1::TRANSFER_PHASE_POST)}) ==
        Results{v1::TRANSFER_RESULT_PENDING_ALREADY_VOIDED});
  v1::Transfer other = p.End(end, v1::TRANSFER_PHASE_POST);
  v1::Transfer nowhere = p.End(p.Hold(1), v1::TRANSFER_PHASE_POST);
  v1::Transfer differs = p.End(second, v1::TRANSFER_PHASE_VOID);
  differs.set_credit_account_id(p.world.of_ann);
  CHECK(p.ResultsOf({other, nowhere, nowhere, differs}) ==
        Results{v1::TRANSFER_RESULT_PENDING_NOT_A_HOLD, v1::TRANSFER_RESULT_PENDING_NOT_FOUND,
                v1::TRANSFER_RESULT_ID_ALREADY_FAILED, v1::TRANSFER_RESULT_PENDING_DIFFERS});
}

TEST_CASE("a hold expires as an event of the log", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Pools p(ledger);
  const v1::Transfer hold = p.Hold(60, 1), other = p.Hold(30, 600);
  REQUIRE(p.ResultsOf({hold, other}) ==
          Results{v1::TRANSFER_RESULT_POSTED, v1::TRANSFER_RESULT_POSTED});
  for (int i = 0; i < 500 && p.Get(p.a).held_micro() == 90; ++i) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  CHECK(p.State() == std::vector<int64_t>{100, 30, 0});
  CHECK(p.ResultsOf({p.End(hold, v1::TRANSFER_PHASE_POST)}) ==
        Results{v1::TRANSFER_RESULT_PENDING_EXPIRED});
  v1::ListEntriesRequest list;
  list.set_subject_id(hold.transfer_id());
  const auto entries = p.world.payout.Ok(&Stub::GetTreeHead, {});
  CHECK(entries.tree_head().size() > 0);
  CHECK(ledger.Anonymous().Ok(&Stub::ListEntries, list).entries_size() == 2);  // made and expired
  // A restart knows the open one.
  CHECK(p.ResultsOf({p.End(other, v1::TRANSFER_PHASE_POST)}) ==
        Results{v1::TRANSFER_RESULT_POSTED});
}

TEST_CASE("linked transfers succeed or fail together", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Pools p(ledger);
  const v1::Transfer one = p.Linked(p.Move(p.a, p.b, 60)), two = p.Linked(p.Move(p.b, p.a, 10)),
                     three = p.Move(p.a, p.b, 20);
  CHECK(p.ResultsOf({one, two, three}) == Results(3, v1::TRANSFER_RESULT_POSTED));
  CHECK(p.State() == std::vector<int64_t>{30, 0, 70});
  CHECK(p.ResultsOf({one, two, three}) == Results(3, v1::TRANSFER_RESULT_EXISTS));
  // The last one asks for too much: nothing of the chain is there, and what is beside it is.
  const v1::Transfer ok = p.Linked(p.Move(p.a, p.b, 30)), bad = p.Move(p.a, p.b, 1),
                     beside = p.Move(p.b, p.a, 5);
  CHECK(p.ResultsOf({ok, bad, beside}) ==
        Results{v1::TRANSFER_RESULT_LINKED_FAILED, v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS,
                v1::TRANSFER_RESULT_POSTED});
  CHECK(p.State() == std::vector<int64_t>{35, 0, 65});
  CHECK(p.ResultsOf({ok, bad}) ==
        Results{v1::TRANSFER_RESULT_LINKED_FAILED, v1::TRANSFER_RESULT_ID_ALREADY_FAILED});
  // A hold and what posts it, undone together.
  const v1::Transfer hold = p.Linked(p.Hold(35));
  CHECK(p.ResultsOf({hold, p.Linked(p.End(hold, v1::TRANSFER_PHASE_POST)), p.Move(p.a, p.b, 9)}) ==
        Results{v1::TRANSFER_RESULT_LINKED_FAILED, v1::TRANSFER_RESULT_LINKED_FAILED,
                v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS});
  CHECK(p.State() == std::vector<int64_t>{35, 0, 65});
  CHECK(p.ResultsOf({p.End(hold, v1::TRANSFER_PHASE_POST)}) ==
        Results{v1::TRANSFER_RESULT_PENDING_NOT_FOUND});
  // Partly there already; and open at the end.
  CHECK(p.ResultsOf({p.Linked(p.Move(p.a, p.b, 1)), beside}) ==
        Results{v1::TRANSFER_RESULT_LINKED_FAILED, v1::TRANSFER_RESULT_EXISTS});
  CHECK(p.ResultsOf({p.Linked(p.Move(p.a, p.b, 1)), p.Linked(p.Move(p.a, p.b, 1))}) ==
        Results{v1::TRANSFER_RESULT_LINKED_FAILED, v1::TRANSFER_RESULT_LINKED_CHAIN_OPEN});
  CHECK(p.State() == std::vector<int64_t>{35, 0, 65});
}

TEST_CASE("a balancing transfer moves what is there", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Pools p(ledger);
  REQUIRE(p.ResultsOf({p.Hold(30)}) == Results{v1::TRANSFER_RESULT_POSTED});
  v1::Transfer all = p.Move(p.a, p.b, 1'000);
  all.set_balancing(true);
  const auto posted = p.Post({all});
  CHECK(posted.outcomes(0).result() == v1::TRANSFER_RESULT_POSTED);
  CHECK(posted.outcomes(0).amount_micro() == 70);
  CHECK(p.State() == std::vector<int64_t>{30, 30, 70});
  CHECK(p.Post({all}).outcomes(0).result() == v1::TRANSFER_RESULT_EXISTS);
  all.set_amount_micro(70);  // what moved is not what was asked for
  CHECK(p.ResultsOf({all}) == Results{v1::TRANSFER_RESULT_EXISTS_DIFFERENT});
  all.set_transfer_id(ledger.NewId());
  CHECK(p.ResultsOf({all}) == Results{v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS});
}

TEST_CASE("corrections go back the same way, once", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Pools p(ledger);
  const v1::Transfer first = p.Move(p.a, p.b, 50);
  REQUIRE(p.ResultsOf({first}) == Results{v1::TRANSFER_RESULT_POSTED});
  const auto correct = [&](const std::string& id, const std::string& from, const std::string& to,
                           int64_t amount) {
    v1::Transfer correction = p.Move(from, to, amount);
    correction.set_corrects(id);
    return correction;
  };
  const std::string id = first.transfer_id();
  const v1::Transfer part = correct(id, p.b, p.a, 20);
  CHECK(p.ResultsOf({part, part}) ==
        Results{v1::TRANSFER_RESULT_POSTED, v1::TRANSFER_RESULT_EXISTS});
  CHECK(p.ResultsOf({correct(id, p.b, p.a, 31)}) ==
        Results{v1::TRANSFER_RESULT_CORRECTION_EXCEEDS});
  CHECK(p.ResultsOf({correct(id, p.b, p.a, 30), correct(id, p.b, p.a, 1)}) ==
        Results{v1::TRANSFER_RESULT_POSTED, v1::TRANSFER_RESULT_CORRECTION_EXCEEDS});
  CHECK(p.ResultsOf({correct(id, p.a, p.b, 1), correct(part.transfer_id(), p.a, p.b, 1),
                     correct(ledger.NewId(), p.b, p.a, 1)}) ==
        Results{v1::TRANSFER_RESULT_CORRECTION_NOT_ALLOWED,
                v1::TRANSFER_RESULT_CORRECTION_NOT_ALLOWED,
                v1::TRANSFER_RESULT_CORRECTED_NOT_FOUND});
  CHECK(p.State() == std::vector<int64_t>{100, 0, 0});
}

}  // namespace
}  // namespace rochdale::ledger::testing
