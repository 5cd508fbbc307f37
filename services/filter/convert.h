// Wire <-> domain: validation of requests and documents, rules of the wire as rules of the engine,
// decisions as JSON and as messages.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/config/parameters.h"
#include "libs/rpc/fields.h"
#include "rochdale/filter/v1/filter.pb.h"
#include "rochdale/governance/v1/governance.pb.h"
#include "services/filter/composition.h"
#include "services/filter/domain.h"
#include "services/filter/screening.h"

namespace rochdale::filter {

namespace v1 = ::rochdale::filter::v1;

inline constexpr int kRulesMax = 32;      // of a profile
inline constexpr int kCriteriaMax = 16;   // of a scenario

// A verified document with its parsed and validated body.
struct SignedProfile {
  crypto::SignedDocument document;
  v1::ValueProfile body;
  CooperativeId cooperative;
  PrincipalId principal;
};
absl::StatusOr<SignedProfile> ParseProfile(const common::v1::SignedDocument& document);

struct SignedProbe {
  crypto::SignedDocument document;
  Probe probe;  // without rows, salt and event
};
absl::StatusOr<SignedProbe> ParseProbe(const common::v1::SignedDocument& document);

struct SignedCommitment {
  crypto::SignedDocument document;
  UpdateId update;
  RoundId round;
  AgentId agent;
  crypto::Digest base;
  crypto::Digest digest;
  int64_t size_bytes = 0;
  int64_t sample_count = 0;
};
absl::StatusOr<SignedCommitment> ParseCommitment(const common::v1::SignedDocument& document);

struct OpeningRound {
  Round round;
  std::vector<ProbeGradient> gradients;
};
absl::StatusOr<OpeningRound> ParseOpening(const v1::OpenScreeningRequest& request);

struct Measurement {
  UpdateId update;
  ProbeId probe;
  ProbeLoss loss;
};
absl::StatusOr<std::vector<Measurement>> ParseMeasurements(const v1::DecideRoundRequest& request);

using rpc::ParseId;

// Of the principal of an agent that may act; nobody's where it may not.
absl::StatusOr<Ownership> OwnershipOf(const governance::v1::CheckAuthorityResponse& authority);

// The floor of a cooperative. Integrity, magnitude, authority and originality stand in every floor,
// whether its genesis lists them or not; a bound of 0 takes the governed default, which is smaller
// for value direction at `protected_probes`.
RuleSet FloorRules(const governance::v1::Cooperative& cooperative,
                   const config::ParameterSet& parameters,
                   const std::map<ProbeId, bool>& protected_probes);
// A principal's profile: its constraints, and its fit over the criteria of the scenario (none where
// the profile does not name the scenario).
RuleSet ProfileRules(const v1::ValueProfile& profile, const std::string& scenario,
                     const config::ParameterSet& parameters);

// Findings as JSON and back; what is stored with a decision.
std::string FindingsToJson(const std::vector<Finding>& findings);
absl::StatusOr<std::vector<Finding>> FindingsFromJson(const std::string& json);

void ToProto(const Probe& probe, bool with_data, v1::Probe& out);
// Reasons are shown to the update's principal and to services.
void ToProto(const Update& update, bool with_reason, v1::Update& out);
// `own`: with the values of the principal's own rules, and the salt.
absl::Status ToProto(const StoredDecision& decision, const Update& update, bool own,
                     v1::Decision& out);

}  // namespace rochdale::filter
