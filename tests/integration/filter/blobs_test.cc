// Uploads, downloads, profiles, probes, and the access table.
#include <catch2/catch.hpp>

#include "libs/blob/transfer.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/rpc/status.h"
#include "tests/integration/filter/world.h"

namespace rochdale::filter::testing {
namespace {

using Fields = std::vector<std::string>;
namespace kind = crypto::kind;

common_v1::BeginUploadRequest Beginning(World& w, common_v1::BlobPurpose purpose,
                                        const std::string& bytes) {
  common_v1::BeginUploadRequest request;
  request.set_request_id(w.f.NewId());
  request.set_purpose(purpose);
  request.set_size_bytes(static_cast<int64_t>(bytes.size()));
  request.set_sha256(Sha256Hex(bytes));
  return request;
}

// Sends chunks [offset, data] of one upload; the reason or OK.
struct Piece {
  int64_t offset;
  std::string data;
};
std::string Send(Client<Stub>& client, const std::string& upload_id,
                 const std::vector<Piece>& pieces, common_v1::Upload* result,
                 bool cut = false) {
  const auto context = client.Context();
  common_v1::Upload response;
  auto writer = client.stub().UploadBlob(context.get(), &response);
  for (const Piece& piece : pieces) {
    common_v1::UploadChunk chunk;
    chunk.set_upload_id(upload_id);
    chunk.set_offset_bytes(piece.offset);
    chunk.set_data(piece.data);
    if (!writer->Write(chunk)) break;
  }
  if (cut) {
    // The bytes arrive; the stream does not end.
    absl::SleepFor(absl::Milliseconds(100));
    context->TryCancel();
  } else {
    writer->WritesDone();
  }
  const absl::Status status = rpc::FromGrpc(writer->Finish());
  *result = response;
  return status.ok() ? "OK" : cut ? "cut" : ReasonOf(status);
}

TEST_CASE("an upload survives a cut stream and resumes where it stands", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  auto client = w.f.As<Stub>(ada.agent);
  std::string bytes;
  for (int i = 0; i < 300'000; ++i) bytes.push_back(static_cast<char>(i * 7 + i / 251));
  const auto begin = Beginning(w, common_v1::BLOB_PURPOSE_UPDATE, bytes);
  const common_v1::Upload begun = client.Ok(&Stub::BeginUpload, begin);
  CHECK(begun.offset_bytes() == 0);
  CHECK_FALSE(begun.complete());
  const std::string& id = begun.upload_id();
  common_v1::Upload at;
  CHECK(Send(client, id, {{0, bytes.substr(0, 100'000)}}, &at, true) == "cut");
  REQUIRE(Eventually([&] {
    return client.Ok(&Stub::BeginUpload, begin).offset_bytes() == 100'000;
  }));
  common_v1::GetUploadRequest get;
  get.set_upload_id(id);
  CHECK(client.Ok(&Stub::GetUpload, get).offset_bytes() == 100'000);
  // Nobody else's eyes.
  auto other = w.f.As<Stub>(w.NewTrainer().agent);
  CHECK(other.Reason(&Stub::GetUpload, get) == "NOT_FOUND");
  CHECK(Send(other, id, {{100'000, "x"}}, &at) == "NOT_FOUND");

  // A chunk that starts elsewhere changes nothing.
  for (const int64_t offset : {int64_t{0}, int64_t{99'999}, int64_t{100'001}, int64_t{-1}}) {
    CAPTURE(offset);
    CHECK(Send(client, id, {{offset, "x"}}, &at) == "UPLOAD_OFFSET");
  }
  CHECK(client.Ok(&Stub::GetUpload, get).offset_bytes() == 100'000);
  CHECK(Send(client, id, {{100'000, bytes.substr(100'000) + "x"}}, &at) == "UPLOAD_TOO_LARGE");
  CHECK(Send(client, w.f.NewId(), {{0, "x"}}, &at) == "NOT_FOUND");
  CHECK(Send(client, "?", {{0, "x"}}, &at) == "NOT_FOUND");
  CHECK(Send(client, id, {}, &at) == "UPLOAD_INCOMPLETE");
  // A process that stops in between forgets nothing.
  w.f.Serve([&] {
    w.f.Stop();
    return FilterModule::Make(w.f.environment()).value();
  }());
  auto again = w.f.As<Stub>(ada.agent);
  CHECK(again.Ok(&Stub::BeginUpload, begin).offset_bytes() == 100'000);
  CHECK(Send(again, id,
             {{100'000, bytes.substr(100'000, 100'000)}, {200'000, bytes.substr(200'000)}},
             &at) == "OK");
  CHECK(at.complete());
  CHECK(again.Ok(&Stub::BeginUpload, begin).complete());
  CHECK(w.Download(again, Sha256Hex(bytes)).value() == bytes);
  CHECK(w.Download(again, Sha256Hex(bytes), 299'990).value() == bytes.substr(299'990));
  CHECK(ReasonOf(w.Download(again, Sha256Hex(bytes), 300'001).status()) == "UPLOAD_OFFSET");
}

TEST_CASE("bytes that are not those declared are thrown away", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  auto client = w.f.As<Stub>(ada.agent);
  const std::string bytes(1'000, 'a');
  const auto begin = Beginning(w, common_v1::BLOB_PURPOSE_UPDATE, bytes);
  const std::string id = client.Ok(&Stub::BeginUpload, begin).upload_id();
  common_v1::Upload at;
  CHECK(Send(client, id, {{0, std::string(1'000, 'b')}}, &at) == "DIGEST_MISMATCH");
  CHECK(ReasonOf(w.Download(client, Sha256Hex(bytes)).status()) == "NOT_FOUND");
  CHECK(ReasonOf(w.Download(client, Sha256Hex(std::string(1'000, 'b'))).status()) == "NOT_FOUND");
  CHECK(client.Ok(&Stub::BeginUpload, begin).offset_bytes() == 0);
  CHECK(Send(client, id, {{0, bytes}}, &at) == "OK");
}

TEST_CASE("who may upload what, and how much", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  using namespace common_v1;  // NOLINT: enumerators
  auto agent = w.f.As<Stub>(ada.agent);
  auto person = w.f.As<Stub>(ada.person);
  const auto begin = [&](Client<Stub>& client, BlobPurpose purpose) {
    return client.Reason(&Stub::BeginUpload, Beginning(w, purpose, "some bytes"));
  };
  struct Row {
    BlobPurpose purpose;
    const char *agent, *person, *attribution;
  };
  constexpr char kNo[] = "PERMISSION_DENIED";
  const Row rows[] = {
      {BLOB_PURPOSE_UPDATE, "OK", kNo, kNo},           {BLOB_PURPOSE_PROBE, kNo, "OK", kNo},
      {BLOB_PURPOSE_VALIDATION, kNo, kNo, kNo},        {BLOB_PURPOSE_GRADIENT, kNo, kNo, "OK"},
      {BLOB_PURPOSE_CHECKPOINT, kNo, kNo, kNo},
      {BLOB_PURPOSE_EFFECTIVE_UPDATE, kNo, kNo, kNo},
      {BLOB_PURPOSE_UNSPECIFIED, "BAD_REQUEST", "BAD_REQUEST", "BAD_REQUEST"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.purpose);
    CHECK(begin(agent, row.purpose) == row.agent);
    CHECK(begin(person, row.purpose) == row.person);
    CHECK(begin(*w.attribution, row.purpose) == row.attribution);
  }
  auto huge = Beginning(w, BLOB_PURPOSE_PROBE, "x");
  huge.set_size_bytes(65ll << 20);
  CHECK(person.Reason(&Stub::BeginUpload, huge) == "UPLOAD_TOO_LARGE");
  huge.set_size_bytes(0);
  huge.set_sha256("?");
  CHECK(person.BadFields(&Stub::BeginUpload, huge) == Fields{"sha256", "size_bytes"});
}

TEST_CASE("profiles are signed, versioned and private", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();  // has version 1
  const Trainer bob = w.NewTrainer();
  auto client = w.f.As<Stub>(ada.person);
  const int before = w.f.OutboxRows();
  const auto set = [&](const v1::ValueProfile& profile, const Person& signer) {
    return client.Reason(&Stub::SetProfile, w.Setting(profile, signer));
  };
  CHECK(set(w.Profile(ada.person, 1), ada.person) == "STALE_VERSION");
  CHECK(set(w.Profile(ada.person, 3), ada.person) == "STALE_VERSION");
  CHECK(set(w.Profile(ada.person, 2), bob.person) == "PERMISSION_DENIED");
  CHECK(set(w.Profile(bob.person, 2), ada.person) == "PERMISSION_DENIED");
  auto forged = w.Setting(w.Profile(ada.person, 2), ada.person);
  (*forged.mutable_profile()->mutable_signature())[3] ^= 1;
  CHECK(client.Reason(&Stub::SetProfile, forged) == "SIGNATURE_INVALID");
  CHECK(w.f.OutboxRows() == before);

  const auto second = w.Setting(w.Profile(ada.person, 2), ada.person);
  const auto made = client.Ok(&Stub::SetProfile, second);
  CHECK(made.version() == 2);
  CHECK(client.Ok(&Stub::SetProfile, second).SerializeAsString() == made.SerializeAsString());
  CHECK(w.f.OutboxRows() == before + 1);
  // The log commits to it and tells nothing of it.
  const crypto::Entry entry = w.f.Outbox().back();
  CHECK(entry.kind == kind::kProfileSet);
  CHECK(entry.Find(crypto::tag::kDocumentDigest) == nullptr);
  CHECK(entry.Find(crypto::tag::kSignature) == nullptr);

  v1::GetProfileRequest get;
  get.set_cooperative_id(w.cooperative);
  const auto own = client.Ok(&Stub::GetProfile, get);
  CHECK(own.version() == 2);
  CHECK(own.profile().body() == second.profile().body());
  CHECK(w.f.As<Stub>(ada.agent).Ok(&Stub::GetProfile, get).version() == 2);
  CHECK(w.f.As<Stub>(bob.person).Ok(&Stub::GetProfile, get).version() == 1);
  CHECK(w.f.As<Stub>(w.f.NewPerson()).Reason(&Stub::GetProfile, get) == "PROFILE_MISSING");

  v1::GetDocumentRequest document;
  document.set_document_sha256(made.document_sha256());
  CHECK(client.Ok(&Stub::GetDocument, document).document().signature() ==
        second.profile().signature());
  CHECK(w.f.As<Stub>(bob.person).Reason(&Stub::GetDocument, document) == "NOT_FOUND");
  CHECK(w.f.As<Stub>(ada.agent).Reason(&Stub::GetDocument, document) == "NOT_FOUND");
  document.set_document_sha256(Sha256Hex("unknown"));
  CHECK(client.Reason(&Stub::GetDocument, document) == "NOT_FOUND");
  document.set_document_sha256("ABC");
  CHECK(client.BadFields(&Stub::GetDocument, document) ==
        std::vector<std::string>{"document_sha256"});

  const Person outsider = w.f.NewPerson();
  CHECK(w.f.As<Stub>(outsider).Reason(&Stub::SetProfile,
                                      w.Setting(w.Profile(outsider, 1), outsider)) ==
        "NOT_A_MEMBER");
  auto reused = w.Setting(w.Profile(ada.person, 3), ada.person);
  reused.set_request_id(second.request_id());
  CHECK(client.Reason(&Stub::SetProfile, reused) == "REQUEST_ID_REUSED");
}

TEST_CASE("a profile measures its principal's probes and the cooperative's, no other's",
          "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  const Trainer bob = w.NewTrainer();
  const v1::Probe own = w.ProbeOf(ada.person, ProbeRows(3, 1));
  const v1::Probe common = w.ProbeOf(w.founder, ProbeRows(3, 2));
  const v1::Probe foreign = w.ProbeOf(bob.person, ProbeRows(3, 3));
  v1::ValueProfile profile = w.Profile(ada.person, 2);
  common_v1::Rule& rule = *profile.add_constraints();
  rule.set_id("mine");
  rule.set_kind(common_v1::RULE_KIND_VALUE_EFFECT);
  rule.add_probe_ids(own.probe_id());
  rule.add_probe_ids(common.probe_id());
  v1::ScenarioPreferences& scenario = *profile.add_preferences();
  scenario.set_scenario("default");
  v1::Criterion& criterion = *scenario.add_criteria();
  criterion.set_weight_bp(10'000);
  criterion.set_scale_nanonats(1);
  auto client = w.f.As<Stub>(ada.person);
  for (const std::string& bad : {foreign.probe_id(), w.f.NewId()}) {
    criterion.set_probe_id(bad);
    CHECK(client.BadFields(&Stub::SetProfile, w.Setting(profile, ada.person)) ==
          Fields{"preferences[0].criteria.probe_id"});
  }
  rule.add_probe_ids(foreign.probe_id());
  CHECK(client.BadFields(&Stub::SetProfile, w.Setting(profile, ada.person)) ==
        Fields{"constraints[0].probe_ids", "preferences[0].criteria.probe_id"});
  rule.mutable_probe_ids()->RemoveLast();
  criterion.set_probe_id(own.probe_id());
  CHECK(client.Reason(&Stub::SetProfile, w.Setting(profile, ada.person)) == "OK");
}

TEST_CASE("a probe is registered from rows that the caller sent", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  const Trainer bob = w.NewTrainer();
  const std::string id = ada.person.id.ToString();
  auto client = w.f.As<Stub>(ada.person);
  const std::string rows = ProbeRows(5);
  const auto attempt = [&](const std::string& sha256, const std::string& owner) {
    return client.Reason(&Stub::RegisterProbe, w.Registering(ada.person, sha256, owner));
  };
  const int before = w.f.OutboxRows();
  CHECK(attempt(Sha256Hex(rows), id) == "PROBE_INVALID");  // not uploaded
  w.Upload(bob.person, common_v1::BLOB_PURPOSE_PROBE, rows);
  CHECK(attempt(Sha256Hex(rows), id) == "PROBE_INVALID");  // not by this caller
  w.Upload(ada.person, common_v1::BLOB_PURPOSE_PROBE, rows);
  CHECK(attempt(Sha256Hex(rows), bob.person.id.ToString()) == "PERMISSION_DENIED");
  CHECK(attempt(Sha256Hex(rows), "") == "PERMISSION_DENIED");  // the cooperative's is a founder's
  CHECK(client.Reason(&Stub::RegisterProbe,
                      w.Registering(bob.person, Sha256Hex(rows), id)) == "PERMISSION_DENIED");
  for (const std::string& bad :
       {std::string("no tensors"), Delta({1}), ProbeRows(5).substr(0, 100)}) {
    CHECK(attempt(w.Upload(ada.person, common_v1::BLOB_PURPOSE_PROBE, bad), id) ==
          "PROBE_INVALID");
  }
  CHECK(w.f.OutboxRows() == before);

  const auto request = w.Registering(ada.person, Sha256Hex(rows), id);
  const v1::Probe made = client.Ok(&Stub::RegisterProbe, request).probe();
  CHECK(made.rows() == 5);
  CHECK(made.data_sha256() == Sha256Hex(rows));
  CHECK(w.f.OutboxRows() == before + 1);
  CHECK(w.f.Outbox().back().kind == kind::kProbeRegistered);
  CHECK(client.Ok(&Stub::RegisterProbe, request).probe().SerializeAsString() ==
        made.SerializeAsString());
  CHECK(client.Reason(&Stub::RegisterProbe, w.Registering(ada.person, Sha256Hex(rows), id,
                                                          made.probe_id())) == "ALREADY_EXISTS");

  // An id that the floor names is the cooperative's, whoever comes first.
  const std::string guarded = w.f.NewId();
  common_v1::Rule& rule = *w.rules.add_floor();
  rule.set_id("guard");
  rule.set_kind(common_v1::RULE_KIND_VALUE_EFFECT);
  rule.add_probe_ids(guarded);
  w.governance.SetCooperative(w.rules);
  w.f.clock.Advance(absl::Minutes(1));  // past the cache
  CHECK(client.Reason(&Stub::RegisterProbe,
                      w.Registering(ada.person, Sha256Hex(rows), id, guarded)) ==
        "PERMISSION_DENIED");
  w.Upload(w.founder, common_v1::BLOB_PURPOSE_PROBE, rows);
  CHECK(w.f.As<Stub>(w.founder)
            .Reason(&Stub::RegisterProbe,
                    w.Registering(w.founder, Sha256Hex(rows), "", guarded)) == "OK");

  // Each sees its own and the cooperative's; the rows' digest is its owner's and attribution's.
  v1::ListProbesRequest list;
  list.set_cooperative_id(w.cooperative);
  const auto seen = client.Ok(&Stub::ListProbes, list);
  REQUIRE(seen.probes_size() == 2);
  for (const v1::Probe& probe : seen.probes()) {
    CHECK(probe.data_sha256().empty() == probe.principal_id().empty());
  }
  CHECK(w.f.As<Stub>(bob.person).Ok(&Stub::ListProbes, list).probes_size() == 1);
  const auto all = w.attribution->Ok(&Stub::ListProbes, list);
  REQUIRE(all.probes_size() == 2);
  CHECK_FALSE(all.probes(1).data_sha256().empty());
}

TEST_CASE("blobs are read by those whom they concern, and private reads are logged", "[filter]") {
  World w;
  const Trainer ada = w.NewTrainer();
  const Trainer bob = w.NewTrainer();
  const std::string rows = ProbeRows(4, 9);
  const v1::Probe probe = w.ProbeOf(ada.person, rows);
  const std::string delta = Delta({0.1f});
  w.Upload(ada.agent, common_v1::BLOB_PURPOSE_UPDATE, delta);
  auto owner = w.f.As<Stub>(ada.person);
  auto agent = w.f.As<Stub>(ada.agent);
  auto stranger = w.f.As<Stub>(bob.person);
  auto founder = w.f.As<Stub>(w.founder);
  const auto reason = [&](Client<Stub>& client, const std::string& sha256) {
    const auto bytes = w.Download(client, sha256);
    return bytes.ok() ? "OK" : ReasonOf(bytes.status());
  };
  const int before = w.f.OutboxRows();
  CHECK(reason(owner, Sha256Hex(rows)) == "OK");
  CHECK(reason(agent, Sha256Hex(delta)) == "OK");
  for (Client<Stub>* client : {&stranger, &founder}) {
    CHECK(reason(*client, Sha256Hex(rows)) == "NOT_FOUND");
    CHECK(reason(*client, Sha256Hex(delta)) == "NOT_FOUND");
    CHECK(reason(*client, std::string(64, '0')) == "NOT_FOUND");
    CHECK(reason(*client, "?") == "NOT_FOUND");
  }
  CHECK(reason(*w.attribution, Sha256Hex(delta)) == "NOT_FOUND");  // a submitted delta is private
  CHECK(w.f.OutboxRows() == before);

  CHECK(reason(*w.attribution, Sha256Hex(rows)) == "OK");
  REQUIRE(w.f.OutboxRows() == before + 1);
  const crypto::Entry read = w.f.Outbox().back();
  CHECK(read.kind == kind::kPrivateRead);
  CHECK(read.subject.ToString() == probe.probe_id());
  CHECK(read.IdAt(crypto::tag::kPrincipal).value() == ada.person.id.value);
  CHECK(read.Text(crypto::tag::kReader).value() == "service:attribution");
  // The cooperative's own probe is nobody's secret from its own evaluator.
  const std::string common = ProbeRows(4, 10);
  w.ProbeOf(w.founder, common);
  const int rows_before = w.f.OutboxRows();
  CHECK(reason(*w.attribution, Sha256Hex(common)) == "OK");
  CHECK(w.f.OutboxRows() == rows_before);
}

TEST_CASE("an upload that was whole when the process ended is completed by beginning again",
          "[filter]") {
  rochdale::testing::TempDir home;
  auto store = blob::BlobStore::Open(home.path() + "/blobs", {}).value();
  int recorded = 0;
  blob::UploadPolicy policy;
  policy.limit = [](const rpc::Call&, int) -> absl::StatusOr<uint64_t> { return 1'000; };
  policy.is_recorded = [&](const rpc::Call&, const std::string&, int,
                           const crypto::Digest&) -> absl::StatusOr<bool> { return recorded > 0; };
  policy.record = [&](const rpc::Call&, const std::string&, int, const crypto::Digest&, uint64_t) {
    ++recorded;
    return absl::OkStatus();
  };
  blob::UploadDesk desk(*store, policy);
  rpc::Call call;
  call.now = absl::Now();
  common_v1::BeginUploadRequest begin;
  const std::string bytes = "whole";
  begin.set_purpose(common_v1::BLOB_PURPOSE_UPDATE);
  begin.set_size_bytes(5);
  begin.set_sha256(Sha256Hex(bytes));
  common_v1::Upload upload;
  REQUIRE(desk.Begin(call, begin, &upload).ok());
  const auto id = blob::UploadId::Parse(upload.upload_id()).value();
  SECTION("with the right bytes") {
    REQUIRE(store->WriteAt(id, 0, bytes, call.now).ok());
    REQUIRE(desk.Begin(call, begin, &upload).ok());
    CHECK(upload.complete());
    CHECK(recorded == 1);
    REQUIRE(desk.Begin(call, begin, &upload).ok());
    CHECK(upload.complete());
    CHECK(recorded == 1);
  }
  SECTION("with others") {
    REQUIRE(store->WriteAt(id, 0, "wrong", call.now).ok());
    CHECK(ReasonOf(desk.Begin(call, begin, &upload)) == "DIGEST_MISMATCH");
    CHECK(recorded == 0);
    REQUIRE(desk.Begin(call, begin, &upload).ok());
    CHECK(upload.offset_bytes() == 0);
  }
}

TEST_CASE("every cell of the filter's access table holds", "[filter]") {
  World w;
  const auto defects =
      w.f.TryAccessTable(v1::Update::descriptor()->file()->FindServiceByName("FilterService"));
  for (const std::string& defect : defects) UNSCOPED_INFO(defect);
  CHECK(defects.empty());
}

}  // namespace
}  // namespace rochdale::filter::testing
