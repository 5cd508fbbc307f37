// What a log sends to a witness (c2sp.org/tlog-witness): a new checkpoint, and the proof that it
// continues the one that the witness has.
//
//   old <decimal size>
//   <base64 hash>            consistency proof, RFC 9162 2.1.4, a line each, at most 63
//   <empty line>
//   <checkpoint note>
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

// Of the answer that names the size that the witness has.
inline constexpr char kTlogSizeType[] = "text/x.tlog.size";

struct AddCheckpoint {
  uint64_t old_size = 0;
  std::vector<Digest> proof;
  std::string checkpoint;  // the bytes of the note

  std::string ToText() const;
  // INVALID_ARGUMENT for anything but the form above; the checkpoint is not looked into.
  static absl::StatusOr<AddCheckpoint> Parse(absl::string_view text);
  bool operator==(const AddCheckpoint&) const = default;
};

}  // namespace rochdale::crypto
