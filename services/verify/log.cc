#include "services/verify/log.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "services/verify/manifest.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

void CheckCosigned(const std::string& note, const crypto::NoteKey& witness,
                   const std::string& where, Check& check) {
  const auto parsed = crypto::ParseNote(note);
  if (!parsed.ok()) return;  // said where it was opened
  const auto cosigned = crypto::VerifyCosignature(*parsed, witness);
  if (!cosigned.ok()) {
    check.Fail(where, absl::StrCat("no cosignature of ", witness.name, ": ",
                                   cosigned.status().message()));
  }
}

void CheckWitnesses(const Bundle& bundle, const TreePlace& place, const LogKeys& keys,
                    Check& check) {
  const std::string where = absl::StrCat(place.base, "checkpoint");
  const auto note = bundle.Read(where, crypto::kNoteMaxBytes);
  if (!note.ok()) return;
  const std::string file = absl::StrCat(place.base, "witness.vkey");
  if (bundle.Has(file)) {
    const auto text = bundle.Read(file, 4096);
    if (!check.Need(text.status(), file)) return;
    const auto key = ParseKeyFile(*text);
    if (check.Need(key.status(), file)) CheckCosigned(*note, *key, where, check);
  }
  for (const crypto::NoteKey& witness : keys.witnesses) {
    CheckCosigned(*note, witness, where, check);
  }
}

absl::StatusOr<crypto::Checkpoint> OpenHead(const std::string& note,
                                            const crypto::NoteKey& origin) {
  ASSIGN_OR_RETURN(const crypto::Checkpoint checkpoint, crypto::OpenCheckpoint(note, origin));
  if (checkpoint.size == 0 || checkpoint.size >= crypto::kTreeMaxSize) {
    return absl::InvalidArgumentError("a log has entries");
  }
  return checkpoint;
}

absl::StatusOr<crypto::Checkpoint> ReadCheckpoint(const Bundle& bundle, const std::string& path,
                                                  const crypto::NoteKey& origin) {
  ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(path, crypto::kNoteMaxBytes));
  return OpenHead(bytes, origin);
}

// Whether an earlier head is one of this very log.
void CheckEarlierHead(const crypto::Checkpoint& earlier, const crypto::Checkpoint& last,
                      const Tree& tree, const std::string& where, Check& check) {
  if (!check.Need(earlier.size <= last.size, where, "it is beyond the log as it is here")) return;
  const auto root = crypto::TreeRoot(earlier.size, tree.Nodes());
  if (!check.Need(root.status(), where)) return;
  if (!check.Need(*root == earlier.root, where,
                  "the log's entries had another root at this size")) {
    return;
  }
  const auto proof = crypto::ConsistencyProof(earlier.size, last.size, tree.Nodes());
  if (!check.Need(proof.status(), where)) return;
  check.Need(crypto::VerifyConsistency(earlier.size, last.size, earlier.root, last.root, *proof),
             where);
}

void CheckEarlier(const Bundle& bundle, const TreePlace& place, const LogKeys& keys,
                  const crypto::Checkpoint& last, const Tree& tree, Check& check) {
  size_t count = 0;
  const std::string folder = absl::StrCat(place.base, "checkpoints");
  for (const std::string& name : bundle.NamesIn(folder)) {
    const std::string path = absl::StrCat(folder, "/", name);
    const auto checkpoint = ReadCheckpoint(bundle, path, keys.origin);
    if (!check.Need(checkpoint.status(), path)) continue;
    check.Need(absl::StrCat(checkpoint->size) == name, path, "it is of another size");
    CheckEarlierHead(*checkpoint, last, tree, path, check);
    ++count;
  }
  for (const std::string& note : keys.heads) {
    const auto checkpoint = OpenHead(note, keys.origin);
    const std::string where = absl::StrCat("the given checkpoint ", ++count);
    if (check.Need(checkpoint.status(), where)) {
      CheckEarlierHead(*checkpoint, last, tree, where, check);
    }
  }
  check.Say(absl::StrCat(count, " earlier tree heads"));
}

// Whether this is what a log begins with.
bool IsStart(const crypto::Entry& entry, const crypto::NoteKey& origin) {
  const auto name = entry.Text(tag::kOrigin);
  const auto key = entry.Bytes(tag::kRegisteredKey);
  return entry.kind == kind::kLogStarted && name.ok() && *name == origin.name && key.ok() &&
         *key == origin.key.AsBytes();
}

bool RestartsLog(const crypto::Entry& entry) {
  return entry.kind == kind::kLogStarted && entry.Find(tag::kPreviousOrigin) != nullptr;
}

// A log that was restored to an earlier point goes on under a new origin: a start with
// `previous_size`, and right after it the entries that were kept, which begin with their own start.
void CheckRestart(const Tree& tree, const std::vector<crypto::Entry>& entries, size_t at,
                  Check& check) {
  const crypto::Entry& entry = entries[at];
  const std::string where = absl::StrCat("entry ", at);
  const auto kept = entry.U64(tag::kPreviousSize);
  const auto root = entry.DigestAt(tag::kPreviousRoot);
  const auto origin = entry.Text(tag::kPreviousOrigin);
  if (!check.Need(kept.ok() && root.ok() && origin.ok() &&
                      entry.Find(tag::kSignature) != nullptr &&
                      entry.Find(tag::kOperatorSignature) != nullptr,
                  where, "it restarts a log without saying which, or without its signatures")) {
    return;
  }
  if (!check.Need(*kept > 0 && *kept < entries.size() - at, where,
                  "the entries that it says were kept are not there")) {
    return;
  }
  crypto::Frontier kept_tree;
  for (size_t i = at + 1; i <= at + *kept; ++i) {
    const auto leaf = tree.Nodes()(0, i);
    if (!check.Need(leaf.status(), where)) return;
    kept_tree.Append(*leaf);
  }
  check.Need(kept_tree.Root() == *root, where,
             "the entries that follow are not those that it says were kept");
  const auto previous = entries[at + 1].Text(tag::kOrigin);
  check.Need(entries[at + 1].kind == kind::kLogStarted && previous.ok() && *previous == *origin,
             where, "what follows does not begin the log that it says was restored");
}

// Takes the leaves, of which each goes when it is decoded: both at once would need twice the room.
std::optional<Log> CheckEntries(Tree& tree, const crypto::NoteKey& origin, Report& report) {
  std::vector<std::string> leaves = tree.TakeLeaves();
  Check& check = report.Begin("log-entries");
  std::vector<crypto::Entry> entries;
  entries.reserve(leaves.size());
  std::set<EventId> events;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const std::string where = absl::StrCat("entry ", i);
    auto entry = crypto::DecodeEntry(leaves[i]);
    leaves[i] = std::string();
    if (!check.Need(entry.status(), where)) continue;
    check.Need(crypto::CheckKind(*entry), where);
    check.Need(events.insert(entry->event_id).second, where, "its event id was used before");
    const bool starts = i == 0 || (entries.size() == i && RestartsLog(entries.back()));
    check.Need((entry->kind == kind::kLogStarted) == starts, where,
               "LOG_STARTED is the first entry, or follows one that restarts a log, and no other");
    check.Need(i > 0 || IsStart(*entry, origin), where,
               "it starts a log of another key or name");
    entries.push_back(*std::move(entry));
  }
  check.Say(absl::StrCat(entries.size(), " entries"));
  if (entries.size() != leaves.size()) return std::nullopt;
  for (size_t i = 0; i < entries.size() && RestartsLog(entries[i]); ++i) {
    CheckRestart(tree, entries, i, check);
  }
  return Log(std::move(entries));
}

}  // namespace

Log::Log(std::vector<crypto::Entry> entries) : entries_(std::move(entries)) {
  for (size_t i = 0; i < entries_.size(); ++i) {
    by_event_.emplace(entries_[i].event_id, i);
    by_kind_[entries_[i].kind].push_back(i);
    by_subject_[entries_[i].subject].push_back(i);
  }
}

const crypto::Entry* Log::Find(const EventId& event) const {
  const auto found = by_event_.find(event);
  return found == by_event_.end() ? nullptr : &entries_[found->second];
}

const std::vector<size_t>& Log::OfKind(uint16_t kind) const {
  static const auto* none = new std::vector<size_t>;
  const auto found = by_kind_.find(kind);
  return found == by_kind_.end() ? *none : found->second;
}

std::vector<const crypto::Entry*> Log::About(uint16_t kind, const Uuid& subject) const {
  std::vector<const crypto::Entry*> found;
  const auto indices = by_subject_.find(subject);
  if (indices == by_subject_.end()) return found;
  for (const size_t i : indices->second) {
    if (entries_[i].kind == kind) found.push_back(&entries_[i]);
  }
  return found;
}

const crypto::Entry* Log::Only(uint16_t kind, const Uuid& subject) const {
  const std::vector<const crypto::Entry*> found = About(kind, subject);
  return found.size() == 1 ? found.front() : nullptr;
}

std::string NameOf(const Log& log, const crypto::Entry& entry) {
  const crypto::KindInfo* info = crypto::FindKind(entry.kind);
  return absl::StrCat("entry ", log.IndexOf(entry), " (", info == nullptr ? "?" : info->name, ")");
}

static std::string TooLarge(const crypto::Checkpoint& checkpoint, const LogKeys& keys) {
  return absl::StrCat("the log has ", checkpoint.size, " entries, more than the ",
                      keys.entries_max, " that are verified at once: that takes about ",
                      checkpoint.size * kMebibytesPerMillion / 1'000'000,
                      " MiB of memory; --entries-max allows it");
}

std::optional<Log> CheckLog(const Bundle& bundle, const TreePlace& place, const LogKeys& keys,
                            Report& report) {
  const std::string path = absl::StrCat(place.base, "checkpoint");
  Check& head = report.Begin("log-checkpoint");
  const auto checkpoint = ReadCheckpoint(bundle, path, keys.origin);
  if (!head.Need(checkpoint.status(), path)) return std::nullopt;
  if (!head.Need(checkpoint->size <= keys.entries_max, path, TooLarge(*checkpoint, keys))) {
    return std::nullopt;
  }
  CheckWitnesses(bundle, place, keys, head);
  head.Say(absl::StrCat("size ", checkpoint->size, ", signed by ", keys.origin.name,
                        keys.witnesses.empty()
                            ? ""
                            : absl::StrCat(" and ", keys.witnesses.size(), " witnesses")));

  Check& tree_check = report.Begin("log-tree");
  Tree tree = CheckTree(bundle, place, *checkpoint, tree_check);
  tree_check.Say(absl::StrCat("root ", checkpoint->root.ToString(), " rebuilt from the entries"));
  CheckEarlier(bundle, place, keys, *checkpoint, tree, report.Begin("log-consistency"));
  if (tree.leaves().size() != checkpoint->size) return std::nullopt;
  return CheckEntries(tree, keys.origin, report);
}

}  // namespace rochdale::verify
