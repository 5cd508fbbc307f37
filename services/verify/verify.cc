#include "services/verify/verify.h"

#include "absl/strings/str_cat.h"
#include "services/verify/bundle.h"
#include "services/verify/decisions.h"
#include "services/verify/documents.h"
#include "services/verify/epochs.h"
#include "services/verify/log.h"
#include "services/verify/manifest.h"
#include "services/verify/money.h"
#include "services/verify/rounds.h"
#include "services/verify/statements.h"

namespace rochdale::verify {
namespace {

void CheckCreditPart(const Request& request, const Bundle& bundle, const Log& log,
                     const CooperativeId& cooperative, Report& report) {
  const Rounds rounds = CheckRounds(bundle, log, cooperative, report);
  CheckCredits(bundle, log, cooperative, rounds, report);
  CheckRecomputation(bundle, rounds, request.recomputed_rounds, request.update, report);
}

void CheckMoneyPart(const Bundle& bundle, const Log& log, const Documents& documents,
                    Report& report) {
  CheckTransfers(log, documents, report);
  const Epochs epochs = CheckEpochs(log, documents, report);
  CheckStatements(bundle, log, epochs, report);
}

}  // namespace

Report Verify(const Request& request) {
  Report report;
  Check& files = report.Begin("files");
  const auto bundle = Bundle::Open(request.bundle);
  if (!files.Need(bundle.status(), request.bundle)) return report;
  files.Say(absl::StrCat(bundle->files().size(), " files, no links"));
  Check& key = report.Begin("origin-key");
  const auto own = OriginKey(*bundle);
  if (!key.Need(own.status(), "log/origin.vkey")) return report;
  if (request.origin) {
    key.Need(*own == *request.origin, "log/origin.vkey",
             absl::StrCat("the bundle is of the log ", own->ToString(), ", not of ",
                          request.origin->ToString()));
    key.Say("the key that was given");
  } else {
    key.Say("the bundle's own: it proves only that the bundle agrees with itself");
  }
  const crypto::NoteKey& origin = request.origin ? *request.origin : *own;
  const CooperativeId cooperative = CheckManifest(*bundle, origin, report);
  const std::optional<Log> log = CheckLog(*bundle, origin, report);
  if (!log) return report;
  CheckAuthority(*log, report);
  const Documents documents = CheckDocuments(*bundle, *log, report);
  CheckContents(*log, documents, report);
  const Part part = request.part;
  if (part == Part::kBundle || part == Part::kDecision) {
    CheckDecisions(*bundle, *log, cooperative, request.update, report);
    CheckRefusals(*log, report);
  }
  if (part == Part::kBundle || part == Part::kCredit) {
    CheckCreditPart(request, *bundle, *log, cooperative, report);
  }
  if (part == Part::kBundle || part == Part::kReplay) {
    CheckMoneyPart(*bundle, *log, documents, report);
  }
  return report;
}

}  // namespace rochdale::verify
