#include "services/witness/witness.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/add_checkpoint.h"
#include "libs/crypto/merkle.h"

namespace rochdale::witness {
namespace {

// The consistency of RFC 9162 with what is remembered, the empty tree included.
absl::Status CheckProof(const LastCheckpoint* last, const crypto::Checkpoint& next,
                        const std::vector<crypto::Digest>& proof) {
  if (last != nullptr) {
    return crypto::VerifyConsistency(last->checkpoint.size, next.size, last->checkpoint.root,
                                     next.root, proof);
  }
  return proof.empty() ? absl::OkStatus()
                       : absl::DataLossError("nothing is proved from the empty tree");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Witness>> Witness::Open(std::string name, crypto::KeyPair key,
                                                       std::vector<crypto::NoteKey> logs,
                                                       const std::string& folder,
                                                       const Clock& clock) {
  if (!crypto::IsNoteName(name)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" cannot be a witness's name"));
  }
  std::map<std::string, crypto::NoteKey> by_origin;
  for (const crypto::NoteKey& log : logs) {
    if (log.algorithm != crypto::NoteAlgorithm::kEd25519) {
      return absl::InvalidArgumentError(absl::StrCat(log.name, ": not the key of a log"));
    }
    if (!by_origin.emplace(log.name, log).second) {
      return absl::InvalidArgumentError(absl::StrCat(log.name, " has two keys"));
    }
  }
  crypto::NoteKey own{std::move(name), crypto::NoteAlgorithm::kCosignatureV1, key.public_key()};
  ASSIGN_OR_RETURN(LastCheckpoints last, LastCheckpoints::Open(folder, logs, own));
  std::unique_ptr<Witness> witness(
      new Witness(std::move(own), std::move(key), std::move(last), clock));
  for (const auto& [origin, log] : by_origin) witness->origins_[OriginName(origin)] = origin;
  witness->logs_ = std::move(by_origin);
  return witness;
}

Witness::Witness(crypto::NoteKey own, crypto::KeyPair key, LastCheckpoints last, const Clock& clock)
    : own_(std::move(own)), key_(std::move(key)), clock_(clock), last_(std::move(last)) {}

Answer Witness::Add(absl::string_view text) {
  const auto request = crypto::AddCheckpoint::Parse(text);
  if (!request.ok()) return {Verdict::kMalformed, std::string(request.status().message())};
  const auto note = crypto::ParseNote(request->checkpoint);
  if (!note.ok()) return {Verdict::kMalformed, std::string(note.status().message())};
  const auto checkpoint = crypto::Checkpoint::Parse(note->text);
  if (!checkpoint.ok()) return {Verdict::kMalformed, std::string(checkpoint.status().message())};
  const auto log = logs_.find(checkpoint->origin);
  if (log == logs_.end()) {
    return {Verdict::kUnknownLog, absl::StrCat("the log ", checkpoint->origin, " is not known")};
  }
  if (const absl::Status status = crypto::VerifyNote(*note, log->second); !status.ok()) {
    return {Verdict::kNotSigned, std::string(status.message())};
  }
  if (request->old_size > checkpoint->size || checkpoint->size >= crypto::kTreeMaxSize) {
    return {Verdict::kMalformed, "the old size is above the new one, or that is too large"};
  }
  std::lock_guard lock(mutex_);
  const LastCheckpoint* last = last_.Find(checkpoint->origin);
  const uint64_t known = last == nullptr ? 0 : last->checkpoint.size;
  if (request->old_size != known) {
    return {Verdict::kOtherSize, absl::StrCat("the old size is not ", known), known};
  }
  if (last != nullptr && checkpoint->size == known && checkpoint->root != last->checkpoint.root) {
    return {Verdict::kOtherSize, absl::StrCat("another root was cosigned at size ", known), known};
  }
  if (const absl::Status status = CheckProof(last, *checkpoint, request->proof); !status.ok()) {
    return {Verdict::kInconsistent, std::string(status.message())};
  }
  const auto cosignature =
      crypto::CosignNote(own_.name, key_, note->text, absl::ToUnixSeconds(clock_.Now()));
  if (!cosignature.ok()) {
    return {Verdict::kNotRemembered, std::string(cosignature.status().message())};
  }
  crypto::Note kept{note->text, {}};
  std::copy_if(note->signatures.begin(), note->signatures.end(),
               std::back_inserter(kept.signatures), [&](const crypto::NoteSignature& signature) {
                 return signature.name == log->first && signature.key_id == log->second.Id();
               });
  const std::string signed_by_log = crypto::FormatNote(kept);
  kept.signatures.push_back(*cosignature);
  std::string whole = crypto::FormatNote(kept);
  std::string line = whole.substr(signed_by_log.size());
  // One that is asked for again is remembered already: nobody can make the disk busy with it.
  if (last == nullptr || checkpoint->size > known) {
    if (const absl::Status status = last_.Put({*checkpoint, std::move(whole)}); !status.ok()) {
      return {Verdict::kNotRemembered, std::string(status.message())};
    }
  }
  return {Verdict::kCosigned, std::move(line), checkpoint->size};
}

std::optional<std::string> Witness::Last(absl::string_view origin_name) const {
  const auto origin = origins_.find(origin_name);
  if (origin == origins_.end()) return std::nullopt;
  std::lock_guard lock(mutex_);
  const LastCheckpoint* last = last_.Find(origin->second);
  if (last == nullptr) return std::nullopt;
  return last->note;
}

}  // namespace rochdale::witness
