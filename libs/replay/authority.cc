#include "libs/replay/authority.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"

namespace rochdale::replay {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Entry;

constexpr int64_t kMoneyMax = 1'000'000'000'000'000;
constexpr int64_t kLevel1Daily = 100'000'000;     // where nothing else is governed
constexpr int64_t kLevel2Daily = 10'000'000'000;

// 0 where it is absent; a u64 as the same 64 bits.
int64_t NumberOr(const Entry& entry, uint16_t tag) {
  const crypto::Field* field = entry.Find(tag);
  return field == nullptr ? 0 : static_cast<int64_t>(field->number);
}

}  // namespace

bool Mandate::MayPay(const Uuid& account) const {
  const size_t count = counterparties.size() / 16;
  for (size_t i = 0; i < count; ++i) {
    if (absl::string_view(counterparties).substr(16 * i, 16) == account.AsBytes()) return true;
  }
  return count == 0;
}

absl::Status Authority::Apply(const Entry& entry, int64_t index) {
  const Uuid& subject = entry.subject;
  const Uuid& cooperative = entry.cooperative.value;
  switch (entry.kind) {
    case kind::kCooperativeFounded:
      if (network_.IsZero()) network_ = subject;
      return absl::OkStatus();
    case kind::kPrincipalRegistered:
      principals_.try_emplace(subject, Principal{entry.event_id.value});
      return absl::OkStatus();
    case kind::kKycAttested: {
      if (entry.U64(tag::kKycLevel).value_or(0) > 3) {
        return absl::DataLossError("there is no such KYC level");
      }
      const auto found = principals_.find(subject);
      if (found == principals_.end()) return absl::OkStatus();
      Principal& principal = found->second;
      principal.kyc_level = NumberOr(entry, tag::kKycLevel);
      principal.kyc_expires_us = NumberOr(entry, tag::kExpiresUs);
      principal.kyc_event = entry.event_id.value;
      return absl::OkStatus();
    }
    case kind::kAgentPaused:
      paused_.try_emplace(subject, index);
      return absl::OkStatus();
    case kind::kAgentResumed:
      paused_.erase(subject);
      return absl::OkStatus();
    case kind::kMandateGranted:
      return Grant(entry);
    case kind::kMandateRevoked: {
      const auto found = mandates_.find(subject);
      if (found != mandates_.end()) found->second.revoked = true;
      return absl::OkStatus();
    }
    case kind::kMembershipLeft:
      left_.try_emplace({cooperative, subject}, index);
      return absl::OkStatus();
    case kind::kMembershipConsented:
      left_.erase({cooperative, subject});
      return absl::OkStatus();
    case kind::kParameterChanged:
      SetParameter(entry, index);
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

// The agent's earlier mandate in the cooperative ends with the new one; a mandate that was granted
// before stays as it was first granted, and ended.
absl::Status Authority::Grant(const Entry& entry) {
  Mandate mandate;
  mandate.event = entry.event_id.value;
  mandate.cooperative = entry.cooperative.value;
  ASSIGN_OR_RETURN(mandate.principal, entry.IdAt(tag::kPrincipal));
  ASSIGN_OR_RETURN(mandate.agent, entry.IdAt(tag::kAgent));
  mandate.actions = NumberOr(entry, tag::kActions);
  mandate.not_before_us = NumberOr(entry, tag::kNotBeforeUs);
  mandate.expires_us = NumberOr(entry, tag::kExpiresUs);
  mandate.budget_day = NumberOr(entry, tag::kBudgetPerDay);
  mandate.budget_total = NumberOr(entry, tag::kBudgetTotal);
  const crypto::Field* counterparties = entry.Find(tag::kCounterparties);
  if (counterparties != nullptr) mandate.counterparties = counterparties->data;
  const std::pair where(mandate.agent, mandate.cooperative);
  const auto before = current_.find(where);
  if (before != current_.end()) mandates_[before->second].revoked = true;
  if (mandates_.try_emplace(entry.subject, std::move(mandate)).second) {
    current_[where] = entry.subject;
  }
  return absl::OkStatus();
}

void Authority::SetParameter(const Entry& entry, int64_t index) {
  const auto name = entry.Text(tag::kParameter), value = entry.Text(tag::kValue);
  if (!name.ok() || !value.ok() || !absl::StartsWith(*name, "ledger.")) return;
  if (entry.cooperative.value != network_) return;
  parameters_.insert_or_assign(std::string(*name), Parameter{std::string(*value), index});
}

const Principal* Authority::FindPrincipal(const Uuid& id) const {
  const auto found = principals_.find(id);
  return found == principals_.end() ? nullptr : &found->second;
}

const Mandate* Authority::FindMandate(const Uuid& id) const {
  const auto found = mandates_.find(id);
  return found == mandates_.end() ? nullptr : &found->second;
}

// A value that is no amount leaves what holds without one.
int64_t Authority::Amount(absl::string_view parameter, int64_t otherwise) const {
  const auto found = parameters_.find(parameter);
  int64_t amount = 0;
  const bool good = found != parameters_.end() && absl::SimpleAtoi(found->second.value, &amount) &&
                    absl::StrCat(amount) == found->second.value && amount >= 0 &&
                    amount <= kMoneyMax;
  return good ? amount : otherwise;
}

std::optional<int64_t> Authority::DailyLimit(int64_t kyc_level) const {
  if (kyc_level <= 0) return 0;
  if (kyc_level == 1) return Amount("ledger.kyc_l1_daily_micro", kLevel1Daily);
  if (kyc_level == 2) return Amount("ledger.kyc_l2_daily_micro", kLevel2Daily);
  return std::nullopt;
}

}  // namespace rochdale::replay
