#include "services/governance/rules.h"

#include <catch2/catch.hpp>

#include "libs/base/errors.h"

namespace rochdale::governance {
namespace {

constexpr int kAction = 1;
const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

Uuid IdOf(uint8_t last) {
  Uuid id;
  id.bytes[15] = last;
  return id;
}

AuthorityFacts Allowed() {
  AuthorityFacts facts;
  facts.rules_version = 3;
  facts.agent = Agent{AgentId{IdOf(1)}, PrincipalId{IdOf(2)}};
  facts.member = Member{CooperativeId{IdOf(3)}, PrincipalId{IdOf(2)}, MembershipState::kMember, 3};
  facts.mandate = Mandate{MandateId{IdOf(4)}, CooperativeId{IdOf(3)}, PrincipalId{IdOf(2)},
                          AgentId{IdOf(1)}, {}, {kAction}, kNow, kNow + absl::Seconds(1)};
  return facts;
}

TEST_CASE("authority: every reason, and which one comes first", "[governance]") {
  struct Row {
    const char* reason;
    void (*spoil)(AuthorityFacts&);
  };
  // In the order of precedence: with all later faults too, the first is still the answer.
  const Row rows[] = {
      {"NOT_FOUND", [](AuthorityFacts& f) { f.agent.reset(); }},
      {"AGENT_PAUSED", [](AuthorityFacts& f) { f.agent->paused = true; }},
      {"NOT_A_MEMBER", [](AuthorityFacts& f) { f.member->state = MembershipState::kApproved; }},
      {"CONSENT_OUTDATED", [](AuthorityFacts& f) { f.member->rules_version = 2; }},
      {"MANDATE_MISSING", [](AuthorityFacts& f) { f.mandate->actions = {2, 3}; }},
      {"MANDATE_EXPIRED", [](AuthorityFacts& f) { f.mandate->expires = kNow; }},
  };
  CHECK(CheckAuthority(Allowed(), kAction, kNow).allowed);
  for (size_t first = 0; first < std::size(rows); ++first) {
    CAPTURE(rows[first].reason);
    AuthorityFacts alone = Allowed();
    rows[first].spoil(alone);
    CHECK_FALSE(CheckAuthority(alone, kAction, kNow).allowed);
    CHECK(CheckAuthority(alone, kAction, kNow).reason == rows[first].reason);
    AuthorityFacts all = Allowed();
    for (size_t i = std::size(rows); i-- > first;) rows[i].spoil(all);
    CHECK(CheckAuthority(all, kAction, kNow).reason == rows[first].reason);
  }
}

TEST_CASE("a KYC level holds until just before it expires", "[governance]") {
  const Kyc kyc{2, kNow, kNow - absl::Hours(1)};
  CHECK(KycLevelAt(kyc, kNow - absl::Microseconds(1)) == 2);
  CHECK(KycLevelAt(kyc, kNow) == 0);
  CHECK(KycLevelAt(Kyc(), kNow) == 0);
}

TEST_CASE("an attestation follows only one that was signed before it", "[governance]") {
  const Kyc last{1, kNow, kNow};
  const auto reason = [&](absl::Duration later) {
    const absl::Status status = MayAttest(last, {3, kNow, kNow + later});
    return status.ok() ? "" : ReasonOf(status);
  };
  CHECK(reason(absl::Microseconds(1)) == "");
  CHECK(reason(absl::ZeroDuration()) == "KYC_ATTESTATION_STALE");
  CHECK(reason(-absl::Microseconds(1)) == "KYC_ATTESTATION_STALE");
  // The first one, whenever it was signed.
  CHECK(MayAttest(Kyc(), {1, kNow, absl::UnixEpoch() + absl::Microseconds(1)}).ok());
}

TEST_CASE("authority: a mandate holds from not_before to just before expires", "[governance]") {
  const AuthorityFacts facts = Allowed();
  CHECK(CheckAuthority(facts, kAction, kNow - absl::Microseconds(1)).reason == "MANDATE_MISSING");
  CHECK(CheckAuthority(facts, kAction, kNow).allowed);
  CHECK(CheckAuthority(facts, kAction, kNow + absl::Seconds(1) - absl::Microseconds(1)).allowed);
  CHECK(CheckAuthority(facts, kAction, kNow + absl::Seconds(1)).reason == "MANDATE_EXPIRED");
}

TEST_CASE("authority: what a mandate must match", "[governance]") {
  for (const auto spoil : {+[](AuthorityFacts& f) { f.mandate.reset(); },
                           +[](AuthorityFacts& f) { f.mandate->revoked = kNow; },
                           +[](AuthorityFacts& f) { f.mandate->agent = AgentId{IdOf(9)}; },
                           +[](AuthorityFacts& f) { f.mandate->principal = PrincipalId{IdOf(9)}; },
                           +[](AuthorityFacts& f) { f.mandate->actions.clear(); }}) {
    AuthorityFacts facts = Allowed();
    spoil(facts);
    CHECK(CheckAuthority(facts, kAction, kNow).reason == "MANDATE_MISSING");
  }
  AuthorityFacts stranger = Allowed();
  stranger.member.reset();
  CHECK(CheckAuthority(stranger, kAction, kNow).reason == "NOT_A_MEMBER");
}

TEST_CASE("a mandate keeps to the cooperative's limits", "[governance]") {
  config::ParameterSet parameters;
  REQUIRE(parameters.Set("mandate.max_duration_ms", "60000").ok());
  REQUIRE(parameters.Set("mandate.max_delegation_depth", "1").ok());
  Mandate mandate = *Allowed().mandate;
  mandate.expires = mandate.not_before + absl::Minutes(1);
  mandate.delegation_depth = 1;
  CHECK(CheckMandateLimits(mandate, parameters).ok());
  mandate.expires += absl::Microseconds(1);
  mandate.delegation_depth = 2;
  const auto violations = FieldViolationsOf(CheckMandateLimits(mandate, parameters));
  REQUIRE(violations.size() == 2);
  CHECK(violations[0].field == "expires_us");
  CHECK(violations[1].field == "delegation_depth");
}

TEST_CASE("membership: which step follows which state", "[governance]") {
  using S = MembershipState;
  struct Row {
    S state;  // kNone: no membership
    bool request, approve, consent, leave;
  };
  const Row rows[] = {
      {S::kNone, true, false, false, false},     {S::kRequested, false, true, false, true},
      {S::kApproved, false, false, true, true},  {S::kMember, false, false, true, true},
      {S::kLeft, true, false, false, false},
  };
  for (const Row& row : rows) {
    CAPTURE(static_cast<int>(row.state));
    std::optional<Member> member;
    if (row.state != S::kNone) member = Member{{}, {}, row.state, 1};
    const auto is = [](const absl::Status& status, bool ok) {
      return ok ? status.ok() : ReasonOf(status) == "MEMBERSHIP_STATE";
    };
    CHECK(is(MayRequest(member), row.request));
    CHECK(is(MayApprove(member), row.approve));
    CHECK(is(MayConsent(member, 1, 1), row.consent));
    CHECK(is(MayLeave(member), row.leave));
  }
  CHECK(ReasonOf(MayConsent(Member{{}, {}, S::kApproved}, 1, 2)) == "CONSENT_OUTDATED");
  CHECK(EffectiveState(Member{{}, {}, S::kMember, 1}, 2) == S::kConsentOutdated);
  CHECK(EffectiveState(Member{{}, {}, S::kMember, 2}, 2) == S::kMember);
  CHECK(EffectiveState(Member{{}, {}, S::kApproved, 0}, 2) == S::kApproved);
}

}  // namespace
}  // namespace rochdale::governance
