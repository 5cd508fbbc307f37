#include "services/verify/verify.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/verify/bundle.h"
#include "services/verify/comparisons.h"
#include "services/verify/decisions.h"
#include "services/verify/documents.h"
#include "services/verify/epochs.h"
#include "services/verify/log.h"
#include "services/verify/manifest.h"
#include "services/verify/money.h"
#include "services/verify/rounds.h"
#include "services/verify/statements.h"
#include "services/verify/tables.h"

namespace rochdale::verify {
namespace {

Rounds CheckCreditPart(const Request& request, const Bundle& bundle, const Log& log,
                       const Documents& documents, const CooperativeId& cooperative,
                       Report& report) {
  Rounds rounds = CheckRounds(bundle, log, documents, cooperative, report);
  CheckCredits(bundle, log, cooperative, rounds, report);
  CheckRecomputation(bundle, rounds, request.recomputed_rounds, request.update,
                     request.run_modules, report);
  CheckComparisons(bundle, log, cooperative, rounds, report);
  return rounds;
}

replay::Books CheckMoneyPart(const Bundle& bundle, const Log& log, const Documents& documents,
                             const Rounds& rounds, Report& report) {
  replay::Books books = CheckTransfers(log, documents, report);
  const Epochs epochs = CheckEpochs(log, documents, report);
  CheckStatements(bundle, log, epochs, rounds, report);
  return books;
}

// Nothing where there is neither a bundle nor a tree by itself.
std::optional<TreePlace> PlaceOf(const Bundle& bundle, Part part) {
  if (bundle.Has("manifest.json") || !bundle.Has("checkpoint")) return TreePlace{};
  if (part != Part::kLog && part != Part::kReplay) return std::nullopt;
  return TreePlace{.base = "", .earlier_tiles = true};
}

// The files that a tree by itself may have; those of "tile" are the tree's check.
void CheckTreeFiles(const Bundle& bundle, Check& files) {
  for (const auto& [path, file] : bundle.files()) {
    files.Need(path == "checkpoint" || path == "origin.vkey" || path == "witness.vkey" ||
                   absl::StartsWith(path, "tile/") || absl::StartsWith(path, "checkpoints/"),
               path, "no file of a log is called so");
  }
}

// The key that the log is held against: the one from outside, which the log's own must be.
std::optional<crypto::NoteKey> CheckOriginKey(const Request& request, const Bundle& bundle,
                                              const TreePlace& place, Report& report) {
  Check& check = report.Begin("origin-key");
  const std::string file = absl::StrCat(place.base, "origin.vkey");
  if (request.origin && !bundle.Has(file) && place.base.empty()) {
    check.Say("the key that was given");
    return request.origin;
  }
  const auto own = OriginKey(bundle, file);
  if (!check.Need(own.status(), file)) return std::nullopt;
  if (!request.origin) {
    check.Say("the bundle's own: it proves only that the bundle agrees with itself");
    return *own;
  }
  check.Need(*own == *request.origin, file,
             absl::StrCat("the bundle is of the log ", own->ToString(), ", not of ",
                          request.origin->ToString()));
  check.Say("the key that was given");
  return request.origin;
}

}  // namespace

Report Verify(const Request& request, replay::Books* books) {
  Report report;
  Check& files = report.Begin("files");
  const auto bundle = Bundle::Open(request.bundle);
  if (!files.Need(bundle.status(), request.bundle)) return report;
  files.Say(absl::StrCat(bundle->files().size(), " files, no links"));
  const Part part = request.part;
  const std::optional<TreePlace> place = PlaceOf(*bundle, part);
  if (!files.Need(place.has_value(), request.bundle, "it is a log, not an evidence bundle")) {
    return report;
  }
  const bool whole = !place->base.empty();
  if (!whole) CheckTreeFiles(*bundle, files);
  const std::optional<crypto::NoteKey> origin = CheckOriginKey(request, *bundle, *place, report);
  if (!origin) return report;
  CooperativeId cooperative;
  if (whole) cooperative = CheckManifest(*bundle, *origin, report);
  const std::optional<Log> log =
      CheckLog(*bundle, *place, {*origin, request.witnesses, request.heads,
                                  request.entries_max}, report);
  if (!log) return report;
  CheckAuthority(*log, report);
  Documents documents;
  if (whole) {
    documents = CheckDocuments(*bundle, *log, report);
    CheckContents(*log, documents, report);
  }
  if (part == Part::kBundle || part == Part::kDecision) {
    CheckDecisions(*bundle, *log, cooperative, request.update, report);
    CheckRefusals(*log, report);
  }
  Rounds rounds;
  if (part == Part::kBundle || part == Part::kCredit) {
    rounds = CheckCreditPart(request, *bundle, *log, documents, cooperative, report);
  }
  if (part == Part::kBundle || part == Part::kReplay) {
    replay::Books found = whole ? CheckMoneyPart(*bundle, *log, documents, rounds, report)
                                : CheckTransfers(*log, documents, report);
    if (!request.tables.empty()) CheckTables(*log, request.tables, report);
    if (books != nullptr) *books = std::move(found);
  }
  return report;
}

}  // namespace rochdale::verify
