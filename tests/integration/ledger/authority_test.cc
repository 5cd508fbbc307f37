// KYC limits, mandates and pauses, as the ledger knows them from governance's entries.
#include <catch2/catch.hpp>
#include <vector>

#include "libs/crypto/entry_builder.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;
using R = v1::TransferResult;

constexpr int64_t kTokens = 1'000'000;

struct Spenders {
  explicit Spenders(Ledger& ledger) : ledger(ledger), world(ledger) {
    world.Fund(ledger, 100'000 * kTokens);
  }

  v1::Transfer Pay(int64_t amount) {
    return TransferOf(ledger, world.of_ann, world.of_bob, amount, v1::TRANSFER_KIND_TRADE);
  }
  R As(Client client, const crypto::KeyPair& key, const v1::Transfer& transfer) {
    return client.Ok(&Stub::PostTransfers, OrderOf(ledger, key, {transfer}, ledger.clock.Now()))
        .outcomes(0)
        .result();
  }
  R Ann(const v1::Transfer& transfer) {
    return As(ledger.As(world.ann), world.ann.key, transfer);
  }
  R By(const Agent& agent, const v1::Transfer& transfer) {
    return As(ledger.As(agent), agent.key, transfer);
  }

  crypto::EntryBuilder Entry(uint16_t kind, const Uuid& subject) {
    crypto::EntryBuilder builder(kind, {ledger.ids.New(ledger.clock.Now())}, ledger.clock.Now());
    builder.Subject(subject);
    return builder;
  }
  void Signed(crypto::EntryBuilder& builder) {
    builder.Document(crypto::SignDocument(world.ann.key, "test", "{}").value());
    ledger.Governance({builder.BuildBytes().value()});
  }
  Uuid Mandate(const Agent& agent, int64_t day, int64_t total, const std::string& only = "") {
    return MandateIn(cooperative, agent, day, total, only);
  }
  Uuid MandateIn(const CooperativeId& where, const Agent& agent, int64_t day, int64_t total,
                 const std::string& only = "") {
    const Uuid id = ledger.ids.New(ledger.clock.Now());
    crypto::EntryBuilder builder = Entry(kind::kMandateGranted, id);
    builder.Id(tag::kPrincipal, agent.principal)
        .Cooperative(where)
        .Id(tag::kAgent, agent.id)
        .I64(tag::kNotBeforeUs, 0)
        .I64(tag::kExpiresUs, absl::ToUnixMicros(ledger.clock.Now() + absl::Hours(1)))
        .U64(tag::kActions, 1 << 2)
        .U64(tag::kBudgetPerDay, static_cast<uint64_t>(day))
        .U64(tag::kBudgetTotal, static_cast<uint64_t>(total));
    if (!only.empty()) builder.Bytes(tag::kCounterparties, Uuid::Parse(only)->AsBytes());
    Signed(builder);
    return id;
  }

  Ledger& ledger;
  World world;
  CooperativeId cooperative{ledger.ids.New(ledger.clock.Now())};
};

TEST_CASE("a KYC level limits what leaves in a day, holds included", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Spenders s(ledger);
  ledger.Attest(s.world.ann, 0);
  const v1::Transfer early = s.Pay(1);
  CHECK(s.Ann(early) == v1::TRANSFER_RESULT_KYC_LEVEL_TOO_LOW);
  ledger.Attest(s.world.ann, 1);
  CHECK(s.Ann(early) == v1::TRANSFER_RESULT_ID_ALREADY_FAILED);
  CHECK(s.Ann(s.Pay(40 * kTokens)) == v1::TRANSFER_RESULT_POSTED);
  v1::Transfer hold = s.Pay(60 * kTokens);
  hold.set_phase(v1::TRANSFER_PHASE_PENDING);
  hold.set_timeout_s(600);
  CHECK(s.Ann(hold) == v1::TRANSFER_RESULT_POSTED);
  CHECK(s.Ann(s.Pay(1)) == v1::TRANSFER_RESULT_LIMIT_EXCEEDED);
  // Posted in part, the rest may be sent again.
  v1::Transfer post;
  post.set_transfer_id(ledger.NewId());
  post.set_phase(v1::TRANSFER_PHASE_POST);
  post.set_pending_id(hold.transfer_id());
  post.set_amount_micro(50 * kTokens);
  CHECK(s.Ann(post) == v1::TRANSFER_RESULT_POSTED);
  CHECK(s.Ann(s.Pay(10 * kTokens + 1)) == v1::TRANSFER_RESULT_LIMIT_EXCEEDED);
  CHECK(s.Ann(s.Pay(10 * kTokens)) == v1::TRANSFER_RESULT_POSTED);
  ledger.Attest(s.world.ann, 2);
  CHECK(s.Ann(s.Pay(9'900 * kTokens)) == v1::TRANSFER_RESULT_POSTED);
  CHECK(s.Ann(s.Pay(1)) == v1::TRANSFER_RESULT_LIMIT_EXCEEDED);
  ledger.Attest(s.world.ann, 3);
  CHECK(s.Ann(s.Pay(50'000 * kTokens)) == v1::TRANSFER_RESULT_POSTED);
}

TEST_CASE("an agent spends within its mandates", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Spenders s(ledger);
  const Agent agent = ledger.NewAgent(s.world.ann);
  CHECK(s.By(agent, s.Pay(1)) == v1::TRANSFER_RESULT_NOT_AUTHORISED);
  s.Mandate(agent, 100, 150, s.world.of_ann);  // for another account
  CHECK(s.By(agent, s.Pay(1)) == v1::TRANSFER_RESULT_NOT_AUTHORISED);
  const Uuid mandate = s.Mandate(agent, 100, 150, s.world.of_bob);
  const v1::Transfer paid = s.Pay(70);
  CHECK(s.By(agent, paid) == v1::TRANSFER_RESULT_POSTED);
  CHECK(s.By(agent, paid) == v1::TRANSFER_RESULT_EXISTS);
  CHECK(s.By(agent, s.Pay(31)) == v1::TRANSFER_RESULT_MANDATE_EXCEEDED);
  CHECK(s.By(agent, s.Pay(30)) == v1::TRANSFER_RESULT_POSTED);
  CHECK(s.By(agent, s.Pay(1)) == v1::TRANSFER_RESULT_MANDATE_EXCEEDED);
  v1::GetTransferRequest get;
  get.set_transfer_id(paid.transfer_id());
  CHECK(s.world.payout.Ok(&Stub::GetTransfer, get).transfer().mandate_id() == mandate.ToString());
  // One in another cooperative has its own budget; it counts until it is revoked.
  const CooperativeId other{ledger.ids.New(ledger.clock.Now())};
  const Uuid second = s.MandateIn(other, agent, 1'000, 1'000);
  CHECK(s.By(agent, s.Pay(500)) == v1::TRANSFER_RESULT_POSTED);
  crypto::EntryBuilder pause = s.Entry(kind::kAgentPaused, agent.id.value);
  pause.Text(tag::kReason, "TEST");
  s.Signed(pause);
  CHECK(s.By(agent, s.Pay(1)) == v1::TRANSFER_RESULT_AGENT_PAUSED);
  crypto::EntryBuilder resume = s.Entry(kind::kAgentResumed, agent.id.value);
  s.Signed(resume);
  CHECK(s.By(agent, s.Pay(1)) == v1::TRANSFER_RESULT_POSTED);
  crypto::EntryBuilder revoke = s.Entry(kind::kMandateRevoked, second);
  s.Signed(revoke);
  CHECK(s.By(agent, s.Pay(1)) == v1::TRANSFER_RESULT_MANDATE_EXCEEDED);
  // One in the same cooperative takes the first one's place, for the worse too.
  s.Mandate(agent, 20, 20);
  CHECK(s.By(agent, s.Pay(21)) == v1::TRANSFER_RESULT_MANDATE_EXCEEDED);
  CHECK(s.By(agent, s.Pay(20)) == v1::TRANSFER_RESULT_POSTED);
  s.Mandate(agent, 0, 0);
  CHECK(s.By(agent, s.Pay(1)) == v1::TRANSFER_RESULT_MANDATE_EXCEEDED);
  // Who leaves the cooperative takes its mandates along.
  crypto::EntryBuilder left = s.Entry(kind::kMembershipLeft, s.world.ann.id.value);
  left.Cooperative(s.cooperative);
  s.Signed(left);
  CHECK(s.By(agent, s.Pay(1)) == v1::TRANSFER_RESULT_NOT_AUTHORISED);
}

TEST_CASE("a debit waits for news of authority rather than guess", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Spenders s(ledger);
  const auto parameter = [&](const CooperativeId& cooperative, const std::string& value) {
    crypto::EntryBuilder builder = s.Entry(kind::kParameterChanged, cooperative.value);
    builder.Cooperative(cooperative)
        .U64(tag::kVersion, 1)
        .Text(tag::kParameter, "ledger.authority_age_max_ms")
        .Text(tag::kValue, value);
    s.Signed(builder);
  };
  crypto::EntryBuilder founded = s.Entry(kind::kCooperativeFounded, s.cooperative.value);
  founded.Cooperative(s.cooperative).U64(tag::kRulesVersion, 1);
  s.Signed(founded);
  // Another cooperative's parameters do not count here.
  parameter({ledger.ids.New(ledger.clock.Now())}, "1000");
  absl::SleepFor(absl::Milliseconds(1'200));
  CHECK(s.Ann(s.Pay(1)) == v1::TRANSFER_RESULT_POSTED);
  parameter(s.cooperative, "4000");
  CHECK(s.Ann(s.Pay(1)) == v1::TRANSFER_RESULT_POSTED);
  absl::SleepFor(absl::Milliseconds(4'200));
  const v1::Transfer late = s.Pay(1);
  CHECK(ledger.As(s.world.ann)
            .Reason(&Stub::PostTransfers,
                    OrderOf(ledger, s.world.ann.key, {late}, ledger.clock.Now())) ==
        "AUTHORITY_STALE");
  ledger.Governance({});  // nothing new, and that is known now
  CHECK(s.Ann(late) == v1::TRANSFER_RESULT_POSTED);  // the refusal burned no id
}

}  // namespace
}  // namespace rochdale::ledger::testing
