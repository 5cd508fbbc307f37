#include "services/governance/rules.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"

namespace rochdale::governance {

MembershipState EffectiveState(const Member& member, int64_t current_rules_version) {
  if (member.state == MembershipState::kMember && member.rules_version < current_rules_version) {
    return MembershipState::kConsentOutdated;
  }
  return member.state;
}

Authority CheckAuthority(const AuthorityFacts& facts, int action, absl::Time now) {
  if (!facts.agent) return {false, "NOT_FOUND"};
  if (facts.agent->paused) return {false, "AGENT_PAUSED"};
  if (!facts.member) return {false, "NOT_A_MEMBER"};
  switch (EffectiveState(*facts.member, facts.rules_version)) {
    case MembershipState::kMember:
      break;
    case MembershipState::kConsentOutdated:
      return {false, "CONSENT_OUTDATED"};
    default:
      return {false, "NOT_A_MEMBER"};
  }
  const std::optional<Mandate>& mandate = facts.mandate;
  if (!mandate || mandate->IsRevoked() || mandate->agent != facts.agent->id ||
      mandate->principal != facts.agent->principal ||
      std::find(mandate->actions.begin(), mandate->actions.end(), action) ==
          mandate->actions.end()) {
    return {false, "MANDATE_MISSING"};
  }
  if (now < mandate->not_before) return {false, "MANDATE_MISSING"};
  if (now >= mandate->expires) return {false, "MANDATE_EXPIRED"};
  return {true, ""};
}

int KycLevelAt(const Kyc& kyc, absl::Time now) { return now < kyc.expires ? kyc.level : 0; }

absl::Status MayAttest(const Kyc& last, const Kyc& wanted) {
  if (wanted.signed_at > last.signed_at) return absl::OkStatus();
  return Error("KYC_ATTESTATION_STALE",
               "an attestation that was signed at the same time or later is known");
}

absl::Status CheckMandateLimits(const Mandate& mandate, const config::ParameterSet& parameters) {
  FieldErrors errors;
  const absl::Duration longest = parameters.Duration("mandate.max_duration_ms");
  if (mandate.expires - mandate.not_before > longest) {
    errors.Add("expires_us", absl::StrCat("at most ", absl::FormatDuration(longest),
                                          " after not_before_us"));
  }
  const int64_t deepest = parameters.Int("mandate.max_delegation_depth");
  if (mandate.delegation_depth > deepest) {
    errors.Add("delegation_depth", absl::StrCat("at most ", deepest));
  }
  return errors.ToStatus();
}

absl::Status MayRequest(const std::optional<Member>& member) {
  if (member && member->state != MembershipState::kLeft) {
    return Error("MEMBERSHIP_STATE", "the principal has asked to join already");
  }
  return absl::OkStatus();
}

absl::Status MayApprove(const std::optional<Member>& member) {
  if (!member || member->state != MembershipState::kRequested) {
    return Error("MEMBERSHIP_STATE", "there is no open application to approve");
  }
  return absl::OkStatus();
}

absl::Status MayConsent(const std::optional<Member>& member, int64_t consented_version,
                        int64_t current_version) {
  if (!member || (member->state != MembershipState::kApproved &&
                  member->state != MembershipState::kMember)) {
    return Error("MEMBERSHIP_STATE", "the membership is not approved");
  }
  if (consented_version != current_version) {
    return Error("CONSENT_OUTDATED", "the consent names another version than the current rules");
  }
  return absl::OkStatus();
}

absl::Status MayLeave(const std::optional<Member>& member) {
  if (!member || member->state == MembershipState::kLeft) {
    return Error("MEMBERSHIP_STATE", "there is no membership to leave");
  }
  return absl::OkStatus();
}

}  // namespace rochdale::governance
