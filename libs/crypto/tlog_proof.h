// Receipts: a proof, offline and in one text, that an entry is in a log (c2sp.org/tlog-proof).
//
//   c2sp.org/tlog-proof@v1
//   index <decimal>
//   <base64 hash>            inclusion proof, leaf's sibling first, a line each
//   <empty line>
//   <checkpoint note, verbatim>
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/note.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

struct TlogProof {
  uint64_t index = 0;
  std::vector<Digest> hashes;
  std::string checkpoint;  // the bytes of the note
  std::string extra;       // opaque, not authenticated; usually empty

  std::string ToText() const;
  // INVALID_ARGUMENT for anything but the form above; the checkpoint is not looked into.
  static absl::StatusOr<TlogProof> Parse(absl::string_view text);
  bool operator==(const TlogProof&) const = default;
};

// Whether `entry` (its canonical bytes) stands at the proof's index in the tree that `log` signed.
// Gives the checkpoint. INVALID_ARGUMENT or DATA_LOSS.
absl::StatusOr<Checkpoint> VerifyTlogProof(const TlogProof& proof, absl::string_view entry,
                                           const NoteKey& log);

}  // namespace rochdale::crypto
