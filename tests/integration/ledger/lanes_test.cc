// Two batches under way: the later one may need, or change, rows that the earlier one has not
// committed yet.
#include <catch2/catch.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

constexpr int kRounds = 12;
constexpr int kMany = 6'000;

bool AnyBatchFailed(Ledger& ledger) {
  std::lock_guard lock(ledger.log_mutex);
  for (const std::string& line : ledger.log_lines) {
    if (absl::StrContains(line, "a batch was not committed")) return true;
  }
  return false;
}

std::string OpenPool(Ledger& ledger, World& world) {
  const std::string id = ledger.NewId();
  world.payout.Ok(&Stub::OpenAccounts,
                  OpeningOf(ledger, id, ledger.NewId(), v1::ACCOUNT_TYPE_SYSTEM));
  return id;
}

// A batch that takes long to write, with `last` at its end.
std::vector<v1::Transfer> LargeBatch(Ledger& ledger, World& world, const std::string& to,
                                     v1::Transfer last) {
  std::vector<v1::Transfer> transfers;
  for (int i = 0; i < kMany; ++i) transfers.push_back(TransferOf(ledger, world.supply, to, 1));
  transfers.push_back(std::move(last));
  return transfers;
}

TEST_CASE("a small batch that changes what a large one before it does waits for it", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  const std::string a = OpenPool(ledger, world), b = OpenPool(ledger, world);
  world.payout.Ok(&Stub::PostTransfers,
                  PostingOf(ledger, {TransferOf(ledger, world.supply, a, 1'000'000)}));
  Client other = ledger.As("payout");
  int ended_early = 0;
  for (int round = 0; round < kRounds; ++round) {
    v1::Transfer hold = TransferOf(ledger, a, b, 5, v1::TRANSFER_KIND_ESCROW);
    hold.set_phase(v1::TRANSFER_PHASE_PENDING);
    hold.set_timeout_s(1'000);
    const v1::PostTransfersRequest large =
        PostingOf(ledger, LargeBatch(ledger, world, b, hold));
    bool large_done = false;
    std::mutex mutex;
    std::thread large_call([&] {
      world.payout.Ok(&Stub::PostTransfers, large);
      std::lock_guard lock(mutex);
      large_done = true;
    });
    // Ends the hold as soon as the ledger knows of it: mostly while it is still being written.
    for (v1::TransferResult result = v1::TRANSFER_RESULT_UNSPECIFIED;
         result != v1::TRANSFER_RESULT_POSTED;) {
      v1::Transfer end;
      end.set_transfer_id(ledger.NewId());
      end.set_phase(v1::TRANSFER_PHASE_POST);
      end.set_pending_id(hold.transfer_id());
      result = other.Ok(&Stub::PostTransfers, PostingOf(ledger, {end})).outcomes(0).result();
      REQUIRE((result == v1::TRANSFER_RESULT_POSTED ||
               result == v1::TRANSFER_RESULT_PENDING_NOT_FOUND));
    }
    {
      std::lock_guard lock(mutex);
      ended_early += large_done ? 0 : 1;
    }
    large_call.join();
    v1::GetHoldRequest request;
    request.set_transfer_id(hold.transfer_id());
    CHECK(world.payout.Ok(&Stub::GetHold, request).hold().state() == v1::HOLD_STATE_POSTED);
  }
  INFO("the end of the hold was answered before the large batch in " << ended_early << " rounds");
  CHECK_FALSE(AnyBatchFailed(ledger));
}

TEST_CASE("an account is changed while its opening is still being written", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  Client governance = ledger.As("governance");
  for (int round = 0; round < kRounds; ++round) {
    v1::OpenAccountsRequest opening =
        OpeningOf(ledger, ledger.NewId(), ledger.NewId(), v1::ACCOUNT_TYPE_SYSTEM);
    for (int i = 0; i < kMany; ++i) {
      v1::Account& account = *opening.add_accounts();
      account = opening.accounts(0);
      account.set_account_id(ledger.NewId());
    }
    std::thread large_call([&] { world.payout.Ok(&Stub::OpenAccounts, opening); });
    v1::ChangeAccountRequest change;
    change.set_account_id(opening.accounts(kMany).account_id());
    change.set_status(v1::ACCOUNT_STATUS_FROZEN);
    change.mutable_authorised_by()->set_event_id(ledger.NewId());
    std::string reason = "ACCOUNT_NOT_FOUND";
    while (reason == "ACCOUNT_NOT_FOUND") {
      change.set_request_id(ledger.NewId());
      reason = governance.Reason(&Stub::ChangeAccount, change);
    }
    large_call.join();
    CHECK(reason == "OK");
    v1::GetAccountRequest request;
    request.set_account_id(change.account_id());
    CHECK(world.payout.Ok(&Stub::GetAccount, request).account().status() ==
          v1::ACCOUNT_STATUS_FROZEN);
  }
  CHECK_FALSE(AnyBatchFailed(ledger));
}

}  // namespace
}  // namespace rochdale::ledger::testing
