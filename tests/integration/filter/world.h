// A running filter in a cooperative with a founder, and trainers who have a profile and a mandate.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rochdale/filter/v1/filter.grpc.pb.h"
#include "services/filter/module.h"
#include "tests/support/fake_governance.h"
#include "tests/support/fake_ledger.h"
#include "tests/support/service_fixture.h"

namespace rochdale::filter::testing {

namespace v1 = ::rochdale::filter::v1;
namespace common_v1 = ::rochdale::common::v1;
using Stub = v1::FilterService::Stub;
using rochdale::testing::Agent;
using rochdale::testing::Client;
using rochdale::testing::Eventually;
using rochdale::testing::Person;
using rochdale::testing::Sign;

// Deltas of the model of these tests: one tensor "w" of 16 numbers.
std::string Delta(const std::vector<float>& first);            // the others are 0
std::string DeltaOf(const std::string& name, int64_t elements, float value);
// A probe of `rows` rows of two pixels.
std::string ProbeRows(int64_t rows, uint8_t seed = 0);
std::string Sha256Hex(const std::string& bytes);

// A principal with its agent.
struct Trainer {
  Person person;
  Agent agent;
};

struct World {
  World();
  ~World() { f.Stop(); }

  Trainer NewTrainer();  // a member, with a mandate and a profile
  // `owners`: attested, by the entry `attestation`.
  void Authorise(const Agent& agent, const std::string& refusal = "", bool publishes = true,
                 const std::vector<std::string>& owners = {}, const std::string& attestation = "");
  v1::ValueProfile Profile(const Person& person, int64_t version);
  v1::SetProfileRequest Setting(const v1::ValueProfile& profile, const Person& signer);

  // Uploads as somebody; the digest.
  template <typename Who>
  std::string Upload(const Who& who, common_v1::BlobPurpose purpose, const std::string& bytes) {
    auto client = f.As<Stub>(who);
    return UploadWith(client, purpose, bytes);
  }
  std::string UploadWith(Client<Stub>& client, common_v1::BlobPurpose purpose,
                         const std::string& bytes);
  // The reason, or the bytes.
  absl::StatusOr<std::string> Download(Client<Stub>& client, const std::string& sha256,
                                       int64_t offset = 0);

  // A registered probe of the person's own, or of the cooperative.
  v1::Probe ProbeOf(const Person& person, const std::string& rows);
  v1::RegisterProbeRequest Registering(const Person& person, const std::string& sha256,
                                       const std::string& owner, const std::string& id = "");

  // Opens round `number` for commitments, for one hour.
  v1::OpenScreeningRequest Opening(int64_t number);
  std::string Open(int64_t number, const std::vector<v1::ProbeGradient>& gradients = {});
  v1::SetIntakeStateRequest Moving(const std::string& round, v1::IntakeState state);
  v1::SetIntakeStateResponse Move(const std::string& round, v1::IntakeState state);
  v1::UpdateCommitment Commitment(const std::string& round, const Trainer& who,
                                  const std::string& delta);
  v1::CommitUpdateRequest Committing(const v1::UpdateCommitment& commitment, const Agent& agent);
  v1::RevealUpdateRequest Revealing(const std::string& update);
  // Commits and uploads; the update's id.
  std::string Commit(const std::string& round, const Trainer& who, const std::string& delta);
  std::string Reveal(const Trainer& who, const std::string& update);  // the reason, or OK
  v1::ScreenRoundRequest Screening(const std::string& round);
  v1::DecideRoundRequest Deciding(const std::string& round);
  v1::Update UpdateOf(const std::string& update);

  rochdale::testing::FakeGovernance governance;
  rochdale::testing::FakeLedger ledger;
  rochdale::testing::ServiceFixture f;
  Person founder;
  std::string cooperative;
  governance::v1::Cooperative rules;  // as governance has it
  std::string base = std::string(64, 'b');
  std::unique_ptr<Client<Stub>> attribution, payout;
};

}  // namespace rochdale::filter::testing
