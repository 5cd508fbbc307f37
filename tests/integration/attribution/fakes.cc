#include "tests/integration/attribution/fakes.h"

#include "absl/strings/str_cat.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/sha256.h"

namespace rochdale::attribution::testing {

// ---- Governance ----

std::vector<governance_v1::GovernanceException> FakeGovernance::exceptions() {
  const std::lock_guard lock(mutex_);
  std::vector<governance_v1::GovernanceException> all;
  for (const auto& [id, exception] : exceptions_) all.push_back(exception);
  return all;
}

grpc::Status FakeGovernance::GetCooperative(grpc::ServerContext*,
                                            const governance_v1::GetCooperativeRequest*,
                                            governance_v1::GetCooperativeResponse* response) {
  governance_v1::Cooperative& out = *response->mutable_cooperative();
  out.set_cooperative_id(cooperative_id);
  for (const std::string& key : founders) out.add_founder_public_keys(key);
  for (const common_v1::Rule& rule : floor) *out.add_floor() = rule;
  return grpc::Status::OK;
}

grpc::Status FakeGovernance::GetParameters(grpc::ServerContext*,
                                           const governance_v1::GetParametersRequest*,
                                           governance_v1::GetParametersResponse* response) {
  for (const auto& [name, value] : parameters) {
    governance_v1::Parameter& one = *response->add_parameters();
    one.set_name(name);
    one.set_value(value);
  }
  response->set_version(1);
  return grpc::Status::OK;
}

grpc::Status FakeGovernance::GetMember(grpc::ServerContext*,
                                       const governance_v1::GetMemberRequest* request,
                                       governance_v1::GetMemberResponse* response) {
  if (!members.contains(request->principal_id())) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such member");
  }
  response->mutable_member()->set_state(governance_v1::MEMBERSHIP_STATE_MEMBER);
  return grpc::Status::OK;
}

grpc::Status FakeGovernance::ListMandates(grpc::ServerContext*,
                                          const governance_v1::ListMandatesRequest*,
                                          governance_v1::ListMandatesResponse* response) {
  for (const std::string& principal : principals) {
    governance_v1::Mandate& mandate = *response->add_mandates()->mutable_mandate();
    mandate.set_principal_id(principal);
    mandate.add_actions(governance_v1::MANDATE_ACTION_SUBMIT_UPDATE);
  }
  return grpc::Status::OK;
}

grpc::Status FakeGovernance::RaiseException(grpc::ServerContext*,
                                            const governance_v1::RaiseExceptionRequest* request,
                                            governance_v1::RaiseExceptionResponse*) {
  const std::lock_guard lock(mutex_);
  exceptions_[request->exception().exception_id()] = request->exception();
  return grpc::Status::OK;
}

// ---- Filter ----

template <typename Request, typename Response>
grpc::Status FakeFilter::Once(const Request& request, Response* response,
                              const std::function<grpc::Status()>& effect) {
  if (down.load()) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "down");
  const std::string body = request.SerializeAsString();
  const auto found = requests_.find(request.request_id());
  if (found != requests_.end()) {
    if (found->second.first != body) {
      complaints_.push_back(absl::StrCat("another body: ", request.DebugString()));
    }
    response->ParseFromString(found->second.second);
    return grpc::Status::OK;
  }
  const grpc::Status status = effect();
  if (status.ok()) requests_[request.request_id()] = {body, response->SerializeAsString()};
  else complaints_.push_back(absl::StrCat(status.error_message(), ": ", request.DebugString()));
  return status;
}

std::string FakeFilter::Put(const std::string& bytes) {
  const std::string digest = crypto::Sha256(bytes).ToString();
  blobs_[digest] = bytes;
  return digest;
}

FakeFilter::Round FakeFilter::round(const std::string& id) {
  const std::lock_guard lock(mutex_);
  return rounds_[id];
}

size_t FakeFilter::rounds() {
  const std::lock_guard lock(mutex_);
  return rounds_.size();
}

std::string FakeFilter::blob(const std::string& sha256) {
  const std::lock_guard lock(mutex_);
  return blobs_[sha256];
}

std::vector<std::string> FakeFilter::complaints() {
  const std::lock_guard lock(mutex_);
  return complaints_;
}

grpc::Status FakeFilter::ListProbes(grpc::ServerContext*, const filter_v1::ListProbesRequest*,
                                    filter_v1::ListProbesResponse* response) {
  const std::lock_guard lock(mutex_);
  if (down.load()) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "down");
  for (const FakeProbe& probe : probes) {
    filter_v1::Probe& out = *response->add_probes();
    out.set_probe_id(probe.probe_id);
    out.set_principal_id(probe.principal_id);
    out.set_data_sha256(Put(probe.data));
  }
  return grpc::Status::OK;
}

grpc::Status FakeFilter::OpenScreening(grpc::ServerContext*,
                                       const filter_v1::OpenScreeningRequest* request,
                                       filter_v1::OpenScreeningResponse* response) {
  const std::lock_guard lock(mutex_);
  return Once(*request, response, [&] {
    if (rounds_.contains(request->round_id())) {
      return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "open already");
    }
    for (const filter_v1::ProbeGradient& gradient : request->gradients()) {
      if (!blobs_.contains(gradient.gradient_sha256())) {
        return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "gradient missing");
      }
    }
    Round& round = rounds_[request->round_id()];
    round.opening = *request;
    for (size_t i = 0; i < updates.size(); ++i) {
      filter_v1::Update& update = round.updates.emplace_back();
      const Uuid id = crypto::DeterministicId("test/update", request->round_id(),
                                              static_cast<int>(i));
      update.set_update_id(id.ToString());
      update.set_round_id(request->round_id());
      update.set_principal_id(updates[i].principal_id);
      update.set_agent_id(updates[i].agent_id);
      update.set_state(filter_v1::UPDATE_STATE_COMMITTED);
      update.set_consents_to_publication(true);
    }
    return grpc::Status::OK;
  });
}

grpc::Status FakeFilter::SetIntakeState(grpc::ServerContext*,
                                        const filter_v1::SetIntakeStateRequest* request,
                                        filter_v1::SetIntakeStateResponse* response) {
  const std::lock_guard lock(mutex_);
  return Once(*request, response, [&] {
    const auto found = rounds_.find(request->round_id());
    if (found == rounds_.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no round");
    Round& round = found->second;
    if (request->state() < round.intake) {
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "intake goes back");
    }
    round.intake = request->state();
    response->set_committed(static_cast<int64_t>(round.updates.size()));
    response->set_received(static_cast<int64_t>(round.updates.size()));
    for (filter_v1::Update& update : round.updates) {
      if (round.intake == filter_v1::INTAKE_STATE_REVEALING) {
        update.set_state(filter_v1::UPDATE_STATE_RECEIVED);
      } else if (round.intake == filter_v1::INTAKE_STATE_ABANDONED) {
        update.set_state(filter_v1::UPDATE_STATE_NOT_APPLIED);
      }
    }
    return grpc::Status::OK;
  });
}

grpc::Status FakeFilter::ListUpdates(grpc::ServerContext*,
                                     const filter_v1::ListUpdatesRequest* request,
                                     filter_v1::ListUpdatesResponse* response) {
  const std::lock_guard lock(mutex_);
  if (down.load()) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "down");
  for (const filter_v1::Update& update : rounds_[request->round_id()].updates) {
    *response->add_updates() = update;
  }
  return grpc::Status::OK;
}

grpc::Status FakeFilter::ScreenRound(grpc::ServerContext*,
                                     const filter_v1::ScreenRoundRequest* request,
                                     filter_v1::ScreenRoundResponse* response) {
  const std::lock_guard lock(mutex_);
  return Once(*request, response, [&] {
    Round& round = rounds_[request->round_id()];
    if (round.intake != filter_v1::INTAKE_STATE_CLOSED) {
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "intake is open");
    }
    response->set_lineages(static_cast<int64_t>(updates.size()));
    std::set<std::string> needed;
    for (size_t i = 0; i < round.updates.size(); ++i) {
      round.updates[i].set_state(filter_v1::UPDATE_STATE_SCREENING);
      filter_v1::ScreenedUpdate& out = *response->add_updates();
      out.set_update_id(round.updates[i].update_id());
      out.set_principal_id(updates[i].principal_id);
      out.set_agent_id(updates[i].agent_id);
      out.set_lineage_id(round.updates[i].update_id());
      out.set_denied(updates[i].denied);
      out.set_sample_count(updates[i].samples);
      if (updates[i].denied) continue;
      out.set_effective_sha256(Put(updates[i].effective));
      for (const std::string& probe : updates[i].probes) {
        out.add_probe_ids(probe);
        needed.insert(probe);
      }
      for (const auto& [probe, bound] : updates[i].early_bounds) {
        filter_v1::EarlyBound& early = *out.add_early_bounds();
        early.set_probe_id(probe);
        early.set_bound_nanonats(bound);
      }
    }
    for (const FakeProbe& probe : probes) {
      if (probe.aggregate_eps) {
        filter_v1::AggregateBound& bound = *response->add_aggregate_bounds();
        bound.set_probe_id(probe.probe_id);
        bound.set_data_sha256(Put(probe.data));
        bound.set_eps_nanonats(*probe.aggregate_eps);
      }
      if (!needed.contains(probe.probe_id)) continue;
      filter_v1::ProbeData& data = *response->add_probes();
      data.set_probe_id(probe.probe_id);
      data.set_data_sha256(Put(probe.data));
      data.set_rows(probe.rows);
    }
    return grpc::Status::OK;
  });
}

grpc::Status FakeFilter::DecideRound(grpc::ServerContext*,
                                     const filter_v1::DecideRoundRequest* request,
                                     filter_v1::DecideRoundResponse* response) {
  const std::lock_guard lock(mutex_);
  return Once(*request, response, [&] {
    Round& round = rounds_[request->round_id()];
    round.measurements.assign(request->measurements().begin(), request->measurements().end());
    for (size_t i = 0; i < round.updates.size(); ++i) {
      filter_v1::Update& update = round.updates[i];
      const bool refused = updates[i].denied || updates[i].rejected_at_decision;
      update.set_state(refused ? filter_v1::UPDATE_STATE_REJECTED
                               : filter_v1::UPDATE_STATE_ADMITTED);
      const Uuid event = crypto::DeterministicId("test/decision", update.update_id());
      update.mutable_decision_entry()->set_event_id(event.ToString());
      *response->add_updates() = update;
    }
    return grpc::Status::OK;
  });
}

grpc::Status FakeFilter::RecordOutcomes(grpc::ServerContext*,
                                        const filter_v1::RecordOutcomesRequest* request,
                                        filter_v1::RecordOutcomesResponse* response) {
  const std::lock_guard lock(mutex_);
  return Once(*request, response, [&] {
    Round& round = rounds_[request->round_id()];
    for (const filter_v1::UpdateOutcome& outcome : request->outcomes()) {
      for (filter_v1::Update& update : round.updates) {
        if (update.update_id() != outcome.update_id()) continue;
        const filter_v1::UpdateState from = update.state();
        const bool follows =
            from == filter_v1::UPDATE_STATE_EVALUATED
                ? outcome.state() == filter_v1::UPDATE_STATE_APPLIED ||
                      outcome.state() == filter_v1::UPDATE_STATE_NOT_APPLIED
                : from == filter_v1::UPDATE_STATE_ADMITTED &&
                      (outcome.state() == filter_v1::UPDATE_STATE_EVALUATED ||
                       outcome.state() == filter_v1::UPDATE_STATE_NOT_APPLIED);
        if (!follows) {
          return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "outcome does not follow");
        }
        update.set_state(outcome.state());
        update.set_reason(outcome.reason());
      }
    }
    return grpc::Status::OK;
  });
}

grpc::Status FakeFilter::BeginUpload(grpc::ServerContext*,
                                     const common_v1::BeginUploadRequest* request,
                                     common_v1::Upload* response) {
  const std::lock_guard lock(mutex_);
  common_v1::Upload& upload = uploads_[request->sha256()];
  upload.set_upload_id(
      crypto::DeterministicId("test/upload", request->sha256()).ToString());
  upload.set_sha256(request->sha256());
  upload.set_size_bytes(request->size_bytes());
  upload.set_complete(blobs_.contains(request->sha256()));
  *response = upload;
  return grpc::Status::OK;
}

grpc::Status FakeFilter::UploadBlob(grpc::ServerContext*,
                                    grpc::ServerReader<common_v1::UploadChunk>* reader,
                                    common_v1::Upload* response) {
  std::string bytes;
  common_v1::UploadChunk chunk;
  while (reader->Read(&chunk)) bytes += chunk.data();
  const std::lock_guard lock(mutex_);
  response->set_sha256(Put(bytes));
  response->set_complete(true);
  return grpc::Status::OK;
}

grpc::Status FakeFilter::DownloadBlob(grpc::ServerContext*,
                                      const common_v1::DownloadBlobRequest* request,
                                      grpc::ServerWriter<common_v1::BlobChunk>* writer) {
  std::string bytes;
  {
    const std::lock_guard lock(mutex_);
    const auto found = blobs_.find(request->sha256());
    if (found == blobs_.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no blob");
    bytes = found->second;
  }
  common_v1::BlobChunk chunk;
  chunk.set_size_bytes(static_cast<int64_t>(bytes.size()));
  chunk.set_data(bytes.substr(request->offset_bytes()));
  writer->Write(chunk);
  return grpc::Status::OK;
}

}  // namespace rochdale::attribution::testing
