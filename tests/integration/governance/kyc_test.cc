// KYC levels: who attests them, for how long, and that none comes back.
#include <catch2/catch.hpp>
#include <thread>

#include "libs/crypto/entry_kinds.h"
#include "tests/integration/governance/world.h"

namespace rochdale::governance::testing {
namespace {

using Fields = std::vector<std::string>;
namespace kind = crypto::kind;
namespace tag = crypto::tag;

// The principal as the filter sees it.
v1::Principal PrincipalOf(World& w, const Person& person) {
  v1::GetPrincipalRequest get;
  get.set_principal_id(person.id.ToString());
  return w.filter->Ok(&Stub::GetPrincipal, get).principal();
}

struct FoundedWorld : World {
  explicit FoundedWorld(GovernanceOptions options = {}) : World(std::move(options)) {
    founder = NewPrincipal();
    first = Found("first", founder);
    ada = NewPrincipal();
  }
  std::string Attest(const v1::KycAttestation& attestation, const crypto::KeyPair& verifier) {
    return anyone->Reason(&Stub::AttestKyc, Attesting(attestation, verifier));
  }
  uint32_t LevelOfAda() { return PrincipalOf(*this, ada).kyc_level(); }

  Person founder, ada;
  v1::Cooperative first;
};

TEST_CASE("a verifier's attestation is in force and in the log", "[governance]") {
  FoundedWorld w;
  const int before = w.f.OutboxRows();
  const auto request = w.Attesting(w.Attestation(w.ada, 2), w.founder.key);
  const v1::Principal made = w.anyone->Ok(&Stub::AttestKyc, request).principal();
  CHECK(made.kyc_level() == 2);
  CHECK(made.display_name().empty());  // anybody may hand the document in
  CHECK(w.LevelOfAda() == 2);
  REQUIRE(w.f.OutboxRows() == before + 1);
  const crypto::Entry entry = w.f.Outbox().back();
  CHECK(entry.kind == kind::kKycAttested);
  CHECK(entry.subject == w.ada.id.value);
  CHECK(entry.authorised_by.ToString() == w.first.entry().event_id());
  CHECK(entry.event_id.ToString() == made.kyc_entry().event_id());
  CHECK(entry.Find(tag::kKycLevel)->number == 2);
  CHECK(entry.Find(tag::kExpiresUs)->number == static_cast<uint64_t>(made.kyc_expires_us()));
  CHECK(made.kyc_expires_us() > w.f.NowUs());
  CHECK(entry.Find(tag::kPublicKey)->data == w.founder.key.public_key().AsBytes());

  // The same request again: once. The same document under another request: it is known.
  CHECK(w.anyone->Ok(&Stub::AttestKyc, request).principal().SerializeAsString() ==
        made.SerializeAsString());
  auto replayed = request;
  replayed.set_request_id(w.f.NewId());
  CHECK(w.anyone->Reason(&Stub::AttestKyc, replayed) == "KYC_ATTESTATION_STALE");
  auto changed = w.Attesting(w.Attestation(w.ada, 3), w.founder.key);
  changed.set_request_id(request.request_id());
  CHECK(w.anyone->Reason(&Stub::AttestKyc, changed) == "REQUEST_ID_REUSED");
  CHECK(w.f.OutboxRows() == before + 1);
  CHECK(w.LevelOfAda() == 2);
}

TEST_CASE("an attestation names the beneficial owners, who do not expire", "[governance]") {
  FoundedWorld w;
  const std::string one(64, 'a'), two(64, '1');
  v1::KycAttestation attestation = w.Attestation(w.ada, 0);
  attestation.add_beneficial_owners(one);
  attestation.add_beneficial_owners(two);
  attestation.set_expires_us(w.f.NowUs() + 1'000'000);
  CHECK(w.Attest(attestation, w.founder.key) == "OK");
  const Fields owners = {two, one};  // increasing, in whatever order they were signed
  const auto of = [&](const v1::Principal& principal) {
    return Fields(principal.beneficial_owners().begin(), principal.beneficial_owners().end());
  };
  CHECK(of(PrincipalOf(w, w.ada)) == owners);
  const crypto::Entry entry = w.f.Outbox().back();
  REQUIRE(entry.Find(tag::kOwners) != nullptr);
  CHECK(entry.Find(tag::kOwners)->data == std::string(32, '\x11') + std::string(32, '\xaa'));
  CHECK(crypto::CheckKind(entry).ok());
  w.f.clock.Advance(absl::Hours(1));
  CHECK(of(PrincipalOf(w, w.ada)) == owners);

  // A later one replaces them all.
  CHECK(w.Attest(w.Attestation(w.ada, 1), w.founder.key) == "OK");
  CHECK(of(PrincipalOf(w, w.ada)).empty());
  CHECK(w.f.Outbox().back().Find(tag::kOwners) == nullptr);

  const auto bad = [&](const Fields& named) {
    v1::KycAttestation wrong = w.Attestation(w.ada, 1);
    for (const std::string& owner : named) wrong.add_beneficial_owners(owner);
    return w.anyone->BadFields(&Stub::AttestKyc, w.Attesting(wrong, w.founder.key));
  };
  CHECK(bad({one, "ada", std::string(64, 'A')}) ==
        Fields{"beneficial_owners[1]", "beneficial_owners[2]", "beneficial_owners[2]"});
  CHECK(bad({one, one}) == Fields{"beneficial_owners[1]"});
  CHECK(bad(Fields(17, one)) == Fields{"beneficial_owners"});
}

TEST_CASE("whoever asks for an agent's authority hears of the owners", "[governance]") {
  FoundedWorld w;
  const Person member = w.NewMember(w.first);
  const Agent agent = w.NewAgent(member);
  w.Grant(w.first, member, agent);
  const auto authority = [&] { return w.Authority(w.first.cooperative_id(), agent.id); };
  CHECK(authority().allowed());
  CHECK(authority().beneficial_owners_size() == 0);
  CHECK_FALSE(authority().has_attestation_entry());
  v1::KycAttestation attestation = w.Attestation(member, 1);
  attestation.add_beneficial_owners(std::string(64, 'c'));
  CHECK(w.Attest(attestation, w.founder.key) == "OK");
  REQUIRE(authority().beneficial_owners_size() == 1);
  CHECK(authority().beneficial_owners(0) == std::string(64, 'c'));
  CHECK(authority().attestation_entry().event_id() ==
        w.f.Outbox().back().event_id.ToString());
}

TEST_CASE("only registered verifiers attest", "[governance]") {
  FoundedWorld w;
  const Person later = w.NewPrincipal();
  w.Found("later", later);
  const int before = w.f.OutboxRows();
  // Oneself, somebody, and the founder of a cooperative that is not the first.
  for (const Person& signer : {w.ada, Person(), later}) {
    CHECK(w.Attest(w.Attestation(w.ada, 3), signer.key) == "KYC_VERIFIER_UNKNOWN");
  }
  // Forged: a verifier's name on another's signature; a changed level.
  auto forged = w.Attesting(w.Attestation(w.ada, 3), w.ada.key);
  forged.mutable_attestation()->set_public_key(
      std::string(w.founder.key.public_key().AsBytes()));
  CHECK(w.anyone->Reason(&Stub::AttestKyc, forged) == "SIGNATURE_INVALID");
  auto altered = w.Attesting(w.Attestation(w.ada, 1), w.founder.key);
  std::string& body = *altered.mutable_attestation()->mutable_body();
  body.replace(body.find("\"level\":1"), 9, "\"level\":3");
  CHECK(w.anyone->Reason(&Stub::AttestKyc, altered) == "SIGNATURE_INVALID");
  // Another document of the verifier is no attestation.
  v1::AttestKycRequest other;
  other.set_request_id(w.f.NewId());
  *other.mutable_attestation() = w.Registering(w.founder).registration();
  CHECK(w.anyone->Reason(&Stub::AttestKyc, other) == "DOCUMENT_INVALID");
  CHECK(w.Attest(w.Attestation(Person{{w.f.ids.New(w.f.clock.Now())}}, 1), w.founder.key) ==
        "NOT_FOUND");
  CHECK(w.f.OutboxRows() == before);
  CHECK(w.LevelOfAda() == 0);
}

TEST_CASE("before anything is founded nobody attests", "[governance]") {
  World w;
  const Person ada = w.NewPrincipal();
  CHECK(w.anyone->Reason(&Stub::AttestKyc, w.Attesting(w.Attestation(ada, 1), ada.key)) ==
        "KYC_VERIFIER_UNKNOWN");
}

TEST_CASE("configured verifiers take the place of the founders", "[governance]") {
  const crypto::KeyPair verifier = rochdale::testing::NewKey();
  GovernanceOptions options;
  options.kyc_verifiers = {verifier.public_key()};
  FoundedWorld w(options);
  CHECK(w.Attest(w.Attestation(w.ada, 3), w.founder.key) == "KYC_VERIFIER_UNKNOWN");
  CHECK(w.Attest(w.Attestation(w.ada, 3), verifier) == "OK");
  CHECK(w.LevelOfAda() == 3);
  // No entry made it a verifier: what is attested rests on the principal's registration.
  CHECK(w.f.Outbox().back().authorised_by.ToString() ==
        PrincipalOf(w, w.ada).entry().event_id());
}

TEST_CASE("a level ends when it expires", "[governance]") {
  FoundedWorld w;
  v1::KycAttestation attestation = w.Attestation(w.ada, 2);
  attestation.set_expires_us(w.f.NowUs() + 1'000'000);
  CHECK(w.Attest(attestation, w.founder.key) == "OK");
  w.f.clock.Advance(absl::Microseconds(999'999));
  CHECK(w.LevelOfAda() == 2);
  w.f.clock.Advance(absl::Microseconds(1));
  const v1::Principal expired = PrincipalOf(w, w.ada);
  CHECK(expired.kyc_level() == 0);
  CHECK(expired.kyc_expires_us() == attestation.expires_us());
  CHECK(w.Attest(w.Attestation(w.ada, 1), w.founder.key) == "OK");
  CHECK(w.LevelOfAda() == 1);
}

TEST_CASE("a level may fall, and no older document brings it back", "[governance]") {
  FoundedWorld w;
  const v1::KycAttestation high = w.Attestation(w.ada, 3);
  w.f.clock.Advance(absl::Seconds(1));
  const v1::KycAttestation unused = w.Attestation(w.ada, 2);
  w.f.clock.Advance(absl::Seconds(1));
  const v1::KycAttestation low = w.Attestation(w.ada, 0);
  CHECK(w.Attest(high, w.founder.key) == "OK");
  CHECK(w.LevelOfAda() == 3);
  CHECK(w.Attest(low, w.founder.key) == "OK");
  CHECK(w.LevelOfAda() == 0);
  CHECK(w.Attest(high, w.founder.key) == "KYC_ATTESTATION_STALE");
  CHECK(w.Attest(unused, w.founder.key) == "KYC_ATTESTATION_STALE");
  v1::KycAttestation same_time = low;
  same_time.set_level(3);
  CHECK(w.Attest(same_time, w.founder.key) == "KYC_ATTESTATION_STALE");
  CHECK(w.LevelOfAda() == 0);
}

TEST_CASE("a malformed attestation names every bad field", "[governance]") {
  FoundedWorld w;
  const auto bad = [&](const v1::KycAttestation& attestation) {
    return w.anyone->BadFields(&Stub::AttestKyc, w.Attesting(attestation, w.founder.key));
  };
  v1::KycAttestation wrong = w.Attestation(w.ada, 4);
  wrong.set_principal_id("?");
  wrong.set_expires_us(0);
  wrong.set_signed_time_us(-1);
  CHECK(bad(wrong) == Fields{"principal_id", "level", "expires_us", "signed_time_us"});
  wrong = w.Attestation(w.ada, 1);
  wrong.set_expires_us(wrong.signed_time_us());
  CHECK(bad(wrong) == Fields{"expires_us"});
  // Expired before it was handed in.
  wrong = w.Attestation(w.ada, 1);
  wrong.set_signed_time_us(w.f.NowUs() - 2);
  wrong.set_expires_us(w.f.NowUs());
  CHECK(bad(wrong) == Fields{"expires_us"});
  // So far ahead that no later one could ever follow.
  wrong = w.Attestation(w.ada, 1);
  wrong.set_signed_time_us(w.f.NowUs() + absl::ToInt64Microseconds(absl::Minutes(15)) + 1);
  CHECK(bad(wrong) == Fields{"signed_time_us"});
  wrong.set_signed_time_us(wrong.signed_time_us() - 1);
  CHECK(w.Attest(wrong, w.founder.key) == "OK");
}

TEST_CASE("of attestations at once the one signed last stands", "[governance]") {
  FoundedWorld w;
  std::vector<v1::AttestKycRequest> requests;
  for (int i = 0; i < 12; ++i) {
    v1::KycAttestation attestation = w.Attestation(w.ada, i == 11 ? 1 : 3);
    attestation.set_signed_time_us(attestation.signed_time_us() + i);
    requests.push_back(w.Attesting(attestation, w.founder.key));
  }
  std::vector<std::thread> threads;
  for (const auto& request : requests) {
    threads.emplace_back([&] { w.anyone->Reason(&Stub::AttestKyc, request); });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(w.LevelOfAda() == 1);
  // What the log shows last is what stands.
  CHECK(w.f.Outbox().back().Find(tag::kKycLevel)->number == 1);
}

}  // namespace
}  // namespace rochdale::governance::testing
