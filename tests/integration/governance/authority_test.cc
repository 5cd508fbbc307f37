// What the entries tell the ledger: it knows of mandates, pauses, memberships and parameters only
// what they say.
#include <algorithm>
#include <catch2/catch.hpp>
#include <map>

#include "libs/crypto/entry_kinds.h"
#include "tests/integration/governance/world.h"

namespace rochdale::governance::testing {
namespace {

using Fields = std::vector<std::string>;
namespace kind = crypto::kind;
namespace tag = crypto::tag;

// As an entry holds an I64.
uint64_t NumberOf(int64_t value) { return static_cast<uint64_t>(value); }

std::string BytesOf(const std::string& id) { return std::string(Uuid::Parse(id)->AsBytes()); }

TEST_CASE("a mandate's entry says all of it", "[governance]") {
  World w;
  const v1::Cooperative made = w.Found("mandates", w.NewPrincipal());
  const std::string& id = made.cooperative_id();
  const Person ada = w.NewMember(made);
  const Agent agent = w.NewAgent(ada);
  v1::Mandate mandate = w.Mandate(id, agent);
  mandate.add_actions(v1::MANDATE_ACTION_SPEND);
  mandate.set_budget_per_day_microtokens(7);
  mandate.set_budget_total_microtokens(70);
  mandate.add_counterparty_account_ids(w.f.NewId());
  mandate.add_counterparty_account_ids(w.f.NewId());
  w.As(ada).Ok(&Stub::GrantMandate, w.Granting(mandate, ada));
  const crypto::Entry granted = w.f.Outbox().back();
  CHECK(granted.kind == kind::kMandateGranted);
  CHECK(granted.cooperative.ToString() == id);
  CHECK(granted.subject.ToString() == mandate.mandate_id());
  CHECK(granted.Find(tag::kPrincipal)->data == ada.id.value.AsBytes());
  CHECK(granted.Find(tag::kAgent)->data == agent.id.value.AsBytes());
  CHECK(granted.Find(tag::kActions)->number == (1u << 1 | 1u << 2));
  CHECK(granted.Find(tag::kNotBeforeUs)->number == NumberOf(mandate.not_before_us()));
  CHECK(granted.Find(tag::kExpiresUs)->number == NumberOf(mandate.expires_us()));
  CHECK(granted.Find(tag::kBudgetPerDay)->number == 7);
  CHECK(granted.Find(tag::kBudgetTotal)->number == 70);
  CHECK(granted.Find(tag::kCounterparties)->data ==
        BytesOf(mandate.counterparty_account_ids(0)) +
            BytesOf(mandate.counterparty_account_ids(1)));

  w.As(ada).Ok(&Stub::RevokeMandate, w.Revoking(mandate.mandate_id(), ada));
  const crypto::Entry revoked = w.f.Outbox().back();
  CHECK(revoked.kind == kind::kMandateRevoked);
  CHECK(revoked.subject.ToString() == mandate.mandate_id());
  CHECK(revoked.cooperative.ToString() == id);
  CHECK(revoked.Find(tag::kPrincipal)->data == ada.id.value.AsBytes());
  CHECK(revoked.Find(tag::kAgent)->data == agent.id.value.AsBytes());

  // Without budgets and counterparties: nothing may be spent, nobody is excluded.
  w.Grant(made, ada, agent);
  const crypto::Entry plain = w.f.Outbox().back();
  CHECK(plain.Find(tag::kActions)->number == 1u << 1);
  CHECK(plain.Find(tag::kBudgetPerDay)->number == 0);
  CHECK(plain.Find(tag::kBudgetTotal)->number == 0);
  CHECK(plain.Find(tag::kCounterparties) == nullptr);

  mandate.set_mandate_id(w.f.NewId());
  mandate.set_counterparty_account_ids(1, "?");
  CHECK(w.As(ada).BadFields(&Stub::GrantMandate, w.Granting(mandate, ada)) ==
        Fields{"counterparty_account_ids[1]"});
}

TEST_CASE("pauses and memberships name whom they concern", "[governance]") {
  World w;
  const v1::Cooperative made = w.Found("names", w.NewPrincipal());
  const Person ada = w.NewMember(made);
  const crypto::Entry consented = w.f.Outbox().back();
  CHECK(consented.kind == kind::kMembershipConsented);
  CHECK(consented.subject == ada.id.value);
  CHECK(consented.cooperative.ToString() == made.cooperative_id());
  const Agent agent = w.NewAgent(ada);
  for (const bool paused : {true, false}) {
    w.As(ada).Ok(&Stub::SetAgentPause, w.Pausing(agent, paused, ada));
    const crypto::Entry entry = w.f.Outbox().back();
    CHECK(entry.kind == (paused ? kind::kAgentPaused : kind::kAgentResumed));
    CHECK(entry.subject == agent.id.value);
    CHECK(entry.Find(tag::kPrincipal)->data == ada.id.value.AsBytes());
  }
  w.As(ada).Ok(&Stub::LeaveCooperative, w.Leaving(made.cooperative_id(), ada));
  const crypto::Entry left = w.f.Outbox().back();
  CHECK(left.kind == kind::kMembershipLeft);
  CHECK(left.subject == ada.id.value);
  CHECK(left.cooperative.ToString() == made.cooperative_id());
}

TEST_CASE("the log has the values that a genesis sets, and later ones, alike", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  v1::Genesis genesis = w.Genesis("rates", {founder}, 1);
  const std::map<std::string, std::string> values = {{"ledger.kyc_l1_daily_micro", "5"},
                                                     {"membership.join_policy", "open"}};
  for (const auto& [name, value] : values) {
    v1::ParameterValue& parameter = *genesis.add_parameters();
    parameter.set_name(name);
    parameter.set_value(value);
  }
  const auto request = w.Founding(genesis, {founder});
  const v1::Cooperative made = w.anyone->Ok(&Stub::FoundCooperative, request).cooperative();
  w.anyone->Ok(&Stub::FoundCooperative, request);  // once
  std::vector<crypto::Entry> entries = w.f.Outbox();
  REQUIRE(entries.size() == 4);  // registration, founding, two parameters
  CHECK(entries[1].kind == kind::kCooperativeFounded);
  entries.erase(entries.begin(), entries.begin() + 2);
  w.As(founder).Ok(&Stub::ChangeParameter,
                   w.Changing(made.cooperative_id(), "ledger.kyc_l1_daily_micro", "6", 1,
                              {founder}));
  entries.push_back(w.f.Outbox().back());
  std::map<std::string, std::string> seen;
  for (size_t i = 0; i < entries.size(); ++i) {
    const crypto::Entry& entry = entries[i];
    CHECK(entry.kind == kind::kParameterChanged);
    CHECK(entry.cooperative.ToString() == made.cooperative_id());
    CHECK(entry.authorised_by.ToString() == made.entry().event_id());
    // Of the first ones the genesis is what was signed.
    CHECK((entry.Find(tag::kDocumentDigest) != nullptr) == (i == 2));
    CHECK(entry.Find(tag::kVersion)->number == (i < 2 ? 1u : 2u));
    const std::string name(entry.Find(tag::kParameter)->data);
    if (i < 2) CHECK(values.at(name) == entry.Find(tag::kValue)->data);
    seen[name] = std::string(entry.Find(tag::kValue)->data);
  }
  CHECK(seen["ledger.kyc_l1_daily_micro"] == "6");

  // Every record of the history points at its own entry.
  v1::ListParameterChangesRequest list;
  list.set_cooperative_id(made.cooperative_id());
  const auto history = w.anyone->Ok(&Stub::ListParameterChanges, list);
  REQUIRE(history.changes_size() == 3);
  for (const auto& change : history.changes()) {
    CHECK(std::count_if(entries.begin(), entries.end(), [&](const crypto::Entry& entry) {
            return entry.event_id.ToString() == change.entry().event_id() &&
                   entry.Find(tag::kParameter)->data == change.value().name();
          }) == 1);
  }
}

TEST_CASE("the ledger is told until when it knows everything", "[governance]") {
  GovernanceOptions options;
  options.heartbeat_every = absl::Milliseconds(20);
  World w(options);
  REQUIRE(Eventually([&] { return w.ledger.complete_until().size() >= 2; }));
  CHECK(w.ledger.complete_until().back() == w.f.NowUs());
  const int64_t before = w.f.NowUs();
  w.NewPrincipal();
  w.f.clock.Advance(absl::Seconds(3));
  REQUIRE(Eventually([&] { return w.ledger.complete_until().back() > before; }));
  CHECK(w.ledger.complete_until().back() == w.f.NowUs());
  // What was committed before the time that was said is there.
  CHECK(w.ledger.entries() == 1);
}

}  // namespace
}  // namespace rochdale::governance::testing
