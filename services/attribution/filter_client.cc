#include "services/attribution/filter_client.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "grpcpp/channel.h"
#include "libs/base/status_macros.h"
#include "libs/blob/transfer.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/learning/dataset.h"
#include "libs/rpc/channel.h"
#include "rochdale/filter/v1/filter.grpc.pb.h"

namespace rochdale::attribution {
namespace {

namespace v1 = ::rochdale::filter::v1;
namespace common = ::rochdale::common::v1;
using Stub = v1::FilterService::Stub;

constexpr int kPageSize = 1'000;
constexpr int kPagesMax = 100;
constexpr int64_t kSampleCountMax = 1'000'000'000;
constexpr int64_t kBoundMax = int64_t{1} << 60;

template <typename T>
absl::StatusOr<T> ParseAnswer(absl::string_view text) {
  auto parsed = T::Parse(text);
  if (parsed.ok()) return *parsed;
  return absl::InternalError("the filter answered with a malformed id or digest");
}

template <typename T>
absl::StatusOr<std::optional<T>> ParseMaybe(absl::string_view text) {
  if (text.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(T parsed, ParseAnswer<T>(text));
  return parsed;
}

std::string RequestOf(absl::string_view step, const RoundId& round) {
  return crypto::DeterministicId("attribution/filter", step, round).ToString();
}

// Has been admitted, whatever became of it since.
bool IsAdmitted(v1::UpdateState state) {
  switch (state) {
    case v1::UPDATE_STATE_ADMITTED:
    case v1::UPDATE_STATE_PROJECTED:
    case v1::UPDATE_STATE_EVALUATED:
    case v1::UPDATE_STATE_APPLIED:
    case v1::UPDATE_STATE_NOT_APPLIED:
    case v1::UPDATE_STATE_SETTLED: return true;
    default: return false;
  }
}

absl::StatusOr<Decided> DecidedOf(const v1::Update& update) {
  Decided decided;
  ASSIGN_OR_RETURN(decided.update, ParseAnswer<UpdateId>(update.update_id()));
  decided.admitted = IsAdmitted(update.state());
  decided.in_review = update.state() == v1::UPDATE_STATE_IN_REVIEW;
  ASSIGN_OR_RETURN(decided.decision_event,
                   ParseMaybe<EventId>(update.decision_entry().event_id()));
  decided.publishable = update.consents_to_publication();
  return decided;
}

v1::UpdateState StateOf(OutcomeState state) {
  switch (state) {
    case OutcomeState::kEvaluated: return v1::UPDATE_STATE_EVALUATED;
    case OutcomeState::kApplied: return v1::UPDATE_STATE_APPLIED;
    case OutcomeState::kNotApplied: return v1::UPDATE_STATE_NOT_APPLIED;
  }
  return v1::UPDATE_STATE_UNSPECIFIED;
}

}  // namespace

struct FilterClient::State {
  State(std::shared_ptr<grpc::Channel> channel, const rpc::Outgoing& outgoing,
        absl::Duration timeout)
      : stub(std::move(channel)), outgoing(outgoing), timeout(timeout) {}

  template <typename Request, typename Response>
  absl::Status Invoke(grpc::Status (v1::FilterService::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                      const Request& request, Response* response) {
    return outgoing.Invoke(stub, method, request, response, {.timeout = timeout});
  }

  // Every update of a round.
  absl::StatusOr<std::vector<v1::Update>> ListUpdates(const RoundId& round) {
    std::vector<v1::Update> updates;
    v1::ListUpdatesRequest request;
    request.set_round_id(round.ToString());
    request.set_page_size(kPageSize);
    for (int page = 0; page < kPagesMax; ++page) {
      v1::ListUpdatesResponse response;
      RETURN_IF_ERROR(Invoke(&Stub::ListUpdates, request, &response));
      updates.insert(updates.end(), response.updates().begin(), response.updates().end());
      if (response.next_page_token().empty()) break;
      request.set_page_token(response.next_page_token());
    }
    return updates;
  }

  blob::BlobCalls BlobCalls() {
    blob::BlobCalls calls;
    calls.begin = [this](const common::BeginUploadRequest& request, common::Upload* upload) {
      return Invoke(&Stub::BeginUpload, request, upload);
    };
    calls.upload = [this](grpc::ClientContext* context, common::Upload* upload) {
      return std::unique_ptr<grpc::ClientWriterInterface<common::UploadChunk>>(
          stub.UploadBlob(context, upload));
    };
    calls.download = [this](grpc::ClientContext* context,
                            const common::DownloadBlobRequest& request) {
      return std::unique_ptr<grpc::ClientReaderInterface<common::BlobChunk>>(
          stub.DownloadBlob(context, request));
    };
    calls.prepare = [this](grpc::ClientContext& context) {
      outgoing.Prepare(context, {.timeout = timeout});
    };
    return calls;
  }

  Stub stub;
  const rpc::Outgoing& outgoing;
  const absl::Duration timeout;
};

FilterClient::FilterClient(std::shared_ptr<grpc::Channel> channel, const rpc::Outgoing& outgoing,
                           absl::Duration timeout)
    : state_(std::make_unique<State>(std::move(channel), outgoing, timeout)) {}

FilterClient::~FilterClient() = default;

absl::StatusOr<std::vector<ProbeInfo>> FilterClient::ListProbes(const CooperativeId& cooperative) {
  std::vector<ProbeInfo> probes;
  v1::ListProbesRequest request;
  request.set_cooperative_id(cooperative.ToString());
  request.set_page_size(kPageSize);
  for (int page = 0; page < kPagesMax; ++page) {
    v1::ListProbesResponse response;
    RETURN_IF_ERROR(state_->Invoke(&Stub::ListProbes, request, &response));
    for (const v1::Probe& probe : response.probes()) {
      ProbeInfo info;
      ASSIGN_OR_RETURN(info.probe, ParseAnswer<ProbeId>(probe.probe_id()));
      ASSIGN_OR_RETURN(info.principal, ParseMaybe<PrincipalId>(probe.principal_id()));
      ASSIGN_OR_RETURN(info.data, ParseAnswer<crypto::Digest>(probe.data_sha256()));
      probes.push_back(info);
    }
    if (response.next_page_token().empty()) break;
    request.set_page_token(response.next_page_token());
  }
  return probes;
}

absl::Status FilterClient::OpenScreening(const RoundRecord& round,
                                         const tensor::TensorManifest& manifest,
                                         const std::vector<ProbeGradientRecord>& gradients,
                                         int64_t deadline_us) {
  v1::OpenScreeningRequest request;
  request.set_request_id(RequestOf("open", round.round));
  request.set_round_id(round.round.ToString());
  request.set_cooperative_id(round.cooperative.ToString());
  request.set_round_number(round.number);
  request.set_base_sha256(round.base.ToString());
  for (const tensor::TensorSpec& spec : manifest.specs()) {
    v1::TensorShape& shape = *request.add_manifest();
    shape.set_name(spec.name);
    for (const int64_t extent : spec.shape) shape.add_dimensions(extent);
  }
  for (const ProbeGradientRecord& gradient : gradients) {
    v1::ProbeGradient& one = *request.add_gradients();
    one.set_probe_id(gradient.probe.ToString());
    one.set_gradient_sha256(gradient.sha256.ToString());
  }
  request.mutable_authorised_by()->set_event_id(round.opened_event.ToString());
  request.set_deadline_us(deadline_us);
  request.set_scenario(round.scenario);
  v1::OpenScreeningResponse response;
  return state_->Invoke(&Stub::OpenScreening, request, &response);
}

absl::StatusOr<IntakeCounts> FilterClient::SetIntake(const RoundId& round, Intake intake,
                                                     int64_t deadline_us) {
  v1::SetIntakeStateRequest request;
  // The deadline is part of the id: a step that is begun again after a crash may set another one.
  request.set_request_id(
      RequestOf(absl::StrCat("intake/", static_cast<int>(intake), "/", deadline_us), round));
  request.set_round_id(round.ToString());
  request.set_state(static_cast<v1::IntakeState>(intake));
  request.set_deadline_us(deadline_us);
  v1::SetIntakeStateResponse response;
  RETURN_IF_ERROR(state_->Invoke(&Stub::SetIntakeState, request, &response));
  return IntakeCounts{response.committed(), response.received()};
}

absl::StatusOr<std::vector<IntakeUpdate>> FilterClient::ListIntake(const RoundId& round) {
  ASSIGN_OR_RETURN(const std::vector<v1::Update> updates, state_->ListUpdates(round));
  std::vector<IntakeUpdate> intake;
  for (const v1::Update& update : updates) {
    if (update.state() == v1::UPDATE_STATE_EXPIRED) continue;
    IntakeUpdate one;
    ASSIGN_OR_RETURN(one.principal, ParseAnswer<PrincipalId>(update.principal_id()));
    one.received = update.state() != v1::UPDATE_STATE_COMMITTED &&
                   update.state() != v1::UPDATE_STATE_UPLOADING;
    intake.push_back(one);
  }
  return intake;
}

absl::StatusOr<Screening> FilterClient::ScreenRound(const RoundId& round) {
  v1::ScreenRoundRequest request;
  request.set_request_id(RequestOf("screen", round));
  request.set_round_id(round.ToString());
  v1::ScreenRoundResponse response;
  RETURN_IF_ERROR(state_->Invoke(&Stub::ScreenRound, request, &response));
  Screening screening;
  screening.lineages = response.lineages();
  for (const v1::ScreenedUpdate& update : response.updates()) {
    ScreenedUpdate one;
    ASSIGN_OR_RETURN(one.update, ParseAnswer<UpdateId>(update.update_id()));
    ASSIGN_OR_RETURN(one.principal, ParseAnswer<PrincipalId>(update.principal_id()));
    ASSIGN_OR_RETURN(one.agent, ParseAnswer<AgentId>(update.agent_id()));
    ASSIGN_OR_RETURN(one.effective, ParseMaybe<crypto::Digest>(update.effective_sha256()));
    one.denied = update.denied();
    one.counts = !update.outside();
    ASSIGN_OR_RETURN(one.lineage, ParseAnswer<UpdateId>(update.lineage_id()));
    one.sample_count = std::clamp<int64_t>(update.sample_count(), 0, kSampleCountMax);
    for (const std::string& probe : update.probe_ids()) {
      ASSIGN_OR_RETURN(const ProbeId id, ParseAnswer<ProbeId>(probe));
      one.probes.push_back(id);
    }
    for (const v1::EarlyBound& bound : update.early_bounds()) {
      ASSIGN_OR_RETURN(const ProbeId id, ParseAnswer<ProbeId>(bound.probe_id()));
      if (bound.bound_nanonats() < -kBoundMax || bound.bound_nanonats() > kBoundMax) {
        return absl::InternalError("the filter answered with a bound out of range");
      }
      one.early_bounds[id] = bound.bound_nanonats();
    }
    screening.updates.push_back(std::move(one));
  }
  for (const v1::ProbeData& probe : response.probes()) {
    ASSIGN_OR_RETURN(const ProbeId id, ParseAnswer<ProbeId>(probe.probe_id()));
    ProbeRows& rows = screening.probe_data[id];
    ASSIGN_OR_RETURN(rows.sha256, ParseAnswer<crypto::Digest>(probe.data_sha256()));
    rows.rows = std::clamp<int64_t>(probe.rows(), 0, learning::kDatasetRowsMax);
  }
  if (static_cast<size_t>(response.aggregate_bounds_size()) > kBoundsMax) {
    return absl::InternalError("the filter bounds too many probes");
  }
  for (const v1::AggregateBound& bound : response.aggregate_bounds()) {
    NeededBound one;
    ASSIGN_OR_RETURN(one.probe, ParseAnswer<ProbeId>(bound.probe_id()));
    ASSIGN_OR_RETURN(one.data, ParseAnswer<crypto::Digest>(bound.data_sha256()));
    one.eps_nanonats = std::max<int64_t>(bound.eps_nanonats(), 0);
    screening.bounds.push_back(one);
  }
  return screening;
}

absl::StatusOr<std::vector<Decided>> FilterClient::DecideRound(
    const RoundId& round, const std::vector<Measurement>& measurements,
    const crypto::Digest& evidence) {
  v1::DecideRoundRequest request;
  request.set_request_id(RequestOf("decide", round));
  request.set_round_id(round.ToString());
  for (const Measurement& measurement : measurements) {
    v1::ProbeMeasurement& one = *request.add_measurements();
    one.set_update_id(measurement.update.ToString());
    one.set_probe_id(measurement.probe.ToString());
    one.set_base_loss_sum_nanonats(measurement.base_loss_sum);
    one.set_loss_sum_nanonats(measurement.loss_sum);
    one.set_rows(measurement.rows);
    if (measurement.early()) one.set_of_rows(measurement.of_rows);
  }
  request.set_evidence_sha256(evidence.ToString());
  v1::DecideRoundResponse response;
  RETURN_IF_ERROR(state_->Invoke(&Stub::DecideRound, request, &response));
  std::vector<Decided> decided;
  for (const v1::Update& update : response.updates()) {
    ASSIGN_OR_RETURN(Decided one, DecidedOf(update));
    decided.push_back(std::move(one));
  }
  return decided;
}

absl::StatusOr<std::vector<Decided>> FilterClient::ListDecided(const RoundId& round) {
  ASSIGN_OR_RETURN(const std::vector<v1::Update> updates, state_->ListUpdates(round));
  std::vector<Decided> decided;
  for (const v1::Update& update : updates) {
    ASSIGN_OR_RETURN(Decided one, DecidedOf(update));
    decided.push_back(std::move(one));
  }
  return decided;
}

absl::Status FilterClient::RecordOutcomes(const RoundId& round, absl::string_view step,
                                          const std::vector<Outcome>& outcomes) {
  if (outcomes.empty()) return absl::OkStatus();
  v1::RecordOutcomesRequest request;
  request.set_request_id(RequestOf(absl::StrCat("outcomes/", step), round));
  request.set_round_id(round.ToString());
  for (const Outcome& outcome : outcomes) {
    v1::UpdateOutcome& one = *request.add_outcomes();
    one.set_update_id(outcome.update.ToString());
    one.set_state(StateOf(outcome.state));
    one.set_reason(outcome.reason);
  }
  v1::RecordOutcomesResponse response;
  return state_->Invoke(&Stub::RecordOutcomes, request, &response);
}

absl::StatusOr<std::string> FilterClient::Download(const crypto::Digest& sha256,
                                                   uint64_t bytes_max) {
  return blob::DownloadBytes(state_->BlobCalls(), sha256, bytes_max);
}

absl::Status FilterClient::UploadGradient(const crypto::Digest& sha256, absl::string_view bytes) {
  const std::string request = crypto::DeterministicId("attribution/gradient", sha256).ToString();
  return blob::UploadBytes(state_->BlobCalls(), request, common::BLOB_PURPOSE_GRADIENT, bytes)
      .status();
}

}  // namespace rochdale::attribution
