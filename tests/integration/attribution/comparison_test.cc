// A/B tests of two checkpoints, evaluated by real worker processes.
#include <catch2/catch.hpp>

#include "libs/crypto/entry_kinds.h"
#include "services/attribution/comparison_evidence.h"
#include "tests/integration/attribution/world.h"

namespace rochdale::attribution::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;
using rochdale::testing::Sign;

v1::CompareCheckpointsRequest Request(World& world, const Person& signer, const std::string& a,
                                      const std::string& b, int64_t when = 1) {
  v1::CheckpointComparison comparison;
  comparison.set_cooperative_id(world.cooperative);
  comparison.set_a_sha256(a);
  comparison.set_b_sha256(b);
  comparison.set_signed_time_us(when);
  v1::CompareCheckpointsRequest request;
  request.set_request_id(world.NewId());
  *request.mutable_comparison() = Sign(signer.key, comparison);
  return request;
}

// From its evidence alone, as an auditor does.
ComparisonEvidence EvidenceOf(World& world, const v1::Comparison& ended) {
  v1::GetComparisonRequest request;
  request.set_comparison_id(ended.comparison_id());
  const std::string body =
      world.As<Stub>(world.founder).Ok(&Stub::GetComparison, request).evidence();
  CHECK(crypto::Sha256(body).ToString() == ended.evidence_sha256());
  const ComparisonEvidence evidence = ParseComparisonEvidence(body).value();
  CHECK(CheckComparison(evidence).ok());
  CHECK(evidence.look.rows == ended.rows());
  CHECK(static_cast<int>(evidence.look.verdict) == static_cast<int>(ended.verdict()));
  CHECK(evidence.look.difference == ended.difference_nanonats());
  CHECK(evidence.look.standard_error == ended.standard_error_nanonats());
  return evidence;
}

v1::Comparison Get(World& world, const std::string& id) {
  v1::GetComparisonRequest request;
  request.set_comparison_id(id);
  return world.As<Stub>(world.founder).Ok(&Stub::GetComparison, request).comparison();
}

v1::Comparison WaitForEnd(World& world, const std::string& id) {
  v1::Comparison last;
  REQUIRE(Eventually(
      [&] {
        last = Get(world, id);
        return last.state() != v1::COMPARISON_STATE_RUNNING;
      },
      absl::Seconds(60)));
  return last;
}

TEST_CASE("a trained checkpoint wins against the one it came from, on few rows") {
  World world({.parameters = {{"comparison.rows_min", "30"}, {"comparison.error_micro", "50000"}}});
  for (const uint32_t seed : {1u, 2u, 3u}) world.AddUpdate(2.0, seed);
  world.Start();
  world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  const std::string before = round.base_sha256(), after = round.next_sha256();
  auto founder = world.As<Stub>(world.founder);

  const Person stranger = world.NewPerson();
  CHECK(world.As<Stub>(stranger).Reason(&Stub::CompareCheckpoints,
                                        Request(world, stranger, before, after)) ==
        "PERMISSION_DENIED");
  CHECK(founder.Reason(&Stub::CompareCheckpoints,
                       Request(world, world.founder, before, std::string(64, '5'))) == "NOT_FOUND");
  CHECK(founder.BadFields(&Stub::CompareCheckpoints,
                          Request(world, world.founder, before, before)) ==
        std::vector<std::string>{"b_sha256"});

  const auto request = Request(world, world.founder, before, after);
  const v1::Comparison started = founder.Ok(&Stub::CompareCheckpoints, request).comparison();
  CHECK(started.state() == v1::COMPARISON_STATE_RUNNING);
  CHECK(started.seed().empty());
  CHECK(founder.Ok(&Stub::CompareCheckpoints, request).comparison().comparison_id() ==
        started.comparison_id());  // the same call
  const v1::Comparison ended = WaitForEnd(world, started.comparison_id());
  REQUIRE(ended.state() == v1::COMPARISON_STATE_DONE);
  CHECK(ended.verdict() == v1::COMPARISON_VERDICT_B_BETTER);
  CHECK(ended.difference_nanonats() < 0);
  CHECK(ended.rows() >= 30);
  CHECK(ended.rows() <= 120);  // a fifth of the pool is visible
  CHECK(crypto::Sha256(crypto::HexDecode(ended.seed()).value()).ToString() ==
        started.seed_sha256());

  const ComparisonEvidence evidence = EvidenceOf(world, ended);
  CHECK(evidence.a.ToString() == before);
  CHECK(evidence.b.ToString() == after);

  // The other way round it loses; the same document does not start another test.
  auto again = request;
  again.set_request_id(world.NewId());
  CHECK(founder.Reason(&Stub::CompareCheckpoints, again) == "ALREADY_EXISTS");
  const auto reversed = Request(world, world.founder, after, before);
  const v1::Comparison other = WaitForEnd(
      world, founder.Ok(&Stub::CompareCheckpoints, reversed).comparison().comparison_id());
  CHECK(other.verdict() == v1::COMPARISON_VERDICT_A_BETTER);

  v1::ListComparisonsRequest list;
  list.set_cooperative_id(world.cooperative);
  CHECK(founder.Ok(&Stub::ListComparisons, list).comparisons_size() == 2);
  CHECK(world.As<Stub>(stranger).Reason(&Stub::ListComparisons, list) == "NOT_A_MEMBER");

  std::map<uint16_t, std::vector<crypto::Entry>> entries;
  for (const crypto::Entry& entry : world.Outbox()) entries[entry.kind].push_back(entry);
  REQUIRE(entries[kind::kComparisonStarted].size() == 2);
  REQUIRE(entries[kind::kComparisonEnded].size() == 2);
  const crypto::Entry& start = entries[kind::kComparisonStarted][0];
  const crypto::Entry& end = entries[kind::kComparisonEnded][0];
  CHECK(end.authorised_by == start.event_id);
  CHECK(start.DigestAt(tag::kSeedCommitment)->ToString() == started.seed_sha256());
  CHECK(end.DigestAt(tag::kEvidenceDigest)->ToString() == ended.evidence_sha256());
  CHECK(end.U64(tag::kRowCount).value() == static_cast<uint64_t>(ended.rows()));
  CHECK(world.Number("SELECT count(*) FROM shard_results") == 0);
}

TEST_CASE("an A/B test survives the service, and one runs at a time") {
  World world({.parameters = {{"comparison.rows_min", "30"}, {"comparison.error_micro", "1"},
                              {"comparison.margin_nanonats", "0"}}});
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(0.01, seed);
  world.Start();
  world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  const auto request =
      Request(world, world.founder, round.base_sha256(), round.next_sha256());
  const std::string id = world.As<Stub>(world.founder)
                             .Ok(&Stub::CompareCheckpoints, request)
                             .comparison()
                             .comparison_id();
  const auto second =
      Request(world, world.founder, round.base_sha256(), round.next_sha256(), 2);
  const std::string reason =
      world.As<Stub>(world.founder).Reason(&Stub::CompareCheckpoints, second);
  CHECK((reason == "ALREADY_EXISTS" || Get(world, id).state() == v1::COMPARISON_STATE_DONE));
  // Killed again and again, wherever it is.
  for (int kill = 0; kill < 5; ++kill) {
    absl::SleepFor(absl::Milliseconds(40 * kill));
    world.Stop();
    world.Start();
  }
  const v1::Comparison ended = WaitForEnd(world, id);
  CHECK(ended.state() == v1::COMPARISON_STATE_DONE);
  EvidenceOf(world, ended);
  if (ended.verdict() == v1::COMPARISON_VERDICT_UNDECIDED) CHECK(ended.rows() == 120);
  CHECK(ended.verdict() != v1::COMPARISON_VERDICT_UNSPECIFIED);
  CHECK(world.Number("SELECT count(*) FROM comparison_evidence") == 1);
  int ends = 0;
  for (const crypto::Entry& entry : world.Outbox()) ends += entry.kind == kind::kComparisonEnded;
  CHECK(ends == 1);
}

}  // namespace
}  // namespace rochdale::attribution::testing
