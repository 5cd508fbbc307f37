// Rounds: commit, reveal, screen, decide, outcomes.
#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/crypto/commitment.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/sha256.h"
#include "nlohmann/json.hpp"
#include "tests/integration/filter/world.h"

namespace rochdale::filter::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

// Deltas that are no copies of each other.
std::string Honest(int i) {
  std::vector<float> values(16, 0.0f);
  values[i % 16] = 0.1f;
  return Delta(values);
}

// A round of `trainers`, each revealed, screened and not yet decided.
struct Screened {
  std::string round;
  std::vector<std::string> updates;
  v1::ScreenRoundResponse screening;
};
Screened ScreenedRound(World& w, int64_t number, const std::vector<Trainer>& trainers,
                       const std::vector<std::string>& deltas,
                       const std::vector<v1::ProbeGradient>& gradients = {}) {
  Screened s;
  s.round = w.Open(number, gradients);
  for (size_t i = 0; i < trainers.size(); ++i) {
    s.updates.push_back(w.Commit(s.round, trainers[i], deltas[i]));
  }
  w.Move(s.round, v1::INTAKE_STATE_REVEALING);
  for (size_t i = 0; i < trainers.size(); ++i) {
    const std::string reason = w.Reveal(trainers[i], s.updates[i]);
    if (reason != "OK") throw std::runtime_error(reason);
  }
  w.Move(s.round, v1::INTAKE_STATE_CLOSED);
  s.screening = w.attribution->Ok(&Stub::ScreenRound, w.Screening(s.round));
  return s;
}

// What was asked for, measured: `loss` with each update, by (update, probe).
v1::DecideRoundRequest Measured(
    World& w, const Screened& s,
    const std::function<int64_t(const std::string& update, const std::string& probe)>& rise) {
  v1::DecideRoundRequest request = w.Deciding(s.round);
  for (const v1::ScreenedUpdate& update : s.screening.updates()) {
    for (const std::string& probe : update.probe_ids()) {
      v1::ProbeMeasurement& m = *request.add_measurements();
      m.set_update_id(update.update_id());
      m.set_probe_id(probe);
      m.set_base_loss_sum_nanonats(1'000'000'000);
      m.set_loss_sum_nanonats(1'000'000'000 + rise(update.update_id(), probe));
      m.set_rows(1);
    }
  }
  return request;
}

v1::RecordOutcomesRequest Recording(World& w, const std::string& round, const std::string& update,
                                    v1::UpdateState state, const std::string& reason = "") {
  v1::RecordOutcomesRequest request;
  request.set_request_id(w.f.NewId());
  request.set_round_id(round);
  v1::UpdateOutcome& outcome = *request.add_outcomes();
  outcome.set_update_id(update);
  outcome.set_state(state);
  outcome.set_reason(reason);
  return request;
}

TEST_CASE("a round from commitment to settlement, each step logged once", "[filter]") {
  World w;
  std::vector<Trainer> trainers = {w.NewTrainer(), w.NewTrainer(), w.NewTrainer()};
  const std::string round = w.Open(1);
  const int start = w.f.OutboxRows();
  std::vector<std::string> updates;
  for (int i = 0; i < 3; ++i) {
    updates.push_back(w.Commit(round, trainers[i], Honest(i)));
    CHECK(w.f.OutboxRows() == start + i + 1);
    CHECK(w.UpdateOf(updates[i]).state() == v1::UPDATE_STATE_COMMITTED);
    CHECK(w.UpdateOf(updates[i]).commitment_number() == i + 1);
  }
  w.Move(round, v1::INTAKE_STATE_REVEALING);
  for (int i = 0; i < 3; ++i) {
    CHECK(w.Reveal(trainers[i], updates[i]) == "OK");
    CHECK(w.Reveal(trainers[i], updates[i]) == "OK");  // again: the same, and no second entry
    CHECK(w.f.OutboxRows() == start + 3 + i + 1);
  }
  const auto closed = w.Move(round, v1::INTAKE_STATE_CLOSED);
  CHECK(closed.committed() == 3);
  CHECK(closed.received() == 3);
  const auto screening = w.attribution->Ok(&Stub::ScreenRound, w.Screening(round));
  CHECK(screening.lineages() == 3);
  REQUIRE(screening.updates_size() == 3);
  for (int i = 0; i < 3; ++i) {
    CHECK(screening.updates(i).update_id() == updates[i]);
    CHECK_FALSE(screening.updates(i).denied());
    CHECK(screening.updates(i).sample_count() == 100);
  }
  const auto decided = w.attribution->Ok(&Stub::DecideRound, w.Deciding(round));
  REQUIRE(decided.updates_size() == 3);
  CHECK(w.f.OutboxRows() == start + 9);
  for (const v1::Update& update : decided.updates()) {
    CHECK(update.state() == v1::UPDATE_STATE_ADMITTED);
  }
  // The chain: decision <- commitment <- mandate.
  const std::vector<crypto::Entry> log = w.f.Outbox();
  const auto entry = [&](uint16_t wanted, const std::string& update) {
    return *std::find_if(log.begin(), log.end(), [&](const crypto::Entry& e) {
      return e.kind == wanted && e.subject.ToString() == update;
    });
  };
  for (const std::string& update : updates) {
    const crypto::Entry committed = entry(kind::kUpdateCommitted, update);
    CHECK(entry(kind::kUpdateReceived, update).authorised_by == committed.event_id);
    CHECK(entry(kind::kDecisionMade, update).authorised_by == committed.event_id);
    CHECK(entry(kind::kDecisionMade, update).DigestAt(tag::kEffectiveDigest).value().ToString() ==
          w.UpdateOf(update).effective_sha256());
    CHECK_FALSE(committed.authorised_by.IsZero());
    // What was signed is shown to whoever has its digest from the log.
    v1::GetDocumentRequest get;
    get.set_document_sha256(committed.DigestAt(tag::kDocumentDigest).value().ToString());
    const auto document = w.f.As<Stub>(trainers[2].person).Ok(&Stub::GetDocument, get).document();
    CHECK(rochdale::testing::DigestOf(document) == get.document_sha256());
    CHECK(document.signature() == committed.Bytes(tag::kSignature).value());
  }
  for (const v1::UpdateState state : {v1::UPDATE_STATE_EVALUATED, v1::UPDATE_STATE_APPLIED}) {
    w.attribution->Ok(&Stub::RecordOutcomes, Recording(w, round, updates[0], state));
  }
  w.attribution->Ok(&Stub::RecordOutcomes, Recording(w, round, updates[1],
                                                     v1::UPDATE_STATE_NOT_APPLIED,
                                                     "NOT_APPLIED_HARMFUL"));
  w.payout->Ok(&Stub::RecordOutcomes,
               Recording(w, round, updates[0], v1::UPDATE_STATE_SETTLED));
  CHECK(w.UpdateOf(updates[0]).state() == v1::UPDATE_STATE_SETTLED);
  CHECK(w.UpdateOf(updates[1]).reason() == "NOT_APPLIED_HARMFUL");
}

TEST_CASE("commitments that are refused change nothing", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  const Trainer bob = w.NewTrainer();
  Trainer bare{w.f.NewPerson(), {}};  // has a mandate, but no profile
  bare.agent = w.f.NewAgent(bare.person);
  w.Authorise(bare.agent);
  const std::string round = w.Open(1);
  const std::string delta = Honest(0);
  const v1::UpdateCommitment good = w.Commitment(round, ada, delta);
  const auto commit = [&](const Trainer& caller, const v1::UpdateCommitment& commitment,
                          const Trainer& signer) {
    return w.f.As<Stub>(caller.agent)
        .Reason(&Stub::CommitUpdate, w.Committing(commitment, signer.agent));
  };
  const int before = w.f.OutboxRows();

  v1::UpdateCommitment stale = good;
  stale.set_base_sha256(std::string(64, 'c'));
  CHECK(commit(ada, stale, ada) == "STALE_CHECKPOINT");
  CHECK(commit(bob, good, ada) == "PERMISSION_DENIED");
  CHECK(commit(bob, good, bob) == "PERMISSION_DENIED");  // signs for another agent
  auto forged = w.Committing(good, ada.agent);
  (*forged.mutable_commitment()->mutable_signature())[0] ^= 1;
  CHECK(w.f.As<Stub>(ada.agent).Reason(&Stub::CommitUpdate, forged) == "SIGNATURE_INVALID");
  v1::UpdateCommitment lost = good;
  lost.set_round_id(w.f.NewId());
  CHECK(commit(ada, lost, ada) == "NOT_FOUND");
  v1::UpdateCommitment huge = good;
  huge.set_size_bytes(std::numeric_limits<int64_t>::max());
  CHECK(commit(ada, huge, ada) == "UPLOAD_TOO_LARGE");
  CHECK(commit(bare, w.Commitment(round, bare, delta), bare) == "PROFILE_MISSING");
  for (const char* refusal :
       {"MANDATE_MISSING", "MANDATE_EXPIRED", "AGENT_PAUSED", "NOT_A_MEMBER"}) {
    w.Authorise(ada.agent, refusal);
    CHECK(commit(ada, good, ada) == refusal);
  }
  w.Authorise(ada.agent);
  CHECK(w.f.OutboxRows() == before);
  CHECK(w.f.Number("SELECT count(*) FROM updates") == 0);
  CHECK(w.f.Number("SELECT sum(commitments)::bigint FROM rounds") == 0);

  const auto request = w.Committing(good, ada.agent);
  auto client = w.f.As<Stub>(ada.agent);
  const auto first = client.Ok(&Stub::CommitUpdate, request);
  CHECK(client.Ok(&Stub::CommitUpdate, request).SerializeAsString() == first.SerializeAsString());
  CHECK(commit(ada, w.Commitment(round, ada, Honest(1)), ada) == "UPDATE_EXISTS");
  v1::UpdateCommitment taken = w.Commitment(round, bob, delta);
  taken.set_update_id(good.update_id());
  CHECK(commit(bob, taken, bob) == "ALREADY_EXISTS");
  auto reused = w.Committing(w.Commitment(round, ada, Honest(1)), ada.agent);
  reused.set_request_id(request.request_id());
  CHECK(client.Reason(&Stub::CommitUpdate, reused) == "REQUEST_ID_REUSED");
  CHECK(w.f.OutboxRows() == before + 1);

  // One instant past the deadline is too late; so is another state.
  w.f.clock.Advance(absl::Hours(1) + absl::Microseconds(1));
  CHECK(commit(bob, w.Commitment(round, bob, delta), bob) == "ROUND_NOT_ACCEPTING");
  w.Move(round, v1::INTAKE_STATE_REVEALING);
  CHECK(commit(bob, w.Commitment(round, bob, delta), bob) == "ROUND_NOT_ACCEPTING");
  CHECK(w.f.OutboxRows() == before + 1);
}

TEST_CASE("a round takes the earliest commitments, as many as it is open for", "[filter]") {
  World w;
  w.governance.SetParameter("round.max_updates", "2");
  const Trainer ada = w.NewTrainer(), bob = w.NewTrainer(), cleo = w.NewTrainer();
  const std::string round = w.Open(1);
  const auto commit = [&](const Trainer& who, uint32_t seed) {
    const auto commitment = w.Commitment(round, who, Honest(seed));
    return w.f.As<Stub>(who.agent).Reason(&Stub::CommitUpdate, w.Committing(commitment, who.agent));
  };
  CHECK(commit(ada, 1) == "OK");
  CHECK(commit(bob, 2) == "OK");
  const int64_t before = w.f.OutboxRows();
  CHECK(commit(cleo, 3) == "ROUND_FULL");
  CHECK(w.f.OutboxRows() == before);
  CHECK(w.f.Number("SELECT count(*) FROM updates") == 2);
}

TEST_CASE("a principal has one update in a round, however many agents race", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  const std::string round = w.Open(1);
  std::vector<std::string> reasons(6);
  std::vector<std::thread> callers;
  for (size_t i = 0; i < reasons.size(); ++i) {
    Trainer other{ada.person, w.f.NewAgent(ada.person)};
    w.Authorise(other.agent);
    callers.emplace_back([&, other, i] {
      reasons[i] = w.f.As<Stub>(other.agent).Reason(
          &Stub::CommitUpdate, w.Committing(w.Commitment(round, other, Honest(i)), other.agent));
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(std::count(reasons.begin(), reasons.end(), "OK") == 1);
  CHECK(std::count(reasons.begin(), reasons.end(), "UPDATE_EXISTS") == 5);
}

TEST_CASE("what is revealed must be what was committed to, and an update of the model",
          "[filter]") {
  World w;
  const std::string round = w.Open(1);
  const std::string good = Honest(0);
  std::string hostile = good;
  hostile[6] = '\x7f';  // a header longer than any file
  std::string overlapping =
      R"({"w":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},)"
      R"("x":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}})";
  overlapping.resize((overlapping.size() + 7) / 8 * 8, ' ');
  std::string prefix(8, '\0');
  prefix[0] = static_cast<char>(overlapping.size());
  struct Row {
    std::string delta;
    const char* reason;
  };
  const std::vector<Row> rows = {
      {Delta({std::numeric_limits<float>::quiet_NaN()}), "TENSOR_NOT_FINITE"},
      {Delta({std::numeric_limits<float>::infinity()}), "TENSOR_NOT_FINITE"},
      {Delta({8.0f}), "TENSOR_NOT_FINITE"},
      {DeltaOf("w", 15, 0.1f), "TENSOR_MISMATCH"},
      {DeltaOf("v", 16, 0.1f), "TENSOR_MISMATCH"},
      {good.substr(0, good.size() - 4), "TENSOR_MALFORMED"},
      {good.substr(0, 20), "TENSOR_MALFORMED"},
      {hostile, "TENSOR_MALFORMED"},
      {prefix + overlapping + std::string(64, 'z'), "TENSOR_MALFORMED"},
      {std::string(1, 'x'), "TENSOR_MALFORMED"},
  };
  std::vector<Trainer> trainers;
  std::vector<std::string> updates;
  for (const Row& row : rows) {
    trainers.push_back(w.NewTrainer());
    updates.push_back(w.Commit(round, trainers.back(), row.delta));
  }
  // Commits to a size that the bytes do not have; commits and never uploads.
  const Trainer liar = w.NewTrainer();
  w.Upload(liar.agent, common_v1::BLOB_PURPOSE_UPDATE, good);
  v1::UpdateCommitment wrong_size = w.Commitment(round, liar, good);
  wrong_size.set_size_bytes(wrong_size.size_bytes() + 1);
  w.f.As<Stub>(liar.agent).Ok(&Stub::CommitUpdate, w.Committing(wrong_size, liar.agent));
  const Trainer lazy = w.NewTrainer();
  const v1::UpdateCommitment late = w.Commitment(round, lazy, Honest(3));
  w.f.As<Stub>(lazy.agent).Ok(&Stub::CommitUpdate, w.Committing(late, lazy.agent));
  const Trainer fine = w.NewTrainer();
  const std::string revealed = w.Commit(round, fine, Honest(4));

  CHECK(w.Reveal(fine, revealed) == "ROUND_NOT_ACCEPTING");  // not yet
  w.Move(round, v1::INTAKE_STATE_REVEALING);
  const int before = w.f.OutboxRows();
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    CHECK(w.Reveal(trainers[i], updates[i]) == rows[i].reason);
    CHECK(w.UpdateOf(updates[i]).state() == v1::UPDATE_STATE_COMMITTED);
  }
  CHECK(w.Reveal(liar, wrong_size.update_id()) == "COMMITMENT_MISMATCH");
  CHECK(w.Reveal(lazy, late.update_id()) == "UPLOAD_INCOMPLETE");
  CHECK(w.Reveal(lazy, revealed) == "NOT_FOUND");  // another agent's
  CHECK(w.Reveal(lazy, w.f.NewId()) == "NOT_FOUND");
  CHECK(w.f.OutboxRows() == before);
  CHECK(w.Reveal(fine, revealed) == "OK");

  w.f.clock.Advance(absl::Hours(2));
  w.Upload(lazy.agent, common_v1::BLOB_PURPOSE_UPDATE, Honest(3));
  CHECK(w.Reveal(lazy, late.update_id()) == "ROUND_NOT_ACCEPTING");  // the deadline has passed

  // Closing expires what was not revealed, each with its entry.
  const int open_rows = w.f.OutboxRows();
  const auto closing = w.Moving(round, v1::INTAKE_STATE_CLOSED);
  const auto closed = w.attribution->Ok(&Stub::SetIntakeState, closing);
  CHECK(closed.received() == 1);
  const int expired = static_cast<int>(rows.size()) + 2;
  CHECK(w.f.OutboxRows() == open_rows + expired);
  CHECK(w.f.Outbox().back().kind == kind::kUpdateExpired);
  w.attribution->Ok(&Stub::SetIntakeState, closing);
  w.Move(round, v1::INTAKE_STATE_CLOSED);
  CHECK(w.f.OutboxRows() == open_rows + expired);
  CHECK(w.Reveal(lazy, late.update_id()) == "ROUND_NOT_ACCEPTING");
  CHECK(w.UpdateOf(late.update_id()).state() == v1::UPDATE_STATE_EXPIRED);
}

TEST_CASE("intake moves forward only; an abandoned round applies nothing", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  const Trainer bob = w.NewTrainer();
  const auto opening = w.Opening(1);
  w.attribution->Ok(&Stub::OpenScreening, opening);
  w.attribution->Ok(&Stub::OpenScreening, opening);
  const std::string& round = opening.round_id();
  CHECK(w.attribution->Reason(&Stub::OpenScreening, w.Opening(1)) == "ALREADY_EXISTS");
  auto without = w.Opening(2);
  without.add_gradients()->set_probe_id(w.f.NewId());
  without.mutable_gradients(0)->set_gradient_sha256(std::string(64, 'a'));
  CHECK(w.attribution->Reason(&Stub::OpenScreening, without) == "UPLOAD_INCOMPLETE");

  const std::string first = w.Commit(round, ada, Honest(0));
  const std::string second = w.Commit(round, bob, Honest(1));
  w.Move(round, v1::INTAKE_STATE_REVEALING);
  CHECK(w.Reveal(ada, first) == "OK");
  const auto move = [&](v1::IntakeState state) {
    return w.attribution->Reason(&Stub::SetIntakeState, w.Moving(round, state));
  };
  CHECK(move(v1::INTAKE_STATE_COMMITTING) == "ROUND_STATE");
  CHECK(move(v1::INTAKE_STATE_UNSPECIFIED) == "BAD_REQUEST");
  CHECK(w.attribution->Reason(&Stub::ScreenRound, w.Screening(round)) == "ROUND_STATE");
  CHECK(w.attribution->Reason(&Stub::DecideRound, w.Deciding(round)) == "ROUND_STATE");
  CHECK(move(v1::INTAKE_STATE_ABANDONED) == "OK");
  CHECK(move(v1::INTAKE_STATE_CLOSED) == "ROUND_STATE");
  CHECK(w.UpdateOf(first).state() == v1::UPDATE_STATE_NOT_APPLIED);
  CHECK(w.UpdateOf(first).reason() == "NOT_APPLIED_ABANDONED");
  CHECK(w.UpdateOf(second).state() == v1::UPDATE_STATE_EXPIRED);
  CHECK(w.attribution->Reason(&Stub::ScreenRound, w.Screening(round)) == "ROUND_STATE");
  CHECK(w.attribution->Reason(&Stub::SetIntakeState,
                              w.Moving(w.f.NewId(), v1::INTAKE_STATE_CLOSED)) == "NOT_FOUND");
}

TEST_CASE("an owner's principals have one update, and the log says by whose word", "[filter]") {
  // Unless the parameter says otherwise, whoever is not attested is for itself.
  const int refused_of[2][4] = {{-1, -1, 0, -1}, {-1, -1, 0, 1}};
  for (const bool together : {false, true}) {
    World w;
    std::vector<Trainer> trainers;
    for (int i = 0; i < 4; ++i) trainers.push_back(w.NewTrainer());
    const std::string attestations[] = {w.f.NewId(), w.f.NewId()};
    w.Authorise(trainers[0].agent, "", true, {"x"}, attestations[0]);
    w.Authorise(trainers[2].agent, "", true, {"y", "x"}, attestations[1]);
    if (together) w.governance.SetParameter("lineage.unattested", "together");
    const int before = w.f.OutboxRows();
    const Screened s =
        ScreenedRound(w, 1, trainers, {Honest(0), Honest(1), Honest(2), Honest(3)});
    CHECK(s.screening.lineages() == (together ? 2 : 3));
    const auto decided = w.attribution->Ok(&Stub::DecideRound, w.Deciding(s.round));
    const auto entries = w.f.Outbox();
    REQUIRE(entries.size() == static_cast<size_t>(before) + 12);
    for (int i = 0; i < 4; ++i) {
      CAPTURE(together, i);
      const int first = refused_of[together][i];
      const std::string lineage = s.updates[first < 0 ? i : first];
      CHECK(decided.updates(i).reason() == (first < 0 ? "" : "OWNER_HAS_UPDATE"));
      CHECK(s.screening.updates(i).denied() == (first >= 0));
      CHECK(s.screening.updates(i).lineage_id() == lineage);
      CHECK_FALSE(s.screening.updates(i).outside());
      const crypto::Entry& entry = entries[entries.size() - 4 + i];
      CHECK(entry.kind == crypto::kind::kDecisionMade);
      CHECK(entry.IdAt(crypto::tag::kLineage)->ToString() == lineage);
      const auto attestation = entry.IdAt(crypto::tag::kAttestation);
      CHECK(attestation.ok() == (i % 2 == 0));
      if (i % 2 == 0) CHECK(attestation->ToString() == attestations[i / 2]);
    }
  }
}

TEST_CASE("a decided round stays as it was decided", "[filter]") {
  World w;
  std::vector<Trainer> trainers = {w.NewTrainer(), w.NewTrainer(), w.NewTrainer()};
  // The third copies the first.
  const std::string copy = Delta({0.09f, 0, 0, 0, 0, 0.005f});
  Screened s = ScreenedRound(w, 1, trainers, {Honest(0), Honest(1), copy});
  CHECK(s.screening.lineages() == 2);
  CHECK(s.screening.updates(2).denied());
  CHECK(s.screening.updates(2).effective_sha256().empty());
  CHECK(s.screening.updates(2).lineage_id() == s.updates[0]);

  // Screening again before the decision is the same; as the same request, too.
  CHECK(w.attribution->Ok(&Stub::ScreenRound, w.Screening(s.round)).SerializeAsString() ==
        s.screening.SerializeAsString());
  const auto request = w.Deciding(s.round);
  const auto decided = w.attribution->Ok(&Stub::DecideRound, request);
  REQUIRE(decided.updates_size() == 3);
  CHECK(decided.updates(2).state() == v1::UPDATE_STATE_REJECTED);
  CHECK(decided.updates(2).reason() == "ORIGINALITY");
  const int rows = w.f.OutboxRows();
  CHECK(w.attribution->Ok(&Stub::DecideRound, request).SerializeAsString() ==
        decided.SerializeAsString());
  CHECK(w.attribution->Ok(&Stub::DecideRound, w.Deciding(s.round)).SerializeAsString() ==
        decided.SerializeAsString());
  CHECK(w.attribution->Reason(&Stub::ScreenRound, w.Screening(s.round)) == "ROUND_STATE");
  CHECK(w.UpdateOf(s.updates[2]).state() == v1::UPDATE_STATE_REJECTED);
  auto other = request;
  other.set_evidence_sha256(std::string(64, 'f'));
  CHECK(w.attribution->Reason(&Stub::DecideRound, other) == "REQUEST_ID_REUSED");
  CHECK(w.f.OutboxRows() == rows);

  // I1: nothing brings a refused update back.
  for (const v1::UpdateState state :
       {v1::UPDATE_STATE_EVALUATED, v1::UPDATE_STATE_APPLIED, v1::UPDATE_STATE_NOT_APPLIED,
        v1::UPDATE_STATE_SETTLED, v1::UPDATE_STATE_ADMITTED}) {
    CAPTURE(state);
    CHECK(w.attribution->Reason(&Stub::RecordOutcomes,
                                Recording(w, s.round, s.updates[2], state)) == "ROUND_STATE");
  }
  // Of one request all outcomes are recorded or none.
  auto mixed = Recording(w, s.round, s.updates[0], v1::UPDATE_STATE_APPLIED);
  *mixed.add_outcomes() = Recording(w, s.round, s.updates[2], v1::UPDATE_STATE_APPLIED).outcomes(0);
  CHECK(w.attribution->Reason(&Stub::RecordOutcomes, mixed) == "ROUND_STATE");
  CHECK(w.UpdateOf(s.updates[0]).state() == v1::UPDATE_STATE_ADMITTED);
  CHECK(w.UpdateOf(s.updates[2]).state() == v1::UPDATE_STATE_REJECTED);
  // Forward only; payout settles and does nothing else; each round its own.
  const auto record = [&](Client<Stub>& client, v1::UpdateState state) {
    return client.Reason(&Stub::RecordOutcomes, Recording(w, s.round, s.updates[0], state));
  };
  CHECK(record(*w.attribution, v1::UPDATE_STATE_SETTLED) == "ROUND_STATE");
  CHECK(record(*w.payout, v1::UPDATE_STATE_APPLIED) == "PERMISSION_DENIED");
  CHECK(record(*w.attribution, v1::UPDATE_STATE_APPLIED) == "OK");
  CHECK(record(*w.attribution, v1::UPDATE_STATE_APPLIED) == "OK");
  CHECK(record(*w.attribution, v1::UPDATE_STATE_EVALUATED) == "ROUND_STATE");
  CHECK(record(*w.payout, v1::UPDATE_STATE_SETTLED) == "OK");
  CHECK(record(*w.attribution, v1::UPDATE_STATE_NOT_APPLIED) == "ROUND_STATE");
  const std::string next = w.Open(2);
  CHECK(w.attribution->Reason(&Stub::RecordOutcomes,
                              Recording(w, next, s.updates[1], v1::UPDATE_STATE_APPLIED)) ==
        "NOT_FOUND");
}

TEST_CASE("authority is asked again when a round is screened", "[filter]") {
  World w;
  std::vector<Trainer> trainers = {w.NewTrainer(), w.NewTrainer()};
  const std::string round = w.Open(1);
  const std::string first = w.Commit(round, trainers[0], Honest(0));
  const std::string second = w.Commit(round, trainers[1], Honest(1));
  w.Move(round, v1::INTAKE_STATE_REVEALING);
  CHECK(w.Reveal(trainers[0], first) == "OK");
  CHECK(w.Reveal(trainers[1], second) == "OK");
  w.Move(round, v1::INTAKE_STATE_CLOSED);
  w.Authorise(trainers[1].agent, "AGENT_PAUSED");
  const auto screening = w.attribution->Ok(&Stub::ScreenRound, w.Screening(round));
  CHECK(screening.lineages() == 1);
  CHECK(screening.updates(1).denied());
  const auto decided = w.attribution->Ok(&Stub::DecideRound, w.Deciding(round));
  CHECK(decided.updates(0).state() == v1::UPDATE_STATE_ADMITTED);
  CHECK(decided.updates(1).state() == v1::UPDATE_STATE_REJECTED);
  CHECK(decided.updates(1).reason() == "AGENT_PAUSED");
}

TEST_CASE("values of a profile and of the floor decide, and are told to whom they concern",
          "[filter]") {
  World w;
  std::vector<Trainer> trainers = {w.NewTrainer(), w.NewTrainer(), w.NewTrainer()};
  const Trainer& ada = trainers[0];
  const v1::Probe own = w.ProbeOf(ada.person, ProbeRows(3, 1));
  const v1::Probe common = w.ProbeOf(w.founder, ProbeRows(3, 2));
  v1::ValueProfile profile = w.Profile(ada.person, 2);
  common_v1::Rule& rule = *profile.add_constraints();
  rule.set_id("mine");
  rule.set_kind(common_v1::RULE_KIND_VALUE_EFFECT);
  rule.set_mode(common_v1::RULE_MODE_REFUSE);
  rule.set_eps_nanonats(1'000);
  rule.add_probe_ids(own.probe_id());
  w.f.As<Stub>(ada.person).Ok(&Stub::SetProfile, w.Setting(profile, ada.person));
  // The floor projects the common probe's direction, and refuses its loss to rise.
  common_v1::Rule& direction = *w.rules.add_floor();
  direction.set_id("direction");
  direction.set_kind(common_v1::RULE_KIND_VALUE_DIRECTION);
  direction.add_probe_ids(common.probe_id());
  common_v1::Rule& effect = *w.rules.add_floor();
  effect.set_id("effect");
  effect.set_kind(common_v1::RULE_KIND_VALUE_EFFECT);
  effect.set_mode(common_v1::RULE_MODE_REFUSE);
  effect.set_eps_nanonats(1'000);
  effect.add_probe_ids(common.probe_id());
  w.governance.SetCooperative(w.rules);
  w.f.clock.Advance(absl::Minutes(1));
  v1::ProbeGradient gradient;
  gradient.set_probe_id(common.probe_id());
  gradient.set_gradient_sha256(
      w.UploadWith(*w.attribution, common_v1::BLOB_PURPOSE_GRADIENT, Delta({0, 1.0f})));

  const Screened s =
      ScreenedRound(w, 1, trainers, {Honest(0), Honest(1), Honest(2)}, {gradient});
  CHECK(s.screening.probes_size() == 2);
  // What the floor lets no update do, the round's step as a whole may not do either.
  REQUIRE(s.screening.aggregate_bounds_size() == 1);
  CHECK(s.screening.aggregate_bounds(0).probe_id() == common.probe_id());
  CHECK(s.screening.aggregate_bounds(0).eps_nanonats() == 1'000);
  CHECK(s.screening.aggregate_bounds(0).data_sha256() == common.data_sha256());
  CHECK(s.screening.updates(0).probe_ids_size() == 2);
  CHECK(s.screening.updates(1).probe_ids_size() == 1);
  // Only what the profile alone asks for may be measured on some rows.
  REQUIRE(s.screening.updates(0).early_bounds_size() == 1);
  CHECK(s.screening.updates(0).early_bounds(0).probe_id() == own.probe_id());
  CHECK(s.screening.updates(0).early_bounds(0).bound_nanonats() == 1'000);
  CHECK(s.screening.updates(1).early_bounds_size() == 0);
  for (const v1::ProbeData& data : s.screening.probes()) CHECK(data.rows() == 3);
  v1::DecideRoundRequest measured =
      Measured(w, s, [&](const std::string&, const std::string& probe) {
        return probe == own.probe_id() ? 1'001 : 1'000;
      });
  for (v1::ProbeMeasurement& one : *measured.mutable_measurements()) {
    if (one.probe_id() == own.probe_id()) one.set_of_rows(3);
  }
  const auto decided = w.attribution->Ok(&Stub::DecideRound, measured);
  CHECK(decided.updates(0).state() == v1::UPDATE_STATE_REJECTED);
  CHECK(decided.updates(0).reason() == "VALUE_EFFECT");
  CHECK(decided.updates(1).state() == v1::UPDATE_STATE_PROJECTED);  // points along the gradient
  CHECK(decided.updates(2).state() == v1::UPDATE_STATE_ADMITTED);

  v1::GetDecisionRequest get;
  get.set_update_id(s.updates[0]);
  const v1::Decision mine = w.f.As<Stub>(ada.person).Ok(&Stub::GetDecision, get).decision();
  const v1::Decision seen = w.f.As<Stub>(w.founder).Ok(&Stub::GetDecision, get).decision();
  CHECK(w.f.As<Stub>(trainers[1].person).Reason(&Stub::GetDecision, get) == "NOT_FOUND");
  CHECK(mine.body() == seen.body());
  CHECK(mine.salt().size() == 32);
  CHECK(seen.salt().empty());
  // The log's digest is the body's, and the body's commitments open with the salt.
  const std::vector<crypto::Entry> log = w.f.Outbox();
  const auto entry = std::find_if(log.begin(), log.end(), [&](const crypto::Entry& e) {
    return e.event_id.ToString() == mine.entry().event_id();
  });
  REQUIRE(entry != log.end());
  CHECK(entry->DigestAt(tag::kDecisionDigest).value() == crypto::Sha256(mine.body()));
  const auto salt = crypto::Salt::FromBytes(mine.salt()).value();
  int opened = 0;
  const auto body = nlohmann::json::parse(mine.body());
  for (const auto& finding : body["findings"]) {
    if (finding["scope"] != "PRINCIPAL") continue;
    CHECK_FALSE(finding.contains("measured"));
    const std::string opening = absl::StrCat("mine/", own.probe_id(), "/measured/", 1'001);
    CHECK(finding["measured_commitment"] == crypto::Commitment(salt, opening).ToString());
    CHECK(finding["rows"] == 1);
    CHECK(finding["of_rows"] == 3);
    ++opened;
  }
  CHECK(opened == 1);
  const auto of_principal = [](const v1::Decision& decision) {
    for (const v1::RuleFinding& finding : decision.findings()) {
      if (finding.scope() == v1::RULE_SCOPE_PRINCIPAL) return finding;
    }
    return v1::RuleFinding();
  };
  CHECK(of_principal(mine).measured() == "1001");
  CHECK(of_principal(seen).measured().empty());
  for (const v1::Decision* decision : {&mine, &seen}) {
    CHECK(of_principal(*decision).rows() == 1);
    CHECK(of_principal(*decision).of_rows() == 3);
  }

  // Reasons in lists are their principal's, the founders' and services'.
  v1::ListUpdatesRequest list;
  list.set_round_id(s.round);
  list.set_page_size(2);
  const auto page = w.f.As<Stub>(ada.agent).Ok(&Stub::ListUpdates, list);
  REQUIRE(page.updates_size() == 2);
  CHECK(page.updates(0).reason() == "VALUE_EFFECT");
  list.set_page_token(page.next_page_token());
  CHECK(w.f.As<Stub>(ada.agent).Ok(&Stub::ListUpdates, list).updates_size() == 1);
  v1::GetUpdateRequest one;
  one.set_update_id(s.updates[0]);
  CHECK(w.f.As<Stub>(trainers[1].agent).Ok(&Stub::GetUpdate, one).update().reason().empty());
  CHECK(w.f.As<Stub>(w.founder).Ok(&Stub::GetUpdate, one).update().reason() == "VALUE_EFFECT");
}

TEST_CASE("the floor's fixed bounds are those that a round's step as a whole has to keep",
          "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  std::vector<std::string> probes;
  for (int i = 0; i < 3; ++i) {
    probes.push_back(w.ProbeOf(w.founder, ProbeRows(3, 10 + i)).probe_id());
  }
  std::sort(probes.begin(), probes.end());
  int rules = 0;
  const auto add = [&](common_v1::RuleKind kind, common_v1::RuleMode mode, int64_t eps,
                       std::vector<std::string> of) {
    common_v1::Rule& rule = *w.rules.add_floor();
    rule.set_id("rule" + std::to_string(++rules));
    rule.set_kind(kind);
    rule.set_mode(mode);
    rule.set_eps_nanonats(eps);
    for (const std::string& probe : of) rule.add_probe_ids(probe);
  };
  using enum common_v1::RuleKind;
  using enum common_v1::RuleMode;
  add(RULE_KIND_VALUE_EFFECT, RULE_MODE_REVIEW, 7, {probes[1]});
  add(RULE_KIND_VALUE_EFFECT, RULE_MODE_REFUSE, 5, {probes[1]});         // the smaller one
  add(RULE_KIND_VALUE_EFFECT, RULE_MODE_REVIEW, 0, {probes[0]});         // the governed one
  add(RULE_KIND_VALUE_EFFECT, RULE_MODE_UNSPECIFIED, 1, {probes[0], probes[2]});  // no bound
  add(RULE_KIND_GROUP_HARM, RULE_MODE_REFUSE, 1, {probes[2]});
  w.governance.SetCooperative(w.rules);
  w.f.clock.Advance(absl::Minutes(1));
  const Screened s = ScreenedRound(w, 1, {ada}, {Honest(0)});
  REQUIRE(s.screening.aggregate_bounds_size() == 2);
  CHECK(s.screening.aggregate_bounds(0).probe_id() == probes[0]);
  CHECK(s.screening.aggregate_bounds(0).eps_nanonats() == 10'000'000);
  CHECK(s.screening.aggregate_bounds(1).probe_id() == probes[1]);
  CHECK(s.screening.aggregate_bounds(1).eps_nanonats() == 5);
}

TEST_CASE("a floor rule is never measured on a member's own probe", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  const v1::Probe own = w.ProbeOf(ada.person, ProbeRows(3, 1));  // before the floor named it
  common_v1::Rule& effect = *w.rules.add_floor();
  effect.set_id("effect");
  effect.set_kind(common_v1::RULE_KIND_VALUE_EFFECT);
  effect.add_probe_ids(own.probe_id());
  w.governance.SetCooperative(w.rules);
  w.f.clock.Advance(absl::Minutes(1));
  const Screened s = ScreenedRound(w, 1, {ada}, {Honest(0)});
  CHECK(s.screening.probes_size() == 0);
  CHECK(s.screening.updates(0).probe_ids_size() == 0);
  const auto decided = w.attribution->Ok(&Stub::DecideRound, w.Deciding(s.round));
  CHECK(decided.updates(0).state() == v1::UPDATE_STATE_REJECTED);
  CHECK(decided.updates(0).reason() == "RULE_ERROR");
}

TEST_CASE("an effective update is read by its principal, attribution, and founders who may",
          "[filter]") {
  World w;
  std::vector<Trainer> trainers = {w.NewTrainer(), w.NewTrainer()};
  w.Authorise(trainers[1].agent, "", false);  // does not consent to publication
  const Screened s = ScreenedRound(w, 1, trainers, {Honest(0), Honest(1)});
  auto founder = w.f.As<Stub>(w.founder);
  const auto reads = [&](Client<Stub> client, int update) {
    return w.Download(client, s.screening.updates(update).effective_sha256()).ok();
  };
  for (int i = 0; i < 2; ++i) {
    CHECK(reads(w.f.AsService<Stub>("attribution"), i));
    CHECK(reads(w.f.As<Stub>(trainers[i].person), i));
    CHECK(reads(w.f.As<Stub>(trainers[i].agent), i));
    CHECK_FALSE(reads(w.f.As<Stub>(trainers[1 - i].person), i));
  }
  CHECK(reads(w.f.As<Stub>(w.founder), 0));
  CHECK_FALSE(reads(w.f.As<Stub>(w.founder), 1));
}

TEST_CASE("a watcher sees its update's states, until the last", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  const Trainer bob = w.NewTrainer();
  const std::string round = w.Open(1);
  const std::string update = w.Commit(round, ada, Honest(0));
  v1::WatchUpdateRequest request;
  request.set_update_id(update);
  auto stranger = w.f.As<Stub>(bob.agent);
  {
    const auto context = stranger.Context();
    auto reader = stranger.stub().WatchUpdate(context.get(), request);
    v1::WatchUpdateResponse seen;
    CHECK_FALSE(reader->Read(&seen));
    CHECK(reader->Finish().error_code() == grpc::StatusCode::NOT_FOUND);
  }
  auto client = w.f.As<Stub>(ada.agent);
  const auto context = client.Context();
  auto reader = client.stub().WatchUpdate(context.get(), request);
  v1::WatchUpdateResponse seen;
  REQUIRE(reader->Read(&seen));
  CHECK(seen.update().state() == v1::UPDATE_STATE_COMMITTED);
  w.Move(round, v1::INTAKE_STATE_REVEALING);
  CHECK(w.Reveal(ada, update) == "OK");
  REQUIRE(reader->Read(&seen));
  CHECK(seen.update().state() == v1::UPDATE_STATE_RECEIVED);
  w.Move(round, v1::INTAKE_STATE_ABANDONED);
  REQUIRE(reader->Read(&seen));
  CHECK(seen.update().state() == v1::UPDATE_STATE_NOT_APPLIED);
  CHECK_FALSE(reader->Read(&seen));
  CHECK(reader->Finish().ok());
}

}  // namespace
}  // namespace rochdale::filter::testing
