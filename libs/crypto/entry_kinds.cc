#include "libs/crypto/entry_kinds.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::crypto {
namespace {

constexpr FieldType kU64 = FieldType::kU64;
constexpr FieldType kI64 = FieldType::kI64;
constexpr FieldType kBytes = FieldType::kBytes;
constexpr FieldType kText = FieldType::kText;

constexpr TagInfo kTags[] = {
    {tag::kDocumentType, "document_type", kText, 0, "proto name of the signed document"},
    {tag::kDocumentDigest, "document_digest", kBytes, 32, "SHA-256 of the document's PAE bytes"},
    {tag::kPublicKey, "public_key", kBytes, 32, "Ed25519 key of the signer"},
    {tag::kSignature, "signature", kBytes, 64, "Ed25519 over the PAE bytes"},
    {tag::kDocumentCommitment, "document_commitment", kBytes, 32,
     "commitment to document_digest followed by signature"},
    {tag::kPrincipal, "principal", kBytes, 16, "principal concerned"},
    {tag::kAgent, "agent", kBytes, 16, "agent concerned"},
    {tag::kMandate, "mandate", kBytes, 16, "mandate it was done under"},
    {tag::kRound, "round", kBytes, 16, "round"},
    {tag::kUpdate, "update", kBytes, 16, "update"},
    {tag::kEpoch, "epoch", kBytes, 16, "epoch"},
    {tag::kPool, "pool", kBytes, 16, "revenue pool"},
    {tag::kAccount, "account", kBytes, 16, "ledger account"},
    {tag::kModel, "model", kBytes, 16, "model"},
    {tag::kRegisteredKey, "registered_key", kBytes, 32, "Ed25519 key that is registered"},
    {tag::kPrincipalType, "principal_type", kU64, 0, "1 person, 2 enterprise"},
    {tag::kReader, "reader", kText, 0, "who read: principal:, agent: or service: and its id"},
    {tag::kActions, "actions", kU64, 0,
     "allowed actions: bit 1 << number of the proto enum for each"},
    {tag::kKycLevel, "kyc_level", kU64, 0, "KYC level, 0 to 3"},
    {tag::kNotBeforeUs, "not_before_us", kI64, 0,
     "begin of validity, microseconds since 1970 UTC"},
    {tag::kOwners, "owners", kBytes, 0,
     "ids of the beneficial owners, 32 bytes each, 1 to 16, increasing"},
    {tag::kLineage, "lineage", kBytes, 16, "the lineage's earliest update in its round"},
    {tag::kAttestation, "attestation", kBytes, 16, "KYC_ATTESTED that named the owners"},
    {tag::kRulesVersion, "rules_version", kU64, 0, "version of the cooperative's rules"},
    {tag::kVersion, "version", kU64, 0, "version of the subject after this"},
    {tag::kParameter, "parameter", kText, 0, "name of a governed parameter"},
    {tag::kValue, "value", kText, 0, "its new value, as governance writes it"},
    {tag::kExpiresUs, "expires_us", kI64, 0, "end of validity, microseconds since 1970 UTC"},
    {tag::kReason, "reason", kText, 0, "reason word of docs/errors.md, or a code"},
    {tag::kExceptionKind, "exception_kind", kText, 0, "kind of exception"},
    {tag::kPurpose, "purpose", kText, 0, "why it was read"},
    {tag::kFromState, "from_state", kU64, 0, "state before, number of the proto enum"},
    {tag::kToState, "to_state", kU64, 0, "state after, number of the proto enum"},
    {tag::kStatus, "status", kU64, 0, "status, number of the proto enum"},
    {tag::kEvidenceDigest, "evidence_digest", kBytes, 32, "SHA-256 of the evidence"},
    {tag::kUpdateCommitment, "update_commitment", kBytes, 32, "what the agent committed to"},
    {tag::kUpdateDigest, "update_digest", kBytes, 32, "SHA-256 of the update as uploaded"},
    {tag::kEffectiveDigest, "effective_digest", kBytes, 32, "SHA-256 of the effective update"},
    {tag::kDecisionDigest, "decision_digest", kBytes, 32,
     "what the decision record is checked against"},
    {tag::kDataCommitment, "data_commitment", kBytes, 32, "salted commitment to a data set"},
    {tag::kModelDigest, "model_digest", kBytes, 32, "SHA-256 of the model's description"},
    {tag::kCheckpointDigest, "checkpoint_digest", kBytes, 32, "SHA-256 of a checkpoint"},
    {tag::kParentDigest, "parent_digest", kBytes, 32, "SHA-256 of the checkpoint before"},
    {tag::kPoolRoot, "pool_root", kBytes, 32, "Merkle root over the sealed rows"},
    {tag::kSeedCommitment, "seed_commitment", kBytes, 32, "commitment to the round's seed"},
    {tag::kSeed, "seed", kBytes, 32, "the seed, revealed"},
    {tag::kMatrixRoot, "matrix_root", kBytes, 32, "Merkle root over (candidate, row, nano-nats)"},
    {tag::kSpecDigest, "spec_digest", kBytes, 32, "SHA-256 of the evaluation spec"},
    {tag::kStatementDigest, "statement_digest", kBytes, 32, "SHA-256 of the statement"},
    {tag::kDistributionRoot, "distribution_root", kBytes, 32, "Merkle root over the shares"},
    {tag::kManifestDigest, "manifest_digest", kBytes, 32, "SHA-256 of a bundle's manifest"},
    {tag::kModuleDigest, "module_digest", kBytes, 32, "SHA-256 of a TorchScript module"},
    {tag::kSizeBytes, "size_bytes", kU64, 0, "size in bytes"},
    {tag::kVerdict, "verdict", kU64, 0, "verdict, number of the proto enum"},
    {tag::kRowCount, "row_count", kU64, 0, "number of rows"},
    {tag::kRoundNumber, "round_number", kU64, 0, "ordinal of the round, from 1"},
    {tag::kUpdateCount, "update_count", kU64, 0, "number of updates"},
    {tag::kCreditNanoNats, "credit_nano_nats", kI64, 0, "credit, nano-nats"},
    {tag::kPhiNanoNats, "phi_nano_nats", kI64, 0, "estimate before bounds, nano-nats"},
    {tag::kErrorNanoNats, "error_nano_nats", kI64, 0, "its standard error, nano-nats"},
    {tag::kRecipientCount, "recipient_count", kU64, 0, "number of recipients"},
    {tag::kTransferCount, "transfer_count", kU64, 0, "number of transfers"},
    {tag::kTreeSize, "tree_size", kU64, 0, "size of the log"},
    {tag::kSealed, "sealed", kU64, 0, "1 for a sealed bundle, 0 for a public one"},
    {tag::kEpochNumber, "epoch_number", kU64, 0, "ordinal of the epoch, from 1"},
    {tag::kGpuMicros, "gpu_micros", kU64, 0, "metered GPU time, microseconds"},
    {tag::kDebitAccount, "debit_account", kBytes, 16, "account that gives"},
    {tag::kCreditAccount, "credit_account", kBytes, 16, "account that receives"},
    {tag::kAmount, "amount", kU64, 0, "micro-tokens"},
    {tag::kTransferKind, "transfer_kind", kU64, 0, "kind of transfer, number of the proto enum"},
    {tag::kReference, "reference", kBytes, 0, "what the transfer is for, up to 64 bytes"},
    {tag::kCorrects, "corrects", kBytes, 16, "transfer that this one corrects"},
    {tag::kPendingTransfer, "pending_transfer", kBytes, 16, "hold that this one posts or voids"},
    {tag::kAccountType, "account_type", kU64, 0, "type of owner, number of the proto enum"},
    {tag::kAsset, "asset", kText, 0, "asset code"},
    {tag::kFloor, "floor", kI64, 0, "lowest balance including holds, micro-tokens"},
    {tag::kWithheld, "withheld", kU64, 0, "micro-tokens kept in escrow"},
    {tag::kCreditEntries, "credit_entries", kBytes, 0,
     "event ids of the CREDIT_ASSIGNED entries, 16 bytes each"},
    {tag::kTransfer, "transfer", kBytes, 16, "transfer"},
    {tag::kCode, "code", kU64, 0, "the client's own code; absent: 0"},
    {tag::kPhase, "phase", kU64, 0,
     "1 a hold, 2 posts a hold, 3 voids a hold; absent: moved at once"},
    {tag::kLinked, "linked", kU64, 0, "1: succeeded together with the transfer after it"},
    {tag::kRequestedAmount, "requested_amount", kU64, 0,
     "of a balancing transfer, what was asked for; amount is what moved"},
    {tag::kBudgetPerDay, "budget_per_day", kU64, 0, "micro-tokens a UTC day"},
    {tag::kBudgetTotal, "budget_total", kU64, 0, "micro-tokens in all"},
    {tag::kCounterparties, "counterparties", kBytes, 0,
     "accounts that may be paid, 16 bytes each; absent: any"},
    {tag::kOrigin, "origin", kText, 0, "origin of the log's checkpoints"},
    {tag::kPreviousOrigin, "previous_origin", kText, 0, "origin of the log this one continues"},
    {tag::kPreviousSize, "previous_size", kU64, 0, "restored size of that log"},
    {tag::kPreviousRoot, "previous_root", kBytes, 32, "root at that size"},
    {tag::kDebitBalance, "debit_balance", kI64, 0,
     "balance of debit_account after this, micro-units"},
    {tag::kCreditBalance, "credit_balance", kI64, 0,
     "balance of credit_account after this, micro-units"},
    {tag::kOperatorSignature, "operator_signature", kBytes, 64,
     "Ed25519 of registered_key over the same PAE bytes as signature"},
};

constexpr Service kGov = Service::kGovernance;
constexpr Service kFil = Service::kFilter;
constexpr Service kAtt = Service::kAttribution;
constexpr Service kLed = Service::kLedger;
constexpr Service kPay = Service::kPayout;
constexpr ChainLink kAuthorise = ChainLink::kAuthorise;
constexpr ChainLink kSubmit = ChainLink::kSubmit;
constexpr ChainLink kPath = ChainLink::kPath;
constexpr ChainLink kPays = ChainLink::kPay;
constexpr ChainLink kAudit = ChainLink::kAudit;
constexpr DocumentRule kMay = DocumentRule::kOptional;
constexpr DocumentRule kSigned = DocumentRule::kRequired;
constexpr DocumentRule kPrivate = DocumentRule::kPrivate;

constexpr KindInfo kKinds[] = {
    {kind::kCooperativeFounded, "COOPERATIVE_FOUNDED", kGov, kAuthorise, "cooperative", kSigned,
     {tag::kRulesVersion}, {}},
    {kind::kPrincipalRegistered, "PRINCIPAL_REGISTERED", kGov, kAuthorise, "principal", kSigned,
     {tag::kRegisteredKey, tag::kPrincipalType}, {}},
    {kind::kAgentRegistered, "AGENT_REGISTERED", kGov, kAuthorise, "agent", kSigned,
     {tag::kPrincipal, tag::kRegisteredKey}, {}},
    {kind::kMembershipRequested, "MEMBERSHIP_REQUESTED", kGov, kAuthorise, "principal", kSigned,
     {}, {tag::kRulesVersion}},
    {kind::kMembershipApproved, "MEMBERSHIP_APPROVED", kGov, kAuthorise, "principal", kMay,
     {}, {tag::kRulesVersion}},
    {kind::kMembershipConsented, "MEMBERSHIP_CONSENTED", kGov, kAuthorise, "principal", kSigned,
     {tag::kRulesVersion}, {}},
    {kind::kMembershipLeft, "MEMBERSHIP_LEFT", kGov, kAuthorise, "principal", kSigned, {}, {}},
    {kind::kMandateGranted, "MANDATE_GRANTED", kGov, kAuthorise, "mandate", kSigned,
     {tag::kPrincipal, tag::kAgent, tag::kExpiresUs},
     {tag::kActions, tag::kNotBeforeUs, tag::kBudgetPerDay, tag::kBudgetTotal,
      tag::kCounterparties}},
    {kind::kMandateRevoked, "MANDATE_REVOKED", kGov, kAuthorise, "mandate", kSigned, {}, {}},
    {kind::kParameterChanged, "PARAMETER_CHANGED", kGov, kAuthorise, "scope of the parameter",
     kMay, {tag::kVersion, tag::kParameter, tag::kValue}, {tag::kRulesVersion}},
    {kind::kExceptionRaised, "EXCEPTION_RAISED", kGov, kAudit, "exception", kMay,
     {tag::kExceptionKind}, {tag::kRound, tag::kUpdate, tag::kEpoch}},
    {kind::kAgentPaused, "AGENT_PAUSED", kGov, kAudit, "agent", kMay, {tag::kReason}, {}},
    {kind::kAgentResumed, "AGENT_RESUMED", kGov, kAuthorise, "agent", kSigned, {}, {}},
    {kind::kKycAttested, "KYC_ATTESTED", kGov, kAuthorise, "principal", kSigned,
     {tag::kKycLevel, tag::kExpiresUs}, {tag::kOwners}},

    {kind::kProfileSet, "PROFILE_SET", kFil, kAuthorise, "principal", kPrivate,
     {tag::kVersion}, {}},
    {kind::kProbeRegistered, "PROBE_REGISTERED", kFil, kAuthorise, "probe", kPrivate,
     {tag::kDataCommitment}, {tag::kRowCount, tag::kVersion}},
    {kind::kUpdateCommitted, "UPDATE_COMMITTED", kFil, kSubmit, "update", kSigned,
     {tag::kPrincipal, tag::kAgent, tag::kRound, tag::kUpdateCommitment},
     {tag::kMandate, tag::kSizeBytes}},
    {kind::kUpdateReceived, "UPDATE_RECEIVED", kFil, kSubmit, "update", kMay,
     {tag::kRound, tag::kUpdateDigest, tag::kSizeBytes}, {tag::kMandate}},
    {kind::kDecisionMade, "DECISION_MADE", kFil, kSubmit, "update", kMay,
     {tag::kRound, tag::kDecisionDigest, tag::kVerdict},
     {tag::kEffectiveDigest, tag::kRulesVersion, tag::kLineage, tag::kAttestation}},
    {kind::kUpdateExpired, "UPDATE_EXPIRED", kFil, kSubmit, "update", kMay, {tag::kRound}, {}},
    {kind::kPrivateRead, "PRIVATE_READ", kFil, kAudit, "what was read", kMay,
     {tag::kPrincipal, tag::kReader, tag::kPurpose}, {}},

    {kind::kModelCreated, "MODEL_CREATED", kAtt, kPath, "model", kMay,
     {tag::kModelDigest, tag::kCheckpointDigest}, {}},
    {kind::kValidationPoolSealed, "VALIDATION_POOL_SEALED", kAtt, kPath, "model", kMay,
     {tag::kPoolRoot, tag::kRowCount}, {tag::kDataCommitment, tag::kVersion}},
    {kind::kRoundOpened, "ROUND_OPENED", kAtt, kPath, "round", kMay,
     {tag::kCheckpointDigest, tag::kSeedCommitment, tag::kRoundNumber},
     {tag::kModel, tag::kSpecDigest}},
    {kind::kRoundStateChanged, "ROUND_STATE_CHANGED", kAtt, kPath, "round", kMay,
     {tag::kFromState, tag::kToState}, {}},
    {kind::kRoundClosed, "ROUND_CLOSED", kAtt, kPath, "round", kMay,
     {tag::kCheckpointDigest, tag::kUpdateCount}, {tag::kSeed, tag::kMatrixRoot, tag::kSpecDigest}},
    {kind::kRoundAbandoned, "ROUND_ABANDONED", kAtt, kPath, "round", kMay,
     {tag::kReason}, {tag::kSeed}},
    {kind::kCheckpointMade, "CHECKPOINT_MADE", kAtt, kPath, "checkpoint, else its round or model",
     kMay, {tag::kVersion, tag::kCheckpointDigest}, {tag::kParentDigest, tag::kRound, tag::kModel}},
    {kind::kCreditAssigned, "CREDIT_ASSIGNED", kAtt, kPays, "update", kMay,
     {tag::kPrincipal, tag::kRound, tag::kEvidenceDigest, tag::kCreditNanoNats},
     {tag::kPhiNanoNats, tag::kErrorNanoNats}},
    {kind::kEvidenceMade, "EVIDENCE_MADE", kAtt, kPath, "round", kMay,
     {tag::kEvidenceDigest, tag::kMatrixRoot}, {tag::kSpecDigest, tag::kRowCount}},
    {kind::kUpdateApplied, "UPDATE_APPLIED", kAtt, kPath, "update", kMay,
     {tag::kRound, tag::kEffectiveDigest}, {tag::kCheckpointDigest}},
    {kind::kUpdateNotApplied, "UPDATE_NOT_APPLIED", kAtt, kPath, "update", kMay,
     {tag::kRound, tag::kReason}, {tag::kPhiNanoNats, tag::kErrorNanoNats}},
    {kind::kComputeMetered, "COMPUTE_METERED", kAtt, kPays, "run", kMay,
     {tag::kPrincipal, tag::kGpuMicros}, {tag::kRound, tag::kAgent}},
    {kind::kComparisonStarted, "COMPARISON_STARTED", kAtt, kPath, "A/B test", kSigned,
     {tag::kParentDigest, tag::kCheckpointDigest, tag::kSeedCommitment}, {tag::kModel}},
    {kind::kComparisonEnded, "COMPARISON_ENDED", kAtt, kPath, "A/B test", kMay,
     {tag::kStatus, tag::kSeed}, {tag::kRowCount, tag::kPhiNanoNats, tag::kErrorNanoNats}},
    {kind::kModuleRegistered, "MODULE_REGISTERED", kAtt, kAuthorise, "model", kSigned,
     {tag::kModuleDigest}, {}},
    {kind::kModuleWithdrawn, "MODULE_WITHDRAWN", kAtt, kAuthorise, "model", kSigned,
     {tag::kModuleDigest}, {}},

    {kind::kAccountOpened, "ACCOUNT_OPENED", kLed, kAuthorise, "account", kMay,
     {tag::kAccountType, tag::kAsset, tag::kFloor}, {}},
    {kind::kTransferPosted, "TRANSFER_POSTED", kLed, kPays, "transfer", kMay,
     {tag::kDebitAccount, tag::kCreditAccount, tag::kAmount, tag::kTransferKind},
     {tag::kMandate, tag::kExpiresUs, tag::kReference, tag::kCorrects, tag::kPendingTransfer,
      tag::kEpoch, tag::kPool, tag::kCode, tag::kPhase, tag::kLinked, tag::kRequestedAmount,
      tag::kDebitBalance, tag::kCreditBalance}},
    {kind::kLogStarted, "LOG_STARTED", kLed, kAuthorise, "none (zero)", kMay,
     {tag::kRegisteredKey, tag::kOrigin},
     {tag::kPreviousOrigin, tag::kPreviousSize, tag::kPreviousRoot, tag::kOperatorSignature}},
    {kind::kAccountChanged, "ACCOUNT_CHANGED", kLed, kAuthorise, "account", kMay,
     {tag::kVersion, tag::kStatus}, {tag::kFloor}},
    {kind::kBundleSigned, "BUNDLE_SIGNED", kLed, kAudit, "cooperative of the bundle", kMay,
     {tag::kManifestDigest, tag::kTreeSize}, {tag::kSealed}},
    {kind::kHoldExpired, "HOLD_EXPIRED", kLed, kPays, "transfer that is the hold", kMay,
     {tag::kDebitAccount, tag::kCreditAccount, tag::kAmount}, {}},

    {kind::kPoolCreated, "POOL_CREATED", kPay, kPays, "pool", kMay, {tag::kAccount}, {}},
    {kind::kEpochClosed, "EPOCH_CLOSED", kPay, kPays, "epoch", kMay,
     {tag::kPool, tag::kCreditNanoNats, tag::kAmount}, {tag::kRecipientCount, tag::kEpochNumber}},
    {kind::kStatementIssued, "STATEMENT_ISSUED", kPay, kPays, "statement", kMay,
     {tag::kPrincipal, tag::kEpoch, tag::kAmount, tag::kCreditEntries},
     {tag::kAccount, tag::kStatementDigest, tag::kCreditNanoNats, tag::kWithheld, tag::kTransfer}},
    {kind::kEpochSettled, "EPOCH_SETTLED", kPay, kPays, "epoch", kMay,
     {tag::kTransferCount, tag::kAmount}, {tag::kPool, tag::kDistributionRoot}},
};

template <typename Table, typename Number>
constexpr bool StrictlyIncreasing(const Table& table, Number number) {
  for (size_t i = 1; i < std::size(table); ++i) {
    if (number(table[i - 1]) >= number(table[i])) return false;
  }
  return true;
}
// The look-ups below search by halves.
static_assert(StrictlyIncreasing(kTags, [](const TagInfo& info) { return info.tag; }));
static_assert(StrictlyIncreasing(kKinds, [](const KindInfo& info) { return info.number; }));

constexpr uint16_t kAlwaysAllowed[] = {tag::kReason, tag::kEvidenceDigest, tag::kPrincipal,
                                       tag::kAgent};
constexpr uint16_t kDocumentTags[] = {tag::kDocumentType, tag::kDocumentDigest, tag::kPublicKey,
                                      tag::kSignature};
constexpr uint16_t kPrivateDocumentTags[] = {tag::kDocumentType, tag::kPublicKey,
                                             tag::kDocumentCommitment};

template <typename List>
bool Contains(const List& list, uint16_t tag) {
  return std::find(std::begin(list), std::end(list), tag) != std::end(list);
}

absl::string_view NameOf(uint16_t tag) {
  const TagInfo* info = FindTag(tag);
  return info == nullptr ? "unknown" : info->name;
}

// Ids of 32 bytes, 1 to 16, increasing.
bool AreOwners(absl::string_view data) {
  constexpr size_t kSize = 32, kMost = 16;
  if (data.empty() || data.size() % kSize != 0 || data.size() > kMost * kSize) return false;
  for (size_t at = kSize; at < data.size(); at += kSize) {
    if (data.substr(at - kSize, kSize) >= data.substr(at, kSize)) return false;
  }
  return true;
}

absl::Status CheckValue(const Field& field, const TagInfo& info) {
  const bool exact = info.size == 0 || field.data.size() == info.size;
  const bool ids = field.tag == tag::kCreditEntries || field.tag == tag::kCounterparties;
  const bool packed = (!ids || field.data.size() % 16 == 0) &&
                      (field.tag != tag::kOwners || AreOwners(field.data));
  const bool bounded = field.tag != tag::kReference || field.data.size() <= 64;
  const bool text = field.type != FieldType::kText || field.data.size() <= 1024;
  if (field.type == info.type && exact && packed && bounded && text) return absl::OkStatus();
  return Error("ENTRY_INVALID", absl::StrCat("field ", info.name, " has a wrong type or size"));
}

absl::Status CheckDocument(const Entry& entry, const KindInfo& info) {
  const bool any = std::any_of(std::begin(kDocumentTags), std::end(kDocumentTags),
                               [&](uint16_t tag) { return entry.Find(tag) != nullptr; });
  const bool needed = info.document == DocumentRule::kRequired ||
                      (info.document == DocumentRule::kOptional && any);
  const absl::Span<const uint16_t> tags =
      info.document == DocumentRule::kPrivate ? absl::MakeConstSpan(kPrivateDocumentTags)
      : needed                                ? absl::MakeConstSpan(kDocumentTags)
                                              : absl::Span<const uint16_t>();
  for (const uint16_t tag : tags) {
    if (entry.Find(tag) == nullptr) {
      return Error("ENTRY_INVALID", absl::StrCat(info.name, " lacks ", NameOf(tag)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Span<const TagInfo> Tags() { return kTags; }
absl::Span<const KindInfo> Kinds() { return kKinds; }

const TagInfo* FindTag(uint16_t tag) {
  const auto found = std::lower_bound(std::begin(kTags), std::end(kTags), tag,
                                      [](const TagInfo& i, uint16_t t) { return i.tag < t; });
  return found != std::end(kTags) && found->tag == tag ? found : nullptr;
}

const KindInfo* FindKind(uint16_t number) {
  const auto found = std::lower_bound(std::begin(kKinds), std::end(kKinds), number,
                                      [](const KindInfo& i, uint16_t n) { return i.number < n; });
  return found != std::end(kKinds) && found->number == number ? found : nullptr;
}

const KindInfo* FindKindByName(absl::string_view name) {
  for (const KindInfo& info : kKinds) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

absl::Status CheckKind(const Entry& entry) {
  const KindInfo* info = FindKind(entry.kind);
  if (info == nullptr) {
    return Error("ENTRY_INVALID", absl::StrCat("no kind of entry has the number ", entry.kind));
  }
  if (entry.service != info->service || entry.link != info->link) {
    return Error("ENTRY_INVALID", absl::StrCat(info->name, " belongs to another service or link"));
  }
  for (const uint16_t tag : info->required) {
    if (tag != 0 && entry.Find(tag) == nullptr) {
      return Error("ENTRY_INVALID", absl::StrCat(info->name, " lacks ", NameOf(tag)));
    }
  }
  RETURN_IF_ERROR(CheckDocument(entry, *info));
  const absl::Span<const uint16_t> document = info->document == DocumentRule::kPrivate
                                                  ? absl::MakeConstSpan(kPrivateDocumentTags)
                                                  : absl::MakeConstSpan(kDocumentTags);
  for (const Field& field : entry.fields) {
    const TagInfo* known = FindTag(field.tag);
    const bool allowed = Contains(info->required, field.tag) ||
                         Contains(info->optional, field.tag) ||
                         Contains(kAlwaysAllowed, field.tag) || Contains(document, field.tag);
    if (known == nullptr || !allowed) {
      return Error("ENTRY_INVALID", absl::StrCat(info->name, " has no field ", field.tag, " (",
                                                 NameOf(field.tag), ")"));
    }
    RETURN_IF_ERROR(CheckValue(field, *known));
  }
  return absl::OkStatus();
}

}  // namespace rochdale::crypto
