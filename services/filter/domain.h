// What the filter keeps, as values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/crypto/commitment.h"
#include "libs/crypto/sha256.h"
#include "libs/crypto/signed_document.h"

namespace rochdale::filter {

using ProbeId = Id<struct ProbeTag>;

// The numbers are those of the wire.
enum class IntakeState { kCommitting = 1, kRevealing = 2, kClosed = 3, kAbandoned = 4 };

enum class UpdateState {
  kCommitted = 1,
  kUploading = 2,
  kReceived = 3,
  kScreening = 4,
  kAdmitted = 5,
  kProjected = 6,
  kInReview = 7,
  kRejected = 8,
  kEvaluated = 9,
  kApplied = 10,
  kNotApplied = 11,
  kSettled = 12,
  kExpired = 13,
  kNotTaken = 14,
};

struct StoredProfile {
  int64_t version = 0;
  crypto::SignedDocument document;
  EventId event;
};

struct Probe {
  ProbeId id;
  CooperativeId cooperative;
  std::optional<PrincipalId> principal;  // nothing: the cooperative's own
  std::string name;
  crypto::Digest data;
  int64_t rows = 0;
  bool is_protected = false;
  crypto::Salt salt;
  EventId event;
};

struct ProbeGradient {
  ProbeId probe;
  crypto::Digest gradient;
};

struct Round {
  RoundId id;
  CooperativeId cooperative;
  int64_t number = 0;
  std::string scenario;
  crypto::Digest base;
  std::string manifest;  // canonical text
  IntakeState intake = IntakeState::kCommitting;
  absl::Time deadline;
  EventId opened;
  int64_t commitments = 0;
  std::optional<int64_t> lineages;  // once screened
  bool decided = false;
};

struct Update {
  UpdateId id;
  RoundId round;
  CooperativeId cooperative;
  AgentId agent;
  PrincipalId principal;
  UpdateState state = UpdateState::kCommitted;
  crypto::Digest digest;
  int64_t size_bytes = 0;
  int64_t sample_count = 0;
  std::optional<crypto::Digest> effective;
  std::string reason;
  absl::Time committed;
  int64_t commitment_number = 0;
  EventId commitment_event;
  std::optional<EventId> decision_event;
  MandateId mandate;
  bool consents_to_publication = false;
  int64_t profile_version = 0;
  std::optional<UpdateId> lineage;              // id of the lineage's earliest update
  std::optional<PrincipalId> lineage_principal;  // whose lineage it counts for
  std::string facts;                            // JSON of what screening measured
};

struct StoredDecision {
  UpdateId update;
  int verdict = 0;
  int64_t fit_micro = 0;
  std::string findings;  // JSON
  std::string body;      // canonical JSON that the log commits to
  crypto::Salt salt;
  absl::Time decided;
  EventId event;
};

}  // namespace rochdale::filter
