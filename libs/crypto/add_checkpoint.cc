#include "libs/crypto/add_checkpoint.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/base64.h"
#include "libs/crypto/note.h"

namespace rochdale::crypto {
namespace {

constexpr size_t kProofMax = 63;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a request to a witness: ", what));
}

absl::StatusOr<absl::string_view> TakeLine(absl::string_view& text) {
  const size_t end = text.find('\n');
  if (end == text.npos) return Malformed("it is cut off");
  const absl::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

}  // namespace

std::string AddCheckpoint::ToText() const {
  std::string text = absl::StrCat("old ", old_size, "\n");
  for (const Digest& hash : proof) {
    absl::StrAppend(&text, Base64Encode(Base64::kStandard, hash.AsBytes()), "\n");
  }
  return absl::StrCat(text, "\n", checkpoint);
}

absl::StatusOr<AddCheckpoint> AddCheckpoint::Parse(absl::string_view text) {
  AddCheckpoint request;
  ASSIGN_OR_RETURN(absl::string_view line, TakeLine(text));
  if (!absl::ConsumePrefix(&line, "old ")) return Malformed("it has no old size");
  ASSIGN_OR_RETURN(request.old_size, ParseStrictDecimal(line));
  for (;;) {
    ASSIGN_OR_RETURN(line, TakeLine(text));
    if (line.empty()) break;
    if (request.proof.size() == kProofMax) return Malformed("its proof is too long");
    ASSIGN_OR_RETURN(const std::string raw, Base64Decode(Base64::kStandard, line));
    ASSIGN_OR_RETURN(const Digest hash, Digest::FromBytes(raw));
    request.proof.push_back(hash);
  }
  if (text.empty() || text.size() > kNoteMaxBytes) return Malformed("its checkpoint is missing");
  request.checkpoint = std::string(text);
  return request;
}

}  // namespace rochdale::crypto
