// What attribution asks of the filter, in attribution's own terms.
//
// Every mutation names its request by the round and the step, so that a step repeated after a crash
// has the effect of one. Errors are the filter's, reason and all. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/tensor/manifest.h"
#include "services/attribution/measuring.h"
#include "services/attribution/records.h"
#include "services/attribution/round_store.h"

namespace grpc {
class Channel;
}
namespace rochdale::rpc {
class Outgoing;
}

namespace rochdale::attribution {

struct ProbeInfo {
  ProbeId probe;
  std::optional<PrincipalId> principal;  // nothing: the cooperative's own
  crypto::Digest data;
};

// Numbers of filter.v1.IntakeState.
enum class Intake { kRevealing = 2, kClosed = 3, kAbandoned = 4 };

struct IntakeCounts {
  int64_t committed = 0;
  int64_t received = 0;
};

struct IntakeUpdate {
  PrincipalId principal;
  bool received = false;
};

struct ScreenedUpdate {
  UpdateId update;
  PrincipalId principal;
  AgentId agent;
  std::optional<crypto::Digest> effective;
  bool denied = false;
  bool counts = true;           // its lineage is one of Screening::lineages
  UpdateId lineage;             // the lineage's earliest update
  int64_t sample_count = 0;     // as reported
  std::vector<ProbeId> probes;  // that must be measured
  std::map<ProbeId, int64_t> early_bounds;  // of those whose measuring may stop early
};

struct ProbeRows {
  crypto::Digest sha256;
  int64_t rows = 0;
};

struct Screening {
  std::vector<ScreenedUpdate> updates;  // in order of commitment
  int64_t lineages = 0;
  std::map<ProbeId, ProbeRows> probe_data;
  std::vector<NeededBound> bounds;      // each probe once
};

struct Decided {
  UpdateId update;
  bool admitted = false;   // ADMITTED or PROJECTED (or further on)
  bool in_review = false;
  std::optional<EventId> decision_event;
  bool publishable = false;
};

enum class OutcomeState { kEvaluated, kApplied, kNotApplied };

struct Outcome {
  UpdateId update;
  OutcomeState state = OutcomeState::kEvaluated;
  std::string reason;
};

class FilterClient {
 public:
  FilterClient(std::shared_ptr<grpc::Channel> channel, const rpc::Outgoing& outgoing,
               absl::Duration timeout);
  ~FilterClient();

  // All of the cooperative.
  absl::StatusOr<std::vector<ProbeInfo>> ListProbes(const CooperativeId& cooperative);
  absl::Status OpenScreening(const RoundRecord& round, const tensor::TensorManifest& manifest,
                             const std::vector<ProbeGradientRecord>& gradients,
                             int64_t deadline_us);
  absl::StatusOr<IntakeCounts> SetIntake(const RoundId& round, Intake intake, int64_t deadline_us);
  // All updates of the round that are not expired.
  absl::StatusOr<std::vector<IntakeUpdate>> ListIntake(const RoundId& round);
  absl::StatusOr<Screening> ScreenRound(const RoundId& round);
  absl::StatusOr<std::vector<Decided>> DecideRound(const RoundId& round,
                                                   const std::vector<Measurement>& measurements,
                                                   const crypto::Digest& evidence);
  // As they stand now: for updates that were in review.
  absl::StatusOr<std::vector<Decided>> ListDecided(const RoundId& round);
  // `step` tells the calls of one round apart.
  absl::Status RecordOutcomes(const RoundId& round, absl::string_view step,
                              const std::vector<Outcome>& outcomes);

  // The whole blob, verified. At most `bytes_max`.
  absl::StatusOr<std::string> Download(const crypto::Digest& sha256, uint64_t bytes_max);
  // A gradient of a probe; resumes where an earlier call was cut off.
  absl::Status UploadGradient(const crypto::Digest& sha256, absl::string_view bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rochdale::attribution
