// C2SP signed notes (c2sp.org/signed-note), the checkpoints of a log in them
// (c2sp.org/tlog-checkpoint) and the cosignatures of witnesses (c2sp.org/tlog-cosignature).
//
// A note is a text that ends in a newline, an empty line, and signature lines
//   "— " key name " " base64(key id, 4 bytes big-endian | signature)
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

inline constexpr size_t kNoteMaxBytes = 256 * 1024;
inline constexpr size_t kNoteMaxSignatures = 64;

// The signature type byte of a key.
enum class NoteAlgorithm : uint8_t {
  kEd25519 = 1,        // over the text
  kCosignatureV1 = 4,  // over "cosignature/v1\ntime <s>\n" and the text; carries its time
};

// Whose signature a note may carry: name, algorithm and public key.
// Text form (verifier key): name "+" id, 8 hexadecimal digits "+" base64(algorithm | key).
struct NoteKey {
  std::string name;  // not empty, no spaces of any kind, no '+'
  NoteAlgorithm algorithm = NoteAlgorithm::kEd25519;
  PublicKey key;

  // The first 4 bytes of SHA-256(name | "\n" | algorithm | key).
  uint32_t Id() const;
  std::string ToString() const;
  // INVALID_ARGUMENT for anything but the text form, an id that does not follow included.
  static absl::StatusOr<NoteKey> Parse(absl::string_view text);
  bool operator==(const NoteKey&) const = default;
};

// Whether a key or log may be called so.
bool IsNoteName(absl::string_view name);

struct NoteSignature {
  std::string name;
  uint32_t key_id = 0;
  std::string bytes;  // what follows the key id
  bool operator==(const NoteSignature&) const = default;
};

struct Note {
  std::string text;  // ends in a newline
  std::vector<NoteSignature> signatures;
  bool operator==(const Note&) const = default;
};

// INVALID_ARGUMENT where `text` or `name` may not be in a note.
absl::StatusOr<NoteSignature> SignNote(absl::string_view name, const KeyPair& key,
                                       absl::string_view text);
// A witness's cosignature of a checkpoint's text, at `time_s` seconds since 1970 UTC.
absl::StatusOr<NoteSignature> CosignNote(absl::string_view name, const KeyPair& key,
                                         absl::string_view text, int64_t time_s);

// The note's bytes, and the strict inverse: INVALID_ARGUMENT for anything that FormatNote would
// not write, for text that is not UTF-8 or has control characters, and beyond the limits above.
std::string FormatNote(const Note& note);
absl::StatusOr<Note> ParseNote(absl::string_view bytes);

// OK if `note` has exactly one signature line of `key` and that verifies; else DATA_LOSS.
// Signatures of other keys are ignored, as the specification demands.
absl::Status VerifyNote(const Note& note, const NoteKey& key);
// The same for a cosignature; gives its time, seconds since 1970 UTC.
absl::StatusOr<int64_t> VerifyCosignature(const Note& note, const NoteKey& witness);

// The text of a log's signed tree head: origin, size and base64 root, a line each.
struct Checkpoint {
  std::string origin;
  uint64_t size = 0;
  Digest root;

  std::string ToText() const;
  // INVALID_ARGUMENT for anything but the three lines: extension lines are not used here, and
  // nobody could audit them.
  static absl::StatusOr<Checkpoint> Parse(absl::string_view text);
  bool operator==(const Checkpoint&) const = default;
};

// A decimal number with one spelling: no sign, no leading zeros. INVALID_ARGUMENT for others.
absl::StatusOr<uint64_t> ParseStrictDecimal(absl::string_view text);

// Parses `bytes`, verifies the signature of `log` and that the origin is the log's name: what a
// reader of a checkpoint does. INVALID_ARGUMENT or DATA_LOSS.
absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view bytes, const NoteKey& log);
// The note with a checkpoint, signed by its log, whose key name is the origin.
absl::StatusOr<Note> SignCheckpoint(const Checkpoint& checkpoint, const KeyPair& key);

}  // namespace rochdale::crypto
