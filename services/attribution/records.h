// What the service keeps, as values. Proto enums travel as their numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/model.h"
#include "services/attribution/aggregate_values.h"
#include "services/attribution/comparison_evidence.h"

namespace rochdale::attribution {

using ModelId = Id<struct ModelTag>;
using PlanId = Id<struct PlanTag>;
using ExceptionId = Id<struct ExceptionTag>;

struct ModelRecord {
  CooperativeId cooperative;
  ModelId model;
  learning::ModelSpec spec;
  int64_t init_seed = 0;
  crypto::Digest document;
  EventId event;
  crypto::Digest best;  // the checkpoint with the lowest settlement loss so far
  int64_t created_us = 0;
};

// A founder's word about a module's digest.
struct ModuleRecord {
  CooperativeId cooperative;
  crypto::Digest sha256;
  bool withdraws = false;
  crypto::Digest document;
  EventId event;
  int64_t recorded_us = 0;
};

struct CheckpointRecord {
  CooperativeId cooperative;
  int64_t version = 0;
  crypto::Digest sha256;
  std::optional<crypto::Digest> parent;
  std::optional<RoundId> round;
  EventId event;
  int64_t made_us = 0;
};

struct PoolRecord {
  CooperativeId cooperative;
  crypto::Digest sha256;
  int64_t rows = 0;
  int64_t visible_rows = 0;
  crypto::Digest split_seed;
  crypto::Digest document;
  EventId event;
  int64_t sealed_us = 0;
};

struct PlanRecord {
  PlanId plan;
  CooperativeId cooperative;
  int64_t first_number = 0;
  int64_t last_number = 0;
  std::string scenario;
  crypto::Digest document;
  int64_t started_us = 0;
};

// Numbers of the proto's RoundState; kPreparing is shown as OPEN with deadline 0 to whoever asks
// for the round by id, and to nobody else.
enum class RoundState : int16_t {
  kPreparing = 0,
  kOpen = 1,
  kCommit = 2,
  kReveal = 3,
  kScreen = 4,
  kEvaluate = 5,
  kApply = 6,
  kClosed = 7,
  kAbandoned = 8,
};

struct RoundRecord {
  RoundId round;
  CooperativeId cooperative;
  PlanId plan;
  int64_t number = 0;
  RoundState state = RoundState::kPreparing;
  bool announced = false;
  bool filter_told = false;
  int64_t deadline_us = 0;
  int64_t base_version = 0;
  crypto::Digest base;
  crypto::Digest best;
  crypto::Digest seed_sha256;
  std::optional<crypto::Digest> seed;
  std::string scenario;
  std::string parameters;
  std::optional<int64_t> received;
  std::optional<int64_t> lineages;
  std::optional<int64_t> admitted;
  int generation = 0;
  std::vector<int64_t> rows;  // empty before they are drawn
  std::optional<crypto::Digest> rows_sha256;
  std::optional<int64_t> retired_us;
  std::optional<int64_t> applied_mask;  // of the gate; then what the test of values left of it
  std::optional<int64_t> refused_mask;  // by that test; nothing before it has ended
  std::optional<int64_t> applied;
  std::optional<crypto::Digest> next;
  std::optional<int64_t> visible_base;
  std::optional<int64_t> visible_loss;
  std::optional<crypto::Digest> evidence_sha256;
  std::string reason;
  EventId opened_event;
  std::optional<EventId> closed_event;
  int64_t created_us = 0;
  std::optional<int64_t> opened_us;
  std::optional<int64_t> closed_us;

  bool ended() const { return state >= RoundState::kClosed; }
};

struct RoundUpdate {
  UpdateId update;
  int position = 0;
  PrincipalId principal;
  AgentId agent;
  std::optional<crypto::Digest> effective;
  bool denied = false;
  bool admitted = false;
  std::optional<EventId> decision_event;
  bool publishable = false;
  std::string removed_reason;  // EVALUATION_RANGE; empty while it takes part
  int64_t share = 0;  // of its lineage, where the aggregation rule has weights: units of 2^-30

  bool TakesPart() const { return admitted && removed_reason.empty() && effective.has_value(); }
};

// A probe that must be measured under one update.
struct NeededProbe {
  UpdateId update;
  ProbeId probe;
  crypto::Digest data;
  int64_t rows = 0;
  // Nano-nats: whether the mean loss rises by more than this is all that is asked, so that
  // measuring may stop early (early.h).
  std::optional<int64_t> bound;
};

// What the round's step as a whole has to keep.
struct NeededBound {
  ProbeId probe;
  crypto::Digest data;
  int64_t eps_nanonats = 0;
};

struct CreditRecord {
  UpdateId update;
  RoundId round;
  CooperativeId cooperative;
  int64_t round_number = 0;
  PrincipalId principal;
  AgentId agent;
  int64_t credit = 0;
  int64_t estimate = 0;
  int64_t standard_error = 0;
  int64_t solo = 0;
  int64_t leave_one_out = 0;
  bool applied = false;
  EventId event;
  int64_t tolerance = 0;  // of the model, nano-nats; 0 where it is exact, as is the next
  int64_t deadband = 0;
};

enum class RunPurpose : int16_t { kMeasure = 1, kGame = 2, kAggregate = 3, kCompare = 4,
                                  kValues = 5 };
enum class RunState : int16_t { kRunning = 1, kDone = 2, kFailed = 3, kCancelled = 4 };

// A run belongs to a round or to an A/B test.
struct RunRecord {
  RunId run;
  RoundId round;  // zero where it is of a test
  std::optional<ComparisonId> comparison;
  RunPurpose purpose = RunPurpose::kMeasure;
  RunState state = RunState::kRunning;
  std::string spec;
  int64_t lease_ms = 0;
  int attempts_max = 0;
  std::string reason;
  std::optional<UpdateId> failed_update;
  int64_t shards = 0;
  int64_t shards_done = 0;
};

// Numbers of the proto's ComparisonState.
enum class ComparisonState : int16_t { kRunning = 1, kDone = 2, kFailed = 3 };

struct ComparisonRecord {
  ComparisonId comparison;
  CooperativeId cooperative;
  ComparisonState state = ComparisonState::kRunning;
  crypto::Digest a;
  crypto::Digest b;
  crypto::Digest seed_sha256;
  crypto::Digest document;
  std::string parameters;
  Look look;  // the last one, once it is kDone
  std::optional<crypto::Digest> evidence_sha256;
  std::string reason;
  int64_t created_us = 0;
  std::optional<int64_t> ended_us;
};

struct ExceptionRecord {
  ExceptionId exception;
  CooperativeId cooperative;
  int kind = 0;  // governance.v1.ExceptionKind
  Uuid subject;
  std::string description;
  std::optional<crypto::Digest> evidence;
  int64_t raised_us = 0;
};

}  // namespace rochdale::attribution
