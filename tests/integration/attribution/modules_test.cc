// TorchScript modules as models: from a founder's word about a digest to credits with a tolerance.
#include <catch2/catch.hpp>

#include "libs/crypto/entry_kinds.h"
#include "libs/learning/module_evaluator.h"
#include "services/attribution/run_spec.h"
#include "tests/integration/attribution/world.h"
#include "tests/support/torchscript/modules.h"

namespace rochdale::attribution::testing {
namespace {

namespace kind = crypto::kind;

learning::ModuleProcessOptions Program() { return {.program = ROCHDALE_MODULE_PROGRAM}; }

TEST_CASE("a round of a module closes with credits that say how near they are") {
  // Which rows are drawn differs from run to run: without the lower bound every gain is paid.
  World world({.module = "small", .parameters = {{"credit.z_bound_micro", "0"}}});
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  world.AddUpdate(-8.0, 9);    // against the gradient
  world.AddFlatUpdate(0);      // nothing: within the deadband
  FakeProbe probe{world.NewId(), "", learning::SerializeDataset(MakeRows(30, 77))};
  world.filter.probes = {probe};
  world.filter.updates[0].probes = {probe.probe_id};
  common_v1::Rule rule;
  rule.set_id("direction");
  rule.set_kind(common_v1::RULE_KIND_VALUE_DIRECTION);
  rule.add_probe_ids(probe.probe_id);
  world.governance.floor = {rule};
  world.Start();
  const std::string id = world.Train(1);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  const Evidence evidence = world.EvidenceOf(id);
  CHECK(evidence.model == world.spec);
  CHECK(evidence.applied_mask == 0b1011);
  CHECK(world.filter.round(id).opening.gradients_size() == 1);
  int paid = 0;
  for (const v1::Credit& credit : world.Credits(id)) {
    paid += credit.credit_nanonats() > 0;
    CHECK(credit.tolerance_nanonats() == world.spec.torchscript.tolerance_nanonats);
    CHECK(credit.deadband_nanonats() == world.spec.torchscript.deadband_nanonats);
  }
  CHECK(paid == 2);

  // An auditor: everything follows from the recorded losses, and these are those of the module.
  CHECK(absl::IsNotFound(world.Recompute(evidence)));  // sealed, as the rows are
  world.Retire({id});
  CHECK(world.Recompute(evidence).ToString() == "OK");
  learning::HostEvaluator host;
  learning::ModuleEvaluator modules(host, Program());
  CHECK(world.Recompute(evidence, &modules).ToString() == "OK");

  // Losses that are not those of the module, with everything that follows from them in order.
  const auto lie = [&](int64_t by) {
    const std::string file =
        world.Download(world.founder, evidence.losses_sha256.ToString()).value();
    auto losses = DecodeLosses(file, static_cast<int64_t>(file.size() / 8)).value();
    Game game;
    game.contributors = static_cast<int>(evidence.updates.size());
    game.rows = static_cast<int64_t>(evidence.rows.size());
    game.masks = evidence.masks;
    game.seed = evidence.seed;
    losses[5] += by;
    const auto best = losses.end() - game.rows;
    game.best.assign(best, losses.end());
    game.losses.assign(losses.begin(), best);
    Evidence changed = evidence;
    const std::string bytes = EncodeLosses(losses);
    changed.losses_sha256 = crypto::Sha256(bytes);
    changed.losses_root = LossesRoot(game);
    changed.coalition_loss_sums[0] += by;
    const GameResult result = Settle(evidence.rule, game).value();
    for (size_t i = 0; i < changed.credits.size(); ++i) {
      const ContributorResult& one = result.contributors[i];
      changed.credits[i] = {changed.updates[i].update, one.credit,         one.estimate,
                            one.standard_error,        one.solo,           one.leave_one_out,
                            one.harmful};
    }
    const auto blobs = [&](const crypto::Digest& digest) -> absl::StatusOr<std::string> {
      if (digest == changed.losses_sha256) return bytes;
      return world.Download(world.founder, digest.ToString());
    };
    // Without the module nothing is wrong with it.
    CHECK(CheckRecomputation(changed, blobs).ToString() == "OK");
    return CheckRecomputation(changed, blobs, &modules);
  };
  const int64_t tolerance = world.spec.torchscript.tolerance_nanonats;
  CHECK(lie(tolerance / 2).ToString() == "OK");
  CHECK(ReasonOf(lie(3 * tolerance)) == "DIGEST_MISMATCH");
  Evidence changed = evidence;
  changed.credits[0].credit += 1;
  CHECK(ReasonOf(world.Recompute(changed)) == "DIGEST_MISMATCH");

  int registered = 0;
  for (const crypto::Entry& entry : world.Outbox()) {
    registered += entry.kind == kind::kModuleRegistered;
  }
  CHECK(registered == 1);
}

TEST_CASE("a module whose digest is not registered is no model, and opens no round") {
  World world({.module = "small"});
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  world.Start();
  auto client = world.As<Stub>(world.founder);
  CHECK(client.Reason(&Stub::CreateModel, world.ModelRequest()) == "MODULE_UNREGISTERED");
  CHECK(client.Reason(&Stub::RegisterModule, world.ModuleRequest(false)) == "UPLOAD_INCOMPLETE");
  CHECK(client.Reason(&Stub::RegisterModule, world.ModuleRequest(true)) == "NOT_FOUND");
  world.UploadModule();
  // Only a founder's word counts.
  const Person somebody = world.NewPerson();
  v1::RegisterModuleRequest foreign = world.ModuleRequest(false);
  v1::ModuleRegistration body;
  body.set_cooperative_id(world.cooperative);
  body.set_module_sha256(world.spec.torchscript.module.ToString());
  *foreign.mutable_registration() = rochdale::testing::Sign(somebody.key, body);
  CHECK(client.Reason(&Stub::RegisterModule, foreign) == "PERMISSION_DENIED");

  const std::string first = world.Train(3);
  REQUIRE(world.WaitForEnd(1).state() == v1::ROUND_STATE_CLOSED);
  client.Ok(&Stub::RegisterModule, world.ModuleRequest(true));
  CHECK(client.Reason(&Stub::StartTraining, world.TrainingRequest(1)) != "OK");
  // A round that is open goes on; the one behind it waits for the founders.
  const auto preparing = [&] {
    return world.Number("SELECT count(*) FROM rounds WHERE state = 0") == 1;
  };
  REQUIRE(Eventually(preparing));
  absl::SleepFor(absl::Milliseconds(300));
  CHECK(preparing());
  client.Ok(&Stub::RegisterModule, world.ModuleRequest(false));
  CHECK(world.WaitForEnd(3).state() == v1::ROUND_STATE_CLOSED);
}

TEST_CASE("modules that are not what they should be do not become models") {
  for (const char* name : {"spreadmean", "random", "setsstate", "tied"}) {
    INFO(name);
    World world({.module = name, .launch_workers = false});
    world.Start();
    auto client = world.As<Stub>(world.founder);
    world.UploadModule();
    client.Ok(&Stub::RegisterModule, world.ModuleRequest(false));
    CHECK(client.Reason(&Stub::CreateModel, world.ModelRequest()) == "MODULE_INVALID");
  }
}

TEST_CASE("an update with which a module's loss is infinite is taken out of the round") {
  World world({.module = "overflows4", .parameters = {{"credit.z_bound_micro", "0"}}});
  for (const uint32_t seed : {1u, 2u}) world.AddUpdate(2.0, seed);
  world.AddFlatUpdate(7 << 20);
  world.Start();
  const std::string id = world.Train(1);
  const v1::Round round = world.WaitForEnd(1);
  CHECK(round.state() == v1::ROUND_STATE_CLOSED);
  CHECK(round.applied() == 2);
  CHECK(world.Number("SELECT count(*) FROM round_updates WHERE removed_reason = "
                     "'EVALUATION_RANGE'") == 1);
}

}  // namespace
}  // namespace rochdale::attribution::testing
