#include "services/ledger/audit.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/replay/comparison.h"
#include "services/ledger/audit_store.h"
#include "services/ledger/audit_tree.h"
#include "services/ledger/log_store.h"

namespace rochdale::ledger {
namespace {

constexpr size_t kProblemsKept = 100;
constexpr size_t kIdsAtOnce = 500;

// One audit.
class Auditing {
 public:
  Auditing(pg::Transaction& tx, const AuditOptions& options)
      : tx_(tx),
        options_(options),
        tree_([this](int level, int64_t index) { return FindTile(tx_, level, index); },
              [this](const std::string& what) { Say(what); }) {}

  absl::StatusOr<Audit> Run() {
    ASSIGN_OR_RETURN(state_, ReadTreeState(tx_));
    RETURN_IF_ERROR(WatchHeads());
    ASSIGN_OR_RETURN(Reader<replay::TableRow> history,
                     Reader<replay::TableRow>::Open(tx_, kHistory));
    history_.emplace(std::move(history));
    ASSIGN_OR_RETURN(next_history_, history_->Next());
    RETURN_IF_ERROR(ReadLeaves());
    RETURN_IF_ERROR(CheckIds());
    RETURN_IF_ERROR(tree_.Finish(state_.frontier, state_.root));
    if (tree_.size() != state_.size) {
      Say(absl::StrCat("leaf_chunks: there are ", tree_.size(), " entries, and tree_state says ",
                       state_.size));
    }
    RETURN_IF_ERROR(CheckHeads());
    RETURN_IF_ERROR(CheckState());
    RETURN_IF_ERROR(CheckCounts());
    RETURN_IF_ERROR(CheckDocuments());
    audit_.entries = tree_.size();
    audit_.transfers = books_.books().transfers();
    audit_.accounts = static_cast<int64_t>(books_.books().accounts().size());
    audit_.rows = books_.rows();
    return std::move(audit_);
  }

 private:
  void Say(const std::string& what) {
    ++audit_.problem_count;
    if (audit_.problems.size() < kProblemsKept) audit_.problems.push_back(what);
  }
  // Of a comparison: after the first difference nothing else can be said of the tables.
  void Need(const absl::Status& status) {
    if (status.ok() || !comparing_) return;
    Say(std::string(status.message()));
    comparing_ = false;
  }

  absl::Status WatchHeads() {
    ASSIGN_OR_RETURN(Reader<TreeHead> heads, Reader<TreeHead>::Open(tx_, kTreeHeads));
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<TreeHead> head, heads.Next());
      if (!head) break;
      heads_.push_back(*head);
    }
    audit_.heads = static_cast<int64_t>(heads_.size());
    std::vector<int64_t> sizes;
    for (const TreeHead& head : heads_) sizes.push_back(head.size);
    const auto last = crypto::ParseNote(options_.last_checkpoint);
    const auto checkpoint =
        last.ok() ? crypto::Checkpoint::Parse(last->text)
                  : absl::StatusOr<crypto::Checkpoint>(absl::InvalidArgumentError("no note"));
    if (!options_.last_checkpoint.empty() && !checkpoint.ok()) {
      Say("last-checkpoint: it is no checkpoint");
    }
    if (checkpoint.ok()) {
      last_ = *checkpoint;
      sizes.push_back(static_cast<int64_t>(last_->size));
    }
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    tree_.Watch(std::move(sizes));
    return absl::OkStatus();
  }

  absl::Status ReadLeaves() {
    ASSIGN_OR_RETURN(Reader<Chunk> chunks, Reader<Chunk>::Open(tx_, kLeafChunks));
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<Chunk> chunk, chunks.Next());
      if (!chunk) return absl::OkStatus();
      const int64_t expected = tree_.size();
      if (chunk->first_index != expected) {
        Say(absl::StrCat("leaf_chunks: after entry ", expected - 1, " comes entry ",
                         chunk->first_index));
        comparing_ = false;
        if (chunk->first_index < expected) continue;
        // What is missing is missing; what follows is still held against its tiles.
        if (chunk->first_index > state_.size) return absl::OkStatus();
        while (tree_.size() < chunk->first_index) RETURN_IF_ERROR(tree_.Add(std::nullopt));
      }
      if (chunk->posted_us < posted_us_) {
        Say(absl::StrCat("leaf_chunks: the chunk at entry ", chunk->first_index,
                         " was posted before the one before it"));
      }
      posted_us_ = std::max(posted_us_, chunk->posted_us);
      RETURN_IF_ERROR(ReadChunk(*chunk));
      if (options_.progress && tree_.size() / 100'000 != expected / 100'000) {
        options_.progress(tree_.size());
      }
    }
  }

  absl::Status ReadChunk(const Chunk& chunk) {
    absl::string_view left = chunk.leaves;
    for (int64_t i = 0; i < chunk.count; ++i) {
      std::optional<std::string> leaf;
      if (left.size() >= 2) {
        const size_t size = static_cast<uint8_t>(left[0]) * 256u + static_cast<uint8_t>(left[1]);
        if (size <= left.size() - 2) leaf = std::string(left.substr(2, size));
      }
      if (leaf) {
        left.remove_prefix(2 + leaf->size());
      } else {
        left = "";
      }
      RETURN_IF_ERROR(CheckLeaf(leaf, chunk));
      RETURN_IF_ERROR(tree_.Add(leaf));
    }
    if (!left.empty()) {
      Say(absl::StrCat("leaf_chunks: the chunk at entry ", chunk.first_index,
                       " holds more than its ", chunk.count, " entries"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckLeaf(const std::optional<std::string>& leaf, const Chunk& chunk) {
    const int64_t index = tree_.size();
    const auto entry = leaf ? crypto::DecodeEntry(*leaf)
                            : absl::StatusOr<crypto::Entry>(
                                  absl::DataLossError("its bytes are not there"));
    const absl::Status good = entry.ok() ? crypto::CheckKind(*entry) : entry.status();
    if (!good.ok()) {
      Say(absl::StrCat("leaf_chunks: entry ", index, " cannot be read: ", good.message()));
      comparing_ = false;
      return absl::OkStatus();
    }
    const bool own = entry->service == crypto::Service::kLedger &&
                     entry->kind != crypto::kind::kLogStarted;
    if (own && entry->time_us != chunk.posted_us) {
      Say(absl::StrCat("leaf_chunks: entry ", index, " is of another time than its chunk"));
    }
    ids_.push_back(entry->event_id.value);
    const bool transfer = entry->kind == crypto::kind::kTransferPosted;
    id_results_.push_back({index, transfer ? 1 : 0});
    if (!transfer && !entry->subject.IsZero()) {
      subjects_.push_back(entry->subject);
      subject_indexes_.push_back(index);
      subject_kinds_.push_back(entry->kind);
      ++subject_rows_;
    }
    if (ids_.size() >= kIdsAtOnce) RETURN_IF_ERROR(CheckIds());
    if (!comparing_) return absl::OkStatus();
    Need(books_.Next(*entry));
    while (comparing_ && next_history_ &&
           std::get<replay::HistoryRow>(*next_history_).log_index <= index) {
      Need(books_.Check(*next_history_));
      ASSIGN_OR_RETURN(next_history_, history_->Next());
    }
    return absl::OkStatus();
  }

  absl::Status CheckIds() {
    ASSIGN_OR_RETURN(const auto known, FindIds(tx_, ids_));
    for (size_t i = 0; i < ids_.size(); ++i) {
      const auto found = known.find(ids_[i]);
      const KnownId& wanted = id_results_[i];
      const std::string where = absl::StrCat("event_ids, ", ids_[i].ToString());
      if (found == known.end()) {
        Say(absl::StrCat(where, ": it is missing; it is the event of entry ", wanted.log_index));
      } else if (found->second.log_index != wanted.log_index ||
                 found->second.result != wanted.result) {
        Say(absl::StrCat(where, ": it leads to entry ", found->second.log_index, " (result ",
                         found->second.result, "), not to ", wanted.log_index, " (",
                         wanted.result, ")"));
      }
    }
    ASSIGN_OR_RETURN(const int64_t stand,
                     CountSubjects(tx_, subjects_, subject_indexes_, subject_kinds_));
    if (stand != static_cast<int64_t>(subjects_.size())) {
      for (size_t i = 0; i < subjects_.size(); ++i) {
        ASSIGN_OR_RETURN(const int64_t one, CountSubjects(tx_, {subjects_[i]},
                                                          {subject_indexes_[i]},
                                                          {subject_kinds_[i]}));
        if (one == 1) continue;
        Say(absl::StrCat("entry_subjects, ", subjects_[i].ToString(), ": it lacks entry ",
                         subject_indexes_[i]));
      }
    }
    ids_.clear(), id_results_.clear();
    subjects_.clear(), subject_indexes_.clear(), subject_kinds_.clear();
    return absl::OkStatus();
  }

  absl::Status CheckHeads() {
    for (const TreeHead& head : heads_) {
      const std::string where = absl::StrCat("tree_heads, size ", head.size);
      const auto note = crypto::ParseNote(head.note);
      const auto checkpoint =
          options_.origin ? crypto::OpenCheckpoint(head.note, *options_.origin)
          : note.ok()     ? crypto::Checkpoint::Parse(note->text)
                          : absl::StatusOr<crypto::Checkpoint>(note.status());
      if (!checkpoint.ok()) {
        Say(absl::StrCat(where, ": ", checkpoint.status().message()));
        continue;
      }
      const std::optional<crypto::Digest> root = tree_.RootAt(head.size);
      if (checkpoint->size != static_cast<uint64_t>(head.size) || checkpoint->root != head.root) {
        Say(absl::StrCat(where, ": its note is of another tree"));
      } else if (!root) {
        Say(absl::StrCat(where, ": the log has only ", tree_.size(), " entries"));
      } else if (*root != head.root) {
        Say(absl::StrCat(where, ": the log had another root at this size"));
      }
    }
    if (!last_) return absl::OkStatus();
    if (options_.origin) {
      const auto opened = crypto::OpenCheckpoint(options_.last_checkpoint, *options_.origin);
      if (!opened.ok()) Say(absl::StrCat("last-checkpoint: ", opened.status().message()));
    }
    const std::optional<crypto::Digest> root = tree_.RootAt(static_cast<int64_t>(last_->size));
    if (!root) {
      Say(absl::StrCat("last-checkpoint: a tree of ", last_->size,
                       " entries was signed, and the log has ", tree_.size()));
    } else if (*root != last_->root) {
      Say("last-checkpoint: the log had another root at its size");
    }
    return absl::OkStatus();
  }

  // The tables that say how things stand now.
  absl::Status CheckState() {
    if (next_history_) Need(books_.Check(*next_history_));
    for (const Table<replay::TableRow>& table : StateTables()) {
      if (!comparing_) return absl::OkStatus();
      ASSIGN_OR_RETURN(Reader<replay::TableRow> rows,
                       Reader<replay::TableRow>::Open(tx_, table));
      while (comparing_) {
        ASSIGN_OR_RETURN(const std::optional<replay::TableRow> row, rows.Next());
        if (!row) break;
        Need(books_.Check(*row));
      }
    }
    if (comparing_) Need(books_.Finish());
    return absl::OkStatus();
  }

  absl::Status CheckCounts() {
    ASSIGN_OR_RETURN(const Counts counts, CountRows(tx_));
    int64_t tiles = 0;
    for (int64_t n = tree_.size() >> kTileHeight; n > 0; n >>= kTileHeight) tiles += n;
    const auto same = [&](absl::string_view table, int64_t found, int64_t wanted) {
      if (found != wanted) {
        Say(absl::StrCat(table, ": there are ", found, " rows, and the log gives ", wanted));
      }
    };
    same("tiles", counts.tiles, tiles);
    same("event_ids", counts.logged_ids, tree_.size());
    same("event_ids of no reason", counts.wrong_ids, 0);
    same("entry_subjects", counts.subjects, subject_rows_);
    return absl::OkStatus();
  }

  absl::Status CheckDocuments() {
    ASSIGN_OR_RETURN(Reader<StoredDocument> documents,
                     Reader<StoredDocument>::Open(tx_, kDocuments));
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<StoredDocument> stored, documents.Next());
      if (!stored) return absl::OkStatus();
      const std::string where = absl::StrCat("documents, ", stored->digest.ToString());
      if (crypto::DocumentDigest(stored->document) != stored->digest) {
        Say(absl::StrCat(where, ": it has another digest"));
      } else if (!crypto::VerifyDocument(stored->document).ok()) {
        Say(absl::StrCat(where, ": its signature does not verify"));
      }
    }
  }

  pg::Transaction& tx_;
  const AuditOptions& options_;
  Audit audit_;
  TreeState state_;
  AuditTree tree_;
  replay::Comparison books_;
  bool comparing_ = true;
  std::optional<Reader<replay::TableRow>> history_;
  std::optional<replay::TableRow> next_history_;
  int64_t posted_us_ = 0;
  std::vector<TreeHead> heads_;
  std::optional<crypto::Checkpoint> last_;
  // Of entries whose rows are still to be looked up.
  std::vector<Uuid> ids_;
  std::vector<KnownId> id_results_;
  std::vector<Uuid> subjects_;
  std::vector<int64_t> subject_indexes_;
  std::vector<int32_t> subject_kinds_;
  int64_t subject_rows_ = 0;
};

}  // namespace

absl::StatusOr<Audit> AuditDatabase(pg::Transaction& tx, const AuditOptions& options) {
  return Auditing(tx, options).Run();
}

absl::Status ExportTables(pg::Transaction& tx,
                          const std::function<absl::Status(const std::string& line)>& write) {
  ASSIGN_OR_RETURN(const TreeState state, ReadTreeState(tx));
  RETURN_IF_ERROR(write(replay::ToLine(replay::LogRow{state.size, state.root.ToString()})));
  const auto write_all = [&](const Table<replay::TableRow>& table) -> absl::Status {
    ASSIGN_OR_RETURN(Reader<replay::TableRow> rows, Reader<replay::TableRow>::Open(tx, table));
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<replay::TableRow> row, rows.Next());
      if (!row) return absl::OkStatus();
      RETURN_IF_ERROR(write(replay::ToLine(*row)));
    }
  };
  RETURN_IF_ERROR(write_all(kHistory));
  for (const Table<replay::TableRow>& table : StateTables()) RETURN_IF_ERROR(write_all(table));
  return absl::OkStatus();
}

}  // namespace rochdale::ledger
