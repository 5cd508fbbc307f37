#include "services/attribution/convert.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/config/parameters.h"
#include "libs/rpc/document.h"
#include "services/attribution/rules.h"

namespace rochdale::attribution {
namespace {

constexpr int kLayerSizesMax = 8;
constexpr int kLayerSizeMax = 16'384;
constexpr int64_t kRoundsMax = 100'000;
constexpr size_t kScenarioMax = 64;

bool IsScenario(absl::string_view text) {
  if (text.empty() || text.size() > kScenarioMax) return false;
  for (const char c : text) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '.' && c != '_' && c != '-') {
      return false;
    }
  }
  return true;
}

absl::StatusOr<learning::ModelSpec> SpecOf(const v1::ModelSpec& spec) {
  FieldErrors errors;
  learning::ModelSpec out;
  switch (spec.kind()) {
    case v1::MODEL_KIND_SOFTMAX_REGRESSION:
      out.kind = learning::ModelKind::kSoftmaxRegression;
      break;
    case v1::MODEL_KIND_MLP: out.kind = learning::ModelKind::kMlp; break;
    default: errors.Add("spec.kind", "must name an architecture");
  }
  if (spec.layer_sizes_size() < 2 || spec.layer_sizes_size() > kLayerSizesMax) {
    errors.Add("spec.layer_sizes", absl::StrCat("must be 2 to ", kLayerSizesMax, " widths"));
  }
  for (const int32_t size : spec.layer_sizes()) {
    if (size < 1 || size > kLayerSizeMax) {
      errors.Add("spec.layer_sizes", absl::StrCat("must be from 1 to ", kLayerSizeMax));
      break;
    }
  }
  RETURN_IF_ERROR(errors.ToStatus());
  out.layer_sizes.assign(spec.layer_sizes().begin(), spec.layer_sizes().end());
  RETURN_IF_ERROR(learning::ValidateModelSpec(out));
  return out;
}

void SetEntry(const EventId& event, common::v1::EntryRef& out) {
  out.set_event_id(event.ToString());
}

std::string TextOf(const std::optional<crypto::Digest>& digest) {
  return digest ? digest->ToString() : "";
}

}  // namespace

absl::StatusOr<WantedModel> ParseModelRegistration(const common::v1::SignedDocument& document) {
  WantedModel wanted;
  ASSIGN_OR_RETURN(wanted.document, rpc::FromProto(document));
  ASSIGN_OR_RETURN(const v1::ModelRegistration body,
                   rpc::ParseDocument<v1::ModelRegistration>(wanted.document));
  ASSIGN_OR_RETURN(wanted.cooperative,
                   ParseField<CooperativeId>(body.cooperative_id(), "cooperative_id"));
  ASSIGN_OR_RETURN(wanted.spec, SpecOf(body.spec()));
  wanted.init_seed = body.init_seed();
  return wanted;
}

absl::StatusOr<WantedPool> ParsePoolSealing(const common::v1::SignedDocument& document) {
  WantedPool wanted;
  ASSIGN_OR_RETURN(wanted.document, rpc::FromProto(document));
  ASSIGN_OR_RETURN(const v1::ValidationPoolSealing body,
                   rpc::ParseDocument<v1::ValidationPoolSealing>(wanted.document));
  ASSIGN_OR_RETURN(wanted.cooperative,
                   ParseField<CooperativeId>(body.cooperative_id(), "cooperative_id"));
  ASSIGN_OR_RETURN(wanted.data, ParseField<crypto::Digest>(body.data_sha256(), "data_sha256"));
  return wanted;
}

absl::StatusOr<WantedPlan> ParseTrainingPlan(const common::v1::SignedDocument& document) {
  WantedPlan wanted;
  ASSIGN_OR_RETURN(wanted.document, rpc::FromProto(document));
  ASSIGN_OR_RETURN(const v1::TrainingPlan body,
                   rpc::ParseDocument<v1::TrainingPlan>(wanted.document));
  FieldErrors errors;
  if (body.rounds() < 1 || body.rounds() > kRoundsMax) {
    errors.Add("rounds", absl::StrCat("must be from 1 to ", kRoundsMax));
  }
  if (!IsScenario(body.scenario())) {
    errors.Add("scenario", "must be 1 to 64 of lower-case letters, digits, '.', '_' and '-'");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  ASSIGN_OR_RETURN(wanted.cooperative,
                   ParseField<CooperativeId>(body.cooperative_id(), "cooperative_id"));
  wanted.rounds = body.rounds();
  wanted.scenario = body.scenario();
  return wanted;
}

void ToProto(const ModelRecord& model, v1::Model& out) {
  out.set_cooperative_id(model.cooperative.ToString());
  v1::ModelSpec& spec = *out.mutable_spec();
  spec.set_kind(model.spec.kind == learning::ModelKind::kMlp
                    ? v1::MODEL_KIND_MLP
                    : v1::MODEL_KIND_SOFTMAX_REGRESSION);
  for (const int size : model.spec.layer_sizes) spec.add_layer_sizes(size);
  for (const learning::ParameterTensor& tensor : learning::ParameterTensors(model.spec)) {
    out.add_parameter_names(tensor.name);
  }
  out.set_parameters(learning::ParameterCount(model.spec));
  SetEntry(model.event, *out.mutable_entry());
}

void ToProto(const CheckpointRecord& checkpoint, v1::Checkpoint& out) {
  out.set_cooperative_id(checkpoint.cooperative.ToString());
  out.set_version(checkpoint.version);
  out.set_sha256(checkpoint.sha256.ToString());
  out.set_parent_sha256(TextOf(checkpoint.parent));
  if (checkpoint.round) out.set_round_id(checkpoint.round->ToString());
  out.set_made_time_us(checkpoint.made_us);
  SetEntry(checkpoint.event, *out.mutable_entry());
}

void ToProto(const RoundRecord& round, int64_t now_us, v1::Round& out) {
  const bool preparing = !round.announced && !round.ended();
  out.set_round_id(round.round.ToString());
  out.set_cooperative_id(round.cooperative.ToString());
  out.set_number(round.number);
  out.set_state(preparing ? v1::ROUND_STATE_OPEN : static_cast<v1::RoundState>(round.state));
  out.set_deadline_us(preparing ? 0 : round.deadline_us);
  out.set_base_sha256(round.base.ToString());
  out.set_seed_sha256(round.seed_sha256.ToString());
  out.set_lineages(round.lineages.value_or(0));
  out.set_admitted(round.admitted.value_or(0));
  out.set_reason(round.reason);
  out.set_scenario(round.scenario);
  out.set_opened_time_us(round.opened_us.value_or(0));
  if (round.opened_us) SetEntry(round.opened_event, *out.mutable_opened_entry());
  if (!round.ended()) return;
  out.set_seed(TextOf(round.seed));
  out.set_closed_time_us(round.closed_us.value_or(0));
  if (round.closed_event) SetEntry(*round.closed_event, *out.mutable_closed_entry());
  if (round.state != RoundState::kClosed) return;
  out.set_next_sha256(TextOf(round.next));
  out.set_applied(round.applied.value_or(0));
  out.set_visible_loss_nanonats(ReleasedLoss(round, now_us));
}

void ToProto(const CreditRecord& credit, v1::Credit& out) {
  out.set_update_id(credit.update.ToString());
  out.set_round_id(credit.round.ToString());
  out.set_round_number(credit.round_number);
  out.set_principal_id(credit.principal.ToString());
  out.set_agent_id(credit.agent.ToString());
  out.set_credit_nanonats(credit.credit);
  out.set_estimate_nanonats(credit.estimate);
  out.set_standard_error_nanonats(credit.standard_error);
  out.set_solo_nanonats(credit.solo);
  out.set_leave_one_out_nanonats(credit.leave_one_out);
  out.set_applied(credit.applied);
  SetEntry(credit.event, *out.mutable_entry());
}

void ToProto(const RunRecord& run, v1::Run& out) {
  out.set_run_id(run.run.ToString());
  out.set_round_id(run.round.ToString());
  out.set_purpose(static_cast<v1::RunPurpose>(run.purpose));
  out.set_state(static_cast<v1::RunState>(run.state));
  out.set_shards(run.shards);
  out.set_shards_done(run.shards_done);
}

void ToProto(const Shard& shard, v1::Shard& out) {
  out.set_number(shard.number);
  out.set_lease_epoch(shard.lease_epoch);
  out.set_part(shard.range.part);
  out.set_row_begin(shard.range.row_begin);
  out.set_row_end(shard.range.row_end);
  out.set_candidate_begin(shard.range.candidate_begin);
  out.set_candidate_end(shard.range.candidate_end);
}

}  // namespace rochdale::attribution
