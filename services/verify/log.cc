#include "services/verify/log.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tile.h"
#include "services/verify/manifest.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Digest;

constexpr char kCheckpoint[] = "log/checkpoint";
constexpr uint64_t kTileBytesMax = 256 * (crypto::kEntryMaxBytes + 2);

// Every perfect subtree of the log: [level][index].
using Nodes = std::vector<std::vector<Digest>>;

crypto::NodeReader ReaderOf(const Nodes& nodes) {
  return [&nodes](int level, uint64_t index) -> absl::StatusOr<Digest> {
    if (level >= static_cast<int>(nodes.size()) || index >= nodes[level].size()) {
      return absl::OutOfRangeError("the node lies beyond the tree");
    }
    return nodes[level][index];
  };
}

void CheckWitness(const Bundle& bundle, const std::string& note, Check& check) {
  constexpr char kFile[] = "log/witness.vkey";
  if (!bundle.Has(kFile)) return;
  const auto text = bundle.Read(kFile, 4096);
  if (!check.Need(text.status(), kFile)) return;
  const auto key = ParseKeyFile(*text);
  if (!check.Need(key.status(), kFile)) return;
  const auto parsed = crypto::ParseNote(note);
  if (parsed.ok()) check.Need(crypto::VerifyCosignature(*parsed, *key).status(), kCheckpoint);
}

absl::StatusOr<crypto::Checkpoint> ReadCheckpoint(const Bundle& bundle, const std::string& path,
                                                  const crypto::NoteKey& origin) {
  ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(path, crypto::kNoteMaxBytes));
  ASSIGN_OR_RETURN(const crypto::Checkpoint checkpoint, crypto::OpenCheckpoint(bytes, origin));
  if (checkpoint.size == 0 || checkpoint.size >= crypto::kTreeMaxSize) {
    return absl::InvalidArgumentError("a log has entries");
  }
  return checkpoint;
}

// The tiles that a tree of this size has, if they are there and no others are.
bool CheckTileNames(const Bundle& bundle, uint64_t size, Check& check) {
  const std::vector<std::string> names = bundle.NamesIn("log/tile");
  // Before the list of a hostile size is made.
  if (!check.Need(size / crypto::kTileWidth <= names.size(), kCheckpoint,
                  absl::StrCat("the tiles of ", size, " entries are not there"))) {
    return false;
  }
  std::set<std::string> wanted;
  for (const crypto::Tile& tile : crypto::TilesOf(size)) {
    const std::string path = absl::StrCat("log/", tile.Path());
    check.Need(bundle.Has(path), path, "it is missing");
    wanted.insert(path);
  }
  for (const std::string& name : names) {
    const std::string path = absl::StrCat("log/tile/", name);
    check.Need(wanted.contains(path), path, "no tile of this tree is called so");
  }
  return check.ok();
}

// Entries in order; the tree's nodes with them.
absl::StatusOr<std::vector<std::string>> ReadEntries(const Bundle& bundle, uint64_t size,
                                                     crypto::Frontier& tree, Nodes& nodes) {
  std::vector<std::string> leaves;
  const auto keep = [&nodes](int level, uint64_t, const Digest& hash) {
    if (level >= static_cast<int>(nodes.size())) nodes.resize(level + 1);
    nodes[level].push_back(hash);
  };
  for (const crypto::Tile& tile : crypto::TilesOf(size)) {
    if (!tile.entries) continue;
    const std::string path = absl::StrCat("log/", tile.Path());
    ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(path, kTileBytesMax));
    auto entries = crypto::ParseEntryBundle(tile, bytes);
    if (!entries.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", entries.status().message()));
    }
    for (std::string& entry : *entries) {
      tree.Append(crypto::LeafHash(entry), keep);
      leaves.push_back(std::move(entry));
    }
  }
  return leaves;
}

void CheckTiles(const Bundle& bundle, uint64_t size, const Nodes& nodes, Check& check) {
  for (const crypto::Tile& tile : crypto::TilesOf(size)) {
    if (tile.entries) continue;
    const std::string path = absl::StrCat("log/", tile.Path());
    const auto bytes = bundle.Read(path, kTileBytesMax);
    if (!check.Need(bytes.status(), path)) continue;
    const auto wanted = crypto::HashTileBytes(tile, ReaderOf(nodes));
    if (!check.Need(wanted.status(), path)) continue;
    check.Need(*bytes == *wanted, path, "its hashes are not those of the entries");
  }
}

void CheckEarlier(const Bundle& bundle, const crypto::NoteKey& origin,
                  const crypto::Checkpoint& last, const Nodes& nodes, Check& check) {
  std::map<uint64_t, Digest> roots;
  for (const std::string& name : bundle.NamesIn("log/checkpoints")) {
    const std::string path = absl::StrCat("log/checkpoints/", name);
    const auto checkpoint = ReadCheckpoint(bundle, path, origin);
    if (!check.Need(checkpoint.status(), path)) continue;
    check.Need(absl::StrCat(checkpoint->size) == name, path, "it is of another size");
    if (!check.Need(checkpoint->size <= last.size, path, "it is beyond the log of this bundle")) {
      continue;
    }
    const auto root = crypto::TreeRoot(checkpoint->size, ReaderOf(nodes));
    if (!check.Need(root.status(), path)) continue;
    check.Need(*root == checkpoint->root, path, "the log's entries had another root at this size");
    roots[checkpoint->size] = checkpoint->root;
  }
  for (const auto& [size, root] : roots) {
    const auto proof = crypto::ConsistencyProof(size, last.size, ReaderOf(nodes));
    const std::string path = absl::StrCat("log/checkpoints/", size);
    if (!check.Need(proof.status(), path)) continue;
    check.Need(crypto::VerifyConsistency(size, last.size, root, last.root, *proof), path);
  }
  check.Say(absl::StrCat(roots.size(), " earlier tree heads"));
}

// Whether this is what a log begins with.
bool IsStart(const crypto::Entry& entry, const crypto::NoteKey& origin) {
  const auto name = entry.Text(tag::kOrigin);
  const auto key = entry.Bytes(tag::kRegisteredKey);
  return entry.kind == kind::kLogStarted && name.ok() && *name == origin.name && key.ok() &&
         *key == origin.key.AsBytes();
}

std::optional<Log> CheckEntries(const std::vector<std::string>& leaves,
                                const crypto::NoteKey& origin, Report& report) {
  Check& check = report.Begin("log-entries");
  std::vector<crypto::Entry> entries;
  entries.reserve(leaves.size());
  std::set<EventId> events;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const std::string where = absl::StrCat("entry ", i);
    auto entry = crypto::DecodeEntry(leaves[i]);
    if (!check.Need(entry.status(), where)) continue;
    check.Need(crypto::CheckKind(*entry), where);
    check.Need(events.insert(entry->event_id).second, where, "its event id was used before");
    check.Need((entry->kind == kind::kLogStarted) == (i == 0), where,
               "LOG_STARTED is the first entry and no other");
    check.Need(i > 0 || IsStart(*entry, origin), where,
               "it starts a log of another key or name");
    entries.push_back(*std::move(entry));
  }
  check.Say(absl::StrCat(entries.size(), " entries"));
  if (entries.size() != leaves.size()) return std::nullopt;
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

std::optional<Log> CheckLog(const Bundle& bundle, const crypto::NoteKey& origin, Report& report) {
  Check& head = report.Begin("log-checkpoint");
  const auto checkpoint = ReadCheckpoint(bundle, kCheckpoint, origin);
  if (!head.Need(checkpoint.status(), kCheckpoint)) return std::nullopt;
  const auto note = bundle.Read(kCheckpoint, crypto::kNoteMaxBytes);
  if (note.ok()) CheckWitness(bundle, *note, head);
  head.Say(absl::StrCat("size ", checkpoint->size, ", signed by ", origin.name));

  Check& tree_check = report.Begin("log-tree");
  if (!CheckTileNames(bundle, checkpoint->size, tree_check)) return std::nullopt;
  crypto::Frontier tree;
  Nodes nodes(1);
  const auto leaves = ReadEntries(bundle, checkpoint->size, tree, nodes);
  if (!tree_check.Need(leaves.status(), "log/tile/entries")) return std::nullopt;
  CheckTiles(bundle, checkpoint->size, nodes, tree_check);
  tree_check.Need(tree.size() == checkpoint->size && tree.Root() == checkpoint->root,
                  "log/tile/entries", "the entries have another root than log/checkpoint signs");
  tree_check.Say(absl::StrCat("root ", checkpoint->root.ToString(), " rebuilt from the entries"));
  CheckEarlier(bundle, origin, *checkpoint, nodes, report.Begin("log-consistency"));
  return CheckEntries(*leaves, origin, report);
}

}  // namespace rochdale::verify
