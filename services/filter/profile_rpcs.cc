// Rpcs about blobs, profiles and probes.
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/database.h"
#include "libs/pg/documents.h"
#include "libs/pg/outbox.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/paging.h"
#include "libs/service/mutation.h"
#include "libs/tensor/safetensors.h"
#include "rochdale/governance/v1/governance.pb.h"
#include "services/filter/convert.h"
#include "services/filter/filter_service.h"
#include "services/filter/intake_store.h"

namespace rochdale::filter {
namespace {

namespace tag = crypto::tag;
namespace kind = crypto::kind;

constexpr uint64_t kProbeBytesMax = 64 << 20;
constexpr uint64_t kUpdateBytesMax = uint64_t{4} << 30;
constexpr int64_t kProbeRowsMax = 100'000;

// PROBE_INVALID unless the blob holds "inputs" U8 [N, D] and "labels" U8 or I64 [N], N > 0.
absl::StatusOr<int64_t> ProbeRows(const blob::MappedBlob& blob) {
  const auto view = tensor::SafetensorsView::Parse(blob.bytes());
  if (!view.ok()) return Error("PROBE_INVALID", view.status().message());
  const auto* inputs = view->Find("inputs");
  const auto* labels = view->Find("labels");
  if (inputs == nullptr || labels == nullptr || view->tensors().size() != 2 ||
      inputs->spec.dtype != tensor::DType::kU8 || inputs->spec.shape.size() != 2 ||
      (labels->spec.dtype != tensor::DType::kU8 && labels->spec.dtype != tensor::DType::kI64) ||
      labels->spec.shape.size() != 1 || labels->spec.shape[0] != inputs->spec.shape[0]) {
    return Error("PROBE_INVALID", "a probe holds inputs U8 [N, D] and labels U8 or I64 [N]");
  }
  if (labels->spec.shape[0] < 1 || labels->spec.shape[0] > kProbeRowsMax ||
      inputs->spec.shape[1] < 1) {
    return Error("PROBE_INVALID", "a probe holds 1 to 100,000 rows of at least one input");
  }
  return labels->spec.shape[0];
}

// BAD_REQUEST unless every probe that the profile names is its principal's own or the
// cooperative's: a rule on another's private probe would tell what is in it.
absl::Status CheckProbes(pg::Transaction& tx, const SignedProfile& profile) {
  FieldErrors errors;
  const auto check = [&](const std::string& text, const std::string& field) -> absl::Status {
    auto id = ProbeId::Parse(text);
    ASSIGN_OR_RETURN(const std::optional<Probe> probe, FindProbe(tx, *id));
    if (!probe || probe->cooperative != profile.cooperative ||
        (probe->principal && *probe->principal != profile.principal)) {
      errors.Add(field, "must be a registered probe, yours or the cooperative's");
    }
    return absl::OkStatus();
  };
  for (int i = 0; i < profile.body.constraints_size(); ++i) {
    for (const std::string& probe : profile.body.constraints(i).probe_ids()) {
      RETURN_IF_ERROR(check(probe, absl::StrCat("constraints[", i, "].probe_ids")));
    }
  }
  for (int i = 0; i < profile.body.preferences_size(); ++i) {
    for (const v1::Criterion& criterion : profile.body.preferences(i).criteria()) {
      RETURN_IF_ERROR(
          check(criterion.probe_id(), absl::StrCat("preferences[", i, "].criteria.probe_id")));
    }
  }
  return errors.ToStatus();
}

// Whether the floor names this probe: such an id is the cooperative's to register.
bool IsOfFloor(const governance::v1::Cooperative& cooperative, const ProbeId& probe) {
  for (const common_v1::Rule& rule : cooperative.floor()) {
    for (const std::string& id : rule.probe_ids()) {
      auto named = ProbeId::Parse(id);
      if (named.ok() && *named == probe) return true;
    }
  }
  return false;
}

}  // namespace

FilterService::FilterService(const service::Environment& env, blob::BlobStore& store)
    : env_(env),
      store_(store),
      desk_(store, MakeUploadPolicy()),
      random_(crypto::SystemRandomBytes()) {}

void FilterService::Connect() {
  client_ = std::make_unique<rpc::GovernanceClient>(env_.channel("governance"), env_.outgoing,
                                                    env_.clock);
  governance_.store(client_.get());
}

absl::StatusOr<rpc::GovernanceClient*> FilterService::Governance() {
  rpc::GovernanceClient* const governance = governance_.load();
  if (governance == nullptr) {
    return RetryableError("UNAVAILABLE", "the service is starting", absl::Milliseconds(200));
  }
  return governance;
}

blob::UploadPolicy FilterService::MakeUploadPolicy() {
  blob::UploadPolicy policy;
  policy.limit = [](const rpc::Call& call, int purpose) -> absl::StatusOr<uint64_t> {
    switch (purpose) {
      case common_v1::BLOB_PURPOSE_UPDATE:
        if (call.identity.kind != rpc::IdentityKind::kAgent) break;
        return kUpdateBytesMax;
      case common_v1::BLOB_PURPOSE_PROBE:
        if (call.identity.kind != rpc::IdentityKind::kPrincipal) break;
        return kProbeBytesMax;
      case common_v1::BLOB_PURPOSE_GRADIENT:
        if (!call.identity.IsService("attribution")) break;
        return kUpdateBytesMax;
      default:
        break;
    }
    return Error("PERMISSION_DENIED", "the caller does not upload blobs of this purpose");
  };
  policy.is_recorded = [this](const rpc::Call& call, const std::string& owner, int purpose,
                              const crypto::Digest& digest) {
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return HasUpload(tx, owner, purpose, digest);
    });
  };
  policy.record = [this](const rpc::Call& call, const std::string& owner, int purpose,
                         const crypto::Digest& digest, uint64_t size_bytes) {
    return env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return RecordUpload(tx, owner, purpose, digest, static_cast<int64_t>(size_bytes), call.now);
    });
  };
  return policy;
}

grpc::Status FilterService::BeginUpload(grpc::ServerContext* context,
                                        const common_v1::BeginUploadRequest* request,
                                        common_v1::Upload* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) {
    return desk_.Begin(call, *request, response);
  });
}

grpc::Status FilterService::UploadBlob(grpc::ServerContext* context,
                                       grpc::ServerReader<common_v1::UploadChunk>* reader,
                                       common_v1::Upload* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) {
    return desk_.Receive(call, *reader, response);
  });
}

grpc::Status FilterService::GetUpload(grpc::ServerContext* context,
                                      const common_v1::GetUploadRequest* request,
                                      common_v1::Upload* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) {
    return desk_.Find(call, *request, response);
  });
}

grpc::Status FilterService::DownloadBlob(grpc::ServerContext* context,
                                         const common_v1::DownloadBlobRequest* request,
                                         grpc::ServerWriter<common_v1::BlobChunk>* writer) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    auto digest = crypto::Digest::Parse(request->sha256());
    if (!digest.ok()) return Error("NOT_FOUND", "no such blob, or it is not yours to read");
    RETURN_IF_ERROR(MayDownload(call, *digest));
    return desk_.Send(call, *request, *writer);
  });
}

absl::Status FilterService::MayDownload(const rpc::Call& call, const crypto::Digest& digest) {
  std::vector<Update> effective_of;
  bool allowed = false;
  RETURN_IF_ERROR(env_.db.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(allowed, OwnsBlob(tx, call.identity.ToString(), digest));
    ASSIGN_OR_RETURN(effective_of, FindByEffective(tx, digest));
    if (allowed) return absl::OkStatus();
    for (const Update& update : effective_of) {
      allowed = allowed || call.identity.principal == update.principal;
    }
    if (!call.identity.IsService("attribution")) return absl::OkStatus();
    allowed = allowed || !effective_of.empty();
    ASSIGN_OR_RETURN(const std::vector<Probe> probes, FindProbesByData(tx, digest));
    for (const Probe& probe : probes) {
      allowed = true;
      if (!probe.principal) continue;
      // Its owner sees who read it.
      crypto::EntryBuilder read(kind::kPrivateRead, EventId{env_.ids.New(call.now)}, call.now);
      RETURN_IF_ERROR(Log(tx, read.Cooperative(probe.cooperative)
                                  .Subject(probe.id)
                                  .AuthorisedBy(probe.event)
                                  .Id(tag::kPrincipal, *probe.principal)
                                  .Text(tag::kReader, call.identity.ToString())
                                  .Text(tag::kPurpose, "evaluation")));
    }
    return absl::OkStatus();
  }));
  if (allowed) return absl::OkStatus();
  for (const Update& update : effective_of) {
    if (!update.consents_to_publication) continue;
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, Governance());
    if (governance->RequireFounder(update.cooperative, call.identity.public_key).ok()) {
      return absl::OkStatus();
    }
  }
  return Error("NOT_FOUND", "no such blob, or it is not yours to read");
}

grpc::Status FilterService::SetProfile(grpc::ServerContext* context,
                                       const v1::SetProfileRequest* request,
                                       v1::SetProfileResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const SignedProfile wanted, ParseProfile(request->profile()));
    if (call.identity.public_key != wanted.document.public_key ||
        call.identity.principal != wanted.principal) {
      return Error("PERMISSION_DENIED", "a profile is set by the principal that signed it");
    }
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, Governance());
    ASSIGN_OR_RETURN(const bool member, governance->IsMember(wanted.cooperative, wanted.principal));
    if (!member) return Error("NOT_A_MEMBER", "a profile needs a membership with current consent");
    RETURN_IF_ERROR(env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return CheckProbes(tx, wanted);
    }));
    const EventId event{env_.ids.New(call.now)};
    const crypto::Salt salt = crypto::Salt::Generate(random_);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      const crypto::Digest digest = crypto::DocumentDigest(wanted.document);
      RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
      RETURN_IF_ERROR(InsertProfile(tx, wanted.cooperative, wanted.principal,
                                    wanted.body.version(), digest, salt, call.now, event));
      crypto::EntryBuilder entry(kind::kProfileSet, event, call.now);
      RETURN_IF_ERROR(Log(tx, entry.Cooperative(wanted.cooperative)
                                  .Subject(wanted.principal)
                                  .U64(tag::kVersion, wanted.body.version())
                                  .PrivateDocument(wanted.document, salt)));
      response->set_version(wanted.body.version());
      response->set_document_sha256(digest.ToString());
      response->mutable_entry()->set_event_id(event.ToString());
      return absl::OkStatus();
    });
  });
}

grpc::Status FilterService::GetProfile(grpc::ServerContext* context,
                                       const v1::GetProfileRequest* request,
                                       v1::GetProfileResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    ASSIGN_OR_RETURN(const auto found, env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return FindProfile(tx, id, call.identity.principal);
    }));
    if (!found) return Error("PROFILE_MISSING", "the principal has set no profile");
    common_v1::SignedDocument& out = *response->mutable_profile();
    out.set_type(found->document.type);
    out.set_body(found->document.body);
    out.set_public_key(std::string(found->document.public_key.AsBytes()));
    out.set_signature(std::string(found->document.signature.AsBytes()));
    response->set_version(found->version);
    return absl::OkStatus();
  });
}

grpc::Status FilterService::RegisterProbe(grpc::ServerContext* context,
                                          const v1::RegisterProbeRequest* request,
                                          v1::RegisterProbeResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const SignedProbe wanted, ParseProbe(request->registration()));
    if (call.identity.public_key != wanted.document.public_key) {
      return Error("PERMISSION_DENIED", "a probe is registered by who signed it");
    }
    ASSIGN_OR_RETURN(rpc::GovernanceClient * governance, Governance());
    if (wanted.probe.principal) {
      if (*wanted.probe.principal != call.identity.principal) {
        return Error("PERMISSION_DENIED", "the probe names another principal");
      }
      ASSIGN_OR_RETURN(const bool member, governance->IsMember(wanted.probe.cooperative,
                                                               *wanted.probe.principal));
      if (!member) return Error("NOT_A_MEMBER", "a probe needs a membership with current consent");
      ASSIGN_OR_RETURN(const auto cooperative,
                       governance->GetCooperative(wanted.probe.cooperative));
      if (IsOfFloor(cooperative, wanted.probe.id)) {
        return Error("PERMISSION_DENIED", "this probe is the floor's: a founder registers it");
      }
    } else {
      RETURN_IF_ERROR(
          governance->RequireFounder(wanted.probe.cooperative, wanted.document.public_key));
    }
    ASSIGN_OR_RETURN(const bool owns, env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
      return OwnsBlob(tx, call.identity.ToString(), wanted.probe.data);
    }));
    // Nothing is told about bytes that the caller has not sent.
    auto blob = store_.Get(wanted.probe.data);
    if (!owns || !blob.ok()) return Error("PROBE_INVALID", "upload the probe's rows first");
    Probe probe = wanted.probe;
    ASSIGN_OR_RETURN(probe.rows, ProbeRows(*blob));
    probe.salt = crypto::Salt::Generate(random_);
    probe.event = EventId{env_.ids.New(call.now)};
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
      RETURN_IF_ERROR(InsertProbe(tx, probe));
      crypto::EntryBuilder entry(kind::kProbeRegistered, probe.event, call.now);
      RETURN_IF_ERROR(
          Log(tx, entry.Cooperative(probe.cooperative)
                      .Subject(probe.id)
                      .Digest(tag::kDataCommitment,
                              crypto::Commitment(probe.salt, probe.data.AsBytes()))
                      .U64(tag::kRowCount, static_cast<uint64_t>(probe.rows))
                      .PrivateDocument(wanted.document, probe.salt)));
      ToProto(probe, true, *response->mutable_probe());
      return absl::OkStatus();
    });
  });
}

grpc::Status FilterService::ListProbes(grpc::ServerContext* context,
                                       const v1::ListProbesRequest* request,
                                       v1::ListProbesResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const CooperativeId id,
                     ParseId<CooperativeId>(request->cooperative_id(), "cooperative_id"));
    const std::string binding =
        absl::StrCat("ListProbes/", id.ToString(), "/", call.identity.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    const bool all = call.identity.IsService("attribution");
    ASSIGN_OR_RETURN(const std::vector<Probe> probes,
                     env_.db.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return filter::ListProbes(tx, id, call.identity.principal, all,
                                                 page.first() ? "" : page.after[0], page.size + 1);
                     }));
    for (const Probe& probe : probes) {
      if (response->probes_size() == page.size) {
        response->set_next_page_token(
            rpc::MakePageToken(binding, {response->probes(page.size - 1).probe_id()}));
        break;
      }
      const bool with_data = all || probe.principal == call.identity.principal;
      ToProto(probe, with_data, *response->add_probes());
    }
    return absl::OkStatus();
  });
}

}  // namespace rochdale::filter
