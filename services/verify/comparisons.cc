#include "services/verify/comparisons.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "services/attribution/comparison_evidence.h"
#include "services/verify/json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using attribution::ComparisonEvidence;
using crypto::Digest;
using crypto::Entry;

std::string PathOf(const Uuid& comparison) {
  return absl::StrCat("comparisons/", comparison.ToString(), ".json");
}

absl::Status Wrong(absl::string_view what) { return absl::DataLossError(what); }

bool IsCheckpoint(const Log& log, const CooperativeId& cooperative, const Digest& digest) {
  for (const size_t i : log.OfKind(kind::kCheckpointMade)) {
    if (log.at(i).cooperative == cooperative &&
        log.at(i).DigestAt(tag::kCheckpointDigest).value_or(Digest{}) == digest) {
      return true;
    }
  }
  return false;
}

// What holds of every test that has ended.
absl::Status CheckEnd(const Log& log, const Entry& started, const Entry& ended) {
  const auto seed = ended.Bytes(tag::kSeed);
  const Digest committed = started.DigestAt(tag::kSeedCommitment).value_or(Digest{});
  if (!seed.ok() || crypto::Sha256(*seed) != committed) {
    return Wrong("its seed does not open the commitment in COMPARISON_STARTED");
  }
  for (const uint16_t which : {tag::kParentDigest, tag::kCheckpointDigest}) {
    if (!IsCheckpoint(log, started.cooperative, started.DigestAt(which).value_or(Digest{}))) {
      return Wrong("it compares what is no checkpoint of the log");
    }
  }
  const bool failed = ended.U64(tag::kStatus).value_or(0) == 0;
  if (failed != (ended.Find(tag::kEvidenceDigest) == nullptr)) {
    return Wrong("it has evidence without a verdict, or a verdict without evidence");
  }
  return absl::OkStatus();
}

absl::Status CheckEvidence(const Bundle& bundle, const Log& log, const Entry& started,
                           const Entry& ended, const Rounds& rounds) {
  ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(PathOf(ended.subject), kJsonBytesMax));
  if (crypto::Sha256(bytes) != ended.DigestAt(tag::kEvidenceDigest).value_or(Digest{})) {
    return Wrong("its SHA-256 is not the evidence_digest in the log");
  }
  RETURN_IF_ERROR(ParseCanonicalObject(bytes).status());
  ASSIGN_OR_RETURN(const ComparisonEvidence evidence,
                   attribution::ParseComparisonEvidence(bytes));
  if (evidence.comparison.value != ended.subject || evidence.cooperative != ended.cooperative) {
    return Wrong("it is the evidence of another test");
  }
  if (evidence.a != started.DigestAt(tag::kParentDigest).value_or(Digest{}) ||
      evidence.b != started.DigestAt(tag::kCheckpointDigest).value_or(Digest{}) ||
      evidence.seed_sha256 != started.DigestAt(tag::kSeedCommitment).value_or(Digest{})) {
    return Wrong("its checkpoints or its seed are not those of COMPARISON_STARTED");
  }
  RETURN_IF_ERROR(CheckPool(log, evidence.cooperative, evidence.split_seed, evidence.pool,
                            evidence.pool_rows));
  for (const auto& [id, round] : rounds) {
    if (round.pool == evidence.pool && round.visible_rows != evidence.visible_rows) {
      return Wrong("its pool has other visible_rows than in the evidence of rounds");
    }
  }
  RETURN_IF_ERROR(attribution::CheckComparison(evidence));
  const attribution::Look& look = evidence.look;
  if (ended.U64(tag::kStatus).value_or(0) != static_cast<uint64_t>(look.verdict) ||
      ended.U64(tag::kRowCount).value_or(0) != static_cast<uint64_t>(look.rows) ||
      ended.I64(tag::kPhiNanoNats).value_or(look.difference + 1) != look.difference ||
      ended.I64(tag::kErrorNanoNats).value_or(-1) != look.standard_error) {
    return Wrong("the log gives it another result than its evidence");
  }
  return absl::OkStatus();
}

}  // namespace

void CheckComparisons(const Bundle& bundle, const Log& log, const CooperativeId& cooperative,
                      const Rounds& rounds, Report& report) {
  Check& check = report.Begin("comparisons");
  std::set<std::string> files;
  size_t ends = 0;
  for (const size_t i : log.OfKind(kind::kComparisonEnded)) {
    const Entry& ended = log.at(i);
    const std::string path = PathOf(ended.subject);
    if (ended.cooperative != cooperative && !bundle.Has(path)) continue;
    ++ends;
    const Entry* started = log.Only(kind::kComparisonStarted, ended.subject);
    if (!check.Need(started != nullptr && log.Only(kind::kComparisonEnded, ended.subject),
                    NameOf(log, ended), "the test was not started and ended once")) {
      continue;
    }
    if (!check.Need(CheckEnd(log, *started, ended), NameOf(log, ended))) continue;
    if (ended.Find(tag::kEvidenceDigest) == nullptr) continue;
    files.insert(path);
    check.Need(CheckEvidence(bundle, log, *started, ended, rounds), path);
  }
  for (const std::string& name : bundle.NamesIn("comparisons")) {
    const std::string path = absl::StrCat("comparisons/", name);
    check.Need(files.contains(path), path, "the log has no such test with evidence");
  }
  check.Say(absl::StrCat(ends, " A/B tests, ", files.size(), " ended where their rule ends them"));
}

}  // namespace rochdale::verify
