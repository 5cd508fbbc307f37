// Cooperatives, parameters, exceptions, funding, and the access table.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "libs/config/parameters.h"
#include "libs/crypto/entry_kinds.h"
#include "tests/integration/governance/world.h"

namespace rochdale::governance::testing {
namespace {

using Fields = std::vector<std::string>;
namespace kind = crypto::kind;

std::string PoolAccount(const v1::Cooperative& cooperative, const std::string& name) {
  for (const v1::PoolAccount& pool : cooperative.pool_accounts()) {
    if (pool.name() == name) return pool.account_id();
  }
  return "";
}

void AddPool(v1::Genesis& genesis, const std::string& name, int64_t amount,
             const std::string& owner = "") {
  v1::GenesisPool& pool = *genesis.add_pools();
  pool.set_name(name);
  pool.set_amount_microtokens(amount);
  pool.set_owner_public_key(owner);
}

std::string ValueOf(const v1::GetParametersResponse& parameters, const std::string& name) {
  for (const v1::Parameter& p : parameters.parameters()) {
    if (p.name() == name) return p.value();
  }
  return "(none)";
}

TEST_CASE("a genesis needs m of its n founders over one body", "[governance]") {
  World w;
  const std::vector<Person> founders(3);
  const v1::Genesis genesis = w.Genesis("mill", founders, 2);

  CHECK(w.anyone->Reason(&Stub::FoundCooperative, w.Founding(genesis, {})) ==
        "SIGNATURE_INVALID");
  CHECK(w.anyone->Reason(&Stub::FoundCooperative, w.Founding(genesis, {founders[0]})) ==
        "SIGNATURE_INVALID");
  // The same founder twice is one founder.
  CHECK(w.anyone->Reason(&Stub::FoundCooperative,
                         w.Founding(genesis, {founders[0], founders[0]})) == "SIGNATURE_INVALID");
  CHECK(w.anyone->Reason(&Stub::FoundCooperative, w.Founding(genesis, {founders[0], Person()})) ==
        "SIGNATURE_INVALID");
  auto different = w.Founding(genesis, {founders[0]});
  v1::Genesis other = genesis;
  other.set_name("Another name");
  *different.add_genesis() = Sign(founders[1].key, other);
  CHECK(w.anyone->Reason(&Stub::FoundCooperative, different) == "SIGNATURE_INVALID");
  auto forged = w.Founding(genesis, {founders[0], founders[1]});
  (*forged.mutable_genesis(1)->mutable_signature())[5] ^= 1;
  CHECK(w.anyone->Reason(&Stub::FoundCooperative, forged) == "SIGNATURE_INVALID");
  auto mistyped = w.Founding(genesis, {founders[0]});
  *mistyped.mutable_genesis(0) = Sign(founders[0].key, w.Registration(founders[0]));
  CHECK(w.anyone->Reason(&Stub::FoundCooperative, mistyped) == "DOCUMENT_INVALID");
  CHECK(w.f.OutboxRows() == 0);
  CHECK(w.f.Number("SELECT count(*) FROM documents") == 0);

  const auto request = w.Founding(genesis, {founders[2], founders[0]});
  const v1::Cooperative made = w.anyone->Ok(&Stub::FoundCooperative, request).cooperative();
  CHECK(made.founder_threshold() == 2);
  CHECK(made.founder_public_keys_size() == 3);
  CHECK(made.rules_version() == 1);
  CHECK(made.genesis_sha256() == DigestOf(request.genesis(0)));
  CHECK(made.rules_sha256() == made.genesis_sha256());
  CHECK(w.f.Number("SELECT count(*) FROM documents") == 2);  // both signatures are kept

  const std::vector<crypto::Entry> log = w.f.Outbox();
  REQUIRE(log.size() == 1);
  CHECK(log[0].kind == kind::kCooperativeFounded);
  CHECK(log[0].event_id.ToString() == made.entry().event_id());

  // Known by id and by short name; a second founding of either is refused.
  v1::GetCooperativeRequest by_slug;
  by_slug.set_slug("mill");
  CHECK(w.anyone->Ok(&Stub::GetCooperative, by_slug).cooperative().cooperative_id() ==
        made.cooperative_id());
  CHECK(w.anyone->Reason(&Stub::FoundCooperative,
                         w.Founding(genesis, {founders[0], founders[1]})) == "COOPERATIVE_EXISTS");
  v1::Genesis same_slug = w.Genesis("mill", {founders[0]}, 1);
  CHECK(w.anyone->Reason(&Stub::FoundCooperative, w.Founding(same_slug, {founders[0]})) ==
        "COOPERATIVE_EXISTS");
  CHECK(w.f.OutboxRows() == 1);
}

TEST_CASE("every bad field of a genesis is named at once", "[governance]") {
  World w;
  const Person founder;
  v1::Genesis genesis = w.Genesis("Not A Slug", {founder, founder}, 3);
  genesis.set_cooperative_id("x");
  genesis.set_name("");
  genesis.add_founder_public_keys("00");
  AddPool(genesis, "Pool!", -1);
  AddPool(genesis, "fine", 1, "nobody");
  AddPool(genesis, "fine", 2'000'000'000'000'000);
  for (const auto& [name, value] : {std::pair{"no.such.parameter", "1"},
                                    std::pair{"payout.reserve_bp", "10001"}}) {
    genesis.add_parameters()->set_name(name);
    genesis.mutable_parameters(genesis.parameters_size() - 1)->set_value(value);
  }
  const Fields fields =
      w.anyone->BadFields(&Stub::FoundCooperative, w.Founding(genesis, {founder}));
  for (const char* wanted :
       {"cooperative_id", "name", "slug", "founder_public_keys[1]", "founder_public_keys[2]",
        "pools[0].name", "pools[0].amount_microtokens", "pools[1].owner_public_key",
        "pools[2].name", "pools[2].amount_microtokens", "parameters[0]", "parameters[1]"}) {
    CAPTURE(wanted);
    CHECK(std::count(fields.begin(), fields.end(), wanted) == 1);
  }
}

TEST_CASE("a floor that the filter could not evaluate is refused", "[governance]") {
  World w;
  const Person founder;
  const std::string probe = w.f.NewId();
  struct Row {
    const char* name;
    common::v1::RuleKind kind;
    common::v1::RuleMode mode;
    std::vector<std::string> probes;
    int64_t eps, bound;
    Fields bad;
  };
  using namespace common::v1;  // NOLINT: enumerators
  const Row rows[] = {
      {"direction", RULE_KIND_VALUE_DIRECTION, RULE_MODE_PROJECT, {probe}, 0, 200'000, {}},
      {"defaults", RULE_KIND_MAGNITUDE, RULE_MODE_UNSPECIFIED, {}, 0, 0, {}},
      {"no probe", RULE_KIND_VALUE_EFFECT, RULE_MODE_REVIEW, {}, 0, 0, {"floor[0].probe_ids"}},
      {"a probe too many", RULE_KIND_MAGNITUDE, RULE_MODE_REFUSE, {probe}, 0, 0,
       {"floor[0].probe_ids"}},
      {"twice", RULE_KIND_VALUE_EFFECT, RULE_MODE_REVIEW, {probe, probe}, 0, 0,
       {"floor[0].probe_ids[1]"}},
      {"no id", RULE_KIND_VALUE_EFFECT, RULE_MODE_REVIEW, {"x"}, 0, 0,
       {"floor[0].probe_ids[0]"}},
      {"not to project", RULE_KIND_VALUE_EFFECT, RULE_MODE_PROJECT, {probe}, 0, 0,
       {"floor[0].mode"}},
      {"fit", RULE_KIND_FIT, RULE_MODE_REFUSE, {}, 0, 0, {"floor[0].kind"}},
      {"beyond", RULE_KIND_VALUE_DIRECTION, RULE_MODE_PROJECT, {probe}, -1, 1'000'001,
       {"floor[0].eps_nanonats", "floor[0].bound_micro"}},
      {"Bad Id", RULE_KIND_MAGNITUDE, RULE_MODE_REFUSE, {}, 0, 0, {"floor[0].id"}},
  };
  int n = 0;
  for (const Row& row : rows) {
    CAPTURE(row.name);
    v1::Genesis genesis = w.Genesis("floor-" + std::to_string(++n), {founder}, 1);
    Rule& rule = *genesis.add_floor();
    rule.set_id(std::string(row.name) == "Bad Id" ? "Bad Id" : "rule");
    rule.set_kind(row.kind);
    rule.set_mode(row.mode);
    for (const std::string& id : row.probes) rule.add_probe_ids(id);
    rule.set_eps_nanonats(row.eps);
    rule.set_bound_micro(row.bound);
    const auto request = w.Founding(genesis, {founder});
    if (row.bad.empty()) {
      CHECK(w.anyone->Ok(&Stub::FoundCooperative, request).cooperative().floor_size() == 1);
    } else {
      CHECK(w.anyone->BadFields(&Stub::FoundCooperative, request) == row.bad);
    }
  }
}

TEST_CASE("a floor bounds a round's step on at most 256 probes", "[governance]") {
  World w;
  const Person founder;
  v1::Genesis genesis = w.Genesis("wide", {founder}, 1);
  for (int i = 0; i < 17; ++i) {  // of 16 probes each, one rule more than that
    common::v1::Rule& rule = *genesis.add_floor();
    rule.set_id("rule" + std::to_string(i));
    rule.set_kind(common::v1::RULE_KIND_VALUE_EFFECT);
    rule.set_mode(i % 2 == 0 ? common::v1::RULE_MODE_REFUSE : common::v1::RULE_MODE_REVIEW);
    for (int k = 0; k < 16; ++k) rule.add_probe_ids(w.f.NewId());
  }
  CHECK(w.anyone->BadFields(&Stub::FoundCooperative, w.Founding(genesis, {founder})) ==
        Fields{"floor"});
  // One that holds updates against one another bounds no step; nor does the same probe again.
  genesis.mutable_floor(16)->set_mode(common::v1::RULE_MODE_UNSPECIFIED);
  *genesis.mutable_floor(15)->mutable_probe_ids() = genesis.floor(14).probe_ids();
  CHECK(w.anyone->Ok(&Stub::FoundCooperative, w.Founding(genesis, {founder}))
            .cooperative().floor_size() == 17);
}

TEST_CASE("the first genesis creates the supply, once, whatever the ledger does", "[governance]") {
  std::atomic<int> open_failures{2}, lost_answers{2};
  World w;
  const Person founder = w.NewPrincipal();
  w.ledger.before = [&](const std::string& rpc) -> grpc::Status {
    if (rpc == "OpenAccounts" && open_failures-- > 0) {
      return {grpc::StatusCode::INTERNAL, "the ledger fails first"};
    }
    return grpc::Status::OK;
  };
  w.ledger.after = [&](const std::string& rpc) -> grpc::Status {
    if (rpc == "PostTransfers" && lost_answers-- > 0) {
      return {grpc::StatusCode::INTERNAL, "posted, but the answer is lost"};
    }
    return grpc::Status::OK;
  };
  v1::Genesis genesis = w.Genesis("bank", {founder}, 1);
  AddPool(genesis, "treasury", 700'000'000);
  AddPool(genesis, "customer", 300'000'000, founder.key.public_key().ToString());
  AddPool(genesis, "later", 0);

  v1::Genesis nobody = genesis;
  nobody.mutable_pools(1)->set_owner_public_key(Person().key.public_key().ToString());
  CHECK(w.anyone->BadFields(&Stub::FoundCooperative, w.Founding(nobody, {founder})) ==
        Fields{"pools[1].owner_public_key"});

  const v1::Cooperative made =
      w.anyone->Ok(&Stub::FoundCooperative, w.Founding(genesis, {founder})).cooperative();
  REQUIRE(Eventually([&] {
    return w.f.Number("SELECT count(*) FROM cooperatives WHERE funded") == 1;
  }));
  CHECK(open_failures < 0);
  CHECK(lost_answers < 0);
  CHECK(w.ledger.Balance(PoolAccount(made, "treasury")) == 700'000'000);
  CHECK(w.ledger.Balance(PoolAccount(made, "customer")) == 300'000'000);
  CHECK(w.ledger.Balance(PoolAccount(made, "later")) == 0);
  CHECK(w.ledger.posted().size() == 2);
  CHECK(w.ledger.SumOfBalances() == 0);  // the supply account is as far below zero
  const auto accounts = w.ledger.accounts();
  CHECK(accounts.at(PoolAccount(made, "customer")).owner_id() == founder.id.ToString());
  CHECK(accounts.at(PoolAccount(made, "treasury")).owner_id() == made.cooperative_id());

  // Funded once: a restart posts nothing again, and no later genesis creates tokens.
  const int posts = w.ledger.calls("PostTransfers");
  w.f.Serve([&] {
    w.f.Stop();
    return GovernanceModule::Make(w.f.environment());
  }());
  absl::SleepFor(absl::Milliseconds(500));
  CHECK(w.ledger.calls("PostTransfers") == posts);
  auto anyone = w.f.Anonymous<Stub>();
  v1::Genesis second = w.Genesis("mint", {founder}, 1);
  AddPool(second, "more", 1);
  CHECK(anyone.BadFields(&Stub::FoundCooperative, w.Founding(second, {founder})) ==
        Fields{"pools"});
}

TEST_CASE("a request id is one founding, however often and at once", "[governance]") {
  World w;
  const Person founder;
  const auto request = w.Founding(w.Genesis("once", {founder}, 1), {founder});
  std::vector<std::string> answers(8);
  {
    std::vector<std::thread> callers;
    for (std::string& answer : answers) {
      callers.emplace_back([&] {
        auto client = w.f.Anonymous<Stub>();
        const auto made = client.Call(&Stub::FoundCooperative, request);
        answer = made.ok() ? made->SerializeAsString() : made.status().ToString();
      });
    }
    for (std::thread& caller : callers) caller.join();
  }
  for (const std::string& answer : answers) CHECK(answer == answers[0]);
  CHECK(w.anyone->Ok(&Stub::FoundCooperative, request).SerializeAsString() == answers[0]);
  CHECK(w.f.OutboxRows() == 1);

  auto other = w.Founding(w.Genesis("twice", {founder}, 1), {founder});
  other.set_request_id(request.request_id());
  CHECK(w.anyone->Reason(&Stub::FoundCooperative, other) == "REQUEST_ID_REUSED");
  auto unnamed = other;
  unnamed.set_request_id("");
  CHECK(w.anyone->BadFields(&Stub::FoundCooperative, unnamed) == Fields{"request_id"});
  CHECK(w.f.OutboxRows() == 1);
  // Another caller that knows the id is not handed the first one's response.
  const Person eve = w.NewPrincipal();
  CHECK(w.As(eve).Reason(&Stub::FoundCooperative, request) == "REQUEST_ID_REUSED");
}

TEST_CASE("a parameter is changed by enough founders against its current version",
          "[governance]") {
  World w;
  const std::vector<Person> founders = {w.NewPrincipal(), w.NewPrincipal(), w.NewPrincipal()};
  v1::Genesis genesis = w.Genesis("rules", founders, 2);
  genesis.add_parameters()->set_name("payout.reserve_bp");
  genesis.mutable_parameters(0)->set_value("100");
  const v1::Cooperative made =
      w.anyone->Ok(&Stub::FoundCooperative, w.Founding(genesis, {founders[0], founders[1]}))
          .cooperative();
  const std::string& id = made.cooperative_id();
  auto founder = w.As(founders[0]);
  const std::vector<Person> two = {founders[0], founders[2]};

  struct Row {
    const char* name;
    const char* value;
    int64_t version;
    std::vector<Person> signers;
    const char* reason;
  };
  const Row rows[] = {
      {"payout.reserve_bp", "200", 1, {founders[0]}, "SIGNATURE_INVALID"},
      {"payout.reserve_bp", "200", 1, {founders[0], Person()}, "SIGNATURE_INVALID"},
      {"payout.reserve_bp", "10001", 1, two, "PARAMETER_OUT_OF_BOUNDS"},
      {"payout.reserve_bp", "many", 1, two, "PARAMETER_OUT_OF_BOUNDS"},
      {"payout.no_such", "1", 1, two, "PARAMETER_UNKNOWN"},
      {"payout.reserve_bp", "200", 2, two, "STALE_VERSION"},
      {"payout.reserve_bp", "200", 0, two, "STALE_VERSION"},
  };
  const int before = w.f.OutboxRows();
  for (const Row& row : rows) {
    CAPTURE(row.name, row.value, row.version);
    CHECK(founder.Reason(&Stub::ChangeParameter,
                         w.Changing(id, row.name, row.value, row.version, row.signers)) ==
          row.reason);
  }
  CHECK(w.f.OutboxRows() == before);

  // A watcher sees the value it starts with and then the change.
  auto watcher = w.f.As<Stub>(founders[1]);
  const auto context = watcher.Context();
  v1::WatchParametersRequest watched;
  watched.set_cooperative_id(id);
  auto stream = watcher.stub().WatchParameters(context.get(), watched);
  v1::WatchParametersResponse seen;
  REQUIRE(stream->Read(&seen));
  CHECK(seen.version() == 1);

  const auto change = w.Changing(id, "payout.reserve_bp", "200", 1, two);
  const v1::ParameterChangeRecord record =
      founder.Ok(&Stub::ChangeParameter, change).change();
  CHECK(record.version() == 2);
  CHECK(record.document_sha256() == DigestOf(change.change(0)));
  REQUIRE(stream->Read(&seen));
  CHECK(seen.version() == 2);
  context->TryCancel();

  CHECK(w.f.OutboxRows() == before + 1);
  CHECK(w.f.Outbox().back().kind == kind::kParameterChanged);
  v1::GetParametersRequest get;
  get.set_cooperative_id(id);
  const v1::GetParametersResponse now = w.anyone->Ok(&Stub::GetParameters, get);
  CHECK(now.version() == 2);
  CHECK(now.parameters_size() == static_cast<int>(config::Parameters().size()));
  CHECK(ValueOf(now, "payout.reserve_bp") == "200");

  // The same change again is stale; as the same request it is the same answer.
  CHECK(founder.Reason(&Stub::ChangeParameter,
                       w.Changing(id, "payout.reserve_bp", "200", 1, two)) == "STALE_VERSION");
  CHECK(founder.Ok(&Stub::ChangeParameter, change).change().SerializeAsString() ==
        record.SerializeAsString());

  // History, newest first, page by page.
  v1::ListParameterChangesRequest list;
  list.set_cooperative_id(id);
  list.set_name("payout.reserve_bp");
  list.set_page_size(1);
  const auto first = w.anyone->Ok(&Stub::ListParameterChanges, list);
  REQUIRE(first.changes_size() == 1);
  CHECK(first.changes(0).value().value() == "200");
  list.set_page_token(first.next_page_token());
  const auto last = w.anyone->Ok(&Stub::ListParameterChanges, list);
  REQUIRE(last.changes_size() == 1);
  CHECK(last.changes(0).value().value() == "100");
  CHECK(last.changes(0).document_sha256() == made.genesis_sha256());
  CHECK(last.next_page_token().empty());
  list.set_name("");  // the token belongs to other arguments
  CHECK(w.anyone->Reason(&Stub::ListParameterChanges, list) == "PAGE_TOKEN_INVALID");
}

TEST_CASE("of changes made at once against one version exactly one is made", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative made = w.Found("race", founder);
  std::atomic<int> made_it{0}, stale{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 6; ++i) {
    callers.emplace_back([&, i] {
      const std::string reason = w.f.As<Stub>(founder).Reason(
          &Stub::ChangeParameter,
          w.Changing(made.cooperative_id(), "payout.reserve_bp", std::to_string(i), 1, {founder}));
      if (reason == "OK") ++made_it;
      if (reason == "STALE_VERSION") ++stale;
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(made_it == 1);
  CHECK(stale == 5);
}

TEST_CASE("exceptions are raised by services, once, and seen by founders", "[governance]") {
  World w;
  const Person founder = w.NewPrincipal();
  const v1::Cooperative made = w.Found("odd", founder);
  const int before = w.f.OutboxRows();
  v1::RaiseExceptionRequest raise;
  v1::GovernanceException& e = *raise.mutable_exception();
  e.set_exception_id(w.f.NewId());
  e.set_cooperative_id(made.cooperative_id());
  e.set_kind(v1::EXCEPTION_KIND_COPY);
  e.set_subject_id(w.f.NewId());
  e.set_description("a copy");
  e.set_evidence_sha256(std::string(64, 'a'));
  raise.set_request_id(w.f.NewId());
  const auto first = w.filter->Ok(&Stub::RaiseException, raise);
  CHECK(w.f.OutboxRows() == before + 1);
  CHECK(w.f.Outbox().back().kind == kind::kExceptionRaised);
  // By another request the same exception is still the same one.
  raise.set_request_id(w.f.NewId());
  raise.mutable_exception()->set_description("reported again");
  CHECK(w.filter->Ok(&Stub::RaiseException, raise).exception().SerializeAsString() ==
        first.exception().SerializeAsString());
  CHECK(w.f.OutboxRows() == before + 1);

  raise.set_request_id(w.f.NewId());
  raise.mutable_exception()->set_exception_id("?");
  raise.mutable_exception()->set_kind(v1::EXCEPTION_KIND_UNSPECIFIED);
  raise.mutable_exception()->set_evidence_sha256("short");
  raise.mutable_exception()->set_description(std::string(2'001, 'x'));
  CHECK(w.filter->BadFields(&Stub::RaiseException, raise) ==
        Fields{"exception.exception_id", "exception.kind", "exception.description",
               "exception.evidence_sha256"});
  CHECK(w.As(founder).Reason(&Stub::RaiseException, raise) == "PERMISSION_DENIED");

  w.f.clock.Advance(absl::Seconds(1));
  raise.mutable_exception()->set_kind(v1::EXCEPTION_KIND_PAYOUT);
  raise.mutable_exception()->set_exception_id(w.f.NewId());
  raise.mutable_exception()->set_evidence_sha256("");
  raise.mutable_exception()->set_description("");
  const auto second = w.filter->Ok(&Stub::RaiseException, raise);
  v1::ListExceptionsRequest list;
  list.set_cooperative_id(made.cooperative_id());
  list.set_page_size(1);
  const auto newest = w.As(founder).Ok(&Stub::ListExceptions, list);
  REQUIRE(newest.exceptions_size() == 1);
  CHECK(newest.exceptions(0).exception_id() == second.exception().exception_id());
  list.set_page_token(newest.next_page_token());
  const auto oldest = w.As(founder).Ok(&Stub::ListExceptions, list);
  REQUIRE(oldest.exceptions_size() == 1);
  CHECK(oldest.exceptions(0).description() == "a copy");
  CHECK(oldest.next_page_token().empty());
  list.clear_page_token();
  CHECK(w.As(w.NewPrincipal()).Reason(&Stub::ListExceptions, list) == "PERMISSION_DENIED");
}

TEST_CASE("cooperatives are listed page by page", "[governance]") {
  World w;
  const Person founder;
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(w.Found("c" + std::to_string(i), founder).cooperative_id());
  }
  std::sort(ids.begin(), ids.end());
  std::vector<std::string> listed;
  v1::ListCooperativesRequest list;
  list.set_page_size(2);
  do {
    const auto page = w.anyone->Ok(&Stub::ListCooperatives, list);
    for (const auto& c : page.cooperatives()) listed.push_back(c.cooperative_id());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  CHECK(listed == ids);
  v1::GetCooperativeRequest get;
  get.set_cooperative_id(w.f.NewId());
  CHECK(w.anyone->Reason(&Stub::GetCooperative, get) == "NOT_FOUND");
  get.set_cooperative_id("?");
  CHECK(w.anyone->BadFields(&Stub::GetCooperative, get) == Fields{"cooperative_id"});
}

TEST_CASE("every cell of governance's access table holds", "[governance]") {
  World w;
  const auto defects =
      w.f.TryAccessTable(v1::Genesis::descriptor()->file()->FindServiceByName("GovernanceService"));
  for (const std::string& defect : defects) UNSCOPED_INFO(defect);
  CHECK(defects.empty());
}

}  // namespace
}  // namespace rochdale::governance::testing
