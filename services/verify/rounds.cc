#include "services/verify/rounds.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/commitment.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/learning/dataset.h"
#include "libs/learning/module_evaluator.h"
#include "services/verify/estimates.h"
#include "services/verify/json.h"
#include "services/verify/lineages.h"
#include "services/verify/value_bounds.h"
#include "services/verify/weights.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using attribution::Evidence;
using crypto::Digest;
using crypto::Entry;

constexpr size_t kLossesMax = size_t{1} << 28;  // of one round: 2 GiB

std::string PathOf(const RoundId& round) {
  return absl::StrCat("rounds/", round.ToString(), ".json");
}

Digest DigestOr(const Entry& entry, uint16_t tag) {
  return entry.DigestAt(tag).value_or(Digest{});
}

Uuid IdOr(const Entry& entry, uint16_t tag) { return entry.IdAt(tag).value_or(Uuid{}); }

absl::Status Wrong(absl::string_view what) { return absl::DataLossError(what); }

absl::StatusOr<Evidence> ReadEvidence(const Bundle& bundle, const Entry& made,
                                      const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(path, kJsonBytesMax));
  if (crypto::Sha256(bytes) != DigestOr(made, tag::kEvidenceDigest)) {
    return Wrong("its SHA-256 is not the evidence_digest in the log");
  }
  RETURN_IF_ERROR(ParseCanonicalObject(bytes).status());
  ASSIGN_OR_RETURN(Evidence evidence, attribution::ParseEvidence(bytes));
  if (evidence.round.value != made.subject) return Wrong("it is the evidence of another round");
  if (evidence.cooperative != made.cooperative) return Wrong("it is of another cooperative");
  if (evidence.losses_root != DigestOr(made, tag::kMatrixRoot)) {
    return Wrong("its losses_root is not the matrix_root in the log");
  }
  const auto rows = made.U64(tag::kRowCount);
  if (rows.ok() && *rows != evidence.rows.size()) return Wrong("the log has another row_count");
  return evidence;
}

// The log may end between a round's evidence and its close; not everything is said of it then.
bool IsUnderWay(const Log& log, const RoundId& round) {
  return log.About(kind::kRoundClosed, round.value).empty() &&
         log.About(kind::kRoundAbandoned, round.value).empty();
}

// What was said when the round opened.
absl::Status CheckOpening(const Log& log, const Evidence& evidence) {
  const Entry* opened = log.Only(kind::kRoundOpened, evidence.round.value);
  if (opened == nullptr) return Wrong("the round was not opened once");
  if (crypto::Sha256(evidence.seed.AsBytes()) != evidence.seed_sha256 ||
      DigestOr(*opened, tag::kSeedCommitment) != evidence.seed_sha256) {
    return Wrong("its seed does not open the commitment in ROUND_OPENED");
  }
  if (DigestOr(*opened, tag::kCheckpointDigest) != evidence.base) {
    return Wrong("base_sha256 is not the checkpoint of ROUND_OPENED");
  }
  if (opened->U64(tag::kRoundNumber).value_or(0) != static_cast<uint64_t>(evidence.number)) {
    return Wrong("number is not that of ROUND_OPENED");
  }
  return absl::OkStatus();
}

// What was said when it closed.
absl::Status CheckClosing(const Log& log, const Evidence& evidence) {
  const Entry* closed = log.Only(kind::kRoundClosed, evidence.round.value);
  if (closed == nullptr || !log.About(kind::kRoundAbandoned, evidence.round.value).empty()) {
    return Wrong("the round was not closed once");
  }
  const auto seed = closed->Bytes(tag::kSeed);
  if (seed.ok() && *seed != evidence.seed.AsBytes()) return Wrong("ROUND_CLOSED has another seed");
  if (DigestOr(*closed, tag::kCheckpointDigest) != evidence.next) {
    return Wrong("next_sha256 is not the checkpoint of ROUND_CLOSED");
  }
  const auto root = closed->DigestAt(tag::kMatrixRoot);
  if (root.ok() && *root != evidence.losses_root) return Wrong("ROUND_CLOSED has another root");
  const auto applied = static_cast<uint64_t>(__builtin_popcountll(evidence.applied_mask));
  if (closed->U64(tag::kUpdateCount).value_or(0) != applied) {
    return Wrong("ROUND_CLOSED applied another number of updates");
  }
  return absl::OkStatus();
}

// Checkpoints by version: each has the one before it as its parent, and those that no round made
// go back to an earlier one, on the word of somebody who signed.
std::map<CooperativeId, std::vector<const Entry*>> CheckVersions(const Log& log, Check& check) {
  std::map<CooperativeId, std::vector<const Entry*>> versions;
  for (const size_t i : log.OfKind(kind::kCheckpointMade)) {
    versions[log.at(i).cooperative].push_back(&log.at(i));
  }
  for (auto& [cooperative, made] : versions) {
    std::stable_sort(made.begin(), made.end(), [](const Entry* a, const Entry* b) {
      return a->U64(tag::kVersion).value_or(0) < b->U64(tag::kVersion).value_or(0);
    });
    std::set<Digest> earlier;
    for (size_t version = 0; version < made.size(); ++version) {
      const Entry& entry = *made[version];
      const std::string name = NameOf(log, entry);
      check.Need(entry.U64(tag::kVersion).value_or(0) == version, name, "a version is missing");
      const Digest parent =
          version == 0 ? Digest{} : DigestOr(*made[version - 1], tag::kCheckpointDigest);
      check.Need(DigestOr(entry, tag::kParentDigest) == parent, name,
                 "its parent is not the version before it");
      const Digest digest = DigestOr(entry, tag::kCheckpointDigest);
      if (version > 0 && entry.Find(tag::kRound) == nullptr) {
        check.Need(earlier.contains(digest) && entry.Find(tag::kPublicKey) != nullptr, name,
                   "no round made it, and nobody signed a way back to it");
      }
      earlier.insert(digest);
    }
  }
  return versions;
}

// Rounds by number: each starts from the checkpoint that the one before it made, or from what
// founders went back to since, and is compared with the checkpoint of the lowest loss so far, first
// the one that no round made.
void CheckSuccession(const Log& log, const Rounds& rounds, Check& check) {
  std::map<std::pair<CooperativeId, int64_t>, const Evidence*> by_number;
  for (const auto& [id, evidence] : rounds) {
    const auto key = std::pair(evidence.cooperative, evidence.number);
    check.Need(by_number.emplace(key, &evidence).second, PathOf(id), "its number is used twice");
  }
  const auto versions = CheckVersions(log, check);
  struct Expected {
    size_t version = 0;  // of base
    Digest base, best;
  };
  std::map<CooperativeId, Expected> expected;
  for (const auto& [cooperative, made] : versions) {
    const Digest first = DigestOr(*made[0], tag::kCheckpointDigest);
    expected[cooperative] = {0, first, first};
  }
  for (const auto& [key, evidence] : by_number) {
    auto& [version, base, best] = expected[evidence->cooperative];
    const auto made = versions.find(evidence->cooperative);
    while (made != versions.end() && version + 1 < made->second.size() &&
           made->second[version + 1]->Find(tag::kRound) == nullptr) {
      base = DigestOr(*made->second[++version], tag::kCheckpointDigest);
    }
    ++version;
    check.Need(evidence->base == base, PathOf(evidence->round),
               "base_sha256 is not what the round before it made");
    check.Need(evidence->best == best, PathOf(evidence->round),
               "best_sha256 is not the checkpoint of the lowest loss so far");
    base = evidence->next;
    for (size_t i = 0; i < evidence->masks.size(); ++i) {
      if (evidence->masks[i] != evidence->applied_mask) continue;
      if (evidence->coalition_loss_sums[i] < evidence->best_loss_sum) best = evidence->next;
    }
  }
}

// The checkpoints of a cooperative: each with its parent.
std::map<Digest, Digest> LineageOf(const Log& log, const CooperativeId& cooperative) {
  std::map<Digest, Digest> parents;
  for (const size_t i : log.OfKind(kind::kCheckpointMade)) {
    const Entry& made = log.at(i);
    if (made.cooperative != cooperative) continue;
    parents.emplace(DigestOr(made, tag::kCheckpointDigest), DigestOr(made, tag::kParentDigest));
  }
  return parents;
}

absl::Status CheckLineage(const Log& log, const Evidence& evidence) {
  const std::map<Digest, Digest> parents = LineageOf(log, evidence.cooperative);
  if (!parents.contains(evidence.base)) return Wrong("base_sha256 is no checkpoint of the log");
  if (!parents.contains(evidence.best)) return Wrong("best_sha256 is no checkpoint of the log");
  for (const Entry* made : log.About(kind::kCheckpointMade, evidence.round.value)) {
    if (DigestOr(*made, tag::kCheckpointDigest) == evidence.next &&
        DigestOr(*made, tag::kParentDigest) == evidence.base) {
      return absl::OkStatus();
    }
  }
  return Wrong("no CHECKPOINT_MADE makes next_sha256 of base_sha256 in this round");
}

// What is evaluated is what was admitted, and what the log says was applied.
absl::Status CheckUpdates(const Log& log, const Evidence& evidence) {
  std::set<UpdateId> seen;
  for (size_t i = 0; i < evidence.updates.size(); ++i) {
    const attribution::EvidenceUpdate& update = evidence.updates[i];
    const auto wrong = [&](absl::string_view what) {
      return Wrong(absl::StrCat("update ", update.update.ToString(), " ", what));
    };
    if (!seen.insert(update.update).second) return wrong("is there twice");
    const Entry* decision = log.Only(kind::kDecisionMade, update.update.value);
    const Entry* committed = log.Only(kind::kUpdateCommitted, update.update.value);
    if (decision == nullptr || committed == nullptr) return wrong("was not decided on once");
    if (IdOr(*decision, tag::kRound) != evidence.round.value) return wrong("is of another round");
    if (DigestOr(*decision, tag::kEffectiveDigest) != update.effective) {
      return wrong("was admitted with another effective digest");
    }
    if (IdOr(*committed, tag::kPrincipal) != update.principal.value) {
      return wrong("was committed by another principal");
    }
    const bool applied = evidence.applied_mask >> i & 1;
    const bool harmful = evidence.credits[i].harmful;
    const Entry* put = log.Only(kind::kUpdateApplied, update.update.value);
    const auto left_out = log.About(kind::kUpdateNotApplied, update.update.value);
    if (applied != (put != nullptr) || applied != left_out.empty()) {
      return wrong("is applied by the evidence or by the log, not by both");
    }
    for (const Entry* entry : left_out) {
      const char* const reason = harmful ? "NOT_APPLIED_HARMFUL" : "NOT_APPLIED_VALUES";
      if (entry->Text(tag::kReason).value_or("") != reason) {
        return wrong("was left out for another reason by the log than by the evidence");
      }
    }
    if (applied && DigestOr(*put, tag::kEffectiveDigest) != update.effective) {
      return wrong("was applied with another effective digest");
    }
  }
  // Nothing else of this round was applied.
  for (const size_t i : log.OfKind(kind::kUpdateApplied)) {
    if (IdOr(log.at(i), tag::kRound) != evidence.round.value) continue;
    if (!seen.contains(UpdateId{log.at(i).subject})) {
      return Wrong(absl::StrCat(NameOf(log, log.at(i)), " is not in the evidence"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDrawOf(const Log& log, const Evidence& evidence, const Rounds& rounds) {
  RETURN_IF_ERROR(CheckPool(log, evidence.cooperative, evidence.split_seed, evidence.pool,
                            evidence.pool_rows));
  // Before the list of a hostile size is made.
  if (evidence.pool_rows > learning::kDatasetRowsMax) return Wrong("pool_rows is out of bounds");
  std::set<int64_t> retired;
  for (const RoundId& earlier : evidence.retired_rounds) {
    const auto found = rounds.find(earlier);
    if (found == rounds.end() || found->second.number >= evidence.number) {
      return Wrong(absl::StrCat("retired round ", earlier.ToString(), " is no earlier round"));
    }
    retired.insert(found->second.rows.begin(), found->second.rows.end());
  }
  return attribution::CheckDraw(evidence, retired, static_cast<int64_t>(evidence.rows.size()));
}

absl::Status CheckCredit(const Bundle& bundle, const Log& log, const Entry& assigned,
                         const Rounds& rounds) {
  const auto round = rounds.find(RoundId{IdOr(assigned, tag::kRound)});
  if (round == rounds.end()) return Wrong("there is no evidence of its round");
  const Evidence& evidence = round->second;
  const auto found = std::find_if(
      evidence.credits.begin(), evidence.credits.end(),
      [&](const attribution::EvidenceCredit& c) { return c.update.value == assigned.subject; });
  if (found == evidence.credits.end()) return Wrong("its round has no credit of this update");
  const size_t bit = found - evidence.credits.begin();
  const Entry* made = log.Only(kind::kEvidenceMade, evidence.round.value);
  if (made == nullptr || DigestOr(assigned, tag::kEvidenceDigest) !=
                             DigestOr(*made, tag::kEvidenceDigest)) {
    return Wrong("the log gives it another evidence_digest than its round's");
  }
  if (assigned.I64(tag::kCreditNanoNats).value_or(-1) != found->credit) {
    return Wrong("the log gives it another credit than the round's evidence");
  }
  const auto phi = assigned.I64(tag::kPhiNanoNats), error = assigned.I64(tag::kErrorNanoNats);
  if ((phi.ok() && *phi != found->estimate) || (error.ok() && *error != found->standard_error)) {
    return Wrong("the log gives it another estimate than the round's evidence");
  }
  if (IdOr(assigned, tag::kPrincipal) != evidence.updates[bit].principal.value) {
    return Wrong("it was assigned to another principal");
  }
  const std::string path = absl::StrCat("credits/", assigned.subject.ToString(), ".json");
  ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(path, kJsonBytesMax));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseCanonicalObject(bytes));
  Members members(json);
  if (members.Int("format") != 1) members.Fail("format");
  const bool agrees =
      members.Int("credit_nanonats") == found->credit &&
      members.Typed<EventId>("event_id") == assigned.event_id &&
      members.Typed<Digest>("evidence_sha256") == DigestOr(assigned, tag::kEvidenceDigest) &&
      members.Int("log_index") == static_cast<int64_t>(log.IndexOf(assigned)) &&
      members.Typed<PrincipalId>("principal_id").value == IdOr(assigned, tag::kPrincipal) &&
      members.Typed<RoundId>("round_id") == evidence.round &&
      members.Typed<UpdateId>("update_id").value == assigned.subject;
  RETURN_IF_ERROR(members.status());
  if (!agrees) return Wrong("the file is not what the log says");
  return members.Done();
}

std::vector<Digest> BlobsOf(const Evidence& evidence, bool run_modules) {
  std::vector<Digest> blobs = {evidence.base, evidence.best, evidence.rows_sha256};
  for (const attribution::EvidenceUpdate& update : evidence.updates) {
    blobs.push_back(update.effective);
  }
  if (!evidence.model.exact()) {
    blobs.push_back(evidence.losses_sha256);
    if (run_modules) blobs.push_back(evidence.model.torchscript.module);
  }
  return blobs;
}

std::string BlobPath(const Digest& digest) { return absl::StrCat("blobs/", digest.ToString()); }

// Empty where everything is there.
std::string MissingBlob(const Bundle& bundle, const Evidence& evidence, bool run_modules) {
  for (const Digest& digest : BlobsOf(evidence, run_modules)) {
    if (!bundle.Has(BlobPath(digest))) return BlobPath(digest);
  }
  return "";
}

bool HasCredit(const Evidence& evidence) {
  return std::any_of(evidence.credits.begin(), evidence.credits.end(),
                     [](const attribution::EvidenceCredit& c) { return c.credit > 0; });
}

}  // namespace

absl::Status CheckPool(const Log& log, const CooperativeId& cooperative, const Digest& split_seed,
                       const Digest& pool, int64_t pool_rows) {
  const auto salt = crypto::Salt::FromBytes(split_seed.AsBytes());
  for (const size_t i : log.OfKind(kind::kValidationPoolSealed)) {
    const Entry& sealed = log.at(i);
    if (sealed.cooperative != cooperative) continue;
    if (DigestOr(sealed, tag::kDataCommitment) == crypto::Commitment(*salt, pool.AsBytes()) &&
        sealed.U64(tag::kRowCount).value_or(0) == static_cast<uint64_t>(pool_rows)) {
      return absl::OkStatus();
    }
  }
  return Wrong("split_seed and pool_sha256 open no commitment of VALIDATION_POOL_SEALED");
}

Rounds CheckRounds(const Bundle& bundle, const Log& log, const Documents& documents,
                   const CooperativeId& cooperative, Report& report) {
  Check& check = report.Begin("rounds");
  const Decisions decisions = DecisionsByRound(log);
  Rounds rounds;
  for (const size_t i : log.OfKind(kind::kEvidenceMade)) {
    const Entry& made = log.at(i);
    const std::string path = PathOf(RoundId{made.subject});
    if (made.cooperative != cooperative && !bundle.Has(path)) continue;
    auto evidence = ReadEvidence(bundle, made, path);
    if (!check.Need(evidence.status(), path)) continue;
    check.Need(CheckOpening(log, *evidence), path);
    check.Need(CheckValueBounds(log, documents, decisions, *evidence), path);
    if (!IsUnderWay(log, evidence->round)) {
      check.Need(CheckClosing(log, *evidence), path);
      check.Need(CheckLineage(log, *evidence), path);
      check.Need(CheckUpdates(log, *evidence), path);
      check.Need(CheckLineages(log, decisions, *evidence), path);
    }
    const bool first = rounds.emplace(evidence->round, *std::move(evidence)).second;
    check.Need(first, path, "the log has evidence of this round twice");
  }
  for (const std::string& name : bundle.NamesIn("rounds")) {
    const auto id = RoundId::Parse(name.substr(0, name.find('.')));
    const std::string path = absl::StrCat("rounds/", name);
    check.Need(id.ok() && PathOf(*id) == path && log.Only(kind::kEvidenceMade, id->value), path,
               "the log has no evidence of such a round");
  }
  CheckSuccession(log, rounds, check);
  check.Say(absl::StrCat(rounds.size(), " rounds as the log says, each from the one before"));

  Check& draw = report.Begin("draw");
  Check& estimates = report.Begin("estimates");
  for (const auto& [id, evidence] : rounds) {
    draw.Need(CheckDrawOf(log, evidence, rounds), PathOf(id));
    estimates.Need(CheckEstimates(evidence), PathOf(id));
    estimates.Need(CheckWeights(log, documents, rounds, evidence), PathOf(id));
  }
  draw.Say(absl::StrCat("the rows of ", rounds.size(), " rounds follow from committed seeds"));
  estimates.Say(absl::StrCat("the credits of ", rounds.size(), " rounds follow from v(S)"));
  return rounds;
}

void CheckCredits(const Bundle& bundle, const Log& log, const CooperativeId& cooperative,
                  const Rounds& rounds, Report& report) {
  Check& check = report.Begin("credits");
  std::set<std::string> files;
  absl::int128 sum = 0;
  for (const size_t i : log.OfKind(kind::kCreditAssigned)) {
    const Entry& assigned = log.at(i);
    const std::string name = absl::StrCat(assigned.subject.ToString(), ".json");
    const std::string path = absl::StrCat("credits/", name);
    if (assigned.cooperative != cooperative && !bundle.Has(path)) continue;
    check.Need(files.insert(name).second, NameOf(log, assigned), "its update was credited before");
    check.Need(CheckCredit(bundle, log, assigned, rounds), path);
    sum += assigned.I64(tag::kCreditNanoNats).value_or(0);
  }
  for (const std::string& name : bundle.NamesIn("credits")) {
    check.Need(files.contains(name), absl::StrCat("credits/", name), "the log has no such credit");
  }
  // A credit that evidence gives and the log does not would be one that nobody is paid for.
  for (const auto& [id, evidence] : rounds) {
    for (const attribution::EvidenceCredit& credit : evidence.credits) {
      if (IsUnderWay(log, id)) continue;
      check.Need(credit.credit == 0 || log.Only(kind::kCreditAssigned, credit.update.value),
                 PathOf(id), absl::StrCat("the log does not assign the credit of ",
                                          credit.update.ToString()));
    }
  }
  check.Say(absl::StrCat(files.size(), " credits, ", static_cast<int64_t>(sum), " nano-nats"));
}

void CheckRecomputation(const Bundle& bundle, const Rounds& rounds, int64_t count,
                        const std::optional<UpdateId>& only, bool run_modules, Report& report) {
  Check& check = report.Begin("recomputation");
  std::vector<const Evidence*> wanted;
  for (const auto& [id, evidence] : rounds) {
    const bool has = only ? std::any_of(evidence.updates.begin(), evidence.updates.end(),
                                        [&](const auto& u) { return u.update == *only; })
                          : HasCredit(evidence);
    if (has) wanted.push_back(&evidence);
  }
  if (only) check.Need(!wanted.empty(), only->ToString(), "no round evaluated this update");
  std::sort(wanted.begin(), wanted.end(), [](const Evidence* a, const Evidence* b) {
    return std::pair(a->number, a->round) > std::pair(b->number, b->round);
  });
  const size_t all = wanted.size();
  if (!only && count < static_cast<int64_t>(all)) {
    // Rows that are not retired yet are nobody's to see: take the last rounds that can be repeated.
    std::stable_partition(wanted.begin(), wanted.end(), [&](const Evidence* evidence) {
      return MissingBlob(bundle, *evidence, run_modules).empty();
    });
    wanted.resize(static_cast<size_t>(count));
  }
  const auto blobs = [&](const Digest& digest) -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(std::string bytes, bundle.Read(BlobPath(digest), kBlobBytesMax));
    if (crypto::Sha256(bytes) != digest) {
      return Wrong(absl::StrCat(BlobPath(digest), " has another SHA-256 than its name"));
    }
    return bytes;
  };
  learning::HostEvaluator host;
  learning::ModuleEvaluator modules(host, {});
  size_t of_modules = 0;
  for (const Evidence* evidence : wanted) {
    of_modules += !evidence->model.exact();
    const std::string missing = MissingBlob(bundle, *evidence, run_modules);
    if (!check.Need(missing.empty(), PathOf(evidence->round),
                    absl::StrCat("not replayable: ", missing, " is not there"))) {
      continue;
    }
    const size_t losses = (evidence->masks.size() + 1) * evidence->rows.size();
    if (check.Need(losses <= kLossesMax, PathOf(evidence->round), "too many losses to evaluate")) {
      learning::Evaluator* const runs = run_modules ? &modules : nullptr;
      check.Need(attribution::CheckRecomputation(*evidence, blobs, runs), PathOf(evidence->round));
    }
  }
  std::string what = absl::StrCat(wanted.size(), " of ", all,
                                  " rounds with credits evaluated again: the same integers");
  if (of_modules > 0 && run_modules) {
    absl::StrAppend(&what, "; ", of_modules, " of a module: losses within its tolerance");
  } else if (of_modules > 0) {
    absl::StrAppend(&what, "; ", of_modules, " of a module: losses not recomputed (--run-modules), "
                    "credits follow from those recorded");
  }
  check.Say(what);
}

}  // namespace rochdale::verify
