#include "libs/crypto/note.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/base64.h"
#include "libs/crypto/canonical.h"

namespace rochdale::crypto {
namespace {

constexpr absl::string_view kDash = "\xe2\x80\x94 ";  // U+2014, space

absl::Status Malformed(absl::string_view what) { return absl::InvalidArgumentError(what); }
absl::Status NotSigned(absl::string_view what) { return absl::DataLossError(what); }

absl::Status CheckText(absl::string_view text) {
  if (text.size() > kNoteMaxBytes) return Malformed("a note has at most 256 KiB");
  if (text.empty() || text.back() != '\n') return Malformed("a note's text ends in a newline");
  const auto control = [](char c) { return static_cast<uint8_t>(c) < 0x20 && c != '\n'; };
  if (!IsValidUtf8(text) || std::any_of(text.begin(), text.end(), control)) {
    return Malformed("a note is UTF-8 without control characters");
  }
  return absl::OkStatus();
}

std::string KeyMaterial(const NoteKey& key) {
  return absl::StrCat(std::string(1, static_cast<char>(key.algorithm)), key.key.AsBytes());
}

std::string CosignedMessage(int64_t time_s, absl::string_view text) {
  return absl::StrCat("cosignature/v1\ntime ", time_s, "\n", text);
}

absl::StatusOr<NoteSignature> ParseSignatureLine(absl::string_view line) {
  if (!absl::ConsumePrefix(&line, kDash)) return Malformed("a signature line begins with a dash");
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(line, absl::MaxSplits(' ', 1));
  if (!IsNoteName(parts.first)) return Malformed("a signature line has a malformed key name");
  const auto raw = Base64Decode(Base64::kStandard, parts.second);
  if (!raw.ok() || raw->size() < 5) return Malformed("a signature line has a malformed signature");
  CanonicalReader reader(*raw);
  NoteSignature signature{std::string(parts.first), reader.U32(), ""};
  signature.bytes = std::string(reader.Raw(reader.remaining()));
  return signature;
}

absl::StatusOr<NoteSignature> OnlySignatureOf(const Note& note, const NoteKey& key) {
  const uint32_t id = key.Id();
  const NoteSignature* found = nullptr;
  for (const NoteSignature& signature : note.signatures) {
    if (signature.name != key.name || signature.key_id != id) continue;
    if (found != nullptr) return NotSigned(absl::StrCat("signed twice by ", key.name));
    found = &signature;
  }
  if (found == nullptr) return NotSigned(absl::StrCat("not signed by ", key.name));
  return *found;
}

}  // namespace

bool IsNoteName(absl::string_view name) {
  // Every code point with the Unicode property White_Space.
  static constexpr absl::string_view kSpaces[] = {
      " ", "\t", "\n", "\v", "\f", "\r", "\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80",
      "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84",
      "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89",
      "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f",
      "\xe3\x80\x80"};
  if (name.empty() || name.size() > 255 || !IsValidUtf8(name)) return false;
  const auto forbidden = [](char c) { return c == '+' || static_cast<uint8_t>(c) < 0x20; };
  if (std::any_of(name.begin(), name.end(), forbidden)) return false;
  return std::none_of(std::begin(kSpaces), std::end(kSpaces),
                      [&](absl::string_view space) { return absl::StrContains(name, space); });
}

uint32_t NoteKey::Id() const {
  const Digest digest = Sha256(absl::StrCat(name, "\n", KeyMaterial(*this)));
  return CanonicalReader(digest.AsBytes()).U32();
}

std::string NoteKey::ToString() const {
  return absl::StrCat(name, "+", absl::Hex(Id(), absl::kZeroPad8), "+",
                      Base64Encode(Base64::kStandard, KeyMaterial(*this)));
}

absl::StatusOr<NoteKey> NoteKey::Parse(absl::string_view text) {
  // The base64 part may hold '+' as well.
  const std::vector<absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits('+', 2));
  if (parts.size() != 3) return Malformed("a verifier key is name+id+key");
  const auto material = Base64Decode(Base64::kStandard, parts[2]);
  if (!material.ok() || material->size() != 33) return Malformed("a verifier key has 33 bytes");
  NoteKey key;
  key.name = std::string(parts[0]);
  if (!IsNoteName(key.name)) return Malformed("a verifier key has a malformed name");
  switch ((*material)[0]) {
    case 1: key.algorithm = NoteAlgorithm::kEd25519; break;
    case 4: key.algorithm = NoteAlgorithm::kCosignatureV1; break;
    default: return Malformed("a verifier key has an unknown signature type");
  }
  ASSIGN_OR_RETURN(key.key, PublicKey::FromBytes(absl::string_view(*material).substr(1)));
  if (key.ToString() != text) return Malformed("a verifier key's id does not follow from its key");
  return key;
}

absl::StatusOr<NoteSignature> SignNote(absl::string_view name, const KeyPair& key,
                                       absl::string_view text) {
  RETURN_IF_ERROR(CheckText(text));
  if (!IsNoteName(name)) return Malformed("a malformed key name");
  const NoteKey signer{std::string(name), NoteAlgorithm::kEd25519, key.public_key()};
  return NoteSignature{signer.name, signer.Id(), std::string(key.Sign(text).AsBytes())};
}

absl::StatusOr<NoteSignature> CosignNote(absl::string_view name, const KeyPair& key,
                                         absl::string_view text, int64_t time_s) {
  RETURN_IF_ERROR(CheckText(text));
  if (!IsNoteName(name)) return Malformed("a malformed key name");
  if (time_s < 0) return Malformed("a cosignature's time is not negative");
  const NoteKey signer{std::string(name), NoteAlgorithm::kCosignatureV1, key.public_key()};
  CanonicalWriter bytes(72);
  bytes.I64(time_s).Raw(key.Sign(CosignedMessage(time_s, text)).AsBytes());
  return NoteSignature{signer.name, signer.Id(), std::move(bytes).Take()};
}

std::string FormatNote(const Note& note) {
  std::string bytes = absl::StrCat(note.text, "\n");
  for (const NoteSignature& signature : note.signatures) {
    CanonicalWriter raw(4 + signature.bytes.size());
    raw.U32(signature.key_id).Raw(signature.bytes);
    absl::StrAppend(&bytes, kDash, signature.name, " ",
                    Base64Encode(Base64::kStandard, raw.bytes()), "\n");
  }
  return bytes;
}

absl::StatusOr<Note> ParseNote(absl::string_view bytes) {
  RETURN_IF_ERROR(CheckText(bytes));
  const size_t blank = bytes.rfind("\n\n");
  if (blank == bytes.npos) return Malformed("a note has an empty line before its signatures");
  Note note;
  note.text = std::string(bytes.substr(0, blank + 1));
  absl::string_view lines = bytes.substr(blank + 2);
  while (!lines.empty()) {
    if (note.signatures.size() == kNoteMaxSignatures) return Malformed("more than 64 signatures");
    const size_t end = lines.find('\n');  // there is one: the note ends in a newline
    ASSIGN_OR_RETURN(NoteSignature signature, ParseSignatureLine(lines.substr(0, end)));
    note.signatures.push_back(std::move(signature));
    lines.remove_prefix(end + 1);
  }
  if (note.signatures.empty()) return Malformed("a note has at least one signature");
  return note;
}

absl::Status VerifyNote(const Note& note, const NoteKey& key) {
  if (key.algorithm != NoteAlgorithm::kEd25519) return NotSigned("a witness's key signs no notes");
  ASSIGN_OR_RETURN(const NoteSignature line, OnlySignatureOf(note, key));
  const auto signature = Signature::FromBytes(line.bytes);
  if (!signature.ok() || !Verify(key.key, note.text, *signature)) {
    return NotSigned(absl::StrCat("the signature of ", key.name, " does not verify"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> VerifyCosignature(const Note& note, const NoteKey& witness) {
  if (witness.algorithm != NoteAlgorithm::kCosignatureV1) {
    return NotSigned("not the key of a witness");
  }
  ASSIGN_OR_RETURN(const NoteSignature line, OnlySignatureOf(note, witness));
  CanonicalReader reader(line.bytes);
  const int64_t time_s = reader.I64();
  const auto signature = Signature::FromBytes(reader.Raw(64));
  if (!reader.Finished() || time_s < 0 || !signature.ok() ||
      !Verify(witness.key, CosignedMessage(time_s, note.text), *signature)) {
    return NotSigned(absl::StrCat("the cosignature of ", witness.name, " does not verify"));
  }
  return time_s;
}

std::string Checkpoint::ToText() const {
  return absl::StrCat(origin, "\n", size, "\n", Base64Encode(Base64::kStandard, root.AsBytes()),
                      "\n");
}

absl::StatusOr<uint64_t> ParseStrictDecimal(absl::string_view text) {
  const bool digits =
      !text.empty() && text.size() <= 20 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  uint64_t value = 0;
  if (!digits || (text.size() > 1 && text[0] == '0') || !absl::SimpleAtoi(text, &value)) {
    return Malformed("not a decimal number without leading zeros");
  }
  return value;
}

absl::StatusOr<Checkpoint> Checkpoint::Parse(absl::string_view text) {
  const std::vector<absl::string_view> lines = absl::StrSplit(text, absl::MaxSplits('\n', 4));
  if (lines.size() != 4 || !lines[3].empty() || lines[0].empty()) {
    return Malformed("a checkpoint has three lines");
  }
  Checkpoint checkpoint;
  checkpoint.origin = std::string(lines[0]);
  ASSIGN_OR_RETURN(checkpoint.size, ParseStrictDecimal(lines[1]));
  ASSIGN_OR_RETURN(const std::string raw, Base64Decode(Base64::kStandard, lines[2]));
  ASSIGN_OR_RETURN(checkpoint.root, Digest::FromBytes(raw));
  return checkpoint;
}

absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view bytes, const NoteKey& log) {
  ASSIGN_OR_RETURN(const Note note, ParseNote(bytes));
  RETURN_IF_ERROR(VerifyNote(note, log));
  ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Parse(note.text));
  if (checkpoint.origin != log.name) return NotSigned("the checkpoint is of another log");
  return checkpoint;
}

absl::StatusOr<Note> SignCheckpoint(const Checkpoint& checkpoint, const KeyPair& key) {
  Note note{checkpoint.ToText(), {}};
  ASSIGN_OR_RETURN(NoteSignature signature, SignNote(checkpoint.origin, key, note.text));
  note.signatures.push_back(std::move(signature));
  return note;
}

}  // namespace rochdale::crypto
