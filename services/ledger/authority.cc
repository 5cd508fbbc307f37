#include "services/ledger/authority.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"

namespace rochdale::ledger {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

namespace {

// governance.v1.MANDATE_ACTION_SPEND, as a bit of `actions`.
constexpr int64_t kSpend = 1 << 2;

SpendMandate ToMandate(const pg::Row& row) {
  SpendMandate mandate;
  mandate.id = row.Get<MandateId>("mandate");
  mandate.event_id = row.Get<EventId>("event_id");
  mandate.principal = row.Get<PrincipalId>("principal");
  mandate.not_before_us = row.Get<int64_t>("not_before_us");
  mandate.expires_us = row.Get<int64_t>("expires_us");
  mandate.budget_day = row.Get<int64_t>("budget_day");
  mandate.budget_total = row.Get<int64_t>("budget_total");
  const std::string accounts = row.GetBytes("counterparties");
  for (size_t at = 0; at + 16 <= accounts.size(); at += 16) {
    const absl::string_view id = absl::string_view(accounts).substr(at, 16);
    mandate.counterparties.push_back({*Uuid::FromBytes(id)});
  }
  return mandate;
}

int64_t NumberOr(const crypto::Entry& entry, uint16_t tag, int64_t fallback) {
  const crypto::Field* field = entry.Find(tag);
  return field == nullptr ? fallback : static_cast<int64_t>(field->number);
}

}  // namespace

bool SpendMandate::MayPay(const AccountId& account) const {
  return counterparties.empty() ||
         std::find(counterparties.begin(), counterparties.end(), account) != counterparties.end();
}

std::optional<int64_t> Authority::DailyLimit(int kyc_level) const {
  if (kyc_level <= 0) return 0;
  if (kyc_level == 1) return parameters.Micro("ledger.kyc_l1_daily_micro");
  if (kyc_level == 2) return parameters.Micro("ledger.kyc_l2_daily_micro");
  return std::nullopt;
}

constexpr char kFindState[] =
    "SELECT network, complete_until_us FROM authority_state WHERE id = 1";
constexpr char kFindParameters[] = "SELECT name, value FROM authority_parameters";
constexpr char kFindPrincipals[] =
    "SELECT principal, registered_by, kyc_level, kyc_expires_us FROM authority_principals "
    "WHERE principal = ANY($1::uuid[])";
constexpr char kFindPaused[] =
    "SELECT agent FROM authority_paused_agents WHERE agent = ANY($1::uuid[])";
// At most 64 mandates of an agent count.
constexpr char kFindMandates[] =
    "SELECT n.agent, m.mandate, m.event_id, m.principal, m.not_before_us, m.expires_us, "
    "m.budget_day, m.budget_total, m.counterparties "
    "FROM unnest($1::uuid[]) AS n (agent) CROSS JOIN LATERAL ("
    "  SELECT * FROM authority_mandates AS a WHERE a.agent = n.agent AND NOT a.revoked"
    "  AND a.actions & $2 <> 0 AND NOT EXISTS (SELECT FROM authority_left AS l"
    "    WHERE l.cooperative = a.cooperative AND l.principal = a.principal)"
    "  ORDER BY a.mandate LIMIT 64) AS m ORDER BY n.agent, m.mandate";

absl::StatusOr<Authority> FindAuthority(pg::Transaction& tx,
                                        const std::vector<PrincipalId>& principals,
                                        const std::vector<AgentId>& agents) {
  Authority known;
  ASSIGN_OR_RETURN(const pg::Row state, tx.ExecOne(kFindState));
  known.network = state.Get<CooperativeId>("network");
  known.complete_until_us = state.Get<int64_t>("complete_until_us");
  ASSIGN_OR_RETURN(const pg::Rows parameters, tx.Exec(kFindParameters));
  for (const pg::Row& row : parameters) {
    // A value that this build does not know or allow keeps its default.
    known.parameters.Set(row.Get<std::string>(0), row.Get<std::string>(1)).IgnoreError();
  }
  if (!principals.empty()) {
    ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindPrincipals, principals));
    for (const pg::Row& row : rows) {
      known.principals[row.Get<PrincipalId>(0)] = {row.Get<EventId>(1), row.Get<int32_t>(2),
                                                   row.Get<int64_t>(3)};
    }
  }
  if (agents.empty()) return known;
  ASSIGN_OR_RETURN(const pg::Rows paused, tx.Exec(kFindPaused, agents));
  for (const pg::Row& row : paused) known.paused.insert(row.Get<AgentId>(0));
  ASSIGN_OR_RETURN(const pg::Rows mandates, tx.Exec(kFindMandates, agents, kSpend));
  for (const pg::Row& row : mandates) {
    known.mandates[row.Get<AgentId>("agent")].push_back(ToMandate(row));
  }
  return known;
}

bool BearsOnAuthority(const LogEntry& entry) {
  switch (entry.kind) {
    case kind::kCooperativeFounded:
    case kind::kPrincipalRegistered:
    case kind::kKycAttested:
    case kind::kAgentPaused:
    case kind::kAgentResumed:
    case kind::kMandateGranted:
    case kind::kMandateRevoked:
    case kind::kMembershipLeft:
    case kind::kMembershipConsented:
    case kind::kParameterChanged:
      return true;
    default:
      return false;
  }
}

constexpr char kSetNetwork[] =
    "UPDATE authority_state SET network = $1 "
    "WHERE id = 1 AND network = '00000000-0000-0000-0000-000000000000'";
// The first registration stands.
constexpr char kRegister[] =
    "INSERT INTO authority_principals "
    "VALUES ($1, $2, 0, 0, '00000000-0000-0000-0000-000000000000') ON CONFLICT DO NOTHING";
constexpr char kAttest[] =
    "UPDATE authority_principals SET kyc_level = $2, kyc_expires_us = $3, kyc_event = $4 "
    "WHERE principal = $1";
constexpr char kPause[] =
    "INSERT INTO authority_paused_agents VALUES ($1, $2) ON CONFLICT DO NOTHING";
constexpr char kResume[] = "DELETE FROM authority_paused_agents WHERE agent = $1";
// The agent's earlier mandate in the cooperative ends with the new one; no entry says so.
constexpr char kReplace[] =
    "UPDATE authority_mandates SET revoked = true "
    "WHERE agent = $1 AND cooperative = $2 AND NOT revoked";
constexpr char kGrant[] =
    "INSERT INTO authority_mandates VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, false) "
    "ON CONFLICT DO NOTHING";
constexpr char kRevoke[] = "UPDATE authority_mandates SET revoked = true WHERE mandate = $1";
constexpr char kLeave[] = "INSERT INTO authority_left VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
constexpr char kConsent[] =
    "DELETE FROM authority_left WHERE cooperative = $1 AND principal = $2";
constexpr char kSetParameter[] =
    "INSERT INTO authority_parameters AS p (name, value, log_index) "
    "SELECT $1, $2, $3 FROM authority_state WHERE network = $4 "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value, log_index = excluded.log_index";

static absl::Status Apply(pg::Transaction& tx, const LogEntry& logged,
                          const crypto::Entry& entry) {
  const Uuid& subject = entry.subject;
  switch (entry.kind) {
    case kind::kCooperativeFounded:
      return tx.Exec(kSetNetwork, subject).status();
    case kind::kPrincipalRegistered:
      return tx.Exec(kRegister, subject, entry.event_id).status();
    case kind::kKycAttested:
      return tx
          .Exec(kAttest, subject, std::clamp<int64_t>(NumberOr(entry, tag::kKycLevel, 0), 0, 3),
                NumberOr(entry, tag::kExpiresUs, 0), entry.event_id)
          .status();
    case kind::kAgentPaused:
      return tx.Exec(kPause, subject, logged.index).status();
    case kind::kAgentResumed:
      return tx.Exec(kResume, subject).status();
    case kind::kMandateGranted: {
      ASSIGN_OR_RETURN(const Uuid principal, entry.IdAt(tag::kPrincipal));
      ASSIGN_OR_RETURN(const Uuid agent, entry.IdAt(tag::kAgent));
      const auto accounts = entry.Bytes(tag::kCounterparties);
      RETURN_IF_ERROR(tx.Exec(kReplace, agent, entry.cooperative).status());
      return tx
          .Exec(kGrant, subject, entry.event_id, entry.cooperative, principal, agent,
                NumberOr(entry, tag::kActions, 0), NumberOr(entry, tag::kNotBeforeUs, 0),
                NumberOr(entry, tag::kExpiresUs, 0), NumberOr(entry, tag::kBudgetPerDay, 0),
                NumberOr(entry, tag::kBudgetTotal, 0),
                pg::Bytes{accounts.ok() ? *accounts : absl::string_view()})
          .status();
    }
    case kind::kMandateRevoked:
      return tx.Exec(kRevoke, subject).status();
    case kind::kMembershipLeft:
      return tx.Exec(kLeave, entry.cooperative, subject, logged.index).status();
    case kind::kMembershipConsented:
      return tx.Exec(kConsent, entry.cooperative, subject).status();
    case kind::kParameterChanged: {
      ASSIGN_OR_RETURN(const absl::string_view name, entry.Text(tag::kParameter));
      ASSIGN_OR_RETURN(const absl::string_view value, entry.Text(tag::kValue));
      if (!absl::StartsWith(name, "ledger.")) return absl::OkStatus();
      return tx.Exec(kSetParameter, name, value, logged.index, entry.cooperative).status();
    }
    default:
      return absl::OkStatus();
  }
}

absl::Status ApplyAuthority(pg::Transaction& tx, const std::vector<LogEntry>& entries) {
  for (const LogEntry& logged : entries) {
    if (!BearsOnAuthority(logged)) continue;
    ASSIGN_OR_RETURN(const crypto::Entry entry, crypto::DecodeEntry(logged.leaf));
    RETURN_IF_ERROR(Apply(tx, logged, entry));
  }
  return absl::OkStatus();
}

constexpr char kSaveCompleteUntil[] =
    "UPDATE authority_state SET complete_until_us = greatest(complete_until_us, $1) WHERE id = 1";

absl::Status SaveCompleteUntil(pg::Transaction& tx, int64_t complete_until_us) {
  return tx.Exec(kSaveCompleteUntil, complete_until_us).status();
}

}  // namespace rochdale::ledger
