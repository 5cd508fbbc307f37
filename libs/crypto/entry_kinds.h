// The kinds of log entries, their numbers, subjects and fields: one table for the services, the
// ledger, the verifier and docs/evidence.md.
//
// Numbers and tags are never reused or changed: they are in signed history. New ones are appended.
// A tag has the same name, type and size in every kind. Personal data enters the log only as
// digests of signed documents that stay outside it, or as salted commitments (commitment.h).
#pragma once

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/crypto/entry.h"

namespace rochdale::crypto {

namespace tag {
// The signed document by which a person or agent did this: all four or none.
inline constexpr uint16_t kDocumentType = 1;
inline constexpr uint16_t kDocumentDigest = 2;
inline constexpr uint16_t kPublicKey = 3;
inline constexpr uint16_t kSignature = 4;
// A signed document that is private: Commitment(salt, digest | signature), instead of 2 and 4.
inline constexpr uint16_t kDocumentCommitment = 5;
// Who and what.
inline constexpr uint16_t kPrincipal = 10;
inline constexpr uint16_t kAgent = 11;
inline constexpr uint16_t kMandate = 12;
inline constexpr uint16_t kRound = 13;
inline constexpr uint16_t kUpdate = 14;
inline constexpr uint16_t kEpoch = 15;
inline constexpr uint16_t kPool = 16;
inline constexpr uint16_t kAccount = 17;
inline constexpr uint16_t kModel = 18;
inline constexpr uint16_t kRegisteredKey = 19;
inline constexpr uint16_t kPrincipalType = 20;
inline constexpr uint16_t kReader = 21;
inline constexpr uint16_t kActions = 22;
inline constexpr uint16_t kKycLevel = 23;
inline constexpr uint16_t kNotBeforeUs = 24;
inline constexpr uint16_t kOwners = 25;
inline constexpr uint16_t kLineage = 26;
inline constexpr uint16_t kAttestation = 27;
// Rules, parameters, reasons.
inline constexpr uint16_t kRulesVersion = 30;
inline constexpr uint16_t kVersion = 31;
inline constexpr uint16_t kParameter = 32;
inline constexpr uint16_t kValue = 33;
inline constexpr uint16_t kExpiresUs = 34;
inline constexpr uint16_t kReason = 35;
inline constexpr uint16_t kExceptionKind = 36;
inline constexpr uint16_t kPurpose = 37;
inline constexpr uint16_t kFromState = 38;
inline constexpr uint16_t kToState = 39;
inline constexpr uint16_t kStatus = 40;
// Contents by digest.
inline constexpr uint16_t kEvidenceDigest = 50;
inline constexpr uint16_t kUpdateCommitment = 51;
inline constexpr uint16_t kUpdateDigest = 52;
inline constexpr uint16_t kEffectiveDigest = 53;
inline constexpr uint16_t kDecisionDigest = 54;
inline constexpr uint16_t kDataCommitment = 55;
inline constexpr uint16_t kModelDigest = 56;
inline constexpr uint16_t kCheckpointDigest = 57;
inline constexpr uint16_t kParentDigest = 58;
inline constexpr uint16_t kPoolRoot = 59;
inline constexpr uint16_t kSeedCommitment = 60;
inline constexpr uint16_t kSeed = 61;
inline constexpr uint16_t kMatrixRoot = 62;
inline constexpr uint16_t kSpecDigest = 63;
inline constexpr uint16_t kStatementDigest = 64;
inline constexpr uint16_t kDistributionRoot = 65;
inline constexpr uint16_t kManifestDigest = 66;
inline constexpr uint16_t kModuleDigest = 67;
// Counts and measures.
inline constexpr uint16_t kSizeBytes = 80;
inline constexpr uint16_t kVerdict = 81;
inline constexpr uint16_t kRowCount = 82;
inline constexpr uint16_t kRoundNumber = 83;
inline constexpr uint16_t kUpdateCount = 84;
inline constexpr uint16_t kCreditNanoNats = 85;
inline constexpr uint16_t kPhiNanoNats = 86;
inline constexpr uint16_t kErrorNanoNats = 87;
inline constexpr uint16_t kRecipientCount = 88;
inline constexpr uint16_t kTransferCount = 89;
inline constexpr uint16_t kTreeSize = 90;
inline constexpr uint16_t kSealed = 91;
inline constexpr uint16_t kEpochNumber = 92;
inline constexpr uint16_t kGpuMicros = 93;
// Money.
inline constexpr uint16_t kDebitAccount = 100;
inline constexpr uint16_t kCreditAccount = 101;
inline constexpr uint16_t kAmount = 102;
inline constexpr uint16_t kTransferKind = 103;
inline constexpr uint16_t kReference = 104;
inline constexpr uint16_t kCorrects = 105;
inline constexpr uint16_t kPendingTransfer = 106;
inline constexpr uint16_t kAccountType = 107;
inline constexpr uint16_t kAsset = 108;
inline constexpr uint16_t kFloor = 109;
inline constexpr uint16_t kWithheld = 110;
inline constexpr uint16_t kCreditEntries = 111;
inline constexpr uint16_t kTransfer = 112;
inline constexpr uint16_t kCode = 113;
inline constexpr uint16_t kPhase = 114;
inline constexpr uint16_t kLinked = 115;
inline constexpr uint16_t kRequestedAmount = 116;
inline constexpr uint16_t kBudgetPerDay = 117;
inline constexpr uint16_t kBudgetTotal = 118;
inline constexpr uint16_t kCounterparties = 119;
// The log itself.
inline constexpr uint16_t kOrigin = 120;
inline constexpr uint16_t kPreviousOrigin = 121;
inline constexpr uint16_t kPreviousSize = 122;
inline constexpr uint16_t kPreviousRoot = 123;
// Money again: running balances.
inline constexpr uint16_t kDebitBalance = 124;
inline constexpr uint16_t kCreditBalance = 125;
// The log itself again.
inline constexpr uint16_t kOperatorSignature = 126;
}  // namespace tag

namespace kind {
inline constexpr uint16_t kCooperativeFounded = 101;
inline constexpr uint16_t kPrincipalRegistered = 102;
inline constexpr uint16_t kAgentRegistered = 103;
inline constexpr uint16_t kMembershipRequested = 104;
inline constexpr uint16_t kMembershipApproved = 105;
inline constexpr uint16_t kMembershipConsented = 106;
inline constexpr uint16_t kMembershipLeft = 107;
inline constexpr uint16_t kMandateGranted = 108;
inline constexpr uint16_t kMandateRevoked = 109;
inline constexpr uint16_t kParameterChanged = 110;
inline constexpr uint16_t kExceptionRaised = 111;
inline constexpr uint16_t kAgentPaused = 112;
inline constexpr uint16_t kAgentResumed = 113;
inline constexpr uint16_t kKycAttested = 114;
inline constexpr uint16_t kProfileSet = 201;
inline constexpr uint16_t kProbeRegistered = 202;
inline constexpr uint16_t kUpdateCommitted = 203;
inline constexpr uint16_t kUpdateReceived = 204;
inline constexpr uint16_t kDecisionMade = 205;
inline constexpr uint16_t kUpdateExpired = 206;
inline constexpr uint16_t kPrivateRead = 207;
inline constexpr uint16_t kModelCreated = 301;
inline constexpr uint16_t kValidationPoolSealed = 302;
inline constexpr uint16_t kRoundOpened = 303;
inline constexpr uint16_t kRoundStateChanged = 304;
inline constexpr uint16_t kRoundClosed = 305;
inline constexpr uint16_t kRoundAbandoned = 306;
inline constexpr uint16_t kCheckpointMade = 307;
inline constexpr uint16_t kCreditAssigned = 308;
inline constexpr uint16_t kEvidenceMade = 309;
inline constexpr uint16_t kUpdateApplied = 310;
inline constexpr uint16_t kUpdateNotApplied = 311;
inline constexpr uint16_t kComputeMetered = 312;
inline constexpr uint16_t kComparisonStarted = 313;
inline constexpr uint16_t kComparisonEnded = 314;
inline constexpr uint16_t kModuleRegistered = 315;
inline constexpr uint16_t kModuleWithdrawn = 316;
inline constexpr uint16_t kAccountOpened = 401;
inline constexpr uint16_t kTransferPosted = 402;
inline constexpr uint16_t kLogStarted = 403;
inline constexpr uint16_t kAccountChanged = 404;
inline constexpr uint16_t kBundleSigned = 405;
inline constexpr uint16_t kHoldExpired = 406;
inline constexpr uint16_t kPoolCreated = 501;
inline constexpr uint16_t kEpochClosed = 502;
inline constexpr uint16_t kStatementIssued = 503;
inline constexpr uint16_t kEpochSettled = 504;
}  // namespace kind

struct TagInfo {
  uint16_t tag;
  absl::string_view name;  // lower_case, as in docs/evidence.md
  FieldType type;
  uint32_t size;  // exact size of bytes; 0 for any
  absl::string_view meaning;
};

enum class DocumentRule : uint8_t {
  kOptional,  // tags 1 to 4 together, or none
  kRequired,  // tags 1 to 4
  kPrivate,   // tags 1, 3 and 5; never 2 and 4
};

struct KindInfo {
  uint16_t number;
  absl::string_view name;
  Service service;
  ChainLink link;
  absl::string_view subject;  // what Entry::subject names
  DocumentRule document;
  std::array<uint16_t, 16> required;  // besides the document; 0 ends the list
  // May be there too, as may kReason, kEvidenceDigest, kPrincipal and kAgent in every kind.
  std::array<uint16_t, 16> optional;
};

// The whole tables, ordered by number.
absl::Span<const TagInfo> Tags();
absl::Span<const KindInfo> Kinds();

// Null where there is none.
const TagInfo* FindTag(uint16_t tag);
const KindInfo* FindKind(uint16_t number);
const KindInfo* FindKindByName(absl::string_view name);

// Whether service, link and fields are those of the entry's kind: every required field, no other
// than the optional ones, each of its tag's type and size. ENTRY_INVALID names what is wrong.
absl::Status CheckKind(const Entry& entry);

}  // namespace rochdale::crypto
