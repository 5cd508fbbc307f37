// Settlement: whatever fails or dies, everybody is paid once and exactly.
#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <mutex>

#include "libs/crypto/entry_kinds.h"
#include "services/payout/domain.h"
#include "tests/integration/payout/world.h"

namespace rochdale::payout::testing {
namespace {

struct Case {
  World w;
  std::vector<Person> people;
  Case() {
    std::vector<World::Part> parts;
    for (int i = 0; i < 3; ++i) {
      people.push_back(w.f.NewPerson());
      parts.push_back({people.back(), std::vector{92, 75, 48}[i]});
    }
    w.PutRound(1, parts);
    w.ledger.SetBalance(w.pool.account_id(), 1'000'000);
  }
  void CheckPaidOnce(const std::string& epoch) {
    const int64_t payments[] = {427'907, 348'837, 223'256};
    for (int i = 0; i < 3; ++i) {
      CHECK(w.Income(people[i]) == payments[i]);
      CHECK(w.StatementOf(epoch, people[i]).paid());
    }
    CHECK(w.ledger.posted().size() == 3);
    CHECK(w.ledger.Balance(w.pool.account_id()) == 0);
    CHECK(w.ledger.SumOfBalances() == 1'000'000);
    CHECK(w.ledger.unauthorised().empty());
    CHECK(w.EpochOf(epoch).paid_microtokens() == 1'000'000);
    int settled = 0;
    for (const crypto::Entry& entry : w.f.Outbox()) {
      settled += entry.kind == crypto::kind::kEpochSettled;
    }
    CHECK(settled == 1);
    CHECK(w.attribution.retired().size() == 1);
  }
};

// `times` failures of one rpc.
Fault Failing(const std::string& rpc, std::atomic<int>& times) {
  return [rpc, &times](const std::string& called) -> grpc::Status {
    if (called == rpc && times-- > 0) return {grpc::StatusCode::INTERNAL, "a fault of this test"};
    return grpc::Status::OK;
  };
}

TEST_CASE("settlement outlives every failure of its neighbours", "[payout]") {
  struct Row {
    const char* rpc;
    bool after;  // the effect takes place, the answer is lost
  };
  const Row rows[] = {{"AppendEntries", false}, {"AppendEntries", true},  {"OpenAccounts", false},
                      {"OpenAccounts", true},   {"PostTransfers", false}, {"PostTransfers", true},
                      {"RetireRounds", false},  {"RetireRounds", true},   {"RecordOutcomes", false},
                      {"RecordOutcomes", true}};
  for (const Row& row : rows) {
    CAPTURE(row.rpc, row.after);
    std::atomic<int> times{2};
    Case c;
    const Fault fault = Failing(row.rpc, times);
    if (row.after) {
      c.w.ledger.after = c.w.attribution.after = c.w.filter.after = fault;
    } else {
      c.w.ledger.before = c.w.attribution.before = c.w.filter.before = fault;
    }
    const std::string epoch = c.w.Close(1, 1).epoch_id();
    REQUIRE(c.w.Settles(epoch));
    CHECK(times < 2);  // it was met; what took effect is not always asked for again
    c.CheckPaidOnce(epoch);
  }
}

TEST_CASE("a refused transfer is tried again under another id, and reported", "[payout]") {
  std::mutex mutex;
  std::map<std::string, int> refused;  // by recipient
  std::atomic<int> times{1};           // the first answer is lost, so that id is burned unheard
  Case c;
  c.w.ledger.after = Failing("PostTransfers", times);
  const std::string unlucky = PaymentAccount(c.people[1].id).ToString();
  c.w.ledger.refuse = [&](const ledger_v1::Transfer& transfer) {
    std::lock_guard lock(mutex);
    if (transfer.credit_account_id() != unlucky || ++refused[unlucky] > 3) {
      return ledger_v1::TRANSFER_RESULT_UNSPECIFIED;
    }
    return ledger_v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_OPEN;
  };
  const std::string epoch = c.w.Close(1, 1).epoch_id();
  REQUIRE(c.w.Settles(epoch));
  c.CheckPaidOnce(epoch);
  // The fourth attempt, whose id the statement names.
  const EpochId id = EpochId::Parse(epoch).value();
  CHECK(c.w.StatementOf(epoch, c.people[1]).transfer_id() ==
        PaymentTransfer(id, c.people[1].id, 4).ToString());
  CHECK(c.w.StatementOf(epoch, c.people[0]).transfer_id() ==
        PaymentTransfer(id, c.people[0].id, 1).ToString());
  const auto exceptions = c.w.governance.exceptions();
  REQUIRE(exceptions.size() == 1);
  CHECK(exceptions[0].kind() == governance::v1::EXCEPTION_KIND_PAYOUT);
  CHECK(exceptions[0].cooperative_id() == c.w.cooperative);
}

TEST_CASE("an id that moved value for something else is never followed by a payment", "[payout]") {
  std::mutex mutex;
  std::map<std::string, int> tried;
  Case c;
  const std::string odd = PaymentAccount(c.people[2].id).ToString();
  c.w.ledger.refuse = [&](const ledger_v1::Transfer& transfer) {
    std::lock_guard lock(mutex);
    if (transfer.credit_account_id() != odd) return ledger_v1::TRANSFER_RESULT_UNSPECIFIED;
    ++tried[transfer.transfer_id()];
    return ledger_v1::TRANSFER_RESULT_EXISTS_DIFFERENT;
  };
  const std::string epoch = c.w.Close(1, 1).epoch_id();
  REQUIRE(Eventually([&] { return c.w.ledger.posted().size() == 2; }));
  REQUIRE(Eventually([&] { return !c.w.governance.exceptions().empty(); }));
  absl::SleepFor(absl::Milliseconds(800));
  CHECK(c.w.EpochOf(epoch).state() == v1::EPOCH_STATE_SETTLING);
  std::lock_guard lock(mutex);
  CHECK(tried.size() == 1);  // one id only, so never a second payment
}

TEST_CASE("a process that dies between posting and noting it pays nobody twice", "[payout]") {
  for (const char* rpc : {"PostTransfers", "RetireRounds", "RecordOutcomes", "AppendEntries"}) {
    CAPTURE(rpc);
    std::atomic<bool> reached{false}, dead{true};
    Case c;
    const Fault die = [&](const std::string& called) -> grpc::Status {
      if (called != rpc || !dead) return grpc::Status::OK;
      reached = true;  // done, and the process never hears of it
      return {grpc::StatusCode::INTERNAL, "a fault of this test"};
    };
    c.w.ledger.after = c.w.attribution.after = c.w.filter.after = die;
    const std::string epoch = c.w.Close(1, 1).epoch_id();
    REQUIRE(Eventually([&] { return reached.load(); }));
    c.w.f.Stop();
    dead = false;
    c.w.Serve();
    REQUIRE(c.w.Settles(epoch));
    c.CheckPaidOnce(epoch);
  }
}

TEST_CASE("what is settled stays settled", "[payout]") {
  Case c;
  const std::string epoch = c.w.Close(1, 1).epoch_id();
  REQUIRE(c.w.Settles(epoch));
  const std::string before = c.w.EpochOf(epoch).SerializeAsString();
  const std::string statement = c.w.StatementOf(epoch, c.people[0]).SerializeAsString();
  c.w.ledger.SetBalance(c.w.pool.account_id(), 1'000'000);
  c.w.f.Stop();
  c.w.Serve();
  absl::SleepFor(absl::Milliseconds(300));
  CHECK(c.w.ledger.posted().size() == 3);
  CHECK(c.w.EpochOf(epoch).SerializeAsString() == before);
  CHECK(c.w.StatementOf(epoch, c.people[0]).SerializeAsString() == statement);
}

TEST_CASE("one pool's trouble is not another's", "[payout]") {
  v1::Pool stuck_pool;
  Case c;
  stuck_pool = c.w.pool;
  c.w.ledger.refuse = [&](const ledger_v1::Transfer& transfer) {
    return transfer.debit_account_id() == stuck_pool.account_id()
               ? ledger_v1::TRANSFER_RESULT_DEBIT_ACCOUNT_NOT_OPEN
               : ledger_v1::TRANSFER_RESULT_UNSPECIFIED;
  };
  const std::string stuck = c.w.Close(1, 1).epoch_id();
  REQUIRE(Eventually([&] { return !c.w.governance.exceptions().empty(); }));
  c.w.cooperative = c.w.NewCooperative(c.w.founder);
  c.w.pool = c.w.NewPool(c.w.cooperative, c.w.founder);
  const Person eve = c.w.f.NewPerson();
  c.w.PutRound(1, {{eve, 1}});
  c.w.ledger.SetBalance(c.w.pool.account_id(), 50);
  REQUIRE(c.w.Settles(c.w.Close(1, 1).epoch_id()));
  CHECK(c.w.Income(eve) == 50);
  CHECK(c.w.EpochOf(stuck).state() == v1::EPOCH_STATE_SETTLING);
}

TEST_CASE("more recipients than one batch of transfers takes", "[payout]") {
  std::atomic<int> times{1};
  World w;
  std::vector<World::Part> parts;
  constexpr int kPeople = 8'300;
  const crypto::KeyPair key = rochdale::testing::NewKey();
  for (int i = 0; i < kPeople; ++i) {
    parts.push_back({Person{{w.f.ids.New(w.f.clock.Now())}, key}, 1'000 + i});
  }
  w.PutRound(1, parts);
  w.ledger.SetBalance(w.pool.account_id(), 987'654'321);
  // And the first batch's answer is lost.
  w.ledger.after = Failing("PostTransfers", times);
  const std::string epoch = w.Close(1, 1).epoch_id();
  REQUIRE(w.Settles(epoch, absl::Seconds(60)));
  CHECK(w.EpochOf(epoch).paid_microtokens() == 987'654'321);
  CHECK(w.ledger.Balance(w.pool.account_id()) == 0);
  CHECK(w.ledger.posted().size() == kPeople);
  CHECK(w.ledger.SumOfBalances() == 987'654'321);
}

}  // namespace
}  // namespace rochdale::payout::testing
