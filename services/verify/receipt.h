// Receipts: one entry and its place in the log, checked by themselves.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"
#include "libs/crypto/note.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// Check "receipt": a tlog-proof whose extra line holds the entry, under this key, and cosigned by
// each of the witnesses.
void CheckReceipt(absl::string_view text, const crypto::NoteKey& origin,
                  const std::vector<crypto::NoteKey>& witnesses, Report& report);

}  // namespace rochdale::verify
