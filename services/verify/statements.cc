#include "services/verify/statements.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/base64.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "services/verify/json.h"
#include "services/verify/proto_json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Entry;

absl::Status Wrong(absl::string_view what) { return absl::DataLossError(what); }

absl::Status Differs(absl::string_view field) {
  return Wrong(absl::StrCat(field, " is not what the log says"));
}

// Members that a statement may have; those of rochdale.payout.v1.Statement.
constexpr const char* kMembers[] = {
    "epoch_id",           "principal_id",        "lines",       "credit_nanonats",
    "credit_sum_nanonats", "revenue_microtokens", "payment_microtokens", "transfer_id",
    "account_id",         "entry",               "paid",        "distribution_proof",
    "distribution_index", "cumulative_microtokens"};
constexpr const char* kLineMembers[] = {
    "round_number", "update_id",      "outcome",        "reason", "credit_nanonats",
    "estimate_nanonats", "standard_error_nanonats", "credit_entry", "decision_entry",
    "tolerance_nanonats", "deadband_nanonats"};

template <typename Names>
absl::Status CheckNames(const nlohmann::json& message, const Names& names) {
  if (!message.is_object()) return Wrong("a message is an object");
  for (const auto& [key, value] : message.items()) {
    if (std::find(std::begin(names), std::end(names), key) == std::end(names)) {
      return Wrong(absl::StrCat("unknown member ", key));
    }
  }
  return absl::OkStatus();
}

constexpr const char* kReferenceMembers[] = {"event_id"};

std::string EventText(const nlohmann::json& message, absl::string_view field) {
  return ProtoText(ProtoMessage(message, field), "event_id");
}

std::string ReasonIn(const Entry* entry) {
  if (entry == nullptr) return "";
  const auto reason = entry->Text(tag::kReason);
  return reason.ok() ? std::string(*reason) : std::string();
}

// What became of an update and why, as the log has it.
absl::Status CheckOutcome(const Log& log, const Uuid& update, const nlohmann::json& line) {
  const Entry* left_out = log.Only(kind::kUpdateNotApplied, update);
  const Entry* decision = log.Only(kind::kDecisionMade, update);
  const bool refused = decision != nullptr && decision->U64(tag::kVerdict).value_or(0) > 3;
  std::string outcome, reason;
  if (log.Only(kind::kUpdateApplied, update) != nullptr) {
    outcome = "APPLIED";
  } else if (left_out != nullptr) {
    outcome = "NOT_APPLIED";
    reason = ReasonIn(left_out);
  } else if (refused) {
    outcome = "REJECTED";
    reason = ReasonIn(decision);
  } else if (log.Only(kind::kUpdateExpired, update) != nullptr) {
    outcome = "EXPIRED";
  } else {  // its round was abandoned before anybody decided
    outcome = "NOT_APPLIED";
    reason = "NOT_APPLIED_ABANDONED";
  }
  if (ProtoText(line, "outcome") != outcome) return Differs("outcome");
  return ProtoText(line, "reason") == reason ? absl::OkStatus() : Differs("reason");
}

// How far the credit of a line may be off: 0 where the round's model is exact, or without a credit.
absl::Status CheckPrecision(const Rounds& rounds, const Entry& committed, bool credited,
                            const nlohmann::json& line) {
  int64_t tolerance = 0, deadband = 0;
  if (credited) {
    const auto round = rounds.find(RoundId{committed.IdAt(tag::kRound).value_or(Uuid{})});
    if (round == rounds.end()) return absl::OkStatus();  // check "rounds" says so
    if (const learning::ModelSpec& model = round->second.model; !model.exact()) {
      tolerance = model.torchscript.tolerance_nanonats;
      deadband = model.torchscript.deadband_nanonats;
    }
  }
  if (ProtoInt(line, "tolerance_nanonats") != tolerance) return Differs("tolerance_nanonats");
  return ProtoInt(line, "deadband_nanonats") == deadband ? absl::OkStatus()
                                                         : Differs("deadband_nanonats");
}

absl::Status CheckLine(const Log& log, const Rounds& rounds, const IssuedStatement& issued,
                       const nlohmann::json& line, std::vector<EventId>& credits) {
  RETURN_IF_ERROR(CheckNames(line, kLineMembers));
  for (const char* reference : {"credit_entry", "decision_entry"}) {
    RETURN_IF_ERROR(CheckNames(ProtoMessage(line, reference), kReferenceMembers));
  }
  ASSIGN_OR_RETURN(const UpdateId update, UpdateId::Parse(ProtoText(line, "update_id")));
  const Entry* committed = log.Only(kind::kUpdateCommitted, update.value);
  if (committed == nullptr || ProtoText(line, "update_id") != update.ToString() ||
      committed->IdAt(tag::kPrincipal).value_or(Uuid{}) != issued.principal.value) {
    return Differs("the update of a line");
  }
  const Entry* opened = log.Only(kind::kRoundOpened, committed->IdAt(tag::kRound).value_or(Uuid{}));
  if (opened == nullptr || ProtoInt(line, "round_number") !=
                               static_cast<int64_t>(opened->U64(tag::kRoundNumber).value_or(0))) {
    return Differs("round_number");
  }
  RETURN_IF_ERROR(CheckOutcome(log, update.value, line));
  const std::string decided = EventText(line, "decision_entry");
  const Entry* decision = log.Only(kind::kDecisionMade, update.value);
  if (decided != (decision == nullptr ? "" : decision->event_id.ToString())) {
    return Differs("decision_entry");
  }
  const std::string credited = EventText(line, "credit_entry");
  RETURN_IF_ERROR(CheckPrecision(rounds, *committed, !credited.empty(), line));
  const Entry* credit = log.Only(kind::kCreditAssigned, update.value);
  if (credited.empty()) {
    if (credit != nullptr || ProtoInt(line, "credit_nanonats") != 0) return Differs("credit_entry");
    return absl::OkStatus();
  }
  if (credit == nullptr || credit->event_id.ToString() != credited) return Differs("credit_entry");
  if (credit->I64(tag::kCreditNanoNats).value_or(0) != ProtoInt(line, "credit_nanonats") ||
      credit->I64(tag::kPhiNanoNats).value_or(0) != ProtoInt(line, "estimate_nanonats") ||
      credit->I64(tag::kErrorNanoNats).value_or(0) != ProtoInt(line, "standard_error_nanonats")) {
    return Differs("the credit of a line");
  }
  credits.push_back(credit->event_id);
  return absl::OkStatus();
}

absl::Status CheckProof(const ClosedEpoch& epoch, const IssuedStatement& issued,
                        const nlohmann::json& statement) {
  if (ProtoInt(statement, "distribution_index") != issued.position) {
    return Differs("distribution_index");
  }
  if (ProtoInt(statement, "cumulative_microtokens") != issued.cumulative) {
    return Differs("cumulative_microtokens");
  }
  const nlohmann::json& list = ProtoList(statement, "distribution_proof");
  if (list.empty()) return absl::OkStatus();  // lists of statements come without proofs
  std::vector<crypto::Digest> proof;
  for (const nlohmann::json& hash : list) {
    if (!hash.is_string()) return Differs("distribution_proof");
    ASSIGN_OR_RETURN(const std::string raw, crypto::Base64Decode(crypto::Base64::kStandard,
                                                                 hash.get<std::string>()));
    ASSIGN_OR_RETURN(const crypto::Digest digest, crypto::Digest::FromBytes(raw));
    proof.push_back(digest);
  }
  crypto::CanonicalWriter leaf(24);
  leaf.Raw(issued.principal.value.AsBytes()).U64(static_cast<uint64_t>(issued.cumulative));
  return crypto::VerifyInclusion(static_cast<uint64_t>(issued.position), epoch.statements.size(),
                                 crypto::LeafHash(leaf.bytes()), proof, epoch.root);
}

absl::Status CheckStatement(const Bundle& bundle, const Log& log, const Epochs& epochs,
                            const Rounds& rounds, const std::string& name) {
  ASSIGN_OR_RETURN(const std::string bytes,
                   bundle.Read(absl::StrCat("statements/", name), kJsonBytesMax));
  ASSIGN_OR_RETURN(const nlohmann::json statement, ParseCanonicalObject(bytes));
  RETURN_IF_ERROR(CheckNames(statement, kMembers));
  RETURN_IF_ERROR(CheckNames(ProtoMessage(statement, "entry"), kReferenceMembers));
  const std::string epoch_id = ProtoText(statement, "epoch_id");
  const std::string principal = ProtoText(statement, "principal_id");
  if (name != absl::StrCat(epoch_id, ".", principal, ".json")) {
    return Wrong("it is of another epoch or principal");
  }
  ASSIGN_OR_RETURN(const EpochId id, EpochId::Parse(epoch_id));
  const auto epoch = epochs.find(id);
  if (epoch == epochs.end()) return Wrong("the log has no such epoch");
  const std::vector<IssuedStatement>& list = epoch->second.statements;
  const auto issued = std::find_if(list.begin(), list.end(), [&](const IssuedStatement& s) {
    return s.principal.ToString() == principal;
  });
  if (issued == list.end()) return Wrong("the log has no such statement");
  if (EventText(statement, "entry") != issued->entry->event_id.ToString()) return Differs("entry");
  if (ProtoText(statement, "account_id") != issued->account.ToString()) {
    return Differs("account_id");
  }
  if (ProtoInt(statement, "credit_nanonats") != issued->credit) return Differs("credit_nanonats");
  if (ProtoInt(statement, "payment_microtokens") != issued->payment) {
    return Differs("payment_microtokens");
  }
  const Entry& closed = *epoch->second.closed;
  if (ProtoInt(statement, "credit_sum_nanonats") !=
          closed.I64(tag::kCreditNanoNats).value_or(0) ||
      ProtoInt(statement, "revenue_microtokens") !=
          static_cast<int64_t>(closed.U64(tag::kAmount).value_or(0))) {
    return Differs("the epoch's credit_sum_nanonats or revenue_microtokens");
  }
  // A statement that was asked for before it was paid says so; the transfer's id is known by then.
  if (ProtoBool(statement, "paid") && issued->paid == nullptr) return Differs("paid");
  const std::string transfer = issued->paid == nullptr ? "" : issued->paid->subject.ToString();
  if (issued->payment == 0 || issued->paid != nullptr) {
    if (ProtoText(statement, "transfer_id") != transfer) return Differs("transfer_id");
  }
  std::vector<EventId> credits;
  for (const nlohmann::json& line : ProtoList(statement, "lines")) {
    RETURN_IF_ERROR(CheckLine(log, rounds, *issued, line, credits));
  }
  if (credits != issued->credits) return Differs("the credits of its lines");
  return CheckProof(epoch->second, *issued, statement);
}

}  // namespace

void CheckStatements(const Bundle& bundle, const Log& log, const Epochs& epochs,
                     const Rounds& rounds, Report& report) {
  Check& check = report.Begin("statements");
  const std::vector<std::string> names = bundle.NamesIn("statements");
  for (const std::string& name : names) {
    check.Need(CheckStatement(bundle, log, epochs, rounds, name),
               absl::StrCat("statements/", name));
  }
  check.Say(absl::StrCat(names.size(), " statements agree with the log"));
}

}  // namespace rochdale::verify
