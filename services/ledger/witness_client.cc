#include "services/ledger/witness_client.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"

namespace rochdale::ledger {
namespace {

constexpr absl::Duration kAnswerTimeMax = absl::Seconds(3);
constexpr size_t kAnswerBytesMax = 64 << 10;

// The line of the witness among those of its answer, if it verifies.
absl::StatusOr<std::string> TakeCosignature(const std::string& checkpoint,
                                            const std::string& lines,
                                            const crypto::NoteKey& witness) {
  ASSIGN_OR_RETURN(const crypto::Note note,
                   crypto::ParseNote(absl::StrCat(checkpoint, lines)));
  RETURN_IF_ERROR(crypto::VerifyCosignature(note, witness).status());
  for (const crypto::NoteSignature& signature : note.signatures) {
    if (signature.name != witness.name || signature.key_id != witness.Id()) continue;
    const std::string bare = crypto::FormatNote({note.text, {}});
    return crypto::FormatNote({note.text, {signature}}).substr(bare.size());
  }
  return absl::DataLossError("it did not cosign");
}

}  // namespace

absl::StatusOr<WitnessName> WitnessName::Parse(absl::string_view text) {
  const size_t equals = text.find('=');
  if (equals == text.npos || !(absl::StartsWith(text, "http://") ||
                               absl::StartsWith(text, "https://"))) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a witness: URL=verifier key"));
  }
  WitnessName name;
  name.url = std::string(absl::StripSuffix(text.substr(0, equals), "/"));
  ASSIGN_OR_RETURN(name.key, crypto::NoteKey::Parse(text.substr(equals + 1)));
  if (name.key.algorithm != crypto::NoteAlgorithm::kCosignatureV1) {
    return absl::InvalidArgumentError(
        absl::StrCat(name.key.name, ": the key of a log, not of a witness"));
  }
  return name;
}

WitnessClient::WitnessClient(WitnessName name)
    : name_(std::move(name)), client_(kAnswerTimeMax, kAnswerBytesMax) {}

absl::StatusOr<WitnessAnswer> WitnessClient::Add(const crypto::AddCheckpoint& request) {
  ASSIGN_OR_RETURN(const http::Reply reply,
                   client_.Post(name_.url + "/add-checkpoint", request.ToText()));
  WitnessAnswer answer;
  if (reply.code == 200) {
    auto cosignature = TakeCosignature(request.checkpoint, reply.body, name_.key);
    if (!cosignature.ok()) {
      return absl::DataLossError(absl::StrCat(name_.url, " gave no cosignature of ",
                                              name_.key.name, ": ",
                                              cosignature.status().message()));
    }
    answer.cosignature = *std::move(cosignature);
    return answer;
  }
  answer.refusal = absl::StrCat(reply.code, " ", absl::StripSuffix(reply.body, "\n"));
  if (reply.code == 409 && reply.type == crypto::kTlogSizeType) {
    absl::string_view size = reply.body;
    if (absl::ConsumeSuffix(&size, "\n")) {
      ASSIGN_OR_RETURN(answer.known_size, crypto::ParseStrictDecimal(size));
    }
  }
  if (reply.code >= 500) return absl::UnavailableError(absl::StrCat(name_.url, ": ",
                                                                    answer.refusal));
  return answer;
}

absl::StatusOr<std::optional<std::string>> WitnessClient::LastCheckpoint(
    const std::string& origin) {
  ASSIGN_OR_RETURN(http::Reply reply,
                   client_.Get(absl::StrCat(name_.url, "/last-checkpoint/",
                                            crypto::Sha256(origin).ToString())));
  if (reply.code == 200) return std::move(reply.body);
  if (reply.code >= 500) return absl::UnavailableError(absl::StrCat(name_.url, ": ", reply.code));
  return std::nullopt;
}

}  // namespace rochdale::ledger
