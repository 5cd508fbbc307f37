#include "tests/integration/filter/world.h"

#include <grpcpp/client_context.h>

#include "libs/blob/transfer.h"
#include "libs/crypto/sha256.h"
#include "libs/rpc/status.h"
#include "libs/tensor/flat.h"
#include "services/filter/migrations.h"

namespace rochdale::filter::testing {

std::string DeltaOf(const std::string& name, int64_t elements, float value) {
  const auto manifest =
      tensor::TensorManifest::Create({{name, tensor::DType::kF32, {elements}}}).value();
  return tensor::SerializeFlatF32(manifest, std::vector<float>(elements, value)).value();
}

std::string Delta(const std::vector<float>& first) {
  const auto manifest = tensor::TensorManifest::Create({{"w", tensor::DType::kF32, {16}}}).value();
  std::vector<float> values = first;
  values.resize(16, 0.0f);
  return tensor::SerializeFlatF32(manifest, values).value();
}

std::string ProbeRows(int64_t rows, uint8_t seed) {
  const std::vector<uint8_t> inputs(rows * 2, seed), labels(rows, 1);
  const tensor::SafetensorsView::Tensor tensors[] = {
      {{"inputs", tensor::DType::kU8, {rows, 2}}, inputs},
      {{"labels", tensor::DType::kU8, {rows}}, labels}};
  return tensor::Serialize(tensors).value();
}

std::string Sha256Hex(const std::string& bytes) { return crypto::Sha256(bytes).ToString(); }

World::World() : f("filter", {Migrations()}), founder(f.NewPerson()), cooperative(f.NewId()) {
  rules.set_cooperative_id(cooperative);
  rules.add_founder_public_keys(founder.key.public_key().ToString());
  rules.set_rules_version(1);
  governance.SetCooperative(rules);
  f.AddFake("governance", &governance);
  f.AddFake("ledger", &ledger);
  f.Serve(FilterModule::Make(f.environment()).value());
  attribution = std::make_unique<Client<Stub>>(f.AsService<Stub>("attribution"));
  payout = std::make_unique<Client<Stub>>(f.AsService<Stub>("payout"));
}

void World::Authorise(const Agent& agent, const std::string& refusal, bool publishes,
                      const std::vector<std::string>& owners, const std::string& attestation) {
  governance::v1::CheckAuthorityResponse answer;
  answer.set_allowed(refusal.empty());
  answer.set_reason(refusal);
  answer.set_principal_id(agent.principal.ToString());
  answer.set_mandate_id(f.NewId());
  answer.mutable_mandate_entry()->set_event_id(f.NewId());
  answer.set_consents_to_publication(publishes);
  for (const std::string& owner : owners) answer.add_beneficial_owners(Sha256Hex(owner));
  if (!owners.empty()) answer.mutable_attestation_entry()->set_event_id(attestation);
  governance.SetAuthority(agent.id.ToString(), answer);
}

v1::ValueProfile World::Profile(const Person& person, int64_t version) {
  v1::ValueProfile profile;
  profile.set_cooperative_id(cooperative);
  profile.set_principal_id(person.id.ToString());
  profile.set_version(version);
  profile.add_focus("things");
  return profile;
}

v1::SetProfileRequest World::Setting(const v1::ValueProfile& profile, const Person& signer) {
  v1::SetProfileRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_profile() = Sign(signer.key, profile);
  return request;
}

Trainer World::NewTrainer() {
  Trainer trainer{f.NewPerson(), {}};
  trainer.agent = f.NewAgent(trainer.person);
  governance.SetMember(cooperative, trainer.person.id.ToString(), true);
  Authorise(trainer.agent);
  f.As<Stub>(trainer.person)
      .Ok(&Stub::SetProfile, Setting(Profile(trainer.person, 1), trainer.person));
  return trainer;
}

std::string World::UploadWith(Client<Stub>& client, common_v1::BlobPurpose purpose,
                              const std::string& bytes) {
  blob::BlobCalls calls;
  calls.begin = [&](const common_v1::BeginUploadRequest& request, common_v1::Upload* response) {
    auto begun = client.Call(&Stub::BeginUpload, request);
    if (begun.ok()) *response = *begun;
    return begun.status();
  };
  calls.upload = [&](grpc::ClientContext* context, common_v1::Upload* response) {
    return client.stub().UploadBlob(context, response);
  };
  calls.prepare = [&](grpc::ClientContext& context) { client.Prepare(context); };
  const auto digest = blob::UploadBytes(calls, f.NewId(), purpose, bytes);
  if (!digest.ok()) throw std::runtime_error(digest.status().ToString());
  return digest->ToString();
}

absl::StatusOr<std::string> World::Download(Client<Stub>& client, const std::string& sha256,
                                            int64_t offset) {
  common_v1::DownloadBlobRequest request;
  request.set_sha256(sha256);
  request.set_offset_bytes(offset);
  const auto context = client.Context();
  auto reader = client.stub().DownloadBlob(context.get(), request);
  std::string bytes;
  common_v1::BlobChunk chunk;
  while (reader->Read(&chunk)) bytes += chunk.data();
  const absl::Status status = rpc::FromGrpc(reader->Finish());
  if (!status.ok()) return status;
  return bytes;
}

v1::RegisterProbeRequest World::Registering(const Person& person, const std::string& sha256,
                                            const std::string& owner, const std::string& id) {
  v1::Probe probe;
  probe.set_probe_id(id.empty() ? f.NewId() : id);
  probe.set_cooperative_id(cooperative);
  probe.set_principal_id(owner);
  probe.set_name("a probe");
  probe.set_data_sha256(sha256);
  v1::RegisterProbeRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_registration() = Sign(person.key, probe);
  return request;
}

v1::Probe World::ProbeOf(const Person& person, const std::string& rows) {
  const std::string sha256 = Upload(person, common_v1::BLOB_PURPOSE_PROBE, rows);
  const std::string owner = person.id == founder.id ? "" : person.id.ToString();
  return f.As<Stub>(person)
      .Ok(&Stub::RegisterProbe, Registering(person, sha256, owner))
      .probe();
}

v1::OpenScreeningRequest World::Opening(int64_t number) {
  v1::OpenScreeningRequest request;
  request.set_request_id(f.NewId());
  request.set_round_id(f.NewId());
  request.set_cooperative_id(cooperative);
  request.set_round_number(number);
  request.set_base_sha256(base);
  v1::TensorShape& shape = *request.add_manifest();
  shape.set_name("w");
  shape.add_dimensions(16);
  request.mutable_authorised_by()->set_event_id(f.NewId());
  request.set_deadline_us(f.NowUs() + absl::ToInt64Microseconds(absl::Hours(1)));
  return request;
}

std::string World::Open(int64_t number, const std::vector<v1::ProbeGradient>& gradients) {
  v1::OpenScreeningRequest request = Opening(number);
  for (const v1::ProbeGradient& gradient : gradients) *request.add_gradients() = gradient;
  attribution->Ok(&Stub::OpenScreening, request);
  return request.round_id();
}

v1::SetIntakeStateRequest World::Moving(const std::string& round, v1::IntakeState state) {
  v1::SetIntakeStateRequest request;
  request.set_request_id(f.NewId());
  request.set_round_id(round);
  request.set_state(state);
  request.set_deadline_us(f.NowUs() + absl::ToInt64Microseconds(absl::Hours(1)));
  return request;
}

v1::SetIntakeStateResponse World::Move(const std::string& round, v1::IntakeState state) {
  return attribution->Ok(&Stub::SetIntakeState, Moving(round, state));
}

v1::UpdateCommitment World::Commitment(const std::string& round, const Trainer& who,
                                       const std::string& delta) {
  v1::UpdateCommitment commitment;
  commitment.set_update_id(f.NewId());
  commitment.set_round_id(round);
  commitment.set_agent_id(who.agent.id.ToString());
  commitment.set_base_sha256(base);
  commitment.set_update_sha256(Sha256Hex(delta));
  commitment.set_size_bytes(static_cast<int64_t>(delta.size()));
  commitment.set_sample_count(100);
  return commitment;
}

v1::CommitUpdateRequest World::Committing(const v1::UpdateCommitment& commitment,
                                          const Agent& agent) {
  v1::CommitUpdateRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_commitment() = Sign(agent.key, commitment);
  return request;
}

v1::RevealUpdateRequest World::Revealing(const std::string& update) {
  v1::RevealUpdateRequest request;
  request.set_request_id(f.NewId());
  request.set_update_id(update);
  return request;
}

std::string World::Commit(const std::string& round, const Trainer& who, const std::string& delta) {
  Upload(who.agent, common_v1::BLOB_PURPOSE_UPDATE, delta);
  return f.As<Stub>(who.agent)
      .Ok(&Stub::CommitUpdate, Committing(Commitment(round, who, delta), who.agent))
      .update()
      .update_id();
}

std::string World::Reveal(const Trainer& who, const std::string& update) {
  return f.As<Stub>(who.agent).Reason(&Stub::RevealUpdate, Revealing(update));
}

v1::ScreenRoundRequest World::Screening(const std::string& round) {
  v1::ScreenRoundRequest request;
  request.set_request_id(f.NewId());
  request.set_round_id(round);
  return request;
}

v1::DecideRoundRequest World::Deciding(const std::string& round) {
  v1::DecideRoundRequest request;
  request.set_request_id(f.NewId());
  request.set_round_id(round);
  request.set_evidence_sha256(std::string(64, 'e'));
  return request;
}

v1::Update World::UpdateOf(const std::string& update) {
  v1::GetUpdateRequest request;
  request.set_update_id(update);
  return attribution->Ok(&Stub::GetUpdate, request).update();
}

}  // namespace rochdale::filter::testing
