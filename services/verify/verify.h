// What rochdale-verify checks: a whole evidence bundle or a part of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "libs/base/ids.h"
#include "libs/crypto/note.h"
#include "services/verify/report.h"

namespace rochdale::verify {

enum class Part { kBundle, kLog, kCredit, kDecision, kReplay };

struct Request {
  Part part = Part::kBundle;
  std::string bundle;                          // directory or ustar archive
  std::optional<crypto::NoteKey> origin;       // from outside; nothing: the bundle's own
  int64_t recomputed_rounds = 1;               // kEveryRound: all that have credits
  std::optional<UpdateId> update;              // of kCredit and kDecision; nothing: all
};

// All checks of the part. A bundle that cannot be opened fails the check "files". Manifest and log
// are checked in every part: the rest is worth what they are.
Report Verify(const Request& request);

}  // namespace rochdale::verify
