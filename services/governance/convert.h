// Wire <-> domain, and the only place where fields of requests and documents are validated: every
// bad field is reported at once (BAD_REQUEST), a document that does not parse is DOCUMENT_INVALID.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_field.h"
#include "libs/rpc/fields.h"
#include "rochdale/governance/v1/governance.pb.h"
#include "services/governance/domain.h"

namespace rochdale::governance {

namespace v1 = ::rochdale::governance::v1;

// A verified document with its parsed body.
template <typename Body>
struct Signed {
  crypto::SignedDocument document;
  Body body;
};

struct PoolGrant {
  std::string name;
  int64_t amount = 0;
  std::optional<crypto::PublicKey> owner;  // of a registered principal
};

struct NewCooperative {
  Cooperative cooperative;  // without event, times and pools
  std::vector<PoolGrant> pools;
  std::map<std::string, std::string> parameters;
  std::vector<crypto::SignedDocument> documents;  // one per founder who signed
};

// At least founder_threshold different founders signed the same body. SIGNATURE_INVALID otherwise.
absl::StatusOr<NewCooperative> ParseGenesis(
    const google::protobuf::RepeatedPtrField<common::v1::SignedDocument>& documents);

absl::StatusOr<Signed<Principal>> ParsePrincipal(const common::v1::SignedDocument& document);
absl::StatusOr<Signed<Agent>> ParseAgent(const common::v1::SignedDocument& document);

struct KycAttestation {
  PrincipalId principal;
  Kyc kyc;  // without event
};
// BAD_REQUEST too where it has expired or was signed more than 15 minutes ahead of `now`.
absl::StatusOr<Signed<KycAttestation>> ParseKycAttestation(
    const common::v1::SignedDocument& document, absl::Time now);

struct PauseOrder {
  AgentId agent;
  bool paused = false;
  std::string reason;
};
absl::StatusOr<Signed<PauseOrder>> ParsePause(const common::v1::SignedDocument& document);

struct MembershipStep {
  CooperativeId cooperative;
  PrincipalId principal;
  int64_t rules_version = 0;   // of a consent
  crypto::Digest rules;        // of a consent
};
absl::StatusOr<Signed<MembershipStep>> ParseApplication(const common::v1::SignedDocument& document);
absl::StatusOr<Signed<MembershipStep>> ParseApproval(const common::v1::SignedDocument& document);
absl::StatusOr<Signed<MembershipStep>> ParseConsent(const common::v1::SignedDocument& document);
absl::StatusOr<Signed<MembershipStep>> ParseWithdrawal(const common::v1::SignedDocument& document);

absl::StatusOr<Signed<Mandate>> ParseMandate(const common::v1::SignedDocument& document);
absl::StatusOr<Signed<MandateId>> ParseRevocation(const common::v1::SignedDocument& document);

struct WantedChange {
  CooperativeId cooperative;
  std::string name;
  std::string value;
  int64_t expected_version = 0;
  std::vector<crypto::SignedDocument> documents;
};
absl::StatusOr<WantedChange> ParseParameterChange(
    const google::protobuf::RepeatedPtrField<common::v1::SignedDocument>& documents);

absl::StatusOr<RaisedException> ParseException(const v1::GovernanceException& exception);

using rpc::ParseId;

// The different keys that signed the same body; SIGNATURE_INVALID where fewer than `threshold` of
// them are founders.
absl::Status CheckFounderThreshold(const std::vector<crypto::SignedDocument>& documents,
                                   const std::vector<crypto::PublicKey>& founders, int threshold);

// `genesis` is the founding document: the floor stands in it.
absl::Status ToProto(const Cooperative& cooperative, const crypto::SignedDocument& genesis,
                     v1::Cooperative& out);
void ToProto(const Principal& principal, bool with_name, absl::Time now, v1::Principal& out);
void ToProto(const Agent& agent, v1::Agent& out);
void ToProto(const Member& member, int64_t current_rules_version, v1::Member& out);
// `document` is what was signed.
absl::Status ToProto(const Mandate& mandate, const crypto::SignedDocument& document,
                     v1::MandateRecord& out);
void ToProto(const StoredParameters& stored,
             google::protobuf::RepeatedPtrField<v1::Parameter>& out);
void ToProto(const ParameterChange& change, v1::ParameterChangeRecord& out);
void ToProto(const RaisedException& exception, v1::GovernanceException& out);

}  // namespace rochdale::governance
