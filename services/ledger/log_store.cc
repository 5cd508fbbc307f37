#include "services/ledger/log_store.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"

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

LogEntry ToLogEntry(const pg::Row& row) {
  LogEntry entry;
  entry.index = row.Get<int64_t>("index");
  entry.event_id = row.Get<EventId>("event_id");
  entry.kind = static_cast<uint16_t>(row.Get<int32_t>("kind"));
  entry.subject = row.Get<Uuid>("subject");
  entry.leaf = row.GetBytes("leaf");
  entry.leaf_hash = row.Get<Digest>("leaf_hash");
  return entry;
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

constexpr char kReadLeafHashes[] =
    "SELECT leaf_hash FROM entries WHERE index >= $1 AND index < $1 + $2::bigint ORDER BY index";
constexpr char kReadTileRoots[] =
    "SELECT root FROM tiles WHERE level = $1 AND index >= $2 AND index < $2 + $3::bigint "
    "ORDER BY index";
constexpr char kReadTile[] = "SELECT hashes FROM tiles WHERE level = $1 AND index = $2";

// Hashes [begin, begin + count) of a tile level, within one tile, of a tree of `size` leaves.
static absl::StatusOr<std::vector<Digest>> ReadHashes(pg::Transaction& tx, int64_t size,
                                                      int tile_level, int64_t begin,
                                                      int64_t count) {
  const int64_t tile = begin / kTileWidth;
  const bool full = (size >> (kTileHeight * tile_level)) >= (tile + 1) * kTileWidth;
  if (full && count > 1) {
    ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kReadTile, tile_level, tile));
    const std::string bytes = row.GetBytes(0);
    return SplitDigests(absl::string_view(bytes).substr((begin - tile * kTileWidth) * 32,
                                                        count * 32));
  }
  // A single hash, or part of a tile that is not full yet: from the rows that it is made of.
  if (tile_level == 0) {
    ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kReadLeafHashes, begin, count));
    return FirstColumn(rows);
  }
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

absl::Status InsertEntries(pg::Transaction& tx, const std::vector<LogEntry>& entries) {
  if (entries.empty()) return absl::OkStatus();
  return tx.CopyIn("entries", {"index", "event_id", "kind", "subject", "leaf", "leaf_hash"},
                   [&entries](pg::CopyWriter& out) -> absl::Status {
                     for (const LogEntry& entry : entries) {
                       RETURN_IF_ERROR(out.Write({entry.index, entry.event_id, entry.kind,
                                                  entry.subject, pg::Bytes{entry.leaf},
                                                  entry.leaf_hash}));
                     }
                     return absl::OkStatus();
                   });
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

constexpr char kFindEvents[] =
    "SELECT event_id, index, leaf_hash FROM entries WHERE event_id = ANY($1::uuid[])";

absl::StatusOr<std::unordered_map<Uuid, KnownEvent, absl::Hash<Uuid>>> FindEvents(
    pg::Transaction& tx, const std::vector<Uuid>& event_ids) {
  std::unordered_map<Uuid, KnownEvent, absl::Hash<Uuid>> found;
  if (event_ids.empty()) return found;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindEvents, event_ids));
  for (const pg::Row& row : rows) {
    found[row.Get<Uuid>(0)] = {row.Get<int64_t>(1), row.Get<Digest>(2)};
  }
  return found;
}

constexpr char kFindRegistrations[] =
    "SELECT DISTINCT ON (subject) subject, event_id FROM entries "
    "WHERE subject = ANY($1::uuid[]) AND kind = $2 ORDER BY subject, index";

absl::StatusOr<std::unordered_map<Uuid, EventId, absl::Hash<Uuid>>> FindRegistrations(
    pg::Transaction& tx, const std::vector<Uuid>& principals) {
  std::unordered_map<Uuid, EventId, absl::Hash<Uuid>> found;
  if (principals.empty()) return found;
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kFindRegistrations, principals,
                                                crypto::kind::kPrincipalRegistered));
  for (const pg::Row& row : rows) found[row.Get<Uuid>(0)] = row.Get<EventId>(1);
  return found;
}

constexpr char kFindEntry[] =
    "SELECT index, event_id, kind, subject, leaf, leaf_hash FROM entries WHERE index = $1";

absl::StatusOr<std::optional<LogEntry>> FindEntry(pg::Transaction& tx, int64_t index) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindEntry, index));
  return row.has_value() ? std::optional(ToLogEntry(*row)) : std::nullopt;
}

constexpr char kFindEntryByEvent[] =
    "SELECT index, event_id, kind, subject, leaf, leaf_hash FROM entries WHERE event_id = $1";

absl::StatusOr<std::optional<LogEntry>> FindEntryByEvent(pg::Transaction& tx,
                                                         const EventId& event_id) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindEntryByEvent, event_id));
  return row.has_value() ? std::optional(ToLogEntry(*row)) : std::nullopt;
}

constexpr char kListEntries[] =
    "SELECT index, event_id, kind, subject, leaf, leaf_hash FROM entries "
    "WHERE index >= $1 ORDER BY index LIMIT $2";
constexpr char kListEntriesOfSubject[] =
    "SELECT index, event_id, kind, subject, leaf, leaf_hash FROM entries "
    "WHERE subject = $3 AND index >= $1 ORDER BY index LIMIT $2";

absl::StatusOr<std::vector<LogEntry>> ListEntries(pg::Transaction& tx,
                                                  const std::optional<Uuid>& subject,
                                                  int64_t from_index, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows,
                   subject.has_value()
                       ? tx.Exec(kListEntriesOfSubject, from_index, limit, *subject)
                       : tx.Exec(kListEntries, from_index, limit));
  std::vector<LogEntry> entries;
  entries.reserve(rows.size());
  for (const pg::Row& row : rows) entries.push_back(ToLogEntry(row));
  return entries;
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
  return tx.Exec(kInsertDocuments, digests, types, bodies, keys, signatures).status();
}

constexpr char kFindDocument[] =
    "SELECT type, body, public_key, signature FROM documents WHERE document_sha256 = $1";

absl::StatusOr<std::optional<crypto::SignedDocument>> FindDocument(pg::Transaction& tx,
                                                                   const crypto::Digest& digest) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindDocument, digest));
  if (!row) return std::nullopt;
  return crypto::SignedDocument{row->Get<std::string>("type"), row->GetBytes("body"),
                                row->Get<crypto::PublicKey>("public_key"),
                                row->Get<crypto::Signature>("signature")};
}

}  // namespace rochdale::ledger
