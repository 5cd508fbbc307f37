// Signed documents: those in the bundle verify, and are what log entries say they are.
#pragma once

#include <map>

#include "libs/crypto/sha256.h"
#include "libs/crypto/signed_document.h"
#include "services/verify/bundle.h"
#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

using Documents = std::map<crypto::Digest, crypto::SignedDocument>;

// Check "documents". Gives those that verify.
Documents CheckDocuments(const Bundle& bundle, const Log& log, Report& report);

// Check "contents": what was signed is what the log says, by founders where only they may, and by
// agents under a mandate in force.
void CheckContents(const Log& log, const Documents& documents, Report& report);

}  // namespace rochdale::verify
