#include "services/ledger/tree_heads.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/durable_file.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"

namespace rochdale::ledger {
namespace {

absl::Status CheckAgainst(pg::Transaction& tx, const TreeState& state,
                          const crypto::Checkpoint& checkpoint, absl::string_view where) {
  if (static_cast<int64_t>(checkpoint.size) > state.size) {
    return absl::DataLossError(absl::StrCat(
        "the database has ", state.size, " entries, but a checkpoint of ", checkpoint.size,
        " was signed (", where, "): it was restored to an earlier point"));
  }
  ASSIGN_OR_RETURN(const crypto::Digest root,
                   crypto::TreeRoot(checkpoint.size, ReadNodes(tx, state.size)));
  if (root == checkpoint.root) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the log has another root at size ", checkpoint.size,
                                          " than the checkpoint that was signed (", where, ")"));
}

}  // namespace

TreeHeads::TreeHeads(pg::Database& db, const Clock& clock, crypto::KeyPair key, std::string origin,
                     std::string file, obs::Gauge signed_size)
    : db_(db),
      clock_(clock),
      key_(std::move(key)),
      origin_(std::move(origin)),
      file_(std::move(file)),
      signed_size_(signed_size) {}

crypto::NoteKey TreeHeads::verifier_key() const {
  return {origin_, crypto::NoteAlgorithm::kEd25519, key_.public_key()};
}

absl::Status TreeHeads::Remember(const std::string& where, const std::string& note) {
  ASSIGN_OR_RETURN(const crypto::Checkpoint checkpoint,
                   crypto::OpenCheckpoint(note, verifier_key()));
  std::lock_guard lock(remembered_mutex_);
  crypto::Checkpoint& known = remembered_[where];
  if (checkpoint.size >= known.size) known = checkpoint;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<crypto::Checkpoint>> TreeHeads::ReadFile() const {
  const auto note = ReadWhole(file_, crypto::kNoteMaxBytes);
  if (!note.ok()) return absl::FailedPreconditionError(note.status().message());
  if (!note->has_value()) return std::nullopt;
  const auto checkpoint = crypto::OpenCheckpoint(**note, verifier_key());
  if (checkpoint.ok()) return *checkpoint;
  return absl::FailedPreconditionError(
      absl::StrCat(file_, " is not a checkpoint of the log ", origin_, " under its key: ",
                   checkpoint.status().message()));
}

absl::Status TreeHeads::CheckOrigin(pg::Transaction& tx, const TreeState& state) const {
  if (state.size == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::optional<LogEntry> first, FindEntry(tx, 0));
  if (!first.has_value()) return absl::DataLossError("the log lacks its first entry");
  ASSIGN_OR_RETURN(const crypto::Entry started, crypto::DecodeEntry(first->leaf));
  const auto origin = started.Text(crypto::tag::kOrigin);
  if (origin.ok() && *origin == origin_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the database has the log ", origin.ok() ? *origin : "of no origin", ", not ",
                   origin_));
}

absl::Status TreeHeads::Check(pg::Transaction& tx, const TreeState& state) const {
  RETURN_IF_ERROR(CheckOrigin(tx, state));
  ASSIGN_OR_RETURN(const std::optional<crypto::Checkpoint> last, ReadFile());
  if (last.has_value()) RETURN_IF_ERROR(CheckAgainst(tx, state, *last, file_));
  std::map<std::string, crypto::Checkpoint> remembered;
  {
    std::lock_guard lock(remembered_mutex_);
    remembered = remembered_;
  }
  for (const auto& [where, checkpoint] : remembered) {
    RETURN_IF_ERROR(CheckAgainst(tx, state, checkpoint, where));
  }
  return absl::OkStatus();
}

absl::StatusOr<TreeHead> TreeHeads::SignNow(absl::Time deadline) {
  std::lock_guard lock(signing_);
  TreeHead head;
  bool exists = false;
  RETURN_IF_ERROR(db_.Transact(deadline, [&](pg::Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const TreeState state, ReadTreeState(tx));
    ASSIGN_OR_RETURN(const std::optional<TreeHead> newest, FindNewestTreeHead(tx));
    exists = newest.has_value() && newest->size >= state.size;
    head = exists ? *newest : TreeHead{state.size, state.root, "", 0};
    return absl::OkStatus();
  }));
  if (exists) return head;
  if (head.size == 0) return absl::FailedPreconditionError("the log is empty");
  ASSIGN_OR_RETURN(const crypto::Note note,
                   crypto::SignCheckpoint(
                       {origin_, static_cast<uint64_t>(head.size), head.root}, key_));
  head.note = crypto::FormatNote(note);
  head.signed_us = absl::ToUnixMicros(clock_.Now());
  RETURN_IF_ERROR(WriteDurably(file_, head.note));
  RETURN_IF_ERROR(db_.Transact(deadline, [&](pg::Transaction& tx) {
    return InsertTreeHead(tx, head).status();
  }));
  signed_size_.Set(static_cast<double>(head.size));
  return head;
}

absl::StatusOr<std::string> TreeHeads::SignBundle(const crypto::Digest& manifest) const {
  crypto::Note note;
  note.text = absl::StrCat(kBundleLine, "\n", manifest.ToString(), "\n");
  ASSIGN_OR_RETURN(crypto::NoteSignature signature, crypto::SignNote(origin_, key_, note.text));
  note.signatures.push_back(std::move(signature));
  return crypto::FormatNote(note);
}

}  // namespace rochdale::ledger
