#include "services/attribution/convert.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/config/parameters.h"
#include "libs/rpc/document.h"
#include "libs/rpc/fields.h"
#include "services/attribution/entries.h"
#include "services/attribution/rules.h"

namespace rochdale::attribution {
namespace {

constexpr int kLayerSizesMax = 8;
constexpr int kLayerSizeMax = 16'384;
constexpr int64_t kRoundsMax = 100'000;
constexpr size_t kScenarioMax = 64;
constexpr size_t kRollbackReasonBytesMax = 1'000;

bool IsScenario(absl::string_view text) {
  if (text.empty() || text.size() > kScenarioMax) return false;
  for (const char c : text) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '.' && c != '_' && c != '-') {
      return false;
    }
  }
  return true;
}

std::optional<learning::ModelKind> KindOf(v1::ModelKind kind) {
  switch (kind) {
    case v1::MODEL_KIND_SOFTMAX_REGRESSION: return learning::ModelKind::kSoftmaxRegression;
    case v1::MODEL_KIND_MLP: return learning::ModelKind::kMlp;
    case v1::MODEL_KIND_CONVNET: return learning::ModelKind::kConvnet;
    case v1::MODEL_KIND_CHARACTER_TRANSFORMER: return learning::ModelKind::kCharacterTransformer;
    case v1::MODEL_KIND_TORCHSCRIPT: return learning::ModelKind::kTorchScript;
    default: return std::nullopt;
  }
}

v1::ModelKind KindOf(learning::ModelKind kind) {
  switch (kind) {
    case learning::ModelKind::kSoftmaxRegression: return v1::MODEL_KIND_SOFTMAX_REGRESSION;
    case learning::ModelKind::kMlp: return v1::MODEL_KIND_MLP;
    case learning::ModelKind::kConvnet: return v1::MODEL_KIND_CONVNET;
    case learning::ModelKind::kCharacterTransformer: return v1::MODEL_KIND_CHARACTER_TRANSFORMER;
    case learning::ModelKind::kTorchScript: return v1::MODEL_KIND_TORCHSCRIPT;
  }
  return v1::MODEL_KIND_UNSPECIFIED;
}

void CheckLayerSizes(const v1::ModelSpec& spec, learning::ModelKind kind, FieldErrors& errors) {
  const bool none = kind == learning::ModelKind::kCharacterTransformer ||
                    kind == learning::ModelKind::kTorchScript;
  const int sizes_min = none ? 0 : kind == learning::ModelKind::kConvnet ? 1 : 2;
  const int sizes_max = sizes_min == 0 ? 0 : kLayerSizesMax;
  if (spec.layer_sizes_size() < sizes_min || spec.layer_sizes_size() > sizes_max) {
    errors.Add("spec.layer_sizes", absl::StrCat("must be ", sizes_min, " to ", sizes_max,
                                                " widths"));
  }
  for (const int32_t size : spec.layer_sizes()) {
    if (size < 1 || size > kLayerSizeMax) {
      errors.Add("spec.layer_sizes", absl::StrCat("must be from 1 to ", kLayerSizeMax));
      break;
    }
  }
}

learning::TorchScriptSpec TorchScriptOf(const v1::TorchScript& module, FieldErrors& errors) {
  learning::TorchScriptSpec spec;
  spec.module =
      rpc::TakeDigest(module.module_sha256(), "spec.torchscript.module_sha256", errors);
  spec.inputs = module.inputs();
  spec.input_values = module.input_values();
  spec.classes = module.classes();
  for (const v1::ModuleParameter& parameter : module.parameters()) {
    spec.parameters.push_back(
        {parameter.name(), {parameter.shape().begin(), parameter.shape().end()}});
  }
  spec.library = module.library();
  spec.precision = module.precision();
  spec.aten_capability = module.aten_capability();
  spec.blas_kernel = module.blas_kernel();
  spec.tolerance_nanonats = module.tolerance_nanonats();
  spec.deadband_nanonats = module.deadband_nanonats();
  return spec;
}

void ToProto(const learning::TorchScriptSpec& spec, v1::TorchScript& out) {
  out.set_module_sha256(spec.module.ToString());
  out.set_inputs(spec.inputs);
  out.set_input_values(spec.input_values);
  out.set_classes(spec.classes);
  for (const learning::ModuleTensor& tensor : spec.parameters) {
    v1::ModuleParameter& parameter = *out.add_parameters();
    parameter.set_name(tensor.name);
    for (const int64_t extent : tensor.shape) parameter.add_shape(extent);
  }
  out.set_library(spec.library);
  out.set_precision(spec.precision);
  out.set_aten_capability(spec.aten_capability);
  out.set_blas_kernel(spec.blas_kernel);
  out.set_tolerance_nanonats(spec.tolerance_nanonats);
  out.set_deadband_nanonats(spec.deadband_nanonats);
}

absl::StatusOr<learning::ModelSpec> SpecOf(const v1::ModelSpec& spec) {
  FieldErrors errors;
  const std::optional<learning::ModelKind> kind = KindOf(spec.kind());
  if (!kind) {
    errors.Add("spec.kind", "must name an architecture");
    return errors.ToStatus();
  }
  CheckLayerSizes(spec, *kind, errors);
  if (spec.has_convnet() != (kind == learning::ModelKind::kConvnet)) {
    errors.Add("spec.convnet", "must be there for a convnet and for no other kind");
  }
  if (spec.has_transformer() != (kind == learning::ModelKind::kCharacterTransformer)) {
    errors.Add("spec.transformer", "must be there for a transformer and for no other kind");
  }
  if (spec.has_torchscript() != (kind == learning::ModelKind::kTorchScript)) {
    errors.Add("spec.torchscript", "must be there for a module and for no other kind");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  learning::ModelSpec out;
  out.kind = *kind;
  out.layer_sizes.assign(spec.layer_sizes().begin(), spec.layer_sizes().end());
  if (spec.has_convnet()) {
    const v1::Convnet& convnet = spec.convnet();
    out.image = {convnet.image_channels(), convnet.image_height(), convnet.image_width()};
    out.channels.assign(convnet.channels().begin(), convnet.channels().end());
  }
  if (spec.has_transformer()) {
    const v1::CharacterTransformer& sizes = spec.transformer();
    out.transformer = {sizes.context(), sizes.vocabulary(), sizes.width(),
                       sizes.heads(),   sizes.blocks(),     sizes.mlp_width()};
  }
  if (spec.has_torchscript()) out.torchscript = TorchScriptOf(spec.torchscript(), errors);
  RETURN_IF_ERROR(errors.ToStatus());
  RETURN_IF_ERROR(learning::ValidateModelSpec(out));
  return out;
}

void ToProto(const learning::ModelSpec& spec, v1::ModelSpec& out) {
  out.set_kind(KindOf(spec.kind));
  for (const int size : spec.layer_sizes) out.add_layer_sizes(size);
  if (spec.kind == learning::ModelKind::kConvnet) {
    v1::Convnet& convnet = *out.mutable_convnet();
    convnet.set_image_channels(spec.image[0]);
    convnet.set_image_height(spec.image[1]);
    convnet.set_image_width(spec.image[2]);
    for (const int channels : spec.channels) convnet.add_channels(channels);
  }
  if (spec.kind == learning::ModelKind::kCharacterTransformer) {
    v1::CharacterTransformer& sizes = *out.mutable_transformer();
    sizes.set_context(spec.transformer.context);
    sizes.set_vocabulary(spec.transformer.vocabulary);
    sizes.set_width(spec.transformer.width);
    sizes.set_heads(spec.transformer.heads);
    sizes.set_blocks(spec.transformer.blocks);
    sizes.set_mlp_width(spec.transformer.mlp_width);
  }
  if (!spec.exact()) ToProto(spec.torchscript, *out.mutable_torchscript());
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
  if (!wanted.spec.exact() && wanted.init_seed != 0) {
    FieldErrors errors;
    errors.Add("init_seed", "must be 0 for a module, which brings its own parameters");
    return errors.ToStatus();
  }
  return wanted;
}

absl::StatusOr<WantedModule> ParseModuleRegistration(const common::v1::SignedDocument& document) {
  WantedModule wanted;
  ASSIGN_OR_RETURN(wanted.document, rpc::FromProto(document));
  ASSIGN_OR_RETURN(const v1::ModuleRegistration body,
                   rpc::ParseDocument<v1::ModuleRegistration>(wanted.document));
  FieldErrors errors;
  wanted.module = rpc::TakeDigest(body.module_sha256(), "module_sha256", errors);
  RETURN_IF_ERROR(errors.ToStatus());
  ASSIGN_OR_RETURN(wanted.cooperative,
                   ParseField<CooperativeId>(body.cooperative_id(), "cooperative_id"));
  wanted.withdraws = body.withdraws();
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

absl::StatusOr<WantedRollback> ParseRollback(const common::v1::SignedDocument& document) {
  WantedRollback wanted;
  ASSIGN_OR_RETURN(wanted.document, rpc::FromProto(document));
  ASSIGN_OR_RETURN(const v1::CheckpointRollback body,
                   rpc::ParseDocument<v1::CheckpointRollback>(wanted.document));
  FieldErrors errors;
  wanted.checkpoint = rpc::TakeDigest(body.checkpoint_sha256(), "checkpoint_sha256", errors);
  wanted.newest = rpc::TakeDigest(body.newest_sha256(), "newest_sha256", errors);
  if (wanted.checkpoint == wanted.newest) {
    errors.Add("checkpoint_sha256", "must be another one than the newest");
  }
  if (body.reason().empty() || body.reason().size() > kRollbackReasonBytesMax) {
    errors.Add("reason", absl::StrCat("must be 1 to ", kRollbackReasonBytesMax, " bytes"));
  }
  RETURN_IF_ERROR(errors.ToStatus());
  ASSIGN_OR_RETURN(wanted.cooperative,
                   ParseField<CooperativeId>(body.cooperative_id(), "cooperative_id"));
  return wanted;
}

absl::StatusOr<WantedComparison> ParseComparison(const common::v1::SignedDocument& document) {
  WantedComparison wanted;
  ASSIGN_OR_RETURN(wanted.document, rpc::FromProto(document));
  ASSIGN_OR_RETURN(const v1::CheckpointComparison body,
                   rpc::ParseDocument<v1::CheckpointComparison>(wanted.document));
  FieldErrors errors;
  wanted.a = rpc::TakeDigest(body.a_sha256(), "a_sha256", errors);
  wanted.b = rpc::TakeDigest(body.b_sha256(), "b_sha256", errors);
  if (wanted.a == wanted.b) errors.Add("b_sha256", "must be another one than a_sha256");
  RETURN_IF_ERROR(errors.ToStatus());
  ASSIGN_OR_RETURN(wanted.cooperative,
                   ParseField<CooperativeId>(body.cooperative_id(), "cooperative_id"));
  return wanted;
}

void ToProto(const ComparisonRecord& comparison, const std::optional<crypto::Digest>& seed,
             v1::Comparison& out) {
  out.set_comparison_id(comparison.comparison.ToString());
  out.set_cooperative_id(comparison.cooperative.ToString());
  out.set_a_sha256(comparison.a.ToString());
  out.set_b_sha256(comparison.b.ToString());
  out.set_state(static_cast<v1::ComparisonState>(comparison.state));
  out.set_verdict(static_cast<v1::ComparisonVerdict>(comparison.look.verdict));
  out.set_rows(comparison.look.rows);
  out.set_difference_nanonats(comparison.look.difference);
  out.set_standard_error_nanonats(comparison.look.standard_error);
  out.set_seed_sha256(comparison.seed_sha256.ToString());
  if (seed && comparison.ended_us) out.set_seed(seed->ToString());
  if (comparison.evidence_sha256) out.set_evidence_sha256(comparison.evidence_sha256->ToString());
  out.set_reason(comparison.reason);
  out.set_started_time_us(comparison.created_us);
  out.set_ended_time_us(comparison.ended_us.value_or(0));
  SetEntry(EventOf("COMPARISON", comparison.comparison.value), *out.mutable_entry());
}

void ToProto(const ModelRecord& model, v1::Model& out) {
  out.set_cooperative_id(model.cooperative.ToString());
  ToProto(model.spec, *out.mutable_spec());
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
  out.set_tolerance_nanonats(credit.tolerance);
  out.set_deadband_nanonats(credit.deadband);
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
