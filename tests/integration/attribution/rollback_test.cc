// Going back to an earlier checkpoint.
#include <catch2/catch.hpp>

#include "libs/crypto/entry_kinds.h"
#include "tests/integration/attribution/world.h"

namespace rochdale::attribution::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;
using rochdale::testing::Sign;

v1::CheckpointRollback Rollback(const World& world, const std::string& to,
                                const std::string& newest) {
  v1::CheckpointRollback rollback;
  rollback.set_cooperative_id(world.cooperative);
  rollback.set_checkpoint_sha256(to);
  rollback.set_newest_sha256(newest);
  rollback.set_reason("it learned what it must not");
  return rollback;
}

v1::RollBackCheckpointRequest Request(World& world, const Person& signer,
                                      const v1::CheckpointRollback& rollback) {
  v1::RollBackCheckpointRequest request;
  request.set_request_id(world.NewId());
  *request.mutable_rollback() = Sign(signer.key, rollback);
  return request;
}

TEST_CASE("founders go back to a checkpoint, and what was credited is not credited again") {
  World world;
  for (const uint32_t seed : {1u, 2u, 3u}) world.AddUpdate(2.0, seed);
  // The second round waits for somebody who never comes.
  const std::vector<std::string> members = world.governance.principals;
  int closed = 0;
  world.Start([&](absl::string_view step) {
    if (step == "closed" && ++closed == 1) world.governance.principals.push_back(world.NewId());
    if (step == "opened" && closed == 2) world.governance.principals = members;
    return absl::OkStatus();
  });
  const std::string first = world.Train(3);
  const v1::Round round = world.WaitForEnd(1);
  REQUIRE(round.state() == v1::ROUND_STATE_CLOSED);
  const std::string base = round.base_sha256(), next = round.next_sha256();
  auto founder = world.As<Stub>(world.founder);

  // What does not go back.
  const Person stranger = world.NewPerson();
  const auto by_stranger = Request(world, stranger, Rollback(world, base, next));
  CHECK(world.As<Stub>(stranger).Reason(&Stub::RollBackCheckpoint, by_stranger) ==
        "PERMISSION_DENIED");
  const auto stale = Request(world, world.founder, Rollback(world, next, base));
  CHECK(founder.Reason(&Stub::RollBackCheckpoint, stale) == "STALE_VERSION");
  const std::string none(64, '7');
  const auto unknown = Request(world, world.founder, Rollback(world, none, next));
  CHECK(founder.Reason(&Stub::RollBackCheckpoint, unknown) == "NOT_FOUND");
  v1::CheckpointRollback bad = Rollback(world, next, next);
  bad.clear_reason();
  CHECK(founder.BadFields(&Stub::RollBackCheckpoint, Request(world, world.founder, bad)) ==
        std::vector<std::string>{"checkpoint_sha256", "reason"});

  const auto request = Request(world, world.founder, Rollback(world, base, next));
  const v1::Checkpoint made = founder.Ok(&Stub::RollBackCheckpoint, request).checkpoint();
  CHECK(made.version() == 2);
  CHECK(made.sha256() == base);
  CHECK(made.parent_sha256() == next);
  CHECK(made.round_id().empty());
  CHECK(founder.Ok(&Stub::RollBackCheckpoint, request).checkpoint().version() == 2);  // again
  auto replayed = request;
  replayed.set_request_id(world.NewId());
  CHECK(founder.Reason(&Stub::RollBackCheckpoint, replayed) == "ALREADY_EXISTS");

  const v1::Round second = world.WaitForEnd(2);
  CHECK(second.state() == v1::ROUND_STATE_ABANDONED);
  CHECK(second.reason() == "ROLLED_BACK");
  world.governance.principals = members;
  const v1::Round third = world.WaitForEnd(3);
  REQUIRE(third.state() == v1::ROUND_STATE_CLOSED);
  CHECK(third.base_sha256() == base);
  CHECK(third.next_sha256() == next);  // the same updates again
  for (const v1::Credit& credit : world.Credits(first)) CHECK(credit.credit_nanonats() > 0);
  const Evidence evidence = world.EvidenceOf(third.round_id());
  CHECK(evidence.best.ToString() == next);
  for (const EvidenceCredit& credit : evidence.credits) {
    CHECK(credit.estimate > 0);
    CHECK(credit.credit == 0);
  }

  // The log has the lineage, with the founder's word for the way back.
  std::vector<crypto::Entry> checkpoints;
  for (const crypto::Entry& entry : world.Outbox()) {
    if (entry.kind == kind::kCheckpointMade) checkpoints.push_back(entry);
  }
  REQUIRE(checkpoints.size() == 4);
  for (size_t v = 0; v < 4; ++v) {
    CHECK(checkpoints[v].U64(tag::kVersion).value() == v);
    CHECK((checkpoints[v].Find(tag::kDocumentDigest) != nullptr) == (v == 2));
    if (v == 0) continue;
    CHECK(checkpoints[v].DigestAt(tag::kParentDigest).value() ==
          checkpoints[v - 1].DigestAt(tag::kCheckpointDigest).value());
  }
}

}  // namespace
}  // namespace rochdale::attribution::testing
