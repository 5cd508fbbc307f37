#include "services/ledger/log_store.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "services/ledger/transfer_entry.h"

namespace rochdale::ledger {
namespace {

using crypto::Digest;

absl::StatusOr<std::vector<Digest>> SplitDigests(absl::string_view bytes) {
  std::vector<Digest> digests;
  for (; bytes.size() >= 32; bytes.remove_prefix(32)) {
    ASSIGN_OR_RETURN(const Digest digest, Digest::FromBytes(bytes.substr(0, 32)));
    digests.push_back(digest);
  }
  if (!bytes.empty()) return absl::DataLossError("hashes are not 32 bytes each");
  return digests;
}

std::string JoinDigests(const std::vector<Digest>& digests) {
  std::string bytes;
  bytes.reserve(digests.size() * 32);
  for (const Digest& digest : digests) absl::StrAppend(&bytes, digest.AsBytes());
  return bytes;
}

absl::Status NotLeader() {
  return RetryableError("NOT_LEADER", "another replica writes the log now", absl::Seconds(1));
}

absl::StatusOr<TreeState> ToTreeState(const pg::Row& row) {
  TreeState state;
  state.epoch = row.Get<int64_t>("epoch");
  state.batch = row.Get<int64_t>("batch");
  state.size = row.Get<int64_t>("size");
  state.frontier = row.GetBytes("frontier");
  state.root = row.Get<Digest>("root");
  return state;
}

// An entry from its leaf. DATA_LOSS where the leaf is none: the ledger wrote it.
absl::StatusOr<LogEntry> ToLogEntry(int64_t index, absl::string_view leaf) {
  const absl::StatusOr<crypto::Entry> decoded = crypto::DecodeEntry(leaf);
  if (!decoded.ok()) {
    return absl::DataLossError(
        absl::StrCat("entry ", index, " of the log: ", decoded.status().message()));
  }
  LogEntry entry;
  entry.index = index;
  entry.event_id = decoded->event_id;
  entry.kind = decoded->kind;
  entry.subject = decoded->subject;
  entry.leaf = std::string(leaf);
  entry.leaf_hash = crypto::LeafHash(leaf);
  return entry;
}

// Calls `take(index, leaf)` for the leaves of a chunk, in order.
template <typename Take>
absl::Status EachLeaf(const pg::Row& row, const Take& take) {
  const int64_t first = row.Get<int64_t>("first_index");
  const int64_t count = row.Get<int32_t>("count");
  const std::string bytes = row.GetBytes("leaves");
  crypto::CanonicalReader reader(bytes);
  for (int64_t i = 0; i < count; ++i) {
    const absl::string_view leaf = reader.Prefixed16();
    if (!reader.ok()) break;
    RETURN_IF_ERROR(take(first + i, leaf));
  }
  if (reader.Finished()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the leaves from entry ", first, " on are malformed"));
}

TreeHead ToTreeHead(const pg::Row& row) {
  return {row.Get<int64_t>("size"), row.Get<Digest>("root"), row.Get<std::string>("note"),
          row.Get<int64_t>("signed_us")};
}

std::vector<Digest> FirstColumn(const pg::Rows& rows) {
  std::vector<Digest> digests;
  digests.reserve(rows.size());
  for (const pg::Row& row : rows) digests.push_back(row.Get<Digest>(0));
  return digests;
}

}  // namespace

constexpr char kReadTreeState[] =
    "SELECT epoch, batch, size, frontier, root FROM tree_state WHERE id = 1";

absl::StatusOr<TreeState> ReadTreeState(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kReadTreeState));
  return ToTreeState(row);
}

constexpr char kTakeTree[] =
    "UPDATE tree_state SET epoch = $1 WHERE id = 1 AND epoch <= $1 "
    "RETURNING epoch, batch, size, frontier, root";

absl::StatusOr<TreeState> TakeTree(pg::Transaction& tx, int64_t epoch) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kTakeTree, epoch));
  if (!row.has_value()) return NotLeader();
  return ToTreeState(*row);
}

constexpr char kAdvanceTree[] =
    "UPDATE tree_state SET batch = batch + 1, size = $4, frontier = $5, root = $6 "
    "WHERE id = 1 AND epoch = $1 AND batch = $2 AND size = $3";

absl::Status AdvanceTree(pg::Transaction& tx, const TreeState& before, const TreeEnd& end) {
  ASSIGN_OR_RETURN(const int64_t affected,
                   tx.ExecAffected(kAdvanceTree, before.epoch, before.batch, before.size,
                                   end.size(), pg::Bytes{end.frontier().Serialise()},
                                   end.Root()));
  return affected == 1 ? absl::OkStatus() : NotLeader();
}

// The chunks that hold entries $1 to $2 - 1: chunks have at most 256 leaves.
constexpr char kReadChunks[] =
    "SELECT first_index, count, leaves FROM leaf_chunks "
    "WHERE first_index > $1 - 256 AND first_index < $2 AND first_index + count > $1 "
    "ORDER BY first_index";
constexpr char kReadTileRoots[] =
    "SELECT root FROM tiles WHERE level = $1 AND index >= $2 AND index < $2 + $3::bigint "
    "ORDER BY index";
// Part of a tile: $4 bytes from byte $3 (from 1) on.
constexpr char kReadTile[] =
    "SELECT substr(hashes, $3, $4) FROM tiles WHERE level = $1 AND index = $2";

static absl::StatusOr<std::vector<Digest>> ReadLeafHashes(pg::Transaction& tx, int64_t begin,
                                                          int64_t end) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kReadChunks, begin, end));
  std::vector<Digest> hashes;
  for (const pg::Row& row : rows) {
    RETURN_IF_ERROR(EachLeaf(row, [&](int64_t index, absl::string_view leaf) {
      if (index >= begin && index < end) hashes.push_back(crypto::LeafHash(leaf));
      return absl::OkStatus();
    }));
  }
  return hashes;
}

// Hashes [begin, begin + count) of a tile level, within one tile, of a tree of `size` leaves.
static absl::StatusOr<std::vector<Digest>> ReadHashes(pg::Transaction& tx, int64_t size,
                                                      int tile_level, int64_t begin,
                                                      int64_t count) {
  const int64_t tile = begin / kTileWidth;
  const bool full = (size >> (kTileHeight * tile_level)) >= (tile + 1) * kTileWidth;
  if (full) {
    const int offset = static_cast<int>(begin - tile * kTileWidth) * 32 + 1;
    ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kReadTile, tile_level, tile, offset,
                                                   static_cast<int>(count) * 32));
    return SplitDigests(row.GetBytes(0));
  }
  // Part of a tile that is not full yet: from what it is made of.
  if (tile_level == 0) return ReadLeafHashes(tx, begin, begin + count);
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kReadTileRoots, tile_level - 1, begin, count));
  return FirstColumn(rows);
}

crypto::NodeReader ReadNodes(pg::Transaction& tx, int64_t size) {
  return [&tx, size](int level, uint64_t index) -> absl::StatusOr<Digest> {
    const int64_t width = int64_t{1} << (level % kTileHeight);
    ASSIGN_OR_RETURN(std::vector<Digest> hashes,
                     ReadHashes(tx, size, level / kTileHeight,
                                static_cast<int64_t>(index) * width, width));
    if (static_cast<int64_t>(hashes.size()) != width) {
      return absl::DataLossError(absl::StrCat("the log lacks node ", level, "/", index));
    }
    return PerfectRoot(std::move(hashes));
  };
}

absl::StatusOr<TreeEnd> ReadTreeEnd(pg::Transaction& tx, int64_t size) {
  std::vector<std::vector<Digest>> partial(kTileLevels);
  for (int level = 0; level < kTileLevels; ++level) {
    const int64_t hashes = size >> (kTileHeight * level);
    const int64_t count = hashes % kTileWidth;
    if (count == 0) continue;
    ASSIGN_OR_RETURN(partial[level], ReadHashes(tx, size, level, hashes - count, count));
  }
  return TreeEnd::Restore(size, std::move(partial));
}

absl::Status InsertEntries(pg::Transaction& tx, const std::vector<LogEntry>& entries,
                           int64_t posted_us) {
  constexpr size_t kChunkBytes = 256 << 10;
  pg::BinaryRows chunks, subjects;
  for (size_t begin = 0; begin < entries.size();) {
    crypto::CanonicalWriter leaves;
    size_t end = begin;
    while (end < entries.size() && end - begin < static_cast<size_t>(kTileWidth) &&
           (end == begin || leaves.size() < kChunkBytes)) {
      leaves.Prefixed16(entries[end++].leaf);
    }
    chunks.Begin(4)
        .Int8(entries[begin].index)
        .Int4(static_cast<int32_t>(end - begin))
        .Int8(posted_us)
        .Bytes(leaves.bytes());
    begin = end;
  }
  for (const LogEntry& entry : entries) {
    // A transfer is found by its id (PostedEvent).
    if (entry.kind == crypto::kind::kTransferPosted || entry.subject.IsZero()) continue;
    subjects.Begin(3).Id(entry.subject).Int8(entry.index).Int4(entry.kind);
  }
  RETURN_IF_ERROR(tx.CopyBinary("leaf_chunks", {"first_index", "count", "posted_us", "leaves"},
                                std::move(chunks)));
  return tx.CopyBinary("entry_subjects", {"subject", "log_index", "kind"}, std::move(subjects));
}

constexpr char kInsertTile[] =
    "INSERT INTO tiles (level, index, hashes, root) VALUES ($1, $2, $3, $4)";

absl::Status InsertTiles(pg::Transaction& tx, const std::vector<Tile>& tiles) {
  for (const Tile& tile : tiles) {
    RETURN_IF_ERROR(tx.Exec(kInsertTile, tile.level, tile.index,
                            pg::Bytes{JoinDigests(tile.hashes)}, tile.root)
                        .status());
  }
  return absl::OkStatus();
}

constexpr char kFindIds[] =
    "SELECT id, log_index, result FROM event_ids WHERE id = ANY($1::uuid[])";

absl::StatusOr<IdMap<Uuid, KnownId>> FindIds(pg::Transaction& tx, const std::vector<Uuid>& ids) {
  IdMap<Uuid, KnownId> found;
  if (ids.empty()) return found;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.ExecArrays(kFindIds, ids));
  for (const pg::Row& row : rows) {
    found[row.Get<Uuid>(0)] = {row.Get<int64_t>(1), row.Get<int32_t>(2)};
  }
  return found;
}

absl::Status InsertIds(pg::Transaction& tx, const std::vector<UsedId>& ids) {
  pg::BinaryRows rows;
  for (const UsedId& used : ids) {
    rows.Begin(3)
        .Id(used.id)
        .Int8(used.known.log_index)
        .Int2(static_cast<int16_t>(used.known.result));
  }
  return tx.CopyBinary("event_ids", {"id", "log_index", "result"}, std::move(rows));
}

// The chunks of any of these entries, each once.
constexpr char kFindChunks[] =
    "SELECT DISTINCT ON (c.first_index) c.first_index, c.count, c.leaves "
    "FROM unnest($1::bigint[]) AS wanted (index) CROSS JOIN LATERAL ("
    "  SELECT first_index, count, leaves FROM leaf_chunks WHERE first_index <= wanted.index"
    "  ORDER BY first_index DESC LIMIT 1) AS c "
    "WHERE wanted.index < c.first_index + c.count ORDER BY c.first_index";

absl::StatusOr<std::vector<LogEntry>> FindEntries(pg::Transaction& tx,
                                                  std::vector<int64_t> indexes) {
  std::vector<LogEntry> entries;
  std::sort(indexes.begin(), indexes.end());
  indexes.erase(std::unique(indexes.begin(), indexes.end()), indexes.end());
  if (indexes.empty()) return entries;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindChunks, indexes));
  for (const pg::Row& row : rows) {
    RETURN_IF_ERROR(EachLeaf(row, [&](int64_t index, absl::string_view leaf) -> absl::Status {
      if (!std::binary_search(indexes.begin(), indexes.end(), index)) return absl::OkStatus();
      ASSIGN_OR_RETURN(LogEntry entry, ToLogEntry(index, leaf));
      entries.push_back(std::move(entry));
      return absl::OkStatus();
    }));
  }
  return entries;
}

absl::StatusOr<std::optional<LogEntry>> FindEntry(pg::Transaction& tx, int64_t index) {
  ASSIGN_OR_RETURN(std::vector<LogEntry> entries, FindEntries(tx, {index}));
  return entries.empty() ? std::nullopt : std::optional(std::move(entries[0]));
}

absl::StatusOr<std::optional<LogEntry>> FindEntryByEvent(pg::Transaction& tx,
                                                         const EventId& event_id) {
  ASSIGN_OR_RETURN(const auto found, FindIds(tx, {event_id.value}));
  if (found.empty() || found.begin()->second.log_index < 0) return std::nullopt;
  return FindEntry(tx, found.begin()->second.log_index);
}

// Entries about a subject $3, and the transfer $3, whose event id is $4.
constexpr char kListSubject[] =
    "SELECT log_index FROM ("
    "  (SELECT log_index FROM entry_subjects WHERE subject = $3 AND log_index >= $1"
    "   ORDER BY log_index LIMIT $2)"
    "  UNION ALL"
    "  (SELECT log_index FROM event_ids WHERE id = $4 AND log_index >= $1 AND result = 1)"
    ") AS about ORDER BY log_index LIMIT $2";

absl::StatusOr<std::vector<LogEntry>> ListEntries(pg::Transaction& tx,
                                                  const std::optional<Uuid>& subject,
                                                  int64_t from_index, int limit) {
  std::vector<LogEntry> entries;
  if (subject.has_value()) {
    ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListSubject, from_index, limit, *subject,
                                                  PostedEvent(TransferId{*subject})));
    std::vector<int64_t> indexes;
    for (const pg::Row& row : rows) indexes.push_back(row.Get<int64_t>(0));
    return FindEntries(tx, std::move(indexes));
  }
  const int64_t from = std::max<int64_t>(from_index, 0);
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kReadChunks, from, from + limit));
  for (const pg::Row& row : rows) {
    RETURN_IF_ERROR(EachLeaf(row, [&](int64_t index, absl::string_view leaf) -> absl::Status {
      if (index < from || index >= from + limit) return absl::OkStatus();
      ASSIGN_OR_RETURN(LogEntry entry, ToLogEntry(index, leaf));
      entries.push_back(std::move(entry));
      return absl::OkStatus();
    }));
  }
  return entries;
}

constexpr char kFindPostedTime[] =
    "SELECT posted_us FROM leaf_chunks WHERE first_index <= $1 ORDER BY first_index DESC LIMIT 1";

absl::StatusOr<int64_t> FindPostedTime(pg::Transaction& tx, int64_t index) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kFindPostedTime, index));
  return row.Get<int64_t>(0);
}

constexpr char kFindLastIndexAt[] =
    "SELECT first_index + count - 1 FROM leaf_chunks WHERE posted_us <= $1 "
    "ORDER BY posted_us DESC, first_index DESC LIMIT 1";

absl::StatusOr<int64_t> FindLastIndexAt(pg::Transaction& tx, int64_t at_us) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindLastIndexAt, at_us));
  return row.has_value() ? row->Get<int64_t>(0) : -1;
}

constexpr char kFindLastPostedTime[] =
    "SELECT posted_us FROM leaf_chunks ORDER BY first_index DESC LIMIT 1";

absl::StatusOr<int64_t> FindLastPostedTime(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindLastPostedTime));
  return row.has_value() ? row->Get<int64_t>(0) : 0;
}

constexpr char kInsertTreeHead[] =
    "INSERT INTO tree_heads (size, root, note, signed_us) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (size) DO NOTHING";

absl::StatusOr<bool> InsertTreeHead(pg::Transaction& tx, const TreeHead& head) {
  ASSIGN_OR_RETURN(const int64_t affected, tx.ExecAffected(kInsertTreeHead, head.size, head.root,
                                                           head.note, head.signed_us));
  return affected == 1;
}

constexpr char kFindNewestTreeHead[] =
    "SELECT size, root, note, signed_us FROM tree_heads ORDER BY size DESC LIMIT 1";

absl::StatusOr<std::optional<TreeHead>> FindNewestTreeHead(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindNewestTreeHead));
  return row.has_value() ? std::optional(ToTreeHead(*row)) : std::nullopt;
}

constexpr char kFindTreeHead[] =
    "SELECT size, root, note, signed_us FROM tree_heads WHERE size = $1";

absl::StatusOr<std::optional<TreeHead>> FindTreeHead(pg::Transaction& tx, int64_t size) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindTreeHead, size));
  return row.has_value() ? std::optional(ToTreeHead(*row)) : std::nullopt;
}

constexpr char kListTreeHeads[] =
    "SELECT size, root, note, signed_us FROM tree_heads WHERE size > $1 ORDER BY size LIMIT $2";

absl::StatusOr<std::vector<TreeHead>> ListTreeHeads(pg::Transaction& tx, int64_t after_size,
                                                    int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListTreeHeads, after_size, limit));
  std::vector<TreeHead> heads;
  heads.reserve(rows.size());
  for (const pg::Row& row : rows) heads.push_back(ToTreeHead(row));
  return heads;
}

constexpr char kInsertDocuments[] =
    "INSERT INTO documents (document_sha256, type, body, public_key, signature) "
    "SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[]) "
    "ON CONFLICT (document_sha256) DO NOTHING";

absl::Status InsertDocuments(pg::Transaction& tx,
                             const std::vector<crypto::SignedDocument>& documents) {
  if (documents.empty()) return absl::OkStatus();
  std::vector<crypto::Digest> digests;
  std::vector<std::string> types;
  std::vector<pg::Bytes> bodies;
  std::vector<crypto::PublicKey> keys;
  std::vector<crypto::Signature> signatures;
  for (const crypto::SignedDocument& document : documents) {
    digests.push_back(crypto::DocumentDigest(document));
    types.push_back(document.type);
    bodies.push_back({document.body});
    keys.push_back(document.public_key);
    signatures.push_back(document.signature);
  }
  return tx.ExecArrays(kInsertDocuments, digests, types, bodies, keys, signatures).status();
}

}  // namespace rochdale::ledger
