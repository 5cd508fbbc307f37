// The rounds of the sample: updates, decisions, the game, evidence.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>

#include "absl/strings/str_cat.h"
#include "libs/crypto/commitment.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/tensor/flat.h"
#include "nlohmann/json.hpp"
#include "services/attribution/comparison_evidence.h"
#include "services/attribution/draw.h"
#include "services/attribution/game.h"
#include "services/attribution/parameters_file.h"
#include "services/filter/clipping.h"
#include "services/filter/composition.h"
#include "tests/integration/verify/sample_cooperative.h"

namespace rochdale::verify {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

namespace {

using Json = nlohmann::json;

constexpr int64_t kPoolRows = 120, kVisibleRows = 20, kRowsPerRound = 32;

template <typename T>
T Must(absl::StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  std::cerr << "sample cooperative: " << result.status() << "\n";
  std::abort();
}

std::string EffectiveFile(const learning::GridVector& update, const learning::ModelSpec& spec) {
  return Must(tensor::SerializeFlatI32(learning::ManifestOf(spec, tensor::DType::kI32), update));
}

int64_t TotalLoss(const learning::ModelSpec& spec, learning::GridSpan parameters,
                  learning::Rows rows) {
  const auto matrix = Must(learning::EvaluateCheckpoints(spec, {parameters}, rows));
  int64_t sum = 0;
  for (const int64_t loss : matrix.losses) sum += loss;
  return sum;
}

// A few random steps, each kept where it helps on every row together.
learning::GridVector Train(const learning::ModelSpec& spec, const learning::GridVector& base,
                           learning::Rows rows, uint64_t seed) {
  std::mt19937_64 engine(seed);
  learning::GridVector update(base.size(), 0);
  int64_t best = TotalLoss(spec, base, rows);
  for (int step = 0; step < 60; ++step) {
    learning::GridVector tried = update;
    for (int32_t& units : tried) units += static_cast<int32_t>(engine() % 65'537) - 32'768;
    const learning::GridVector there = learning::ApplyUpdates(base, {tried}, 1);
    const int64_t loss = TotalLoss(spec, there, rows);
    if (loss < best) best = loss, update = tried;
  }
  return update;
}

Json FindingOf(const std::string& rule, const std::string& scope, const std::string& kind_name,
               const std::string& verdict, const std::string& reason) {
  return {{"rule_id", rule}, {"rule_version", 1},    {"scope", scope},
          {"kind", kind_name}, {"verdict", verdict}, {"reason", reason}};
}

}  // namespace

std::string SampleCooperative::ForCooperative() const {
  return Json{{"cooperativeId", cooperative_.ToString()}}.dump();
}

void SampleCooperative::MakeModel() {
  base_ = learning::InitialParameters(spec_, "sample");
  const std::string checkpoint = attribution::SerializeCheckpoint(base_, spec_);
  best_ = crypto::Sha256(checkpoint);
  PutBlob(checkpoint);
  const Uuid model = NewId("model");
  crypto::EntryBuilder created = Entry(kind::kModelCreated, &model_event_);
  Append(created.Cooperative(cooperative_).Subject(model)
             .Digest(tag::kModelDigest, crypto::Sha256(learning::ModelSpecToJson(spec_)))
             .Digest(tag::kCheckpointDigest, best_)
             .Document(Sign(founder_, "rochdale.attribution.v1.ModelRegistration",
                            ForCooperative())));
  crypto::EntryBuilder made = Entry(kind::kCheckpointMade, nullptr);
  Append(made.Cooperative(cooperative_).Subject(model).AuthorisedBy(model_event_)
             .U64(tag::kVersion, 0).Digest(tag::kCheckpointDigest, best_).Id(tag::kModel, model));
  std::mt19937_64 engine(7);
  pool_rows_.dimension = 16;
  const bool text = spec_.kind == learning::ModelKind::kCharacterTransformer;
  for (int64_t row = 0; row < kPoolRows; ++row) {
    const int label = static_cast<int>(engine() % 4);
    for (int i = 0; i < 16; ++i) {
      const auto pixel = static_cast<uint8_t>(i / 4 == label ? 128 + engine() % 128
                                                             : engine() % 128);
      pool_rows_.inputs.push_back(!text ? pixel : pixel < 128 ? pixel % 4 : label);
    }
    pool_rows_.labels.push_back(label);
  }
  pool_digest_ = crypto::Sha256(learning::SerializeDataset(pool_rows_));
  split_seed_ = crypto::Sha256("split seed");
  visible_ = attribution::VisibleRows(split_seed_, kPoolRows, kVisibleRows);
  crypto::EntryBuilder sealed = Entry(kind::kValidationPoolSealed, nullptr);
  Append(sealed.Cooperative(cooperative_).Subject(model).AuthorisedBy(model_event_)
             .Digest(tag::kPoolRoot, attribution::PoolRoot(pool_rows_, visible_))
             .U64(tag::kRowCount, kPoolRows)
             .Digest(tag::kDataCommitment,
                     crypto::Commitment(crypto::Salt{split_seed_.bytes}, pool_digest_.AsBytes()))
             .Document(Sign(founder_, "rochdale.attribution.v1.ValidationPoolSealing",
                            ForCooperative())));
}

SampleCooperative::Update SampleCooperative::Commit(int64_t number, size_t member,
                                                    const RoundId& round) {
  const Member& who = members_[member];
  Update update;
  update.id = UpdateId{NewId(absl::StrCat("update ", number, " ", member))};
  update.member = member;
  update.effective = Train(spec_, base_, pool_rows_, static_cast<uint64_t>(number * 10) + member);
  update.blob = EffectiveFile(update.effective, spec_);
  const crypto::Digest delta = crypto::Sha256(absl::StrCat("delta ", number, " ", member));
  const bool forged = Is(Fault::kUnsignedCommitment) && member == 1;
  crypto::EntryBuilder committed = Entry(kind::kUpdateCommitted, &update.committed);
  Append(committed.Cooperative(cooperative_).Subject(update.id).AuthorisedBy(who.mandate)
             .Id(tag::kPrincipal, who.principal).Id(tag::kAgent, who.agent)
             .Id(tag::kRound, round).Digest(tag::kUpdateCommitment, delta)
             .Document(Sign(forged ? founder_ : who.agent_key,
                            "rochdale.filter.v1.UpdateCommitment",
                            Json{{"updateId", update.id.ToString()},
                                 {"roundId", round.ToString()},
                                 {"agentId", who.agent.ToString()},
                                 {"updateSha256", delta.ToString()},
                                 {"sampleCount", absl::StrCat(100 + 50 * member)}}
                                .dump())));
  crypto::EntryBuilder received = Entry(kind::kUpdateReceived, nullptr);
  Append(received.Cooperative(cooperative_).Subject(update.id).AuthorisedBy(update.committed)
             .Id(tag::kRound, round).Digest(tag::kUpdateDigest, delta)
             .U64(tag::kSizeBytes, update.blob.size()));
  return update;
}

std::string SampleCooperative::ReasonOf(int64_t number, size_t member) const {
  // The third copies in the first round.
  if (number == 1 && member == 2) return "ORIGINALITY";
  const bool second = Is(Fault::kOwnersSecond) || Is(Fault::kAttestationHidden);
  if (of_five_ && member == 4 && !second) return "OWNER_HAS_UPDATE";
  return member == 3 && Is(Fault::kOwnerOfNobody) ? "OWNER_HAS_UPDATE" : "";
}

void SampleCooperative::Decide(Update& update, const RoundId& round, const std::string& why,
                               const UpdateId& lineage) {
  const bool refuse = why == "ORIGINALITY";
  const crypto::Digest delta = crypto::Sha256(
      absl::StrCat("delta ", rounds_.size() + 1, " ", update.member));
  Json magnitude = FindingOf("floor.magnitude", "FLOOR", "MAGNITUDE", "ALLOW", "");
  magnitude["measured"] = absl::StrCat(filter::NormRatioMicro(4'000'000, 1'000'000));
  magnitude["threshold"] = Is(Fault::kVerdictAgainstNumbers) ? "1999999" : "4000000";
  if (Is(Fault::kFloorStopsEarly)) {
    magnitude["rows"] = 1'000;
    magnitude["of_rows"] = 4'000;
  }
  Json originality = FindingOf("floor.originality", "FLOOR", "ORIGINALITY",
                               refuse ? "DENY" : "ALLOW", refuse ? "ORIGINALITY" : "");
  originality["measured"] = refuse ? "990000" : "120000";
  originality["threshold"] = "600000";
  Json own = FindingOf("own.effect", "PRINCIPAL", "VALUE_EFFECT", "ALLOW", "");
  own["probe_id"] = probe_.ToString();
  // The first measures its probe on as many rows as it takes, the others on all.
  if (update.member == 0) {
    own["rows"] = Is(Fault::kEarlyBeyondHalf) ? 2'001 : 1'000;
    own["of_rows"] = Is(Fault::kOtherProbeRows) ? 8'000 : 4'000;
  }
  for (const char* field : {"measured_commitment", "threshold_commitment"}) {
    own[field] = crypto::Sha256(field).ToString();
  }
  const bool of_owner = why == "OWNER_HAS_UPDATE";
  const Json authority = FindingOf("floor.authority", "FLOOR", "AUTHORITY",
                                   of_owner ? "DENY" : "ALLOW", of_owner ? why : "");
  const bool mild = refuse && (Is(Fault::kMildVerdict) || Is(Fault::kTwoOfALineage));
  const std::string reason = mild ? "" : why;
  const std::string verdict = reason.empty() ? "ALLOW" : "DENY";
  const Json body = {
      {"format", 1}, {"update_id", update.id.ToString()}, {"round_id", round.ToString()},
      {"update_sha256", delta.ToString()},
      {"effective_sha256", crypto::Sha256(update.blob).ToString()},
      {"engine_version", std::string(filter::kEngineVersion)}, {"rules_version", 1},
      {"profile_version", 1}, {"evidence_sha256", crypto::Sha256("measures").ToString()},
      {"facts",
       {{"norm_squared", "4000000"}, {"median_squared", "1000000"}, {"elements", 172},
        {"authority", of_owner ? why : ""}, {"clip_scale", 0.5}, {"clipped_norm", 0.123456789},
        {"directions", Json::array()},
        {"originality",
         {{"r1_micro", refuse ? 990'000 : 120'000}, {"ev_micro", 300'000},
          {"original", !refuse}}}}},
      {"verdict", verdict}, {"reason", reason},
      {"findings", {magnitude, authority, originality, own}}};
  files_[absl::StrCat("decisions/", update.id.ToString(), ".json")] = body.dump();
  crypto::EntryBuilder made = Entry(kind::kDecisionMade, &update.decided);
  made.Cooperative(cooperative_).Subject(update.id).AuthorisedBy(update.committed)
      .Id(tag::kRound, round).Digest(tag::kDecisionDigest, crypto::Sha256(body.dump()))
      .U64(tag::kVerdict, verdict == "DENY" ? 5 : 1).U64(tag::kRulesVersion, 1)
      .Digest(tag::kEffectiveDigest, crypto::Sha256(update.blob));
  if (!reason.empty()) made.Text(tag::kReason, reason);
  Append(made.Id(tag::kLineage, lineage)
             .Id(tag::kAttestation, members_[update.member].attested));
}

void SampleCooperative::RunRound(int64_t number) {
  const RoundId round{NewId(absl::StrCat("round ", number))};
  crypto::Digest seed = crypto::Sha256(absl::StrCat("seed ", number));
  EventId opened_event;
  crypto::EntryBuilder opened = Entry(kind::kRoundOpened, &opened_event);
  const crypto::Digest base = crypto::Sha256(attribution::SerializeCheckpoint(base_, spec_));
  crypto::Digest commitment = crypto::Sha256(seed.AsBytes());
  if (Is(Fault::kWrongSeed)) commitment.bytes[5] ^= 4;
  Append(opened.Cooperative(cooperative_).Subject(round).AuthorisedBy(model_event_)
             .Digest(tag::kCheckpointDigest, base).Digest(tag::kSeedCommitment, commitment)
             .U64(tag::kRoundNumber, static_cast<uint64_t>(number)).Id(tag::kModel, NewId("model"))
             .Document(Sign(Is(Fault::kStrangersPlan) ? customer_key_ : founder_,
                            "rochdale.attribution.v1.TrainingPlan", ForCooperative())));
  std::vector<Update> admitted;
  UpdateId first;
  lineages_ = 0;
  for (size_t member = 0; member < members_.size(); ++member) {
    Update update = Commit(number, member, round);
    const std::string why = ReasonOf(number, member);
    const bool refuse = !why.empty();
    // A copy, and an owner's second, count with the first; where lineages have weights, the copy
    // was one of an earlier round and is for itself.
    const bool apart = Is(Fault::kOwnersApart) || (member == 3 && refuse);
    const bool with_first = refuse && !apart && !(member == 2 && learning::IsWeighted(rule_));
    if (!with_first) ++lineages_;
    Decide(update, round, why, with_first ? first : update.id);
    if (member == 0) first = update.id;
    if (member == 2 && refuse) refused_ = update.id;
    if (!refuse) admitted.push_back(update);
    if (refuse && (Is(Fault::kRefusedIsApplied) || Is(Fault::kRefusedIsCredited))) {
      const bool credit = Is(Fault::kRefusedIsCredited);
      crypto::EntryBuilder wrong =
          Entry(credit ? kind::kCreditAssigned : kind::kUpdateApplied, nullptr);
      wrong.Cooperative(cooperative_).Subject(update.id).AuthorisedBy(update.decided)
          .Id(tag::kRound, round);
      if (credit) {
        wrong.Id(tag::kPrincipal, members_[member].principal)
            .Digest(tag::kEvidenceDigest, crypto::Sha256("none"))
            .I64(tag::kCreditNanoNats, 0);
      } else {
        wrong.Digest(tag::kEffectiveDigest, crypto::Sha256(update.blob));
      }
      Append(wrong);
    }
  }
  for (const Update& update : admitted) PutBlob(update.blob);
  Settle(number, round, opened_event, admitted);
}

learning::Aggregation SampleCooperative::AggregationOf(const std::vector<Update>& admitted) {
  learning::Aggregation aggregation;
  aggregation.rule = rule_;
  if (rule_ == learning::AggregationRule::kTrimmedMean ||
      rule_ == learning::AggregationRule::kMultiKrum) {
    aggregation.trim_bp = 2'000;
  }
  if (!learning::IsWeighted(rule_)) return aggregation;
  std::vector<int64_t> sizes;
  for (const Update& update : admitted) {
    int64_t size = 100 + 50 * static_cast<int64_t>(update.member);  // as it committed to
    if (rule_ == learning::AggregationRule::kCreditWeighted) {
      size = 0;
      for (const Credited& earlier : all_credits_) {
        if (earlier.member == update.member) size += earlier.credit.credit;
      }
    }
    sizes.push_back(size);
  }
  if (lineages_ > static_cast<int64_t>(admitted.size())) sizes.push_back(1'000);  // refused
  aggregation.shares = learning::WeightShares(rule_, sizes);
  aggregation.shares.resize(admitted.size());
  if (Is(Fault::kOtherShare)) aggregation.shares[0] -= aggregation.shares[0] / 10;
  return aggregation;
}

void SampleCooperative::Settle(int64_t number, const RoundId& round, const EventId& opened,
                               const std::vector<Update>& admitted) {
  attribution::Evidence evidence;
  evidence.round = round;
  evidence.cooperative = cooperative_;
  evidence.number = number;
  evidence.model = spec_;
  evidence.base = crypto::Sha256(attribution::SerializeCheckpoint(base_, spec_));
  evidence.best = best_;
  evidence.lineages = lineages_ + Is(Fault::kOtherLineages);
  evidence.seed = crypto::Sha256(absl::StrCat("seed ", number));
  evidence.seed_sha256 = crypto::Sha256(evidence.seed.AsBytes());
  evidence.pool = pool_digest_;
  evidence.split_seed = split_seed_;
  evidence.pool_rows = kPoolRows;
  evidence.visible_rows = kVisibleRows;
  std::set<int64_t> retired;
  for (const attribution::Evidence& earlier : rounds_) {
    evidence.retired_rounds.push_back(earlier.round);
    retired.insert(earlier.rows.begin(), earlier.rows.end());
  }
  evidence.rows = attribution::DrawSettlementRows(evidence.seed, kPoolRows, visible_, retired,
                                                  kRowsPerRound);
  if (Is(Fault::kChosenRows)) evidence.rows.front() = visible_.front();
  std::sort(evidence.rows.begin(), evidence.rows.end());
  const learning::Dataset rows = learning::TakeRows(pool_rows_, evidence.rows);
  const std::string rows_file = learning::SerializeDataset(rows);
  evidence.rows_sha256 = crypto::Sha256(rows_file);
  PutBlob(rows_file);
  for (const Update& update : admitted) {
    evidence.updates.push_back(
        {update.id, members_[update.member].principal, crypto::Sha256(update.blob)});
  }
  evidence.aggregation = AggregationOf(admitted);
  std::vector<learning::GridVector> prepared;
  for (const Update& update : admitted) {
    prepared.push_back(learning::PrepareUpdate(evidence.aggregation, evidence.lineages,
                                               prepared.size(), update.effective));
  }
  learning::Aggregator aggregator(rule_, evidence.aggregation.trim_bp, evidence.lineages, base_,
                                  {prepared.begin(), prepared.end()});
  attribution::Game game;
  game.contributors = static_cast<int>(admitted.size());
  game.rows = rows.count();
  evidence.rule.sampling = {2, 8, 50'000};
  game.seed = evidence.seed;
  learning::HostEvaluator evaluator;
  const auto evaluate = [&](const std::vector<uint64_t>& masks) {
    return Must(aggregator.Evaluate(evaluator, spec_, masks, rows)).losses;
  };
  const auto add = [&](const std::vector<uint64_t>& masks) {
    attribution::AddCoalitions(game, masks, evaluate(masks));
  };
  add(attribution::GameMasks(game.contributors));
  const std::string best_file = files_.at(absl::StrCat("blobs/", best_.ToString()));
  const learning::GridVector best = Must(attribution::ParseCheckpoint(best_file, spec_));
  game.best = Must(learning::EvaluateCheckpoints(spec_, {best}, rows)).losses;
  evidence.rule.z_bound_micro = 500'000;
  if (attribution::IsSampled(evidence.rule, game.contributors)) {
    do {
      game.pairs = learning::PairsOfNextStage(evidence.rule.sampling, game.pairs);
      add(attribution::GameMasks(game.contributors, game.seed, game.pairs));
    } while (!Must(attribution::SamplingEnds(evidence.rule, game)));
  }
  evidence.pairs = game.pairs;
  const uint64_t gate = Must(attribution::AppliedMask(evidence.rule, game));
  evidence.values = TestValues(gate, [&](const std::vector<uint64_t>& masks,
                                         learning::Rows probe) {
    return Must(aggregator.Evaluate(evaluator, spec_, masks, probe)).losses;
  });
  uint64_t applied = gate;
  if (gate != 0) applied = Must(attribution::NextValuesStep(gate, evidence.values)).kept;
  if (applied != gate) LieAboutValues(gate, applied, evidence.values);
  if (game.Losses(applied).empty()) add({applied});
  evidence.masks = game.masks;
  for (const uint64_t mask : game.masks) {
    evidence.coalition_loss_sums.push_back(attribution::LossSum(game.Losses(mask)));
  }
  if (Is(Fault::kWrongSums)) evidence.coalition_loss_sums[1] += 1;
  evidence.best_loss_sum = attribution::LossSum(game.best);
  evidence.losses_root = attribution::LossesRoot(game);
  const attribution::GameResult result =
      Must(attribution::Settle(evidence.rule, game, gate & ~applied));
  evidence.applied_mask = result.applied_mask;
  for (size_t i = 0; i < admitted.size(); ++i) {
    const attribution::ContributorResult& one = result.contributors[i];
    evidence.credits.push_back({admitted[i].id, one.credit, one.estimate, one.standard_error,
                                one.solo, one.leave_one_out, one.harmful});
  }
  if (Is(Fault::kWrongCredit)) evidence.credits[0].credit += 1;
  learning::GridVector next = aggregator.Parameters(result.applied_mask);
  if (Is(Fault::kWrongNext)) next[3] += 1;
  const std::string next_file = attribution::SerializeCheckpoint(next, spec_);
  evidence.next = crypto::Sha256(next_file);
  PutBlob(next_file);
  if (Is(Fault::kWrongBlob)) {
    files_[absl::StrCat("blobs/", evidence.updates[0].effective.ToString())] = admitted[1].blob;
  }
  const std::string json = attribution::EvidenceToJson(evidence);
  files_[absl::StrCat("rounds/", round.ToString(), ".json")] = json;
  LogRound(evidence, opened, admitted, crypto::Sha256(json));
  if (attribution::LossSum(game.Losses(evidence.applied_mask)) < evidence.best_loss_sum) {
    best_ = evidence.next;
  }
  base_ = next;
  rounds_.push_back(std::move(evidence));
}

void SampleCooperative::LogRound(const attribution::Evidence& evidence, const EventId& opened,
                                 const std::vector<Update>& admitted,
                                 const crypto::Digest& digest) {
  crypto::EntryBuilder made = Entry(kind::kEvidenceMade, nullptr);
  Append(made.Cooperative(cooperative_).Subject(evidence.round).AuthorisedBy(opened)
             .Digest(tag::kEvidenceDigest, digest)
             .Digest(tag::kMatrixRoot, evidence.losses_root)
             .U64(tag::kRowCount, evidence.rows.size()));
  crypto::EntryBuilder checkpoint = Entry(kind::kCheckpointMade, nullptr);
  Append(checkpoint.Cooperative(cooperative_).Subject(evidence.round).AuthorisedBy(opened)
             .U64(tag::kVersion, static_cast<uint64_t>(evidence.number))
             .Digest(tag::kCheckpointDigest, evidence.next)
             .Digest(tag::kParentDigest, evidence.base).Id(tag::kRound, evidence.round));
  for (size_t i = 0; i < admitted.size(); ++i) {
    const Update& update = admitted[i];
    const attribution::EvidenceCredit& credit = evidence.credits[i];
    const bool applied = evidence.applied_mask >> i & 1;
    crypto::EntryBuilder end =
        Entry(applied ? kind::kUpdateApplied : kind::kUpdateNotApplied, nullptr);
    end.Cooperative(cooperative_).Subject(update.id).AuthorisedBy(update.decided)
        .Id(tag::kRound, evidence.round);
    if (applied) end.Digest(tag::kEffectiveDigest, crypto::Sha256(update.blob));
    else end.Text(tag::kReason, NotAppliedReason(credit));
    Append(end);
    Credited credited{update.member, update.id, {}, update.decided, credit, evidence.number,
                      applied};
    crypto::EntryBuilder assigned = Entry(kind::kCreditAssigned, &credited.event);
    Append(assigned.Cooperative(cooperative_).Subject(update.id).AuthorisedBy(update.decided)
               .Id(tag::kPrincipal, members_[update.member].principal)
               .Id(tag::kRound, evidence.round).Digest(tag::kEvidenceDigest, digest)
               .I64(tag::kCreditNanoNats, credit.credit)
               .I64(tag::kPhiNanoNats, credit.estimate)
               .I64(tag::kErrorNanoNats, credit.standard_error));
    if (credit.credit > 0) credited_ = update.id;
    credits_.push_back(credited);
    all_credits_.push_back(credited);
    Json file = {{"format", 1},
                 {"update_id", update.id.ToString()},
                 {"round_id", evidence.round.ToString()},
                 {"principal_id", members_[update.member].principal.ToString()},
                 {"credit_nanonats", credit.credit + (Is(Fault::kWrongCreditFile) ? 1 : 0)},
                 {"evidence_sha256", digest.ToString()},
                 {"log_index", leaves_.size() - 1},
                 {"event_id", credited.event.ToString()}};
    files_[absl::StrCat("credits/", update.id.ToString(), ".json")] = file.dump();
  }
  crypto::EntryBuilder closed = Entry(kind::kRoundClosed, nullptr);
  Append(closed.Cooperative(cooperative_).Subject(evidence.round).AuthorisedBy(opened)
             .Digest(tag::kCheckpointDigest, evidence.next)
             .U64(tag::kUpdateCount,
                  static_cast<uint64_t>(__builtin_popcountll(evidence.applied_mask)))
             .Bytes(tag::kSeed, evidence.seed.AsBytes())
             .Digest(tag::kMatrixRoot, evidence.losses_root));
}

void SampleCooperative::Compare() {
  attribution::ComparisonEvidence evidence;
  evidence.comparison = attribution::ComparisonId{NewId("A/B test")};
  evidence.cooperative = cooperative_;
  evidence.a = rounds_.front().base;
  evidence.b = rounds_.front().next;
  evidence.rule = {.rows_min = 5, .rows_max = 20, .error_micro = 100'000, .margin_nanonats = 1'000};
  evidence.seed = crypto::Sha256("seed of the A/B test");
  evidence.seed_sha256 = crypto::Sha256(evidence.seed.AsBytes());
  evidence.pool = pool_digest_;
  evidence.split_seed = split_seed_;
  evidence.pool_rows = kPoolRows;
  evidence.visible_rows = kVisibleRows;
  const learning::Dataset rows =
      learning::TakeRows(pool_rows_, attribution::ComparisonOrder(evidence.seed, visible_));
  const auto losses = [&](const crypto::Digest& digest) {
    const std::string& file = files_.at(absl::StrCat("blobs/", digest.ToString()));
    const learning::GridVector parameters = Must(attribution::ParseCheckpoint(file, spec_));
    return Must(learning::EvaluateCheckpoints(spec_, {parameters}, rows)).losses;
  };
  const std::vector<int64_t> a = losses(evidence.a), b = losses(evidence.b);
  const auto look = [&](int64_t count) {
    evidence.losses_a.assign(a.begin(), a.begin() + count);
    evidence.losses_b.assign(b.begin(), b.begin() + count);
    evidence.look = attribution::TakeLook(evidence.rule, kVisibleRows, evidence.losses_a,
                                          evidence.losses_b);
  };
  int64_t count = 0;
  while (evidence.look.verdict == attribution::Verdict::kNone) {
    count = attribution::RowsOfNextLook(evidence.rule, kVisibleRows, count);
    look(count);
  }
  if (Is(Fault::kLateStop)) look(kVisibleRows);
  if (Is(Fault::kOtherVerdict)) {
    evidence.look.verdict = evidence.look.verdict == attribution::Verdict::kABetter
                                ? attribution::Verdict::kBBetter
                                : attribution::Verdict::kABetter;
  }
  const std::string body = attribution::ComparisonEvidenceToJson(evidence);
  files_[absl::StrCat("comparisons/", evidence.comparison.ToString(), ".json")] = body;
  EventId started_event;
  crypto::EntryBuilder started = Entry(kind::kComparisonStarted, &started_event);
  Append(started.Cooperative(cooperative_).Subject(evidence.comparison)
             .AuthorisedBy(model_event_).Digest(tag::kParentDigest, evidence.a)
             .Digest(tag::kCheckpointDigest, evidence.b)
             .Digest(tag::kSeedCommitment, evidence.seed_sha256)
             .Document(Sign(founder_, "rochdale.attribution.v1.CheckpointComparison",
                            Json{{"cooperativeId", cooperative_.ToString()},
                                 {"aSha256", evidence.a.ToString()},
                                 {"bSha256", evidence.b.ToString()}}
                                .dump())));
  crypto::EntryBuilder ended = Entry(kind::kComparisonEnded, nullptr);
  Append(ended.Cooperative(cooperative_).Subject(evidence.comparison).AuthorisedBy(started_event)
             .U64(tag::kStatus, static_cast<uint64_t>(evidence.look.verdict))
             .Bytes(tag::kSeed, evidence.seed.AsBytes())
             .Digest(tag::kEvidenceDigest, crypto::Sha256(body))
             .U64(tag::kRowCount, static_cast<uint64_t>(evidence.look.rows))
             .I64(tag::kPhiNanoNats, evidence.look.difference)
             .I64(tag::kErrorNanoNats, evidence.look.standard_error));
}

}  // namespace rochdale::verify
