#include "services/ledger/tile_store.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/merkle.h"
#include "services/ledger/log_store.h"

namespace rochdale::ledger {
namespace {

absl::Status Lacking(const crypto::Tile& tile) {
  return absl::DataLossError(absl::StrCat("the log lacks a part of ", tile.Path()));
}

absl::StatusOr<std::vector<LogEntry>> ReadEntries(pg::Transaction& tx, const crypto::Tile& tile) {
  const auto first = static_cast<int64_t>(tile.index * crypto::kTileWidth);
  ASSIGN_OR_RETURN(std::vector<LogEntry> entries,
                   ListEntries(tx, std::nullopt, first, static_cast<int>(tile.width)));
  if (entries.size() != tile.width) return Lacking(tile);
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].index != first + static_cast<int64_t>(i)) return Lacking(tile);
  }
  return entries;
}

constexpr char kReadFullTile[] = "SELECT hashes FROM tiles WHERE level = $1 AND index = $2";
constexpr char kReadRootsBelow[] =
    "SELECT root FROM tiles WHERE level = $1 AND index >= $2 AND index < $2 + $3::bigint "
    "ORDER BY index";

absl::StatusOr<std::string> ReadHashTile(pg::Transaction& tx, const crypto::Tile& tile) {
  const auto index = static_cast<int64_t>(tile.index);
  const size_t bytes = size_t{tile.width} * 32;
  std::string hashes;
  if (tile.level > 0 && tile.width < crypto::kTileWidth) {
    // Of full tiles below, which are there however far the log has grown since.
    ASSIGN_OR_RETURN(const pg::Rows rows,
                     tx.Exec(kReadRootsBelow, tile.level - 1, index * kTileWidth,
                             static_cast<int64_t>(tile.width)));
    for (const pg::Row& row : rows) absl::StrAppend(&hashes, row.GetBytes(0));
  } else {
    // Also for a part of level 0: the tile is often full by the time that it is asked for.
    ASSIGN_OR_RETURN(const std::optional<pg::Row> full,
                     tx.ExecOptional(kReadFullTile, tile.level, index));
    if (full.has_value()) {
      hashes = full->GetBytes(0).substr(0, bytes);
    } else if (tile.level == 0) {
      ASSIGN_OR_RETURN(const std::vector<LogEntry> entries, ReadEntries(tx, tile));
      for (const LogEntry& entry : entries) {
        absl::StrAppend(&hashes, crypto::LeafHash(entry.leaf).AsBytes());
      }
    }
  }
  if (hashes.size() != bytes) return Lacking(tile);
  return hashes;
}

}  // namespace

absl::StatusOr<std::string> ReadTileFile(pg::Transaction& tx, const crypto::Tile& tile) {
  if (!tile.entries) return ReadHashTile(tx, tile);
  ASSIGN_OR_RETURN(std::vector<LogEntry> entries, ReadEntries(tx, tile));
  std::vector<std::string> leaves;
  leaves.reserve(entries.size());
  for (LogEntry& entry : entries) leaves.push_back(std::move(entry.leaf));
  return crypto::EntryBundleBytes(leaves);
}

crypto::TileReader TilesIn(pg::Transaction& tx, int64_t size) {
  return crypto::TileReader(static_cast<uint64_t>(size),
                            [&tx](const std::string& path) -> absl::StatusOr<std::string> {
                              ASSIGN_OR_RETURN(const crypto::Tile tile, crypto::Tile::Parse(path));
                              return ReadTileFile(tx, tile);
                            });
}

}  // namespace rochdale::ledger
