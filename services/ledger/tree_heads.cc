#include "services/ledger/tree_heads.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

namespace rochdale::ledger {
namespace {

absl::Status FileError(absl::string_view what, const std::string& path) {
  return absl::UnavailableError(absl::StrCat(what, " ", path, ": ", std::strerror(errno)));
}

absl::Status FlushPath(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return FileError("cannot open", path);
  const bool flushed = ::fsync(fd) == 0;
  ::close(fd);
  return flushed ? absl::OkStatus() : FileError("cannot flush", path);
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

absl::Status TreeHeads::Check(pg::Transaction& tx, const TreeState& state) const {
  std::ifstream in(file_, std::ios::binary);
  if (!in.is_open()) {
    // None was ever signed here: a new log, or a replica that never led.
    if (!std::filesystem::exists(file_)) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("cannot read ", file_));
  }
  std::ostringstream bytes;
  bytes << in.rdbuf();
  const auto checkpoint = crypto::OpenCheckpoint(bytes.str(), verifier_key());
  if (!checkpoint.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(file_, " is not a checkpoint of the log ", origin_, " under its key: ",
                     checkpoint.status().message()));
  }
  if (static_cast<int64_t>(checkpoint->size) > state.size) {
    return absl::DataLossError(
        absl::StrCat("the database has ", state.size, " entries, but a checkpoint of ",
                     checkpoint->size, " was signed: it was restored to an earlier point"));
  }
  ASSIGN_OR_RETURN(const crypto::Digest root,
                   crypto::TreeRoot(checkpoint->size, ReadNodes(tx, state.size)));
  if (root == checkpoint->root) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the log has another root at size ", checkpoint->size,
                                          " than the checkpoint that was signed"));
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
  RETURN_IF_ERROR(WriteFile(head.note));
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

absl::Status TreeHeads::WriteFile(const std::string& note) const {
  const std::string next = absl::StrCat(file_, ".next");
  {
    std::ofstream out(next, std::ios::binary | std::ios::trunc);
    out << note;
    out.flush();
    if (!out.good()) return FileError("cannot write", next);
  }
  RETURN_IF_ERROR(FlushPath(next, O_WRONLY));
  if (std::rename(next.c_str(), file_.c_str()) != 0) return FileError("cannot replace", file_);
  const std::string folder = std::filesystem::path(file_).parent_path().string();
  return FlushPath(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
}

}  // namespace rochdale::ledger
