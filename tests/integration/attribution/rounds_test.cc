// Whole rounds, evaluated by real worker processes.
#include <catch2/catch.hpp>

#include "libs/crypto/entry_kinds.h"
#include "tests/integration/attribution/world.h"

namespace rochdale::attribution::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;
using rochdale::testing::Sign;

std::map<uint16_t, int> Kinds(const std::vector<crypto::Entry>& entries) {
  std::map<uint16_t, int> kinds;
  for (const crypto::Entry& entry : entries) ++kinds[entry.kind];
  return kinds;
}

TEST_CASE("rounds close with credits that anyone can recompute") {
  World world;
  for (const uint32_t seed : {1u, 2u, 3u}) world.AddUpdate(2.0, seed);
  world.AddUpdate(-4.0, 9);  // against the gradient: harmful
  world.Start();
  const std::string first = world.Train(2);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  CHECK(round.round_id() == first);
  CHECK(round.lineages() == 4);
  CHECK(round.admitted() == 4);
  CHECK(round.applied() == 3);
  CHECK(round.next_sha256() != round.base_sha256());
  CHECK(crypto::Sha256(crypto::HexDecode(round.seed()).value()).ToString() == round.seed_sha256());
  CHECK(round.visible_loss_nanonats() > 0);

  const std::vector<v1::Credit> credits = world.Credits(first);
  REQUIRE(credits.size() == 4);
  int paid = 0;
  for (const v1::Credit& credit : credits) {
    paid += credit.credit_nanonats() > 0;
    if (!credit.applied()) CHECK(credit.credit_nanonats() == 0);
  }
  CHECK(paid == 3);

  const v1::Round second = world.WaitForEnd(2);
  REQUIRE(second.state() == v1::ROUND_STATE_CLOSED);
  CHECK(second.base_sha256() == round.next_sha256());
  const Evidence evidence = world.EvidenceOf(first);
  // Rows are sealed until they are retired.
  CHECK(absl::IsNotFound(world.Recompute(evidence)));
  v1::RetireRoundsRequest retire;
  retire.set_request_id(world.NewId());
  retire.add_round_ids(first);
  retire.add_round_ids(second.round_id());
  CHECK(world.AsService("payout").Ok(&Stub::RetireRounds, retire).rows() == 400);
  CHECK(world.AsService("payout").Ok(&Stub::RetireRounds, retire).rows() == 400);  // the same call
  CHECK(world.Recompute(evidence).ToString() == "OK");
  CHECK(world.Recompute(world.EvidenceOf(second.round_id())).ToString() == "OK");
  CHECK(CheckDraw(evidence, {}, 200).ok());

  // The log tells it all, once, and in order.
  const std::vector<crypto::Entry> entries = world.Outbox();
  const std::map<uint16_t, int> kinds = Kinds(entries);
  CHECK(kinds.at(kind::kRoundOpened) == 2);
  CHECK(kinds.at(kind::kRoundStateChanged) == 2 * 5);
  CHECK(kinds.at(kind::kRoundClosed) == 2);
  CHECK(kinds.at(kind::kCheckpointMade) == 3);
  CHECK(kinds.at(kind::kEvidenceMade) == 2);
  CHECK(kinds.at(kind::kCreditAssigned) == 8);
  CHECK(kinds.at(kind::kUpdateApplied) + kinds.at(kind::kUpdateNotApplied) == 8);
  CHECK(Eventually([&] { return world.ledger.entries() == entries.size(); }));

  // The filter knows what became of every update.
  CHECK(world.filter.complaints().empty());
  for (const filter_v1::Update& update : world.filter.round(first).updates) {
    CHECK((update.state() == filter_v1::UPDATE_STATE_APPLIED ||
           update.reason() == "NOT_APPLIED_HARMFUL"));
  }
}

TEST_CASE("probes are measured under each update and gradients are handed over") {
  World world;
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  FakeProbe own{world.NewId(), "", learning::SerializeDataset(MakeRows(30, 77))};
  FakeProbe theirs{world.NewId(), world.filter.updates[0].principal_id,
                   learning::SerializeDataset(MakeRows(20, 78))};
  world.filter.probes = {own, theirs};
  world.filter.updates[0].probes = {own.probe_id, theirs.probe_id};
  world.filter.updates[1].probes = {own.probe_id};
  common_v1::Rule rule;
  rule.set_id("direction");
  rule.set_kind(common_v1::RULE_KIND_VALUE_DIRECTION);
  rule.add_probe_ids(own.probe_id);
  world.governance.floor = {rule};
  world.Start();
  const std::string id = world.Train(1);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  const FakeFilter::Round round = world.filter.round(id);
  CHECK(round.opening.gradients_size() == 2);
  CHECK(round.opening.manifest_size() == 4);
  CHECK(round.opening.scenario() == "default");
  REQUIRE(round.measurements.size() == 3);
  for (const filter_v1::ProbeMeasurement& one : round.measurements) {
    CHECK(one.rows() == (one.probe_id() == own.probe_id ? 30 : 20));
    CHECK(one.base_loss_sum_nanonats() > 0);
    CHECK(one.loss_sum_nanonats() < one.base_loss_sum_nanonats());
  }
}

TEST_CASE("a refused update has no part in the game") {
  World world;
  for (const uint32_t seed : {1u, 2u, 3u}) world.AddUpdate(2.0, seed);
  world.filter.updates[0].denied = true;
  world.filter.updates[1].rejected_at_decision = true;
  world.Start();
  const std::string id = world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  CHECK(round.lineages() == 3);  // refusals do not change the weights
  CHECK(round.admitted() == 1);
  const std::vector<v1::Credit> credits = world.Credits(id);
  REQUIRE(credits.size() == 1);
  CHECK(credits[0].principal_id() == world.filter.updates[2].principal_id);
  CHECK(world.EvidenceOf(id).lineages == 3);
}

TEST_CASE("more than ten contributors are paid by sampled Shapley, in stages") {
  World world({.parameters = {{"credit.sampled_pairs_min", "2"},
                              {"credit.sampled_pairs_max", "8"},
                              {"credit.sampled_error_max_nanonats", "0"}}});
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    world.AddUpdate(seed == 4 || seed == 5 ? -9 : 3, seed);
  }
  world.Start();
  const std::string id = world.Train(1);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  const Evidence evidence = world.EvidenceOf(id);
  CHECK(evidence.rule.estimator == Estimator::kShapley);
  CHECK(evidence.pairs == 8);  // no bound of 0 is met: as far as it may
  CHECK(__builtin_popcountll(evidence.applied_mask) == 10);
  CHECK(world.Number("SELECT count(*) FROM runs WHERE purpose = 2") == 3);  // 2, 4 and 8 pairs
  int paid = 0;
  for (const v1::Credit& credit : world.Credits(id)) paid += credit.credit_nanonats() > 0;
  CHECK(paid == 10);
  world.Retire({id});
  CHECK(world.Recompute(evidence).ToString() == "OK");
}

TEST_CASE("a convnet is trained and credited like any model") {
  // Which rows are drawn differs from run to run: without the lower bound every gain is paid.
  World world({.convnet = true, .parameters = {{"credit.z_bound_micro", "0"}}});
  for (uint32_t seed = 1; seed <= 3; ++seed) world.AddUpdate(seed == 3 ? -9 : 3, seed);
  world.Start();
  const std::string id = world.Train(1);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  const Evidence evidence = world.EvidenceOf(id);
  CHECK(evidence.model == world.spec);
  CHECK(evidence.applied_mask == 3);
  int paid = 0;
  for (const v1::Credit& credit : world.Credits(id)) paid += credit.credit_nanonats() > 0;
  CHECK(paid == 2);
  world.Retire({id});
  CHECK(world.Recompute(evidence).ToString() == "OK");
}

TEST_CASE("sampling stops where it is precise enough") {
  World world({.parameters = {{"credit.sampled_pairs_min", "2"},
                              {"credit.sampled_error_max_nanonats", "1000000000"}}});
  for (uint32_t seed = 1; seed <= 11; ++seed) world.AddUpdate(3, seed);
  world.Start();
  const std::string id = world.Train(1);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  CHECK(world.EvidenceOf(id).pairs == 2);
  CHECK(world.Number("SELECT count(*) FROM runs WHERE purpose = 2") == 1);
}

TEST_CASE("more than ten contributors are paid solo where the operator chooses cost") {
  World world({.parameters = {{"credit.estimator", "shapley_or_solo"}}});
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    world.AddUpdate(seed == 4 || seed == 5 ? -9 : 3, seed);
  }
  world.Start();
  const std::string id = world.Train(1);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  const Evidence evidence = world.EvidenceOf(id);
  CHECK(evidence.rule.estimator == Estimator::kSolo);
  CHECK(__builtin_popcountll(evidence.applied_mask) == 10);
  world.Retire({id});
  CHECK(world.Recompute(evidence).ToString() == "OK");
}

TEST_CASE("what every aggregation rule applies is what was evaluated") {
  using enum learning::AggregationRule;
  for (const auto rule : {kSampleWeighted, kCreditWeighted, kTrimmedMean, kMedian, kMultiKrum}) {
    const std::string name(learning::AggregationRuleName(rule));
    INFO(name);
    World world({.parameters = {{"aggregation.rule", name}}});
    for (const uint32_t seed : {1u, 2u, 3u, 4u, 5u}) world.AddUpdate(2.0, seed);
    world.filter.updates[1].samples = 3;
    world.filter.updates[2].denied = true;
    const FakeProbe probe{world.NewId(), "", learning::SerializeDataset(MakeRows(30, 77))};
    world.filter.probes = {probe};
    world.filter.updates[0].probes = {probe.probe_id};
    world.Start();
    const std::string first = world.Train(2);
    REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
    const v1::Round second = world.WaitForEnd(2);
    REQUIRE(second.state() == v1::ROUND_STATE_CLOSED);
    world.Retire({first, second.round_id()});
    for (const std::string& id : {first, second.round_id()}) {
      const Evidence evidence = world.EvidenceOf(id);
      CHECK(evidence.aggregation.rule == rule);
      CHECK(evidence.updates.size() == 4);
      CHECK(world.Recompute(evidence).ToString() == "OK");
      CHECK(world.filter.round(id).measurements.size() == 1);
      const std::vector<int64_t>& shares = evidence.aggregation.shares;
      const int64_t unit = learning::kShareUnit;
      if (rule == kSampleWeighted) {  // the refused one's is given to nobody
        CHECK(shares == std::vector<int64_t>{unit / 7, unit / 7 * 3, unit / 7, unit / 7});
      } else if (rule == kCreditWeighted && id == first) {
        CHECK(shares == std::vector<int64_t>(4, unit / 5));
      } else if (rule == kCreditWeighted) {
        std::vector<int64_t> earned;
        for (const EvidenceCredit& credit : world.EvidenceOf(first).credits) {
          earned.push_back(credit.credit);
        }
        earned.push_back(0);  // the refused one's lineage
        auto expected = learning::WeightShares(rule, earned);
        expected.pop_back();
        CHECK(shares == expected);
        CHECK(shares[0] != unit / 5);
      } else {
        CHECK(shares.empty());
      }
    }
  }
}

TEST_CASE("an update that leaves the exact evaluator's range is removed") {
  World world({.layers = {16, 8, 8, 8, 4}});
  world.AddUpdate(2.0, 1);
  world.AddFlatUpdate(8'388'607);
  world.AddUpdate(2.0, 3);
  world.Start();
  const std::string id = world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  CHECK(world.Credits(id).size() == 2);
  const filter_v1::Update removed = world.filter.round(id).updates[1];
  CHECK(removed.state() == filter_v1::UPDATE_STATE_NOT_APPLIED);
  CHECK(removed.reason() == "EVALUATION_RANGE");
  CHECK(world.filter.complaints().empty());
}

TEST_CASE("a round without enough updates is abandoned and the next one opens") {
  World world({.parameters = {{"round.min_updates", "3"}}});
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  world.Start();
  const std::string id = world.Train(2);
  const v1::Round round = world.WaitForEnd(1);
  CHECK(round.state() == v1::ROUND_STATE_ABANDONED);
  CHECK(round.reason() == "MIN_UPDATES");
  CHECK(round.next_sha256().empty());
  CHECK(world.Credits(id).empty());
  CHECK(Eventually([&] {
    return world.filter.round(id).intake == filter_v1::INTAKE_STATE_ABANDONED;
  }));
  const v1::Round second = world.WaitForEnd(2);
  CHECK(second.base_sha256() == round.base_sha256());
  v1::GetEvidenceRequest evidence;
  evidence.set_round_id(id);
  CHECK(world.As<Stub>(world.founder).Reason(&Stub::GetEvidence, evidence) == "ROUND_STATE");
}

TEST_CASE("a round in which nothing is admitted is abandoned") {
  World world;
  world.AddUpdate(2.0, 1);
  world.filter.updates[0].rejected_at_decision = true;
  world.Start();
  world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  CHECK(round.state() == v1::ROUND_STATE_ABANDONED);
  CHECK(round.reason() == "NO_UPDATES_ADMITTED");
}

TEST_CASE("a filter that is away is waited for, and given up at the state's deadline") {
  World world({.parameters = {{"round.screen_ms", "1500"}}});
  world.AddUpdate(2.0, 1);
  world.Start([&](absl::string_view step) {
    if (step == "reveals taken") world.filter.down = true;
    return absl::OkStatus();
  });
  const std::string id = world.Train(1);
  REQUIRE(Eventually([&] {
    return world.Number("SELECT count(*) FROM rounds WHERE state = 8") == 1;
  }));
  CHECK(world.Get(id).reason() == "DEADLINE");
  world.filter.down = false;
  CHECK(Eventually([&] {
    return world.Number("SELECT count(*) FROM rounds WHERE filter_told") == 1;
  }));
}

TEST_CASE("only founders start things, and only insiders read them") {
  World world;
  world.AddUpdate(2.0, 1);
  world.Start();
  const std::string id = world.Train(1);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);

  const Person stranger = world.NewPerson();
  v1::TrainingPlan plan;
  plan.set_cooperative_id(world.cooperative);
  plan.set_rounds(1);
  plan.set_scenario("default");
  v1::StartTrainingRequest start;
  start.set_request_id(world.NewId());
  *start.mutable_plan() = Sign(stranger.key, plan);
  CHECK(world.As<Stub>(stranger).Reason(&Stub::StartTraining, start) == "PERMISSION_DENIED");
  v1::GetEvidenceRequest evidence;
  evidence.set_round_id(id);
  CHECK(world.As<Stub>(stranger).Reason(&Stub::GetEvidence, evidence) == "NOT_A_MEMBER");
  const std::string checkpoint = world.Get(id).next_sha256();
  CHECK(absl::IsNotFound(world.Download(stranger, checkpoint).status()));
  world.governance.members.insert(stranger.id.ToString());
  CHECK(world.Download(stranger, checkpoint).ok());
  CHECK(world.As<Stub>(stranger).Reason(&Stub::GetEvidence, evidence) == "OK");

  // Anybody registered who has a digest from the log reads what was signed.
  v1::GetDocumentRequest get;
  int documents = 0;
  for (const crypto::Entry& entry : world.Outbox()) {
    if (entry.Find(tag::kDocumentDigest) == nullptr) continue;
    get.set_document_sha256(entry.DigestAt(tag::kDocumentDigest).value().ToString());
    const auto document = world.As<Stub>(stranger).Ok(&Stub::GetDocument, get).document();
    CHECK(rochdale::testing::DigestOf(document) == get.document_sha256());
    CHECK(document.signature() == entry.Bytes(tag::kSignature).value());
    ++documents;
  }
  CHECK(documents >= 3);  // of the model, the pool, the plan
  get.set_document_sha256(std::string(64, '0'));
  CHECK(world.As<Stub>(stranger).Reason(&Stub::GetDocument, get) == "NOT_FOUND");

  // A plan is started once; a bad one names its fields.
  plan.set_rounds(0);
  plan.set_scenario("No Such");
  *start.mutable_plan() = Sign(world.founder.key, plan);
  CHECK(world.As<Stub>(world.founder).BadFields(&Stub::StartTraining, start) ==
        std::vector<std::string>{"rounds", "scenario"});
}

TEST_CASE("an agent that watches sees the round's states in order") {
  World world;
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  world.Start();
  auto client = world.As<Stub>(world.founder);
  const auto context = client.Context();
  v1::WatchRoundsRequest request;
  request.set_cooperative_id(world.cooperative);
  const auto reader = client.stub().WatchRounds(context.get(), request);
  world.Train(1);
  std::vector<int> states;
  v1::WatchRoundsResponse response;
  while (reader->Read(&response)) {
    if (states.empty() || states.back() != response.round().state()) {
      states.push_back(response.round().state());
    }
    if (response.round().state() >= v1::ROUND_STATE_CLOSED) break;
  }
  context->TryCancel();
  reader->Finish();
  CHECK(std::is_sorted(states.begin(), states.end()));
  CHECK(states.back() == v1::ROUND_STATE_CLOSED);
}

}  // namespace
}  // namespace rochdale::attribution::testing
