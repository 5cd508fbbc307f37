#include "libs/crypto/tlog_proof.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/base64.h"
#include "libs/crypto/merkle.h"

namespace rochdale::crypto {
namespace {

constexpr absl::string_view kHeader = "c2sp.org/tlog-proof@v1";
constexpr size_t kMaxHashes = 64;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a tlog-proof: ", what));
}

// Takes the next line, without its newline, off `text`.
absl::StatusOr<absl::string_view> TakeLine(absl::string_view& text) {
  const size_t end = text.find('\n');
  if (end == text.npos) return Malformed("it is cut off");
  const absl::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

}  // namespace

std::string TlogProof::ToText() const {
  std::string text = absl::StrCat(kHeader, "\n");
  if (!extra.empty()) {
    absl::StrAppend(&text, "extra ", Base64Encode(Base64::kStandard, extra), "\n");
  }
  absl::StrAppend(&text, "index ", index, "\n");
  for (const Digest& hash : hashes) {
    absl::StrAppend(&text, Base64Encode(Base64::kStandard, hash.AsBytes()), "\n");
  }
  return absl::StrCat(text, "\n", checkpoint);
}

absl::StatusOr<TlogProof> TlogProof::Parse(absl::string_view text) {
  if (text.size() > 2 * kNoteMaxBytes) return Malformed("it is too large");
  TlogProof proof;
  ASSIGN_OR_RETURN(const absl::string_view header, TakeLine(text));
  if (header != kHeader) return Malformed("it has another first line");
  ASSIGN_OR_RETURN(absl::string_view line, TakeLine(text));
  if (absl::ConsumePrefix(&line, "extra ")) {
    ASSIGN_OR_RETURN(proof.extra, Base64Decode(Base64::kStandard, line));
    if (proof.extra.empty()) return Malformed("its extra line is empty");
    ASSIGN_OR_RETURN(line, TakeLine(text));
  }
  if (!absl::ConsumePrefix(&line, "index ")) return Malformed("it has no index");
  ASSIGN_OR_RETURN(proof.index, ParseStrictDecimal(line));
  for (;;) {
    ASSIGN_OR_RETURN(line, TakeLine(text));
    if (line.empty()) break;
    if (proof.hashes.size() == kMaxHashes) return Malformed("it has too many hashes");
    ASSIGN_OR_RETURN(const std::string raw, Base64Decode(Base64::kStandard, line));
    ASSIGN_OR_RETURN(const Digest hash, Digest::FromBytes(raw));
    proof.hashes.push_back(hash);
  }
  proof.checkpoint = std::string(text);
  return proof;
}

absl::StatusOr<Checkpoint> VerifyTlogProof(const TlogProof& proof, absl::string_view entry,
                                           const NoteKey& log) {
  ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(proof.checkpoint, log));
  RETURN_IF_ERROR(VerifyInclusion(proof.index, checkpoint.size, LeafHash(entry), proof.hashes,
                                  checkpoint.root));
  return checkpoint;
}

}  // namespace rochdale::crypto
