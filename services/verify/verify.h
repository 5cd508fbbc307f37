// What rochdale-verify checks: a whole evidence bundle or a part of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/ids.h"
#include "libs/crypto/note.h"
#include "libs/replay/books.h"
#include "services/verify/log.h"
#include "services/verify/report.h"

namespace rochdale::verify {

enum class Part { kBundle, kLog, kCredit, kDecision, kReplay };

struct Request {
  Part part = Part::kBundle;
  // Directory or ustar archive of a bundle; of kLog and kReplay, a tlog-tiles tree by itself, too:
  // "checkpoint", "tile/...", and where they are there "checkpoints/<size>", "origin.vkey",
  // "witness.vkey".
  std::string bundle;
  std::optional<crypto::NoteKey> origin;       // from outside; nothing: the bundle's own
  std::vector<crypto::NoteKey> witnesses;      // from outside: each has cosigned the checkpoint
  std::vector<std::string> heads;              // earlier signed tree heads, kept outside
  uint64_t entries_max = kEntriesMax;          // a longer log is refused
  std::string tables;                          // of kReplay: an export (file) to be compared
  int64_t recomputed_rounds = 1;               // kEveryRound: all that have credits
  std::optional<UpdateId> update;              // of kCredit and kDecision; nothing: all
  bool run_modules = false;                    // evaluate TorchScript modules of the bundle
};

// All checks of the part. A bundle that cannot be opened fails the check "files". Manifest and log
// are checked in every part: the rest is worth what they are. kBundle and kReplay fill `books`,
// where it is not null.
Report Verify(const Request& request, replay::Books* books = nullptr);

}  // namespace rochdale::verify
