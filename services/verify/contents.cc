// What was signed is what the log says: the bodies of documents against the entries that name them.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "services/verify/documents.h"
#include "services/verify/json.h"
#include "services/verify/proto_json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Entry;

// Where in an entry a member of the body has to stand: a tag, or one of these.
constexpr uint16_t kSubject = 0xfff0, kCooperative = 0xfff1;

struct Member {
  const char* field = nullptr;
  uint16_t place = 0;
};

struct Content {
  uint16_t kind;
  const char* type;
  std::vector<Member> members;
  bool of_founder;  // only a founder of the cooperative signs it
};

const std::vector<Content>& Contents() {
  static const auto* contents = new std::vector<Content>{
      {kind::kCooperativeFounded, "rochdale.governance.v1.Genesis",
       {{"cooperative_id", kSubject}}, true},
      {kind::kPrincipalRegistered, "rochdale.governance.v1.PrincipalRegistration", {}, false},
      {kind::kAgentRegistered, "rochdale.governance.v1.AgentRegistration",
       {{"agent_id", kSubject}, {"principal_id", tag::kPrincipal},
        {"public_key", tag::kRegisteredKey}}, false},
      {kind::kMembershipRequested, "rochdale.governance.v1.MembershipApplication",
       {{"cooperative_id", kCooperative}, {"principal_id", kSubject}}, false},
      {kind::kMembershipApproved, "rochdale.governance.v1.MembershipApproval",
       {{"cooperative_id", kCooperative}, {"principal_id", kSubject}}, false},
      {kind::kMembershipConsented, "rochdale.governance.v1.RuleConsent",
       {{"cooperative_id", kCooperative}, {"principal_id", kSubject},
        {"rules_version", tag::kRulesVersion}}, false},
      {kind::kMembershipLeft, "rochdale.governance.v1.MembershipWithdrawal",
       {{"cooperative_id", kCooperative}, {"principal_id", kSubject}}, false},
      {kind::kMandateGranted, "rochdale.governance.v1.Mandate",
       {{"mandate_id", kSubject}, {"cooperative_id", kCooperative},
        {"principal_id", tag::kPrincipal}, {"agent_id", tag::kAgent},
        {"expires_us", tag::kExpiresUs}}, false},  // and CheckMandate
      {kind::kKycAttested, "rochdale.governance.v1.KycAttestation",
       {{"principal_id", kSubject}, {"level", tag::kKycLevel},
        {"expires_us", tag::kExpiresUs}}, false},  // and CheckOwners
      {kind::kMandateRevoked, "rochdale.governance.v1.MandateRevocation",
       {{"mandate_id", kSubject}}, false},
      {kind::kParameterChanged, "rochdale.governance.v1.ParameterChange",
       {{"cooperative_id", kCooperative}}, true},
      {kind::kUpdateCommitted, "rochdale.filter.v1.UpdateCommitment",
       {{"update_id", kSubject}, {"round_id", tag::kRound}, {"agent_id", tag::kAgent},
        {"update_sha256", tag::kUpdateCommitment}}, false},
      {kind::kModelCreated, "rochdale.attribution.v1.ModelRegistration",
       {{"cooperative_id", kCooperative}}, true},
      {kind::kModuleRegistered, "rochdale.attribution.v1.ModuleRegistration",
       {{"cooperative_id", kCooperative}, {"module_sha256", tag::kModuleDigest}}, true},
      {kind::kModuleWithdrawn, "rochdale.attribution.v1.ModuleRegistration",
       {{"cooperative_id", kCooperative}, {"module_sha256", tag::kModuleDigest}}, true},
      {kind::kValidationPoolSealed, "rochdale.attribution.v1.ValidationPoolSealing",
       {{"cooperative_id", kCooperative}}, true},
      {kind::kRoundOpened, "rochdale.attribution.v1.TrainingPlan",
       {{"cooperative_id", kCooperative}}, true},
      {kind::kCheckpointMade, "rochdale.attribution.v1.CheckpointRollback",
       {{"cooperative_id", kCooperative}, {"checkpoint_sha256", tag::kCheckpointDigest},
        {"newest_sha256", tag::kParentDigest}}, true},
      {kind::kComparisonStarted, "rochdale.attribution.v1.CheckpointComparison",
       {{"cooperative_id", kCooperative}, {"a_sha256", tag::kParentDigest},
        {"b_sha256", tag::kCheckpointDigest}}, true},
      {kind::kPoolCreated, "rochdale.payout.v1.PoolCreation",
       {{"pool_id", kSubject}, {"cooperative_id", kCooperative}}, true},
      {kind::kEpochClosed, "rochdale.payout.v1.EpochClosing",
       {{"epoch_id", kSubject}, {"pool_id", tag::kPool}}, true},
      {kind::kLogStarted, "rochdale.ledger.v1.LogRestart",
       {{"origin", tag::kOrigin}, {"previous_origin", tag::kPreviousOrigin},
        {"previous_size", tag::kPreviousSize}, {"previous_root", tag::kPreviousRoot}}, false},
      {kind::kAccountChanged, "rochdale.ledger.v1.AccountOrder",
       {{"account_id", kSubject}}, false},
      {kind::kTransferPosted, "rochdale.ledger.v1.TransferOrder", {}, false},  // see money.cc
      {kind::kTransferPosted, "rochdale.ledger.v1.ConversionOrder", {}, false},
  };
  return *contents;
}

// Of entries of the kind, with a document of this type if there may be one; null where it does not
// matter what is signed.
const Content* Find(uint16_t kind, absl::string_view type) {
  const Content* of_kind = nullptr;
  for (const Content& content : Contents()) {
    if (content.kind != kind) continue;
    if (content.type == type) return &content;
    of_kind = &content;
  }
  return of_kind;
}

// As the text that a body has for it.
std::string TextAt(const Entry& entry, uint16_t place) {
  if (place == kSubject) return entry.subject.ToString();
  if (place == kCooperative) return entry.cooperative.ToString();
  const crypto::Field* field = entry.Find(place);
  if (field == nullptr) return "";
  switch (field->type) {
    case crypto::FieldType::kU64: return absl::StrCat(field->number);
    case crypto::FieldType::kI64: return absl::StrCat(static_cast<int64_t>(field->number));
    case crypto::FieldType::kText: return field->data;
    case crypto::FieldType::kBytes: break;
  }
  const auto id = Uuid::FromBytes(field->data);
  return id.ok() ? id->ToString() : crypto::HexEncode(field->data);
}

// Founders' keys of the cooperative; empty where its genesis is not in the bundle.
std::set<std::string> FoundersOf(const Log& log, const Documents& documents,
                                 const CooperativeId& cooperative) {
  std::set<std::string> keys;
  const Entry* founded = log.Only(kind::kCooperativeFounded, cooperative.value);
  if (founded == nullptr) return keys;
  const auto digest = founded->DigestAt(tag::kDocumentDigest);
  const auto genesis = digest.ok() ? documents.find(*digest) : documents.end();
  if (genesis == documents.end()) return keys;
  const auto body = ParseObject(genesis->second.body);
  if (!body.ok()) return keys;
  for (const nlohmann::json& key : ProtoList(*body, "founder_public_keys")) {
    if (key.is_string()) keys.insert(absl::AsciiStrToLower(key.get<std::string>()));
  }
  return keys;
}

// Numbers may be left out of a body where they are 0.
bool Says(const nlohmann::json& body, const char* member, const Entry& entry, uint16_t place) {
  const crypto::Field* field = entry.Find(place);
  const bool number = field != nullptr && (field->type == crypto::FieldType::kU64 ||
                                           field->type == crypto::FieldType::kI64);
  const std::string text = absl::AsciiStrToLower(ProtoText(body, member));
  return (number && text.empty() ? "0" : text) == TextAt(entry, place);
}

// The part of a mandate by which money is spent; an entry without actions allows none.
absl::Status CheckMandate(const Entry& entry, const nlohmann::json& body) {
  if (entry.Find(tag::kActions) == nullptr) return absl::OkStatus();
  static const auto* kActions = new std::vector<std::string>{
      "", "MANDATE_ACTION_SUBMIT_UPDATE", "MANDATE_ACTION_SPEND", "MANDATE_ACTION_VOTE"};
  uint64_t actions = 0;
  for (const nlohmann::json& action : ProtoList(body, "actions")) {
    for (size_t i = 1; i < kActions->size(); ++i) {
      if (action == (*kActions)[i] || action == i) actions |= uint64_t{1} << i;
    }
  }
  std::string counterparties;
  for (const nlohmann::json& account : ProtoList(body, "counterparty_account_ids")) {
    const auto id = Uuid::Parse(account.is_string() ? account.get<std::string>() : "");
    if (!id.ok()) return absl::DataLossError("its document names no account");
    absl::StrAppend(&counterparties, id->AsBytes());
  }
  const crypto::Field* listed = entry.Find(tag::kCounterparties);
  if (entry.Find(tag::kActions)->number != actions ||
      !Says(body, "not_before_us", entry, tag::kNotBeforeUs) ||
      !Says(body, "budget_per_day_microtokens", entry, tag::kBudgetPerDay) ||
      !Says(body, "budget_total_microtokens", entry, tag::kBudgetTotal) ||
      (listed == nullptr ? "" : listed->data) != counterparties) {
    return absl::DataLossError("its document allows something else");
  }
  return absl::OkStatus();
}

// The owners that an attestation names, in any order.
absl::Status CheckOwners(const Entry& entry, const nlohmann::json& body) {
  std::set<std::string> owners;
  for (const nlohmann::json& owner : ProtoList(body, "beneficial_owners")) {
    const auto id = crypto::Digest::Parse(owner.is_string() ? owner.get<std::string>() : "");
    if (!id.ok()) return absl::DataLossError("its document names no owner");
    owners.insert(std::string(id->AsBytes()));
  }
  std::string packed;
  for (const std::string& owner : owners) packed += owner;
  const crypto::Field* listed = entry.Find(tag::kOwners);
  if ((listed == nullptr ? "" : listed->data) == packed) return absl::OkStatus();
  return absl::DataLossError("its document has other beneficial_owners");
}

absl::Status CheckBody(const Content& content, const Entry& entry, const std::string& text) {
  ASSIGN_OR_RETURN(const nlohmann::json body, ParseObject(text));
  for (const Member& member : content.members) {
    if (!Says(body, member.field, entry, member.place)) {
      return absl::DataLossError(absl::StrCat("its document has another ", member.field));
    }
  }
  if (entry.kind == kind::kAccountChanged) {
    const std::string status = ProtoText(body, "status"), number = TextAt(entry, tag::kStatus);
    const bool same = status == number || (number == "3" && status == "ACCOUNT_STATUS_CLOSING") ||
                      (number == "4" && status == "ACCOUNT_STATUS_CLOSED");
    return same ? absl::OkStatus() : absl::DataLossError("its document asks for another status");
  }
  if (entry.kind == kind::kMandateGranted) return CheckMandate(entry, body);
  if (entry.kind == kind::kKycAttested) return CheckOwners(entry, body);
  if (entry.kind != kind::kParameterChanged) return absl::OkStatus();
  const nlohmann::json& value = ProtoMessage(body, "value");
  if (ProtoText(value, "name") != TextAt(entry, tag::kParameter) ||
      ProtoText(value, "value") != TextAt(entry, tag::kValue)) {
    return absl::DataLossError("its document changes something else");
  }
  return absl::OkStatus();
}

// A value that nobody signed by itself is one of the genesis that allowed it.
bool IsOfGenesis(const Log& log, const Documents& documents, const Entry& changed) {
  const Entry* founded = log.Find(changed.authorised_by);
  if (founded == nullptr || founded->kind != kind::kCooperativeFounded ||
      founded->cooperative != changed.cooperative || TextAt(changed, tag::kVersion) != "1") {
    return false;
  }
  const auto digest = founded->DigestAt(tag::kDocumentDigest);
  const auto genesis = digest.ok() ? documents.find(*digest) : documents.end();
  if (genesis == documents.end()) return true;  // it is not in the bundle
  const auto body = ParseObject(genesis->second.body);
  if (!body.ok()) return false;
  const nlohmann::json& values = ProtoList(*body, "parameters");
  return std::any_of(values.begin(), values.end(), [&](const nlohmann::json& value) {
    return ProtoText(value, "name") == TextAt(changed, tag::kParameter) &&
           ProtoText(value, "value") == TextAt(changed, tag::kValue);
  });
}

// The mandate under which an agent committed: of this agent, and still in force.
bool IsMandated(const Log& log, const Entry& committed) {
  const Entry* mandate = log.Find(committed.authorised_by);
  return mandate != nullptr && mandate->kind == kind::kMandateGranted &&
         mandate->cooperative == committed.cooperative &&
         TextAt(*mandate, tag::kAgent) == TextAt(committed, tag::kAgent) &&
         TextAt(*mandate, tag::kPrincipal) == TextAt(committed, tag::kPrincipal) &&
         mandate->I64(tag::kExpiresUs).value_or(0) > committed.time_us;
}

// A restart is signed by the operator, too, with the log's key, over the same body; the checkpoint
// that it shows is one of the log that was restored, beyond what was kept.
absl::Status CheckRestart(const Log& log, const Entry& entry,
                          const crypto::SignedDocument& document) {
  const auto key = entry.Bytes(tag::kRegisteredKey);
  const auto signature = entry.Bytes(tag::kOperatorSignature);
  if (!key.ok() || !signature.ok()) return absl::DataLossError("the operator did not sign it");
  const auto by_operator =
      crypto::MakeSignedDocument(document.type, document.body, *key, *signature);
  if (!by_operator.ok() || !crypto::VerifyDocument(*by_operator).ok()) {
    return absl::DataLossError("the operator's signature does not verify");
  }
  ASSIGN_OR_RETURN(const nlohmann::json body, ParseObject(document.body));
  const std::string note = ProtoText(body, "last_checkpoint");
  if (note.empty()) return absl::OkStatus();
  const Entry& previous = log.at(log.IndexOf(entry) + 1);  // its start, which CheckLog looked at
  ASSIGN_OR_RETURN(const absl::string_view old_key, previous.Bytes(tag::kRegisteredKey));
  ASSIGN_OR_RETURN(const crypto::PublicKey public_key, crypto::PublicKey::FromBytes(old_key));
  ASSIGN_OR_RETURN(const crypto::Checkpoint last,
                   crypto::OpenCheckpoint(note, {TextAt(previous, tag::kOrigin),
                                                 crypto::NoteAlgorithm::kEd25519, public_key}));
  if (last.size > entry.U64(tag::kPreviousSize).value_or(0)) return absl::OkStatus();
  return absl::DataLossError("the checkpoint that it shows is not beyond what was kept");
}

}  // namespace

void CheckContents(const Log& log, const Documents& documents, Report& report) {
  Check& check = report.Begin("contents");
  size_t read = 0;
  std::map<CooperativeId, std::set<std::string>> founders;
  for (const Entry& entry : log.entries()) {
    const std::string where = NameOf(log, entry);
    if (entry.kind == kind::kUpdateCommitted) {
      check.Need(IsMandated(log, entry), where, "its agent had no mandate for it");
    }
    const Content* content = Find(entry.kind, TextAt(entry, tag::kDocumentType));
    const auto digest = entry.DigestAt(tag::kDocumentDigest);
    if (entry.kind == kind::kParameterChanged && !digest.ok()) {
      check.Need(IsOfGenesis(log, documents, entry), where, "nobody signed its value");
    }
    if (content == nullptr || !digest.ok()) continue;
    check.Need(TextAt(entry, tag::kDocumentType) == content->type, where,
               "no such document is signed for it");
    if (content->of_founder) {
      const auto [of, added] = founders.try_emplace(entry.cooperative);
      if (added) of->second = FoundersOf(log, documents, entry.cooperative);
      check.Need(of->second.empty() || of->second.contains(TextAt(entry, tag::kPublicKey)), where,
                 "its signer is no founder");
    }
    const auto document = documents.find(*digest);
    if (document == documents.end()) continue;
    ++read;
    if (entry.kind == kind::kLogStarted) {
      check.Need(CheckRestart(log, entry, document->second), where);
    }
    check.Need(CheckBody(*content, entry, document->second.body), where);
  }
  check.Say(absl::StrCat(read, " entries say what was signed"));
}

}  // namespace rochdale::verify
