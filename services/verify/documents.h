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

}  // namespace rochdale::verify
