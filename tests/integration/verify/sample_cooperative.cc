#include "tests/integration/verify/sample_cooperative.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/crypto/base64.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tile.h"
#include "libs/crypto/tlog_proof.h"
#include "nlohmann/json.hpp"

namespace rochdale::verify {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

namespace {

using Json = nlohmann::json;

constexpr char kOrigin[] = "log.example.org/rochdale";

crypto::KeyPair KeyOf(const std::string& name) {
  return crypto::KeyPair::FromSeed(crypto::Sha256(absl::StrCat("key of ", name)).bytes);
}

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << "sample cooperative: " << status << "\n";
  std::abort();
}

// Reads any node of the tree over these leaves.
crypto::NodeReader ReaderOf(const std::vector<std::string>& leaves) {
  auto nodes = std::make_shared<std::vector<std::vector<crypto::Digest>>>(40);
  crypto::Frontier tree;
  for (const std::string& leaf : leaves) {
    tree.Append(crypto::LeafHash(leaf), [&](int level, uint64_t, const crypto::Digest& hash) {
      (*nodes)[level].push_back(hash);
    });
  }
  return [nodes](int level, uint64_t index) -> absl::StatusOr<crypto::Digest> {
    return nodes->at(level).at(index);
  };
}

}  // namespace

SampleCooperative::SampleCooperative(Fault fault, int members, bool restarted,
                                     const learning::ModelSpec& model,
                                     learning::AggregationRule rule)
    : fault_(fault),
      rule_(rule),
      log_key_(KeyOf("log")),
      founder_(KeyOf("founder")),
      customer_key_(KeyOf("customer")),
      spec_(model) {
  origin_ = kOrigin;
  if (fault >= Fault::kOwnersSecond && fault <= Fault::kOwnerOfNobody) members = 5;
  of_five_ = members == 5;
  Found();
  std::vector<std::string> names = {"anna", "bela", "cleo"};
  for (int i = 3; i < members; ++i) names.push_back(absl::StrCat("member ", i));
  for (const std::string& name : names) {
    members_.push_back({name, PrincipalId{NewId(absl::StrCat("principal ", name))},
                        AgentId{NewId(absl::StrCat("agent ", name))}, KeyOf(name),
                        KeyOf(absl::StrCat("agent of ", name)), {}, {}});
    Join(members_.back());
  }
  time_us_ += 120'000'000;  // long enough that everybody knows who was attested
  MakeModel();
  if (restarted || fault >= Fault::kRestartByStranger) Restart();
  first_head_ = leaves_.size();
  RunRound(1);
  PayRevenue(1'000'003);
  CloseEpoch(1, 1'000'003);
  RunRound(2);
  Compare();
  PayRevenue(500'000);
  CloseEpoch(2, 500'000);
  // Enough entries for a full tile and a second level.
  for (int i = 0; leaves_.size() < 270; ++i) {
    crypto::EntryBuilder changed = Entry(kind::kParameterChanged, nullptr);
    Append(changed.Cooperative(cooperative_).Subject(cooperative_).AuthorisedBy(founded_)
               .U64(tag::kVersion, static_cast<uint64_t>(i) + 2)
               .Text(tag::kParameter, "round.open_ms")
               .Text(tag::kValue, absl::StrCat(1000 + i))
               .Document(Sign(founder_, "rochdale.governance.v1.ParameterChange",
                              absl::StrCat("{\"expected_version\":", i + 1, "}"),
                              /*publish=*/false)));
  }
  Publish();
}

crypto::NoteKey SampleCooperative::origin() const {
  return {origin_, crypto::NoteAlgorithm::kEd25519, log_key_.public_key()};
}

Uuid SampleCooperative::NewId(const std::string& what) const {
  return crypto::DeterministicId("sample", what);
}

crypto::EntryBuilder SampleCooperative::Entry(uint16_t kind, EventId* event) {
  const EventId id{NewId(absl::StrCat("event ", leaves_.size()))};
  if (event != nullptr) *event = id;
  time_us_ += 1'000;
  return crypto::EntryBuilder(kind, id, absl::FromUnixMicros(time_us_));
}

crypto::EntryBuilder SampleCooperative::TransferEntry(const Uuid& transfer) {
  time_us_ += 1'000;
  const EventId event{crypto::DeterministicIdBeside("ledger/transfer-posted", transfer)};
  crypto::EntryBuilder posted(kind::kTransferPosted, event, absl::FromUnixMicros(time_us_));
  posted.Subject(transfer);
  return posted;
}

void SampleCooperative::Append(crypto::EntryBuilder& builder) {
  auto bytes = builder.BuildBytes();
  Must(bytes.status());
  leaves_.push_back(*std::move(bytes));
}

crypto::SignedDocument SampleCooperative::Sign(const crypto::KeyPair& key, const std::string& type,
                                               const std::string& body, bool publish) {
  auto document = crypto::SignDocument(key, type, body);
  Must(document.status());
  if (publish) {
    const Json json = {
        {"type", type},
        {"body", crypto::Base64Encode(crypto::Base64::kStandard, body)},
        {"public_key", document->public_key.ToString()},
        {"signature", crypto::HexEncode(document->signature.AsBytes())}};
    files_[absl::StrCat("documents/", crypto::DocumentDigest(*document).ToString(), ".json")] =
        json.dump();
  }
  return *std::move(document);
}

// Rules that a round's step as a whole is held to, written as people may write them, and others.
Json SampleCooperative::Floor() const {
  const std::string effect = "RULE_KIND_VALUE_EFFECT", others = NewId("other probe").ToString();
  return {{{"id", "false"}, {"kind", effect}, {"mode", "RULE_MODE_REFUSE"},
           {"probeIds", {FalseProbe().ToString()}},
           {"epsNanonats", absl::StrCat(kFalseEpsNanonats)}},
          {{"id", "learnt"}, {"kind", 6}, {"mode", 3},
           {"probe_ids", {LearntProbe().ToString()}}},
          {{"id", "milder"}, {"kind", effect}, {"mode", "RULE_MODE_REVIEW"},
           {"probeIds", {FalseProbe().ToString()}},
           {"epsNanonats", kFalseEpsNanonats + 1}},
          {{"id", "usual"}, {"kind", effect}, {"probeIds", {others}}, {"epsNanonats", "1"}},
          {{"id", "gap"}, {"kind", "RULE_KIND_GROUP_HARM"}, {"mode", "RULE_MODE_REFUSE"},
           {"probeIds", {others}}, {"epsNanonats", "1"}},
          {{"id", "magnitude"}, {"kind", "RULE_KIND_MAGNITUDE"}, {"mode", "RULE_MODE_REFUSE"}}};
}

void SampleCooperative::Found() {
  crypto::EntryBuilder started = Entry(kind::kLogStarted, nullptr);
  Append(started.Bytes(tag::kRegisteredKey, log_key_.public_key().AsBytes())
             .Text(tag::kOrigin, kOrigin));
  cooperative_ = CooperativeId{NewId("cooperative")};
  crypto::EntryBuilder founded = Entry(kind::kCooperativeFounded, &founded_);
  Append(founded.Cooperative(cooperative_).Subject(cooperative_).U64(tag::kRulesVersion, 1)
             .Document(Sign(founder_, "rochdale.governance.v1.Genesis",
                            Json{{"cooperativeId", cooperative_.ToString()},
                                 {"founderPublicKeys", {founder_.public_key().ToString()}},
                                 {"floor", Floor()},
                                 {"parameters", {{{"name", "round.open_ms"}, {"value", "900"}}}}}
                                .dump())));
  crypto::EntryBuilder first = Entry(kind::kParameterChanged, nullptr);
  Append(first.Cooperative(cooperative_).Subject(cooperative_).AuthorisedBy(founded_)
             .U64(tag::kVersion, 1).Text(tag::kParameter, "round.open_ms")
             .Text(tag::kValue, Is(Fault::kOtherParameter) ? "901" : "900"));
  customer_ = PrincipalId{NewId("customer")};
  crypto::EntryBuilder registered = Entry(kind::kPrincipalRegistered, &customer_registered_);
  Append(registered.Subject(customer_)
             .Bytes(tag::kRegisteredKey, customer_key_.public_key().AsBytes())
             .U64(tag::kPrincipalType, 2)
             .Document(Sign(customer_key_, "rochdale.governance.v1.PrincipalRegistration",
                            "{\"name\":\"customer\"}", /*publish=*/false)));
  crypto::EntryBuilder attested = Entry(kind::kKycAttested, nullptr);
  Append(attested.Subject(customer_).AuthorisedBy(founded_).U64(tag::kKycLevel, 2)
             .I64(tag::kExpiresUs, 2 * time_us_)
             .Document(Sign(founder_, "rochdale.governance.v1.KycAttestation",
                            Json{{"principalId", customer_.ToString()}, {"level", 2},
                                 {"expiresUs", absl::StrCat(2 * time_us_)}}
                                .dump())));
  supply_ = AccountId{NewId("supply")};
  customer_account_ = AccountId{NewId("customer account")};
  for (const bool supply : {true, false}) {
    crypto::EntryBuilder opened = Entry(kind::kAccountOpened, nullptr);
    opened.Subject(supply ? supply_ : customer_account_).AuthorisedBy(founded_)
        .U64(tag::kAccountType, supply ? 4 : 2)
        .Text(tag::kAsset, "token")
        .I64(tag::kFloor, supply ? std::numeric_limits<int64_t>::min() : 0);
    if (supply) opened.Cooperative(cooperative_);
    else opened.Id(tag::kPrincipal, customer_);
    Append(opened);
  }
  crypto::EntryBuilder minted = TransferEntry(NewId("mint"));
  Append(minted.Cooperative(cooperative_)
             .AuthorisedBy(Is(Fault::kMintedLater) ? customer_registered_ : founded_)
             .Id(tag::kDebitAccount, supply_).Id(tag::kCreditAccount, customer_account_)
             .U64(tag::kAmount, Is(Fault::kOverdraft) ? 1'400'000 : 10'000'000)
             .U64(tag::kTransferKind, 12));
  pool_ = PoolId{NewId("pool")};
  pool_account_ = AccountId{crypto::DeterministicId("payout/pool-account", pool_)};
  crypto::EntryBuilder created = Entry(kind::kPoolCreated, &pool_event_);
  Append(created.Cooperative(cooperative_).Subject(pool_).Id(tag::kAccount, pool_account_)
             .Document(Sign(founder_, "rochdale.payout.v1.PoolCreation",
                            Json{{"poolId", pool_.ToString()},
                                 {"cooperativeId", cooperative_.ToString()}}
                                .dump())));
  crypto::EntryBuilder opened = Entry(kind::kAccountOpened, nullptr);
  Append(opened.Subject(pool_account_).AuthorisedBy(pool_event_).Cooperative(cooperative_)
             .U64(tag::kAccountType, 4).Text(tag::kAsset, "token").I64(tag::kFloor, 0));
}

EventId SampleCooperative::Attest(const PrincipalId& principal, int level,
                                  const std::string& owner) {
  // A level of 0 is left out of what is signed.
  const int64_t until = 2 * time_us_;
  Json attestation = {{"principalId", principal.ToString()}, {"expiresUs", absl::StrCat(until)}};
  if (level > 0) attestation["level"] = level;
  const crypto::Digest id = crypto::Sha256(owner);
  if (!owner.empty()) attestation["beneficialOwners"] = {id.ToString()};
  EventId event;
  crypto::EntryBuilder attested = Entry(kind::kKycAttested, &event);
  attested.Subject(principal).AuthorisedBy(founded_).I64(tag::kExpiresUs, until)
      .U64(tag::kKycLevel, level + (Is(Fault::kOtherKyc) ? 1 : 0))
      .Document(Sign(founder_, "rochdale.governance.v1.KycAttestation", attestation.dump()));
  if (Is(Fault::kOtherOwner)) {
    attested.Bytes(tag::kOwners, crypto::Sha256("somebody").AsBytes());
  } else if (!owner.empty()) {
    attested.Bytes(tag::kOwners, id.AsBytes());
  }
  Append(attested);
  return event;
}

void SampleCooperative::Join(Member& member) {
  crypto::EntryBuilder registered = Entry(kind::kPrincipalRegistered, &member.registered);
  Append(registered.Subject(member.principal)
             .Bytes(tag::kRegisteredKey, member.key.public_key().AsBytes())
             .U64(tag::kPrincipalType, 1)
             .Document(Sign(member.key, "rochdale.governance.v1.PrincipalRegistration",
                            Json{{"name", member.name}}.dump(), /*publish=*/false)));
  // Some are attested twice: what counts is the last.
  const bool fifth = of_five_ && member.name == "member 4";
  if (fifth || member.name == "cleo") member.attested = Attest(member.principal, 1, "");
  const bool owned = fifth || member.name == "anna";
  if (!fifth || !Is(Fault::kAttestationHidden)) {
    member.attested =
        Attest(member.principal, member.name == "bela" ? 0 : 1, owned ? "x" : member.name);
  } else {
    Attest(member.principal, 1, "x");
  }
  EventId agent, asked;
  crypto::EntryBuilder registered_agent = Entry(kind::kAgentRegistered, &agent);
  Append(registered_agent.Subject(member.agent).AuthorisedBy(member.registered)
             .Id(tag::kPrincipal, member.principal)
             .Bytes(tag::kRegisteredKey, member.agent_key.public_key().AsBytes())
             .Document(Sign(member.key, "rochdale.governance.v1.AgentRegistration",
                            Json{{"agent_id", member.agent.ToString()},
                                 {"principal_id", member.principal.ToString()},
                                 {"public_key", member.agent_key.public_key().ToString()}}
                                .dump())));
  crypto::EntryBuilder requested = Entry(kind::kMembershipRequested, &asked);
  Append(requested.Cooperative(cooperative_).Subject(member.principal)
             .AuthorisedBy(Is(Fault::kNoAuthority) ? EventId{NewId("nothing")} : member.registered)
             .Document(Sign(member.key, "rochdale.governance.v1.MembershipApplication",
                            Json{{"cooperativeId", cooperative_.ToString()},
                                 {"principalId", member.principal.ToString()}}
                                .dump())));
  const Uuid mandate = NewId(absl::StrCat("mandate ", member.name));
  const int64_t expires = time_us_ * (Is(Fault::kExpiredMandate) ? 1 : 2);
  const Uuid granted_to = Is(Fault::kOtherMandate) ? NewId("somebody") : member.agent.value;
  crypto::EntryBuilder granted = Entry(kind::kMandateGranted, &member.mandate);
  Append(granted.Cooperative(cooperative_).Subject(mandate)
             .AuthorisedBy(asked).Id(tag::kPrincipal, member.principal)
             .Id(tag::kAgent, member.agent).I64(tag::kExpiresUs, expires)
             .U64(tag::kActions, 1 << 1 | 1 << 2).I64(tag::kNotBeforeUs, 0)
             .U64(tag::kBudgetPerDay, Is(Fault::kOtherBudget) ? 6 : 5).U64(tag::kBudgetTotal, 0)
             .Bytes(tag::kCounterparties, mandate.AsBytes())
             .Document(Sign(member.key, "rochdale.governance.v1.Mandate",
                            Json{{"mandateId", mandate.ToString()},
                                 {"cooperativeId", cooperative_.ToString()},
                                 {"principalId", member.principal.ToString()},
                                 {"agentId", granted_to.ToString()},
                                 {"actions", {"MANDATE_ACTION_SPEND", 1}},
                                 {"budgetPerDayMicrotokens", "5"},
                                 {"counterpartyAccountIds", {mandate.ToString()}},
                                 {"expiresUs", absl::StrCat(expires)}}
                                .dump())));
  crypto::EntryBuilder profile = Entry(kind::kProfileSet, nullptr);
  Append(profile.Cooperative(cooperative_).Subject(member.principal).U64(tag::kVersion, 1)
             .PrivateDocument(Sign(member.key, "rochdale.filter.v1.ValueProfile", "{}",
                                   /*publish=*/false),
                              crypto::Salt{crypto::Sha256(member.name).bytes}));
  if (!probe_.IsZero()) return;
  // One probe serves them all: the verifier sees no rows of it.
  probe_ = NewId("probe");
  crypto::EntryBuilder probe = Entry(kind::kProbeRegistered, nullptr);
  Append(probe.Cooperative(cooperative_).Subject(probe_).U64(tag::kVersion, 1)
             .U64(tag::kRowCount, 4'000).Digest(tag::kDataCommitment, crypto::Sha256("rows"))
             .PrivateDocument(Sign(member.key, "rochdale.filter.v1.Probe", "{}",
                                   /*publish=*/false),
                              crypto::Salt{crypto::Sha256("probe").bytes}));
}

// Nothing points at an entry by its index yet.
void SampleCooperative::Restart() {
  const uint64_t kept = leaves_.size();
  const crypto::NodeReader nodes = ReaderOf(leaves_);
  crypto::Digest root = crypto::TreeRoot(kept, nodes).value();
  if (Is(Fault::kRestartOfAnother)) root.bytes[3] ^= 1;
  const uint64_t lost = Is(Fault::kRestartOfNothing) ? kept : kept + 9;
  const crypto::Checkpoint last{kOrigin, lost, crypto::Sha256("of entries that nobody has")};
  origin_ = absl::StrCat(kOrigin, "-2");
  const Json statement = {
      {"origin", origin_},
      {"previousOrigin", kOrigin},
      {"previousSize", absl::StrCat(kept + (Is(Fault::kRestartToldOtherwise) ? 1 : 0))},
      {"previousRoot", root.ToString()},
      {"lastCheckpoint", crypto::FormatNote(*crypto::SignCheckpoint(last, log_key_))},
      {"reason", "a disk"}};
  const auto document = Sign(founder_, "rochdale.ledger.v1.LogRestart", statement.dump());
  const auto by_operator =
      crypto::SignDocument(Is(Fault::kRestartByStranger) ? customer_key_ : log_key_,
                           document.type, document.body);
  crypto::EntryBuilder started = Entry(kind::kLogStarted, nullptr);
  started.Bytes(tag::kRegisteredKey, log_key_.public_key().AsBytes()).Text(tag::kOrigin, origin_)
      .Text(tag::kPreviousOrigin, kOrigin).U64(tag::kPreviousSize, kept)
      .Digest(tag::kPreviousRoot, root).Document(document)
      .Bytes(tag::kOperatorSignature, by_operator.value().signature.AsBytes());
  Append(started);
  std::rotate(leaves_.begin(), leaves_.end() - 1, leaves_.end());
}

void SampleCooperative::PutBlob(const std::string& bytes) {
  files_[absl::StrCat("blobs/", crypto::Sha256(bytes).ToString())] = bytes;
}

void SampleCooperative::Publish() {
  const crypto::NodeReader nodes = ReaderOf(leaves_);
  for (const crypto::Tile& tile : crypto::TilesOf(leaves_.size())) {
    const auto bytes =
        tile.entries
            ? crypto::EntryBundleBytes(absl::MakeConstSpan(leaves_).subspan(
                  tile.index * crypto::kTileWidth, tile.width))
            : crypto::HashTileBytes(tile, nodes);
    Must(bytes.status());
    files_[absl::StrCat("log/", tile.Path())] = *bytes;
  }
  for (const size_t size : {first_head_, leaves_.size()}) {
    crypto::Checkpoint checkpoint{origin_, size, *crypto::TreeRoot(size, nodes)};
    if (Is(Fault::kForgedHead) && size == first_head_) checkpoint.root.bytes[0] ^= 1;
    const std::string note = crypto::FormatNote(*crypto::SignCheckpoint(checkpoint, log_key_));
    files_[absl::StrCat("log/checkpoints/", size)] = note;
    files_["log/checkpoint"] = note;
  }
  files_["log/origin.vkey"] = origin().ToString() + "\n";
  Seal();
}

void SampleCooperative::Seal() {
  files_.erase("manifest.json");
  files_.erase("manifest.sig");
  Json listed = Json::object();
  for (const auto& [path, bytes] : files_) {
    listed[path] = {{"sha256", crypto::Sha256(bytes).ToString()}, {"size", bytes.size()}};
  }
  const Json manifest = {
      {"format", 1}, {"cooperative_id", cooperative_.ToString()}, {"files", listed}};
  files_["manifest.json"] = manifest.dump();
  crypto::Note note{absl::StrCat("rochdale evidence bundle v1\n",
                                 crypto::Sha256(files_["manifest.json"]).ToString(), "\n"),
                    {}};
  note.signatures.push_back(*crypto::SignNote(origin_, log_key_, note.text));
  files_["manifest.sig"] = crypto::FormatNote(note);
}

void SampleCooperative::Replace(const std::string& path, const std::string& bytes) {
  files_[path] = bytes;
  Seal();
}

std::string SampleCooperative::Receipt(uint64_t index) const {
  crypto::TlogProof proof;
  proof.index = index;
  proof.hashes = *crypto::InclusionProof(index, leaves_.size(), ReaderOf(leaves_));
  proof.checkpoint = files_.at("log/checkpoint");
  proof.extra = leaves_.at(index);
  return proof.ToText();
}

void SampleCooperative::Write(const std::string& folder) const {
  for (const auto& [path, bytes] : files_) {
    const std::filesystem::path target = std::filesystem::path(folder) / path;
    std::filesystem::create_directories(target.parent_path());
    std::ofstream(target, std::ios::binary) << bytes;
  }
}

std::string SampleCooperative::Archive() const {
  std::string archive;
  for (const auto& [path, bytes] : files_) {
    std::string header(512, '\0');
    const auto put = [&](size_t at, const std::string& text) {
      header.replace(at, text.size(), text);
    };
    char size[12];
    std::snprintf(size, sizeof(size), "%011llo", static_cast<unsigned long long>(bytes.size()));
    const size_t slash = path.size() > 100 ? path.find('/') : std::string::npos;
    put(0, slash == std::string::npos ? path : path.substr(slash + 1));
    if (slash != std::string::npos) put(345, path.substr(0, slash));
    put(100, "0000644"), put(124, size), put(148, "        "), put(156, "0");
    put(257, std::string("ustar\0" "00", 8));
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<uint8_t>(c);
    char checksum[8];
    std::snprintf(checksum, sizeof(checksum), "%06o", sum);
    put(148, std::string(checksum, 7) + " ");
    archive += header + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
  }
  return archive + std::string(1024, '\0');
}

}  // namespace rochdale::verify
